"""The network: traffic and congestion marks of each rail."""

from __future__ import annotations

from advisor.facts.span import Reader, Span, without
from advisor.facts.summed import DEVICES, NODES, mean, pace, rate, summed
from advisor.facts.values import RailTraffic


def rail_traffic(store: Reader, span: Span) -> tuple[RailTraffic, ...]:
    """Traffic and congestion marks of each rail."""
    columns = {
        "ports": DEVICES,
        "nodes": NODES,
        "utilisation_ratio": pace("carried_seconds_inc", span),
        "ecn_marked_per_second": rate("ecn_marked_packets_inc", span),
        "cnp_per_second": rate("cnp_sent_inc", span),
        "pause_ratio": pace("pfc_rx_pause_us_inc", span, 1e-6),
        "discards_per_second": rate("tx_discards_inc", span),
        "link_bits_per_second": mean("link_rate_bits_per_second_avg"),
        "bytes_per_second": pace("carried_bytes_inc", span),
    }
    rows = summed(store, span, "fabric", "rail", columns)
    return tuple(RailTraffic(rail=group, **without(row, "seconds")) for group, row in rows)

"""The network: traffic and congestion marks of each rail."""

from __future__ import annotations

from advisor.facts.span import (
    DEVICES,
    NODES,
    SECONDS,
    Reader,
    Span,
    grouped,
    mean,
    mean_of,
    rate,
    without,
)
from advisor.facts.values import RailTraffic


def rail_traffic(store: Reader, span: Span) -> tuple[RailTraffic, ...]:
    """Traffic and congestion marks of each rail."""
    carried = f"greatest(w.tx_bytes_inc, w.rx_bytes_inc) / {SECONDS}"
    columns = {
        "ports": DEVICES,
        "nodes": NODES,
        "utilisation_ratio": mean_of(f"{carried} * 8 / w.link_rate_bits_per_second_avg"),
        "ecn_marked_per_second": rate("ecn_marked_packets_inc"),
        "cnp_per_second": rate("cnp_sent_inc"),
        "pause_ratio": mean_of(f"w.pfc_rx_pause_us_inc / ({SECONDS} * 1e6)"),
        "discards_per_second": rate("tx_discards_inc"),
        "link_bits_per_second": mean("link_rate_bits_per_second_avg"),
        "bytes_per_second": mean_of(carried),
    }
    rows = grouped(store, span, "fabric", "rail", columns)
    return tuple(RailTraffic(rail=group, **without(row, "seconds")) for group, row in rows)

"""Congestion, told apart by who does what: receivers mark, senders obey, switches pause.

Rates are compared with the port's own baseline, and only while the port carries traffic: counters
of an idle port say nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ridgeline.schema import MISSING_STATE
from streams.detectors.verdict import (
    Around,
    Detector,
    Devices,
    Measure,
    Verdict,
    levels,
    over,
    ratio,
)

NAME = "fabric_congestion"
INFINIBAND = 2
RECEIVING, SENDING = 0.3, 0.05  # of the link's rate
MARKED = 0.01  # of the packets received
ABOVE_USUAL = 3.0  # times the port's own baseline
LEAST_CNPS = 100.0  # 1/s
PAUSED = 0.05  # of the time
LOST = 1e-5  # of the packets
LEAST_REPEATS = 10.0  # 1/s
LEAST_TICKS = 1000.0  # 1/s; a tick's length differs by device, so the baseline decides
COLUMNS = (
    "link_rate_bits_per_second",
    "tx_bytes",
    "rx_bytes",
    "tx_packets",
    "rx_packets",
    "tx_wait_ticks",
    "symbol_errors",
    "link_recoveries",
    "ecn_marked_packets",
    "cnp_sent",
    "cnp_handled",
    "cnp_ignored",
    "out_of_sequence",
    "packet_sequence_errors",
    "ack_timeouts",
    "adaptive_retransmits",
    "out_of_buffer",
    "pfc_rx_pauses",
    "pfc_tx_pauses",
    "pfc_rx_pause_us",
    "pfc_storm_events",
)


def unusual(ports: Devices, name: str, least: float) -> np.ndarray:
    """Where a rate is at least `least` and well above what this port usually shows, if known."""
    usual = np.nan_to_num(ports.usual(name))
    return over(ports.now(name), np.maximum(least, ABOVE_USUAL * usual))


def find(ports: Devices, around: Around) -> Sequence[Verdict]:
    """Judge every port."""
    rate = ports.now("link_rate_bits_per_second")
    rx, tx = ratio(8 * ports.now("rx_bytes"), rate), ratio(8 * ports.now("tx_bytes"), rate)
    marked = ratio(ports.now("ecn_marked_packets"), ports.now("rx_packets"))
    util = (
        Measure(name="rx_util", value=rx, unit="ratio", threshold=RECEIVING),
        Measure(name="tx_util", value=tx, unit="ratio", threshold=SENDING),
    )
    return (
        _incast(ports, around, rx, marked, util),
        _victim(ports, tx, util),
        _storm(ports, util),
        _lossy(ports, marked, util),
        _ignored(ports, util),
        _starved(ports, tx, util),
    )


def _incast(
    ports: Devices, around: Around, rx: np.ndarray, marked: np.ndarray, util: tuple[Measure, ...]
) -> Verdict:
    sent, handled = ports.now("cnp_sent"), ports.now("cnp_handled")
    hit = over(rx, RECEIVING) & over(marked, MARKED) & unusual(ports, "cnp_sent", LEAST_CNPS)
    obeying = over(handled, LEAST_CNPS)
    peers = around.rail.count(obeying)
    return Verdict(
        condition="incast_receiver",
        hit=hit,
        known=~np.isnan(sent) & ~np.isnan(rx) & ~np.isnan(marked),
        level=levels(hit, over(marked, 0.1)),
        summary="is where flows collide: {ecn_marked:.1%} of its packets arrive marked"
        " at {rx_util:.0%} of the link",
        evidence=(
            Measure(name="ecn_marked", value=marked, unit="ratio", threshold=MARKED),
            Measure(name="cnp_sent", value=sent, unit="1/s", threshold=LEAST_CNPS),
            Measure(name="cnp_sent_usual", value=ports.usual("cnp_sent"), unit="1/s"),
            Measure(name="senders_slowed", value=peers, unit="1", note="ports seen on this rail"),
            *util,
        ),
        counter_evidence=(
            Measure(name="out_of_buffer", value=ports.now("out_of_buffer"), unit="1/s"),
            Measure(name="cnp_handled", value=handled, unit="1/s"),
        ),
        alternatives=("the host is slow to post receives (out_of_buffer would grow)",),
    )


def _victim(ports: Devices, tx: np.ndarray, util: tuple[Measure, ...]) -> Verdict:
    handled, sent = ports.now("cnp_handled"), ports.now("cnp_sent")
    hit = over(tx, SENDING) & unusual(ports, "cnp_handled", LEAST_CNPS)
    hit &= over(handled, 2 * np.nan_to_num(sent))
    return Verdict(
        condition="victim_sender",
        hit=hit,
        known=~np.isnan(handled) & ~np.isnan(tx),
        level=levels(hit),
        summary="is told to slow down {cnp_handled:.0f} times a second while sending at"
        " {tx_util:.0%} of the link",
        evidence=(
            Measure(name="cnp_handled", value=handled, unit="1/s", threshold=LEAST_CNPS),
            Measure(name="cnp_handled_usual", value=ports.usual("cnp_handled"), unit="1/s"),
            *util,
        ),
        counter_evidence=(Measure(name="cnp_sent", value=sent, unit="1/s"),),
        alternatives=("this port is itself one of the flows that make the incast",),
    )


def _storm(ports: Devices, util: tuple[Measure, ...]) -> Verdict:
    paused = ports.now("pfc_rx_pause_us") / 1e6
    storms = ports.now("pfc_storm_events")
    hit = over(paused, PAUSED) | over(storms, 1e-6)
    return Verdict(
        condition="pfc_storm",
        hit=hit,
        known=~np.isnan(paused) | ~np.isnan(storms),
        level=levels(hit, hit),
        summary="is paused by PFC {paused:.0%} of the time",
        evidence=(
            Measure(name="paused", value=paused, unit="ratio", threshold=PAUSED),
            Measure(name="pfc_storm_events", value=storms, unit="1/s", threshold=0.0),
            Measure(name="pfc_rx_pauses", value=ports.now("pfc_rx_pauses"), unit="1/s"),
            Measure(name="pfc_tx_pauses", value=ports.now("pfc_tx_pauses"), unit="1/s"),
            *util,
        ),
        counter_evidence=(
            Measure(name="ecn_marked_packets", value=ports.now("ecn_marked_packets"), unit="1/s"),
        ),
        alternatives=("a slow or hung receiver behind the switch port",),
    )


def _lossy(ports: Devices, marked: np.ndarray, util: tuple[Measure, ...]) -> Verdict:
    missing = ports.now("out_of_sequence")
    repeats = np.nansum(
        [ports.now(n) for n in ("packet_sequence_errors", "adaptive_retransmits", "ack_timeouts")],
        axis=0,
    )
    physical = np.nansum([ports.now("symbol_errors"), ports.now("link_recoveries")], axis=0)
    packets = ports.now("rx_packets") + ports.now("tx_packets")
    lost = ratio(np.nan_to_num(missing) + repeats, packets)
    # adaptive routing reorders too: gaps alone are no loss, somebody must have to repeat
    repeated = over(repeats, LEAST_REPEATS) | over(physical, 1.0)
    hit = over(lost, LOST) & repeated & ~over(marked, 0.001)
    # both ends of a bad path repeat; the end whose own link errs is the one to replace
    hit &= over(physical, 1.0) | (np.isnan(ports.now("symbol_errors")))
    return Verdict(
        condition="lossy_link",
        hit=hit,
        known=~np.isnan(lost) & ~np.isnan(missing),
        level=levels(hit, over(lost, 1e-3)),
        summary="loses packets without congestion: {lost:.2%} are out of order or sent again",
        evidence=(
            Measure(name="lost", value=lost, unit="ratio", threshold=LOST),
            Measure(name="out_of_sequence", value=missing, unit="1/s"),
            Measure(name="repeats", value=repeats, unit="1/s", threshold=LEAST_REPEATS),
            Measure(name="symbol_errors", value=ports.now("symbol_errors"), unit="1/s"),
            *util,
        ),
        counter_evidence=(Measure(name="ecn_marked", value=marked, unit="ratio", threshold=0.001),),
        alternatives=("adaptive routing reorders packets", "the other end of the path is bad"),
    )


def _ignored(ports: Devices, util: tuple[Measure, ...]) -> Verdict:
    ignored = ports.now("cnp_ignored")
    hit = over(ignored, 1.0)
    return Verdict(
        condition="cc_disabled",
        hit=hit,
        known=~np.isnan(ignored),
        level=levels(hit),
        summary="ignores {cnp_ignored:.0f} congestion notifications a second:"
        " congestion control is off on this adapter",
        evidence=(Measure(name="cnp_ignored", value=ignored, unit="1/s", threshold=1.0), *util),
        counter_evidence=(Measure(name="cnp_handled", value=ports.now("cnp_handled"), unit="1/s"),),
    )


def _starved(ports: Devices, tx: np.ndarray, util: tuple[Measure, ...]) -> Verdict:
    ticks, usual = ports.now("tx_wait_ticks"), ports.usual("tx_wait_ticks")
    layer = ports.state("link_layer")
    infiniband = (layer == INFINIBAND) & (layer != MISSING_STATE)
    hit = infiniband & over(tx, RECEIVING) & ~np.isnan(usual)
    hit &= unusual(ports, "tx_wait_ticks", LEAST_TICKS)
    return Verdict(
        condition="credit_starved",
        hit=hit,
        known=infiniband & ~np.isnan(ticks) & ~np.isnan(usual),
        level=levels(hit, over(ticks, 10 * np.nan_to_num(usual))),
        summary="waits for credits {tx_wait_ticks:.0f} ticks a second, usually"
        " {tx_wait_usual:.0f}, while sending at {tx_util:.0%} of the link",
        evidence=(
            Measure(name="tx_wait_ticks", value=ticks, unit="ticks/s"),
            Measure(name="tx_wait_usual", value=usual, unit="ticks/s"),
            *util,
        ),
        alternatives=("a slow receiver downstream", "an oversubscribed uplink"),
    )


DETECTOR = Detector(
    name=NAME,
    conditions=(
        "incast_receiver",
        "victim_sender",
        "pfc_storm",
        "lossy_link",
        "cc_disabled",
        "credit_starved",
    ),
    finders={"fabric": find},
    columns={"fabric": COLUMNS},
    baselines={"fabric": ("cnp_sent", "cnp_handled", "tx_wait_ticks")},
)

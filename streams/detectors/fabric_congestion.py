"""Congestion, told apart by who does what: receivers mark, senders obey, switches pause.

Rates are compared with the port's own baseline, and only while the port carries traffic: counters
of an idle port say nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from streams.detectors.verdict import (
    Around,
    Condition,
    Detector,
    Devices,
    Level,
    Measure,
    Verdict,
    verdicts,
)
from streams.detectors.words import known, or_zero, ratio, word
from streams.kernels import compiled, inlined

NAME = "fabric_congestion"
INFINIBAND = 2
RECEIVING, SENDING = 0.3, 0.05  # of the link's rate
MARKED, BADLY_MARKED, HARDLY_MARKED = 0.01, 0.1, 0.001  # of the packets received
ABOVE_USUAL, FAR_ABOVE_USUAL = 3.0, 10.0  # times the port's own baseline
LEAST_CNPS = 100.0  # 1/s
MOSTLY_SENDER = 2.0  # notifications obeyed per one sent
PAUSED = 0.05  # of the time
LOST, BADLY_LOST = 1e-5, 1e-3  # of the packets
LEAST_REPEATS = 10.0  # 1/s
LEAST_ERRORS = 1.0  # 1/s, of the link itself
LEAST_IGNORED = 1.0  # 1/s
LEAST_TICKS = 1000.0  # 1/s; a tick's length differs by device, so the baseline decides
_WARNING, _CRITICAL = int(Level.WARNING), int(Level.CRITICAL)


class Now(NamedTuple):
    """Means and rates of the window, by slot."""

    link_rate_bits_per_second: np.ndarray
    tx_bytes: np.ndarray
    rx_bytes: np.ndarray
    tx_packets: np.ndarray
    rx_packets: np.ndarray
    tx_wait_ticks: np.ndarray
    symbol_errors: np.ndarray
    link_recoveries: np.ndarray
    ecn_marked_packets: np.ndarray
    cnp_sent: np.ndarray
    cnp_handled: np.ndarray
    cnp_ignored: np.ndarray
    out_of_sequence: np.ndarray
    packet_sequence_errors: np.ndarray
    ack_timeouts: np.ndarray
    adaptive_retransmits: np.ndarray
    out_of_buffer: np.ndarray
    pfc_rx_pauses: np.ndarray
    pfc_tx_pauses: np.ndarray
    pfc_rx_pause_us: np.ndarray
    pfc_storm_events: np.ndarray


class Usual(NamedTuple):
    """The ports' own baselines, by slot."""

    cnp_sent: np.ndarray
    cnp_handled: np.ndarray
    tx_wait_ticks: np.ndarray


class Beside(NamedTuple):
    """What else is known, by slot."""

    senders_slowed: np.ndarray
    infiniband: np.ndarray


class Numbers(NamedTuple):
    """Of one port; rates are a second."""

    rx_util: float
    tx_util: float
    ecn_marked: float
    ecn_marked_packets: float
    cnp_sent: float
    cnp_sent_usual: float
    cnp_handled: float
    cnp_handled_usual: float
    cnp_ignored: float
    senders_slowed: float
    out_of_buffer: float
    paused: float
    pfc_storm_events: float
    pfc_rx_pauses: float
    pfc_tx_pauses: float
    out_of_sequence: float
    repeats: float
    symbol_errors: float
    physical: float
    lost: float
    tx_wait_ticks: float
    tx_wait_usual: float


@inlined
def numbers(now: Now, usual: Usual, beside: Beside, i: int) -> Numbers:
    """Of the port in a slot."""
    rate = now.link_rate_bits_per_second[i]
    repeats = (
        or_zero(now.packet_sequence_errors[i])
        + or_zero(now.adaptive_retransmits[i])
        + or_zero(now.ack_timeouts[i])
    )
    packets = now.rx_packets[i] + now.tx_packets[i]
    return Numbers(
        rx_util=ratio(8 * now.rx_bytes[i], rate),
        tx_util=ratio(8 * now.tx_bytes[i], rate),
        ecn_marked=ratio(now.ecn_marked_packets[i], now.rx_packets[i]),
        ecn_marked_packets=now.ecn_marked_packets[i],
        cnp_sent=now.cnp_sent[i],
        cnp_sent_usual=usual.cnp_sent[i],
        cnp_handled=now.cnp_handled[i],
        cnp_handled_usual=usual.cnp_handled[i],
        cnp_ignored=now.cnp_ignored[i],
        senders_slowed=beside.senders_slowed[i],
        out_of_buffer=now.out_of_buffer[i],
        paused=now.pfc_rx_pause_us[i] / 1e6,
        pfc_storm_events=now.pfc_storm_events[i],
        pfc_rx_pauses=now.pfc_rx_pauses[i],
        pfc_tx_pauses=now.pfc_tx_pauses[i],
        out_of_sequence=now.out_of_sequence[i],
        repeats=repeats,
        symbol_errors=now.symbol_errors[i],
        physical=or_zero(now.symbol_errors[i]) + or_zero(now.link_recoveries[i]),
        lost=ratio(or_zero(now.out_of_sequence[i]) + repeats, packets),
        tx_wait_ticks=now.tx_wait_ticks[i],
        tx_wait_usual=usual.tx_wait_ticks[i],
    )


@inlined
def unusual(rate: float, usual: float, least: float) -> bool:
    """Whether a rate is at least `least` and well above what this port usually shows, if known."""
    return rate >= max(least, ABOVE_USUAL * or_zero(usual))


@inlined
def incast_receiver(port: Numbers) -> int:
    """Flows collide on the way to this port."""
    return word(
        known(port.cnp_sent) and known(port.rx_util) and known(port.ecn_marked),
        port.rx_util >= RECEIVING
        and port.ecn_marked >= MARKED
        and unusual(port.cnp_sent, port.cnp_sent_usual, LEAST_CNPS),
        _CRITICAL if port.ecn_marked >= BADLY_MARKED else _WARNING,
    )


@inlined
def victim_sender(port: Numbers) -> int:
    """It is told to slow down."""
    return word(
        known(port.cnp_handled) and known(port.tx_util),
        port.tx_util >= SENDING
        and unusual(port.cnp_handled, port.cnp_handled_usual, LEAST_CNPS)
        and port.cnp_handled >= MOSTLY_SENDER * or_zero(port.cnp_sent),
        _WARNING,
    )


@inlined
def pfc_storm(port: Numbers) -> int:
    """The switch holds it up."""
    return word(
        known(port.paused) or known(port.pfc_storm_events),
        port.paused >= PAUSED or port.pfc_storm_events > 0.0,
        _CRITICAL,
    )


@inlined
def lossy_link(port: Numbers) -> int:
    """Packets are lost, and nobody marks them.

    Adaptive routing reorders too: gaps alone are no loss, somebody must have to repeat. Both ends
    of a bad path repeat; the end whose own link errs is the one to replace.
    """
    errs = port.physical >= LEAST_ERRORS
    return word(
        known(port.lost) and known(port.out_of_sequence),
        port.lost >= LOST
        and (port.repeats >= LEAST_REPEATS or errs)
        and not port.ecn_marked >= HARDLY_MARKED
        and (errs or not known(port.symbol_errors)),
        _CRITICAL if port.lost >= BADLY_LOST else _WARNING,
    )


@inlined
def cc_disabled(port: Numbers) -> int:
    """It does not listen."""
    return word(known(port.cnp_ignored), port.cnp_ignored >= LEAST_IGNORED, _WARNING)


@inlined
def credit_starved(port: Numbers, infiniband: bool) -> int:
    """It has no credits to send with."""
    far = FAR_ABOVE_USUAL * or_zero(port.tx_wait_usual)
    return word(
        infiniband and known(port.tx_wait_ticks) and known(port.tx_wait_usual),
        port.tx_util >= RECEIVING and unusual(port.tx_wait_ticks, port.tx_wait_usual, LEAST_TICKS),
        _CRITICAL if port.tx_wait_ticks >= far else _WARNING,
    )


@compiled
def judge(now: Now, usual: Usual, beside: Beside, said: np.ndarray) -> None:
    """Say something of every port, by condition in the order of `CONDITIONS`."""
    for i in range(said.shape[1]):
        port = numbers(now, usual, beside, i)
        said[0, i] = incast_receiver(port)
        said[1, i] = victim_sender(port)
        said[2, i] = pfc_storm(port)
        said[3, i] = lossy_link(port)
        said[4, i] = cc_disabled(port)
        said[5, i] = credit_starved(port, beside.infiniband[i])


_UTIL = (
    Measure(name="rx_util", unit="ratio", threshold=RECEIVING),
    Measure(name="tx_util", unit="ratio", threshold=SENDING),
)
CONDITIONS = (
    Condition(
        name="incast_receiver",
        summary="is where flows collide: {ecn_marked:.1%} of its packets arrive marked"
        " at {rx_util:.0%} of the link",
        evidence=(
            Measure(name="ecn_marked", unit="ratio", threshold=MARKED),
            Measure(name="cnp_sent", unit="1/s", threshold=LEAST_CNPS),
            Measure(name="cnp_sent_usual", unit="1/s"),
            Measure(name="senders_slowed", unit="1", note="ports seen on this rail"),
            *_UTIL,
        ),
        counter_evidence=(
            Measure(name="out_of_buffer", unit="1/s"),
            Measure(name="cnp_handled", unit="1/s"),
        ),
        alternatives=("the host is slow to post receives (out_of_buffer would grow)",),
    ),
    Condition(
        name="victim_sender",
        summary="is told to slow down {cnp_handled:.0f} times a second while sending at"
        " {tx_util:.0%} of the link",
        evidence=(
            Measure(name="cnp_handled", unit="1/s", threshold=LEAST_CNPS),
            Measure(name="cnp_handled_usual", unit="1/s"),
            *_UTIL,
        ),
        counter_evidence=(Measure(name="cnp_sent", unit="1/s"),),
        alternatives=("this port is itself one of the flows that make the incast",),
    ),
    Condition(
        name="pfc_storm",
        summary="is paused by PFC {paused:.0%} of the time",
        evidence=(
            Measure(name="paused", unit="ratio", threshold=PAUSED),
            Measure(name="pfc_storm_events", unit="1/s", threshold=0.0),
            Measure(name="pfc_rx_pauses", unit="1/s"),
            Measure(name="pfc_tx_pauses", unit="1/s"),
            *_UTIL,
        ),
        counter_evidence=(Measure(name="ecn_marked_packets", unit="1/s"),),
        alternatives=("a slow or hung receiver behind the switch port",),
    ),
    Condition(
        name="lossy_link",
        summary="loses packets without congestion: {lost:.2%} are out of order or sent again",
        evidence=(
            Measure(name="lost", unit="ratio", threshold=LOST),
            Measure(name="out_of_sequence", unit="1/s"),
            Measure(name="repeats", unit="1/s", threshold=LEAST_REPEATS),
            Measure(name="symbol_errors", unit="1/s"),
            *_UTIL,
        ),
        counter_evidence=(Measure(name="ecn_marked", unit="ratio", threshold=HARDLY_MARKED),),
        alternatives=("adaptive routing reorders packets", "the other end of the path is bad"),
    ),
    Condition(
        name="cc_disabled",
        summary="ignores {cnp_ignored:.0f} congestion notifications a second:"
        " congestion control is off on this adapter",
        evidence=(Measure(name="cnp_ignored", unit="1/s", threshold=LEAST_IGNORED), *_UTIL),
        counter_evidence=(Measure(name="cnp_handled", unit="1/s"),),
    ),
    Condition(
        name="credit_starved",
        summary="waits for credits {tx_wait_ticks:.0f} ticks a second, usually"
        " {tx_wait_usual:.0f}, while sending at {tx_util:.0%} of the link",
        evidence=(
            Measure(name="tx_wait_ticks", unit="ticks/s"),
            Measure(name="tx_wait_usual", unit="ticks/s"),
            *_UTIL,
        ),
        alternatives=("a slow receiver downstream", "an oversubscribed uplink"),
    ),
)


def find(ports: Devices, around: Around) -> Sequence[Verdict]:
    """Judge every port."""
    now = Now(*map(ports.now, Now._fields))
    usual = Usual(*map(ports.usual, Usual._fields))
    beside = Beside(
        senders_slowed=around.rail.count(now.cnp_handled >= LEAST_CNPS),
        infiniband=ports.state("link_layer") == INFINIBAND,
    )
    said = np.empty((len(CONDITIONS), len(now.cnp_handled)), dtype=np.uint8)
    judge(now, usual, beside, said)
    return verdicts(CONDITIONS, said, partial(numbers, now, usual, beside))


DETECTOR = Detector(
    name=NAME,
    conditions=CONDITIONS,
    finders={"fabric": find},
    columns={"fabric": Now._fields},
    baselines={"fabric": Usual._fields},
)

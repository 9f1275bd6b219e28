"""RoCE ports on two rails: flows share links, queues mark, marks slow senders down.

Congestion control is far faster than a step, so each step takes its equilibrium: what is offered
to a receiver's link fixes the queue before it, the queue fixes the share of packets marked, and
senders obey until the link is just full. Without congestion control the queue grows until priority
flow control pauses the senders. Marks and CNPs relate as 0.75, as seen on an 8-node ConnectX
cluster under DCQCN (cumulative and per second).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collectors.simulator.workload import Bools, Floats
from ridgeline.schema import FABRIC, Kind

RAIL_COUNT = 2
LINK_BITS_PER_SECOND = 400e9
LINK_BYTES_PER_SECOND = LINK_BITS_PER_SECOND / 8
PACKET_BYTES = 4096.0
CNP_PER_MARK = 0.75
MARKS_BEGIN = 0.92  # offered load over the link's rate at which a queue begins to stand
MARKS_SPAN = 0.9  # further load at which marking is at its most
MOST_MARKED_RATIO = 0.3
HELD_LOAD = 0.97  # where congestion control holds a congested link
QUEUE_BEGIN_BYTES, QUEUE_FULL_BYTES = 150e3, 1.5e6  # marking thresholds of the switch (assumed)
TICKS_PER_SECOND = 250e6  # of the port's wait counter (assumed)
BULK_SECONDS = 1.0  # KV caches travel layer by layer while the prompt is computed
LOSS_PENALTY = 500.0  # go-back-N: every loss repeats what was in flight (assumed)
LINK_LAYER_ROCE = 3


@dataclass(slots=True)
class Flows:
    """What the network is asked for in a step; matrices are [rail, from node, to node]."""

    transfers_bytes: Floats  # new KV bytes, [from, to]; both rails carry half
    streams_bytes_per_second: Floats
    loss_ratio: Floats  # [node, rail]
    link_up: Bools  # [node, rail]
    congestion_control: bool = True


class Fabric:
    """All ports of the cluster; arrays are [node, rail]."""

    def __init__(self, nodes: int) -> None:
        self.nodes = nodes
        self.totals: dict[str, Floats] = {
            name: np.zeros((nodes, RAIL_COUNT)) for name in FABRIC.of_kind(Kind.COUNTER)
        }
        self.queue_bytes: Floats = np.zeros((nodes, RAIL_COUNT))
        self.tx_rate: Floats = np.zeros((nodes, RAIL_COUNT))
        self.rx_rate: Floats = np.zeros((nodes, RAIL_COUNT))
        self.kv_rate: Floats = np.full(nodes, 2 * LINK_BYTES_PER_SECOND)  # one transfer gets
        self._backlog: Floats = np.zeros((nodes, nodes))
        self._up: Bools = np.ones((nodes, RAIL_COUNT), dtype=bool)

    def step(self, seconds: float, flows: Flows) -> None:
        """Advance by `seconds`."""
        self._backlog += flows.transfers_bytes
        usable = _ends(flows.link_up.astype(np.float64))
        rails = usable / np.maximum(usable.sum(axis=0), 1.0)  # a dead rail's share moves over
        bulk = self._backlog * rails / max(seconds, BULK_SECONDS)
        streams = flows.streams_bytes_per_second * usable
        offered = bulk + streams
        offered *= _at_most_one(LINK_BYTES_PER_SECOND, offered.sum(axis=2))[:, :, None]
        load = offered.sum(axis=1) / LINK_BYTES_PER_SECOND  # [rail, to]
        goal = HELD_LOAD if flows.congestion_control else 1.0
        sent = offered * _at_most_one(goal, load)[:, None, :]
        share = np.divide(bulk, bulk + streams, out=np.zeros_like(bulk), where=bulk > 0)
        self._backlog = np.maximum(0.0, self._backlog - (sent * share).sum(axis=0) * seconds)
        self.totals["link_downs"] += self._up & ~flows.link_up
        self._up = flows.link_up
        self.kv_rate = _transfer_rate(load, flows)
        self._move(seconds, sent)
        self._mark(seconds, sent, load, congestion_control=flows.congestion_control)
        self._lose(seconds, sent, flows.loss_ratio)

    def fill(self, rows: np.ndarray) -> None:
        """Write FABRIC rows, node by node, both rails of each."""
        for name, total in self.totals.items():
            rows[name] = total.ravel().astype(np.uint64)
        rows["link_rate_bits_per_second"] = LINK_BITS_PER_SECOND
        rows["link_up"] = self._up.ravel()
        rows["link_layer"] = LINK_LAYER_ROCE

    def _move(self, seconds: float, sent: Floats) -> None:
        self.tx_rate, self.rx_rate = sent.sum(axis=2).T, sent.sum(axis=1).T
        self.totals["tx_bytes"] += self.tx_rate * seconds
        self.totals["rx_bytes"] += self.rx_rate * seconds
        self.totals["tx_packets"] += self.tx_rate * seconds / PACKET_BYTES
        self.totals["rx_packets"] += self.rx_rate * seconds / PACKET_BYTES

    def _mark(
        self, seconds: float, sent: Floats, load: Floats, *, congestion_control: bool
    ) -> None:
        depth = np.clip((load - MARKS_BEGIN) / MARKS_SPAN, 0.0, 1.0)
        if not congestion_control:
            depth = np.where(load > 1.0, 1.0, depth)
        queue = QUEUE_BEGIN_BYTES + depth * (QUEUE_FULL_BYTES - QUEUE_BEGIN_BYTES)
        self.queue_bytes = np.where(depth > 0, queue, 0.0).T
        marks = sent * seconds / PACKET_BYTES * (MOST_MARKED_RATIO * depth)[:, None, :]
        received, caused = marks.sum(axis=1).T, marks.sum(axis=2).T
        totals = self.totals
        totals["ecn_marked_packets"] += received
        totals["cnp_sent"] += CNP_PER_MARK * received
        answer = "cnp_handled" if congestion_control else "cnp_ignored"
        totals[answer] += CNP_PER_MARK * caused
        if not congestion_control:
            self._pause(seconds, sent, load)

    def _pause(self, seconds: float, sent: Floats, load: Floats) -> None:
        """A full queue pauses everyone who feeds it, victims included."""
        excess = np.clip(1.0 - 1.0 / np.maximum(load, 1.0), 0.0, 1.0)
        paused = np.where(sent > 0, excess[:, None, :], 0.0).max(axis=2).T
        self.totals["tx_wait_ticks"] += paused * seconds * TICKS_PER_SECOND
        self.totals["pfc_rx_pause_us"] += paused * seconds * 1e6
        self.totals["pfc_rx_pauses"] += paused * seconds * 1e6 / 5.0  # 5 us a pause (assumed)

    def _lose(self, seconds: float, sent: Floats, loss_ratio: Floats) -> None:
        """A bad cable or optic at one end: gaps at the receivers, repeats at the senders."""
        if not loss_ratio.any():
            return
        lost = 1.0 - _ends(1.0 - loss_ratio)
        packets = sent * seconds / PACKET_BYTES * lost
        received, repeated = packets.sum(axis=1).T, packets.sum(axis=2).T
        self.totals["out_of_sequence"] += received
        self.totals["packet_sequence_errors"] += repeated
        self.totals["adaptive_retransmits"] += repeated
        here = loss_ratio > 0
        self.totals["symbol_errors"] += here * loss_ratio * (received + repeated) * 10
        self.totals["rx_errors"] += np.where(here, received, 0.0)


def _ends(port: Floats) -> Floats:
    """Product of what both ends of every path allow, [rail, from, to], from [node, rail]."""
    rail = port.T
    return np.asarray(rail[:, :, None] * rail[:, None, :], dtype=np.float64)


def _at_most_one(limit: float, asked: Floats) -> Floats:
    """Factor that brings `asked` down to `limit`."""
    return np.minimum(1.0, limit / np.maximum(asked, 1e-9))


def _transfer_rate(load: Floats, flows: Flows) -> Floats:
    """Bytes a second one KV transfer to every node gets: the slowest rail that is up decides."""
    free = np.maximum(1.0 - np.minimum(load, 1.0), 0.05 / np.maximum(load, 1.0)).T
    free = np.where(flows.link_up, free / (1.0 + LOSS_PENALTY * flows.loss_ratio), np.inf)
    slowest = np.where(flows.link_up.any(axis=1), free.min(axis=1), 1e-3)
    rails = np.maximum(flows.link_up.sum(axis=1), 1)
    return np.asarray(rails * LINK_BYTES_PER_SECOND * slowest, dtype=np.float64)

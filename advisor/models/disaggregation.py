"""Prefill and decode together or apart: the best of each arrangement, compared on equal GPUs.

Apart never makes tokens cheaper by itself (vLLM's documentation says so plainly); it pays where one
engine cannot hold both latency objectives, so the rates here are rates *within* the objectives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from advisor.models import kv
from advisor.models.arrays import Floats, Numbers, floats
from advisor.models.layouts import candidates
from advisor.models.rates import decode_rate, prefill_rate, shared_rate
from advisor.models.replica import Layout, Replica
from advisor.models.slo import Workload

VERSION = "disaggregation/3"
PREFILL_MATCH, DECODE_MATCH = 0.9, 0.92  # rate-matching losses, AIConfigurator 0.12
# What a KV connector costs each phase: AIConfigurator 0.12 scales its disaggregated prefill and
# decode latencies so; Splitwise saw 0.8 % of a request end to end, and 16 % of its second token
PREFILL_CONNECTOR, DECODE_CONNECTOR = 1.10, 1.08
NETWORK_SHARE = 0.8  # of a link that cache transfers may fill
GPUS_A_NODE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """Engines that prefill and decode: the best layout and chunk, and what all of them carry."""

    replica: Replica
    engines: int
    rate_per_second: float
    chunk_tokens: int
    batch: float
    tpot_seconds: float

    @property
    def rate_per_gpu(self) -> float:
        """Requests/s within the objectives for each GPU."""
        return self.rate_per_second / (self.engines * self.replica.gpus)


@dataclass(frozen=True, slots=True, kw_only=True)
class Apart:
    """A prefill and a decode pool, and what the pair carries."""

    prefill: Replica
    decode: Replica
    prefills: int
    decodes: int
    rate_per_second: float
    prefill_rate_per_second: float  # of one engine
    decode_rate_per_second: float  # likewise
    ttft_seconds: float  # without waiting, hand-over included
    tpot_seconds: float
    batch: float
    network_gbps: float  # what the hand-over needs of a node, one way

    @property
    def gpus(self) -> int:
        """GPUs of both pools."""
        return self.prefills * self.prefill.gpus + self.decodes * self.decode.gpus

    @property
    def rate_per_gpu(self) -> float:
        """Requests/s within the objectives for each GPU."""
        return self.rate_per_second / self.gpus


def matched_rate_per_replica(
    prefill_rate_: float, prefills: int, decode_rate_: float, decodes: int, *, derate: bool = True
) -> float:
    """Requests/s of the pair divided by all engines; with the matching losses unless told not to.

    DistServe figure 1: 2 prefill at 5.6 and 1 decode at 10 requests/s give 3.3 a GPU.
    """
    p, d = (PREFILL_MATCH, DECODE_MATCH) if derate else (1.0, 1.0)
    return min(prefill_rate_ * prefills * p, decode_rate_ * decodes * d) / (prefills + decodes)


def split_of(
    gpus: int,
    prefill: tuple[float, int],
    decode: tuple[float, int],
    handed_over_per_second: float = math.inf,
) -> tuple[int, int, float]:
    """Prefill and decode engines that carry most on `gpus`, and requests/s; 0, 0, 0 if none do.

    `prefill` and `decode` are each an engine's rate and GPUs, `handed_over_per_second` the requests
    whose caches a node's network passes on, one way.
    """
    (p_rate, p_gpus), (d_rate, d_gpus) = prefill, decode
    most = (gpus - d_gpus) // p_gpus
    if most < 1 or p_rate <= 0 or d_rate <= 0:
        return 0, 0, 0.0
    p = np.arange(1.0, most + 1)
    d = (gpus - p * p_gpus) // d_gpus
    links = np.minimum(_nodes(p, p_gpus, gpus), _nodes(d, d_gpus, gpus))
    carried = np.minimum(p * p_rate * PREFILL_MATCH, d * d_rate * DECODE_MATCH)
    carried = np.where(d > 0, np.minimum(carried, links * handed_over_per_second), 0.0)
    best = int(np.argmax(carried))
    return int(p[best]), int(d[best]), float(carried[best])


def _nodes(engines: Numbers, engine_gpus: int, gpus: int) -> Floats:
    """Nodes whose links a pool has: its engines spread, as caches leave one pool and enter another.

    A link carries both ways at once, so that the pools do not share it.
    """
    spread = floats(engines) * max(1.0, engine_gpus / GPUS_A_NODE)
    return np.minimum(max(1.0, gpus / GPUS_A_NODE), spread)


def best_together(replicas: Sequence[Replica], work: Workload, gpus: int) -> Together | None:
    """The layout and chunk size that carry most when every engine does both; None if none holds."""
    best: Together | None = None
    for one in replicas:
        engines = gpus // one.gpus
        if engines < 1:
            continue
        found = shared_rate(one, work, engines)
        total = engines * found.rate_per_second
        if total > 0 and (best is None or total > best.rate_per_second):
            best = Together(
                replica=one,
                engines=engines,
                rate_per_second=total,
                chunk_tokens=found.chunk_tokens,
                batch=found.batch,
                tpot_seconds=found.tpot_seconds,
            )
    return best


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One prefill and one decode engine that hand over inside their nodes."""

    prefill: Replica
    decode: Replica
    rate_per_second: float

    @property
    def rate_per_gpu(self) -> float:
        """Requests/s within the objectives for each GPU."""
        return self.rate_per_second / (self.prefill.gpus + self.decode.gpus)


def pairs_in_nodes(
    prefills: Sequence[Replica], decodes: Sequence[Replica], work: Workload
) -> tuple[Pair, ...]:
    """Pairs whose cache never leaves a node, best rate per GPU first: for networks that are thin.

    Both engines share a node, or have as many stages as one another, each pair of stages on a node
    of its own (DistServe's low node-affinity placement, its algorithm 2). Such a pair is what is
    replicated, so that no ratio of engines evens out unequal rates.
    """
    p_rates = [prefill_rate(slower(p, 1 / PREFILL_CONNECTOR, 1.0), work, 1) for p in prefills]
    d_rates = [decode_rate(slower(d, 1.0, 1 / DECODE_CONNECTOR), work, 1) for d in decodes]
    found = [
        Pair(prefill=p, decode=d, rate_per_second=min(at.rate_per_second, of.rate_per_second))
        for p, at in zip(prefills, p_rates, strict=True)
        for d, of in zip(decodes, d_rates, strict=True)
        if _shares_nodes(p.layout, d.layout)
    ]
    return tuple(sorted(found, key=lambda pair: -pair.rate_per_gpu))


def _shares_nodes(prefill: Layout, decode: Layout) -> bool:
    a_stage = prefill.tensor * prefill.data + decode.tensor * decode.data
    together = prefill.pipeline == decode.pipeline and a_stage <= GPUS_A_NODE
    return together or prefill.gpus + decode.gpus <= GPUS_A_NODE


def handover_gbps_per_request(replica: Replica, work: Workload) -> float:
    """Gbit that one request's cache is."""
    each = kv.kv_bytes(replica.model, work.prompt_tokens, replica.cache.bytes_per_element)
    return float(each) * 8 / 1e9


def best_apart(
    prefills: Sequence[Replica],
    decodes: Sequence[Replica],
    work: Workload,
    gpus: int,
    network_gbps: float,
) -> Apart | None:
    """The pair of layouts and the ratio that carry most; None if no pair holds the objectives.

    The pair is capped by what the nodes of either pool hand over or take in: where few nodes decode
    it is their links that are full.
    """
    gbit = handover_gbps_per_request(prefills[0], work) if prefills else 0.0
    handover = gbit / network_gbps
    a_node = NETWORK_SHARE * network_gbps / gbit if gbit else math.inf
    connected = [slower(one, 1.0, 1 / DECODE_CONNECTOR) for one in decodes]
    pools = [(one, decode_rate(one, work, max(1, gpus // 2 // one.gpus))) for one in connected]
    best: Apart | None = None
    for p in (slower(one, 1 / PREFILL_CONNECTOR, 1.0) for one in prefills):
        found = prefill_rate(p, work, max(1, gpus // 2 // p.gpus), handover)
        p_rate = found.rate_per_second
        for d, pool in pools:
            d_rate = pool.rate_per_second
            n_p, n_d, carried = split_of(gpus, (p_rate, p.gpus), (d_rate, d.gpus), a_node)
            if carried > 0 and (best is None or carried > best.rate_per_second):
                links = min(_nodes(n_p, p.gpus, gpus), _nodes(n_d, d.gpus, gpus))
                best = Apart(
                    prefill=p,
                    decode=d,
                    prefills=n_p,
                    decodes=n_d,
                    rate_per_second=carried,
                    prefill_rate_per_second=p_rate,
                    decode_rate_per_second=d_rate,
                    ttft_seconds=found.ttft_seconds,
                    tpot_seconds=pool.tpot_seconds,
                    batch=pool.batch,
                    network_gbps=float(carried / links * gbit),
                )
    return best


def fixed_apart(
    prefill: Replica,
    decode: Replica,
    work: Workload,
    engines: tuple[int, int],
    network_gbps: float,
) -> float:
    """Requests/s that pools of these sizes carry within the objectives."""
    gbit = handover_gbps_per_request(prefill, work)
    prefill = slower(prefill, 1 / PREFILL_CONNECTOR, 1.0)
    decode = slower(decode, 1.0, 1 / DECODE_CONNECTOR)
    p = prefill_rate(prefill, work, engines[0], gbit / network_gbps).rate_per_second
    d = decode_rate(decode, work, engines[1]).rate_per_second
    gpus = engines[0] * prefill.gpus + engines[1] * decode.gpus
    links = min(_nodes(engines[0], prefill.gpus, gpus), _nodes(engines[1], decode.gpus, gpus))
    handed_over = float(links) * NETWORK_SHARE * network_gbps / gbit
    return min(p * engines[0] * PREFILL_MATCH, d * engines[1] * DECODE_MATCH, handed_over)


def slower(replica: Replica, prefill_ratio: float, decode_ratio: float) -> Replica:
    """The replica with other efficiencies, for the corners of an interval."""
    return replace(
        replica,
        prefill=replace(replica.prefill, efficiency=replica.prefill.efficiency * prefill_ratio),
        decode=replace(replica.decode, efficiency=replica.decode.efficiency * decode_ratio),
    )


def layouts_of(replica: Replica, most_gpus: int) -> tuple[Replica, ...]:
    """Layouts to compare on engines of at most `most_gpus`."""
    return candidates(replica, most_gpus)


__all__ = [
    "Apart",
    "Layout",
    "Pair",
    "Together",
    "best_apart",
    "best_together",
    "fixed_apart",
    "handover_gbps_per_request",
    "layouts_of",
    "matched_rate_per_replica",
    "pairs_in_nodes",
    "slower",
    "split_of",
]

"""Prefill and decode together or apart: queues, rates, transfer, and the decision with its margin.

Apart never makes tokens cheaper by itself (vLLM's documentation says so plainly); it pays where one
engine cannot hold both latency objectives, so the rates here are rates *within* the objectives.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from advisor.models.llm import Replica
from advisor.models.roofline import Calibration

VERSION = "disaggregation/1"
PREFILL_MATCH, DECODE_MATCH = 0.9, 0.92  # rate-matching losses, AIConfigurator 0.12
MARGIN_RATIO = 0.10
LEAST_NETWORK_GBPS = 100.0  # Mooncake: TTFT collapses below
TAIL = 0.01  # objectives are p99


def md1_ttft_seconds(service_seconds: float, arrivals_per_second: float) -> float:
    """Mean TTFT of one engine, `D + R*D^2/(2*(1-R*D))` (DistServe eq. 1); inf when overloaded."""
    load = arrivals_per_second * service_seconds
    if load >= 1:
        return math.inf
    return service_seconds + load * service_seconds / (2 * (1 - load))


def md1_inter_op_ttft_seconds(service_seconds: float, arrivals_per_second: float) -> float:
    """With a 2-stage pipeline, `D + R*D^2/(4*(2-R*D))` (DistServe eq. 2)."""
    load = arrivals_per_second * service_seconds
    if load >= 2:
        return math.inf
    return service_seconds + load * service_seconds / (4 * (2 - load))


def md1_intra_op_ttft_seconds(
    service_seconds: float, arrivals_per_second: float, speedup: float
) -> float:
    """With tensor parallelism of speed-up K, `D/K + R*D^2/(2*K*(K-R*D))` (DistServe eq. 3)."""
    load = arrivals_per_second * service_seconds
    if load >= speedup:
        return math.inf
    return service_seconds / speedup + load * service_seconds / (2 * speedup * (speedup - load))


def md1_ttft_p99_seconds(service_seconds: float, arrivals_per_second: float) -> float:
    """Heavy-traffic tail: wait is 0 with 1-rho, else exponential with the M/D/1 mean."""
    load = arrivals_per_second * service_seconds
    if load >= 1:
        return math.inf
    scale = service_seconds / (2 * (1 - load))
    return service_seconds + scale * max(0.0, math.log(load / TAIL) if load > 0 else 0.0)


def matched_rate_per_replica(
    prefill_rate: float, prefills: int, decode_rate: float, decodes: int, *, derate: bool = True
) -> float:
    """Requests/s of the pair divided by all replicas; with the matching losses unless told not to.

    DistServe figure 1: 2 prefill at 5.6 and 1 decode at 10 requests/s give 3.3 a GPU.
    """
    p, d = (PREFILL_MATCH, DECODE_MATCH) if derate else (1.0, 1.0)
    return min(prefill_rate * prefills * p, decode_rate * decodes * d) / (prefills + decodes)


def kv_transfer_seconds(prompt_tokens: float, kv_bytes_per_token: float, gbps: float) -> float:
    """Time to hand a prompt's KV cache over, not overlapped with anything."""
    return prompt_tokens * kv_bytes_per_token * 8 / (gbps * 1e9)


def kv_transfer_gbps(
    prompt_tokens: float, kv_bytes_per_token: float, requests_per_second: float
) -> float:
    """Bandwidth the hand-over needs. OPT-66B, 512 tokens, 10 requests/s: 90 Gbps (DistServe)."""
    return prompt_tokens * kv_bytes_per_token * requests_per_second * 8 / 1e9


def reuse_pays_above_bytes_per_second(
    prompt_tokens: float, flops: float, hidden: int, gqa: int, element_bytes: int
) -> float:
    """Link speed above which fetching a cached prefix beats computing it (Mooncake, section 3)."""
    work = 4 * prompt_tokens * hidden + 22 * hidden**2
    return flops * 2 * hidden * element_bytes / (gqa * work)


def planner_replicas(
    *,
    requests: float,
    tokens_each: float,
    interval_seconds: float,
    correction: float,
    tokens_per_second_per_gpu: float,
    gpus_per_engine: int,
) -> int:
    """Prefill engines for the next interval (NVIDIA Dynamo's SLA planner, sla_planner.md)."""
    load = requests * tokens_each / interval_seconds * min(1.0, correction)
    return math.ceil(load / tokens_per_second_per_gpu / gpus_per_engine)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Requests and what was promised about them."""

    prompt_tokens: float
    output_tokens: float
    slo_ttft_seconds: float
    slo_tpot_seconds: float
    prefix_hit_ratio: float = 0.0

    @property
    def computed_tokens(self) -> float:
        """Prompt tokens that the prefix cache does not have."""
        return self.prompt_tokens * (1 - min(1.0, max(0.0, self.prefix_hit_ratio)))

    @property
    def context_tokens(self) -> float:
        """Mean context while decoding."""
        return self.prompt_tokens + self.output_tokens / 2


def _largest(ok: Callable[[float], bool], high: float) -> float:
    """Largest rate in [0, high] that is ok, by bisection; ok is true up to a point."""
    low = 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if ok(middle) else (low, middle)
    return low


def prefill_rate_per_second(replica: Replica, work: Workload, transfer_seconds: float) -> float:
    """Most requests/s a prefill engine takes while p99 TTFT holds."""
    service = replica.prefill_seconds(work.computed_tokens)
    budget = work.slo_ttft_seconds - transfer_seconds
    return _largest(lambda r: md1_ttft_p99_seconds(service, r) <= budget, 1 / service)


def decode_rate_per_second(replica: Replica, work: Workload, prefill_share: float = 0.0) -> float:
    """Most requests/s an engine decodes while TPOT and its KV cache hold.

    `prefill_share` of its time goes to prefills that interrupt decoding.
    """
    if prefill_share >= 1:
        return 0.0
    most = replica.kv_capacity_tokens / (work.prompt_tokens + work.output_tokens)

    def holds(batch: float) -> bool:
        step = replica.decode_step_seconds(batch, work.context_tokens) / (1 - prefill_share)
        return step <= work.slo_tpot_seconds

    batch = _largest(holds, most)
    step = replica.decode_step_seconds(max(batch, 1e-9), work.context_tokens) / (1 - prefill_share)
    return batch / (work.output_tokens * step)


def colocated_rate_per_second(replica: Replica, work: Workload) -> float:
    """Most requests/s one engine serves doing both, prefills first, within both objectives."""
    service = replica.prefill_seconds(work.computed_tokens)

    def holds(rate: float) -> bool:
        share = rate * service
        waiting = md1_ttft_p99_seconds(service, rate)
        return (
            share < 1
            and waiting <= work.slo_ttft_seconds
            and decode_rate_per_second(replica, work, share) >= rate
        )

    return _largest(holds, 1 / service)


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Replicas of each kind and what they carry together, requests/s."""

    prefills: int
    decodes: int
    rate_per_second: float


def best_split(prefill_rate: float, decode_rate: float, replicas: int) -> Split:
    """The division of `replicas` (at least 2) that carries most."""
    splits = (
        Split(
            prefills=p,
            decodes=replicas - p,
            rate_per_second=replicas
            * matched_rate_per_replica(prefill_rate, p, decode_rate, replicas - p),
        )
        for p in range(1, replicas)
    )
    return max(splits, key=lambda s: s.rate_per_second)


class Refusal(StrEnum):
    """Why taking prefill and decode apart is not advised."""

    NETWORK = "network below 100 Gbps a node"
    REPLICAS = "fewer than 2 replicas"
    SLO_MET = "the co-located pool meets its objectives"
    MARGIN = "the gain is within the margin of 10 %"
    IMPOSSIBLE = "no split holds the objectives"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Result of comparing two arrangements of the same replicas; ratios are gains over today."""

    split: Split | None
    today_rate_per_second: float
    gain_low_ratio: float
    gain_ratio: float
    gain_high_ratio: float
    refusals: tuple[Refusal, ...]

    @property
    def distance_ratio(self) -> float:
        """How far the gain is above (+) or below (-) the margin at which the answer tips."""
        return self.gain_ratio - MARGIN_RATIO

    @property
    def advised(self) -> bool:
        """True when nothing speaks against it."""
        return not self.refusals


def corners(replica: Replica, spread_ratio: float = 0.13) -> tuple[Replica, ...]:
    """The replica as calibrated and with both efficiencies off by the worst error seen (13 %)."""
    factors = (1.0, 1 - spread_ratio, 1 + spread_ratio)
    return tuple(
        replace(
            replica,
            prefill=_scaled(replica.prefill, p),
            decode=_scaled(replica.decode_calibration, d),
        )
        for p, d in itertools.product(factors, factors)
    )


def _scaled(calibration: Calibration, factor: float) -> Calibration:
    return replace(calibration, efficiency=min(1.0, calibration.efficiency * factor))


def decide_disaggregation(
    replica: Replica,
    work: Workload,
    replicas: int,
    network_gbps: float,
    *,
    slo_met_today: bool,
) -> Decision:
    """Whether `replicas` co-located engines should be taken apart into prefill and decode."""
    transfer = kv_transfer_seconds(
        work.prompt_tokens, replica.model.kv_bytes_per_token(), network_gbps
    )
    gains: list[float] = []
    splits: list[Split] = []
    today: list[float] = []
    for corner in corners(replica) if replicas >= 2 else ():
        together = replicas * colocated_rate_per_second(corner, work)
        split = best_split(
            prefill_rate_per_second(corner, work, transfer),
            decode_rate_per_second(corner, work),
            replicas,
        )
        today.append(together)
        splits.append(split)
        if together > 0:
            gains.append(split.rate_per_second / together - 1)
        elif split.rate_per_second > 0:
            gains.append(math.inf)
    return _decision(gains, splits, today, _blocked(network_gbps, replicas, slo_met_today))


def decide_rebalance(
    replica: Replica, work: Workload, prefills: int, decodes: int, network_gbps: float
) -> Decision:
    """Whether a pair of pools should hand replicas to one another."""
    transfer = kv_transfer_seconds(
        work.prompt_tokens, replica.model.kv_bytes_per_token(), network_gbps
    )
    gains: list[float] = []
    splits: list[Split] = []
    today: list[float] = []
    total = prefills + decodes
    for corner in corners(replica):
        p = prefill_rate_per_second(corner, work, transfer)
        d = decode_rate_per_second(corner, work)
        now = total * matched_rate_per_replica(p, prefills, d, decodes)
        split = best_split(p, d, total)
        today.append(now)
        splits.append(split)
        if now > 0:
            gains.append(split.rate_per_second / now - 1)
    return _decision(gains, splits, today, ())


def _blocked(network_gbps: float, replicas: int, slo_met: bool) -> tuple[Refusal, ...]:  # noqa: FBT001 - private, called once
    checks = (
        (network_gbps < LEAST_NETWORK_GBPS, Refusal.NETWORK),
        (replicas < 2, Refusal.REPLICAS),
        (slo_met, Refusal.SLO_MET),
    )
    return tuple(refusal for wrong, refusal in checks if wrong)


def _decision(
    gains: list[float], splits: list[Split], today: list[float], refusals: tuple[Refusal, ...]
) -> Decision:
    if not gains or not all(math.isfinite(g) for g in gains):
        return Decision(
            split=splits[0] if splits else None,
            today_rate_per_second=today[0] if today else 0.0,
            gain_low_ratio=0.0,
            gain_ratio=0.0,
            gain_high_ratio=0.0,
            refusals=(*refusals, Refusal.IMPOSSIBLE),
        )
    if min(gains) < MARGIN_RATIO:
        refusals = (*refusals, Refusal.MARGIN)
    return Decision(
        split=splits[0],
        today_rate_per_second=today[0],
        gain_low_ratio=min(gains),
        gain_ratio=gains[0],
        gain_high_ratio=max(gains),
        refusals=refusals,
    )

"""Tokens per dollar of one accelerator against another, for the workload that was measured."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from advisor.catalog.accelerators import Accelerator

VERSION = "accelerators/1"


class Bound(StrEnum):
    """What the workload presses against."""

    BANDWIDTH = "memory bandwidth"
    COMPUTE = "compute"


BANDWIDTH_BOUND_RATIO = 0.5
COMPUTE_BOUND_RATIO = 0.45


def measured_bound(dram_ratio: float | None, tensor_ratio: float | None) -> Bound | None:
    """The bound that measurements show, None when they show none or are missing.

    Ratios are averages over time, so half of the peak already means pressed against it most of the
    time: streaming weights at batch 1 reaches 68 to 78 % (AIC's matrix-multiply tables).
    """
    if dram_ratio is None or tensor_ratio is None:
        return None
    if dram_ratio >= BANDWIDTH_BOUND_RATIO and tensor_ratio < COMPUTE_BOUND_RATIO:
        return Bound.BANDWIDTH
    if tensor_ratio >= COMPUTE_BOUND_RATIO and dram_ratio < BANDWIDTH_BOUND_RATIO:
        return Bound.COMPUTE
    return None


def sustained(accelerator: Accelerator, bound: Bound) -> float | None:
    """Highest rate anyone measured (byte/s or FLOP/s); None is "unverified"."""
    if bound is Bound.BANDWIDTH:
        peak, share = accelerator.bandwidth_tb_s, accelerator.measured_bandwidth_ratio
        return None if peak is None or share is None else peak * share * 1e12
    measured = accelerator.measured_bf16_tflops
    return None if measured is None else measured * 1e12


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One candidate against today's; `cost_ratio` is dollars a token over today's."""

    candidate: Accelerator
    speed_ratio: float
    cost_ratio: float
    energy_ratio: float | None


def compare(
    today: Accelerator,
    candidate: Accelerator,
    bound: Bound,
    today_usd_per_hour: float,
    candidate_usd_per_hour: float,
) -> Comparison | None:
    """Speed, dollars and joules a token over today's; None when either speed is unverified."""
    now, then = sustained(today, bound), sustained(candidate, bound)
    if now is None or then is None:
        return None
    speed = then / now
    energy = (
        candidate.power_w / today.power_w / speed if candidate.power_w and today.power_w else None
    )
    return Comparison(
        candidate=candidate,
        speed_ratio=speed,
        cost_ratio=candidate_usd_per_hour / today_usd_per_hour / speed,
        energy_ratio=energy,
    )

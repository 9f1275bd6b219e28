"""Tokens per second of one phase: prompts on a prefill pool, answers on a decode pool.

Engines are those of `throughput`, on the number of devices that gives most tokens per device; None
where nobody published what engines reach ("unverified"), nothing fits, or the objective is missed
by one sequence alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from advisor.catalog.accelerators import Accelerator
from advisor.models import phases, throughput
from advisor.models.throughput import P99_RATIO, STAGE_COST, Job

VERSION = "phase_rates/3"


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseRate:
    """What one device of an engine of `devices` gives."""

    devices: int
    seconds: float  # of one prompt alone, or between two tokens of a sequence
    tokens_per_second_per_device: float
    sequences_per_device: float = 0.0  # decoded together


def prompt_rate(
    job: Job, accelerator: Accelerator, ttft_limit_seconds: float = math.inf
) -> PhaseRate | None:
    """Prompt tokens/s (cached ones among them) where one prompt alone takes at most the limit."""
    counts = throughput.engine_devices(job, accelerator)
    return _best(_prompts(job, accelerator, n, ttft_limit_seconds) for n in counts)


def output_rate(
    job: Job,
    accelerator: Accelerator,
    sequences_per_device: float = math.inf,
    tpot_limit_seconds: float = math.inf,
) -> PhaseRate | None:
    """Output tokens/s of engines that only decode, at `sequences_per_device` or what of it fits.

    What fits is bounded by the cache and by `tpot_limit_seconds` between two tokens (a mean).
    """
    counts = throughput.engine_devices(job, accelerator)
    return _best(
        _outputs(job, accelerator, n, sequences_per_device, tpot_limit_seconds) for n in counts
    )


def mean_tpot_seconds(tpot_p99_seconds: float) -> float:
    """The mean time between tokens that holds an objective at p99."""
    return P99_RATIO * tpot_p99_seconds


def _best(found: Iterable[PhaseRate | None]) -> PhaseRate | None:
    known = (rate for rate in found if rate is not None)
    return max(known, key=lambda r: r.tokens_per_second_per_device, default=None)


def _prompts(job: Job, accelerator: Accelerator, devices: int, limit: float) -> PhaseRate | None:
    engine = throughput.replica(job, accelerator, devices)
    reached = throughput.reached_ratio(engine)
    if reached is None:
        return None
    cached = job.prompt_tokens * job.prefix_hit_ratio
    alone = float(phases.prefill_seconds(engine, job.prompt_tokens, cached_tokens=cached)) / reached
    if alone > limit:
        return None
    each = throughput.prefill_seconds(job, engine) / reached
    return PhaseRate(
        devices=devices,
        seconds=alone,
        tokens_per_second_per_device=job.prompt_tokens / each / devices,
    )


def _outputs(
    job: Job, accelerator: Accelerator, devices: int, sequences: float, limit: float
) -> PhaseRate | None:
    engine = throughput.replica(job, accelerator, devices)
    reached = throughput.reached_ratio(engine)
    if reached is None:
        return None
    most = min(
        max(1.0, sequences * devices),
        job.most_batch * (devices if job.mixture else 1),
        throughput.capacity_sequences(job, engine),
    )
    if most < 1:
        return None
    batches = np.geomspace(1.0, most, throughput.BATCHES)
    steps = phases.decode_step_seconds(engine, batches, job.context_tokens) / reached
    steps = steps * (1 + STAGE_COST * (engine.layout.pipeline - 1))
    fine = np.flatnonzero(steps <= limit)
    if not fine.size:
        return None
    batch, seconds = float(batches[fine[-1]]), float(steps[fine[-1]])
    return PhaseRate(
        devices=devices,
        sequences_per_device=batch / devices,
        seconds=seconds,
        tokens_per_second_per_device=batch / seconds / devices,
    )

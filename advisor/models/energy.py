"""Power of a GPU by what it does, and energy of a token: idle, bytes moved, operations done.

`P = active + b * bandwidth share + c * sqrt(compute share)`, at most the limit: clocks up and SMs
resident already take half of it. Coefficients are shares of the limit, fitted to 54 points of the
ml-energy leaderboard (vLLM on H100 and B200, batches of 8 to 2045; median error 6 %, docs/models).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from advisor.catalog.accelerators import Accelerator
from advisor.models.arrays import Floats, Numbers, floats
from advisor.models.phases import (
    Replica,
    Work,
    decode_step_seconds,
    decode_work,
    prefill_seconds,
    prefill_work,
)

VERSION = "energy/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerShape:
    """Shares of the power limit: awake, at full bandwidth, at full compute, and asleep."""

    active_ratio: float = 0.60
    bandwidth_ratio: float = 0.03
    compute_ratio: float = 0.46  # times the square root of the share of peak compute
    idle_ratio: float = 0.11  # Splitwise: H100 75 of 700 W, A100 63 of 400 W


BUSY = PowerShape()


def gpu_power_watts(
    accelerator: Accelerator,
    bandwidth_ratio: Numbers,
    compute_ratio: Numbers,
    shape: PowerShape = BUSY,
) -> Floats:
    """Power of one busy GPU at shares of its peak bandwidth and compute; ValueError if unknown."""
    if not accelerator.power_w:
        raise ValueError(f"accelerator={accelerator.name}: power unknown")
    drawn = (
        shape.active_ratio
        + shape.bandwidth_ratio * floats(bandwidth_ratio)
        + shape.compute_ratio * np.sqrt(floats(compute_ratio))
    )
    return accelerator.power_w * np.minimum(drawn, 1.0)


def work_power_watts(replica: Replica, work: Work, seconds: Numbers) -> Floats:
    """Power of all GPUs of an engine that does `work` in `seconds`."""
    t = floats(seconds)
    bandwidth = work.traffic_bytes / t / replica.peak_bytes_per_second
    compute = work.flops / t / replica.peak_flops
    return replica.gpus * gpu_power_watts(replica.accelerator, bandwidth, compute)


def decode_power_watts(replica: Replica, batch: Numbers, context_tokens: Numbers) -> Floats:
    """Power of all GPUs of an engine that only decodes."""
    step = decode_step_seconds(replica, batch, context_tokens)
    return work_power_watts(replica, decode_work(replica, batch, context_tokens), step)


def prefill_power_watts(replica: Replica, prompt_tokens: Numbers) -> Floats:
    """Power of all GPUs of an engine that only prefills."""
    t = prefill_seconds(replica, prompt_tokens)
    return work_power_watts(replica, prefill_work(replica, prompt_tokens), t)


def decode_joules_per_token(replica: Replica, batch: Numbers, context_tokens: Numbers) -> Floats:
    """Energy of one output token of an engine that only decodes, GPUs alone."""
    step = decode_step_seconds(replica, batch, context_tokens)
    return decode_power_watts(replica, batch, context_tokens) * step / floats(batch)


def prefill_joules_per_token(replica: Replica, prompt_tokens: Numbers) -> Floats:
    """Energy of one prompt token, GPUs alone."""
    t = prefill_seconds(replica, prompt_tokens)
    return prefill_power_watts(replica, prompt_tokens) * t / floats(prompt_tokens)


def unfelt_power_limit_watts(replica: Replica, batch: Numbers, context_tokens: Numbers) -> Floats:
    """Lowest limit of one GPU that a decode pool does not feel: what it draws.

    Splitwise: from 700 to 350 W the token phase of H100s slows hardly at all, while the prompt
    phase takes 1.3 times as long; decode pools are capped first.
    """
    return decode_power_watts(replica, batch, context_tokens) / replica.gpus

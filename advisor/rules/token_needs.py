"""GPUs and money that a pool's requests take at one distribution of lengths or another."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from advisor.facts import ServingLoad
from advisor.models import concurrency, length_shape, scenarios
from advisor.models.interval import Interval, exactly, of
from advisor.models.replica import Replica
from advisor.models.scenarios import STEP_ERROR_RATIO
from advisor.models.sizing import QUANTILES, Objectives, Service
from advisor.models.tokens import Histogram
from advisor.models.traffic import Kind, mixed
from ridgeline.pools import Role, role_of

VERSION = "token-needs/1"
_ERRORS = (1 - STEP_ERROR_RATIO, 1.0, 1 + STEP_ERROR_RATIO)


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What requests take: GPUs of whole engines, and USD of one query at `QUANTILES` of length."""

    gpus: Interval
    usd: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """What serves the requests, at what rate they come, and the objective."""

    load: ServingLoad
    replica: Replica
    requests_per_second: float
    usd_per_gpu_hour: float
    slo_tpot_seconds: float


def of_prompts(pool: Pool, prompts: Histogram) -> Need:
    """A pool that only prefills: the time of prompts of each length, at most four fifths busy."""
    shape = length_shape.of_histogram(prompts)
    seconds = _prefill_seconds(pool, shape.lengths(prompts.mean)) @ np.array(shape.shares)
    share = Objectives().most_load_ratio
    engines = [pool.requests_per_second * float(seconds) * f / share for f in _ERRORS]
    gpus = [max(1, math.ceil(n - 1e-9)) * pool.replica.gpus for n in engines]
    at = _prefill_seconds(pool, np.array([prompts.quantile(q) for q in QUANTILES]))
    second = pool.usd_per_gpu_hour * pool.replica.gpus / 3600 / share
    return Need(gpus=of(gpus[0], gpus[1], gpus[2]), usd=tuple((at * second).tolist()))


def of_requests(pool: Pool, prompts: Histogram, answers: Histogram) -> Need | None:
    """A pool that decodes, and where it is mixed prefills; None where no number of engines does."""
    load = pool.load
    cap = max(1, int(load.max_batch / load.engines)) if load.max_batch else None
    prefills = role_of(load.pool) != Role.DECODE
    engine = concurrency.of_replica(pool.replica, cap, prefills=prefills)
    shape = length_shape.of_histogram(prompts)
    if prefills:
        engine = replace(
            engine,
            prefill_seconds=lambda tokens: float(
                _prefill_seconds(pool, shape.lengths(tokens)) @ np.array(shape.shares)
            ),
        )
    kind = Kind(
        name="all",
        share=1.0,
        prompt_tokens=prompts.mean,
        answer=answers,
        prefix_hit_ratio=load.prefix_hit_ratio or 0.0,
    )
    service = Service(
        engine=engine,
        usd_per_gpu_hour=pool.usd_per_gpu_hour,
        objectives=Objectives(tpot_seconds=pool.slo_tpot_seconds),
        arrival_cv=math.sqrt(load.arrival_dispersion) if load.arrival_dispersion else 1.0,
    )
    rate = exactly(pool.requests_per_second)
    found = scenarios.size_range(rate, mixed([kind]), service)
    if found is None:
        return None
    return Need(gpus=found.gpus, usd=tuple(at.usd for at in found.likely.by_quantile))


def _prefill_seconds(pool: Pool, tokens: np.ndarray) -> np.ndarray:
    prefills = role_of(pool.load.pool) == Role.PREFILL
    hit = pool.load.prefix_hit_ratio or 0.0 if prefills else 0.0
    return concurrency.prefill_share_seconds(pool.replica, tokens, cached_tokens=hit * tokens)

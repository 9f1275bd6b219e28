"""How accelerators are compared for a pool: by its workload where known, else by its bound.

A mixed pool is compared by output tokens of whole requests, a prefill pool by prompt tokens at its
lengths, a decode pool by output tokens at its batch and context.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from advisor.catalog.accelerators import Accelerator
from advisor.catalog.models import Model
from advisor.facts import Facts, GpuActivity, ServingLoad
from advisor.models import accelerators as model
from advisor.models import bottleneck, phase_rates, throughput
from advisor.models.bottleneck import Bottleneck
from advisor.models.replica import Stack
from advisor.models.throughput import Job
from advisor.rules.served import served
from advisor.rules.serving_software import Reckoned, reckoned
from ridgeline.events import Confidence
from ridgeline.pools import Role, pool_of, role_of, service_of
from ridgeline.settings import AdvisorSettings

SPREAD_RATIO = 0.15  # worst error of a roofline comparison after calibration (13 %), rounded up
SpeedOf = Callable[[Accelerator], float | None]
"""Tokens per second of one device; None where it is unverified or cannot serve the workload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """How candidates are compared: speeds over today's, and in what words."""

    today: Accelerator
    words: str  # "bound by memory bandwidth", "serving llama3-70b (2,000 in, 300 out)"
    source: str
    compare: Callable[[Accelerator, float, float], model.Comparison | None]
    spread_ratio: float = SPREAD_RATIO
    reached_ratio: float | None = None  # measured over modelled rate of today's pool
    software: Reckoned | None = None  # None: kernels alone are compared

    @property
    def confidence(self) -> Confidence:
        """Assumed where the serving software is."""
        return self.software.confidence if self.software else Confidence.MODELLED


def by_bound(today: Accelerator, pool: GpuActivity) -> Basis | None:
    """Basis of the bound that counters show; None where they show none."""
    bound = model.measured_bound(pool.dram_ratio, pool.tensor_ratio)
    if bound is None:
        return None
    return Basis(
        today=today,
        words=f"bound by {bound}",
        source=f"measured {bound} ceilings of the catalogue",
        compare=lambda other, now, then: model.compare(today, other, bound, now, then),
    )


def by_workload(
    today: Accelerator, pool: GpuActivity, facts: Facts, settings: AdvisorSettings
) -> Basis | None:
    """Basis of a pool whose model, lengths and rate are known; None otherwise."""
    load, model = facts.serving_of(pool.group), served(facts, (pool.group,), settings)
    if load is None or model is None:
        return None
    software = reckoned(facts, (pool.group,), today, model)
    release = software.running.release
    # what eager kernels cost where nothing else runs is in `serving_ratio` already
    asked = _Asked(model.model, release.stack if release.captured_graphs else None, settings)
    match role_of(pool.group):
        case Role.PREFILL:
            found = _prefill(today, pool, load, asked)
        case Role.DECODE:
            prefill = facts.serving_of(pool_of(service_of(pool.group), Role.PREFILL))
            found = _decode(today, pool, load, prefill, asked)
        case _:
            found = _mixed(today, pool, load, asked)
    return None if found is None else replace(found, software=software)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is served, by what software, and the objectives."""

    model: Model
    stack: Stack | None
    settings: AdvisorSettings


def _mixed(today: Accelerator, pool: GpuActivity, load: ServingLoad, asked: _Asked) -> Basis | None:
    made = load.generation_tokens_per_second
    job = _job(_each(load.prompt_tokens_per_second, load), _each(made, load), load, asked)
    if job is None or not made:
        return None
    job = replace(job, tpot_limit_seconds=asked.settings.slo_tpot_seconds)

    def speed(which: Accelerator) -> float | None:
        found = throughput.best_rate(job, which)
        return None if found is None else found.tokens_per_second_per_device.mid

    can = speed(today)
    return _basis(
        today,
        speed,
        f"serving {job.model.name} ({job.prompt_tokens:,.0f} tokens in, "
        f"{job.output_tokens:,.0f} out)",
        None if can is None else made / pool.gpus / can,
    )


def _prefill(
    today: Accelerator, pool: GpuActivity, load: ServingLoad, asked: _Asked
) -> Basis | None:
    made = load.prompt_tokens_per_second
    job = _job(_each(made, load), 1.0, load, asked)
    if job is None or not made:
        return None

    limit = asked.settings.slo_ttft_seconds
    if phase_rates.prompt_rate(job, today, limit) is None:
        limit = math.inf  # no candidate is asked for more than today's pool gives

    def speed(which: Accelerator) -> float | None:
        found = phase_rates.prompt_rate(job, which, limit)
        return None if found is None else found.tokens_per_second_per_device

    can = speed(today)
    return _basis(
        today,
        speed,
        f"computing prompts of {job.prompt_tokens:,.0f} tokens for {job.model.name}",
        None if can is None else made / pool.gpus / can,
    )


def _decode(
    today: Accelerator,
    pool: GpuActivity,
    load: ServingLoad,
    prefill: ServingLoad | None,
    asked: _Asked,
) -> Basis | None:
    """At the pool's own batch; where its cache is full and requests wait, at what a cache holds."""
    made, running = load.generation_tokens_per_second, load.running
    prompts = _each(load.prompt_tokens_per_second, load)
    if prompts is None and prefill is not None:
        prompts = _each(prefill.prompt_tokens_per_second, prefill)
    job = _job(prompts, _each(made, load), load, asked)
    if job is None or not made or not running:
        return None
    batch, limit = (
        running / pool.gpus,
        phase_rates.mean_tpot_seconds(asked.settings.slo_tpot_seconds),
    )
    now = phase_rates.output_rate(job, today, batch)
    if now is None:
        return None
    most = math.inf if _cache_is_full(load) else batch
    slowest = max(limit, now.seconds)  # no candidate is asked for more than today's pool gives

    def speed(which: Accelerator) -> float | None:
        if which is today:
            return now.tokens_per_second_per_device
        found = phase_rates.output_rate(job, which, most, slowest)
        return None if found is None else found.tokens_per_second_per_device

    can = phase_rates.output_rate(job, today, tpot_limit_seconds=slowest)
    return _basis(
        today,
        speed,
        f"decoding {job.model.name} ({batch:.3g} requests at once a GPU, of "
        f"{job.context_tokens:,.0f} tokens)",
        None if can is None else made / pool.gpus / can.tokens_per_second_per_device,
    )


def _cache_is_full(load: ServingLoad) -> bool:
    if not load.waiting or load.waiting < 1 or not load.running:
        return False
    found, _ = bottleneck.judge(1.0, load.running, load.kv_usage_ratio, load.max_batch)
    return found is Bottleneck.KV_CACHE


def _each(tokens_per_second: float | None, load: ServingLoad) -> float | None:
    """Mean tokens of a request; None when one of the rates is missing."""
    if not tokens_per_second or not load.requests_per_second:
        return None
    return tokens_per_second / load.requests_per_second


def _job(
    prompt_tokens: float | None,
    output_tokens: float | None,
    load: ServingLoad,
    asked: _Asked,
) -> Job | None:
    if prompt_tokens is None or output_tokens is None:
        return None
    return Job(
        model=asked.model,
        stack=asked.stack,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        prefix_hit_ratio=min(0.99, load.prefix_hit_ratio or 0.0),
    )


def _basis(
    today: Accelerator, speed_of: SpeedOf, words: str, reached_ratio: float | None
) -> Basis | None:
    now = speed_of(today)
    if now is None:
        return None
    return Basis(
        today=today,
        words=words,
        source="throughput model at the measured workload and the objectives",
        compare=lambda other, a, b: model.at_speeds(today, other, (now, speed_of(other)), (a, b)),
        spread_ratio=max(SPREAD_RATIO, today.serving_error_ratio or 0.0),
        reached_ratio=reached_ratio,
    )

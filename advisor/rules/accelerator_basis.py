"""How accelerators are compared for a pool: by its workload where known, else by its bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from advisor.catalog.accelerators import Accelerator
from advisor.catalog.models import MODELS
from advisor.facts import GpuActivity, ServingLoad
from advisor.models import accelerators as model
from advisor.models import throughput
from advisor.models.throughput import Job, Rate
from ridgeline.settings import AdvisorSettings

SPREAD_RATIO = 0.15  # worst error of a roofline comparison after calibration (13 %), rounded up


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """How candidates are compared: speeds over today's, and in what words."""

    today: Accelerator
    words: str  # "bound by memory bandwidth", "serving llama3-70b (2,000 in, 300 out)"
    source: str
    compare: Callable[[Accelerator, float, float], model.Comparison | None]
    spread_ratio: float = SPREAD_RATIO
    reached_ratio: float | None = None  # measured over modelled rate of today's pool


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
    today: Accelerator, pool: GpuActivity, load: ServingLoad | None, settings: AdvisorSettings
) -> Basis | None:
    """Basis of a pool whose model, lengths and rate are known; None otherwise."""
    served, lengths = MODELS.get(settings.model), _lengths(load)
    if served is None or lengths is None or load is None:
        return None
    job = Job(
        model=served,
        prompt_tokens=lengths[0],
        output_tokens=lengths[1],
        prefix_hit_ratio=min(0.99, load.prefix_hit_ratio or 0.0),
        tpot_limit_seconds=settings.slo_tpot_seconds,
    )
    now = throughput.best_rate(job, today)
    if now is None or not load.generation_tokens_per_second:
        return None
    made = load.generation_tokens_per_second / pool.gpus
    return Basis(
        today=today,
        words=f"serving {served.name} ({lengths[0]:,.0f} tokens in, {lengths[1]:,.0f} out)",
        source="throughput model at the measured lengths and the objective",
        compare=lambda other, a, b: _compared(job, today, now, other, a, b),
        spread_ratio=max(SPREAD_RATIO, today.serving_error_ratio or 0.0),
        reached_ratio=made / now.tokens_per_second_per_device.mid,
    )


def _lengths(load: ServingLoad | None) -> tuple[float, float] | None:
    """Mean prompt and output tokens of a request; None when one of the rates is missing."""
    if load is None or not load.requests_per_second:
        return None
    prompt, output = load.prompt_tokens_per_second, load.generation_tokens_per_second
    if not prompt or not output:
        return None
    return prompt / load.requests_per_second, output / load.requests_per_second


def _compared(  # noqa: PLR0917 - private, called once
    job: Job, today: Accelerator, now: Rate, other: Accelerator, now_usd: float, then_usd: float
) -> model.Comparison | None:
    then = throughput.best_rate(job, other)
    if then is None:
        return None
    speed = then.tokens_per_second_per_device.mid / now.tokens_per_second_per_device.mid
    energy = other.power_w / today.power_w / speed if other.power_w and today.power_w else None
    return model.Comparison(
        candidate=other,
        speed_ratio=speed,
        cost_ratio=then_usd / now_usd / speed,
        energy_ratio=energy,
    )

"""capacity.cloud_burst: carry the peaks with idle, rented or bought GPUs, or say why not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from advisor.catalog.servers import SERVERS
from advisor.facts import Facts, GpuActivity, ServingLoad
from advisor.models import bottleneck, burst_plan
from advisor.models.bottleneck import Bottleneck
from advisor.models.burst_plan import BurstPlan, Need, Policy
from advisor.models.interval import Interval, exactly, of
from advisor.models.peaks import Rented, peaks, rented
from advisor.models.periods import DAYS_PER_MONTH
from advisor.rules import burst_drafts as drafts
from advisor.rules.burst_drafts import OVERLOADED_RATIO, TARGET_LOAD_RATIO, Peak
from advisor.rules.offers import offers
from advisor.rules.pricing import Catalog, Draft, accelerator_of
from advisor.rules.served import served
from ridgeline.events import Advice
from ridgeline.pools import service_of
from ridgeline.settings import AdvisorSettings

RULE = drafts.RULE
LEAST_SECONDS = 120.0
SHORT_HISTORY_MINUTES = 30
FULL_RATIO = 1.1  # demand over what runs, from which on a minute counts as over capacity
NODE_GPUS = 8


def rule(facts: Facts, catalog: Catalog, settings: AdvisorSettings) -> tuple[Advice, ...]:
    """One piece of advice a serving pool with lasting queues."""
    found = (_judge(load, facts, catalog, settings) for load in facts.serving)
    return tuple(d.advice(facts, catalog) for d in found if d is not None)


def _judge(
    load: ServingLoad, facts: Facts, catalog: Catalog, settings: AdvisorSettings
) -> Draft | None:
    peak = _peak(load, facts, settings)
    if peak is None:
        return None
    if _capped(load):
        return drafts.raise_cap(peak, settings)
    policy = Policy(
        allowed=tuple(settings.regions), pue=settings.pue, owned_usd_per_gpu_hour=peak.owned
    )
    found = burst_plan.plan(peak.need, offers(catalog), policy)
    if isinstance(found, BurstPlan):
        owning = found.owning_usd_per_month
        if owning is not None and owning.mid < found.best.usd_per_month.mid:
            return drafts.own(peak, facts, settings)
        return drafts.rent(peak, found, settings)
    return drafts.no(peak, found, facts, settings)


def _capped(load: ServingLoad) -> bool:
    """Whether the queue waits for a setting (the cap of sequences), not for hardware."""
    found, _ = bottleneck.judge(1.0, load.running or 0.0, load.kv_usage_ratio, load.max_batch)
    return found is Bottleneck.SEQUENCES and load.kv_usage_ratio is not None


def _peak(load: ServingLoad, facts: Facts, settings: AdvisorSettings) -> Peak | None:
    gpus = facts.gpus_of(load.pool)
    accelerator = accelerator_of(gpus) if gpus else None
    queueing = load.overload_ratio is not None and load.overload_ratio >= OVERLOADED_RATIO
    if gpus is None or accelerator is None or not queueing or load.seconds < LEAST_SECONDS:
        return None
    if not load.running or not load.waiting:
        return None
    demand = facts.demand.get(load.pool, ())
    model = served(facts, (load.pool,), settings.of_service(service_of(load.pool)))
    server = SERVERS.get(accelerator.name)
    idle = _idle(facts, load.pool, accelerator.name)
    share, times = _times(load, gpus, demand, idle)
    return Peak(
        load=load,
        gpus=gpus,
        share=share,
        need=Need(
            pool=load.pool,
            accelerator=accelerator.name,
            gpus=times.gpus,
            hours_per_peak=times.hours,
            peaks_per_month=times.per_month,
            model_gb=model.model.weight_bytes() / 1e9 if model else 0.0,
            gpu_kw=(gpus.power_watts or accelerator.power_w or 0.0) / 1000,
            idle_gpus=idle,
            foreseeable=times.foreseeable,
            rented=times.rented,
        ),
        minutes=len(demand),
        owned=server.usd_per_gpu_hour(settings.power_usd_per_kwh, settings.pue) if server else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Times:
    """When and how much is missing."""

    gpus: Interval
    hours: Interval
    per_month: Interval
    foreseeable: bool = False
    rented: Rented | None = None


def _times(
    load: ServingLoad, gpus: GpuActivity, demand: tuple[float, ...], idle: int
) -> tuple[float, _Times]:
    """Share of time over capacity and what it takes: by history where there is one."""
    if len(demand) >= SHORT_HISTORY_MINUTES and load.running:
        used = np.array(demand) / load.running * gpus.gpus
        capacity = FULL_RATIO * gpus.gpus
        found = peaks(used, 60.0, capacity)
        if found.count:
            rent = rented(used, 60.0, capacity + idle, NODE_GPUS)
            more = rent.units.mapped(lambda nodes: nodes * NODE_GPUS + idle)
            return found.share_of_time, _Times(
                gpus=more,
                hours=found.hours_each,
                per_month=found.per_month,
                foreseeable=found.foreseeable,
                rented=rent,
            )
    share = load.overload_ratio or 0.0  # of the minutes the rule looks at: as if days were like it
    step = gpus.gpus * (1 / TARGET_LOAD_RATIO - 1)
    return share, _Times(
        gpus=of(step, step, 2 * step),
        hours=Interval(low=12 * share, mid=24 * share, high=min(24.0, 48 * share)),
        per_month=exactly(DAYS_PER_MONTH),
    )


def _idle(facts: Facts, pool: str, accelerator: str) -> int:
    """Idle GPUs of the same kind in pools that have nothing waiting."""
    others = (i for i in facts.idle if i.pool != pool and i.seconds >= LEAST_SECONDS)
    return sum(i.idle for i in others if _spare(facts, i.pool, accelerator))


def _spare(facts: Facts, pool: str, accelerator: str) -> bool:
    gpus, serving = facts.gpus_of(pool), facts.serving_of(pool)
    found = accelerator_of(gpus) if gpus else None
    queueing = serving is not None and bool(serving.waiting and serving.waiting >= 1)
    return found is not None and found.name == accelerator and not queueing

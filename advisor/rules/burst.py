"""capacity.cloud_burst: rent the peaks or own more, by how often the peaks come."""

from __future__ import annotations

from dataclasses import dataclass

from advisor.catalog.prices import Price
from advisor.facts import Facts, GpuActivity, ServingLoad
from advisor.models import cost
from advisor.rules.pricing import USD_PER_MONTH, Catalog, Draft, accelerator_of, estimate, seen
from ridgeline.events import Action, Advice, Confidence, Evidence, Needs
from ridgeline.settings import AdvisorSettings

RULE = "capacity.cloud_burst"
LEAST_SECONDS = 120.0
OVERLOADED_RATIO = 0.05
# A server of 8 H100: 300,000 USD over 4 years, 10.2 kW, 5 % of the price a year for upkeep
# (vendor guides 250 to 400 thousand, secondary; DGX H100 TDP 10.2 kW, splitwise-sim@8f99e7d).
SERVER_USD = (250_000.0, 300_000.0, 400_000.0)
SERVER_GPUS, SERVER_KW, LIFE_YEARS, UPKEEP_RATIO = 8, 10.2, 4.0, 0.05
PROVISION_SECONDS = 600.0  # cloud nodes resume in 150 to 600 s (Slurm's ResumeTimeout advice)
ENOUGH_MINUTES = 24 * 60
# A queue says that a pool is full, not by how much: brought to 80 % load, waits become short
# (Kingman: a fifth of load less divides the wait of a nearly full queue by five and more).
TARGET_LOAD_RATIO = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Peak:
    """A pool that cannot carry its peaks."""

    load: ServingLoad
    gpus: GpuActivity
    overload_ratio: float
    extra_gpus: int
    minutes: int
    price: Price


def rule(facts: Facts, catalog: Catalog, settings: AdvisorSettings) -> tuple[Advice, ...]:
    """One piece of advice a serving pool with lasting queues."""
    peaks = (_peak(load, facts, catalog, settings) for load in facts.serving)
    return tuple(_draft(p, settings).advice(facts, catalog) for p in peaks if p is not None)


def _peak(
    load: ServingLoad, facts: Facts, catalog: Catalog, settings: AdvisorSettings
) -> _Peak | None:
    gpus = facts.gpus_of(load.pool)
    accelerator = accelerator_of(gpus) if gpus else None
    queueing = load.overload_ratio is not None and load.overload_ratio >= OVERLOADED_RATIO
    if gpus is None or accelerator is None or not queueing or load.seconds < LEAST_SECONDS:
        return None
    if not load.running or not load.waiting:
        return None
    offers = [
        p
        for p in catalog.prices
        if p.accelerator == accelerator.name
        and not p.launch_list
        and (not settings.regions or p.provider in settings.regions)
    ]
    if not offers:
        return None  # no offer where the data may go
    demand = facts.demand.get(load.pool, ())
    overload = _overload(demand, load.running, load.overload_ratio or 0.0)
    return _Peak(
        load=load,
        gpus=gpus,
        overload_ratio=overload,
        extra_gpus=_whole_servers(gpus.gpus * (1 / TARGET_LOAD_RATIO - 1)),
        minutes=len(demand),
        price=min(offers, key=lambda p: p.usd_per_hour),
    )


def _overload(demand: tuple[float, ...], capacity: float, recent: float) -> float:
    """Share of minutes over capacity; of the recent history when there is no longer one."""
    if len(demand) < 30:
        return recent
    return sum(d > 1.1 * capacity for d in demand) / len(demand)


def _whole_servers(gpus: float) -> int:
    return max(1, round(gpus / SERVER_GPUS + 0.49)) * SERVER_GPUS


def owned_usd_per_gpu_hour(capex_usd: float, settings: AdvisorSettings) -> float:
    """Owned GPU-hour of one more server of 8."""
    total = cost.owned_usd_per_hour(
        capex_usd=capex_usd,
        life_years=LIFE_YEARS,
        power_kw=SERVER_KW,
        pue=settings.pue,
        usd_per_kwh=settings.power_usd_per_kwh,
        opex_usd_per_hour=capex_usd * UPKEEP_RATIO / 8760,
    )
    return total / SERVER_GPUS


def _draft(peak: _Peak, settings: AdvisorSettings) -> Draft:
    owned = [owned_usd_per_gpu_hour(usd, settings) for usd in SERVER_USD]
    rent = peak.price.usd_per_hour
    tipping = cost.break_even_utilisation_ratio(owned[1], rent)
    burst = peak.overload_ratio < tipping
    hours = cost.HOURS_PER_MONTH
    rented = peak.extra_gpus * rent * hours * min(1.0, peak.overload_ratio * 1.1)  # and warm-up
    owning = [peak.extra_gpus * o * hours for o in owned]
    sign = 1 if burst else -1
    values = [sign * (o - rented) for o in owning]
    source = (
        f"break-even at {tipping:.0%} of the time; {peak.price.provider} {rent:g} USD/h "
        f"({peak.price.source}); owned server 250 to 400 thousand USD (secondary)"
    )
    confidence = Confidence.MODELLED if peak.minutes >= ENOUGH_MINUTES else Confidence.ASSUMED
    pool = peak.load.pool
    what = "Rent" if burst else "Add"
    return Draft(
        rule=RULE,
        action=Action.BURST_TO_CLOUD if burst else Action.ADD_CAPACITY,
        scope_kind="pool",
        scope=pool,
        title=f"{what} {peak.extra_gpus} GPUs for the {pool} pool"
        + (" during its peaks" if burst else ""),
        reason=(
            f"The {pool} pool has a queue {peak.overload_ratio:.0%} of the time. Owning more pays "
            f"where the peak lasts more than {tipping:.0%} of the time, renting below."
        ),
        evidence=(
            *seen("time with a queue", peak.overload_ratio, "ratio", OVERLOADED_RATIO),
            *seen("requests waiting", peak.load.waiting, "1"),
            *seen("requests running", peak.load.running, "1"),
            *seen("mean time in queue", peak.load.queue_seconds_mean, "s"),
            *seen("TTFT p99", peak.load.ttft_p99_seconds, "s", settings.slo_ttft_seconds),
        ),
        counter_evidence=_against(peak),
        gain=estimate(values[0], values[1], values[2], USD_PER_MONTH, confidence, source),
        needs=Needs(
            lead_time_days=0 if burst else 120,
            capex_usd=0 if burst else SERVER_USD[1] * peak.extra_gpus / SERVER_GPUS,
            note="an account and the weights near the rented GPUs" if burst else "procurement",
        ),
        confidence=confidence,
        verify="Time with a queue falls below 5 % in the next peak; the bill matches the estimate.",
        model_version=cost.VERSION,
    )


def _against(peak: _Peak) -> tuple[Evidence, ...]:
    return (
        Evidence(
            name="load aimed at",
            value=TARGET_LOAD_RATIO,
            unit="ratio",
            note="a queue says that the pool is full, not by how much: look again after this step",
        ),
        Evidence(
            name="demand history",
            value=float(peak.minutes),
            unit="minutes",
            threshold=float(ENOUGH_MINUTES),
            note="less than a day says little about how often the peak comes",
        ),
        Evidence(
            name="provisioning",
            value=PROVISION_SECONDS,
            unit="s",
            note="a peak shorter than this is over before rented GPUs serve it",
        ),
    )

"""What capacity.cloud_burst says: rent, buy, or keep, each with its evidence and its price."""

from __future__ import annotations

from dataclasses import dataclass

from advisor.catalog.servers import SERVERS
from advisor.facts import Facts, GpuActivity, ServingLoad
from advisor.models import burst_plan, cost
from advisor.models.burst_plan import BurstPlan, Need, No, Policy, Reason
from advisor.models.interval import Interval
from advisor.models.periods import HOURS_PER_MONTH
from advisor.rules import feed
from advisor.rules.pricing import (
    OWNING,
    USD_PER_MONTH,
    Draft,
    accelerator_of,
    estimate,
    seen,
    weaker,
)
from ridgeline.events import Action, Confidence, Estimate, Evidence, Needs
from ridgeline.settings import AdvisorSettings

RULE = "capacity.cloud_burst"
OVERLOADED_RATIO = 0.05
SERVER = SERVERS["H100-SXM"]
PROCUREMENT_DAYS = 120
ENOUGH_MINUTES = 24 * 60
# A queue says that a pool is full, not by how much: brought to 80 % load, waits become short
# (Kingman: a fifth of load less divides the wait of a nearly full queue by five and more).
TARGET_LOAD_RATIO = 0.8
_SAID = {
    Reason.IDLE_FIRST: "Idle GPUs of the same kind would carry its peaks: use those first.",
    Reason.TOO_LATE: "Its peaks are over before rented GPUs would serve.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """A pool that cannot carry its peaks, and what it would take."""

    load: ServingLoad
    gpus: GpuActivity
    share: float  # of the time
    need: Need
    minutes: int  # of history
    owned: Interval | None  # USD per GPU-hour


def _whole(peak: Peak) -> int:
    """GPUs missing in whole servers."""
    return max(1, round(peak.need.gpus.mid / SERVER.gpus + 0.49)) * SERVER.gpus


def rent(peak: Peak, found: BurstPlan, settings: AdvisorSettings) -> Draft:
    """Rent for the peaks."""
    best, owning = found.best, found.owning_usd_per_month
    gpus = best.nodes * best.offer.gpus_per_node
    ahead = "; start them ahead, the peaks keep their hours" if found.start_ahead else ""
    rent = _money(best.usd_per_month, peak, f"{best.offer.place} {best.offer.source}")
    return _draft(
        peak,
        settings,
        action=Action.BURST_TO_CLOUD,
        title=f"Rent {gpus} GPUs for the {peak.load.pool} pool during its peaks",
        reason=(
            f"The {peak.load.pool} pool has a queue {peak.share:.0%} of the time. "
            f"{gpus} {peak.need.accelerator} at {best.offer.place} for "
            f"{peak.need.hours_per_peak.mid:.1f} h a peak cost "
            f"{best.usd_per_month.mid:,.0f} USD a month{ahead}. {_tipping(peak, found)}"
        ),
        effects=(
            rent.model_copy(update={"unit": "USD/month of rent"}),
            *_less_than_owning(owning, best.usd_per_month, peak),
        ),
        needs=Needs(note="an account and the weights near the rented GPUs"),
        more=(*_unknown(found), *_dearer(peak, found)),
    )


def own(peak: Peak, facts: Facts, settings: AdvisorSettings) -> Draft:
    """Own more: the peak lasts too long to rent for it."""
    gpus, owned = _whole(peak), peak.owned
    kw = feed.drawn_kw(accelerator_of(peak.gpus), gpus)
    hours = HOURS_PER_MONTH
    paid = None if owned is None else owned.scaled(gpus * hours)
    capex = SERVER.capex_usd.mid * gpus / SERVER.gpus if owned is not None else 0.0
    return _draft(
        peak,
        settings,
        action=Action.ADD_CAPACITY,
        title=f"Add {gpus} GPUs for the {peak.load.pool} pool",
        reason=(
            f"The {peak.load.pool} pool has a queue {peak.share:.0%} of the time: so long that "
            "owning more costs less than renting for it."
        ),
        effects=()
        if paid is None
        else (_owning(paid, peak).model_copy(update={"unit": "USD/month of owning"}),),
        needs=Needs(
            lead_time_days=PROCUREMENT_DAYS,
            capex_usd=capex,
            power_kw=kw,
            note="procurement",
        ),
        more=feed.against(facts, settings, kw),
    )


def raise_cap(peak: Peak, settings: AdvisorSettings) -> Draft:
    """Keep: the queue waits for the cap of sequences while the KV cache has room."""
    load = peak.load
    return _draft(
        peak,
        settings,
        action=Action.KEEP,
        title=f"Raise the cap of sequences of the {load.pool} pool before renting",
        reason=(
            f"As many sequences run in the {load.pool} pool as its engines allow "
            f"({load.max_batch or 0:.0f}) with {load.kv_usage_ratio or 0:.0%} of the KV cache in "
            "use: a setting (max_num_seqs), not hardware, holds the queue."
        ),
        effects=(),
        needs=Needs(note="time per output token rises with the batch: watch the objective"),
        more=(*seen("KV cache in use", load.kv_usage_ratio, "ratio"),),
    )


def no(peak: Peak, found: No, facts: Facts, settings: AdvisorSettings) -> Draft | None:
    """Keep, or own, or nothing to say, by why there is no plan."""
    if Reason.OWNING_CHEAPER in found.reasons:
        return own(peak, facts, settings)
    said = next((_SAID[r] for r in found.reasons if r in _SAID), None)
    if said is None:
        return None  # no offer where the data may go
    return _draft(
        peak,
        settings,
        action=Action.KEEP,
        title=f"Rent nothing for the {peak.load.pool} pool",
        reason=f"The {peak.load.pool} pool has a queue {peak.share:.0%} of the time. {said}",
        effects=(),
        needs=Needs(),
        more=tuple(
            seen("idle GPUs of the same kind", float(peak.need.idle_gpus), "1", note="other pools")
        ),
    )


def _draft(
    peak: Peak,
    settings: AdvisorSettings,
    *,
    action: Action,
    title: str,
    reason: str,
    effects: tuple[Estimate, ...],
    needs: Needs,
    more: tuple[Evidence, ...],
) -> Draft:
    load = peak.load
    return Draft(
        rule=RULE,
        action=action,
        scope_kind="pool",
        scope=load.pool,
        title=title,
        reason=reason,
        evidence=(
            *seen("time with a queue", peak.share, "ratio", OVERLOADED_RATIO),
            *seen("requests waiting", load.waiting, "1"),
            *seen("requests running", load.running, "1"),
            *seen("mean time in queue", load.queue_seconds_mean, "s"),
            *seen("TTFT p99", load.ttft_p99_seconds, "s", settings.slo_ttft_seconds),
        ),
        counter_evidence=(*_against(peak), *more),
        gain=None,  # nobody pays for these GPUs today: what renting saves is no cost of the cluster
        effects=effects,
        needs=needs,
        confidence=_confidence(peak),
        verify="Time with a queue falls below 5 % in the next peak; the bill matches the estimate.",
        model_version=burst_plan.VERSION,
    )


def _confidence(peak: Peak) -> Confidence:
    return Confidence.MODELLED if peak.minutes >= ENOUGH_MINUTES else Confidence.ASSUMED


def _money(usd: Interval, peak: Peak, source: str) -> Estimate:
    return estimate(usd.low, usd.mid, usd.high, USD_PER_MONTH, _confidence(peak), source)


def _owning(usd: Interval, peak: Peak) -> Estimate:
    sure = weaker(_confidence(peak), OWNING.confidence)
    return estimate(usd.low, usd.mid, usd.high, USD_PER_MONTH, sure, OWNING.cited)


def _less_than_owning(owning: Interval | None, rent: Interval, peak: Peak) -> tuple[Estimate, ...]:
    if owning is None:
        return ()
    less = _owning(owning.minus(rent), peak)
    return (less.model_copy(update={"unit": "USD/month less than owning as many"}),)


def _tipping(peak: Peak, found: BurstPlan) -> str:
    if peak.owned is None:
        return "What owning more would cost is not in the catalogue."
    at = cost.break_even_utilisation_ratio(peak.owned.mid, found.best.offer.usd_per_gpu_hour)
    return f"Owning more pays where the peak lasts more than {at:.0%} of the time, renting below."


def _unknown(found: BurstPlan) -> tuple[Evidence, ...]:
    note, count = "; ".join(found.unknown), float(len(found.unknown))
    sure = Confidence.ASSUMED
    return seen("open questions", count, "1", note=note, confidence=sure) if note else ()


def _dearer(peak: Peak, found: BurstPlan) -> tuple[Evidence, ...]:
    if not found.alternatives:
        return ()
    said = ", ".join(
        f"{o.offer.place}{' spot' if o.spot else ''} {o.usd_per_month.mid:,.0f}"
        for o in found.alternatives[:3]
    )
    count = float(len(found.alternatives))
    return (
        Evidence(
            name="dearer offers",
            value=count,
            unit="1",
            note=f"USD a month: {said}",
            confidence=_confidence(peak),
        ),
    )


def _against(peak: Peak) -> tuple[Evidence, ...]:
    ready = burst_plan.ready_seconds(peak.need.model_gb, Policy())
    return (
        Evidence(
            name="load aimed at",
            confidence=Confidence.ASSUMED,
            value=TARGET_LOAD_RATIO,
            unit="ratio",
            note="a queue says that the pool is full, not by how much: look again after this step",
        ),
        Evidence(
            name="demand history",
            confidence=Confidence.MEASURED,
            value=float(peak.minutes),
            unit="minutes",
            threshold=float(ENOUGH_MINUTES),
            note=""
            if peak.minutes >= ENOUGH_MINUTES
            else "less than a day says little about how often the peak comes",
        ),
        Evidence(
            name="provisioning and loading the model",
            confidence=Confidence.ASSUMED,
            value=ready.mid,
            unit="s",
            note=f"{ready.low:.0f} to {ready.high:.0f} s; a peak shorter than this is over first",
        ),
    )

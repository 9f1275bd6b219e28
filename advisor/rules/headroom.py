"""power.headroom: when the hall's feed is full, and whether there is time to order more."""

from __future__ import annotations

from advisor.facts import Facts, GpuActivity
from advisor.models import headroom as model
from advisor.models import power
from advisor.models.interval import Interval
from advisor.models.periods import DAYS_PER_MONTH
from advisor.preconditions import FREE_KW, FULL_IN_MONTHS
from advisor.rules.pricing import Catalog, Draft, estimate, seen
from ridgeline.events import Action, Advice, Confidence, Estimate, Evidence, Needs
from ridgeline.settings import AdvisorSettings

RULE = "power.headroom"
LEAD_MONTHS = (18.0, 36.0)  # feeds, transformers and cooling of a hall; project practice, assumed
CAP_RATIO = 0.65  # of the power limit: what MLPerf's MaxQ runs used (450 of 700 W)
WATTS_A_KW = 1000


def rule(facts: Facts, catalog: Catalog, settings: AdvisorSettings) -> tuple[Advice, ...]:
    """One piece of advice for the hall, where its feed and enough history are known."""
    if settings.hall_kw <= 0:
        return ()
    found = model.headroom(facts.hall_watts_hourly, settings.hall_kw * WATTS_A_KW)
    if found is None or found.months is None or found.months.low >= LEAD_MONTHS[1]:
        return ()
    return (_draft(found, found.months, facts).advice(facts, catalog),)


def _draft(found: model.Headroom, months: Interval, facts: Facts) -> Draft:
    freed = freed_watts(facts.pools)
    low, likely, high = (f"{m:.0f}" for m in (months.low, months.mid, months.high))
    span = f"{likely} months" + (f" ({low} to {high})" if low != high else "")
    return Draft(
        rule=RULE,
        action=Action.ADD_POWER,
        scope_kind="cluster",
        scope="hall",
        title=f"The hall is full in {span}: order power now",
        reason=_reason(found, freed),
        evidence=(
            *seen("peak of the last week (p99)", found.peak_watts / WATTS_A_KW, "kW"),
            *seen("feed", found.capacity_watts / WATTS_A_KW, "kW"),
            *seen(
                "growth",
                found.growth_watts_per_month.mid / WATTS_A_KW,
                "kW/month",
                confidence=Confidence.MODELLED,
            ),
            *seen("history", float(found.days_of_history), "days", float(model.LEAST_DAYS)),
        ),
        counter_evidence=(
            Evidence(
                name="share of the feed still free",
                confidence=Confidence.MODELLED,
                value=found.free_ratio,
                unit="ratio",
                note="a trend knows nothing of orders placed or projects ended",
            ),
        ),
        effects=_effects(found, months, freed),
        needs=Needs(
            lead_time_days=LEAD_MONTHS[0] * DAYS_PER_MONTH,
            note="18 to 36 months for a feed and its cooling; its price: ask the utility",
        ),
        confidence=Confidence.MODELLED,
        verify="The next month's p99 lies within the growth named here.",
        model_version=model.VERSION,
    )


def _reason(found: model.Headroom, freed: Interval | None) -> str:
    growth = found.growth_watts_per_month.scaled(1 / WATTS_A_KW)
    text = (
        f"The hall peaks at {found.peak_watts / WATTS_A_KW:.0f} of "
        f"{found.capacity_watts / WATTS_A_KW:.0f} kW and grows by {growth.mid:.1f} kW a month "
        f"({growth.low:.1f} to {growth.high:.1f}), by {found.days_of_history} days of history. "
        "More power takes 18 to 36 months."
    )
    if freed is None or freed.mid <= 0:
        return text
    return (
        f"{text} Until then, capping the decode pools at {CAP_RATIO:.0%} of their limit frees "
        f"{freed.mid / WATTS_A_KW:.0f} kW and costs decode little (Splitwise: none at half)."
    )


def freed_watts(pools: tuple[GpuActivity, ...]) -> Interval | None:
    """Power that capping the decode pools would free now; None without a decode pool's power."""
    total, known = Interval(low=0.0, mid=0.0, high=0.0), False
    for pool in pools:
        drawn, limit = pool.power_watts, pool.power_limit_watts
        if pool.group != power.Phase.DECODE or drawn is None or limit is None:
            continue
        cut = max(0.0, drawn - CAP_RATIO * limit) * pool.gpus
        total, known = total.plus(Interval(low=0.8 * cut, mid=cut, high=cut)), True
    return total if known else None


def _effects(
    found: model.Headroom, months: Interval, freed: Interval | None
) -> tuple[Estimate, ...]:
    source = "Theil-Sen trend of daily peaks, weekdays taken out"
    full = estimate(
        months.low, months.mid, months.high, FULL_IN_MONTHS, Confidence.MODELLED, source
    )
    usable = found.capacity_watts * model.USABLE_RATIO
    free = max(0.0, usable - found.peak_watts) / WATTS_A_KW
    source = f"{model.USABLE_RATIO:.0%} of the feed (assumed) less the peak of the last week"
    left = estimate(free, free, free, FREE_KW, Confidence.ASSUMED, source)
    if freed is None:
        return (full, left)
    kw = freed.scaled(1 / WATTS_A_KW)
    source = f"decode pools' power above {CAP_RATIO:.0%} of their limit, measured"
    return (full, left, estimate(kw.low, kw.mid, kw.high, "kW freed", Confidence.MODELLED, source))

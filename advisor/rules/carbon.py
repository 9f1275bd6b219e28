"""carbon.shift: work that may wait, in the cleaner hours of the grid the hall draws from."""

from __future__ import annotations

from dataclasses import dataclass

from advisor.catalog.carbon import Grid
from advisor.facts import Facts, GpuActivity
from advisor.models import carbon as model
from advisor.models.interval import Interval, exactly, of
from advisor.models.periods import DAYS_PER_MONTH
from advisor.rules.pricing import USD_PER_MONTH, Catalog, Draft, estimate, seen
from ridgeline.events import Action, Advice, Confidence, Estimate, Evidence, Needs
from ridgeline.settings import AdvisorSettings

RULE = "carbon.shift"
LEAST_SAVED_RATIO = 0.05
"""Share of a pool's emissions below which moving its work is not worth anybody's trouble."""
SHIFTABLE = Interval(low=0.4, mid=0.7, high=1.0)
"""Share of the work of a pool the operator calls shiftable that can wait in fact: assumed."""
IDLE_RATIO = 0.11  # of the power limit: 75 to 80 of 700 W; idle power stays where it is


@dataclass(frozen=True, slots=True, kw_only=True)
class _Saving:
    """What waiting brings one pool, a month."""

    pool: GpuActivity
    grid: Grid
    located_tonnes: float  # today, where the work runs
    saved_tonnes: Interval
    saved_ratio: float  # likely, of today's
    moved_kwh: float  # likely, a day
    delay_hours: int


def rule(facts: Facts, catalog: Catalog, settings: AdvisorSettings) -> tuple[Advice, ...]:
    """One piece of advice a pool whose work may wait, where hours of grid and pool are known."""
    grid = catalog.grids.get(settings.grid)
    if grid is None or not grid.hourly_grams_per_kwh:
        return ()
    pools = (p for p in facts.pools if p.group in settings.shiftable_pools)
    found = (_saving(p, facts.pool_watts_by_hour.get(p.group, ()), grid, settings) for p in pools)
    return tuple(_draft(s, catalog, settings).advice(facts, catalog) for s in found if s)


def _saving(
    pool: GpuActivity, watts: tuple[float, ...], grid: Grid, settings: AdvisorSettings
) -> _Saving | None:
    limit = pool.power_limit_watts
    if not watts or limit is None:
        return None
    kwh = [w * settings.pue / 1000 for w in watts]
    room = limit * pool.gpus * settings.pue / 1000
    active = max(0.0, 1 - IDLE_RATIO * room * len(kwh) / sum(kwh)) if sum(kwh) > 0 else 0.0
    found = [
        model.shift_a_day(
            kwh,
            grid,
            shiftable_ratio=ratio * active,
            capacity_kwh=room,
            longest_delay_hours=settings.shift_hours,
        )
        for ratio in (SHIFTABLE.low, SHIFTABLE.mid, SHIFTABLE.high)
    ]
    known = [s for s in found if s is not None]
    if len(known) < len(found) or known[1].saved_ratio < LEAST_SAVED_RATIO:
        return None
    return _Saving(
        pool=pool,
        grid=grid,
        located_tonnes=model.tonnes_by_hour(kwh, grid) * DAYS_PER_MONTH,
        saved_tonnes=of(*(s.saved_kg / 1000 * DAYS_PER_MONTH for s in known)),
        saved_ratio=known[1].saved_ratio,
        moved_kwh=known[1].moved_kwh,
        delay_hours=known[1].longest_delay_hours,
    )


def _draft(saving: _Saving, catalog: Catalog, settings: AdvisorSettings) -> Draft:
    pool, grid = saving.pool.group, saving.grid
    hours = grid.hourly_grams_per_kwh
    clean, dirty = hours.index(min(hours)), hours.index(max(hours))
    source = f"power by hour of the last week; grid by hour: {grid.source.cited}"
    by = grid.source
    return Draft(
        rule=RULE,
        action=Action.SHIFT_LOAD,
        scope_kind="pool",
        scope=pool,
        title=f"{pool}: let work wait for cleaner hours, {saving.saved_ratio:.0%} less carbon",
        reason=(
            f"{grid.region} emits {max(hours):.0f} g/kWh at {dirty:02}:00 UTC and {min(hours):.0f} "
            f"at {clean:02}:00. The pool has room in the clean hours: {saving.moved_kwh:,.0f} kWh "
            f"a day can wait up to {saving.delay_hours} hours."
        ),
        evidence=(
            *seen("dirtiest hour", max(hours), "g/kWh", note=by.cited, confidence=by.confidence),
            *seen("cleanest hour", min(hours), "g/kWh", note=by.cited, confidence=by.confidence),
            *seen("carbon saved", saving.saved_ratio, "ratio", LEAST_SAVED_RATIO, "likely", _MODEL),
            *seen("carbon today", saving.located_tonnes, "t CO2e/month", confidence=_MODEL),
        ),
        counter_evidence=_against(saving, catalog, settings),
        cost_today=_money(exactly(saving.located_tonnes), settings),
        gain=_money(saving.saved_tonnes, settings),
        effects=_effects(saving, settings, source),
        needs=Needs(note="a scheduler that holds jobs back by hour; deadlines stay with it"),
        confidence=_MODEL,
        verify="Over a week the pool's energy in the dirtiest six hours falls, its jobs do not.",
        model_version=model.VERSION,
    )


_MODEL = Confidence.MODELLED


def _effects(saving: _Saving, settings: AdvisorSettings, source: str) -> tuple[Estimate, ...]:
    """Tonnes less where the work runs, and less of what contracts leave to report."""
    saved, left = saving.saved_tonnes, 1 - settings.carbon_free_ratio
    located = estimate(saved.low, saved.mid, saved.high, "t CO2e/month less", _MODEL, source)
    if left >= 1:
        return (located,)
    after = saved.scaled(left)
    unit = f"t CO2e/month less after contracts for {settings.carbon_free_ratio:.0%} of the year"
    return (located, estimate(after.low, after.mid, after.high, unit, _MODEL, source))


def _money(tonnes: Interval, settings: AdvisorSettings) -> Estimate | None:
    price = settings.carbon_usd_per_tonne
    if price <= 0:
        return None
    usd = tonnes.scaled(price * (1 - settings.carbon_free_ratio))
    source = (
        f"tonnes that contracts leave at {price:g} USD (RIDGELINE_ADVISOR_CARBON_USD_PER_TONNE)"
    )
    return estimate(usd.low, usd.mid, usd.high, USD_PER_MONTH, _MODEL, source)


def _against(saving: _Saving, catalog: Catalog, settings: AdvisorSettings) -> tuple[Evidence, ...]:
    waits = Evidence(
        name="share of the work that can wait",
        value=SHIFTABLE.mid,
        unit="ratio",
        note=f"{SHIFTABLE.low:.0%} to {SHIFTABLE.high:.0%}; no telemetry knows deadlines",
        confidence=Confidence.ASSUMED,
    )
    allowed = (catalog.grids[r] for r in settings.regions if r in catalog.grids)
    elsewhere = model.cleaner(saving.grid, allowed)
    if not elsewhere:
        return (waits,)
    best = elsewhere[0]
    there = Evidence(
        name=f"the same work in {best.region}",
        value=best.grams_per_kwh,
        unit="g/kWh",
        note=f"here {saving.grid.grams_per_kwh:.0f}: another place would bring more than waiting; "
        + best.source.cited,
        confidence=best.source.confidence,
    )
    return (waits, there)

"""Tables and plots of `plan cooling`."""

from __future__ import annotations

import numpy as np

from advisor.catalog.carbon import Grid
from advisor.catalog.cooling import PUE, TECHNOLOGIES
from advisor.models import carbon, power
from advisor.models import cooling as model
from advisor.models.headroom import Headroom
from advisor.models.interval import exactly
from advisor.models.periods import DAYS_PER_MONTH, HOURS_PER_DAY
from advisor.plan.report import Cell, Mark, Plot, PlotKind, Series, Table

CAPS = (0.5, 0.65, 0.8)


def remedies_table(remedies: tuple[model.Remedy, ...], state: model.Loop) -> Table:
    """What would help, in order, and the cause that measurements name."""
    return Table(
        title="Remedies, cheapest first",
        columns=("order", "remedy"),
        rows=tuple((i + 1, r.value) for i, r in enumerate(remedies)),
        note=f"cause: {', '.join(model.causes(state))}; flow, supply and fans come from telemetry",
    )


def retrofits_table(offers: tuple[model.Retrofit, ...]) -> Table:
    """Other technologies for these racks: lead time, water, what air still carries, price."""
    rows = tuple(
        (
            o.technology.name,
            f"{o.lead_time_months[0]:.0f} to {o.lead_time_months[1]:.0f}",
            o.technology.water or "none",
            o.coolant_celsius,
            None if o.water_warm_enough is None else ("yes" if o.water_warm_enough else "no"),
            o.air_kw[1],
            o.flow_liters_per_minute,
            None if o.capex_usd is None else o.capex_usd.mid,
        )
        for o in offers
    )
    return Table(
        title="Other technologies that carry this rack",
        columns=(
            "technology",
            "months",
            "water class",
            "coolant degC",
            "water cold enough",
            "kW a rack left to air",
            "L/min a rack",
            "USD",
        ),
        rows=rows,
    )


def pue_table(pue_today: float, *, liquid_today: bool = False) -> Table:
    """Each system's PUE, and the share of all power a move to it saves for the same work."""
    rows: list[tuple[Cell, ...]] = []
    for row in PUE:
        fans = model.FAN_RATIO if row.liquid and not liquid_today else exactly(0.0)
        saved = model.power_saved_ratio(pue_today, row.pue, fans)
        tue = model.tue(row.pue, 0.0 if row.liquid else model.FAN_RATIO.mid)
        rows.append((row.system, row.pue, tue, saved.low, saved.mid, saved.high))
    return Table(
        title="PUE and TUE by cooling system",
        columns=("system", "PUE", "TUE", "saved low", "saved", "saved high"),
        rows=tuple(rows),
        note="TUE counts server fans as overhead; saved: share of today's total power",
    )


def plots(rack_kw: float, forecast: Headroom | None) -> list[Plot]:
    """Densities beside these racks, and the hall's power where it is forecast."""
    density = Plot(
        title="What cooling technologies carry",
        kind=PlotKind.BAR,
        x_label="technology",
        y_label="kW a rack",
        series=(
            Series(
                name="up to",
                x=tuple(float(i) for i in range(len(TECHNOLOGIES))),
                y=tuple(t.high_kw_per_rack for t in TECHNOLOGIES),
                labels=tuple(t.name for t in TECHNOLOGIES),
            ),
        ),
        marks=(Mark(label=f"these racks: {rack_kw:.3g} kW", y=rack_kw),),
    )
    return [density] if forecast is None else [density, headroom_plot(forecast)]


def headroom_plot(found: Headroom) -> Plot:
    """Peak of the hall over three years at its growth, with feed and delivery times."""
    months = np.arange(0, 37, dtype=float)
    growth = found.growth_watts_per_month

    def line(slope: float) -> tuple[float, ...]:
        return tuple(((found.peak_watts + slope * months) / 1000).tolist())

    return Plot(
        title="Power of the hall",
        kind=PlotKind.LINE,
        x_label="months from now",
        y_label="kW",
        series=(
            Series(
                name="peak at today's growth",
                x=tuple(months.tolist()),
                y=line(growth.mid),
                low=line(growth.low),
                high=line(growth.high),
            ),
        ),
        marks=(
            Mark(
                label=f"feed: {found.capacity_watts / 1000:,.0f} kW", y=found.capacity_watts / 1000
            ),
            Mark(label="earliest delivery", x=18.0),
            Mark(label="latest delivery", x=36.0),
        ),
    )


def caps_table() -> Table:
    """What a power cap leaves of a pool's throughput, whom to cap first at the top."""
    rows: list[tuple[Cell, ...]] = []
    for phase in power.CAP_ORDER:
        for ratio in CAPS:
            cap = power.power_cap(phase, ratio)
            if cap is not None:
                left, energy = cap.throughput, cap.energy
                rows.append((phase.value, ratio, left.low, left.mid, left.high, energy.mid))
    return Table(
        title="Power caps by phase, whom to cap first at the top",
        columns=("phase", "cap", "left low", "throughput left", "left high", "energy a token"),
        rows=tuple(rows),
        note="ratios; points nobody measured are left out (Splitwise, MLPerf v4.1 MaxQ)",
    )


def carbon_table(
    grid: Grid, watts: float, *, contracted_ratio: float, shiftable_ratio: float
) -> Table:
    """Tonnes a month of this power: by place, after contracts, and with work moved in the day."""
    kwh = watts / 1000 * HOURS_PER_DAY
    located = carbon.tonnes(kwh * DAYS_PER_MONTH, grid)
    matched = contracted_ratio if grid.carbon_free_ratio is None else grid.carbon_free_ratio
    by_volume, by_hour = carbon.after_contracts(located, contracted_ratio, matched)
    rows: list[tuple[Cell, ...]] = [
        (f"at {grid.region}, {grid.grams_per_kwh:.0f} g/kWh", located),
        (f"after contracts for {contracted_ratio:.0%} of the year", by_volume),
        ("after contracts, hour by hour", by_hour),
    ]
    moved = None
    if grid.hourly_grams_per_kwh:
        each, room = kwh / HOURS_PER_DAY, 1.25 * kwh / HOURS_PER_DAY
        moved = carbon.shift(
            [each] * HOURS_PER_DAY,
            grid.hourly_grams_per_kwh,
            shiftable_ratio=shiftable_ratio,
            capacity_kwh=room,
        )
    if moved is not None:
        saved = moved.saved_kg / 1000 * DAYS_PER_MONTH
        rows.append((f"with {shiftable_ratio:.0%} shiftable to cleaner hours", located - saved))
    return Table(
        title="Carbon",
        columns=("what", "t CO2e/month"),
        rows=tuple(rows),
        note="a yearly mean knows no hours: give 24 values in your own catalogue to see shifting"
        if moved is None
        else "shifting needs a quarter of room in the clean hours",
    )

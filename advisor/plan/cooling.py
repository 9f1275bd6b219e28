"""`plan cooling`: what heat costs, what a retrofit takes, when power is full, PUE beside TUE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field

from advisor.catalog.cooling import BY_NAME
from advisor.facts import Facts
from advisor.models import cooling as model
from advisor.models import headroom
from advisor.models.headroom import Headroom
from advisor.models.interval import Interval, exactly
from advisor.models.periods import HOURS_PER_MONTH
from advisor.models.power import Phase
from advisor.plan import cooling_tables as tables
from advisor.plan import live
from advisor.plan.inputs import live_facts
from advisor.plan.options import Options, catalogued, sureness
from advisor.plan.report import Report, Table
from advisor.rules.pricing import Catalog, estimate
from ridgeline.errors import Misconfigured
from ridgeline.events import Action, Confidence, Estimate
from ridgeline.settings import AdvisorSettings

SOURCES = (
    "lost work: Splitwise (decode hardly notices clocks), MLPerf v4.1 MaxQ (compute does)",
    "no speed from liquid without throttling: MLPerf v5.1, 8x B200, liquid over air 1.003",
    "densities and water classes: vendor guides and LBNL, secondary; lead times assumed",
    "PUE: LBNL-2001637; fans: Vertiv and NVIDIA (ASME), PUE -3.3 % while total -10.2 %",
)
_ONE_A_LINE = "one number of watts a line, 0 or more, an empty line where none was read"
_ACTIONS = {
    model.Remedy.FLOW: Action.FIX_COOLING,
    model.Remedy.SETPOINT: Action.FIX_COOLING,
    model.Remedy.AIRFLOW: Action.FIX_COOLING,
    model.Remedy.POWER_CAP: Action.CAP_POWER,
    model.Remedy.RETROFIT: Action.RETROFIT_COOLING,
    model.Remedy.MEASURE: Action.FIX_COOLING,
}


class CoolingOptions(Options):
    """What does heat cost, what helps cheapest first, and is there power and water for more?"""

    panel = "Cooling"

    rack_kw: Annotated[float, Field(gt=0, le=1000)] = Field(40.0, description="heat of one rack")
    racks: Annotated[int, Field(ge=1, le=100_000)] = Field(8, description="racks like it")
    technology: Annotated[
        str, AfterValidator(lambda v: catalogued(v, BY_NAME, "cooling technology"))
    ] = Field("contained air, in-row", description="how they are cooled today")
    throttled_ratio: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="share of GPU time with clocks held down by heat"
    )
    clock_ratio: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="SM clock while throttled over the highest; default: unknown"
    )
    phase: Phase | None = Field(None, description="what the GPUs work on; default: unknown")
    gpus: Annotated[int, Field(ge=1)] | None = Field(None, description="GPUs in these racks")
    usd_per_gpu_hour: Annotated[float, Field(gt=0)] = Field(
        2.4, description="what a GPU-hour is worth (default: street price of an H100)"
    )
    water_celsius: Annotated[float, Field(ge=0, le=60)] | None = Field(
        None, description="supply of the facility's water; default: unknown"
    )
    retrofit_usd_per_kw: Annotated[float, Field(gt=0)] | None = Field(
        None, description="quoted price of new cooling; default: what is published, if anything"
    )
    pue: Annotated[float, Field(ge=1, le=5)] = Field(1.3, description="PUE today")
    usd_per_kwh: Annotated[float, Field(ge=0)] = Field(0.12, description="price of electricity")
    grid: str | None = Field(None, description="grid for carbon, as the catalogue names it")
    carbon_free_ratio: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="share of the year's energy under carbon-free contracts"
    )
    shiftable_ratio: Annotated[float, Field(ge=0, le=1)] = Field(
        0.2, description="share of the work that may wait for cleaner hours"
    )
    catalog: Path | None = Field(None, description="YAML that corrects or extends the catalogue")
    power_history: Path | None = Field(
        None, description="CSV of hourly watts of the hall, one number a line, newest last"
    )
    feed_kw: Annotated[float, Field(gt=0)] | None = Field(
        None, description="IT power the hall's feed carries"
    )
    live: bool = Field(default=False, description="take racks and heat from the running store")
    loop: str | None = Field(
        None, description="with --live: cooling loop; default: the one with most throttling"
    )


def cooling(options: CoolingOptions, seen: Facts | None = None) -> Report:
    """Lost work and money, remedies, retrofit options, power headroom, PUE and TUE.

    Args:
        options: What was asked.
        seen: Facts of the store, for `--live`; read when None.
    """
    measured, known = None, {}
    if options.live:
        measured = live.heat_of(seen or live_facts(), options.loop)
        known = measured.known(options.model_fields_set)
        options = options.with_measured(measured.options)
    technology = BY_NAME[options.technology]
    throttling = options.throttled_ratio > 0
    state = model.Loop(rack_kw=options.rack_kw, technology=technology)
    if measured is not None:
        state = replace(measured.state, rack_kw=options.rack_kw, technology=technology)
    remedies = model.remedies(state, throttling=throttling, phase=options.phase)
    over = model.over_density(options.rack_kw, technology)
    lost = lost_usd_per_month(options)
    offers = _offers(options)
    forecast = _forecast(options, measured)
    report = Report(
        command="cooling",
        answer=_answer(options, remedies, lost, forecast, over=over),
        action=_ACTIONS[remedies[0]] if remedies else Action.KEEP,
        tables=(
            *((tables.remedies_table(remedies, state),) if remedies else ()),
            tables.caps_table(),
            tables.retrofits_table(offers),
            tables.pue_table(options.pue, liquid_today=technology.at_chip),
            *_carbon(options),
        ),
        plots=tuple(tables.plots(options.rack_kw, forecast)),
        numbers=_numbers(options, known, lost, forecast) | _prices(offers),
        refusals=_refusals(options, throttling=throttling, over=over),
        warnings=_warnings(options, forecast, offers),
        sources=SOURCES,
        versions={"cooling": model.VERSION, "headroom": headroom.VERSION},
    )
    return report if measured is None else measured.beside(report)


def lost_usd_per_month(options: CoolingOptions) -> Interval | None:
    """Money of the work heat takes; None when the number of GPUs is not known."""
    if options.gpus is None:
        return None
    low, mid, high = model.lost_work_ratio(
        options.throttled_ratio, options.clock_ratio, options.phase
    )
    worth = options.gpus * HOURS_PER_MONTH * options.usd_per_gpu_hour
    return Interval(low=low, mid=mid, high=high).scaled(worth)


def _offers(options: CoolingOptions) -> tuple[model.Retrofit, ...]:
    quote = options.retrofit_usd_per_kw
    price = None if quote is None else Interval(low=0.8 * quote, mid=quote, high=1.3 * quote)
    found = model.retrofits(options.rack_kw, options.racks, options.water_celsius, price)
    return tuple(o for o in found if o.technology.name != options.technology)


def _forecast(options: CoolingOptions, measured: live.Heat | None) -> Headroom | None:
    if options.feed_kw is None:
        return None
    if options.power_history is None:
        hourly = () if measured is None else measured.hall_watts_hourly
        return headroom.headroom(np.array(hourly), options.feed_kw * 1000) if hourly else None
    return headroom.headroom(_watts(options.power_history), options.feed_kw * 1000)


def _watts(path: Path) -> npt.NDArray[np.float64]:
    """Hourly watts of a file, one a line; an empty line is an hour without a reading."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise Misconfigured("--power-history", f"cannot read {path}: {why}") from error
    found = [_reading(path, number, line) for number, line in enumerate(lines, 1)]
    if not any(np.isfinite(found)):
        raise Misconfigured("--power-history", f"{path} holds no reading; allowed: {_ONE_A_LINE}")
    return np.array(found)


def _reading(path: Path, number: int, line: str) -> float:
    text = line.strip()
    try:
        watts = float(text) if text else np.nan
    except ValueError:
        watts = -1.0
    if watts < 0 or np.isinf(watts):
        problem = f"{path} line {number}: {text!r}; allowed: {_ONE_A_LINE}"
        raise Misconfigured("--power-history", problem)
    return float(watts)


def _carbon(options: CoolingOptions) -> tuple[Table, ...]:
    if options.grid is None:
        return ()
    grids = Catalog.of(AdvisorSettings(catalog=str(options.catalog or ""))).grids
    try:
        name = catalogued(options.grid, grids, "grid")
    except ValueError as error:
        raise Misconfigured("--grid", f"{error} (found {options.grid!r})") from error
    return (
        tables.carbon_table(
            grids[name],
            options.rack_kw * 1000 * options.racks * options.pue,
            contracted_ratio=options.carbon_free_ratio,
            shiftable_ratio=options.shiftable_ratio,
        ),
    )


def _answer(
    options: CoolingOptions,
    remedies: tuple[model.Remedy, ...],
    lost: Interval | None,
    forecast: Headroom | None,
    *,
    over: bool,
) -> str:
    if not remedies:
        text = "Nothing throttles: better cooling would bring no speed; keep it"
        text += " (but the racks are denser than it is meant for)" if over else ""
    else:
        money = (
            ""
            if lost is None
            else f", worth {lost.mid:,.0f} USD a month ({lost.low:,.0f} to {lost.high:,.0f})"
        )
        held = f"Heat holds clocks down {options.throttled_ratio:.0%} of the time"
        text = f"{held}{money}. First: {remedies[0]}"
    if forecast is not None and forecast.months is not None:
        m = forecast.months
        text += f". Power is full in {m.mid:.0f} months ({m.low:.0f} to {m.high:.0f})"
        text += "; more takes 18 to 36: order now" if m.low < 36 else ""
    return text + "."


def _refusals(options: CoolingOptions, *, throttling: bool, over: bool) -> tuple[str, ...]:
    if throttling:
        return ()
    said = ["liquid makes no healthy GPU faster (MLPerf v5.1, 8x B200: 1.003 of air)"]
    if not over:
        carries = BY_NAME[options.technology].high_kw_per_rack
        said.append(f"{options.technology} carries {carries:.0f} kW a rack; these give off less")
    return tuple(said)


def _prices(offers: tuple[model.Retrofit, ...]) -> dict[str, Estimate]:
    """What a retrofit costs by others; a quote needs no repeating."""
    return {
        f"price of {o.technology.name}": estimate(
            o.capex_usd.low,
            o.capex_usd.mid,
            o.capex_usd.high,
            "USD",
            o.priced_by.confidence,
            o.priced_by.cited,
        )
        for o in offers
        if o.priced_by is not None and o.capex_usd is not None
    }


def _warnings(
    options: CoolingOptions, forecast: Headroom | None, offers: tuple[model.Retrofit, ...]
) -> tuple[str, ...]:
    said = []
    if options.power_history is not None and options.feed_kw is None:
        said.append("--power-history needs --feed-kw for a forecast")
    elif options.feed_kw is not None and forecast is None:
        said.append(f"no forecast: fewer than {headroom.LEAST_DAYS} days of hourly readings")
    unpriced = [o.technology.name for o in offers if o.capex_usd is None]
    if unpriced:
        said.append(
            f"no price of {', '.join(unpriced)}: nobody citable gives one; "
            "--retrofit-usd-per-kw is yours"
        )
    return tuple(said)


_HEAT = ("throttled_ratio", "clock_ratio", "phase")
_PLANT = ("rack_kw", "racks", "pue", "usd_per_kwh")


def _numbers(
    options: CoolingOptions,
    known: Mapping[str, Confidence],
    lost: Interval | None,
    forecast: Headroom | None,
) -> dict[str, Estimate]:
    low, mid, high = model.lost_work_ratio(
        options.throttled_ratio, options.clock_ratio, options.phase
    )
    sure = partial(sureness, options, known=known)
    heat = sure(_HEAT)
    found = {
        "work lost to heat": estimate(low, mid, high, "ratio", heat, SOURCES[0]),
        "speed from better cooling": estimate(low, mid, high, "ratio", heat, SOURCES[1]),
    }
    if lost is not None:
        worth = sure((*_HEAT, "gpus", "usd_per_gpu_hour"))
        found["worth of it"] = estimate(
            lost.low, lost.mid, lost.high, "USD/month", worth, "lost work x price of a GPU-hour"
        )
    # where liquid reaches the chips already, there are no fans left to save
    fans = exactly(0.0) if BY_NAME[options.technology].at_chip else model.FAN_RATIO
    saved = model.power_saved_ratio(options.pue, 1.093, fans)
    month = options.rack_kw * options.racks * options.pue * HOURS_PER_MONTH * options.usd_per_kwh
    money = saved.scaled(month) if saved.low >= 0 else None
    if money is not None:
        found["energy saved by liquid with dry coolers"] = estimate(
            money.low, money.mid, money.high, "USD/month", sure(_PLANT), SOURCES[3]
        )
    if forecast is not None and forecast.months is not None:
        m = forecast.months
        source = "Theil-Sen trend of daily peaks"
        found["power is full in"] = estimate(
            m.low, m.mid, m.high, "months", sure(("feed_kw",)), source
        )
    return found

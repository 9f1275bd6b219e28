"""`plan accelerator`: which accelerator serves this workload cheapest, and what is not known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import Field

from advisor.catalog import stacks
from advisor.catalog.accelerators import Accelerator
from advisor.catalog.files import Source
from advisor.catalog.models import MODELS, Format
from advisor.catalog.prices import street, street_source
from advisor.models import accelerators as model
from advisor.models import carbon, throughput
from advisor.models.accelerators import Choice, Verdict
from advisor.models.interval import Interval, exactly, of
from advisor.models.replica import Stack
from advisor.models.throughput import Job
from advisor.plan import accelerator_tables as tables
from advisor.plan.inputs import Demand, seen_by
from advisor.plan.live_serving import asked_of
from advisor.plan.options import EngineName, ModelName, WorkloadOptions, catalogued
from advisor.plan.report import Report
from advisor.rules.pricing import Catalog, estimate, weaker
from ridgeline.errors import Misconfigured
from ridgeline.events import Action, Confidence, Estimate
from ridgeline.settings import AdvisorSettings

SOURCES = (
    "rates: kernels measured by AIConfigurator, times what engines reached over them (published)",
    "peaks, prices, power: the catalogue, every figure with its source and date",
)
MARGIN_RATIO = 0.10


class AcceleratorOptions(WorkloadOptions):
    """Which accelerator serves this workload cheapest: tokens per second, dollar and joule."""

    panel = "Accelerators"

    model: ModelName = Field("llama3-70b", description="served model, as the catalogue names it")
    weights: Format | None = Field(None, description="format of the weights; default: as published")
    engine: EngineName | None = Field(
        None, description=f"serving software: {', '.join(stacks.BY_NAME)}; default: the newest"
    )
    tpot_seconds: Annotated[float, Field(gt=0)] | None = Field(
        None, description="objective: time per output token, p99; default: none"
    )
    today: str = Field("H100-SXM", description="accelerator in use today (may be your own)")
    usd_per_hour: Annotated[float, Field(gt=0)] | None = Field(
        None, description="what an hour of today's accelerator costs; default: street price"
    )
    catalog: Path | None = Field(None, description="YAML that corrects or extends the catalogue")
    grid: str = Field("gcp/us-central1", description="grid for carbon, as the catalogue names it")
    pue: Annotated[float, Field(ge=1, le=5)] = Field(
        1.3, description="facility power over IT power"
    )


def accelerator(options: AcceleratorOptions) -> Report:
    """Ranking, refusals with their reasons, cost plot and roofline."""
    seen, named = seen_by(options), options.engine
    options, serving = asked_of(options, seen)
    asked = serving.asked
    catalog = Catalog.of(AdvisorSettings(catalog=str(options.catalog or "")))
    job = Job(
        model=MODELS[options.model],
        prompt_tokens=asked.prompt_tokens,
        output_tokens=asked.output_tokens,
        weights=options.weights,
        prefix_hit_ratio=min(0.99, asked.prefix_hit_ratio or 0.0),
        tpot_limit_seconds=options.tpot_seconds,
        stack=_stack(options, named),
    )
    found = model.choices(job, catalog.accelerators, _prices(options, catalog))
    today = _today(options, found)
    best = found[0] if found[0].verdict is Verdict.RANKED else None
    pays = best is not None and _pays(best, today)
    report = Report(
        command="accelerator",
        answer=_answer(best, today, pays=pays),
        action=Action.CHANGE_ACCELERATOR if pays else Action.KEEP,
        tables=(tables.ranking(found, job, asked, today), tables.refused(found)),
        plots=(*tables.costs(found, today), *tables.roofline(job, today.accelerator, seen)),
        numbers=_numbers(best, today, asked, options, catalog),
        refusals=_refusals(best, today, pays=pays),
        sources=(f"workload: {asked.origin}", *SOURCES),
        versions={"accelerators": model.VERSION, "throughput": throughput.VERSION},
    )
    return serving.beside(report)


def _stack(options: AcceleratorOptions, named: str | None) -> Stack | None:
    """One for all accelerators: what was named, or what runs unless it is of one platform alone."""
    if options.engine is None:
        return None
    release = stacks.BY_NAME[options.engine]
    everywhere = release.captured_graphs and not release.on
    return release.stack if everywhere or named is not None else None


def _today(options: AcceleratorOptions, found: tuple[Choice, ...]) -> Choice:
    by_name = {c.accelerator.name: c for c in found}
    try:
        return by_name[catalogued(options.today, by_name, "accelerator")]
    except ValueError as error:
        raise Misconfigured("--today", f"{error} (found {options.today!r})") from error


def _prices(
    options: AcceleratorOptions, catalog: Catalog
) -> Callable[[Accelerator], Interval | None]:
    def price(which: Accelerator) -> Interval | None:
        if which.name == options.today and options.usd_per_hour is not None:
            return exactly(options.usd_per_hour)
        paid = street(which.name, catalog.prices)
        return of(*paid) if paid is not None else None

    return price


def _pays(best: Choice, today: Choice) -> bool:
    """Whether the best saves the margin by middle values; False when today's cost is not known."""
    now, then = today.usd_per_million_tokens, best.usd_per_million_tokens
    return now is not None and then is not None and then.mid < now.mid * (1 - MARGIN_RATIO)


def _answer(best: Choice | None, today: Choice, *, pays: bool) -> str:
    if best is None or best.usd_per_million_tokens is None:
        return "No accelerator of the catalogue is measured, priced and fast enough for this."
    cost, now = best.usd_per_million_tokens, today.usd_per_million_tokens
    name = today.accelerator.name
    text = (
        f"{best.accelerator.name} serves this cheapest: {cost.mid:.3g} USD per million output "
        f"tokens ({cost.low:.3g} to {cost.high:.3g})"
    )
    if best is today:
        return f"{text}: keep it."
    if now is None:
        return f"{text}; today's {name}: {today.verdict}."
    return f"{text}; today's {name} costs {now.mid:.3g}" + ("." if pays else ": too near to move.")


def _refusals(best: Choice | None, today: Choice, *, pays: bool) -> tuple[str, ...]:
    if best is None or best is today or pays:
        return ()
    if today.usd_per_million_tokens is None:
        return (f"what {today.accelerator.name} costs a token today is not known: {today.verdict}",)
    return (f"the saving is below {MARGIN_RATIO:.0%} by the middle of both intervals",)


def _numbers(
    best: Choice | None,
    today: Choice,
    asked: Demand,
    options: AcceleratorOptions,
    catalog: Catalog,
) -> dict[str, Estimate]:
    grid = catalog.grids.get(options.grid)
    if grid is None:
        raise Misconfigured("--grid", f"no grid {options.grid!r}; e.g. {_some(catalog)}")
    found = {
        "demand": estimate(
            *(asked.requests_per_second * asked.output_tokens,) * 3,
            "output tokens/s",
            asked.confidence,
            asked.origin,
        )
    }
    for which in dict.fromkeys(c for c in (best, today) if c is not None):
        name, energy, cost = (
            which.accelerator.name,
            which.joules_per_token,
            which.usd_per_million_tokens,
        )
        if cost is not None:
            paid = _price_source(which.accelerator, options, catalog)
            sure = weaker(weaker(Confidence.MODELLED, asked.confidence), paid.confidence)
            found[f"{name}: cost"] = estimate(
                *(cost.low, cost.mid, cost.high),
                "USD per million tokens",
                sure,
                f"modelled rate, price: {paid.cited}",
            )
        if energy is not None:
            sure = weaker(Confidence.MODELLED, asked.confidence)
            found[f"{name}: energy"] = _made(
                energy, "J/token, server", sure, "power by phase (MLPerf)"
            )
            grams = carbon.grams_per_million_tokens(energy, options.pue, grid)
            found[f"{name}: carbon"] = _made(
                grams,
                "g CO2e per million tokens",
                Confidence.ASSUMED,  # the PUE is a number given
                f"{grid.region}, {grid.source.title}",
            )
    return found


def _price_source(which: Accelerator, options: AcceleratorOptions, catalog: Catalog) -> Source:
    listed = street_source(which.name, catalog.prices)
    given = which.name == options.today and options.usd_per_hour is not None
    if given or listed is None:
        return Source(title="--usd-per-hour", as_of="given", confidence=Confidence.ASSUMED)
    return listed


def _made(value: Interval, unit: str, sure: Confidence, source: str) -> Estimate:
    return estimate(value.low, value.mid, value.high, unit, sure, source)


def _some(catalog: Catalog) -> str:
    return ", ".join(list(catalog.grids)[:5])

"""`plan burst`: rent for the peaks, own the base, buy the rest by the token, or a reasoned no."""

from __future__ import annotations

from collections.abc import Iterator

from advisor.facts import Facts
from advisor.models import burst_plan, hybrid, managed, ownership, peaks, workload
from advisor.models.burst_plan import BurstPlan, No, Reason
from advisor.models.interval import Interval, exactly
from advisor.plan import skypilot
from advisor.plan.burst_case import (
    NODE_GPUS,
    BurstOptions,
    Found,
    Prices,
    across_of,
    catalog_of,
    history_of,
    load_of,
    need_of,
)
from advisor.plan.burst_prices import offers_of, policy_of, prices_of
from advisor.plan.burst_tables import plots, tables
from advisor.plan.gpu_demand import History, lasting
from advisor.plan.inputs import seen_by
from advisor.plan.live_serving import asked_of
from advisor.plan.report import Report
from advisor.rules.pricing import estimate, weaker
from ridgeline.errors import Misconfigured
from ridgeline.events import Action, Confidence, Estimate

SOURCES = (
    "own or rent: break-even share of time and newsvendor; base and peak by history",
    "provisioning 150 to 600 s: Slurm's ResumeTimeout advice; weights at 2 to 20 Gbit/s: assumed",
)


def burst(options: BurstOptions, seen: Facts | None = None) -> Report:
    """The plan with its alternatives and what fell out, and what history says about owning.

    Args:
        options: What was asked.
        seen: Facts of the store, for `--live`; read when None.
    """
    seen = (seen or seen_by(options)) if options.live else None
    serving = None
    if seen is not None:
        options, serving = asked_of(options, seen)
    found = _found(options, seen)
    if options.skypilot is not None:
        _export(options, found.plan)
    report = Report(
        command="burst",
        answer=_answer(found),
        action=_action(found.plan),
        tables=tuple(tables(found)),
        plots=tuple(plots(found)),
        numbers=dict(_numbers(found)),
        refusals=tuple(r.value for r in found.plan.reasons) if isinstance(found.plan, No) else (),
        warnings=tuple(_warnings(found)),
        sources=(f"demand: {found.origin}", *SOURCES),
        versions={
            "burst": burst_plan.VERSION,
            "ownership": ownership.VERSION,
            "workload": workload.VERSION,
            "hybrid": hybrid.VERSION,
            "managed": managed.VERSION,
        },
    )
    return report if serving is None else serving.beside(report)


def _found(options: BurstOptions, seen: Facts | None) -> Found:
    load = load_of(options, seen)
    history = history_of(options, load, seen)
    catalog = catalog_of(options)
    prices = prices_of(options, load, catalog)
    shape = owned = seen_peaks = rent = layers = None
    if history is not None:
        shape = workload.characterise(
            history.gpus, history.step_seconds, history.first_second_of_day
        )
        owned = _owned(options, history, prices)
        there = options.own_gpus if options.own_gpus is not None else history.gpus_there
        level = owned.mid if there is None else there
        seen_peaks = peaks.peaks(history.gpus, history.step_seconds, level)
        carried = level + options.idle_gpus  # idle ones are used first
        rent = peaks.rented(history.gpus, history.step_seconds, carried, NODE_GPUS)
        layers = _layers(history, prices, load is not None)
    need = need_of(options, seen_peaks, rent, lasting=shape is None or shape.enough)
    return Found(
        options=options,
        history=history,
        shape=shape,
        owned=owned,
        peaks=seen_peaks,
        plan=burst_plan.plan(
            need, offers_of(options, catalog), policy_of(options, prices), across_of(options)
        ),
        layers=layers,
        prices=prices,
        origin="options" if history is None else history.origin,
    )


def _owned(options: BurstOptions, history: History, prices: Prices) -> Interval:
    if prices.own is None or prices.rent is None:
        there = options.own_gpus if options.own_gpus is not None else history.gpus_there
        if there is None:
            problem = f"is needed: no price of owning {options.accelerator} is in the catalogue"
            raise Misconfigured("--own-gpus", problem)
        return exactly(there)
    steps = round(workload.DAY_SECONDS / history.step_seconds)
    paid = peaks.kept(history.gpus, history.step_seconds)  # what is rented is kept for a while
    return ownership.split(paid, prices.own, prices.rent, steps).owned


def _layers(history: History, prices: Prices, known_load: bool) -> hybrid.Hybrid | None:  # noqa: FBT001 - private, called once
    ways = hybrid.Prices(
        own=None if prices.own is None else prices.own.mid,
        rent=None if prices.rent is None else prices.rent.mid,
        managed=prices.managed.mid if known_load and prices.managed is not None else None,
        rent_start_hours=burst_plan.PROVISION_SECONDS.mid / 3600,
    )
    if ways.own is None and ways.rent is None and ways.managed is None:
        return None
    layers = hybrid.recommend(history.gpus, history.step_seconds, ways)
    return layers if isinstance(layers, hybrid.Hybrid) else None


def _export(options: BurstOptions, plan: BurstPlan | No) -> None:
    path = options.skypilot
    if path is None or isinstance(plan, No):
        said = "" if not isinstance(plan, No) else ", ".join(plan.reasons)
        raise Misconfigured("--skypilot", f"there is nothing to rent: {said}")
    try:
        path.write_text(skypilot.task(plan), encoding="utf-8")
    except OSError as error:
        raise Misconfigured("--skypilot", f"cannot write {path}: {error.strerror}") from error


def _answer(found: Found) -> str:
    there = found.history is not None and found.history.gpus_there is not None
    own = None if found.options.own_gpus is not None or there else found.owned
    if isinstance(found.plan, No):
        begun = "Rent nothing" if own is None else f"Own {own.mid:.0f} GPUs and rent nothing"
        return f"{begun}: {', and '.join(found.plan.reasons)}."
    need, best = found.plan.need, found.plan.best
    usd = best.usd_per_month
    base = "Rent " if own is None else f"Own {own.mid:.0f} GPUs and rent "
    size = f"{best.offer.gpus_per_node} x {need.accelerator}{' spot' if best.spot else ''}"
    when = (
        f"{best.nodes} nodes of {size} at {best.offer.place} for {need.hours_per_peak.mid:.1f} h, "
        f"{need.peaks_per_month.mid:.0f} times a month"
    )
    if need.rented is not None:
        hours = need.rented.unit_hours_per_month.mid
        when = f"up to {best.nodes} nodes of {size} at {best.offer.place}, {hours:,.0f} node-hours"
        when = f"{when} a month"
    answer = f"{base}{when}: {usd.mid:,.0f} USD a month ({usd.low:,.0f} to {usd.high:,.0f})"
    if (history := found.history) is not None and not _whole_day(history):
        seen = lasting(history.gpus.size * history.step_seconds)
        return f"{answer}, if the month is like the {seen} that were seen."
    return f"{answer}."


def _whole_day(history: History) -> bool:
    return history.gpus.size * history.step_seconds >= workload.DAY_SECONDS


def _action(plan: BurstPlan | No) -> Action:
    if isinstance(plan, BurstPlan):
        return Action.BURST_TO_CLOUD
    if Reason.IDLE_FIRST in plan.reasons:
        return Action.CONSOLIDATE
    return Action.ADD_CAPACITY if Reason.OWNING_CHEAPER in plan.reasons else Action.KEEP


def _numbers(found: Found) -> Iterator[tuple[str, Estimate]]:
    sure = _confidence(found)
    if isinstance(found.plan, BurstPlan):
        yield (
            "rent",
            _estimate(
                found.plan.best.usd_per_month, "USD/month", sure, found.plan.best.offer.source
            ),
        )
        ready = found.plan.ready_seconds
        yield "time to first token", _estimate(ready, "s", Confidence.ASSUMED, SOURCES[1])
        if found.plan.owning_usd_per_month is not None:
            owning = found.plan.owning_usd_per_month
            owned = weaker(sure, found.prices.sources["own"].confidence)
            yield "owning the same", _estimate(owning, "USD/month", owned, SOURCES[0])
    prices = found.prices
    if prices.own is not None and prices.rent is not None:
        even = ownership.break_even_ratio(prices.own, prices.rent)
        both = weaker(prices.sources["own"].confidence, prices.sources["rent"].confidence)
        source = "owned over rented USD/h; a share of time in use above it pays for owning"
        yield "break-even", _estimate(even, "ratio of time", both, source)
    for name, usd in (("own", prices.own), ("rent", prices.rent), ("managed", prices.managed)):
        if usd is not None:
            by = prices.sources[name]
            yield f"{name}, a busy GPU", _estimate(usd, "USD/h", by.confidence, by.cited)
    if found.owned is not None:
        yield "GPUs to own", _estimate(found.owned, "1", sure, SOURCES[0])


def _confidence(found: Found) -> Confidence:
    enough = found.shape is not None and found.shape.enough
    return Confidence.MODELLED if enough else Confidence.ASSUMED


def _estimate(number: Interval, unit: str, sure: Confidence, source: str) -> Estimate:
    return estimate(number.low, number.mid, number.high, unit, sure, source)


def _warnings(found: Found) -> Iterator[str]:
    if found.shape is not None:
        yield from (f"missing: {text}" for text in found.shape.missing)
    if isinstance(found.plan, BurstPlan):
        yield from (f"not known: {text}" for text in found.plan.unknown)
        owning, rent = found.plan.owning_usd_per_month, found.plan.best.usd_per_month
        if owning is not None and owning.mid < rent.mid:
            yield f"owning the same likely costs less: {owning.mid:,.0f} USD a month"
    elif forbidden := sorted({o.place for o, why in found.plan.refused if why is Reason.RESIDENCY}):
        yield f"offers where the data may not go: {', '.join(forbidden)}"
    if found.prices.managed is None:
        yield "managed endpoints are not compared: give the load's tokens, or no price is known"
    if found.prices.own is None:
        yield "owning is not compared: no price to cite; give --own-usd-per-hour"

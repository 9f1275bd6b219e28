"""The tables and plots of `plan burst`."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from advisor.models.burst_plan import BurstPlan, No, Option, Reason
from advisor.models.peaks import Peaks
from advisor.models.workload import Shape
from advisor.plan.burst_case import Found
from advisor.plan.report import Mark, Plot, PlotKind, Series, Table

SHOWN = 8
MOST_POINTS = 600


def tables(found: Found) -> Iterator[Table]:
    """Options, layers, shape, peaks, and what fell out."""
    if isinstance(found.plan, BurstPlan):
        yield _options(found.plan)
    if found.layers is not None:
        yield _layers(found)
    if found.shape is not None and found.peaks is not None:
        yield _shape(found.shape, found.peaks)
    refused = [r for r in found.plan.refused if r[1] is not Reason.WRONG_GPU]
    if refused:
        yield Table(
            title="Offers that fell out",
            columns=("place", "why"),
            rows=tuple((offer.place, reason.value) for offer, reason in refused),
        )


def _options(plan: BurstPlan) -> Table:
    best = (plan.best, *plan.alternatives)[:SHOWN]
    return Table(
        title="Where to rent, cheapest first",
        columns=("place", "kind", "nodes", "USD/month low", "likely", "high", "kg CO2/month"),
        rows=tuple(_row(option) for option in best),
    )


def _row(option: Option) -> tuple[str | float | None, ...]:
    usd = option.usd_per_month
    kind = "spot" if option.spot else "on demand"
    return (
        option.offer.place,
        kind,
        option.nodes,
        usd.low,
        usd.mid,
        usd.high,
        option.kg_co2_per_month,
    )


def _layers(found: Found) -> Table:
    layers = found.layers
    if layers is None:
        raise ValueError("no layers")
    return Table(
        title="GPUs of demand by the cheapest way",
        columns=("way", "GPUs", "USD/h"),
        rows=(
            ("own", layers.own_gpus, None),
            ("rent", layers.rent_gpus, None),
            ("managed, by the token", layers.managed_gpus, None),
            ("together", None, layers.usd_per_hour),
            ("all owned", None, layers.own_only_usd_per_hour),
            ("all rented", None, layers.rent_only_usd_per_hour),
            ("all managed", None, layers.managed_only_usd_per_hour),
        ),
        note="each further GPU of demand goes where its hours and starts cost least",
    )


def _shape(shape: Shape, peaks: Peaks) -> Table:
    growth = shape.growth_per_day
    return Table(
        title="What the demand is like",
        columns=("what", "value"),
        rows=(
            ("days seen", shape.days),
            ("GPUs, mean", shape.mean),
            ("GPUs, base (95 % of the time more)", shape.base),
            ("GPUs, peak (1 % of the time more)", shape.peak),
            ("share of the variation that the hour explains", shape.by_hour_share),
            ("growth a day", None if growth is None else growth.mid),
            ("level that peaks are counted above", peaks.capacity),
            ("share of time above it", peaks.share_of_time),
            ("peaks seen", peaks.count),
            ("peaks at usual hours", "yes" if peaks.foreseeable else "no"),
        ),
    )


def plots(found: Found) -> Iterator[Plot]:
    """Cost by utilisation with the break-even, and the demand with the level owned."""
    if isinstance(found.plan, No) and found.prices.rent is None and found.history is None:
        return
    yield _by_utilisation(found)
    if found.history is not None and found.peaks is not None:
        yield _demand(found)


def _by_utilisation(found: Found) -> Plot:
    at = np.linspace(0.15, 1.0, 60)
    prices, series, marks = found.prices, [], []
    if prices.own is not None:
        own = prices.own
        series.append(_curve("owned", at, own.mid / at, own.low / at, own.high / at))
    flat = np.ones_like(at)
    for name, usd in (("rented", prices.rent), ("managed", prices.managed)):
        if usd is not None:
            series.append(_curve(name, at, usd.mid * flat, usd.low * flat, usd.high * flat))
    if prices.own is not None and prices.rent is not None:
        even = prices.own.mid / prices.rent.mid
        if even <= 1:
            marks.append(Mark(label=f"break-even {even:.0%}", x=even, y=prices.rent.mid))
    return Plot(
        title="Cost of a GPU-hour that is used, by utilisation",
        kind=PlotKind.LINE,
        x_label="share of time in use",
        y_label="USD per used GPU-hour",
        series=tuple(series),
        marks=tuple(marks),
    )


def _curve(name: str, x: np.ndarray, *y: np.ndarray) -> Series:
    mid, low, high = (tuple(map(float, part)) for part in y)
    return Series(name=name, x=tuple(map(float, x)), y=mid, low=low, high=high)


_TIMES = (("minutes", 60, 3 * 3600), ("hours", 3600, 4 * 86_400), ("days", 86_400, math.inf))
"""Unit of an axis, its seconds, and the longest history that is drawn in it."""


def _demand(found: Found) -> Plot:
    history, peaks = found.history, found.peaks
    if history is None or peaks is None:
        raise ValueError("no history")
    stride = max(1, history.gpus.size // MOST_POINTS)
    shown = history.gpus[: history.gpus.size // stride * stride].reshape(-1, stride)
    highest = np.nanmax(np.where(np.isfinite(shown), shown, -1.0), axis=1)
    seen = highest >= 0
    seconds = np.arange(highest.size) * stride * history.step_seconds
    unit, scale = next((u, s) for u, s, most in _TIMES if float(seconds[-1]) <= most)
    times, step = seconds / scale, stride * history.step_seconds / scale
    whose = "own" if history.gpus_there is None else "there are"
    return Plot(
        title="GPUs that the demand takes, the most in each step",
        kind=PlotKind.STEP,
        x_label=f"{unit} since the history begins",
        y_label="GPUs",
        series=(
            Series(
                name="demand",
                x=(*map(float, times[seen]), float(times[-1]) + step),
                y=(*map(float, highest[seen]), float(highest[seen][-1])),
            ),
        ),
        marks=(Mark(label=f"{whose} {peaks.capacity:.0f}", y=peaks.capacity),),
    )

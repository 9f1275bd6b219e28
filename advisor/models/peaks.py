"""When demand passes a capacity: how often, for how long, and what renting the excess takes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from advisor.models.interval import Interval, of_draws
from advisor.models.normal import Floats
from advisor.models.periods import DAYS_PER_MONTH
from advisor.models.workload import DAY_SECONDS, HOURS
from ridgeline.errors import NoData

VERSION = "peaks/2"
HOLD_SECONDS = 900.0
"""A rented node is kept this long after it was last needed: starting again costs as much."""
_DRAWS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Peaks:
    """Stretches of demand above a capacity."""

    capacity: float
    share_of_time: float
    count: int
    per_month: Interval
    hours_each: Interval  # shortest tenth, mean, longest tenth
    above: Interval  # demand over capacity within a peak: median, p90, highest
    foreseeable: bool  # at the same hours of day, seen on several days


def peaks(
    demand: ArrayLike, step_seconds: float, capacity: float, *, merge_steps: int = 5
) -> Peaks:
    """Peaks above `capacity`; a dip of at most `merge_steps` does not end one.

    Raises:
        NoData: no step was seen.
    """
    load = np.asarray(demand, dtype=float)
    seen = np.isfinite(load)
    if not seen.any():
        raise NoData("no demand was seen")
    over = seen & (np.where(seen, load, 0.0) > capacity)
    runs = _runs(over, merge_steps)
    hours = np.array([(b - a) * step_seconds / 3600 for a, b in runs])
    month = DAYS_PER_MONTH * DAY_SECONDS / (seen.sum() * step_seconds)
    doubt = 1.645 * math.sqrt(len(runs)) if runs else 0.0  # Poisson count
    excess = (load - capacity)[over]
    return Peaks(
        capacity=capacity,
        share_of_time=float(over.sum() / seen.sum()),
        count=len(runs),
        per_month=Interval(
            low=max(0.0, len(runs) - doubt) * month,
            mid=len(runs) * month,
            high=(len(runs) + doubt) * month,
        ),
        hours_each=_spread(hours, (0.1, None, 0.9)),
        above=_spread(excess, (0.5, 0.9, 1.0)),
        foreseeable=_foreseeable(over, step_seconds),
    )


def _spread(values: Floats, shares: tuple[float | None, ...]) -> Interval:
    if not values.size:
        return Interval(low=0.0, mid=0.0, high=0.0)
    found = sorted(float(values.mean() if q is None else np.quantile(values, q)) for q in shares)
    return Interval(low=found[0], mid=found[1], high=found[2])


def _runs(over: np.ndarray[tuple[int], np.dtype[np.bool_]], merge: int) -> list[tuple[int, int]]:
    """Starts and ends (exclusive) of stretches that are true."""
    edges = np.diff(np.concatenate(([0], over.astype(int), [0])))
    found: list[tuple[int, int]] = []
    for start, end in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
        if found and start - found[-1][1] <= merge:
            found[-1] = (found[-1][0], int(end))
        else:
            found.append((int(start), int(end)))
    return found


def _foreseeable(over: np.ndarray[tuple[int], np.dtype[np.bool_]], step_seconds: float) -> bool:
    """Whether most of the time over capacity falls on hours of day that are over on most days."""
    steps = round(DAY_SECONDS / step_seconds)
    days = over.size // steps if steps else 0
    if days < 3 or not over.any():
        return False
    hourly = over[: days * steps].reshape(days, -1)
    by_hour = hourly[:, : hourly.shape[1] // HOURS * HOURS].reshape(days, HOURS, -1).mean(axis=2)
    usual = (by_hour > 0.5).mean(axis=0) > 0.5
    return bool(by_hour[:, usual].sum() > 0.5 * by_hour.sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class Rented:
    """Whole units (nodes) that come and go with the excess over a capacity."""

    units: Interval  # while any is rented: median, 95 % of the time, most
    unit_hours_per_month: Interval
    starts_per_month: Interval


def rented(
    demand: ArrayLike,
    step_seconds: float,
    capacity: float,
    unit: float,
    hold_seconds: float = HOLD_SECONDS,
) -> Rented:
    """What renting units of `unit` for everything above `capacity` takes.

    The interval comes from drawing days with replacement; below two days it is half to twice.

    Raises:
        NoData: no step was seen.
        ValueError: `unit` is not above 0.
    """
    load = np.asarray(demand, dtype=np.float64)
    seen = np.isfinite(load)
    if unit <= 0:
        raise ValueError(f"unit={unit:g}: need > 0")
    if not seen.any():
        raise NoData("no demand was seen")
    units = np.ceil(np.maximum(np.where(seen, load, 0.0) - capacity, 0.0) / unit - 1e-9)
    held = kept(units, step_seconds, hold_seconds)
    starts = np.maximum(np.diff(held, prepend=0.0), 0.0)
    hours = (held * step_seconds + starts * rest_seconds(step_seconds, hold_seconds)) / 3600
    per_step = DAYS_PER_MONTH * DAY_SECONDS / step_seconds / float(seen.mean())
    day = round(DAY_SECONDS / step_seconds)
    return Rented(
        units=_spread(held[held > 0], (0.5, 0.95, 1.0)),
        unit_hours_per_month=_by_days(hours, day, per_step),
        starts_per_month=_by_days(starts, day, per_step),
    )


def kept(demand: ArrayLike, step_seconds: float, hold_seconds: float = HOLD_SECONDS) -> Floats:
    """What is paid for when units are kept for `hold_seconds` after their last use.

    The largest demand of each step and of the whole steps of holding before it (what is left of the
    holding: `rest_seconds`); a step not seen (NaN) is no demand.
    """
    load = np.nan_to_num(np.asarray(demand, dtype=np.float64), nan=0.0)
    steps = _hold_steps(step_seconds, hold_seconds)
    if steps == 0:
        return np.asarray(load, dtype=np.float64)
    padded = np.concatenate((np.zeros(steps), load))
    windows = np.lib.stride_tricks.sliding_window_view(padded, steps + 1)
    return np.asarray(windows.max(axis=1), dtype=np.float64)


def rest_seconds(step_seconds: float, hold_seconds: float = HOLD_SECONDS) -> float:
    """Holding that `kept` leaves out: less than a step, paid once for each start."""
    return hold_seconds - _hold_steps(step_seconds, hold_seconds) * step_seconds


def _hold_steps(step_seconds: float, hold_seconds: float) -> int:
    return math.floor(hold_seconds / step_seconds + 1e-9)


def _by_days(values: Floats, day: int, per_step: float) -> Interval:
    mid = float(values.mean()) * per_step
    days = values.size // day if day else 0
    if days < 2:
        return Interval(low=mid / 2, mid=mid, high=mid * 2)
    daily = values[: days * day].reshape(days, day).mean(axis=1)
    picks = np.random.default_rng(0).integers(0, days, (_DRAWS, days))
    return of_draws(mid, daily[picks].mean(axis=1) * per_step)

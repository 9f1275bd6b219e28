"""When the power feed of a rack or hall is full: robust trend, weekly season, with an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from advisor.models.interval import Interval
from advisor.models.periods import DAYS_PER_MONTH, HOURS_PER_DAY

VERSION = "headroom/2"
LEAST_DAYS = 28
"""History below which there is no forecast: four weeks, so that each weekday is seen four times."""
MOST_DAYS = 180  # older growth says little about the next orders, and pairs grow with the square
HORIZON_MONTHS = 60.0
USABLE_RATIO = 0.9  # of a feed, continuously: breakers 80 to 90 %
Z_90 = 1.645

Watts = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Headroom:
    """When a feed is full. `months` None: not within five years at this growth."""

    peak_watts: float  # p99 of the last week's hours
    capacity_watts: float
    growth_watts_per_month: Interval
    months: Interval | None
    days_of_history: int

    @property
    def free_ratio(self) -> float:
        """Share of the capacity left above today's peak; negative when it is exceeded."""
        return 1 - self.peak_watts / self.capacity_watts


def headroom(
    hourly_watts: Sequence[float] | Watts, capacity_watts: float, usable_ratio: float = USABLE_RATIO
) -> Headroom | None:
    """Forecast from hourly readings, newest last; NaN where there was none.

    A day counts by its p95, less what its weekday usually adds; the trend is the median of all
    pairwise slopes (Theil-Sen), which a quarter of wild days cannot move; its 90 % interval is
    Sen's (1968), widened for days that resemble the day before and by how much the trends of both
    halves differ. `usable_ratio` is the share of the
    capacity that may be loaded (breakers: 80 to 90 % continuous). A year's season is not seen.

    None: less than 28 days of at least 12 readings, or no capacity.
    """
    watts = np.asarray(hourly_watts, dtype=np.float64)
    days = min(MOST_DAYS, len(watts) // HOURS_PER_DAY)
    if not (math.isfinite(capacity_watts) and capacity_watts > 0) or days < LEAST_DAYS:
        return None
    grid = watts[len(watts) - days * HOURS_PER_DAY :].reshape(days, HOURS_PER_DAY)
    kept = np.flatnonzero(np.isfinite(grid).sum(axis=1) >= HOURS_PER_DAY // 2)
    if len(kept) < LEAST_DAYS:
        return None
    peaks = np.nanquantile(grid[kept], 0.95, axis=1)
    growth = _growth(kept.astype(np.float64), without_weekdays(kept, peaks)).scaled(DAYS_PER_MONTH)
    peak = float(np.nanquantile(grid[kept[-7:]], 0.99))
    return Headroom(
        peak_watts=peak,
        capacity_watts=capacity_watts,
        growth_watts_per_month=growth,
        months=months_until(capacity_watts * usable_ratio - peak, growth),
        days_of_history=days,
    )


def _growth(days: Watts, values: Watts) -> Interval:
    """The trend, its interval widened to hold those of both halves: growth changes."""
    whole, half = trend_per_day(days, values), len(days) // 2
    parts = [trend_per_day(days[p], values[p]).mid for p in (slice(half), slice(half, None))]
    return Interval(low=min(whole.low, *parts), mid=whole.mid, high=max(whole.high, *parts))


def without_weekdays(days: npt.NDArray[np.intp], values: Watts) -> Watts:
    """The values less the median of their weekday's differences from the week around them."""
    smooth = np.array([np.median(values[max(0, i - 3) : i + 4]) for i in range(len(values))])
    usual = np.array([np.median((values - smooth)[days % 7 == d]) for d in range(7)])
    seasonal: Watts = usual[days % 7]
    return values - seasonal


def trend_per_day(days: Watts, values: Watts) -> Interval:
    """Theil-Sen slope with Sen's 90 % interval, widened by the residuals' autocorrelation."""
    first, second = np.triu_indices(len(days), 1)
    slopes = np.sort((values[second] - values[first]) / (days[second] - days[first]))
    mid = float(np.median(slopes))
    n = len(days)
    spread = Z_90 * math.sqrt(n * (n - 1) * (2 * n + 5) / 18) * _redundancy(values - mid * days)
    rank = int(min(len(slopes) / 2, spread / 2))
    centre = len(slopes) // 2
    low, high = slopes[max(0, centre - rank)], slopes[min(len(slopes) - 1, centre + rank)]
    return Interval(low=min(float(low), mid), mid=mid, high=max(float(high), mid))


def _redundancy(residuals: Watts) -> float:
    """How much wider an interval gets when neighbours resemble each other: sqrt((1+r)/(1-r))."""
    centred = residuals - residuals.mean()
    power = float(centred @ centred)
    r = float(centred[1:] @ centred[:-1]) / power if power > 0 else 0.0
    r = min(0.95, max(0.0, r))
    return math.sqrt((1 + r) / (1 - r))


def months_until(free_watts: float, growth_watts_per_month: Interval) -> Interval | None:
    """Months until `free_watts` are used up; None when not within five years."""
    if free_watts <= 0:
        return Interval(low=0.0, mid=0.0, high=0.0)
    growth = growth_watts_per_month
    low, mid, high = (
        min(HORIZON_MONTHS, free_watts / g) if g > 0 else HORIZON_MONTHS
        for g in (growth.high, growth.mid, growth.low)
    )
    return Interval(low=low, mid=mid, high=high) if mid < HORIZON_MONTHS else None

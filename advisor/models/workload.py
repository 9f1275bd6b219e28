"""What a load is like over time: how bursty, how much by the hour of day, base, peak and trend.

A recommendation to own or to rent is only as good as the history behind it, so every shape also
says what is missing from it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from advisor.models.interval import Interval
from advisor.models.normal import Floats
from ridgeline.errors import NoData

VERSION = "workload/2"
WINDOWS_SECONDS = (1.0, 10.0, 60.0, 600.0)
DAY_SECONDS, HOURS = 86_400.0, 24
BASE_SHARE, PEAK_SHARE = 0.05, 0.99
ENOUGH_DAYS, WEEK_DAYS, TREND_DAYS = 1.0, 7.0, 14.0
_INSTANT_SECONDS = 1e-9
_MOST_WINDOWS = 5_000_000
# t of 90 % two-sided by degrees of freedom; beyond, its expansion (Cornish and Fisher 1938)
_T90 = (6.31, 2.92, 2.35, 2.13, 2.02, 1.94, 1.89, 1.86, 1.83, 1.81)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """Single requests in time. `dispersion` is variance over mean of counts by window in seconds.

    Both are 1 for a Poisson stream; a dispersion that grows with the window is a rate that moves,
    not chance.
    """

    requests: int
    seconds: float
    per_second: float
    interarrival_cv: float
    dispersion: tuple[tuple[float, float], ...]

    def dispersion_at(self, seconds: float) -> float:
        """Dispersion of the window nearest to `seconds` (say, the time of service)."""
        if not self.dispersion:
            return self.interarrival_cv**2
        return min(self.dispersion, key=lambda wd: abs(math.log(wd[0] / max(seconds, 1e-9))))[1]


def characterise_arrivals(
    arrival_seconds: ArrayLike, windows_seconds: tuple[float, ...] = WINDOWS_SECONDS
) -> Arrivals:
    """Rate and burstiness of arrival times, in any order; windows need 10 of them to be judged.

    Raises:
        NoData: fewer than three arrivals, or all at once.
        ValueError: a time is not finite.
    """
    times = np.sort(np.asarray(arrival_seconds, dtype=float))
    if not np.isfinite(times).all():
        raise ValueError("arrival_seconds: need finite times")
    if times.size < 3 or times[-1] - times[0] < _INSTANT_SECONDS:
        raise NoData(f"{times.size} arrivals at one instant or too few to have gaps")
    gaps = np.diff(times)
    span = float(times[-1] - times[0])
    judged = tuple(
        (window, index_of_dispersion(times, window))
        for window in windows_seconds
        if 10 * window <= span <= _MOST_WINDOWS * window
    )
    return Arrivals(
        requests=int(times.size),
        seconds=span,
        per_second=(times.size - 1) / span,
        interarrival_cv=float(gaps.std() / gaps.mean()),
        dispersion=judged,
    )


def index_of_dispersion(arrival_seconds: ArrayLike, window_seconds: float) -> float:
    """Variance over mean of the counts in whole windows; 1 for Poisson, 0 for even arrivals."""
    times = np.asarray(arrival_seconds, dtype=float) - float(np.min(arrival_seconds))
    windows = max(1, int(times.max() // window_seconds))
    counts, _ = np.histogram(times, windows, (0.0, windows * window_seconds))
    return float(counts.var() / counts.mean()) if counts.sum() > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A load (requests, sequences or GPUs in use) over days, in the unit it was given in."""

    days: float
    mean: float
    base: float  # exceeded 95 % of the time
    peak: float  # exceeded 1 % of the time
    peak_to_mean: float
    by_hour: tuple[float, ...]  # mean of each hour of the day; NaN where it was never seen
    by_hour_share: float | None  # of the variance that the hour of day explains; None below 2 days
    growth_per_day: Interval | None  # share of the mean a day, None below 3 whole days
    missing: tuple[str, ...]  # what this history cannot tell

    @property
    def enough(self) -> bool:
        """Whether base and peak were seen at all: a whole day."""
        return self.days >= ENOUGH_DAYS


def characterise(demand: ArrayLike, step_seconds: float, first_second_of_day: float = 0.0) -> Shape:
    """The shape of demand at even steps; NaN is a step that was not seen and counts for nothing.

    Raises:
        NoData: no step was seen.
        ValueError: demand below 0 or infinite, or a step that is not above 0.
    """
    load = np.asarray(demand, dtype=float)
    if step_seconds <= 0 or np.isinf(load).any() or (load < 0).any():
        raise ValueError(f"step_seconds={step_seconds:g}: need > 0, and demand finite, not below 0")
    seen = np.isfinite(load)
    if not seen.any():
        raise NoData("no demand was seen")
    values = load[seen]
    at = first_second_of_day + np.flatnonzero(seen) * step_seconds
    hours = (at // 3600 % HOURS).astype(int)
    days = float(seen.sum()) * step_seconds / DAY_SECONDS
    mean = float(values.mean())
    base, peak = (float(v) for v in np.quantile(values, (BASE_SHARE, PEAK_SHARE)))
    profile = _by_hour(values, hours)
    return Shape(
        days=days,
        mean=mean,
        base=base,
        peak=peak,
        peak_to_mean=peak / mean if mean > 0 else 0.0,
        by_hour=tuple(profile.tolist()),
        by_hour_share=_explained(values, profile[hours]) if days >= 2 else None,
        growth_per_day=_growth(values, np.floor(at / DAY_SECONDS).astype(np.float64)),
        missing=_missing(days, float(seen.mean())),
    )


def _by_hour(values: Floats, hours: np.ndarray[tuple[int], np.dtype[np.int_]]) -> Floats:
    count = np.bincount(hours, minlength=HOURS)
    total = np.bincount(hours, weights=values, minlength=HOURS)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def _explained(values: Floats, expected: Floats) -> float:
    whole = float(values.var())
    return 1 - float(np.square(values - expected).mean()) / whole if whole > 0 else 0.0


def _growth(values: Floats, day: Floats) -> Interval | None:
    """Slope of daily means over their mean, of days that are as full as the fullest."""
    names, index = np.unique(day, return_inverse=True)
    count = np.bincount(index)
    full = count >= 0.9 * count.max()
    daily = (np.bincount(index, weights=values) / count)[full]
    x = names[full] - names[full].mean()
    if daily.size < 3 or daily.mean() <= 0:
        return None
    slope = float(x @ daily / (x @ x))
    left = daily - daily.mean() - slope * x
    free = daily.size - 2
    error = math.sqrt(float(left @ left) / free / float(x @ x))
    doubt = error * _t90(free)
    mean = float(daily.mean())
    return Interval(low=(slope - doubt) / mean, mid=slope / mean, high=(slope + doubt) / mean)


def _t90(free: int) -> float:
    if free <= len(_T90):
        return _T90[free - 1]
    z = 1.644854
    return z + (z**3 + z) / (4 * free) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)


def _missing(days: float, seen_share: float) -> tuple[str, ...]:
    gaps = (
        (days < ENOUGH_DAYS, f"a whole day ({days * 24:.1f} h seen): base and peak are not known"),
        (days < WEEK_DAYS, f"a week ({days:.1f} days seen): weekdays and weekend may differ"),
        (days < TREND_DAYS, "two weeks: growth is not told from chance"),
        (seen_share < 0.9, f"{1 - seen_share:.0%} of the steps were not seen"),
    )
    return tuple(text for wrong, text in gaps if wrong)

"""A number with its interval: what models give where a point would claim too much."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

SHARE = 0.90
"""Share of the cases an interval is meant to hold, where it comes from a distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Low, likely and high value of one quantity, in its unit."""

    low: float
    mid: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.mid <= self.high:
            raise ValueError(f"{self.low:g} {self.mid:g} {self.high:g}: need low <= mid <= high")

    def scaled(self, factor: float) -> Interval:
        """All three times a factor that is not negative."""
        return Interval(low=self.low * factor, mid=self.mid * factor, high=self.high * factor)

    def mapped(self, function: Callable[[float], float]) -> Interval:
        """A monotonic function of the quantity, rising or falling."""
        return of(*(function(v) for v in (self.low, self.mid, self.high)))

    def plus(self, other: Interval) -> Interval:
        """The sum, corner by corner: wide, since the errors may go together."""
        return Interval(
            low=self.low + other.low, mid=self.mid + other.mid, high=self.high + other.high
        )

    def minus(self, other: Interval) -> Interval:
        """The difference at its extremes."""
        return Interval(
            low=self.low - other.high, mid=self.mid - other.mid, high=self.high - other.low
        )

    def over(self, other: Interval) -> Interval:
        """The ratio at its extremes, of quantities above 0."""
        return Interval(
            low=self.low / other.high, mid=self.mid / other.mid, high=self.high / other.low
        )


def exactly(value: float) -> Interval:
    """A number without doubt: a setting, a count."""
    return Interval(low=value, mid=value, high=value)


def of(one: float, two: float, three: float) -> Interval:
    """Three values in any order."""
    low, mid, high = sorted((one, two, three))
    return Interval(low=low, mid=mid, high=high)


def of_draws(mid: float, draws: ArrayLike) -> Interval:
    """The middle 90 % of draws, widened to hold `mid` where resampling is skewed."""
    low, high = np.quantile(np.asarray(draws, dtype=float), ((1 - SHARE) / 2, (1 + SHARE) / 2))
    return Interval(low=min(float(low), mid), mid=mid, high=max(float(high), mid))

"""How many samples are worth it, and a bigger model once against a smaller one N times."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from advisor.models.arrays import Floats
from advisor.models.coverage import CoverageLaw
from advisor.models.interval import Interval

VERSION = "samples/2"


def samples_worth_paying(
    law: CoverageLaw,
    usd_per_query: Callable[[Floats], Floats],
    usd_per_solved: float,
    most: int = 100_000,
) -> int:
    """Samples a query, up to `most`, at which value less cost is largest; 0 if it never is above 0.

    `usd_per_query` gives the cost of a query by the number of its samples: a prompt is computed
    once for all of them, so it is seldom linear. A law's gain may rise before it falls, so the best
    total is what is looked for, not the first sample that loses.
    """
    k = np.arange(1.0, most + 1)
    cost = usd_per_query(k)
    if usd_per_solved < 0 or (cost < 0).any():
        raise ValueError("usd_per_query, usd_per_solved: need not below 0")
    worth = law.at(k) * usd_per_solved - cost
    best = int(np.argmax(worth))
    return best + 1 if worth[best] > 0 else 0


def expected_samples_until_solved(chance: float, most: int) -> float:
    """Samples drawn when each is checked and the first right one ends it: `(1-(1-p)^N)/p`."""
    if not 0 <= chance <= 1 or most < 0:
        raise ValueError(f"chance={chance:g} most={most}: need 0..1 and not below 0")
    if chance in {0.0, 1.0} or most == 0:
        return float(min(most, 1) if chance else most)
    return -math.expm1(most * math.log1p(-chance)) / chance


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One way to answer: a model, asked `samples` times."""

    name: str
    samples: int
    coverage: Interval
    usd_per_query: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Versus:
    """A bigger model once against a smaller one N times."""

    better_coverage: str  # name, or "" where the intervals overlap
    cheaper: str  # likewise
    coverage_difference: Interval  # first minus second
    cost_ratio: Interval  # first over second


def versus(one: Choice, other: Choice) -> Versus:
    """Compare two ways; says neither where the intervals do not tell them apart."""
    difference = one.coverage.minus(other.coverage)
    ratio = one.usd_per_query.over(other.usd_per_query)
    return Versus(
        better_coverage=_which(difference.low > 0, difference.high < 0, one, other),
        cheaper=_which(ratio.high < 1, ratio.low > 1, one, other),
        coverage_difference=difference,
        cost_ratio=ratio,
    )


def _which(first: bool, second: bool, one: Choice, other: Choice) -> str:  # noqa: FBT001 - private, named at the call
    return one.name if first else other.name if second else ""

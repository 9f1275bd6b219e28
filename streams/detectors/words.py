"""What the compiled loops of detectors are made of: numbers in, one word about each device out.

NaN is not known, and compares as false.
"""

from __future__ import annotations

import math

import numpy as np

from streams.kernels import compiled, inlined

UNKNOWN, QUIET, HIT = 0, 1, 2
"""What is said of a device: nothing, not even that it is over; that it does not hold; that it does,
at `Level` 0 and so on."""


@inlined
def word(known: bool, hit: bool, level: int) -> int:
    """What is said of a device."""
    return UNKNOWN if not known else HIT + level if hit else QUIET


@inlined
def known(value: float) -> bool:
    """Whether it is."""
    return not math.isnan(value)


@inlined
def ratio(part: float, whole: float) -> float:
    """Part / whole; NaN where the whole is unknown or 0."""
    return part / whole if whole > 0 else math.nan


@inlined
def larger(one: float, other: float) -> float:
    """The larger of those that are known."""
    return other if math.isnan(one) or one < other else one


@inlined
def or_zero(value: float) -> float:
    """The value, 0 where it is unknown."""
    return 0.0 if math.isnan(value) else value


@compiled
def counted(code: np.ndarray, groups: int, yes: np.ndarray) -> np.ndarray:
    """For every device, how many of its group say yes; 0 where it is in none (-1)."""
    totals = np.zeros(groups)
    for i in range(len(code)):
        if yes[i] and code[i] >= 0:
            totals[code[i]] += 1
    out = np.zeros(len(code))
    for i in range(len(code)):
        if code[i] >= 0:
            out[i] = totals[code[i]]
    return out

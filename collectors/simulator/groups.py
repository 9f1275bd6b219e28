"""Sums and quantiles over the groups of a sorted array, without a loop."""

from __future__ import annotations

import numpy as np

from collectors.simulator.workload import Floats, Ints


def sums(group: Ints, value: Floats, groups: int) -> Floats:
    """Sum of every group; 0 where it is empty."""
    return np.bincount(group, weights=value, minlength=groups).astype(np.float64)


def running_sum(group: Ints, value: Floats) -> Floats:
    """Running sum that starts anew in every group; `group` is ascending."""
    total = np.cumsum(value)
    before = total - value
    return total - before[np.searchsorted(group, group)] if len(total) else total


def quantiles(group: Ints, value: Floats, groups: int, *levels: float) -> list[Floats]:
    """Quantiles of every group, by the nearest rank; NaN where a group is empty."""
    order = np.lexsort((value, group))
    ordered, counts = value[order], np.bincount(group, minlength=groups)
    first = np.cumsum(counts) - counts
    out = []
    for level in levels:
        rank = first + np.clip(np.ceil(level * counts).astype(np.int64) - 1, 0, None)
        result = np.full(groups, np.nan)
        some = counts > 0
        result[some] = ordered[rank[some]]
        out.append(result)
    return out

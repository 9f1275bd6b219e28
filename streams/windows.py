"""The open base window of a partition: sums over all its devices at once.

Windows are closed in time order, so one is open at a time. Pure: knows no Kafka, no clock.
"""

from __future__ import annotations

import numpy as np

from ridgeline.schema import MISSING_STATE, Kind, Schema
from streams.slots import Slots, grown
from streams.steps import Step


def newer(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The new state where there is one."""
    return np.where(new == MISSING_STATE, old, new)


def united(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The union of two flag sets, either of which may be missing."""
    both = np.where(new == MISSING_STATE, old, old | new)
    return np.where(old == MISSING_STATE, new, both)


class OpenWindow:
    """Aggregates of one window, dense by slot."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._width = {kind: len(schema.of_kind(kind)) for kind in Kind}
        self._clear(0)

    def _clear(self, size: int) -> None:
        gauges, counters = self._width[Kind.GAUGE], self._width[Kind.COUNTER]
        self._samples = np.zeros(size, dtype=np.uint32)
        self._sum = np.zeros((size, gauges))
        self._known = np.zeros((size, gauges))
        self._min = np.full((size, gauges), np.nan)
        self._max = np.full((size, gauges), np.nan)
        self._increase = np.full((size, counters), np.nan)
        self._last = np.full((size, self._width[Kind.STATE]), MISSING_STATE, dtype=np.uint32)
        self._union = np.full((size, self._width[Kind.FLAGS]), MISSING_STATE, dtype=np.uint32)

    def _grow(self, size: int) -> None:
        self._samples = grown(self._samples, size, 0)
        self._sum, self._known = grown(self._sum, size, 0), grown(self._known, size, 0)
        self._min, self._max = grown(self._min, size, np.nan), grown(self._max, size, np.nan)
        self._increase = grown(self._increase, size, np.nan)
        self._last = grown(self._last, size, MISSING_STATE)
        self._union = grown(self._union, size, MISSING_STATE)

    def add(self, step: Step) -> None:
        """Add one row of each of some devices."""
        at = step.slots
        self._grow(int(at.max()) + 1)
        known = ~np.isnan(step.gauges)
        self._samples[at] += 1
        self._sum[at] += np.where(known, step.gauges, 0)
        self._known[at] += known
        self._min[at] = np.fmin(self._min[at], step.gauges)
        self._max[at] = np.fmax(self._max[at], step.gauges)
        old, new = self._increase[at], step.increase
        self._increase[at] = np.where(np.isnan(new), old, np.where(np.isnan(old), 0, old) + new)
        self._last[at] = newer(self._last[at], step.states)
        self._union[at] = united(self._union[at], step.flags)

    def take(self, start_ms: int, slots: Slots) -> np.ndarray:
        """Rows of `schema.window_dtype` for the devices that had samples; the window empties."""
        at = np.flatnonzero(self._samples)
        out = np.zeros(len(at), dtype=self.schema.window_dtype)
        out["window_start"] = start_ms
        out["node"], out["device"] = slots.node[at], slots.device[at]
        out["samples"] = self._samples[at]
        with np.errstate(invalid="ignore", divide="ignore"):
            average = self._sum[at] / self._known[at]
        for i, name in enumerate(self.schema.of_kind(Kind.GAUGE)):
            out[f"{name}_avg"] = average[:, i]
            out[f"{name}_min"] = self._min[at, i]
            out[f"{name}_max"] = self._max[at, i]
        for i, name in enumerate(self.schema.of_kind(Kind.COUNTER)):
            out[f"{name}_inc"] = self._increase[at, i]
        for i, name in enumerate(self.schema.of_kind(Kind.STATE)):
            out[f"{name}_last"] = self._last[at, i]
        for i, name in enumerate(self.schema.of_kind(Kind.FLAGS)):
            out[f"{name}_or"] = self._union[at, i]
        self._clear(len(self._samples))
        return out

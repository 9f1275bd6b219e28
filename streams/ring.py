"""The last seconds of every device of a partition, for the detectors."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ridgeline.schema import MISSING_STATE, Kind, Schema
from streams.slots import grown
from streams.steps import Step
from streams.windows import newer


class Ring:
    """Sums of the last `hops` panes, and slow baselines, of the columns that detectors read.

    Args:
        schema: Family.
        columns: Gauges and counters to keep; states are all kept.
        hops: Length of the detection window in panes.
        hop_ms: Length of a pane.
        tau_hops: Time constant of the baselines.
    """

    def __init__(
        self, schema: Schema, columns: Iterable[str], hops: int, hop_ms: int, tau_hops: int = 600
    ) -> None:
        wanted = set(columns)
        gauges, counters = schema.of_kind(Kind.GAUGE), schema.of_kind(Kind.COUNTER)
        self._gauges = [i for i, name in enumerate(gauges) if name in wanted]
        self._counters = [i for i, name in enumerate(counters) if name in wanted]
        names = [gauges[i] for i in self._gauges] + [counters[i] for i in self._counters]
        self._at = {name: i for i, name in enumerate(names)}
        self._state_at = {name: i for i, name in enumerate(schema.of_kind(Kind.STATE))}
        self._hops, self._hop_ms, self._tau = hops, hop_ms, tau_hops
        width = len(names)
        self._top = np.zeros((0, hops, width), dtype=np.float32)
        self._bottom = np.zeros((0, hops, width), dtype=np.float32)
        self._end = np.full((0, hops), -1, dtype=np.int64)
        self._states = np.zeros((0, len(self._state_at)), dtype=np.uint32)
        self._usual = np.zeros((0, width), dtype=np.float64)
        self._seen = np.zeros((0, width), dtype=np.int64)
        self._peak = np.full((0, width), np.nan)
        self.mean = np.zeros((0, width))
        self.present = np.zeros(0, dtype=bool)
        self.end_ms = 0

    def add(self, end_ms: int, steps: Iterable[Step], size: int) -> None:
        """Take one pane; `mean` and `present` then speak of the window that ends with it."""
        self._grow(size)
        bucket = end_ms // self._hop_ms % self._hops
        for step in steps:
            at = step.slots
            stale = at[self._end[at, bucket] != end_ms]
            self._top[stale, bucket], self._bottom[stale, bucket] = 0, 0
            self._end[at, bucket] = end_ms
            gauges = step.gauges[:, self._gauges]
            known = ~np.isnan(gauges)
            split = len(self._gauges)
            self._top[at, bucket, :split] += np.where(known, gauges, 0)
            self._bottom[at, bucket, :split] += known
            self._top[at, bucket, split:] += np.nan_to_num(step.increase[:, self._counters])
            self._bottom[at, bucket, split:] += step.covered_seconds[:, self._counters]
            self._states[at] = newer(self._states[at], step.states)
        self._sum_up(end_ms, size)

    def _sum_up(self, end_ms: int, size: int) -> None:
        live = self._end[:size] > end_ms - self._hops * self._hop_ms
        top = np.where(live[:, :, None], self._top[:size], 0).sum(axis=1, dtype=np.float64)
        bottom = np.where(live[:, :, None], self._bottom[:size], 0).sum(axis=1, dtype=np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            self.mean = np.where(bottom > 0, top / bottom, np.nan)
        self.present = self._end[:size, end_ms // self._hop_ms % self._hops] == end_ms
        self.end_ms = end_ms

    def learn(self, frozen: np.ndarray) -> None:
        """Move baselines and peaks towards what is now, but not where an episode is open."""
        size = len(self.mean)
        use = ~np.isnan(self.mean) & ~frozen[:, None] & self.present[:, None]
        seen = self._seen[:size] + use
        step = np.where(use, 1.0 / np.clip(seen, 1, self._tau), 0)
        value = np.where(use, self.mean, 0)
        self._usual[:size] += step * (value - self._usual[:size])
        self._seen[:size] = seen
        self._peak[:size] = np.fmax(self._peak[:size], self.mean)

    def now(self, name: str) -> np.ndarray:
        """Mean of a gauge, or increase per second of a counter, over the window; NaN unknown."""
        return self.mean[:, self._at[name]]

    def usual(self, name: str, least_hops: int = 30) -> np.ndarray:
        """Baseline of the same; NaN until it has been learned for `least_hops`."""
        size, at = len(self.mean), self._at[name]
        warm = self._seen[:size, at] >= least_hops
        return np.where(warm, self._usual[:size, at], np.nan)

    def peak(self, name: str) -> np.ndarray:
        """Highest window mean so far; NaN when nothing is known."""
        return self._peak[: len(self.mean), self._at[name]]

    def state(self, name: str) -> np.ndarray:
        """Newest state; `MISSING_STATE` unknown."""
        return self._states[: len(self.mean), self._state_at[name]]

    def _grow(self, size: int) -> None:
        self._top, self._bottom = grown(self._top, size, 0), grown(self._bottom, size, 0)
        self._end = grown(self._end, size, -1)
        self._states = grown(self._states, size, MISSING_STATE)
        self._usual, self._seen = grown(self._usual, size, 0), grown(self._seen, size, 0)
        self._peak = grown(self._peak, size, np.nan)

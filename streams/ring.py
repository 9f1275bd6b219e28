"""The last seconds of every device of a partition, for the detectors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from ridgeline.schema import MISSING_STATE, Kind, Schema
from streams.kernels import learn, slide
from streams.slots import grown

_REMEMBERED = ("usual", "seen", "peak", "states")


class Ring:
    """Sums of the last `hops` panes, and slow baselines, of the columns that detectors read.

    Args:
        schema: Family.
        columns: Gauges and counters to keep; states are all kept.
        hops: Length of the detection window in panes.
        hop_ms: Length of a pane.
        learned: Those of `columns` that baselines are kept of.
        peaked: Those of `columns` whose highest mean is kept.
        tau_hops: Time constant of the baselines.
    """

    def __init__(
        self,
        schema: Schema,
        columns: Iterable[str],
        hops: int,
        hop_ms: int,
        *,
        learned: Iterable[str] = (),
        peaked: Iterable[str] = (),
        tau_hops: int = 600,
    ) -> None:
        wanted = set(columns)
        gauges, counters = schema.of_kind(Kind.GAUGE), schema.of_kind(Kind.COUNTER)
        self._gauges = np.array([i for i, n in enumerate(gauges) if n in wanted], dtype=np.int64)
        self._counters = np.array(
            [i for i, n in enumerate(counters) if n in wanted], dtype=np.int64
        )
        names = [gauges[i] for i in self._gauges] + [counters[i] for i in self._counters]
        states = schema.of_kind(Kind.STATE)
        self._at = {name: i for i, name in enumerate(names)}
        self._state_at = {name: i for i, name in enumerate(states)}
        self._learned = {name: i for i, name in enumerate(dict.fromkeys(learned))}
        self._peaked = {name: i for i, name in enumerate(dict.fromkeys(peaked))}
        self._learned_at = np.array([self._at[n] for n in self._learned], dtype=np.int64)
        self._hops, self._hop_ms, self._tau = hops, hop_ms, tau_hops
        width = len(names)
        self._panes = np.zeros((hops, 0, 2 * width), dtype=np.float32)
        self._front = np.zeros((0, 2 * width), dtype=np.float32)
        self._ends = np.zeros(0, dtype=np.int64)
        self._states = np.zeros((len(states), 0), dtype=np.uint32)
        self._means = np.zeros((width, 0))
        self._usual = np.zeros((len(self._learned), 0))
        self._seen = np.zeros((len(self._learned), 0), dtype=np.int32)
        self._peak = np.zeros((len(self._peaked), 0))
        self.present = np.zeros(0, dtype=bool)
        self.size = 0
        self.end_ms = 0

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """What `kernels.fold` adds rows to: panes, the last one's end, columns and states."""
        return self._panes, self._ends, self._gauges, self._counters, self._states

    def bucket(self, end_ms: int) -> int:
        """Place of the pane that ends then."""
        return end_ms // self._hop_ms % self._hops

    def grow(self, size: int) -> None:
        """Have room for `size` slots."""
        if len(self._ends) < size:
            self._panes = grown(self._panes, size, 0, axis=1)
            self._front = grown(self._front, size, 0)
            self._ends = grown(self._ends, size, -1)
            self._states = grown(self._states, size, MISSING_STATE, axis=1)
            self._means = grown(self._means, size, np.nan, axis=1)
            self._usual = grown(self._usual, size, 0, axis=1)
            self._seen = grown(self._seen, size, 0, axis=1)
            self._peak = grown(self._peak, size, np.nan, axis=1)

    def keep(self, slots: np.ndarray) -> None:
        """Forget all but these slots, which become 0, 1, ... in their order."""
        self._panes = np.ascontiguousarray(self._panes[:, slots])
        self._front = self._front[slots]
        self._ends = self._ends[slots]
        for name in ("means", *_REMEMBERED):
            setattr(self, f"_{name}", np.ascontiguousarray(getattr(self, f"_{name}")[:, slots]))
        self.present, self.size = self.present[slots], len(slots)

    def skip(self, end_ms: int, size: int) -> None:
        """Let the panes before the one that ends then go by that had no rows; before its rows."""
        self.grow(size)
        since = max(self.end_ms, end_ms - 2 * self._hops * self._hop_ms)
        for end in range(since + self._hop_ms, end_ms, self._hop_ms):
            self.slide(end, size)

    def slide(self, end_ms: int, size: int) -> None:
        """Look at the window that ends then, of the first `size` slots; each pane in its turn."""
        self.present = slide(
            self._panes, self._front, self._ends, size, end_ms, self.bucket(end_ms), self._means
        )
        self.size, self.end_ms = size, end_ms

    def learn(self, frozen: np.ndarray) -> None:
        """Move the baselines towards now, but not where an episode is open."""
        use = self.present & ~frozen
        learn(self._means, use, self._learned_at, self._tau, self._usual, self._seen)
        for name, i in self._peaked.items():
            peak = self._peak[i, : self.size]
            np.fmax(peak, self.now(name), out=peak)

    def now(self, name: str) -> np.ndarray:
        """Mean of a gauge, or increase per second of a counter, over the window; NaN unknown."""
        return self._means[self._at[name], : self.size]

    def usual(self, name: str, least_hops: int = 30) -> np.ndarray:
        """Baseline of the same; NaN until it has been learned for `least_hops`."""
        at = self._learned[name]
        warm = self._seen[at, : self.size] >= least_hops
        return np.where(warm, self._usual[at, : self.size], np.nan)

    def peak(self, name: str) -> np.ndarray:
        """Highest window mean so far; NaN when nothing is known."""
        return self._peak[self._peaked[name], : self.size]

    def state(self, name: str) -> np.ndarray:
        """Newest state; `MISSING_STATE` unknown."""
        return self._states[self._state_at[name], : self.size]

    @property
    def layout(self) -> str:
        """Names of the columns that `memory` is of."""
        return f"{[*self._learned]} {[*self._peaked]} {[*self._state_at]}"

    def memory(self, size: int) -> dict[str, np.ndarray]:
        """What older panes than the ring's own have left behind, of the first `size` slots."""
        self.grow(size)
        return {name: getattr(self, f"_{name}")[:, :size] for name in _REMEMBERED}

    def restore(self, memory: Mapping[str, np.ndarray]) -> None:
        """Go on from a memory; the panes of the ring itself are to be added again."""
        size = memory["states"].shape[1]
        self.grow(size)
        for name in _REMEMBERED:
            getattr(self, f"_{name}")[:, :size] = memory[name]

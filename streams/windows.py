"""The open base window of a partition: sums over all its devices at once.

Windows are closed in time order, so one is open at a time. Pure: knows no Kafka, no clock.
"""

from __future__ import annotations

import numpy as np

from ridgeline.schema import MISSING_STATE, Kind, Schema
from streams.columns import as_words, columns_of
from streams.kernels import write_windows
from streams.slots import Slots, grown


class OpenWindow:
    """Aggregates of one window, dense by slot; `kernels.fold` adds rows."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._at = columns_of(schema).window
        width = {kind: len(schema.of_kind(kind)) for kind in Kind}
        gauges, counters = width[Kind.GAUGE], width[Kind.COUNTER]
        states, flags = width[Kind.STATE], width[Kind.FLAGS]
        self.arrays: tuple[np.ndarray, ...] = (
            np.zeros(0, dtype=np.uint32),  # samples
            np.zeros((0, gauges)),  # sum
            np.zeros((0, gauges), dtype=np.uint16),  # readings in the sum
            np.zeros((0, gauges), dtype=np.float32),  # least
            np.zeros((0, gauges), dtype=np.float32),  # most
            np.full((0, counters), np.nan),  # increase
            np.zeros((0, states), dtype=np.uint32),  # newest state
            np.zeros((0, flags), dtype=np.uint32),  # union of flags
        )

    def grow(self, size: int) -> None:
        """Have room for `size` slots."""
        if len(self.arrays[0]) < size:
            empty = (0, 0, 0, np.inf, -np.inf, np.nan, MISSING_STATE, MISSING_STATE)
            self.arrays = tuple(grown(a, size, e) for a, e in zip(self.arrays, empty, strict=True))

    def keep(self, slots: np.ndarray) -> None:
        """Forget all but these slots, which become 0, 1, ... in their order."""
        self.arrays = tuple(a[slots] for a in self.arrays)

    def take(self, start_ms: int, slots: Slots) -> np.ndarray:
        """Rows of `schema.window_dtype` for the devices that had samples; the window empties."""
        at = np.flatnonzero(self.arrays[0])
        out = np.empty(len(at), dtype=self.schema.window_dtype)
        if len(at):
            write_windows(
                as_words(out), self._at, start_ms, at, (slots.device, slots.node), self.arrays
            )
        return out

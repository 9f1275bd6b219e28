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
    """Aggregates of one window, dense by slot; `kernels.fold` adds rows.

    `sums` of gauges: samples, sums, readings missing, least, most. `counts` of counters: whether
    all that were ever read have a pair in the window; which others have; the reading that each
    increase is counted from; what had been counted before that. `bits`: newest states, unions of
    flag sets.
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        columns = columns_of(schema)
        self._at, self._rounding = columns.window, columns.rounding
        width = {kind: len(schema.of_kind(kind)) for kind in Kind}
        gauges, counters = width[Kind.GAUGE], width[Kind.COUNTER]
        self.sums: tuple[np.ndarray, ...] = (
            np.zeros(0, dtype=np.uint32),
            np.zeros((0, gauges)),
            np.zeros((0, gauges), dtype=np.uint32),
            np.zeros((0, gauges), dtype=np.float32),
            np.zeros((0, gauges), dtype=np.float32),
        )
        self.counts: tuple[np.ndarray, ...] = (
            np.zeros(0, dtype=np.bool_),
            np.zeros((0, counters), dtype=np.bool_),
            np.zeros((0, counters), dtype=np.uint64),
            np.zeros((0, counters)),
        )
        self.bits: tuple[np.ndarray, ...] = (
            np.zeros((0, width[Kind.STATE]), dtype=np.uint32),
            np.zeros((0, width[Kind.FLAGS]), dtype=np.uint32),
        )

    def grow(self, size: int) -> None:
        """Have room for `size` slots."""
        if len(self.sums[0]) < size:
            self.sums = _grown(self.sums, size, (0, 0, 0, np.inf, -np.inf))
            self.counts = _grown(self.counts, size, (0, 0, 0, 0))
            self.bits = _grown(self.bits, size, (MISSING_STATE, MISSING_STATE))

    def keep(self, slots: np.ndarray) -> None:
        """Forget all but these slots, which become 0, 1, ... in their order."""
        self.sums = tuple(a[slots] for a in self.sums)
        self.counts = tuple(a[slots] for a in self.counts)
        self.bits = tuple(a[slots] for a in self.bits)

    def start(self, value: np.ndarray) -> None:
        """Count increases from these readings on, `[slot, counter]`."""
        _, _, base, before = self.counts
        base[: len(value)] = value
        before[:] = 0.0

    def take(self, start_ms: int, slots: Slots, value: np.ndarray) -> np.ndarray:
        """Rows of `schema.window_dtype` for the devices that had samples; the window empties.

        Args:
            start_ms: Of the window.
            slots: Whose devices they are.
            value: Newest readings of the counters, `[slot, counter]`.
        """
        at = np.flatnonzero(self.sums[0])
        out = np.empty(len(at), dtype=self.schema.window_dtype)
        if len(at):
            ids = (slots.device, slots.node)
            write_windows(
                as_words(out),
                self._at,
                self._rounding,
                start_ms,
                at,
                ids,
                value,
                self.sums,
                self.counts,
                self.bits,
            )
        return out


def _grown(
    arrays: tuple[np.ndarray, ...], size: int, empty: tuple[float, ...]
) -> tuple[np.ndarray, ...]:
    return tuple(grown(a, size, e) for a, e in zip(arrays, empty, strict=True))

"""Rows of a partition in time order -> steps: at most one row a device, counters differenced.

A step is what both the base windows and the detection ring add up. Counters need the reading
before: `Predecessors` keeps the last valid one of every counter of every device.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ridgeline.schema import MISSING_COUNTER, Kind, Schema
from streams.slots import grown

SATURATED_32 = 2**32 - 1
"""A 32-bit port counter at its stop: no reading (telegraf infiniband test data shows it)."""
_NEVER = -(2**62)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One row of each of some devices; arrays are [device, column] in schema order of a kind."""

    slots: np.ndarray
    ts: np.ndarray
    gauges: np.ndarray
    increase: np.ndarray  # NaN where no pair of readings
    covered_seconds: np.ndarray  # time the increase took; 0 where there is none
    states: np.ndarray
    flags: np.ndarray
    resets: int


def matrix(rows: np.ndarray, names: tuple[str, ...], dtype: type) -> np.ndarray:
    """Columns of a structured array side by side."""
    out: np.ndarray = np.empty((len(rows), len(names)), dtype=dtype)
    for i, name in enumerate(names):
        out[:, i] = rows[name]
    return out


class Predecessors:
    """The last valid reading of every counter.

    Args:
        counters: How many counters a row has.
        gap_ms: Readings further apart are no pair: the increase between them is not counted.
    """

    def __init__(self, counters: int, gap_ms: int) -> None:
        self.gap_ms = gap_ms
        self._value = np.zeros((0, counters), dtype=np.uint64)
        self._ts = np.zeros((0, counters), dtype=np.int64)

    def difference(
        self, slots: np.ndarray, ts: np.ndarray, value: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """Increase, seconds it took and resets since the readings before; remembers these.

        A counter that went down was reset: what it shows now is the increase.
        """
        size = int(slots.max()) + 1 if len(slots) else 0
        self._value = grown(self._value, size, 0)
        self._ts = grown(self._ts, size, _NEVER)
        before, before_ts = self._value[slots], self._ts[slots]
        valid = (value != MISSING_COUNTER) & (value != SATURATED_32)
        apart = ts[:, None] - before_ts
        paired = valid & (apart <= self.gap_ms)
        reset = paired & (value < before)
        with np.errstate(over="ignore"):
            change = np.where(reset, value, value - before).astype(np.float64)
        self._value[slots] = np.where(valid, value, before)
        self._ts[slots] = np.where(valid, ts[:, None], before_ts)
        increase = np.where(paired, change, np.nan)
        return increase, np.where(paired, apart / 1000.0, 0.0), int(reset.sum())


def steps(
    schema: Schema, rows: np.ndarray, slots: np.ndarray, predecessors: Predecessors
) -> Iterator[Step]:
    """The rows as steps, each device's rows in time order.

    Of rows with the same device and time the first in the log counts.
    """
    order = np.lexsort((rows["ts"], slots))
    rows, slots = rows[order], slots[order]
    ts = rows["ts"].astype(np.int64)
    if len(rows) > 1:
        again = np.zeros(len(rows), dtype=bool)
        again[1:] = (slots[1:] == slots[:-1]) & (ts[1:] == ts[:-1])
        rows, slots, ts = rows[~again], slots[~again], ts[~again]
    if not len(rows):
        return
    starts = np.flatnonzero(np.r_[True, slots[1:] != slots[:-1]])
    lengths = np.diff(np.r_[starts, len(rows)])
    rank = np.arange(len(rows)) - np.repeat(starts, lengths)
    for number in range(int(lengths.max())):
        at = rank == number
        yield _step(schema, rows[at], slots[at], ts[at], predecessors)


def _step(
    schema: Schema, rows: np.ndarray, slots: np.ndarray, ts: np.ndarray, before: Predecessors
) -> Step:
    counters = matrix(rows, schema.of_kind(Kind.COUNTER), np.uint64)
    increase, covered, resets = before.difference(slots, ts, counters)
    return Step(
        slots=slots,
        ts=ts,
        gauges=matrix(rows, schema.of_kind(Kind.GAUGE), np.float64),
        increase=increase,
        covered_seconds=covered,
        states=matrix(rows, schema.of_kind(Kind.STATE), np.uint32),
        flags=matrix(rows, schema.of_kind(Kind.FLAGS), np.uint32),
        resets=resets,
    )

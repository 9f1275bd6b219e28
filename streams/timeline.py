"""Event time of one partition: what is late, when a pane closes, when a window may be written.

Rows wait until the watermark (newest time seen minus the allowed lateness) has passed their pane,
then count in time order. So the result depends on the log alone, never on how it was cut into
batches or on anybody's clock, and a replay gives the same rows. What ends the last windows of a
silent partition is a mark in the log, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ridgeline import metrics
from ridgeline.schema import Kind, Schema
from streams.batches import Rows
from streams.columns import as_words, columns_of
from streams.counters import Predecessors
from streams.kernels import FUTURE, LATE, fold, judged
from streams.memory import array_bytes
from streams.ring import Ring
from streams.slots import NEVER, Slots, grown
from streams.windows import OpenWindow

Chunk = tuple[np.ndarray, np.ndarray]
"""Rows as words, and which of them are meant."""
Known = tuple[np.ndarray, np.ndarray, np.ndarray]
"""A chunk and the slots of its rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The times of event time, in ms; `hop` divides `window`."""

    window: int = 10_000
    hop: int = 1000
    lateness: int = 5000
    future: int = 60_000
    gap: int = 30_000  # counter readings further apart are no pair
    max_devices: int = 1_000_000
    remember: int = 60_000  # how often detectors' memory is saved
    forget: int = 3_600_000  # after so long without a row a device is forgotten


@dataclass(frozen=True, slots=True, kw_only=True)
class Pane:
    """One closed hop: its end, rows counted in it; `fresh` when it was not durable before."""

    end_ms: int
    rows: int
    fresh: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Rows of one closed window."""

    end_ms: int
    rows: np.ndarray


class Timeline:
    """Panes and windows of one partition.

    Args:
        schema: Family of the rows.
        clock: Sizes and limits.
        durable_ms: End of the last window that the store has; nothing before it is written again.
        ring: Takes the rows of every closed pane for the detectors.
        born: The partition was added while others were already written: its first window starts
            with its first row, beside what the nodes that moved here left in their old partition.
    """

    def __init__(
        self,
        schema: Schema,
        clock: Clock,
        durable_ms: int | None = None,
        ring: Ring | None = None,
        *,
        born: bool = False,
    ) -> None:
        self.schema, self.clock = schema, clock
        self.slots = Slots(clock.max_devices)
        self.newest_ms = NEVER
        self._shunned = np.zeros(0, dtype=np.uint64)
        self._born = born
        self.at_ms = NEVER  # end of the pane in work
        self._durable = NEVER if durable_ms is None else durable_ms
        self._at = columns_of(schema).row
        self._before = Predecessors(len(schema.of_kind(Kind.COUNTER)))
        self._window = OpenWindow(schema)
        self._ring = ring or Ring(schema, (), clock.window // clock.hop, clock.hop)
        self._seen_before = np.zeros(0, dtype=np.int64)
        self._window_start: int | None = None
        self._waiting: dict[int, list[Chunk]] = {}
        self._batches: deque[tuple[int, int]] = deque()  # last offset, newest time

    @property
    def watermark_ms(self) -> int:
        """No row before this is waited for."""
        return self.newest_ms - self.clock.lateness

    @property
    def closing_ms(self) -> int | None:
        """Newest time that would close everything that is open; None: nothing is."""
        last = max(self._waiting, default=self._window_start)
        if last is None:
            return None
        return (last // self.clock.window + 1) * self.clock.window + self.clock.lateness

    def seen_ms(self) -> np.ndarray:
        """When each device had its newest row, by slot."""
        count = self.slots.count
        self._before.grow(count)
        self._seen_before = grown(self._seen_before, count, NEVER)
        newest: np.ndarray = np.maximum(self._before.last[:count], self._seen_before[:count])
        return newest

    @property
    def state_bytes(self) -> int:
        """Bytes of what is kept by device."""
        return array_bytes(self, self.slots, self._before, self._window, self._ring)

    def restore(self, memory: Mapping[str, np.ndarray]) -> None:
        """Go on from what `memory` gave."""
        self.slots.restore(memory)
        self._seen_before = memory["seen"].copy()

    def memory(self) -> dict[str, np.ndarray]:
        """The devices, and when they were last seen."""
        return self.slots.memory() | {"seen": self.seen_ms()}

    def keep(self, slots: np.ndarray) -> None:
        """Forget all but these slots, which become 0, 1, ... in their order."""
        self._seen_before = self.seen_ms()[slots]
        self._window.grow(self.slots.count)
        for state in (self.slots, self._before, self._window):
            state.keep(slots)

    def add(self, batch: Rows, last_offset: int, clocks_ms: np.ndarray) -> None:
        """Take the rows of one batch; late and future rows are counted and dropped.

        A row is from the future when it is ahead of the clock of its message.
        """
        words, topic, clock = as_words(batch.rows), self.schema.topic, self.clock
        marks = np.full(len(batch.lengths), NEVER, dtype=np.int64)
        for number, ms in batch.marks:
            marks[number] = ms
        pane, self.newest_ms, kept = judged(
            words,
            batch.lengths,
            marks,
            self.newest_ms,
            clock.lateness,
            clocks_ms + clock.future,
            clock.hop,
        )
        for start in np.unique(pane).tolist():
            index = np.flatnonzero(pane == start)
            if start == FUTURE:
                metrics.STREAM_FUTURE.labels(topic).inc(len(index))
            elif start == LATE:
                metrics.STREAM_LATE.labels(topic).inc(len(index))
            else:
                self._waiting.setdefault(start, []).append((words, index))
        if kept == NEVER and self._batches:  # nothing in it is needed: it goes with the one before
            kept = self._batches.pop()[1]
        self._batches.append((last_offset, kept))

    @property
    def complete_ms(self) -> int:
        """End of the newest pane that the watermark has passed."""
        return self.watermark_ms // self.clock.hop * self.clock.hop

    def advance(self, until_ms: int | None = None) -> Iterator[Pane | Window]:
        """Panes and windows that end by then, or that the watermark has passed, in time order."""
        until_ms = self.complete_ms if until_ms is None else until_ms
        for start in sorted(s for s in self._waiting if s + self.clock.hop <= until_ms):
            self.at_ms = start + self.clock.hop
            yield from self._finish(start)
            yield self._pane(start, self._waiting.pop(start))
        yield from self._finish(until_ms)

    def waiting(self, end_ms: int) -> np.ndarray:
        """The rows of the pane that ends then."""
        chunks = self._waiting.get(end_ms - self.clock.hop, ())
        rows = [words[index].view(self.schema.dtype)[:, 0] for words, index in chunks]
        return np.concatenate(rows) if rows else self.schema.empty(0)

    def ends_ms(self, until_ms: int) -> list[int]:
        """Ends of the panes in which rows wait, in order."""
        ends = (start + self.clock.hop for start in self._waiting)
        return sorted(end for end in ends if end <= until_ms)

    def drop(self, end_ms: int) -> None:
        """Give up the rows that wait for the end of that pane."""
        self._waiting.pop(end_ms - self.clock.hop, None)

    def drop_window(self) -> None:
        """Give up the open window."""
        self._window, self._window_start = OpenWindow(self.schema), None

    def shun(self, devices: np.ndarray) -> None:
        """Count no row of these devices from now on: something is wrong with us or with them."""
        self._shunned = np.union1d(self._shunned, devices)

    def _without_shunned(self, chunk: Chunk) -> Chunk:
        words, index = chunk
        device = np.ascontiguousarray(words[index, 4:6]).view("<u8")[:, 0]
        bad = np.isin(device, self._shunned)
        metrics.DEAD_LETTERS.labels(self.schema.topic, "shunned").inc(int(bad.sum()))
        return words, index[~bad]

    def replace(self, end_ms: int, rows: np.ndarray) -> None:
        """Have other rows wait for the end of that pane."""
        chunk = (as_words(rows), np.arange(len(rows), dtype=np.int64))
        self._waiting[end_ms - self.clock.hop] = [chunk]

    def _pane(self, start: int, chunks: list[Chunk]) -> Pane:
        if len(self._shunned):
            chunks = [self._without_shunned(chunk) for chunk in chunks]
        known, ordered = list[Known](), True
        for words, index in chunks:
            slots, in_order = self.slots.of(words, index)
            known.append((words, index, slots))
            ordered = ordered and in_order
        self._refuse(sum(int((slots < 0).sum()) for _, _, slots in known))
        for state in (self._before, self._window):
            state.grow(self.slots.count)
        if not ordered:
            known = [_sorted(known)]
        end_ms, fresh = start + self.clock.hop, start >= self._durable
        self._ring.skip(end_ms, self.slots.count)
        if fresh and self._window_start is None:
            self._window.start(self._before.value)
        rows = resets = 0
        for words, index, slots in known:
            used, reset = fold(
                words,
                words.view(np.float32),
                index,
                slots,
                self._at,
                self._before.arrays,
                self.clock.gap,
                fresh,
                self._window.sums,
                self._window.counts,
                self._window.bits,
                self._ring.arrays,
                end_ms,
                self._ring.bucket(end_ms),
            )
            rows, resets = rows + used, resets + reset
        metrics.STREAM_RESETS.labels(self.schema.topic).inc(resets)
        if fresh and rows and self._window_start is None:
            floor = start // self.clock.window * self.clock.window
            self._window_start, self._born = start if self._born else floor, False
        return Pane(end_ms=end_ms, rows=rows, fresh=fresh)

    def _refuse(self, rows: int) -> None:
        if rows:
            metrics.DEAD_LETTERS.labels(self.schema.topic, "max_devices").inc(rows)

    def _finish(self, until_ms: int) -> Iterator[Window]:
        """Hand out the open window when it ends by `until_ms`."""
        if self._window_start is None:
            return
        end = (self._window_start // self.clock.window + 1) * self.clock.window
        if end <= until_ms:
            rows = self._window.take(self._window_start, self.slots, self._before.value)
            self._window_start = None
            yield Window(end_ms=end, rows=rows)

    def released(self, ms: int) -> int | None:
        """Last offset that nothing after `ms` needs, not even for a difference; said once."""
        offset = None
        while self._batches and self._batches[0][1] < ms - self.clock.gap:
            offset = self._batches.popleft()[0]
        return offset


def _sorted(known: list[Known]) -> Known:
    """Rows of a pane in time order; of rows at the same time the first in the log comes first."""
    words = np.concatenate([words[index] for words, index, _ in known])
    slots = np.concatenate([slots for _, _, slots in known])
    ts = np.ascontiguousarray(words[:, :2]).view("<i8")[:, 0]
    order = np.lexsort((ts, slots))
    return words, order, slots[order]

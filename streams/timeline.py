"""Event time of one partition: what is late, when a pane closes, when a window may be written.

Rows wait until the watermark (newest time seen minus the allowed lateness) has passed their pane,
then count in time order. So the result depends on the log alone, never on how it was cut into
batches or on anybody's clock, and a replay gives the same rows. What ends the last windows of a
silent partition is a mark in the log, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ridgeline import metrics
from ridgeline.schema import Schema
from streams.batches import Rows
from streams.slots import Slots
from streams.steps import Predecessors, Step, steps
from streams.windows import OpenWindow

_NEVER = -(2**62)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The times of event time, in ms; `hop` divides `window`."""

    window: int = 10_000
    hop: int = 1000
    lateness: int = 5000
    future: int = 60_000
    gap: int = 30_000  # counter readings further apart are no pair
    max_devices: int = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pane:
    """One closed hop: its end and its steps; `fresh` when it was not durable before."""

    end_ms: int
    steps: tuple[Step, ...]
    fresh: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Rows of one closed window and the offset that may be committed once they are durable."""

    end_ms: int
    rows: np.ndarray
    release: int | None


class Timeline:
    """Panes and windows of one partition.

    Args:
        schema: Family of the rows.
        clock: Sizes and limits.
        durable_ms: End of the last window that the store has; nothing before it is written again.
    """

    def __init__(self, schema: Schema, clock: Clock, durable_ms: int | None = None) -> None:
        self.schema, self.clock = schema, clock
        self.slots = Slots(clock.max_devices)
        self.newest_ms = _NEVER
        self._durable = _NEVER if durable_ms is None else durable_ms
        self._before = Predecessors(_counters(schema), clock.gap)
        self._window = OpenWindow(schema)
        self._window_start: int | None = None
        self._waiting: dict[int, list[np.ndarray]] = {}
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

    def add(self, batch: Rows, last_offset: int, clocks_ms: np.ndarray) -> None:
        """Take the rows of one batch; late and future rows are counted and dropped.

        A row is from the future when it is ahead of the clock of its message.
        """
        rows, frame, topic = batch.rows, batch.frame, self.schema.topic
        future = rows["ts"] > clocks_ms[frame] + self.clock.future
        if future.any():
            metrics.STREAM_FUTURE.labels(topic).inc(int(future.sum()))
            rows, frame = rows[~future], frame[~future]
        newest = np.full(batch.frames + 1, _NEVER, dtype=np.int64)
        newest[0] = self.newest_ms
        np.maximum.at(newest, frame + 1, rows["ts"])
        marks = [m for m in batch.marks if m[1] <= clocks_ms[m[0]] + self.clock.future]
        for number, ms in marks:
            newest[number + 1] = max(newest[number + 1], ms)
        newest = np.maximum.accumulate(newest)
        closed = newest[frame] - self.clock.lateness
        pane = rows["ts"] // self.clock.hop * self.clock.hop
        late = pane + self.clock.hop <= closed
        if late.any():
            metrics.STREAM_LATE.labels(topic).inc(int(late.sum()))
            rows, pane = rows[~late], pane[~late]
        self._keep(rows, pane)
        self.newest_ms = int(newest[-1])
        used = max((ms for _, ms in marks), default=_NEVER)
        self._batches.append((last_offset, max(used, int(rows["ts"].max(initial=_NEVER)))))

    def _keep(self, rows: np.ndarray, pane: np.ndarray) -> None:
        if not len(rows):
            return
        order = np.argsort(pane, kind="stable")
        rows, pane = rows[order], pane[order]
        edges = np.flatnonzero(pane[1:] != pane[:-1]) + 1
        for part in np.split(rows, edges):
            start = int(part["ts"][0]) // self.clock.hop * self.clock.hop
            self._waiting.setdefault(start, []).append(part)

    def advance(self) -> Iterator[Pane | Window]:
        """Panes and windows that the watermark has passed, in time order."""
        yield from self._close(self.watermark_ms // self.clock.hop * self.clock.hop)

    def _close(self, until_ms: int) -> Iterator[Pane | Window]:
        for start in sorted(s for s in self._waiting if s + self.clock.hop <= until_ms):
            yield from self._finish(start)
            rows = np.concatenate(self._waiting.pop(start))
            yield self._pane(start, rows)
        yield from self._finish(until_ms)

    def _pane(self, start: int, rows: np.ndarray) -> Pane:
        slots = self.slots.of(rows["device"], rows["node"])
        if (slots < 0).any():
            metrics.DEAD_LETTERS.labels(self.schema.topic, "max_devices").inc(
                int((slots < 0).sum())
            )
            rows, slots = rows[slots >= 0], slots[slots >= 0]
        done = tuple(steps(self.schema, rows, slots, self._before))
        fresh = start >= self._durable
        if fresh and done:
            if self._window_start is None:
                floor = start // self.clock.window * self.clock.window
                self._window_start = floor
            for step in done:
                self._window.add(step)
                metrics.STREAM_RESETS.labels(self.schema.topic).inc(step.resets)
        return Pane(end_ms=start + self.clock.hop, steps=done, fresh=fresh)

    def _finish(self, until_ms: int) -> Iterator[Window]:
        """Hand out the open window when it ends by `until_ms`."""
        if self._window_start is None:
            return
        end = (self._window_start // self.clock.window + 1) * self.clock.window
        if end <= until_ms:
            rows = self._window.take(self._window_start, self.slots)
            self._window_start = None
            yield Window(end_ms=end, rows=rows, release=self._releasable(end))

    def _releasable(self, durable_ms: int) -> int | None:
        """Last offset that no window after `durable_ms` needs, not even for a difference."""
        offset = None
        while self._batches and self._batches[0][1] < durable_ms - self.clock.gap:
            offset = self._batches.popleft()[0]
        return offset


def _counters(schema: Schema) -> int:
    return sum(1 for c in schema.columns if c.numpy == "<u8")

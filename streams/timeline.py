"""Event time of one partition: what is late, when a pane closes, when a window may be written.

Rows wait until the watermark (newest time seen minus the allowed lateness) has passed their pane,
then count in time order. So the result depends on the log alone, never on how it was cut into
batches, and a replay gives the same rows.
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
        self._cut = self._durable  # windows start no earlier
        self._drained = _NEVER
        self._before = Predecessors(_counters(schema), clock.gap)
        self._window = OpenWindow(schema)
        self._window_start: int | None = None
        self._waiting: dict[int, list[np.ndarray]] = {}
        self._batches: deque[tuple[int, int]] = deque()  # last offset, newest time

    @property
    def watermark_ms(self) -> int:
        """No row before this is waited for."""
        return max(self.newest_ms - self.clock.lateness, self._drained)

    @property
    def idle(self) -> bool:
        """Whether nothing waits: every row is in a window that was handed out."""
        return not self._waiting and self._window_start is None and not self._batches

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
        newest = np.maximum.accumulate(newest)
        closed = np.maximum(newest[frame] - self.clock.lateness, self._drained)
        pane = rows["ts"] // self.clock.hop * self.clock.hop
        late = pane + self.clock.hop <= closed
        if late.any():
            metrics.STREAM_LATE.labels(topic).inc(int(late.sum()))
            rows, pane = rows[~late], pane[~late]
        self._keep(rows, pane)
        self.newest_ms = int(newest[-1])
        self._batches.append((last_offset, int(rows["ts"].max()) if len(rows) else _NEVER))

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

    def drain(self) -> Iterator[Pane | Window]:
        """Everything, because the partition went silent.

        The open window is cut where the data ends: what comes after gets a row of its own that
        starts at the cut, so that nothing is written twice with different contents.
        """
        end = max(self._waiting, default=_NEVER) + self.clock.hop
        end = max(end, self.watermark_ms // self.clock.hop * self.clock.hop)
        yield from self._close(end)
        self._drained = max(self._drained, end)
        release = self._batches[-1][0] if self._batches else None
        self._batches.clear()
        if self._window_start is not None:
            rows = self._window.take(self._window_start, self.slots)
            self._window_start, self._cut = None, end
            yield Window(end_ms=end, rows=rows, release=release)
        elif release is not None:
            yield Window(end_ms=max(self._durable, 0), rows=self._none(), release=release)

    def _none(self) -> np.ndarray:
        return np.zeros(0, dtype=self.schema.window_dtype)

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
                self._window_start = max(floor, self._cut)
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

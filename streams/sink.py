"""Makes outputs durable: windows, events, detections on Kafka, progress, detectors' memory.

Only after all of that may offsets be committed. While the store or Kafka is away it tries again
for ever, and `room` closes so that no more is read than fits in memory.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import numpy as np
import structlog
from aiokafka.errors import KafkaError

from ridgeline import metrics
from ridgeline.errors import Reject, Retry
from ridgeline.events import CollectorHealth, DeadLetter, Detection, Event
from ridgeline.schema import Schema
from streams.columns import together
from streams.partition import Output

log = structlog.get_logger()
MOST_PENDING_ROWS = 500_000
MOST_PENDING = 5000
MINUTE_MS = 60_000
LOOKS = 6
"""How often within the time between two rollups the sink looks whether a minute is complete."""
ROLLED = "rolled/"
"""Before a topic's name: how far its windows are in the minutes and hours."""


class WindowStore(Protocol):
    """What the sink needs of `ridgeline.store.Store`."""

    def insert_windows(self, schema: Schema, rows: np.ndarray) -> None:
        """Insert or replace window rows."""

    def insert_events(self, events: Sequence[Event]) -> None:
        """Insert or replace events."""

    def roll_up(self, schema: Schema, start_ms: int, end_ms: int, window_ms: int) -> None:
        """Rebuild minutes and hours of a span, of windows of a length."""

    def roll_up_reports(self, start_ms: int, end_ms: int) -> None:
        """Rebuild minutes of collectors' reports."""

    def query(self, sql: str, parameters: Any = None) -> list[dict[str, Any]]:
        """Rows of a SELECT."""

    def progress(self, topic: str) -> dict[int, int]:
        """End of the last durable window by partition."""

    def save_progress(self, topic: str, partition: int, window_end_ms: int) -> None:
        """Remember that windows up to here are durable."""

    def state(self, topic: str, partition: int) -> tuple[int, bytes] | None:
        """What the detectors of a partition remember, and of which event time it is, in ms."""

    def save_state(self, topic: str, partition: int, at_ms: int, body: bytes) -> None:
        """Replace it by that of a later event time."""


Publish = Callable[[Sequence[Event]], Awaitable[None]]
Release = Callable[[str, int, int], None]


class Sink:
    """Writes what partitions hand out, in order, at most every `pause_seconds`.

    Args:
        store: Where rows and events go; called from a thread.
        publish: Sends detections and dead letters to Kafka; returns when they are acknowledged.
        release: Told topic, partition and offset that may be committed.
        pause_seconds: Time to collect a batch.
        rollup_seconds: Longest that a minute which has not ended waits for its end.
        window_ms: Length of base windows.
    """

    def __init__(
        self,
        store: WindowStore,
        publish: Publish,
        release: Release,
        pause_seconds: float = 1.0,
        rollup_seconds: float = 60.0,
        *,
        window_ms: int = 10_000,
    ) -> None:
        self._store, self._publish, self._release = store, publish, release
        self._pause, self._rollup = pause_seconds, rollup_seconds
        self._window = window_ms
        self._pending: list[Output] = []
        self._rows = 0
        self._more = asyncio.Event()
        self._dirty: dict[str, tuple[Schema, int, int]] = {}
        self._since: dict[str, float] = {}
        self._complete: dict[str, int] = {}
        self._unrolled: dict[tuple[str, int], int] = {}
        self._reported: dict[int, float] = {}
        self.room = asyncio.Event()
        self.room.set()
        self._away: dict[str, None] = {}

    def put(self, outputs: Sequence[Output]) -> None:
        """Take outputs, in order. Never blocks: await `room` before reading more."""
        self._pending += outputs
        self._rows += sum(0 if o.rows is None else len(o.rows) for o in outputs)
        if self._rows > MOST_PENDING_ROWS or len(self._pending) > MOST_PENDING:
            self.room.clear()
        if outputs:
            self._more.set()

    @property
    def waiting_for(self) -> str | None:
        """What cannot be written now because a dependency is away; None: nothing."""
        return next(iter(self._away), None)

    async def run(self) -> None:
        """Write for ever, and roll up beside it: a rollup of a large fleet takes seconds."""
        await asyncio.gather(self._flush_for_ever(), self._roll_up_for_ever())

    async def _flush_for_ever(self) -> None:
        while True:
            await self._more.wait()
            await asyncio.sleep(self._pause)
            await self.flush()

    async def _roll_up_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._rollup / LOOKS)
            await self.roll_up_complete(time.monotonic())

    async def flush(self) -> None:
        """Make everything that is pending durable."""
        outputs, self._pending = self._pending, []
        self._rows = 0
        self._more.clear()
        await self._write(outputs)
        self.room.set()

    async def _write(self, outputs: Sequence[Output]) -> None:
        for schema in {o.schema.family: o.schema for o in outputs if o.schema is not None}.values():
            parts = [o.rows for o in outputs if o.schema is schema and o.rows is not None]
            rows = together(parts, schema.window_dtype)
            if len(rows):
                await self._durable(schema.family, self._store.insert_windows, schema, rows)
                metrics.STREAM_WINDOWS.labels(schema.topic).inc(len(rows))
                self._mark(schema, rows)
        events = [event for o in outputs for event in o.events]
        if events:
            await self._durable("events", self._store.insert_events, events)
            self._mark_reports(events)
            sent = [e for e in events if isinstance(e, Detection | DeadLetter)]
            await self._patiently("kafka", lambda: self._publish(sent))
        ends = {(o.topic, o.partition): o.end_ms for o in outputs if o.end_ms is not None}
        for (topic, partition), end_ms in ends.items():
            await self._durable("progress", self._store.save_progress, topic, partition, end_ms)
        self._unrolled |= ends
        memories = {(o.topic, o.partition): o for o in outputs if o.memory is not None}
        for (topic, partition), output in memories.items():
            arguments = (topic, partition, output.end_ms, output.memory)
            await self._durable("state", self._store.save_state, *arguments)
        for output in outputs:
            if output.release is not None:
                self._release(output.topic, output.partition, output.release)

    async def _durable(self, what: str, call: Callable[..., None], *arguments: Any) -> None:
        try:
            await self._patiently(what, lambda: asyncio.to_thread(call, *arguments))
        except Reject as error:  # it would be refused for ever: go on without it, loudly
            metrics.DEAD_LETTERS.labels("store", error.field).inc()
            log.error("the store refuses rows", what=what, error=str(error))  # noqa: TRY400 - no trace

    async def _patiently(self, what: str, call: Callable[[], Awaitable[None]]) -> None:
        wait = 0.2
        while True:
            try:
                await call()
            except (Retry, KafkaError, OSError) as error:
                self._away[what] = None
                log.warning("waiting for a dependency", what=what, error=str(error), seconds=wait)
                await asyncio.sleep(wait * random.uniform(0.5, 1.0))
                wait = min(wait * 2, 10.0)
            else:
                self._away.pop(what, None)
                return

    def _mark(self, schema: Schema, rows: np.ndarray) -> None:
        start, end = int(rows["window_start"].min()), int(rows["window_start"].max()) + 1
        self.touch(schema, start, end)

    def _mark_reports(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, CollectorHealth):
                minute = event.ts // MINUTE_MS * MINUTE_MS
                self._reported.setdefault(minute, time.monotonic())

    def touch(self, schema: Schema, start: int, end: int) -> None:
        """Have a span, in ms, rolled up the next time."""
        if schema.family in self._dirty:
            _, before_start, before_end = self._dirty[schema.family]
            start, end = min(start, before_start), max(end, before_end)
        self._dirty[schema.family] = (schema, start, end)
        self._since.setdefault(schema.family, time.monotonic())

    async def roll_up_complete(self, now: float) -> None:
        """Rebuild minutes that have just ended in all of our partitions, each once.

        A partition that is more than a minute behind the others is not waited for: what it brings
        later is rolled up with a later minute. Nothing waits longer than the time between rollups.

        Args:
            now: By `time.monotonic`.
        """
        for family, (schema, _, end) in [*self._dirty.items()]:
            ends = [e for (topic, _), e in self._unrolled.items() if topic == schema.topic]
            newest = max(ends, default=0) // MINUTE_MS * MINUTE_MS
            until = max(min(ends, default=0) // MINUTE_MS * MINUTE_MS, newest - MINUTE_MS)
            if now - self._since[family] >= self._rollup:
                await self._roll_up(schema, end)
            elif until > self._complete.get(family, 0):
                self._complete[family] = until
                await self._roll_up(schema, until)
        if self._reported and now - min(self._reported.values()) >= self._rollup:
            await self._roll_up_reports()

    async def roll_up(self) -> None:
        """Rebuild all minutes and hours that were written to since the last time."""
        for schema, _, end in [*self._dirty.values()]:
            await self._roll_up(schema, end)
        await self._roll_up_reports()

    async def _roll_up_reports(self) -> None:
        """Rebuild the minutes that reports came for; a wrong clock makes a run of its own."""
        minutes, self._reported = sorted(self._reported), {}
        while minutes:
            ahead = itertools.count(minutes[0], MINUTE_MS)
            run = [a for a, b in zip(minutes, ahead, strict=False) if a == b]
            del minutes[: len(run)]
            span = run[0], run[-1] + MINUTE_MS
            await self._durable("rollup", self._store.roll_up_reports, *span)

    async def _roll_up(self, schema: Schema, until: int) -> None:
        """Rebuild what was written to before `until`, and note how far that is.

        The minute before is asked for once more: another worker may have rolled it up before our
        rows of it were there.
        """
        _, start, end = self._dirty.pop(schema.family)
        del self._since[schema.family]
        # as of now: while the store folds, more is written
        ends = {tp: e for tp, e in self._unrolled.items() if tp[0] == schema.topic}
        if until < end:
            self.touch(schema, max(start, until), end)
            done = {tp: min(e, until) for tp, e in ends.items()}
        else:
            done = ends
        for tp, rolled_ms in done.items():
            if ends[tp] == rolled_ms:
                del self._unrolled[tp]
        if start < until:
            span = start - MINUTE_MS, until
            await self._durable("rollup", self._store.roll_up, schema, *span, self._window)
        for (topic, partition), rolled_ms in done.items():
            name = ROLLED + topic
            await self._durable("rolled", self._store.save_progress, name, partition, rolled_ms)

"""Partitions that say nothing any more: their last windows end at a mark appended to the log."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import structlog
from aiokafka.errors import KafkaError

from ridgeline.frames import Headers, watermark_headers
from streams.batches import Batch
from streams.facts import Source
from streams.timeline import Timeline

log = structlog.get_logger()
AppendMark = Callable[[str, int, Headers], Awaitable[None]]
"""Appends a message without rows to a topic's partition."""


class Silence:
    """When each partition last said something, and how far its event time was marked.

    Args:
        append_mark: Appends to a partition how far event time has come.
        idle_seconds: After so long a partition counts as silent.
        lateness_ms: How long windows wait for late rows.
    """

    def __init__(self, append_mark: AppendMark, idle_seconds: float, lateness_ms: int) -> None:
        self._append_mark = append_mark
        self._idle, self._lateness = idle_seconds, lateness_ms
        self._heard: dict[Source, float] = {}
        self._marked: dict[Source, int] = {}

    def heard(self, batch: Batch) -> None:
        """Take note of a batch; marks are nobody's word."""
        if any(message.value for message in batch.messages):
            self._heard[batch.topic, batch.partition] = time.monotonic()

    def resume(self, tp: Source) -> None:
        """Its silence begins anew: it was not read."""
        self._heard[tp] = time.monotonic()

    def forget(self, tp: Source) -> None:
        """Drop what is known of a partition."""
        self._heard.pop(tp, None)
        self._marked.pop(tp, None)

    def seconds(self, tp: Source, now: float, since: float) -> float:
        """How long it has been silent; one never heard, since `since`; of a monotonic clock."""
        return now - self._heard.get(tp, since)

    async def mark(self, tp: Source, timeline: Timeline) -> None:
        """End the windows that would have ended, had event time gone on during the silence."""
        mark_ms = timeline.closing_ms
        if mark_ms is None or self._marked.get(tp) == mark_ms:
            return
        now = time.monotonic()
        waited_ms = (self.seconds(tp, now, now) - self._idle) * 1000
        if waited_ms > 0 and timeline.newest_ms + waited_ms >= mark_ms - self._lateness:
            try:
                await self._append_mark(*tp, watermark_headers(mark_ms))
            except (KafkaError, OSError) as error:
                log.warning("cannot mark a silent partition", topic=tp[0], error=str(error))
            else:
                self._marked[tp] = mark_ms

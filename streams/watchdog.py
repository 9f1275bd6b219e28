"""Ends the process when it no longer gets anywhere, so that its supervisor starts a fresh one.

Faust consumers have been seen to stop without an error; only progress is proof of life.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Mapping

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from ridgeline import metrics

log = structlog.get_logger()
LOOK_SECONDS = 5.0
_ANSWER_SECONDS = 10.0
Positions = Mapping[tuple[str, int], int]


class Progress:
    """Judges from positions and ends whether work is standing still; pure but for its clock.

    Args:
        stall_seconds: How long it may stand still while there is something to read.
        now: Clock, seconds.
    """

    def __init__(self, stall_seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._stall, self._now = stall_seconds, now
        self._last: dict[tuple[str, int], int] = {}
        self._ends: dict[tuple[str, int], int] = {}
        self._since = now()
        self._behind = False

    def fault(self, positions: Positions, ends: Positions, *, excused: bool) -> str | None:
        """Why the process has to end, or None. `excused`: something we wait for is known away."""
        # compared with ends, not positions: the embedded broker's ends miss part of a last batch
        lost = [tp for tp, end in ends.items() if end < self._ends.get(tp, 0)]
        self._ends |= ends
        if lost:
            topic, partition = lost[0]
            return f"{topic}/{partition} ends before it did: the broker lost its data"
        behind = {tp: end for tp, end in ends.items() if end > positions.get(tp, -1) + 1}
        was_behind, self._behind = self._behind, bool(behind) and not excused
        if not (self._behind and was_behind) or dict(positions) != self._last:
            self._last, self._since = dict(positions), self._now()
            return None
        if self._now() - self._since > self._stall:
            (topic, partition), end = next(iter(behind.items()))
            at = positions.get((topic, partition), -1) + 1
            where = f"{topic}/{partition} at {at} of {end}"
            return f"no progress for {self._stall:.0f} s with messages to read, such as {where}"
        return None


async def watch(
    servers: str,
    positions: Callable[[], Positions],
    mine: Callable[[], set[tuple[str, int]]],
    excused: Callable[[], bool],
    stall_seconds: float,
) -> str:
    """Compare positions with the log's ends until something is wrong; says what."""
    progress = Progress(stall_seconds)
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, enable_auto_commit=False)
    started = False
    try:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                if not started:
                    await consumer.start()
                    started = True
                wanted = [TopicPartition(*tp) for tp in mine()]
                async with asyncio.timeout(_ANSWER_SECONDS):
                    found = await consumer.end_offsets(wanted) if wanted else {}
            except (TimeoutError, KafkaError, OSError) as error:
                log.warning("cannot see how far the log goes", error=str(error))
                continue
            ends = {(tp.topic, tp.partition): end for tp, end in found.items()}
            at = dict(positions())
            for tp, end in ends.items():
                behind = max(0, end - at.get(tp, -1) - 1)
                metrics.STREAM_LAG.labels(tp[0], str(tp[1])).set(behind)
            fault = progress.fault(at, ends, excused=excused())
            if fault is not None:
                return fault
    finally:
        await consumer.stop()


class Heartbeat:
    """A thread that ends the process when the event loop itself is stuck."""

    def __init__(self, stall_seconds: float) -> None:
        self._stall = stall_seconds
        self._beat = time.monotonic()
        threading.Thread(target=self._watch, daemon=True, name="heartbeat").start()

    async def run(self) -> None:
        """Beat for ever."""
        while True:
            self._beat = time.monotonic()
            await asyncio.sleep(1.0)

    def _watch(self) -> None:
        while time.monotonic() - self._beat < self._stall:
            time.sleep(1.0)
        log.critical("the event loop is stuck", seconds=self._stall)
        os._exit(1)

"""Renewal of the embedded broker: it keeps everything in memory, so now and then a fresh one.

Nothing is lost: producers hold back, the stream processor stops, and what it had not committed
(the samples of windows still open among it) is carried over into the fresh broker.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from aiokafka.errors import KafkaError

from ridgeline import metrics
from ridgeline.kafka import ensure_topics, with_backoff
from ridgeline.local import carry
from ridgeline.local.parts import STREAMS
from ridgeline.local.supervisor import Report, Supervisor
from ridgeline.settings import KafkaSettings
from ridgeline.topics import ADVICE, TOPICS

_MB = 1024 * 1024
_SETTLE_SECONDS = 1.0  # what a producer had in flight when the hold began

CARRIED = tuple(topic.name for topic in TOPICS if topic is not ADVICE)
"""What streams reads; the advisor keeps its advice in the store itself."""


def resident_mb(pid: int) -> float:
    """Resident memory of a process, MiB; 0 when it is gone."""
    try:
        return float(psutil.Process(pid).memory_info().rss) / _MB
    except psutil.NoSuchProcess:
        return 0.0


@contextmanager
def _holding(hold: Path) -> Iterator[None]:
    hold.touch()
    try:
        yield
    finally:
        hold.unlink(missing_ok=True)


async def renew(
    supervisor: Supervisor, settings: KafkaSettings, *, hold: Path, group: str, report: Report
) -> None:
    """Replace the broker by an empty one without losing a sample; later, when that cannot be.

    Raises:
        PartFailed: the fresh broker or the stream processor did not start.
    """
    begun = time.monotonic()
    async with supervisor.pause():
        with _holding(hold):
            await asyncio.sleep(_SETTLE_SECONDS)
            await supervisor.suspend(STREAMS, grace_seconds=10.0)
            try:
                tail = await carry.unread(settings, group, CARRIED)
            except (KafkaError, OSError) as error:
                await supervisor.restart(STREAMS)
                report.note(f"the broker's renewal is put off: {error}")
                return
            await supervisor.restart("broker")
            await ensure_topics(settings)
            await with_backoff("kafka", lambda: carry.put(settings, tail))
            await supervisor.restart(STREAMS)
    metrics.LOCAL_RENEWALS.inc()
    seconds = time.monotonic() - begun
    report.note(f"broker renewed in {seconds:.0f} s; {len(tail)} unread messages carried over")


async def keep_within(
    budget_mb: float,
    pid: Callable[[], int],
    renew_broker: Callable[[], Awaitable[None]],
    pause_seconds: float = 5.0,
) -> None:
    """Renew whenever the broker's memory is past the budget, for ever."""
    while True:
        await asyncio.sleep(pause_seconds)
        used_mb = resident_mb(pid())
        metrics.LOCAL_BROKER_BYTES.set(used_mb * _MB)
        if used_mb > budget_mb:
            await renew_broker()

"""Renewal of the embedded broker: it keeps everything in memory, so now and then a fresh one.

Nothing is lost: producers hold back, the stream processor reads to the end and stops, and only
then is the old broker dropped. What was in it is in the store.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from aiokafka.errors import KafkaError

from ridgeline.kafka import ensure_topics
from ridgeline.local.lag import group_lag
from ridgeline.local.parts import STREAMS
from ridgeline.local.supervisor import Report, Supervisor
from ridgeline.settings import KafkaSettings
from ridgeline.topics import TOPICS

_MB = 1024 * 1024
_DRAIN_SECONDS = 20.0
_SETTLE_SECONDS = 1.0  # what a producer had in flight when the hold began

CONSUMED = tuple(t.name for t in TOPICS if t.schema is not None)
"""Topics whose samples must be read before their broker may go."""


def resident_mb(pid: int) -> float:
    """Resident memory of a process, MiB; 0 when it is gone."""
    try:
        return float(psutil.Process(pid).memory_info().rss) / _MB
    except psutil.NoSuchProcess:
        return 0.0


async def drained(settings: KafkaSettings, group: str, seconds: float = _DRAIN_SECONDS) -> bool:
    """Wait until the group has committed everything; False when it did not in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            lag = await group_lag(settings.servers, group, CONSUMED)
        except (KafkaError, OSError):
            lag = {("", 0): None}
        if not any(behind is None or behind > 0 for behind in lag.values()):
            return True
        await asyncio.sleep(0.5)
    return False


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
    """Replace the broker by an empty one without losing a sample.

    Raises:
        PartFailed: the fresh broker or the stream processor did not start.
    """
    begun = time.monotonic()
    async with supervisor.pause():
        with _holding(hold):
            await asyncio.sleep(_SETTLE_SECONDS)
            if not await drained(settings, group):
                report.note("broker renewal: samples were still unread when time was up")
            await supervisor.suspend(STREAMS, grace_seconds=10.0)
            await supervisor.restart("broker")
            await ensure_topics(settings)
            await supervisor.restart(STREAMS)
    report.note(f"broker renewed in {time.monotonic() - begun:.0f} s; nothing was sent meanwhile")


async def keep_within(
    budget_mb: float,
    pid: Callable[[], int],
    renew_broker: Callable[[], Awaitable[None]],
    pause_seconds: float = 5.0,
) -> None:
    """Renew whenever the broker's memory is past the budget, for ever."""
    while True:
        await asyncio.sleep(pause_seconds)
        if resident_mb(pid()) > budget_mb:
            await renew_broker()

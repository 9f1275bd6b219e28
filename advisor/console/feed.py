"""One reader of the source for all open pages: it never blocks a page and never breaks it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from advisor.source import ClusterState, ConsoleSource
from ridgeline.events import Advice, Detection

log = structlog.get_logger()
T = TypeVar("T")


def now_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The last good answer of each part, and what went wrong the last time."""

    state: ClusterState = field(default_factory=ClusterState)
    detections: tuple[Detection, ...] = ()
    advice: tuple[Advice, ...] = ()
    problems: tuple[str, ...] = ()
    loaded: bool = False


class Feed:
    """Reads the source at most once in `every_seconds`, whatever the number of pages.

    A part that fails or takes longer than `timeout_seconds` keeps its last good answer.
    """

    def __init__(
        self, source: ConsoleSource, every_seconds: float = 1.0, timeout_seconds: float = 10.0
    ) -> None:
        self.source = source
        self.latest = Snapshot()
        self._every_seconds = every_seconds
        self._timeout_seconds = timeout_seconds
        self._read_at = float("-inf")
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def poke(self) -> None:
        """Start a reading in the background when the last is old and none is under way."""
        running = self._task is not None and not self._task.done()
        if not running and time.monotonic() - self._read_at >= self._every_seconds:
            self._task = asyncio.create_task(self.load())

    async def load(self) -> None:
        """Read all three parts now."""
        async with self._lock:
            problems: list[str] = []
            last = self.latest
            state, detections, advice = await asyncio.gather(
                self._part("cluster state", self.source.cluster(), last.state, problems),
                self._part("detections", self.source.detections(), last.detections, problems),
                self._part("advice", self.source.advice(), last.advice, problems),
            )
            self.latest = Snapshot(
                state, tuple(detections), tuple(advice), tuple(sorted(problems)), loaded=True
            )
            self._read_at = time.monotonic()

    async def _part(self, name: str, reading: Awaitable[T], last: T, problems: list[str]) -> T:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await reading
        except TimeoutError:
            problems.append(f"{name}: no answer in {self._timeout_seconds:g} s")
        except Exception as error:  # noqa: BLE001 - the page outlives whatever its source does
            log.warning("console cannot read", part=name, error=repr(error))
            problems.append(f"{name}: {error or type(error).__name__}")
        return last

"""The `ConsoleSource` of a running advisor: its engine and its store, off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from advisor import pipeline, state
from advisor.engine import Engine, now_ms
from advisor.facts import Facts, Reader, Span
from advisor.source import ClusterState
from ridgeline.events import Advice, Detection


class LiveSource:
    """Reads through; the cluster's state is read at most every `keep_ms` however many look.

    Args:
        engine: Holds advice and the facts of the last evaluation.
        store: Where detections, nodes and health are read.
        span: Makes the stretch of time of a "now".
        clock: Wall clock in ms.
        keep_ms: How long a state is served before it is read again.
        dead_letter_limit: Dead letters a minute past which it is an alarm.
    """

    def __init__(
        self,
        engine: Engine[Facts],
        store: Reader,
        span: Callable[[int], Span],
        clock: Callable[[], int] = now_ms,
        *,
        keep_ms: int = 2_000,
        dead_letter_limit: int = 1000,
    ) -> None:
        self._engine = engine
        self._store = store
        self._span = span
        self._clock = clock
        self._keep_ms = keep_ms
        self._dead_letter_limit = dead_letter_limit
        self._state: tuple[int, ClusterState] | None = None
        self._reading = asyncio.Lock()

    async def cluster(self) -> ClusterState:
        """State of the cluster now."""
        async with self._reading:
            now = self._clock()
            if self._state is None or now - self._state[0] >= self._keep_ms:
                self._state = (now, await asyncio.to_thread(self._read, now))
            return self._state[1]

    def _read(self, now: int) -> ClusterState:
        span = self._span(now)
        facts = self._engine.facts or Facts(now_ms=now)
        nodes = state.nodes(self._store, span, facts)
        return state.cluster_state(
            facts,
            nodes,
            pipeline.collectors(self._store, span),
            pipeline.topics(self._store, span, self._dead_letter_limit),
        )

    async def detections(self) -> list[Detection]:
        """Open detections and those of the last hour, newest first."""
        return await asyncio.to_thread(state.recent_detections, self._store, self._clock())

    async def advice(self) -> list[Advice]:
        """All advice, best first, resolved last."""
        return self._engine.advice()

    async def acknowledge(self, id: str, by: str) -> None:  # noqa: A002 - the protocol's name
        """Say that a person has seen it."""
        await asyncio.to_thread(self._engine.acknowledge, id, by)

    async def snooze(self, id: str, by: str, hours: float) -> None:  # noqa: A002 - likewise
        """Hide it for `hours`."""
        await asyncio.to_thread(self._engine.snooze, id, by, hours)

    async def resolve(
        self,
        id: str,  # noqa: A002 - likewise
        by: str,
        note: str,
        *,
        done: bool = False,
    ) -> None:
        """Say that it was done (then it is measured) or will not be."""
        await asyncio.to_thread(self._engine.resolve, id, by, note, done=done)

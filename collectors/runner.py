"""Runs every collector on its own thread and schedule; one that fails stops no other."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
import structlog

from collectors.protocol import Batch, Collector, Factory
from collectors.schedule import Grid
from collectors.site import Site
from collectors.worker import Worker
from ridgeline.errors import Misconfigured, NoData, RidgelineError
from ridgeline.events import CollectorHealth, DeviceEvent, InventoryItem
from ridgeline.metrics import COLLECT_ROWS, COLLECT_SECONDS, COLLECT_SKIPPED, COLLECT_SUCCESS
from ridgeline.schema import Schema
from ridgeline.settings import CollectSettings

log = structlog.get_logger()
T = TypeVar("T")
PROBE_SECONDS = 60.0
PROBE_LIMIT_SECONDS = 60.0  # a driver that has to wake eight GPUs first takes its time
HEALTH_SECONDS = 60.0


class Sink(Protocol):
    """Where batches go; `Publisher` in production."""

    def frame(self, source: str, schema: Schema, rows: np.ndarray) -> None:
        """Rows of one schema."""
        ...

    def inventory(self, source: str, items: Iterable[InventoryItem], now_ms: int) -> None:
        """A collector's full list."""
        ...

    def events(self, events: Iterable[DeviceEvent]) -> None:
        """What happened."""
        ...

    def health(self, health: CollectorHealth) -> None:
        """How a collector is doing."""
        ...


@dataclass(slots=True)
class Outcome:
    """One try: what came of it and how long it took."""

    success: bool
    seconds: float
    rows: int = 0
    no_data: bool = False
    error: str = ""


@dataclass(slots=True)
class Reporter:
    """Turns outcomes into health events: at once on a change, else once a minute."""

    site: Site
    name: str
    sink: Sink
    last: Outcome | None = None
    _since: list[Outcome] = field(default_factory=list)
    _next: float = field(default=float("-inf"))

    def report(self, outcome: Outcome, now: float) -> None:
        """Count an outcome and say so when it is time (`now`: monotonic seconds)."""
        COLLECT_SUCCESS.labels(self.name).set(outcome.success)
        COLLECT_SECONDS.labels(self.name).observe(outcome.seconds)
        COLLECT_ROWS.labels(self.name).inc(outcome.rows)
        self._since.append(outcome)
        changed = self._changed(outcome)
        if changed:
            self._log(outcome)
        self.last = outcome
        if not changed and now < self._next:
            return
        self._next = now + HEALTH_SECONDS
        self.sink.health(
            CollectorHealth(
                node=self.site.node,
                host=self.site.host,
                collector=self.name,
                ts=_now_ms(),
                success=outcome.success,
                duration_seconds=max(one.seconds for one in self._since),
                rows=sum(one.rows for one in self._since),
                no_data=outcome.no_data,
                error=outcome.error,
                runs=len(self._since),
                failed=sum(not one.success and not one.no_data for one in self._since),
            )
        )
        self._since.clear()

    def _changed(self, outcome: Outcome) -> bool:
        was = self.last
        return was is None or (was.success, was.no_data, was.error) != (
            outcome.success,
            outcome.no_data,
            outcome.error,
        )

    def _log(self, outcome: Outcome) -> None:
        if outcome.no_data:
            log.info("collector is off", collector=self.name, reason=outcome.error)
        elif not outcome.success:
            log.warning("collector failed", collector=self.name, error=outcome.error)
        elif self.last is not None:
            log.info("collector works", collector=self.name)


class Runner:
    """The life of one collector: probe, run on the grid, report, probe again when it is gone."""

    def __init__(
        self,
        name: str,
        factory: Factory,
        settings: CollectSettings,
        sink: Sink,
        probe_seconds: float = PROBE_SECONDS,
    ) -> None:
        self._name = name
        self._factory = factory
        self._settings = settings
        self._sink = sink
        self._probe_seconds = probe_seconds
        self._worker = Worker(f"collect-{name}")
        self._reporter = Reporter(Site.of(settings), name, sink)
        self._pending: asyncio.Future[Any] | None = None
        self._collector: Collector | None = None

    async def run(self) -> None:
        """Run until cancelled.

        Raises:
            Misconfigured: the collector says that a setting is wrong.
        """
        interval = self._settings.interval_seconds
        try:
            await asyncio.sleep(random.uniform(0, min(interval, 1.0)) / 2)
            while True:
                await self._until_present()
                await self._until_absent(Grid(time.monotonic(), interval))
        finally:
            if self._collector is not None:
                self._worker.submit(self._collector.close)
            self._worker.stop()

    async def _until_present(self) -> None:
        """Probe for the source every so often until there is a collector."""
        while self._collector is None:
            made = await self._try(lambda: self._factory(self._settings), PROBE_LIMIT_SECONDS)
            if isinstance(made, Outcome):
                self._reporter.report(made, time.monotonic())
                await asyncio.sleep(self._probe_seconds)
            else:
                self._collector = made

    async def _until_absent(self, grid: Grid) -> None:
        """Sample on the grid until the source says that it is gone."""
        while self._collector is not None:
            at, skipped = grid.next(time.monotonic())
            COLLECT_SKIPPED.labels(self._name).inc(skipped)
            await asyncio.sleep(max(0.0, at - time.monotonic()))
            outcome = await self._sample(self._collector)
            self._reporter.report(outcome, time.monotonic())
            if outcome.no_data:
                self._worker.submit(self._collector.close)
                self._collector = None
                await asyncio.sleep(self._probe_seconds)

    async def _sample(self, collector: Collector) -> Outcome:
        now_ms, started = _now_ms(), time.monotonic()
        batch = await self._try(lambda: collector.collect(now_ms), self._settings.timeout_seconds)
        if isinstance(batch, Outcome):
            return batch
        rows = self._hand_over(batch, now_ms)
        return Outcome(success=True, seconds=time.monotonic() - started, rows=rows)

    def _hand_over(self, batch: Batch, now_ms: int) -> int:
        for schema, rows in batch.frames:
            if len(rows):
                self._sink.frame(self._name, schema, rows)
        self._sink.inventory(self._name, batch.inventory, now_ms)
        self._sink.events(batch.events)
        return sum(len(rows) for _, rows in batch.frames)

    async def _try(self, call: Callable[[], T], limit: float) -> T | Outcome:
        """Make a call on the thread within the time limit; what went wrong is an outcome.

        While an overdue call still runs no other is made. Of its late answer only the events are
        kept: nobody knows which instant its readings belong to.
        """
        started = time.monotonic()
        if self._pending is not None and not self._pending.done():
            return Outcome(success=False, seconds=0.0, error="the last run has not ended yet")
        self._pending = running = asyncio.wrap_future(self._worker.submit(call))
        try:
            await asyncio.wait({running}, timeout=limit)
        except asyncio.CancelledError:
            running.cancel()  # else its answer would look for a loop that has gone
            raise
        seconds = time.monotonic() - started
        if not running.done():
            running.add_done_callback(self._take_late)
            return Outcome(success=False, seconds=seconds, error=f"no answer within {limit:g} s")
        try:
            return running.result()
        except Misconfigured:
            raise
        except NoData as error:
            return Outcome(success=False, seconds=seconds, no_data=True, error=str(error))
        except Exception as error:  # noqa: BLE001 - the run loop: no plug-in may stop another
            ours = isinstance(error, (RidgelineError, TimeoutError))
            text = str(error) if ours else f"{type(error).__name__}: {error}"
            return Outcome(success=False, seconds=seconds, error=text)

    def _take_late(self, late: asyncio.Future[Any]) -> None:
        """Events of an overdue run are true whenever they come; an overdue collector is closed."""
        if late.cancelled() or late.exception() is not None:
            return
        answer = late.result()
        if isinstance(answer, Batch):
            self._sink.events(answer.events)
        else:
            self._worker.submit(answer.close)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000

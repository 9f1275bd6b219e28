"""The runner: schedule, time limits, health, probing; no collector stops another."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterable

import numpy as np
import pytest

from collectors.protocol import Batch, Collector, Factory
from collectors.runner import Outcome, Reporter, Runner
from collectors.schedule import Grid
from collectors.site import Site
from ridgeline.errors import Misconfigured, NoData
from ridgeline.events import CollectorHealth, DeviceEvent, InventoryItem
from ridgeline.schema import FABRIC, Schema
from ridgeline.settings import CollectSettings

PATIENT, HASTY = (
    CollectSettings(host="node07", interval_seconds=0.01, timeout_seconds=limit)
    for limit in (60.0, 0.1)
)
"""A busy machine may take a second to run a thread; only what hangs is to be overdue."""


class FakeSink:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.frames: list[tuple[str, np.ndarray]] = []
        self.healths: list[CollectorHealth] = []
        self.happened: list[DeviceEvent] = []

    def frame(self, source: str, schema: Schema, rows: np.ndarray) -> None:
        """Keep."""
        assert rows.dtype == schema.dtype
        self.frames.append((source, rows))

    def inventory(self, source: str, items: Iterable[InventoryItem], now_ms: int) -> None:
        """Ignore."""

    def events(self, events: Iterable[DeviceEvent]) -> None:
        """Keep."""
        self.happened += events

    def health(self, health: CollectorHealth) -> None:
        """Keep."""
        self.healths.append(health)

    def errors(self) -> list[str]:
        """Errors reported, in order."""
        return [h.error for h in self.healths]


class FakeCollector:
    """Does what it is told on each run; one row when it is told nothing."""

    def __init__(self, act: Callable[[int], None] = lambda _: None) -> None:
        self.act = act
        self.runs = 0
        self.closed = 0

    def collect(self, now_ms: int) -> Batch:
        """One row."""
        self.runs += 1
        self.act(self.runs)
        rows = FABRIC.empty(1)
        rows["ts"] = now_ms
        return Batch(frames=[(FABRIC, rows)])

    def close(self) -> None:
        """Count."""
        self.closed += 1


def runner_of(
    name: str, factory: Factory | Collector, sink: FakeSink, settings: CollectSettings = PATIENT
) -> Runner:
    """A runner that probes without delay."""
    make: Factory = factory if callable(factory) else lambda _: factory
    return Runner(name, make, settings, sink, probe_seconds=0.01)


async def run_until(condition: Callable[[], bool], *runners: Runner) -> None:
    """Run until the condition holds (pytest's time limit is the only other end)."""
    tasks = [asyncio.create_task(r.run()) for r in runners]
    try:
        while not condition():
            for task in tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.005)
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError, Misconfigured):
                await task


async def test_rows_arrive_and_the_collector_is_closed() -> None:
    """Rows go to the sink under the collector's name; at the end it is closed."""
    sink, collector = FakeSink(), FakeCollector()
    await run_until(lambda: len(sink.frames) >= 3, runner_of("netdev", collector, sink))
    while not collector.closed:  # noqa: ASYNC110 - the worker's thread closes it
        await asyncio.sleep(0.005)

    assert {source for source, _ in sink.frames} == {"netdev"}
    assert [h.success for h in sink.healths] == [True]


async def test_a_failing_collector_stops_no_other() -> None:
    """Whatever one raises, the next one's rows arrive, and the failure is reported."""

    def fail(run: int) -> None:
        raise ZeroDivisionError(f"run {min(run, 2)}")

    sink = FakeSink()
    bad = runner_of("bad", FakeCollector(fail), sink)
    good = runner_of("good", FakeCollector(), sink)
    await run_until(lambda: len(sink.frames) >= 5 and len(sink.errors()) >= 3, bad, good)

    assert {source for source, _ in sink.frames} == {"good"}
    reports = [h.error for h in sink.healths if h.collector == "bad"]
    assert reports == ["ZeroDivisionError: run 1", "ZeroDivisionError: run 2"]


async def test_an_overdue_run_fails_and_no_second_starts() -> None:
    """A hung run is reported, runs alone until it ends, and its answer is thrown away."""
    let_go = threading.Event()

    def hang(run: int) -> None:
        if run == 1:
            let_go.wait(30)

    sink, collector = FakeSink(), FakeCollector(hang)
    runner = runner_of("slow", collector, sink, HASTY)

    def seen() -> bool:
        if "the last run has not ended yet" in sink.errors() and not let_go.is_set():
            assert collector.runs == 1
            let_go.set()
        return bool(sink.frames)

    await run_until(seen, runner)

    assert sink.errors()[:2] == ["no answer within 0.1 s", "the last run has not ended yet"]
    assert collector.runs >= 2


async def test_a_collector_that_raises_a_timeout_of_its_own() -> None:
    """A TimeoutError out of the plug-in is its own error, not ours."""

    def fail(_: int) -> None:
        raise TimeoutError("BMC is asleep")

    sink = FakeSink()
    await run_until(lambda: bool(sink.healths), runner_of("bmc", FakeCollector(fail), sink))

    assert sink.errors()[0] == "BMC is asleep"


async def test_a_collector_that_raises_stop_iteration() -> None:
    """A bare `next()` in a plug-in, which no coroutine may raise, fails like anything else."""
    sink = FakeSink()
    collector = FakeCollector(lambda run: None if run == 2 else next(iter(())))
    await run_until(lambda: len(sink.healths) == 3, runner_of("bare", collector, sink))

    assert sink.errors() == ["RuntimeError: StopIteration: None", "", sink.errors()[0]]


async def test_a_runner_stopped_as_an_answer_arrives_stops() -> None:
    """The end is not lost where the answer arrives between the cancelling and its delivery."""
    loop, sink = asyncio.get_running_loop(), FakeSink()

    def stop_after_the_answer() -> None:
        while runner._pending is None or not answered.is_set():
            time.sleep(0.001)
        time.sleep(0.05)  # the answer is queued in the loop, which this holds up
        loop.call_soon(task.cancel)

    def act(_: int) -> None:
        loop.call_soon_threadsafe(stop_after_the_answer)
        answered.set()

    answered = threading.Event()
    runner = runner_of("netdev", FakeCollector(act), sink)
    task = asyncio.create_task(runner.run())
    done, _ = await asyncio.wait({task}, timeout=30)

    assert done == {task}
    assert task.cancelled()


async def test_an_absent_source_is_probed_again() -> None:
    """A driver that is loaded later is found."""
    probes = 0

    def make(_: CollectSettings) -> Collector:
        nonlocal probes
        probes += 1
        if probes < 3:
            raise NoData("no driver")
        return FakeCollector()

    sink = FakeSink()
    await run_until(lambda: bool(sink.frames), runner_of("nvml", make, sink))

    assert [(h.no_data, h.error) for h in sink.healths] == [(True, "no driver"), (False, "")]


async def test_a_source_that_goes_away_is_probed_again() -> None:
    """NoData from a run closes the collector and makes a new one."""

    def gone(run: int) -> None:
        if run == 2:
            raise NoData("driver unloaded")

    first, second = FakeCollector(gone), FakeCollector()
    made = iter([first, second])
    sink = FakeSink()
    runner = runner_of("nvml", lambda _: next(made), sink)
    await run_until(lambda: second.runs >= 1, runner)

    assert (first.runs, first.closed) == (2, 1)


async def test_misconfigured_ends_the_runner() -> None:
    """A setting that only a person can change is not tried again."""

    def make(_: CollectSettings) -> Collector:
        raise Misconfigured("RIDGELINE_COLLECT_SERVING", "not an address")

    with pytest.raises(Misconfigured, match="RIDGELINE_COLLECT_SERVING"):
        await run_until(lambda: False, runner_of("serving", make, FakeSink()))


def test_health_on_change_and_every_minute() -> None:
    """Health goes out at once on a change, else once a minute with what was since."""
    sink = FakeSink()
    reporter = Reporter(Site(host="h", node=1), "netdev", sink)
    for second in range(62):
        seconds = 3.0 if second == 40 else 0.1
        reporter.report(Outcome(success=True, seconds=seconds, rows=2), float(second))
    for second in range(62, 62 + 61):
        reporter.report(Outcome(success=False, seconds=0.1, error="boom"), float(second))
    reporter.report(Outcome(success=False, seconds=0.1, no_data=True, error="gone"), 123.0)

    assert [(h.success, h.rows, h.runs, h.failed) for h in sink.healths] == [
        (True, 2, 1, 0),
        (True, 120, 60, 0),
        (False, 2, 2, 1),
        (False, 0, 60, 60),
        (False, 0, 1, 0),
    ]
    assert [h.duration_seconds for h in sink.healths] == [0.1, 3.0, 0.1, 0.1, 0.1]


def test_grid_does_not_drift_and_counts_what_it_skips() -> None:
    """Instants are on the grid; after a long run only the latest past one is made up for."""
    grid = Grid(start=100.0, interval=1.0)

    assert grid.next(100.0) == (100.0, 0)
    assert grid.next(100.3) == (101.0, 0)
    assert grid.next(101.9) == (102.0, 0)
    assert grid.next(105.5) == (105.0, 2)
    assert grid.next(105.6) == (106.0, 0)


async def test_events_of_an_overdue_run_are_kept() -> None:
    """An XID read during a run that took too long still goes out, its readings do not."""
    sink, release = FakeSink(), threading.Event()
    xid = DeviceEvent(device=1, node=1, kind="xid", code=79, message="fallen off", ts=1)

    class Slow(FakeCollector):
        def collect(self, now_ms: int) -> Batch:
            batch = super().collect(now_ms)
            if self.runs == 1:
                release.wait(10)
                batch.events.append(xid)
            return batch

    collector = Slow()

    def late_answer_came() -> bool:
        if "no answer within 0.1 s" in sink.errors():
            release.set()
        return bool(sink.happened)

    await run_until(late_answer_came, runner_of("slow", collector, sink, HASTY))

    assert sink.happened == [xid]

"""What a worker reports about itself, and when it raises its voice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge
from structlog.testing import capture_logs

from ridgeline.errors import Retry
from ridgeline.events import Event, PipelineHealth
from streams.health import Readings, Reporter, readings, report_for_ever

LETTERS = ("ridgeline_dead_letters_total", "telemetry.gpu")
SAMPLES = ("ridgeline_stream_samples_total", "telemetry.gpu")
LAG = ("ridgeline_stream_lag_frames", "telemetry.gpu")


class Numbers:
    """Readings that a test sets."""

    def __init__(self) -> None:
        self.now: dict[tuple[str, str], float] = {}

    def __call__(self) -> Readings:
        """The readings now."""
        return dict(self.now)


def test_partitions_add_up_and_the_slowest_delay_counts() -> None:
    """Lag and counts are summed over a topic's labels, the delay is the largest."""
    registry = CollectorRegistry()
    lag = Gauge("ridgeline_stream_lag_frames", "x", ["topic", "partition"], registry=registry)
    delay = Gauge(
        "ridgeline_stream_watermark_delay_seconds", "x", ["topic", "partition"], registry=registry
    )
    letters = Counter("ridgeline_dead_letters", "x", ["topic", "field"], registry=registry)
    for partition, value in (("0", 3.0), ("1", 4.0)):
        lag.labels("t", partition).set(value)
        delay.labels("t", partition).set(-value)
    letters.labels("t", "header").inc(2)
    letters.labels("t", "value").inc(5)

    found = readings(registry)

    assert 7 == found["ridgeline_stream_lag_frames", "t"]
    assert -3 == found["ridgeline_stream_watermark_delay_seconds", "t"]
    assert 7 == found["ridgeline_dead_letters_total", "t"]


def test_a_report_counts_what_came_since_the_last() -> None:
    """Counts are differences, states are as they are; what is not known is None."""
    numbers = Numbers()
    numbers.now = {SAMPLES: 100}
    reporter = Reporter("w", 1000, numbers)
    reporter.report(0)
    numbers.now = {SAMPLES: 180, LAG: 5}

    (found,) = reporter.report(10_000)

    assert (80, 10.0, 5, None) == (
        found.samples,
        found.seconds,
        found.lag_frames,
        found.watermark_delay_seconds,
    )


def test_a_topic_without_rows_is_reported_when_it_has_dead_letters() -> None:
    """An event topic that nobody can read is not hidden."""
    numbers = Numbers()
    numbers.now = {("ridgeline_dead_letters_total", "inventory"): 2}

    (found,) = Reporter("w", 1000, numbers).report(0)

    assert ("inventory", 2) == (found.topic, found.dead_letters)


def test_a_minute_over_the_limit_is_said_once_and_its_end_too() -> None:
    """Six reports are a minute; at the limit is not over it."""
    numbers = Numbers()
    reporter = Reporter("w", 10, numbers)
    with capture_logs() as logs:
        for second, total in ((0, 5), (10, 10), (20, 11), (30, 12), (70, 12), (140, 12)):
            numbers.now = {LETTERS: total}
            reporter.report(second * 1000)

    assert ["too many dead letters", "dead letters are few again"] == [e["event"] for e in logs]
    assert (11, 10, "telemetry.gpu") == (logs[0]["minute"], logs[0]["limit"], logs[0]["topic"])


async def test_reports_wait_while_the_store_is_away() -> None:
    """None is lost and their order stays."""
    numbers, kept, away = Numbers(), list[Event](), [True, True, False]
    done = asyncio.Event()
    numbers.now = {SAMPLES: 1}

    def keep(events: Sequence[Event]) -> None:
        if away.pop(0):
            raise Retry("away")
        kept.extend(events)
        loop.call_soon_threadsafe(done.set)
        away.append(False)

    loop = asyncio.get_running_loop()
    task = asyncio.create_task(
        report_for_ever(Reporter("w", 10, numbers), keep, lambda: None, pause_seconds=0)
    )
    await asyncio.wait_for(done.wait(), 60)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    times = [event.ts for event in kept if isinstance(event, PipelineHealth)]
    assert len(times) >= 3
    assert sorted(times) == times


@pytest.mark.parametrize("limit", [1, 1000])
def test_no_dead_letters_are_no_warning(limit: int) -> None:
    """Silence while all is well."""
    numbers = Numbers()
    numbers.now = {SAMPLES: 1e9, LETTERS: 0}
    reporter = Reporter("w", limit, numbers)

    with capture_logs() as logs:
        for second in range(0, 300, 10):
            reporter.report(second * 1000)

    assert [] == logs

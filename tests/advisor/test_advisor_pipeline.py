"""What the console knows of Ridgeline's own health, asked of the real engine."""

from __future__ import annotations

import time
import uuid

import pytest

from advisor import pipeline
from advisor.facts import Span
from ridgeline.events import CollectorHealth, PipelineHealth
from ridgeline.settings import StoreSettings
from ridgeline.store import Store

NOW = int(time.time() * 1000)  # old rows would be forgotten at once
SPAN = Span(now_ms=NOW, history_ms=900_000, window_ms=10_000, lateness_ms=5000)


@pytest.fixture
def store(store_url: str) -> Store:
    """A migrated store with nothing in it."""
    name = f"pipeline_{uuid.uuid4().hex[:8]}"
    store = Store.connect(StoreSettings(url=store_url, database=name))
    store.migrate()
    return store


def report(worker: str, seconds_ago: int, topic: str = "telemetry.gpu", **given: object) -> object:
    """A report of a worker."""
    values = {"seconds": 10.0, "samples": 500, "devices": 4, "partitions": 2} | given
    return PipelineHealth.model_validate(
        {"worker": worker, "topic": topic, "ts": NOW - seconds_ago * 1000, **values}
    )


def put(store: Store, *events: object) -> None:
    """Store reports."""
    store.insert_events([e for e in events if isinstance(e, PipelineHealth | CollectorHealth)])


def test_workers_add_up_by_their_newest_report(store: Store) -> None:
    """Lag, devices and rate of all; the delay of the slowest; counts of the hour."""
    put(
        store,
        report("a", 15, lag_frames=100, late=3),
        report("a", 5, lag_frames=10, watermark_delay_seconds=6.5, late=1),
        report("b", 5, lag_frames=20, watermark_delay_seconds=9.0, future=2, rebalances=1),
    )

    (topic,) = pipeline.topics(store, SPAN, 1000)

    assert ("telemetry.gpu", 2, 8) == (topic.name, topic.workers, topic.devices)
    assert (30, 9.0, 100.0) == (
        topic.lag_frames,
        topic.watermark_delay_seconds,
        topic.samples_per_second,
    )
    assert (4, 2, 1) == (topic.late, topic.future, topic.rebalances)


def test_a_worker_that_is_gone_leaves_its_counts_only(store: Store) -> None:
    """Its last lag is not the lag now, and nobody knows the lag of a topic without a worker."""
    put(store, report("gone", 300, lag_frames=7, late=3))

    (topic,) = pipeline.topics(store, SPAN, 1000)

    assert (0, 0, None, None, None) == (
        topic.workers,
        topic.devices,
        topic.lag_frames,
        topic.watermark_delay_seconds,
        topic.samples_per_second,
    )
    assert 3 == topic.late


def test_dead_letters_of_the_last_minute_are_held_against_the_limit(store: Store) -> None:
    """Of all workers together; older ones are counted and are no alarm."""
    put(
        store,
        report("a", 600, dead_letters=5000),
        report("a", 5, dead_letters=600),
        report("b", 5, dead_letters=401),
        report("a", 5, topic="inventory", dead_letters=1000),
    )

    gpu, inventory = pipeline.topics(store, SPAN, 1000)

    assert (6001, 1001, True) == (gpu.dead_letters, gpu.dead_letters_minute, gpu.dead_letters_over)
    assert (1000, False) == (inventory.dead_letters_minute, inventory.dead_letters_over)


def test_no_report_is_no_topic(store: Store) -> None:
    """An empty store knows nothing, and says so."""
    assert [] == pipeline.topics(store, SPAN, 1000)
    assert [] == pipeline.collectors(store, SPAN)


def test_a_source_that_is_absent_is_no_failure(store: Store) -> None:
    """A machine without GPUs is well; the newest report of a node counts."""

    def health(host: str, collector: str, ago: int, **given: object) -> CollectorHealth:
        values = {"node": sum(host.encode()), "host": host, "duration_seconds": 0.1, "rows": 1}
        return CollectorHealth.model_validate(
            {**values, "collector": collector, "ts": NOW - ago * 1000, **given}
        )

    put(
        store,
        health("n0", "nvml", 5, success=False, no_data=True, error="no NVIDIA driver"),
        health("n1", "nvml", 5, success=True),
        health("n0", "netdev", 20, success=False, error="old"),
        health("n0", "netdev", 10, success=True),
        health("n1", "netdev", 10, success=False, error="no answer within 5 s"),
    )

    netdev, nvml = pipeline.collectors(store, SPAN)

    assert (1, 1, 0, "no answer within 5 s") == (
        netdev.well,
        netdev.failing,
        netdev.absent,
        netdev.error,
    )
    assert (1, 0, 1, "no NVIDIA driver") == (nvml.well, nvml.failing, nvml.absent, nvml.error)

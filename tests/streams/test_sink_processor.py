"""Sink, processor and watchdog: order of durability, dead letters, back-pressure, stalls."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Sequence

import numpy as np
import pytest

from ridgeline.events import CollectorHealth, DeadLetter, DeviceKind, Event, InventoryItem
from ridgeline.frames import Headers, encode, headers_of, watermark_headers, watermark_of
from ridgeline.schema import GPU, SERVING
from ridgeline.settings import StreamsSettings
from streams.batches import Batch, Message
from streams.partition import Output
from streams.processor import Processor
from streams.sink import Sink
from streams.testing import MemoryStore
from streams.watchdog import Progress

NOW = int(time.time() * 1000) // 10_000 * 10_000


class Bench:
    """A processor over a memory store; remembers what was published and released."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.store = store or MemoryStore()
        self.published: list[Event] = []
        self.released: list[tuple[str, int, int]] = []

        async def publish(events: Sequence[Event]) -> None:
            self.published += events

        def release(topic: str, partition: int, offset: int) -> None:
            self.released.append((topic, partition, offset))

        self.sink = Sink(self.store, publish, release, pause_seconds=0)
        self.marks: list[tuple[str, int, int | None]] = []

        async def append_mark(topic: str, partition: int, headers: Headers) -> None:
            self.marks.append((topic, partition, watermark_of(headers)))

        self.processor = Processor(StreamsSettings(), self.store, self.sink, append_mark)


def gpu_batch(seconds: Sequence[int], first: int = 0, bad: bytes | None = None) -> Batch:
    """One row a message."""
    messages = []
    for number, second in enumerate(seconds):
        row = GPU.empty(1)
        row["ts"], row["device"], row["node"] = NOW - 600_000 + second * 1000, 5, 6
        row["power_watts"] = 100
        messages.append(Message(first + number, headers_of(GPU), None, encode(row, GPU)))
    if bad is not None:
        messages.insert(1, Message(first + len(messages), headers_of(GPU), None, bad))
    return Batch(topic=GPU.topic, partition=2, messages=messages)


async def test_rows_are_durable_before_offsets_move() -> None:
    """Windows, progress, memory, then release; only as far as a replay needs nothing older."""
    bench = Bench(MemoryStore(away_calls=2))
    await bench.processor.take(gpu_batch(range(30)))
    await bench.processor.take(gpu_batch(range(30, 76), 30))
    assert [] == bench.released
    await bench.sink.flush()

    assert 7 == len(bench.store.windows)
    assert {2: NOW - 530_000} == bench.store.progress(GPU.topic)
    assert NOW - 530_000 == bench.store.states[GPU.topic, 2][0]
    assert [(GPU.topic, 2, 29)] == bench.released


async def test_an_unreadable_frame_becomes_a_dead_letter() -> None:
    """With the reason and the bytes; its neighbours count."""
    bench = Bench()
    await bench.processor.take(gpu_batch(range(20), bad=b"poison"))
    await bench.sink.flush()

    (letter,) = (e for e in bench.published if isinstance(e, DeadLetter))
    assert "value length" == letter.field
    assert b"poison" == base64.b64decode(letter.value_base64)
    (row,) = bench.store.windows.values()
    assert 10 == row["samples"]


async def test_a_successor_rolls_up_what_the_dead_worker_left() -> None:
    """Windows that were durable but not yet in the minutes are rolled up after a restart."""
    store = MemoryStore()
    first = Bench(store)
    await first.processor.take(gpu_batch(range(66)))
    await first.sink.flush()
    assert [] == store.rolled
    second = Bench(store)
    await second.processor.take(gpu_batch(range(66)))
    await second.sink.flush()
    assert {} == store.progress("rolled/" + GPU.topic)
    await second.processor.take(gpu_batch(range(66, 77), 66))
    await second.sink.flush()
    await second.sink.roll_up()

    ((family, start, end),) = store.rolled
    assert "gpu" == family
    assert start <= NOW - 600_000
    assert {2: NOW - 530_000} == store.progress("rolled/" + GPU.topic)
    assert NOW - 540_000 <= end


async def test_reports_are_rolled_up_by_minute() -> None:
    """A while after the first came; one clock that is wrong is a span of its own."""
    store, minute = MemoryStore(), 60_000
    sink = Sink(store, _nobody, lambda *_: None)
    health = {"node": 1, "host": "n", "collector": "nvml", "rows": 1, "duration_seconds": 0.1}
    times = (7, 10 * minute, 11 * minute, 11 * minute + 5, 13 * minute - 1)
    sent = tuple(CollectorHealth(ts=ts, success=True, **health) for ts in times)
    sink.put([Output(topic="collector.health", partition=0, events=sent)])
    await sink.flush()

    await sink.roll_up_complete(time.monotonic())
    assert [] == store.rolled
    for _ in range(2):  # what was rolled up is not asked for again
        await sink.roll_up_complete(time.monotonic() + 60)
        assert [("collectors", 0, minute), ("collectors", 10 * minute, 13 * minute)] == store.rolled


async def test_a_minute_is_rolled_up_once_all_its_partitions_have_ended_it() -> None:
    """Not before, not again; the wait is bounded, and nobody waits for a partition far behind."""
    store, minute = MemoryStore(), 60_000
    sink = Sink(store, _nobody, lambda *_: None)

    async def write(partition: int, start_ms: int) -> None:
        rows = np.zeros(1, dtype=GPU.window_dtype)
        rows["device"], rows["window_start"] = partition, start_ms
        output = Output(
            topic=GPU.topic, partition=partition, schema=GPU, rows=rows, end_ms=start_ms + 10_000
        )
        sink.put([output])
        await sink.flush()

    async def spans(after_seconds: float = 0.0) -> list[tuple[int, int]]:
        store.rolled.clear()
        await sink.roll_up_complete(time.monotonic() + after_seconds)
        return [(start, end) for _, start, end in store.rolled]

    await write(0, 10 * minute)
    assert [] == await spans()
    await write(1, 10 * minute)
    await write(0, 11 * minute - 10_000)
    assert [] == await spans()
    await write(1, 11 * minute - 10_000)
    assert [(9 * minute, 11 * minute)] == await spans()
    assert {0: 11 * minute, 1: 11 * minute} == store.progress("rolled/" + GPU.topic)
    await write(0, 11 * minute)
    assert [] == await spans()
    assert [(10 * minute, 11 * minute + 1)] == await spans(after_seconds=60.0)
    assert 11 * minute + 10_000 == store.progress("rolled/" + GPU.topic)[0]
    await write(0, 12 * minute - 10_000)
    await write(1, 11 * minute)
    assert [] == await spans()
    await write(0, 13 * minute - 10_000)
    assert [(10 * minute, 12 * minute)] == await spans()
    assert {0: 12 * minute, 1: 11 * minute + 10_000} == store.progress("rolled/" + GPU.topic)


async def _nobody(_: Sequence[Event]) -> None:
    """Publishes nothing."""


async def test_inventory_is_kept_and_a_tombstone_is_nothing() -> None:
    """JSON topics go to the store; what cannot be read becomes a dead letter."""
    bench = Bench()
    item = InventoryItem(
        device=5, node=6, kind=DeviceKind.GPU, host="n", name="g", index=3, seen_ms=1
    )
    values = (item.to_bytes(), None, b"{}")
    messages = [Message(n, (), None, value) for n, value in enumerate(values)]
    await bench.processor.take(Batch(topic="inventory", partition=0, messages=messages))
    await bench.sink.flush()

    assert "n gpu3" == bench.processor.board.inventory.who(5).subject
    assert [InventoryItem, DeadLetter] == [type(e) for e in bench.store.events]
    assert [("inventory", 0, 2)] == bench.released


async def test_a_batch_in_flight_during_a_rebalance_leaves_no_state() -> None:
    """It waited for room while its partition was revoked: the next owner starts at the commit."""
    bench = Bench()
    bench.sink.room.clear()
    stale = asyncio.create_task(bench.processor.take(gpu_batch(range(30, 50), 30)))
    await asyncio.sleep(0)
    bench.processor.forget([(GPU.topic, 2)])
    bench.sink.room.set()
    await stale
    assert {} == bench.processor.positions
    await bench.processor.take(gpu_batch(range(50)))
    await bench.sink.flush()

    assert 40 == sum(row["samples"] for row in bench.store.windows.values())


async def test_a_silent_partition_is_marked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the idle time, had event time gone on; never while data comes, never twice."""
    bench = Bench()
    await bench.processor.take(gpu_batch(range(26)))
    began, passed = time.monotonic(), [0.0]
    monkeypatch.setattr("streams.silence.time.monotonic", lambda: began + passed[0])
    timeline = bench.processor._partitions[GPU.topic, 2].timeline
    for seconds in (5, 14, 16, 17):
        passed[0] = seconds
        await bench.processor._silence.mark((GPU.topic, 2), timeline)
        assert (seconds > 15) == bool(bench.marks)

    end = NOW - 600_000 + 30_000
    assert [(GPU.topic, 2, end + 5000)] == bench.marks
    mark = Message(26, watermark_headers(end + 5000), None, b"")
    await bench.processor.take(Batch(topic=GPU.topic, partition=2, messages=[mark]))
    assert timeline.closing_ms is None
    await bench.sink.flush()
    assert [10, 10, 6] == [row["samples"] for row in bench.store.windows.values()]


async def test_messages_seen_before_are_skipped() -> None:
    """A seek back by Faust counts nothing twice."""
    bench = Bench()
    for _ in range(2):
        await bench.processor.take(gpu_batch(range(20)))
    await bench.sink.flush()

    (row,) = bench.store.windows.values()
    assert 10 == row["samples"]


async def test_reading_waits_while_the_sink_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """`room` closes past the bound and opens after a flush."""
    monkeypatch.setattr("streams.sink.MOST_PENDING", 0)
    bench = Bench()
    await bench.processor.take(gpu_batch(range(20)))

    assert not bench.sink.room.is_set()
    await bench.sink.flush()
    assert bench.sink.room.is_set()


def test_the_watchdog_knows_a_stall_from_an_idle_topic() -> None:
    """Standing still with messages to read, or a log that got shorter, ends the process."""
    now = [0.0]
    progress = Progress(10, lambda: now[0])
    tp = ("t", 0)

    assert progress.fault({tp: 4}, {tp: 5}, excused=False) is None
    now[0] = 100
    assert progress.fault({tp: 4}, {tp: 9}, excused=False) is None
    now[0] = 105
    assert progress.fault({tp: 4}, {tp: 9}, excused=False) is None
    now[0] = 109
    assert progress.fault({tp: 4}, {tp: 9}, excused=True) is None
    now[0] = 111
    assert progress.fault({tp: 4}, {tp: 9}, excused=False) is None
    now[0] = 130
    assert "no progress" in str(progress.fault({tp: 4}, {tp: 9}, excused=False))
    assert "lost its data" in str(progress.fault({tp: 4}, {tp: 3}, excused=False))


def serving_batch(seconds: Sequence[int], first: int = 0) -> Batch:
    """One row a message, of the GPUs' partition number and clock."""
    messages = []
    for number, second in enumerate(seconds):
        row = SERVING.empty(1)
        row["ts"], row["device"], row["node"] = NOW - 600_000 + second * 1000, 7, 6
        messages.append(Message(first + number, headers_of(SERVING), None, encode(row, SERVING)))
    return Batch(topic=SERVING.topic, partition=2, messages=messages)


async def test_a_topic_waits_for_its_readers_unless_they_rest_or_are_not_here() -> None:
    """Held while GPUs have yet to use what it says; a GPU log read to its end holds nobody."""
    bench, source = Bench(), (SERVING.topic, 2)
    dependencies = bench.processor.dependencies
    await bench.processor.take(serving_batch(range(100)))
    assert set() == dependencies.held  # nobody here needs it

    await bench.processor.take(gpu_batch(range(26)))
    assert {source} == dependencies.held
    await dependencies.mark_missing(1000.0)
    await dependencies.mark_missing(1100.0)
    assert {source} == dependencies.held  # windows of the GPUs are open: their log goes on
    assert [] == bench.marks  # and nobody takes the held for silent

    mark = Message(26, watermark_headers(NOW - 600_000 + 35_000), None, b"")
    await bench.processor.take(Batch(topic=GPU.topic, partition=2, messages=[mark]))
    assert {source} == dependencies.held
    await dependencies.mark_missing(1101.0)
    assert {source} == dependencies.held
    await dependencies.mark_missing(1107.0)
    assert set() == dependencies.held
    await bench.processor.take(serving_batch(range(100, 300), 100))
    assert set() == dependencies.held

    await bench.processor.take(gpu_batch(range(150, 160), 27))
    assert {source} == dependencies.held
    bench.processor.forget([(GPU.topic, 2)])
    assert set() == dependencies.held


async def test_what_nobody_reads_of_other_topics_is_not_kept() -> None:
    """A cluster without GPUs: an hour of LLM servers leaves two minutes of facts."""
    bench = Bench()
    for minute in range(60):
        messages = []
        for second in range(60):
            row = SERVING.empty(1)
            row["ts"], row["device"], row["node"] = NOW + 1000 * (60 * minute + second), 5, 6
            offset = 60 * minute + second
            messages.append(Message(offset, headers_of(SERVING), None, encode(row, SERVING)))
        await bench.processor.take(Batch(topic=SERVING.topic, partition=2, messages=messages))
        await bench.processor.dependencies.mark_missing(60.0 * minute)

    (facts,) = bench.processor.board.facts.values()
    assert len(facts) <= 122

"""Everything the worker does between Faust and the sink, batch by batch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from pydantic import ValidationError

from ridgeline import metrics
from ridgeline.errors import Reject
from ridgeline.events import Event, InventoryItem
from ridgeline.schema import GPU, SERVING
from ridgeline.settings import StreamsSettings
from ridgeline.topics import BY_NAME, TOPICS
from streams.batches import Batch, dead_letter
from streams.dependencies import Dependencies, Hold
from streams.episodes import Policy
from streams.partition import Output, Partition
from streams.recovery import Recovery
from streams.silence import AppendMark, Silence
from streams.sink import Sink, WindowStore
from streams.surroundings import Board
from streams.timeline import Clock

EVENT_TOPICS = ("inventory", "device.events", "collector.health")
INVENTORY_SECONDS = 30.0
FACTS_TICK_SECONDS = 0.5
_TELEMETRY = tuple(t.name for t in TOPICS if t.schema is not None)


def clock_of(settings: StreamsSettings) -> Clock:
    """The times of event time, from settings."""
    return Clock(
        window=settings.window_seconds * 1000,
        hop=settings.hop_seconds * 1000,
        lateness=int(settings.lateness_seconds * 1000),
        future=int(settings.future_seconds * 1000),
        gap=int(settings.counter_gap_seconds * 1000),
        max_devices=settings.max_devices,
        remember=int(settings.remember_seconds * 1000),
        forget=int(settings.forget_seconds * 1000),
    )


class Processor:
    """State of one worker.

    Args:
        settings: Of the stream processor.
        store: Where progress and open episodes are read.
        sink: Where outputs go.
        append_mark: Appends to a partition how far event time has come.
        partition_count: How many partitions a topic has, where that is known.
        hold: Told which partitions are far ahead of what they wait for or is waiting for them.
    """

    def __init__(  # noqa: PLR0917 - wiring
        self,
        settings: StreamsSettings,
        store: WindowStore,
        sink: Sink,
        append_mark: AppendMark,
        partition_count: Callable[[str], int | None] = lambda _: None,
        hold: Hold = lambda *_: None,
    ) -> None:
        def counted(topic: str) -> int:
            return partition_count(topic) or 0

        self._sink, self._counted = sink, counted
        self._opening = asyncio.Lock()
        clock = clock_of(settings)
        policy = Policy(open_after=settings.open_after, close_after=settings.close_after)
        self._partitions: dict[tuple[str, int], Partition] = {}
        self._epoch = 0
        self.board = Board()
        self.positions: dict[tuple[str, int], int] = {}
        self._silence = Silence(append_mark, settings.idle_seconds, clock.lateness)
        self._recovery = Recovery(store, sink, clock, policy, self.board, counted)
        self.dependencies = Dependencies(
            self._partitions,
            self.board,
            clock,
            policy,
            self._silence,
            counted,
            sink.put,
            append_mark,
            hold,
        )

    def forget(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Drop the state of revoked partitions; it is read again from the store."""
        for tp in partitions:
            self._partitions.pop(tp, None)
            self.positions.pop(tp, None)
            self._silence.forget(tp)
            self.dependencies.forget(tp)
            metrics.STREAM_LAG.remove(tp[0], str(tp[1]))
            metrics.STREAM_WATERMARK.remove(tp[0], str(tp[1]))
        self._recovery.forget()
        self._epoch += 1
        self._count_devices()

    async def take(self, batch: Batch) -> None:
        """Process one fetched batch; waits while the sink is full.

        A rebalance meanwhile makes it nobody's: its reader starts again from what is committed.
        """
        epoch, tp = self._epoch, (batch.topic, batch.partition)
        await self._sink.room.wait()
        if epoch != self._epoch:
            return
        rest = batch.after(self.positions.get(tp, -1))
        if rest is None:
            return
        batch = rest
        if batch.topic in EVENT_TOPICS:
            self._sink.put([self._events(batch)])
        else:
            partition = await self._opened(tp, epoch)
            if partition is None:
                return
            now_ms = int(time.time() * 1000)
            self._sink.put(list(partition.take(batch, now_ms)))
            self.dependencies.go_on(tp, partition)
            self._measure(tp, partition, now_ms)
        self.positions[tp] = batch.last_offset
        self._silence.heard(batch)

    async def _opened(self, tp: tuple[str, int], epoch: int) -> Partition | None:
        """The partition, and those of this worker whose facts it needs; None: not ours any more."""
        partition = self._partitions.get(tp)
        if partition is not None:
            return partition
        async with self._opening:
            wanted, fresh = [tp], tp not in self._partitions
            if tp[0] == GPU.topic and self._counted(SERVING.topic) > tp[1]:
                wanted.append((SERVING.topic, tp[1]))
            for one in wanted:
                if one not in self._partitions:
                    made = await self._recovery.partition(one)
                    if epoch != self._epoch:
                        return None
                    self._partitions[one] = made
            if fresh:
                self.dependencies.follow(self._partitions[tp])
        return self._partitions[tp]

    def _measure(self, tp: tuple[str, int], partition: Partition, now_ms: int) -> None:
        _measure_watermark(tp, partition, now_ms)
        self._count_devices()
        totals: dict[str, int] = {}
        for one in self._partitions.values():
            for detector, count in one.open_episodes.items():
                totals[detector] = totals.get(detector, 0) + count
        for detector, count in totals.items():
            metrics.EPISODES_OPEN.labels(detector).set(count)

    def _count_devices(self) -> None:
        devices, partitions = dict.fromkeys(_TELEMETRY, 0), dict.fromkeys(_TELEMETRY, 0)
        for (topic, _), partition in self._partitions.items():
            devices[topic] += partition.timeline.slots.count
            partitions[topic] += 1
        for topic in _TELEMETRY:
            metrics.STREAM_DEVICES.labels(topic).set(devices[topic])
            metrics.STREAM_PARTITIONS.labels(topic).set(partitions[topic])

    def refresh_watermarks(self) -> None:
        """Let the delays follow the clock; a partition in which no row waits has none."""
        for tp, partition in self._partitions.items():
            _measure_watermark(tp, partition, int(time.time() * 1000))

    async def suspect(self, batch: Batch) -> None:
        """Note for the next owner what we die of, if it is in a pane of this batch's partition."""
        partition = self._partitions.get((batch.topic, batch.partition))
        if partition is not None and partition.timeline.at_ms > 0:
            await self._recovery.suspect(batch, partition.timeline.at_ms)

    def _events(self, batch: Batch) -> Output:
        model = BY_NAME[batch.topic].model
        events: list[Event] = []
        for message in batch.messages:
            if message.value is None or model is None:  # a tombstone: nothing to keep
                continue
            try:
                events.append(model.model_validate_json(message.value))
            except ValidationError as error:
                events.append(dead_letter(batch, message, _reject(error)))
        self.board.inventory.load(e for e in events if isinstance(e, InventoryItem))
        return Output(
            topic=batch.topic,
            partition=batch.partition,
            events=tuple(events),
            release=batch.last_offset,
        )

    async def mark_silent(self) -> None:
        """Every second append marks to partitions that have gone silent, for ever."""
        while True:
            await asyncio.sleep(1.0)
            for tp, partition in list(self._partitions.items()):
                if self._sink.room.is_set() and tp not in self.dependencies.held:
                    await self._silence.mark(tp, partition.timeline)

    async def mark_missing(self) -> None:
        """Twice a second see which verdicts have waited long enough for another topic, for ever."""
        while True:
            await asyncio.sleep(FACTS_TICK_SECONDS)
            await self.dependencies.mark_missing(time.monotonic())

    async def refresh_inventory(self) -> None:
        """Read the inventory from the store now and then: another worker may consume it."""
        while True:
            await asyncio.sleep(INVENTORY_SECONDS)
            for topic in {topic for topic, _ in self._partitions}:
                mine = (p for (t, _), p in self._partitions.items() if t == topic)
                metrics.STREAM_STATE_BYTES.labels(topic).set(sum(p.state_bytes for p in mine))
            await self._recovery.introduce()


def _measure_watermark(tp: tuple[str, int], partition: Partition, now_ms: int) -> None:
    timeline, labels = partition.timeline, (tp[0], str(tp[1]))
    if timeline.closing_ms is None or timeline.watermark_ms < 0:
        metrics.STREAM_WATERMARK.remove(*labels)
    else:
        metrics.STREAM_WATERMARK.labels(*labels).set((now_ms - timeline.watermark_ms) / 1000)


def _reject(error: ValidationError) -> Reject:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or "value"
    return Reject(field.split(".", 1)[0], str(first.get("input"))[:200], first["msg"])

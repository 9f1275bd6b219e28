"""Everything the worker does between Faust and the sink: partitions, inventory, silence."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import TypeVar

import structlog
from aiokafka.errors import KafkaError
from pydantic import ValidationError

from ridgeline import metrics
from ridgeline.errors import Reject, Retry
from ridgeline.events import Detection, Event, InventoryItem
from ridgeline.frames import Headers, facts_headers, watermark_headers
from ridgeline.kafka import with_backoff
from ridgeline.schema import FACILITY, GPU, SERVING
from ridgeline.settings import StreamsSettings
from ridgeline.topics import BY_NAME, TOPICS
from streams.batches import Batch, dead_letter
from streams.episodes import Policy
from streams.facts import Facts, Source
from streams.followed import Followed, Patience
from streams.judge import Stored
from streams.partition import Output, Partition
from streams.sink import MINUTE_MS, ROLLED, Sink, WindowStore
from streams.slots import NEVER
from streams.surroundings import Board
from streams.suspects import SUSPECT
from streams.timeline import Clock, Timeline

log = structlog.get_logger()
T = TypeVar("T")
EVENT_TOPICS = ("inventory", "device.events", "collector.health")
INVENTORY_SECONDS = 30.0
CATCH_UP_MS = 600_000
FIRST = "first/"
"""Before a topic's name in the progress table: its partitions when it was first read."""
AHEAD_MS = 60_000
"""How much event time may be read that waits for other topics, before we stop to read more."""
FACTS_TICK_SECONDS = 0.5
AppendMark = Callable[[str, int, Headers], Awaitable[None]]
"""Appends a message without rows to a topic's partition."""
Hold = Callable[[str, int, bool], None]
"""Whether to read no more of a topic's partition for now."""
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
        hold: Told which partitions are far ahead of what their verdicts wait for.
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
        self._settings, self._store, self._sink = settings, store, sink
        self._append_mark, self._partition_count = append_mark, partition_count
        self._hold, self._held = hold, set[tuple[str, int]]()
        self._followed: dict[Source, Followed] = {}
        self._patience: dict[Source, Patience] = {}
        self._opening = asyncio.Lock()
        self._marked: dict[tuple[str, int], int] = {}
        self._clock = clock_of(settings)
        self._policy = Policy(open_after=settings.open_after, close_after=settings.close_after)
        self._partitions: dict[tuple[str, int], Partition] = {}
        self._active: dict[tuple[str, int], float] = {}
        self._introduced = False
        self._epoch = 0
        self.board = Board()
        self.positions: dict[tuple[str, int], int] = {}

    def forget(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Drop the state of revoked partitions; it is read again from the store."""
        for tp in partitions:
            self._partitions.pop(tp, None)
            self._active.pop(tp, None)
            self._marked.pop(tp, None)
            self.positions.pop(tp, None)
            self._drop_facts(tp)
            self._held.discard(tp)
            self._hold(*tp, False)
            metrics.STREAM_LAG.remove(tp[0], str(tp[1]))
            metrics.STREAM_WATERMARK.remove(tp[0], str(tp[1]))
        self._introduced = False
        self._epoch += 1
        self._count_devices()

    def _drop_facts(self, tp: tuple[str, int]) -> None:
        if tp[0] == SERVING.topic:
            for known in (self._followed, self._patience, self.board.facts):
                known.pop(tp, None)
        if tp[0] == GPU.topic:
            self.board.judged(tp[1], None)

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
            self._go_on(tp, partition)
            self._measure(tp, partition, now_ms)
        self.positions[tp] = batch.last_offset
        if any(message.value for message in batch.messages):
            self._active[tp] = time.monotonic()

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
                    made = await self._partition(one)
                    if epoch != self._epoch:
                        return None
                    self._partitions[one] = made
            if fresh:
                self._follow(self._partitions[tp])
        return self._partitions[tp]

    def _counted(self, topic: str) -> int:
        return self._partition_count(topic) or 0

    def _follow(self, partition: Partition) -> None:
        """See to it that what the partition needs is known from where it goes on."""
        if not partition.needs:
            return
        for source, facts in self._coolers():
            if facts is None or facts.from_ms > partition.remembered_ms:
                self.board.facts[source] = self._start(source, partition)
        source = (SERVING.topic, partition.number)
        mine = self._partitions.get(source)
        if mine is None or mine.facts is None or mine.facts.from_ms <= partition.remembered_ms:
            return
        mine.facts.since_ms = mine.facts.from_ms
        mine.facts.before = self._start(source, partition)

    def _coolers(self) -> Iterator[tuple[Source, Facts | None]]:
        for number in range(self._counted(FACILITY.topic)):
            source = (FACILITY.topic, number)
            yield source, self.board.facts.get(source)

    def _start(self, source: Source, reader: Partition) -> Facts:
        """Read a source from where the reader needs it."""
        topic, number = source
        followed = Followed(
            SERVING if topic == SERVING.topic else FACILITY,
            number,
            self._clock,
            self._policy,
            self.board,
            Facts(),
            reader.snapshots.get(source),
        )
        self._followed[source] = followed
        return followed.facts

    @property
    def followed(self) -> Mapping[Source, Followed]:
        """What is to be read beside what the group gave us."""
        return self._followed

    def hear(self, batch: Batch) -> None:
        """Take a batch of what is read beside."""
        source = (batch.topic, batch.partition)
        followed = self._followed.get(source)
        if followed is None or (rest := batch.after(followed.offset - 1)) is None:
            return
        followed.take(rest, int(time.time() * 1000))
        if any(message.value for message in rest.messages):
            self._active[source] = time.monotonic()
        mine = self.board.facts.get(source)
        taken_over = mine is not None and mine.before is followed.facts
        if taken_over and mine is not None and followed.facts.until_ms >= mine.since_ms:
            del self._followed[source]  # from here on our own partition says it
        self._go_on_all()

    def _go_on_all(self) -> None:
        for tp, partition in [*self._partitions.items()]:
            if partition.needs:
                self._proceed(tp, partition)

    def _go_on(self, tp: tuple[str, int], partition: Partition) -> None:
        """Judge what waited for this partition; read no further ahead than memory allows."""
        if partition.facts is not None:
            for other, waiting in [*self._partitions.items()]:
                if tp[0] in waiting.needs and other[1] == tp[1]:
                    self._proceed(other, waiting)
        self._hold_back(tp, partition)

    def _proceed(self, tp: tuple[str, int], partition: Partition) -> None:
        self._sink.put(list(partition.proceed()))
        self._hold_back(tp, partition)

    def _hold_back(self, tp: tuple[str, int], partition: Partition) -> None:
        ahead = partition.timeline.complete_ms - partition.ready_ms > AHEAD_MS
        if ahead != (tp in self._held):
            (self._held.add if ahead else self._held.discard)(tp)
            self._hold(*tp, ahead)

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

    async def _partition(self, tp: tuple[str, int]) -> Partition:
        topic, number = tp
        schema = BY_NAME[topic].schema
        if schema is None:
            raise Reject("topic", topic, "carries no frames")
        progress = await self._ask(lambda: self._store.progress(topic))
        durable_ms = progress.get(number)
        born = await self._born(topic, number)
        # episodes of nodes that moved here end in their old partition, by silence
        stored = {} if born else await self._ask(lambda: self._episodes(durable_ms or 0))
        if not self._introduced:
            self.board.inventory.load(await self._ask(self._inventory))
            self._introduced = True
        if durable_ms is not None:  # whoever wrote these may have died before rolling them up
            rolled = await self._ask(lambda: self._store.progress(ROLLED + topic))
            start_ms = rolled.get(number, durable_ms - CATCH_UP_MS)
            self._sink.touch(schema, min(start_ms, durable_ms - MINUTE_MS), durable_ms)
        facts = None
        if schema is SERVING:
            facts = self.board.facts[tp] = Facts()
        return Partition(
            schema,
            number,
            self._clock,
            self._policy,
            self.board,
            stored,
            durable_ms,
            await self._ask(lambda: self._store.state(topic, number)),
            (await self._ask(lambda: self._store.progress(SUSPECT + topic))).get(number),
            born=born,
            facts=facts,
        )

    async def _born(self, topic: str, number: int) -> bool:
        """Whether the partition was added to its topic after the others had been written to."""
        name = FIRST + topic
        first = await self._ask(lambda: self._store.progress(name))
        if first:
            return number >= max(len(first), *first.values())
        # one row: of a count written in pieces a death would leave the rest to be born later
        count = max(number + 1, self._counted(topic))
        await self._ask(lambda: self._store.save_progress(name, 0, count))
        return False

    async def suspect(self, batch: Batch) -> None:
        """Note for the next owner what we die of, if it is in a pane of this batch's partition."""
        partition = self._partitions.get((batch.topic, batch.partition))
        if partition is not None and partition.timeline.at_ms > 0:
            name, end_ms = SUSPECT + batch.topic, partition.timeline.at_ms
            await self._ask(lambda: self._store.save_progress(name, batch.partition, end_ms))

    async def _ask(self, call: Callable[[], T]) -> T:
        return await with_backoff("store", lambda: asyncio.to_thread(call), (Retry, OSError))

    def _episodes(self, durable_ms: int) -> Stored:
        """Open ones, and those that were said after progress had last been saved."""
        out: Stored = {}
        sql = (
            "SELECT body FROM detections WHERE state != 'closed'"
            " OR updated > fromUnixTimestamp64Milli({durable:Int64}, 'UTC')"
        )
        for row in self._store.query(sql, {"durable": durable_ms}):
            found = Detection.model_validate_json(row["body"])
            out.setdefault((found.detector, found.condition), {})[found.device] = found
        return out

    def _inventory(self) -> list[InventoryItem]:
        rows = self._store.query(
            "SELECT body FROM inventory"
            " WHERE seen >= (SELECT max(seen) FROM inventory) - INTERVAL 1 DAY"
        )
        return [InventoryItem.model_validate_json(row["body"]) for row in rows]

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
                await self._mark_when_silent(tp, partition.timeline)

    async def _mark_when_silent(self, tp: tuple[str, int], timeline: Timeline) -> None:
        """End the windows that would have ended, had event time gone on during the silence."""
        mark_ms = timeline.closing_ms
        if mark_ms is None or self._marked.get(tp) == mark_ms or not self._sink.room.is_set():
            return
        silent = time.monotonic() - self._active.get(tp, time.monotonic())
        waited_ms = (silent - self._settings.idle_seconds) * 1000
        if waited_ms > 0 and timeline.newest_ms + waited_ms >= mark_ms - self._clock.lateness:
            try:
                await self._append_mark(*tp, watermark_headers(mark_ms))
            except (KafkaError, OSError) as error:
                log.warning("cannot mark a silent partition", topic=tp[0], error=str(error))
            else:
                self._marked[tp] = mark_ms

    async def mark_missing(self) -> None:
        """Twice a second see which verdicts have waited long enough for another topic, for ever."""
        while True:
            await asyncio.sleep(FACTS_TICK_SECONDS)
            await self._mark_missing(time.monotonic())

    async def _mark_missing(self, now: float) -> None:
        readers = [p for p in self._partitions.values() if p.needs]
        self.board.trim({p.number for p in readers})
        reader = next(iter(readers), None)
        for source, known in self._coolers():
            if known is None and reader is not None:  # a partition was added
                self.board.facts[source] = self._start(source, reader)
        for source, wanted_ms in self._wanted().items():
            patience = self._patience.setdefault(source, Patience(now))
            facts = self.board.facts[source]
            silent = now - self._active.get(source, patience.since)
            if patience.is_over(now, silent):
                log.warning("verdicts go on without another topic", topic=source[0])
                metrics.STREAM_FACTS_MISSED.labels(source[0]).inc()
                facts.give_up(wanted_ms)
                self._go_on_all()
            until_ms = patience.mark(now, silent, wanted_ms, facts.complete_ms)
            if until_ms is None:
                continue
            try:
                await self._append_mark(*source, facts_headers(until_ms))
            except (KafkaError, OSError) as error:
                log.warning("cannot say who is silent", topic=source[0], error=str(error))
            else:
                metrics.STREAM_FACTS_MISSED.labels(source[0]).inc()

    def _wanted(self) -> dict[Source, int]:
        """Up to when the facts of each source are wanted by what has been read."""
        out: dict[Source, int] = {}
        for partition in self._partitions.values():
            if partition.timeline.closing_ms is None:
                continue
            for source, _ in self.board.sources(partition.needs, partition.number):
                out[source] = max(out.get(source, NEVER), partition.timeline.complete_ms)
        return out

    async def refresh_inventory(self) -> None:
        """Read the inventory from the store now and then: another worker may consume it."""
        while True:
            await asyncio.sleep(INVENTORY_SECONDS)
            for topic in {topic for topic, _ in self._partitions}:
                mine = (p for (t, _), p in self._partitions.items() if t == topic)
                metrics.STREAM_STATE_BYTES.labels(topic).set(sum(p.state_bytes for p in mine))
            self.board.inventory.load(await self._ask(self._inventory))


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

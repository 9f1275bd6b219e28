"""Partitions read only for what they say to others: no window, no detection comes of them.

Cooling units are in any partition of their topic, so every worker reads all of it, outside of the
consumer group. LLM servers are read a second time for as long as a worker that took over needs to
know what they said before their own partition goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from ridgeline.kafka import METADATA_MS, with_backoff
from ridgeline.schema import Schema
from streams.batches import Batch
from streams.episodes import Policy
from streams.facts import Facts, Snapshot, Source
from streams.partition import Partition
from streams.records import records_of, whole_batches
from streams.slots import NEVER
from streams.surroundings import Board
from streams.timeline import Clock

log = structlog.get_logger()
POLL_MS = 100
PATIENCE_SECONDS = 1.5
SLEEPS_SECONDS = 30.0
GIVE_UP_SECONDS = 60.0
STRIDE_MS = 10_000
BESIDE = " (beside)"
"""After a topic's name where its rows are read again: they are not to be counted twice."""


class _Beside(Schema):
    """A family whose metrics are not those of its topic."""

    @property
    def topic(self) -> str:
        return f"{super().topic}{BESIDE}"


class Followed:
    """One partition that is read beside.

    Args:
        schema: Family of the rows.
        number: Of the partition.
        clock: Times of event time.
        policy: When episodes open and close; baselines stand still meanwhile.
        board: For the inventory.
        facts: Where to say it.
        snapshot: Where to go on; None: from the beginning of the log.
    """

    def __init__(  # noqa: PLR0917 - value-like
        self,
        schema: Schema,
        number: int,
        clock: Clock,
        policy: Policy,
        board: Board,
        facts: Facts,
        snapshot: Snapshot | None,
    ) -> None:
        self.facts, self._begun = facts, False
        self.offset = 0 if snapshot is None else snapshot.offset + 1
        beside = _Beside(**{f.name: getattr(schema, f.name) for f in fields(schema)})
        memory = None if snapshot is None else (snapshot.at_ms, snapshot.memory)
        if snapshot is not None:
            facts.snapshots.append(snapshot)
        self._topic = beside.topic
        self._partition = Partition(
            beside, number, clock, policy, board, None, memory=memory, facts=facts
        )

    def begin(self, end: int) -> None:
        """Told the log's end before the first batch: a log that was lost is read as it is now."""
        if not self._begun and self.offset > end:
            self.offset = 0
        self._begun = True

    def take(self, batch: Batch, now_ms: int) -> None:
        """Take a batch."""
        beside = Batch(topic=self._topic, partition=batch.partition, messages=batch.messages)
        for _ in self._partition.take(beside, now_ms):
            pass
        self.offset = batch.last_offset + 1


@dataclass(slots=True)
class Patience:
    """How long verdicts wait for a source: never long, and not at all for one that sleeps.

    Args:
        since: When we began to wait, seconds of a monotonic clock.
    """

    since: float
    marked_ms: int = NEVER
    unread_since: float | None = None

    def mark(self, now: float, silent: float, wanted_ms: int, complete_ms: int) -> int | None:
        """Up to when verdicts should go on without it, to be written into its log; None: wait.

        Args:
            now: Seconds of the same clock.
            silent: Seconds since it last said anything.
            wanted_ms: How far its readers are.
            complete_ms: How far it is known.
        """
        silent = min(silent, now - self.since)
        sleeps = silent >= SLEEPS_SECONDS
        known = max(complete_ms, self.marked_ms)
        if complete_ms >= self.marked_ms:
            self.unread_since = None
        if silent < PATIENCE_SECONDS or wanted_ms + (STRIDE_MS // 2 if sleeps else 0) <= known:
            return None
        self.marked_ms = wanted_ms + (STRIDE_MS if sleeps else 0)
        self.unread_since = now if self.unread_since is None else self.unread_since
        return self.marked_ms

    def is_over(self, now: float, silent: float) -> bool:
        """Whether we have long not read back what we wrote: then nobody reads it for us."""
        written = self.unread_since is not None and now - self.unread_since > GIVE_UP_SECONDS
        return written and silent > GIVE_UP_SECONDS


async def follow(
    servers: str,
    wanted: Callable[[], Mapping[Source, Followed]],
    paused: Callable[[], Collection[Source]],
    hear: Callable[[Batch], None],
) -> None:
    """Read what is wanted and not paused, from where it is, for ever."""
    whole_batches()
    while True:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=servers,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=POLL_MS,
            metadata_max_age_ms=METADATA_MS,
        )
        try:
            await with_backoff("kafka", consumer.start)
            await _follow(consumer, wanted, paused, hear)
        except (KafkaError, OSError) as error:
            log.warning("reading beside is interrupted", error=str(error))
            await asyncio.sleep(1.0)
        finally:
            await consumer.stop()


async def _follow(
    consumer: AIOKafkaConsumer,
    wanted: Callable[[], Mapping[Source, Followed]],
    paused: Callable[[], Collection[Source]],
    hear: Callable[[Batch], None],
) -> None:
    at: dict[Source, int] = {}
    while True:
        if {source: followed.offset for source, followed in wanted().items()} != at:
            at = await _assign(consumer, wanted())
        if not at:
            await asyncio.sleep(POLL_MS / 1000)
            continue
        tps = consumer.assignment()
        still = {tp for tp in tps if (tp.topic, tp.partition) in paused()}
        consumer.pause(*still)
        consumer.resume(*(tps - still))
        found = await consumer.getmany(timeout_ms=POLL_MS)
        for tp, some in found.items():
            records = records_of(some)
            hear(Batch(topic=tp.topic, partition=tp.partition, messages=records))
            at[tp.topic, tp.partition] = records[-1].offset + 1


async def _assign(
    consumer: AIOKafkaConsumer, wanted: Mapping[Source, Followed]
) -> dict[Source, int]:
    tps = {source: TopicPartition(*source) for source in wanted}
    ends = await consumer.end_offsets(list(tps.values())) if tps else {}
    consumer.assign(list(tps.values()))
    for source, followed in wanted.items():
        followed.begin(ends[tps[source]])
        consumer.seek(tps[source], followed.offset)
    return {source: followed.offset for source, followed in wanted.items()}

"""What a consumer group has not committed, taken from a broker and put into the next one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaTimeoutError

from ridgeline.frames import watermark_headers
from ridgeline.kafka import producer
from ridgeline.settings import KafkaSettings

_QUIET_POLLS = 6  # of half a second, then another mark
_MOST_QUIET_POLLS = 120
_MARK = "carry-end"

Record = Any
"""An aiokafka ConsumerRecord; the library has no types."""


async def unread(settings: KafkaSettings, group: str, topics: Iterable[str]) -> list[Record]:
    """Every message behind the group's committed offsets, in order within each partition.

    Raises:
        KafkaError: the broker is away or does not hand out what it has.
    """
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.servers, enable_auto_commit=False)
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.servers)
    async with consumer:
        known = await consumer.topics()
        partitions = [
            TopicPartition(topic, number)
            for topic in topics
            if topic in known
            for number in consumer.partitions_for_topic(topic) or ()
        ]
        await admin.start()
        try:
            committed = await admin.list_consumer_group_offsets(group, partitions=partitions)
        finally:
            await admin.close()
        ends = await _mark(settings, partitions)
        consumer.assign(partitions)
        for partition in partitions:
            meta = committed.get(partition)
            start = meta.offset if meta is not None and meta.offset >= 0 else 0
            consumer.seek(partition, start)
        return await _read_to(consumer, ends, lambda missing: _mark(settings, missing))


async def _mark(
    settings: KafkaSettings, partitions: Iterable[TopicPartition]
) -> dict[TopicPartition, int]:
    """Append a mark to each partition; the offsets they got, which are where reading ends.

    The embedded broker cannot be asked: its end offsets miss part of the last batch, and what was
    written last may stay hidden from readers until something more is written. A stream processor
    takes such a mark for one that says nothing new.
    """
    headers = [*watermark_headers(0), (_MARK, b"")]
    async with producer(settings) as out:
        sends = {
            tp: await out.send(
                tp.topic, key=_MARK.encode(), partition=tp.partition, headers=headers
            )
            for tp in partitions
        }
        return {tp: (await acknowledged).offset for tp, acknowledged in sends.items()}


async def _read_to(
    consumer: AIOKafkaConsumer,
    ends: Mapping[TopicPartition, int],
    mark_again: Callable[[set[TopicPartition]], Awaitable[object]],
) -> list[Record]:
    out: list[Record] = []
    missing, quiet = set(ends), 0
    while missing:
        batches = await consumer.getmany(timeout_ms=500)
        quiet = 0 if batches else quiet + 1
        if quiet == _MOST_QUIET_POLLS:
            raise KafkaTimeoutError(f"the broker hides the end of {len(missing)} partitions")
        if quiet % _QUIET_POLLS == _QUIET_POLLS - 1:
            await mark_again(missing)
        for tp, records in batches.items():
            out += [r for r in records if r.offset < ends[tp] and not _is_mark(r)]
            if records[-1].offset >= ends[tp]:
                missing.discard(tp)
    return out


def _is_mark(record: Record) -> bool:
    return any(name == _MARK for name, _ in record.headers)


async def put(settings: KafkaSettings, records: Sequence[Record]) -> None:
    """Send records as they were: partition, key, headers, time.

    Raises:
        KafkaError: the broker is away.
    """
    async with producer(settings) as out:
        for record in records:
            await out.send(
                record.topic,
                value=record.value,
                key=record.key,
                partition=record.partition,
                timestamp_ms=record.timestamp,
                headers=list(record.headers),
            )
        await out.flush()

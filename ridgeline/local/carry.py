"""What a consumer group has not committed, taken from a broker and put into the next one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from ridgeline.kafka import producer
from ridgeline.settings import KafkaSettings

_QUIET_POLLS = 3

Record = Any
"""An aiokafka ConsumerRecord; the library has no types."""


async def unread(settings: KafkaSettings, group: str, topics: Iterable[str]) -> list[Record]:
    """Every message behind the group's committed offsets, in order within each partition.

    Raises:
        KafkaError: the broker is away.
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
        consumer.assign(partitions)
        for partition in partitions:
            meta = committed.get(partition)
            start = meta.offset if meta is not None and meta.offset >= 0 else 0
            consumer.seek(partition, start)
        return await _read_all(consumer)


async def _read_all(consumer: AIOKafkaConsumer) -> list[Record]:
    """Read until nothing comes.

    The embedded broker's end offsets miss all but the first message of its last batch, so they
    cannot say where the end is.
    """
    out: list[Record] = []
    quiet = 0
    while quiet < _QUIET_POLLS:
        batches = await consumer.getmany(timeout_ms=500)
        for records in batches.values():
            out.extend(records)
        quiet = 0 if batches else quiet + 1
    return out


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

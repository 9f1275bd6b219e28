"""What a consumer group has not committed, taken from a broker and put into the next one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from ridgeline.kafka import producer
from ridgeline.settings import KafkaSettings

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
        ends = await consumer.end_offsets(partitions)
        consumer.assign(partitions)
        left: dict[TopicPartition, int] = {}
        for partition, end in ends.items():
            meta = committed.get(partition)
            start = meta.offset if meta is not None and meta.offset >= 0 else 0
            if start < end:
                left[partition] = end
                consumer.seek(partition, start)
            else:
                consumer.pause(partition)
        return await _read(consumer, left)


async def _read(consumer: AIOKafkaConsumer, left: dict[TopicPartition, int]) -> list[Record]:
    """Read each partition up to its end; `left` says where that is."""
    out: list[Record] = []
    while left:
        batches = await consumer.getmany(timeout_ms=500)
        for partition, records in batches.items():
            out.extend(record for record in records if record.offset < left.get(partition, 0))
        for partition in list(left):
            if await consumer.position(partition) >= left[partition]:
                del left[partition]
                consumer.pause(partition)
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

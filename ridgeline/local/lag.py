"""How far a consumer group is behind, per partition."""

from __future__ import annotations

from collections.abc import Iterable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient


async def group_lag(
    servers: str, group: str, topics: Iterable[str]
) -> dict[tuple[str, int], int | None]:
    """Messages behind the high-water mark; None: there are messages and nothing is committed.

    Raises:
        KafkaError: the broker is away.
    """
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, enable_auto_commit=False)
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    async with consumer:
        known = await consumer.topics()
        partitions = [
            TopicPartition(topic, number)
            for topic in topics
            if topic in known
            for number in consumer.partitions_for_topic(topic) or ()
        ]
        ends = await consumer.end_offsets(partitions)
        await admin.start()
        try:
            committed = await admin.list_consumer_group_offsets(group, partitions=partitions)
        finally:
            await admin.close()
    lag: dict[tuple[str, int], int | None] = {}
    for partition, end in ends.items():
        meta = committed.get(partition)
        done = meta.offset if meta is not None and meta.offset >= 0 else None
        # the embedded broker's end offset lags behind within its last batch
        behind = None if done is None and end > 0 else max(0, end - (done or 0))
        lag[partition.topic, partition.partition] = behind
    return lag

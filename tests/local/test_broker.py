"""The embedded broker against the Kafka client every service uses."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, TopicPartition

from ridgeline.kafka import ensure_topics, producer
from ridgeline.local import broker
from ridgeline.settings import KafkaSettings
from ridgeline.topics import BY_NAME


async def test_topics_and_a_message(kafka_servers: str) -> None:
    """Topics are made, and what an idempotent producer sends comes back."""
    settings = KafkaSettings(servers=kafka_servers)
    await ensure_topics(settings)
    await ensure_topics(settings)
    async with producer(settings) as out:
        sent = await out.send_and_wait("device.events", b"hello", key=b"k")
    async with AIOKafkaConsumer(bootstrap_servers=kafka_servers) as consumer:
        assert set(BY_NAME) <= set(await consumer.topics())
        partition = TopicPartition("device.events", sent.partition)
        consumer.assign([partition])
        consumer.seek(partition, sent.offset)  # the broker is shared: others wrote here before
        got = await consumer.getone()
    assert (got.value, got.offset) == (b"hello", sent.offset)


async def test_apache_kafka(apache_kafka_servers: str) -> None:
    """Apache Kafka takes our topics with their settings and idempotent producers."""
    settings = KafkaSettings(servers=apache_kafka_servers, idempotent=True)
    await ensure_topics(settings)
    async with producer(settings) as out:
        sent = await out.send_and_wait("detections", b"hello", key=b"k")
    assert sent.offset == 0


async def test_absent_broker_does_not_answer() -> None:
    """A port without a broker is told from one with a broker."""
    assert not await broker.answers_async(f"127.0.0.1:{broker.free_port()}")

"""Carrying over: exactly what the group had not committed, as it was."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from ridgeline.kafka import ensure_topics, producer
from ridgeline.local import carry
from ridgeline.settings import KafkaSettings
from ridgeline.topics import BY_NAME

TOPIC = "telemetry.serving"


async def test_only_what_is_not_committed_is_carried(kafka_servers: str) -> None:
    """One partition committed half way, one never: 6 and 3 messages, with keys and headers."""
    settings = KafkaSettings(servers=kafka_servers, idempotent=False)
    await ensure_topics(settings, [BY_NAME[TOPIC]])
    async with producer(settings) as out:
        for partition, count in ((0, 10), (1, 3)):
            for number in range(count):
                await out.send_and_wait(
                    TOPIC,
                    value=b"%d" % number,
                    key=b"k",
                    partition=partition,
                    timestamp_ms=1000 + number,
                    headers=[("schema", b"serving/2")],
                )
    reader = AIOKafkaConsumer(
        bootstrap_servers=kafka_servers, group_id="carry-test", enable_auto_commit=False
    )
    async with reader:
        half = TopicPartition(TOPIC, 0)
        reader.assign([half])
        await reader.commit({half: OffsetAndMetadata(4, "")})

    found = await carry.unread(settings, "carry-test", [TOPIC, "no.such.topic"])
    await carry.put(settings, found)
    again = await carry.unread(settings, "carry-test", [TOPIC])

    def shown(records: list[carry.Record], partition: int) -> list[tuple[bytes, int]]:
        return [(r.value, r.timestamp) for r in records if r.partition == partition]

    assert shown(found, 0) == [(b"%d" % n, 1000 + n) for n in range(4, 10)]
    assert shown(found, 1) == [(b"%d" % n, 1000 + n) for n in range(3)]
    assert {(r.key, tuple(r.headers)) for r in found} == {(b"k", (("schema", b"serving/2"),))}
    assert shown(again, 1) == shown(found, 1) * 2

"""The Faust app: one agent a topic, each handing batches to the processor. A thin shell."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Any

import faust
import structlog
from faust.types import TP

from ridgeline import metrics
from ridgeline.kafka import METADATA_MS
from ridgeline.settings import KafkaSettings, StreamsSettings
from ridgeline.topics import BY_NAME, TOPICS
from streams.batches import Batch
from streams.processor import EVENT_TOPICS, Processor
from streams.transport import BatchTransport

log = structlog.get_logger()
FETCH_BYTES = 4 * 1024 * 1024  # of one partition; larger fetches are fewer, each costs the same
CONSUMED = tuple(t.name for t in TOPICS if t.schema is not None or t.name in EVENT_TOPICS)


def make_app(settings: StreamsSettings, kafka: KafkaSettings) -> Any:
    """A Faust app without web server, tables, leader election or topic creation."""
    app = faust.App(
        settings.app_id,
        broker=[f"kafka://{server.strip()}" for server in kafka.servers.split(",")],
        store="memory://",
        datadir=str(settings.data_dir),
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        topic_partitions=kafka.partitions,
        consumer_group_instance_id=instance_of(settings),
        consumer_auto_offset_reset="earliest",
        consumer_metadata_max_age_ms=METADATA_MS,
        broker_commit_interval=1.0,
        broker_max_poll_interval=90.0,
        consumer_max_fetch_size=FETCH_BYTES,
        broker_session_timeout=settings.session_seconds,
        broker_heartbeat_interval=3.0,
        stream_buffer_maxsize=8,
        stream_wait_empty=False,
        stream_recovery_delay=0.0,
    )
    app.transport = BatchTransport(app.conf.broker_consumer, app)
    return app


def attach(app: Any, processor: Processor, broken: Callable[[str], None]) -> None:
    """Give the app its agents and have it tell the processor what partitions it has."""
    for name in CONSUMED:
        topic = app.topic(
            name, key_serializer="raw", value_serializer="raw", partitions=BY_NAME[name].partitions
        )
        app.agent(topic, name=f"read.{name}", concurrency=1)(_reader(app, processor, broken))

    async def revoked(_: Any, gone: set[TP], **__: Any) -> None:
        for topic in {tp.topic for tp in gone}:
            metrics.STREAM_REBALANCES.labels(topic).inc()
        processor.forget((tp.topic, tp.partition) for tp in gone)

    app.on_partitions_revoked.connect(revoked, weak=False)


def _reader(
    app: Any, processor: Processor, broken: Callable[[str], None]
) -> Callable[[Any], Awaitable[None]]:
    async def read(stream: Any) -> None:
        async for event in stream.events():
            message = event.message
            if message.generation_id != app.consumer_generation_id:
                continue  # fetched before a rebalance: whoever owns it now reads it again
            batch: Batch = event.value
            try:
                await processor.take(batch)
            except Exception as error:
                log.exception("a batch cannot be processed", topic=batch.topic)
                await processor.suspect(batch)
                broken(f"{batch.topic}/{batch.partition} offset {batch.last_offset}: {error!r}")
                return

    return read


def instance_of(settings: StreamsSettings) -> str:
    """Static member id of this worker."""
    return settings.instance or socket.gethostname()

"""Kafka as every service uses it: producers, topic creation, waiting with back-off."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from ridgeline.settings import KafkaSettings
from ridgeline.topics import TOPICS, Topic

log = structlog.get_logger()
T = TypeVar("T")
METADATA_MS = 10_000
"""How soon a client notices a topic or a partition that is new; aiokafka's own is five minutes."""
_ALREADY_EXISTS = 36  # Kafka protocol error code TOPIC_ALREADY_EXISTS


def producer(settings: KafkaSettings, **options: Any) -> AIOKafkaProducer:
    """A producer that loses nothing; with idempotence a retried send is also never double."""
    compression = None if settings.compression == "none" else settings.compression
    defaults: dict[str, Any] = {
        "bootstrap_servers": settings.servers,
        "acks": "all",
        "enable_idempotence": settings.idempotent,
        "compression_type": compression,
        "linger_ms": 20,
        "metadata_max_age_ms": METADATA_MS,
        "max_batch_size": 256 * 1024,
        "max_request_size": 4 * 1024 * 1024,
    }
    return AIOKafkaProducer(**(defaults | options))


async def with_backoff(
    what: str,
    call: Callable[[], Awaitable[T]],
    retry_on: tuple[type[BaseException], ...] = (KafkaError, OSError),
    longest_seconds: float = 10.0,
) -> T:
    """Call until it works, waiting 0.2 s, 0.4 s ... `longest_seconds` (jittered) between tries."""
    wait = 0.2
    while True:
        try:
            return await call()
        except retry_on as error:
            log.warning("waiting for a dependency", what=what, error=str(error), seconds=wait)
        await asyncio.sleep(wait * random.uniform(0.5, 1.0))
        wait = min(wait * 2, longest_seconds)


async def ensure_topics(settings: KafkaSettings, topics: Iterable[Topic] = TOPICS) -> None:
    """Create the topics that are missing; wait while the broker is away."""
    await with_backoff("kafka", lambda: _create(settings, tuple(topics)))


async def _create(settings: KafkaSettings, topics: tuple[Topic, ...]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.servers)
    try:
        await admin.start()
        existing = set(await admin.list_topics())
        new = [
            NewTopic(
                name=t.name,
                num_partitions=t.partitions or settings.partitions,
                replication_factor=settings.replication,
                topic_configs=t.config(),
            )
            for t in topics
            if t.name not in existing
        ]
        if new:
            response = await admin.create_topics(new)
            for _, code, *message in response.topic_errors:
                if code not in (0, _ALREADY_EXISTS):
                    raise for_code(code)(str(message))
    except TopicAlreadyExistsError:
        pass  # another service was faster
    finally:
        await admin.close()

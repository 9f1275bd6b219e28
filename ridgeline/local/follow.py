"""Detections and advice as a person reads them, straight off Kafka, without a consumer group."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Iterable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from pydantic import ValidationError

from ridgeline.events import Action, Advice, Detection, DeviceEvent, Estimate, Event
from ridgeline.local.digest import Digest, line_of
from ridgeline.settings import KafkaSettings
from ridgeline.topics import BY_NAME

# what the client says of a broker that is still starting is tried again, and nobody's news
logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
_GROUP_SECONDS = 2.0  # one condition reaches the GPUs of a pool within a second or two


def money(gain: Estimate | None) -> str:
    """A gain with its interval, or that it is unknown."""
    if gain is None or not all(math.isfinite(v) for v in (gain.low, gain.high)):
        return "gain unknown"
    unit = gain.unit.lower()
    currency = "USD/month" if "usd" in unit or "$" in unit else gain.unit
    return f"{gain.low:,.0f} to {gain.high:,.0f} {currency}"


def render(event: Event) -> str | None:
    """One line for a person; None for what need not be shown."""
    if isinstance(event, Detection):
        digest = Digest()
        digest.add(event)
        return next(iter(digest.lines()), None)
    if isinstance(event, Advice):
        if event.verification is not None:
            return line_of(event.updated_ms, "outcome", f"{event.title}. {event.verification.text}")
        state = "" if event.state == "open" else f" [{event.state.value}]"
        sure = f"{money(event.gain)}, {event.confidence.value}"
        if event.action is Action.KEEP:
            sure = event.confidence.value
        known = event.title.startswith(event.scope)
        where = "" if known else f"{event.scope}: "
        text = f"{where}{event.title}{state} ({sure})"
        return line_of(event.updated_ms, "advice", text)
    if isinstance(event, DeviceEvent):
        return line_of(event.ts, "event", event.message)
    return event.model_dump_json()


async def follow(
    settings: KafkaSettings, topics: Iterable[str], *, from_beginning: bool = False
) -> AsyncIterator[tuple[str, Event | str]]:
    """Events of the topics as they come; text that cannot be read comes as a plain string."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.servers, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    async with consumer:
        partitions = [
            TopicPartition(topic, number)
            for topic in topics
            for number in sorted(consumer.partitions_for_topic(topic) or {0})
        ]
        consumer.assign(partitions)
        move = consumer.seek_to_beginning if from_beginning else consumer.seek_to_end
        await move(*partitions)
        async for message in consumer:
            yield message.topic, _read(message.topic, message.value or b"")


def _read(topic: str, value: bytes) -> Event | str:
    model = BY_NAME[topic].model
    try:
        if model is not None:
            return model.model_validate_json(value)
    except ValidationError as error:
        return f"unreadable {topic} message: {error.errors()[0]['msg']}"
    return f"{topic}: {len(value)} bytes"


async def print_events(
    settings: KafkaSettings,
    topics: Iterable[str],
    write: Callable[[str], None],
    *,
    from_beginning: bool = False,
) -> None:
    """Write events for ever, detections grouped; goes on when the broker was away."""
    names, digest = tuple(topics), Digest()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_tell(digest, write))
        while True:
            try:
                async for _, event in follow(settings, names, from_beginning=from_beginning):
                    if isinstance(event, Detection):
                        digest.add(event)
                    elif line := event if isinstance(event, str) else render(event):
                        write(line)
            except (KafkaError, OSError):
                await asyncio.sleep(1.0)


async def _tell(digest: Digest, write: Callable[[str], None]) -> None:
    while True:
        await asyncio.sleep(_GROUP_SECONDS)
        for line in digest.lines():
            write(line)

"""Detections and advice as a person reads them, straight off Kafka, without a consumer group."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from pydantic import ValidationError

from ridgeline.events import Advice, Detection, EpisodeState, Estimate, Event
from ridgeline.settings import KafkaSettings
from ridgeline.topics import BY_NAME


def _clock(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).astimezone().strftime("%H:%M:%S")


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
        if event.state is EpisodeState.UPDATE:
            return None
        when = _clock(event.closed_ms or event.opened_ms)
        word = "over" if event.state is EpisodeState.CLOSED else event.severity.value
        return f"{when}  {word:<8}  {event.subject}: {event.summary}"
    if isinstance(event, Advice):
        state = "" if event.state == "open" else f" [{event.state.value}]"
        sure = f"{money(event.gain)}, {event.confidence.value}"
        return f"{_clock(event.updated_ms)}  advice    {event.scope}: {event.title}{state} ({sure})"
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
    """Write each event's line for ever; goes on when the broker was away."""
    names = tuple(topics)
    while True:
        try:
            async for _, event in follow(settings, names, from_beginning=from_beginning):
                line = event if isinstance(event, str) else render(event)
                if line is not None:
                    write(line)
        except (KafkaError, OSError):
            await asyncio.sleep(1.0)

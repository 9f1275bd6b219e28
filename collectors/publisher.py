"""Batches -> Kafka: frames by node, inventory by device, events; at least once, never a crash.

Delivery: within one connection the producer is idempotent. After a broken one a new producer sends
again whatever was not acknowledged, so a consumer may see a frame twice: its rows then have the
same device and ts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.structs import RecordMetadata

from collectors.inventory import InventoryBook
from collectors.outbox import Message, Outbox
from ridgeline import frames, kafka
from ridgeline.events import CollectorHealth, DeviceEvent, Event, InventoryItem
from ridgeline.ids import node_key
from ridgeline.metrics import PUBLISH_DROPPED, PUBLISH_ERRORS, PUBLISH_FRAMES
from ridgeline.schema import Schema
from ridgeline.settings import CollectSettings, KafkaSettings
from ridgeline.topics import DEVICE_EVENTS, HEALTH, INVENTORY

log = structlog.get_logger()
_MOST_IN_FLIGHT = 500
_IDLE_SECONDS = 0.2  # how soon a new or vanished hold file is noticed
_STOP_SECONDS = 2.0
_LONGEST_WAIT_SECONDS = 10.0


class Publisher:
    """Takes what collectors found and sees it into Kafka; `run` is the only sender."""

    def __init__(
        self, settings: CollectSettings, kafka_settings: KafkaSettings, ack_seconds: float = 8.0
    ) -> None:
        self._hold_file = settings.hold_file
        self._kafka = kafka_settings
        self._ack_seconds = ack_seconds
        self._outbox = Outbox(settings.buffer_mb * 1_000_000)
        self._book = InventoryBook()
        self._wake = asyncio.Event()
        self._producer: AIOKafkaProducer | None = None
        self._connected_before = False
        self._newest: dict[tuple[str, int], int] = {}  # offset by topic and partition
        self._stopping = False

    def frame(self, source: str, schema: Schema, rows: np.ndarray) -> None:
        """Queue rows; they may belong to several nodes."""
        self._put(messages_of(source, schema, rows))

    def inventory(self, source: str, items: Iterable[InventoryItem], now_ms: int) -> None:
        """Take a collector's full list; queue what is new."""
        self._put(_inventory(i, now_ms) for i in self._book.update(source, items, now_ms))

    def events(self, events: Iterable[DeviceEvent]) -> None:
        """Queue device events."""
        self._put(_event(DEVICE_EVENTS.name, e.node, e, e.ts) for e in events)

    def health(self, health: CollectorHealth) -> None:
        """Queue a health report."""
        self._put([_event(HEALTH.name, health.node, health, health.ts)])

    @property
    def waiting(self) -> int:
        """Messages not yet acknowledged (those on their way not counted)."""
        return len(self._outbox)

    @property
    def connected(self) -> bool:
        """Whether there is a broker to send to."""
        return self._producer is not None

    async def run(self) -> None:
        """Send until `stop`; then what is left, for as long as it goes well."""
        wait = _IDLE_SECONDS
        try:
            while not (self._stopping and not self._outbox):
                if self._held():
                    await self._disconnect()
                    if self._stopping:
                        break
                    await asyncio.sleep(_IDLE_SECONDS)
                elif await self._step():
                    wait = _IDLE_SECONDS
                elif self._stopping:
                    break
                else:
                    await asyncio.sleep(wait)
                    wait = min(wait * 2, _LONGEST_WAIT_SECONDS)
        finally:
            await self._disconnect()
            if self._outbox:
                log.warning("messages left unsent", messages=len(self._outbox))

    def stop(self) -> None:
        """Ask `run` to send what is left and end."""
        self._stopping = True
        self._wake.set()

    def _put(self, messages: Iterable[Message]) -> None:
        self._outbox.put(messages)
        self._wake.set()

    def _held(self) -> bool:
        return self._hold_file is not None and self._hold_file.exists()

    async def _step(self) -> bool:
        """Connect when needed and send one batch; whether it went well."""
        if self._producer is None and not await self._connect():
            return False
        if not self._outbox:
            self._wake.clear()
            try:
                async with asyncio.timeout(_IDLE_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                return True
        return await self._send(self._outbox.take(_MOST_IN_FLIGHT))

    async def _connect(self) -> bool:
        producer: AIOKafkaProducer | None = None
        try:
            async with asyncio.timeout(self._ack_seconds):
                await kafka.ensure_topics(self._kafka)
            producer = kafka.producer(
                self._kafka,
                request_timeout_ms=int(self._ack_seconds * 1000),
                retry_backoff_ms=200,
            )
            async with asyncio.timeout(self._ack_seconds):
                await producer.start()
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("kafka is away", servers=self._kafka.servers, error=repr(error))
            await _abandon(producer)
            return False
        except asyncio.CancelledError:
            await _abandon(producer)
            raise
        self._producer = producer
        if self._connected_before:  # it may be another broker, one that has no inventory
            self._repeat_inventory()
        self._connected_before = True
        log.info("connected to kafka", servers=self._kafka.servers, waiting=len(self._outbox))
        return True

    async def _send(self, batch: list[Message]) -> bool:
        """Send and wait for every acknowledgement; what got none goes back to the outbox."""
        if not batch:
            return True
        sends = [asyncio.ensure_future(self._send_one(m)) for m in batch]
        await asyncio.wait(sends, timeout=self._ack_seconds * 1.5)
        failed: list[Message] = []
        problem: BaseException | None = None
        for message, send in zip(batch, sends, strict=True):
            error = _error_of(send)
            if error is None:
                PUBLISH_FRAMES.labels(message.topic).inc()
            elif isinstance(error, MessageSizeTooLargeError):  # no broker will ever take it
                PUBLISH_DROPPED.labels(message.topic).inc()
                log.error("message too large", topic=message.topic, bytes=len(message.value))
            else:
                PUBLISH_ERRORS.labels(message.topic).inc()
                failed.append(message)
                problem = error
        if self._went_back(s.result() for s in sends if s.done() and _error_of(s) is None):
            self._repeat_inventory()
        if not failed:
            return True
        self._outbox.give_back(failed)
        log.warning("kafka did not take messages", messages=len(failed), error=repr(problem))
        await self._disconnect()  # topics or producer id may be lost: start afresh
        return False

    def _repeat_inventory(self) -> None:
        self._put([_inventory(i, i.seen_ms) for i in self._book.all()])

    def _went_back(self, acknowledged: Iterable[RecordMetadata]) -> bool:
        """Whether offsets start again: the broker behind a live connection lost what it had."""
        lowest: dict[tuple[str, int], int] = {}
        for record in acknowledged:
            place = (record.topic, record.partition)
            if record.offset >= 0:  # -1: a repeat that the broker already had
                lowest[place] = min(record.offset, lowest.get(place, record.offset))
        again = any(offset <= self._newest.get(place, -1) for place, offset in lowest.items())
        if again:
            log.warning("the broker has lost its data", servers=self._kafka.servers)
            self._newest.clear()
        self._newest.update(lowest)
        return again

    async def _send_one(self, message: Message) -> RecordMetadata:
        assert self._producer is not None  # noqa: S101 - _step connects first
        acknowledged = await self._producer.send(
            message.topic,
            message.value,
            key=message.key,
            timestamp_ms=message.ts_ms,
            headers=message.headers,
        )
        return await acknowledged

    async def _disconnect(self) -> None:
        producer, self._producer = self._producer, None
        await _abandon(producer)


async def _abandon(producer: Any | None) -> None:
    """Stop a producer, by force when it would rather wait for a broker that is gone."""
    if producer is None:
        return
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await producer.stop()
    except (KafkaError, OSError, TimeoutError):
        await producer._sender.close()  # noqa: SLF001 - stop() has no forced variant
        await producer.client.close()


def _error_of(send: asyncio.Future[RecordMetadata]) -> BaseException | None:
    if not send.done():
        send.cancel()
        return TimeoutError("no acknowledgement")
    return send.exception()


def messages_of(source: str, schema: Schema, rows: np.ndarray) -> Iterator[Message]:
    """One message per node, more where a frame would be too large."""
    headers = [*frames.headers_of(schema), ("source", source.encode())]
    most = frames.MAX_FRAME_BYTES // schema.dtype.itemsize
    for node, own in _by_node(rows):
        for start in range(0, len(own), most):
            part = own[start : start + most]
            yield Message(
                schema.topic,
                node_key(node),
                frames.encode(part, schema),
                int(part["ts"][0]),
                headers,
            )


def _by_node(rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    nodes, inverse = np.unique(rows["node"], return_inverse=True)
    if len(nodes) == 1:
        yield int(nodes[0]), rows
        return
    order = np.argsort(inverse, kind="stable")
    bounds = np.searchsorted(inverse[order], np.arange(len(nodes) + 1))
    for k, node in enumerate(nodes):
        yield int(node), rows[order[bounds[k] : bounds[k + 1]]]


def _inventory(item: InventoryItem, now_ms: int) -> Message:
    return Message(INVENTORY.name, node_key(item.device), item.to_bytes(), now_ms)


def _event(topic: str, node: int, event: Event, ts_ms: int) -> Message:
    return Message(topic, node_key(node), event.to_bytes(), ts_ms)

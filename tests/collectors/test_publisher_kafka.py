"""The publisher against the real embedded broker, also one that dies and comes back empty."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord

from collectors.inventory import InventoryBook
from collectors.outbox import Message, Outbox
from collectors.publisher import Publisher, messages_of
from collectors.site import Site
from ridgeline import frames
from ridgeline.events import CollectorHealth, DeviceEvent, DeviceKind, InventoryItem
from ridgeline.ids import node_key
from ridgeline.kafka import ensure_topics
from ridgeline.local import broker
from ridgeline.local.process import Process, wait_until
from ridgeline.metrics import PUBLISH_DROPPED, PUBLISH_FRAMES
from ridgeline.schema import FABRIC, GPU
from ridgeline.settings import CollectSettings, KafkaSettings

MORE = 999_999  # the time of frames that only push others out
SITE = Site(host="node07", node=7)


def rows_at(ts: int, *nodes: int) -> np.ndarray:
    """One row per node."""
    rows = FABRIC.empty(len(nodes))
    rows["ts"], rows["node"], rows["device"] = ts, nodes, np.array(nodes) + 100
    return rows


def item_of(name: str, seen_ms: int = 1, model: str = "") -> InventoryItem:
    """A port."""
    return SITE.item(DeviceKind.PORT, name, seen_ms, model=model)


@contextlib.asynccontextmanager
async def running(publisher: Publisher) -> AsyncIterator[None]:
    """Let the publisher send; at the end it flushes."""
    task = asyncio.create_task(publisher.run())
    try:
        yield
    finally:
        publisher.stop()
        await task


async def read(
    servers: str,
    topic: str,
    enough: Callable[[list[ConsumerRecord]], object],
    more: Callable[[], None] = lambda: None,
) -> list[ConsumerRecord]:
    """Everything in a topic, read until it is enough.

    The embedded broker may hide what was written last until something more is written: `more`
    does that, once a second.
    """
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=servers, auto_offset_reset="earliest", metadata_max_age_ms=500
    )
    await consumer.start()
    found: list[ConsumerRecord] = []
    try:
        polls = 0
        while not enough(found):
            polls += 1
            if polls % 10 == 0:
                more()
            for records in (await consumer.getmany(timeout_ms=100)).values():
                found += records
    finally:
        await consumer.stop()
    return found


def pulse(publisher: Publisher) -> Callable[[], None]:
    """Makes the publisher send one more frame, of a time that no test asserts on, and an item."""

    def send() -> None:
        publisher.frame("netdev", FABRIC, rows_at(MORE, 7))
        publisher.inventory("pulse", [item_of("pulse", model=str(time.monotonic()))], 1)

    return send


def has_eth0(records: list[ConsumerRecord]) -> bool:
    """Whether the inventory of eth0 is among them."""
    return any(b'"eth0"' in r.value for r in records)


def times_of(records: list[ConsumerRecord]) -> list[int]:
    """`ts` of every row of the frames."""
    times = [int(ts) for r in records for ts in frames.decode(r.value, FABRIC, 1)["ts"]]
    return [ts for ts in times if ts != MORE]


class OwnBroker:
    """A broker that this test may kill."""

    def __init__(self, log: Path) -> None:
        self.port = broker.free_port()
        self.servers = f"127.0.0.1:{self.port}"
        self.settings = KafkaSettings(servers=self.servers, idempotent=False)
        self._log = log
        self._process: Process | None = None

    def start(self) -> None:
        """Start an empty broker on the same port as before."""
        process = Process("broker", broker.command(self.port), self._log)
        wait_until(lambda: broker.answers(self.servers), process, 60)
        self._process = process

    def stop(self) -> None:
        """Kill it; all it knew is gone."""
        if self._process is not None:
            self._process.stop()
        self._process = None


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[OwnBroker]:
    """A broker of this test alone, started."""
    found = OwnBroker(tmp_path / "broker.log")
    found.start()
    yield found
    found.stop()


async def test_frames_arrive_by_node(kafka_servers: str) -> None:
    """One message per node, with its key, time, schema and source."""
    publisher = Publisher(CollectSettings(), KafkaSettings(servers=kafka_servers))
    ts = time.time_ns() // 1_000_000
    async with running(publisher):
        publisher.frame("netdev", FABRIC, rows_at(ts, 31, 32, 31))

    found = await read(
        kafka_servers, FABRIC.topic, lambda rs: sum(r.timestamp == ts for r in rs) >= 2
    )
    ours = {r.key: r for r in found if r.timestamp == ts}
    assert set(ours) == {node_key(31), node_key(32)}
    record = ours[node_key(31)]
    assert dict(record.headers) == {"schema": b"fabric/1", "source": b"netdev"}
    assert frames.resolve(record.headers) == (FABRIC, 1)
    assert frames.decode(record.value, FABRIC, 1)["device"].tolist() == [131, 131]


async def test_events_arrive(kafka_servers: str) -> None:
    """Inventory is keyed by device, events and health by node."""
    publisher = Publisher(CollectSettings(), KafkaSettings(servers=kafka_servers))
    item = item_of("unique-to-this-test")
    event = DeviceEvent(device=item.device, node=7, kind="link", code=0, message="m", ts=5)
    health = CollectorHealth(
        node=7, host="h", collector="unique", ts=5, success=True, duration_seconds=0.1, rows=1
    )
    async with running(publisher):
        publisher.inventory("netdev", [item], 5)
        publisher.events([event])
        publisher.health(health)

    for topic, sent, key in (
        ("inventory", item, node_key(item.device)),
        ("device.events", event, node_key(7)),
        ("collector.health", health, node_key(7)),
    ):
        wanted = (key, sent.to_bytes())
        await read(kafka_servers, topic, lambda rs, w=wanted: w in [(r.key, r.value) for r in rs])  # type: ignore[misc]


async def test_a_broker_that_dies_and_comes_back_empty(own_broker: OwnBroker) -> None:
    """No frame made while the broker is away is lost, its topics and the inventory come back."""
    settings = own_broker.settings
    publisher = Publisher(CollectSettings(), settings, ack_seconds=2.0)
    acknowledged = PUBLISH_FRAMES.labels(FABRIC.topic)._value
    before = acknowledged.get()
    async with running(publisher):
        publisher.inventory("netdev", [item_of("eth0")], 1)
        publisher.frame("netdev", FABRIC, rows_at(1, 7))
        await read(own_broker.servers, FABRIC.topic, bool, pulse(publisher))
        while acknowledged.get() == before:  # noqa: ASYNC110 - else it is rightly sent again
            await asyncio.sleep(0.01)
        await asyncio.to_thread(own_broker.stop)
        for ts in range(2, 52):
            publisher.frame("netdev", FABRIC, rows_at(ts, 7))
            await asyncio.sleep(0.01)
        await asyncio.to_thread(own_broker.start)
        await ensure_topics(settings)
        found = await read(
            own_broker.servers,
            FABRIC.topic,
            lambda rs: len(set(times_of(rs))) >= 50,
            pulse(publisher),
        )
        inventory = await read(own_broker.servers, "inventory", has_eth0, pulse(publisher))

    assert sorted(set(times_of(found))) == list(range(2, 52))
    assert has_eth0(inventory)


async def test_started_before_the_broker(own_broker: OwnBroker) -> None:
    """A publisher that is first waits, keeping what it is given."""
    own_broker.stop()
    settings = own_broker.settings
    publisher = Publisher(CollectSettings(), settings, ack_seconds=2.0)
    async with running(publisher):
        publisher.frame("netdev", FABRIC, rows_at(1, 7))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(own_broker.start)
        await ensure_topics(settings)
        found = await read(own_broker.servers, FABRIC.topic, times_of, pulse(publisher))

    assert times_of(found) == [1]


async def test_hold_file(own_broker: OwnBroker, tmp_path: Path) -> None:
    """While the hold file is there nothing is sent; a renewed broker then gets all of it."""
    hold = tmp_path / "hold"
    settings = own_broker.settings
    publisher = Publisher(CollectSettings(hold_file=hold), settings, ack_seconds=2.0)
    async with running(publisher):
        publisher.inventory("netdev", [item_of("eth0")], 1)
        publisher.frame("netdev", FABRIC, rows_at(1, 7))
        await read(own_broker.servers, FABRIC.topic, bool, pulse(publisher))
        hold.touch()
        while publisher.connected:  # noqa: ASYNC110 - it lets go of the broker when it sees the file
            await asyncio.sleep(0.01)
        before = publisher.waiting  # a pulse may have come too late
        publisher.frame("netdev", FABRIC, rows_at(2, 7))
        waiting = publisher.waiting
        await asyncio.to_thread(own_broker.stop)
        await asyncio.to_thread(own_broker.start)
        hold.unlink()
        await ensure_topics(settings)
        found = await read(own_broker.servers, FABRIC.topic, times_of, pulse(publisher))
        inventory = await read(own_broker.servers, "inventory", has_eth0, pulse(publisher))

    assert waiting == before + 1
    assert times_of(found) == [2]
    assert has_eth0(inventory)


async def test_stop_without_a_broker() -> None:
    """With no broker at all, stopping does not hang."""
    nowhere = KafkaSettings(servers=f"127.0.0.1:{broker.free_port()}")
    publisher = Publisher(CollectSettings(), nowhere, ack_seconds=0.2)
    async with running(publisher):
        publisher.frame("netdev", FABRIC, rows_at(1, 7))
        await asyncio.sleep(0.05)

    assert publisher.waiting == 1


def test_large_frames_are_split() -> None:
    """No message is larger than the limit, and no row is lost."""
    rows = GPU.empty(20_000)
    rows["ts"], rows["node"], rows["device"] = 1, 7, np.arange(20_000)
    messages = list(messages_of("simulator", GPU, rows))

    assert len(messages) > 1
    assert max(len(m.value) for m in messages) <= frames.MAX_FRAME_BYTES
    assert b"".join(m.value for m in messages) == rows.tobytes()


def message(k: int) -> Message:
    """A message of 1000 bytes."""
    return Message("telemetry.fabric", b"k", bytes([k]) * 1000, k)


def test_full_outbox_drops_the_oldest() -> None:
    """Over the limit the oldest go, and are counted."""
    counter = PUBLISH_DROPPED.labels("telemetry.fabric")
    before = counter._value.get()
    outbox = Outbox(limit_bytes=5000)
    outbox.put(message(k) for k in range(6))

    assert [m.ts_ms for m in outbox.take(10)] == [2, 3, 4, 5]
    assert counter._value.get() - before == 2
    assert outbox.bytes == 0


def test_given_back_messages_come_first() -> None:
    """What could not be sent keeps its place; what does not fit any more is dropped."""
    outbox = Outbox(limit_bytes=5000)
    outbox.put(message(k) for k in range(4))
    taken = outbox.take(2)
    outbox.put([message(4)])
    outbox.give_back(taken)

    assert [m.ts_ms for m in outbox.take(10)] == [1, 2, 3, 4]


def test_inventory_changes_at_once_and_all_every_minute() -> None:
    """The time of sight is no change; a device that left is forgotten."""
    book = InventoryBook()
    first = book.update("a", [item_of("eth0"), item_of("eth1")], 0)
    same = book.update("a", [item_of("eth0", 1000), item_of("eth1", 1000)], 1000)
    changed = book.update("a", [item_of("eth0", 2000, model="x"), item_of("eth1")], 2000)
    minute = book.update("a", [item_of("eth0", 60_000, model="x")], 60_000)

    assert [[i.name for i in some] for some in (first, same, changed, minute)] == [
        ["eth0", "eth1"],
        [],
        ["eth0"],
        ["eth0"],
    ]
    assert [i.name for i in book.all()] == ["eth0"]

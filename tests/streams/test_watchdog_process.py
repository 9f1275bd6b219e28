"""What the watchdog makes of a consumer that stands still, in a real worker."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from ridgeline.events import DeviceKind, InventoryItem
from ridgeline.frames import encode, headers_of
from ridgeline.ids import node_id, node_key
from ridgeline.kafka import ensure_topics, producer
from ridgeline.local.broker import free_port
from ridgeline.local.process import Process, wait_until
from ridgeline.schema import GPU
from ridgeline.settings import KafkaSettings
from ridgeline.topics import INVENTORY

pytestmark = pytest.mark.timeout(600)
HANGING = """
import asyncio
import faust
import streams.__main__ as worker
from streams.transport import BatchConsumer

async def never(*_, **__):
    await asyncio.Event().wait()

{hanging} = never
worker.main()
"""


def lag(port: int) -> dict[str, float]:
    """Messages still to be read, by partition, as the worker says; empty while it says nothing."""
    try:
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
    except httpx.TransportError:
        return {}
    lines = [
        line.rsplit(" ", 1)
        for line in text.splitlines()
        if line.startswith("ridgeline_stream_lag_frames{")
    ]
    return {name: float(value) for name, value in lines}


def settled(port: int, worker: Process) -> dict[str, float]:
    """What the worker says once it has read everything."""
    found: dict[str, float] = {}

    def has_read_everything() -> bool:
        found.clear()
        found.update(lag(port))
        return bool(found) and not any(found.values())

    wait_until(has_read_everything, worker, 120)
    return found


async def send(settings: KafkaSettings) -> None:
    """One frame, so that there is something to read."""
    row = GPU.empty(1)
    row["ts"], row["node"], row["device"] = int(time.time() * 1000), node_id("n"), 1
    await ensure_topics(settings)
    async with producer(settings) as to:
        await to.send_and_wait(
            GPU.topic, encode(row, GPU), key=node_key(node_id("n")), headers=headers_of(GPU)
        )


def environment(tmp_path: Path, servers: str, store_url: str, **streams: object) -> dict[str, str]:
    """Of a worker with a group and a database of its own, and these settings."""
    name = f"watched_{os.getpid()}_{time.time_ns()}"
    settings = {"app_id": name, "data_dir": tmp_path / "data", "metrics_port": 0} | streams
    return {
        "RIDGELINE_KAFKA_SERVERS": servers,
        "RIDGELINE_STORE_URL": store_url,
        "RIDGELINE_STORE_DATABASE": name,
        **{f"RIDGELINE_STREAMS_{key.upper()}": str(value) for key, value in settings.items()},
    }


@pytest.mark.parametrize(
    ("hanging", "why"),
    [
        ("BatchConsumer._getmany", "no progress for 15 s with messages to read"),
        ("faust.App.start", "Faust has not started in 15 s"),
    ],
    ids=["fetch", "start"],
)
def test_what_never_returns_ends_the_worker(
    tmp_path: Path, own_kafka_servers: str, store_url: str, hanging: str, why: str
) -> None:
    """With exit status 1 and the reason in the log, so that a fresh process goes on."""
    asyncio.run(send(KafkaSettings(servers=own_kafka_servers, idempotent=False)))
    env = environment(tmp_path, own_kafka_servers, store_url, stall_seconds=15)
    program = [sys.executable, "-c", HANGING.format(hanging=hanging)]
    worker = Process("worker", program, tmp_path / "worker.log", env)
    try:
        code = worker.wait(200)
    finally:
        worker.stop()

    assert code == 1, worker.tail(20)
    assert why in worker.log.read_text()


def test_a_worker_waits_for_its_dependencies_for_ever(tmp_path: Path, store_url: str) -> None:
    """However long its broker is away at the start: that is no stall."""
    nobody = f"127.0.0.1:{free_port()}"
    stall_seconds = 6  # a busy machine may hold up the event loop for seconds: that is one
    env = environment(tmp_path, nobody, store_url, stall_seconds=stall_seconds)
    worker = Process("worker", [sys.executable, "-m", "streams"], tmp_path / "worker.log", env)
    try:
        # the seventh try is no sooner than after half of 0.2 + 0.4 + ... + 6.4 s
        wait_until(lambda: worker.tail(50).count("waiting for a dependency") > 6, worker, 120)
        alive = worker.alive
    finally:
        worker.stop()

    assert alive


async def introduce(settings: KafkaSettings) -> None:
    """One message on a topic that is quiet for days."""
    item = InventoryItem(
        device=1, node=node_id("n"), kind=DeviceKind.GPU, host="n", name="0", seen_ms=1
    )
    await ensure_topics(settings)
    async with producer(settings) as to:
        await to.send_and_wait(INVENTORY.name, item.to_bytes(), key=b"n")


async def committed(servers: str, group: str) -> int:
    """Messages of that topic that a group has done with."""
    topic = INVENTORY.name
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        numbers = consumer.partitions_for_topic(topic) or ()
        found = [await consumer.committed(TopicPartition(topic, number)) for number in numbers]
    finally:
        await consumer.stop()
    return sum(at or 0 for at in found)


def test_a_restarted_worker_knows_what_was_done_before(
    tmp_path: Path, own_kafka_servers: str, store_url: str
) -> None:
    """What its predecessor has committed is no lag: or a quiet cluster's worker ended itself."""
    asyncio.run(introduce(KafkaSettings(servers=own_kafka_servers, idempotent=False)))
    port = free_port()
    env = environment(tmp_path, own_kafka_servers, store_url, metrics_port=port)
    name = env["RIDGELINE_STREAMS_APP_ID"]
    seen = []
    for _ in range(2):
        worker = Process("worker", [sys.executable, "-m", "streams"], tmp_path / "w.log", env)
        try:
            settled(port, worker)
            wait_until(lambda: asyncio.run(committed(own_kafka_servers, name)) == 1, worker, 120)
            seen.append(settled(port, worker))
        finally:
            worker.stop()

    assert seen[0].keys() == seen[1].keys()
    assert any(INVENTORY.name in name for name in seen[1])

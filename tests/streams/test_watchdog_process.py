"""A consumer that silently stops (Faust's issues 175, 523, 640) ends the real worker."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from ridgeline.frames import encode, headers_of
from ridgeline.ids import node_id, node_key
from ridgeline.kafka import ensure_topics, producer
from ridgeline.local.process import Process
from ridgeline.schema import GPU
from ridgeline.settings import KafkaSettings

HANGING = """
import asyncio
import streams.__main__ as worker
from streams.transport import BatchConsumer

async def never(*_, **__):
    await asyncio.Event().wait()

BatchConsumer._getmany = never
worker.main()
"""


async def send(settings: KafkaSettings) -> None:
    """One frame, so that there is something to read."""
    row = GPU.empty(1)
    row["ts"], row["node"], row["device"] = int(time.time() * 1000), node_id("n"), 1
    await ensure_topics(settings)
    async with producer(settings) as to:
        await to.send_and_wait(
            GPU.topic, encode(row, GPU), key=node_key(node_id("n")), headers=headers_of(GPU)
        )


def test_a_fetch_that_never_returns_ends_the_worker(
    tmp_path: Path, kafka_servers: str, store_url: str
) -> None:
    """With exit status 1 and the reason in the log, so that a fresh process goes on."""
    asyncio.run(send(KafkaSettings(servers=kafka_servers, idempotent=False)))
    name = f"stalled_{os.getpid()}_{time.time_ns()}"
    env = {
        "RIDGELINE_KAFKA_SERVERS": kafka_servers,
        "RIDGELINE_STORE_URL": store_url,
        "RIDGELINE_STORE_DATABASE": name,
        "RIDGELINE_STREAMS_APP_ID": name,
        "RIDGELINE_STREAMS_DATA_DIR": str(tmp_path / "data"),
        "RIDGELINE_STREAMS_METRICS_PORT": "0",
        "RIDGELINE_STREAMS_STALL_SECONDS": "20",
    }
    worker = Process("worker", [sys.executable, "-c", HANGING], tmp_path / "worker.log", env)
    try:
        code = worker.wait(200)
    finally:
        worker.stop()

    assert code == 1, worker.tail(20)
    assert "no progress for 20 s with messages to read" in worker.log.read_text()

"""`ridgeline plan ... --live` as a user runs it, on what the streams wrote of a simulated cluster.

The store, the command and the code between a collector's rows and the store are the real ones; only
Kafka is left out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np
import pytest

from collectors.simulator import Simulator, load
from collectors.simulator.scenario import ClusterPart, TrafficPart
from ridgeline.events import Event, Pool
from ridgeline.frames import Headers, encode, headers_of
from ridgeline.schema import GPU, SERVING
from ridgeline.settings import StoreSettings, StreamsSettings
from ridgeline.store import Store
from streams.batches import Batch, Message
from streams.processor import Processor
from streams.sink import Sink

SECONDS, BATCH_SECONDS = 120, 10
AHEAD_SECONDS = 60  # of telemetry, so that a slow machine does not find it stale
DATABASE = "plan_live_process"


async def publish(_: Sequence[Event]) -> None:
    """Detections go to Kafka."""


async def mark(_topic: str, _partition: int, _headers: Headers) -> None:
    """So do marks of partitions without rows."""


async def served(store: Store) -> tuple[float, float, float]:
    """Two minutes of a split cluster through the streams into the store.

    Returns:
        What its engines counted: requests/s, tokens of a prompt, tokens of an answer.
    """
    traffic = TrafficPart(requests_per_second=20)
    cluster = ClusterPart(prefill=2, decode=4, training=0)
    calm = load("steady").model_copy(update={"cluster": cluster, "traffic": traffic})
    simulator = Simulator(calm)
    sink = Sink(store, publish, lambda *_: None, pause_seconds=0)
    settings = StreamsSettings(future_seconds=2 * AHEAD_SECONDS)
    processor = Processor(settings, store, sink, mark)
    start_ms = time.time_ns() // 1_000_000 + (AHEAD_SECONDS - SECONDS) * 1000
    items = simulator.collect(start_ms).inventory
    about = [Message(n, (), None, item.to_bytes()) for n, item in enumerate(items)]
    await processor.take(Batch(topic="inventory", partition=0, messages=about))
    read: list[np.ndarray] = []
    for first in range(0, SECONDS, BATCH_SECONDS):
        sent: dict[str, list[Message]] = {SERVING.topic: [], GPU.topic: []}
        for second in range(first, first + BATCH_SECONDS):
            frames = dict(simulator.collect(start_ms + second * 1000).frames)
            read.append(frames[SERVING])
            for schema in (SERVING, GPU):
                frame = encode(frames[schema], schema)
                sent[schema.topic].append(Message(second, headers_of(schema), None, frame))
        for topic, messages in sent.items():
            await processor.take(Batch(topic=topic, partition=0, messages=messages))
    await sink.flush()
    await sink.roll_up()
    pools = {item.device: item.pool for item in items}

    def counted(name: str, pool: Pool) -> float:
        its = [pools[int(device)] is pool for device in read[0]["device"]]
        return float((read[-1][name][its] - read[0][name][its]).sum())

    requests = counted("requests_finished", Pool.DECODE)
    prompts = counted("prompt_tokens", Pool.PREFILL) / counted("requests_finished", Pool.PREFILL)
    return requests / SECONDS, prompts, counted("generation_tokens", Pool.DECODE) / requests


def plan(store_url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in its own process, on this test's database."""
    named = {"RIDGELINE_STORE_URL": store_url, "RIDGELINE_STORE_DATABASE": DATABASE}
    command = [sys.executable, "-m", "ridgeline.cli", "plan", *arguments, "--live", "--json"]
    return subprocess.run(
        command, env=os.environ | named, capture_output=True, text=True, check=False
    )


async def test_a_plan_of_what_the_streams_wrote(store_url: str) -> None:
    """The demand that is planned for is what the engines counted, give or take a minute's noise."""
    store = Store.connect(StoreSettings(url=store_url, database=DATABASE))
    store.migrate()
    try:
        requests_per_second, prompt_tokens, output_tokens = await served(store)
        found = plan(store_url, "disaggregate")
    finally:
        store.close()

    assert 0 == found.returncode, found.stderr
    answer = json.loads(found.stdout)
    demand = answer["numbers"]["demand"]
    assert ("measured", "requests/s") == (demand["confidence"], demand["unit"])
    assert requests_per_second == pytest.approx(demand["mid"], rel=0.15)
    assert "minutes of prefill" in demand["source"]
    tips = next(t for t in answer["tables"] if "now" in t["columns"])
    now = {row[0]: row[tips["columns"].index("now")] for row in tips["rows"]}
    assert prompt_tokens == pytest.approx(now["prompt tokens"], rel=0.15)
    assert output_tokens == pytest.approx(now["output tokens"], rel=0.15)

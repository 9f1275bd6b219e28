"""The real worker on a real broker and the real store."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.chaos.offline import rounded
from ridgeline.frames import encode, headers_of
from ridgeline.ids import device_id, node_id, node_key
from ridgeline.kafka import ensure_topics, producer
from ridgeline.schema import GPU, Schema
from ridgeline.settings import KafkaSettings, StoreSettings
from ridgeline.store import Store

NODES, GPUS, SECONDS = 6, 4, 100


def telemetry(seed: int = 1) -> list[tuple[int, bytes]]:
    """Frames of some GPUs in log order: (node, frame), one second apart."""
    rng = np.random.default_rng(seed)
    start = int(time.time() * 1000) // 60_000 * 60_000 - 600_000
    out = []
    energy = rng.integers(0, 10**9, (NODES, GPUS)).astype(np.uint64)
    for second in range(SECONDS):
        for node in range(NODES):
            rows = GPU.empty(GPUS)
            rows["ts"], rows["node"] = start + second * 1000 + node * 7, node_id(f"n{node}")
            rows["device"] = [device_id(f"n{node}", "gpu", str(g)) for g in range(GPUS)]
            rows["power_watts"] = rng.uniform(100, 700, GPUS)
            energy[node] += rng.integers(1, 10**6, GPUS).astype(np.uint64)
            rows["energy_mj"] = energy[node]
            out.append((int(rows["node"][0]), encode(rows, GPU)))
    return out


def expected(frames: list[tuple[int, bytes]]) -> dict[tuple[int, int], tuple[int, float, float]]:
    """The slow obvious reference: (device, window) -> samples, mean power, energy increase."""
    rows = np.concatenate([np.frombuffer(f, dtype=GPU.dtype) for _, f in frames])
    out: dict[tuple[int, int], tuple[int, float, float]] = {}
    for device in np.unique(rows["device"]):
        mine = np.sort(rows[rows["device"] == device], order="ts")
        inc = np.r_[np.nan, np.diff(mine["energy_mj"].astype(float))]
        window = mine["ts"] // 10_000 * 10_000
        for start in np.unique(window):
            at = window == start
            mean, energy = mine["power_watts"][at].astype(float).mean(), np.nansum(inc[at])
            power = rounded(float(mean), GPU.by_name["power_watts"].resolution)
            out[int(device), int(start)] = (int(at.sum()), power, float(energy))
    return out


class Worker:
    """`python -m streams` against given parts."""

    def __init__(self, folder: Path, kafka: str, store: str, app_id: str) -> None:
        self._log = folder / "streams.log"
        self._env = os.environ | {
            "RIDGELINE_KAFKA_SERVERS": kafka,
            "RIDGELINE_KAFKA_IDEMPOTENT": "false",
            "RIDGELINE_STORE_URL": store,
            "RIDGELINE_STORE_DATABASE": app_id,
            "RIDGELINE_STREAMS_APP_ID": app_id,
            "RIDGELINE_STREAMS_DATA_DIR": str(folder / "data"),
            "RIDGELINE_STREAMS_METRICS_PORT": "0",
            "RIDGELINE_STREAMS_IDLE_SECONDS": "4",
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streams"], env=self._env, stdout=log, stderr=log
            )

    def kill(self) -> None:
        """Kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(60)

    def log(self) -> str:
        """What it said."""
        return self._log.read_text(errors="replace")[-6000:]


@pytest.fixture
def worker(
    tmp_path: Path, own_kafka_servers: str, store_url: str, request: pytest.FixtureRequest
) -> Iterator[Worker]:
    """A worker with a group and a database of its own."""
    made = Worker(tmp_path, own_kafka_servers, store_url, f"streams_{os.getpid()}_{time.time_ns()}")
    yield made
    if made.process is not None and made.process.poll() is None:
        made.kill()


async def send(kafka: str, schema: Schema, frames: list[tuple[int, bytes]]) -> None:
    """Publish frames in order."""
    settings = KafkaSettings(servers=kafka, idempotent=False)
    await ensure_topics(settings)
    async with producer(settings) as to:
        for node, frame in frames:
            await to.send(schema.topic, frame, key=node_key(node), headers=headers_of(schema))
        await to.flush()


def wait_for(what: Callable[[], bool], worker: Worker, seconds: float = 150) -> None:
    """Wait until it is so."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, worker.log()
        time.sleep(0.2)


def stored(store: Store) -> dict[tuple[int, int], tuple[int, float, float]]:
    """Every window row: (device, window) -> samples, mean power, energy increase."""
    rows = store.query(
        "SELECT device, toUnixTimestamp64Milli(window_start) AS at, samples, power_watts_avg AS p,"
        " energy_mj_inc AS e FROM gpu_windows"
    )
    return {(r["device"], r["at"]): (r["samples"], r["p"], r["e"]) for r in rows}


def test_windows_equal_the_reference_also_after_kill_9(
    worker: Worker, own_kafka_servers: str, store_url: str
) -> None:
    """Killed in the middle and started again: every row as if nothing had happened."""
    frames = telemetry()
    half = len(frames) * 6 // 10
    worker.start()
    store = Store.connect(
        StoreSettings(url=store_url, database=worker._env["RIDGELINE_STORE_DATABASE"])
    )
    wait_for(lambda: "processing" in worker.log(), worker)
    asyncio.run(send(own_kafka_servers, GPU, frames[:half]))
    wait_for(lambda: len(stored(store)) > NODES * GPUS, worker)
    worker.kill()
    asyncio.run(send(own_kafka_servers, GPU, frames[half:]))
    worker.start()
    want = expected(frames)
    wait_for(lambda: len(stored(store)) >= len(want), worker)
    code = worker.stop()

    found = stored(store)
    assert set(want) == set(found)
    assert {k: v[0] for k, v in want.items()} == {k: v[0] for k, v in found.items()}
    assert [want[k][1:] for k in want] == [pytest.approx(found[k][1:], rel=1e-5) for k in want]
    assert code == 0

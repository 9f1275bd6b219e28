"""A broker that hangs for longer than the session; members that come back; idle workers.

`benchmarks.chaos` freezes Apache Kafka, too.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from ridgeline.frames import encode, headers_of
from ridgeline.ids import device_id, node_id, node_key
from ridgeline.kafka import ensure_topics, producer
from ridgeline.local import apache, broker
from ridgeline.local.process import Process, wait_until
from ridgeline.schema import GPU
from ridgeline.settings import KafkaSettings, StoreSettings
from ridgeline.store import Store

NODES, SECONDS = 3, 80
SESSION_SECONDS, HANG_SECONDS = 6, 8.0
WINDOWS = NODES * (SECONDS // 10)
pytestmark = pytest.mark.timeout(400)


class Worker:
    """A worker with a static name."""

    def __init__(self, folder: Path, name: str, env: dict[str, str]) -> None:
        self.port, self._folder, self._name = broker.free_port(), folder, name
        self._env = env | {
            "RIDGELINE_STREAMS_INSTANCE": name,
            "RIDGELINE_STREAMS_DATA_DIR": str(folder / name),
            "RIDGELINE_STREAMS_METRICS_PORT": str(self.port),
        }
        self.start()

    def start(self) -> None:
        """Start it."""
        log = self._folder / f"{self._name}.log"
        self.process = Process(self._name, [sys.executable, "-m", "streams"], log, self._env)

    def metric(self, name: str) -> float:
        """A metric, summed over its labels; NaN while it does not answer."""
        try:
            text = httpx.get(f"http://127.0.0.1:{self.port}/metrics", timeout=5).text
        except httpx.TransportError:
            return float("nan")
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if line.startswith(f"{name}{{"))
        return sum(float(value) for _, value in lines)

    @property
    def is_processing(self) -> bool:
        """Whether it has said so."""
        return "processing" in self.process.log.read_text()

    @property
    def partitions(self) -> float:
        """Partitions of telemetry that it has seen messages of."""
        return self.metric("ridgeline_stream_partitions")


@contextmanager
def running(
    folder: Path, kafka: Process, servers: str, store_url: str, session_seconds: int
) -> Iterator[Scene]:
    """A scene whose processes are dead at the end."""
    scene = Scene(folder, kafka, servers, store_url, session_seconds)
    try:
        wait_until(lambda: broker.answers(servers), kafka, 120)
        yield scene
    finally:
        os.kill(kafka.pid, signal.SIGCONT)
        for worker in scene.workers:
            worker.process.stop()
        kafka.stop()


class Scene:
    """A broker of our own, workers, and some GPUs."""

    def __init__(
        self, folder: Path, kafka: Process, servers: str, store_url: str, session_seconds: int
    ) -> None:
        name = f"hangs_{os.getpid()}_{time.time_ns()}"
        self.kafka, self._folder = kafka, folder
        idempotent = os.environ.get("RIDGELINE_KAFKA_IDEMPOTENT", "true") == "true"
        self._settings = KafkaSettings(servers=servers, idempotent=idempotent, partitions=1)
        self._env = {
            "RIDGELINE_KAFKA_SERVERS": servers,
            "RIDGELINE_KAFKA_PARTITIONS": "1",
            "RIDGELINE_STORE_URL": store_url,
            "RIDGELINE_STORE_DATABASE": name,
            "RIDGELINE_STREAMS_APP_ID": name,
            "RIDGELINE_STREAMS_IDLE_SECONDS": "3",
            "RIDGELINE_STREAMS_SESSION_SECONDS": str(session_seconds),
        }
        self.workers: list[Worker] = []
        self.start_ms = int(time.time() - 3600) // 60 * 60_000
        self._store = StoreSettings(url=store_url, database=name)

    def add_worker(self, name: str) -> Worker:
        """One more."""
        self.workers.append(Worker(self._folder, name, self._env))
        return self.workers[-1]

    def wait_for(self, what: Callable[[], bool], seconds: float = 150) -> None:
        """Wait until it is so."""
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, [w.process.tail(15) for w in self.workers]
            time.sleep(0.3)

    async def send(self, seconds: Sequence[int], hang_at: int | None = None) -> None:
        """Frames of these seconds; returns when the broker has them. At one of them it hangs."""
        await ensure_topics(self._settings)
        async with producer(self._settings, request_timeout_ms=60_000) as to:
            for second in seconds:
                if second == hang_at:
                    os.kill(self.kafka.pid, signal.SIGSTOP)
                for n in range(NODES):
                    row = GPU.empty(1)
                    row["ts"], row["node"] = self.start_ms + 1000 * second, node_id(f"n{n}")
                    row["device"], row["energy_mj"] = device_id(f"n{n}", "gpu", "0"), 100 * second
                    key = node_key(node_id(f"n{n}"))
                    await to.send(GPU.topic, encode(row, GPU), key=key, headers=headers_of(GPU))
            if hang_at is not None:
                await asyncio.sleep(HANG_SECONDS)
                os.kill(self.kafka.pid, signal.SIGCONT)
            await to.flush()

    def windows(self) -> list[tuple[int, float]]:
        """Samples and energy of every window row, in order of time."""
        store = Store.connect(self._store)
        try:
            rows = store.query(
                "SELECT samples, energy_mj_inc AS e FROM gpu_windows ORDER BY window_start, device"
            )
        except Exception:  # noqa: BLE001 - not there yet
            return []
        finally:
            store.close()
        return [(row["samples"], row["e"]) for row in rows]


def complete(found: Sequence[tuple[int, float]]) -> bool:
    """Whether every window has every sample once."""
    energy = np.array([e for _, e in found])
    want = np.r_[np.full(NODES, 900.0), np.full(WINDOWS - NODES, 1000.0)]
    return [10] * WINDOWS == [n for n, _ in found] and bool((want == energy).all())


def test_an_embedded_broker_that_hangs_costs_nothing(
    tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frozen for longer than the session: every sample counts once."""
    monkeypatch.setenv("RIDGELINE_KAFKA_IDEMPOTENT", "false")
    port = broker.free_port()
    kafka = Process("broker", broker.command(port), tmp_path / "broker.log", {"RUST_LOG": "warn"})
    with running(tmp_path, kafka, f"127.0.0.1:{port}", store_url, SESSION_SECONDS) as scene:
        scene.add_worker("a")
        asyncio.run(scene.send(range(30)))
        scene.wait_for(lambda: len(scene.windows()) >= NODES)
        asyncio.run(scene.send(range(30, 50), hang_at=35))
        asyncio.run(scene.send(range(50, SECONDS)))
        scene.wait_for(lambda: len(scene.windows()) >= WINDOWS)

        assert complete(scene.windows())


def test_a_member_that_comes_back_causes_no_rebalance_and_one_has_nothing_to_do(
    tmp_path: Path, apache_kafka_home: Path, store_url: str
) -> None:
    """One partition a topic, two workers with static names.

    The one that is killed and started again within its session has its partitions again, and the
    other one saw no rebalance.
    """
    port = broker.free_port()
    kafka = Process("kafka", apache.command(port, tmp_path), tmp_path / "kafka.log")
    with running(tmp_path, kafka, f"127.0.0.1:{port}", store_url, 60) as scene:
        first, second = scene.add_worker("a"), scene.add_worker("b")
        scene.wait_for(
            lambda: all("processing" in w.process.log.read_text() for w in scene.workers)
        )
        asyncio.run(scene.send(range(30)))
        scene.wait_for(lambda: len(scene.windows()) >= NODES)
        scene.wait_for(lambda: 0 < first.partitions + second.partitions)
        busy, idle = sorted(scene.workers, key=lambda w: -w.partitions)
        seen = idle.metric("ridgeline_stream_rebalances_total")
        assert not idle.partitions

        os.kill(busy.process.pid, signal.SIGKILL)
        busy.start()
        asyncio.run(scene.send(range(30, 50)))
        scene.wait_for(lambda: busy.partitions > 0)
        assert not idle.partitions
        assert seen == idle.metric("ridgeline_stream_rebalances_total")

        asyncio.run(scene.send(range(50, SECONDS)))
        scene.wait_for(lambda: len(scene.windows()) >= WINDOWS)
        assert complete(scene.windows())

"""The real parts that the benchmarks run on: Apache Kafka, the store, workers, each a process."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from ridgeline.kafka import ensure_topics
from ridgeline.local import apache, broker
from ridgeline.local.process import Process, wait_until
from ridgeline.settings import KafkaSettings


def cpu_seconds(*processes: Process) -> float:
    """CPU time they and their children have used."""
    total = 0.0
    for process in processes:
        parent = psutil.Process(process.pid)
        for one in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = one.cpu_times()
                total += times.user + times.system
    return total


def resident_bytes(process: Process) -> int:
    """Memory it holds."""
    return int(psutil.Process(process.pid).memory_info().rss)


def metrics_of(port: int) -> dict[str, float]:
    """Samples of a `/metrics` page by name with labels; empty while it does not answer."""
    try:
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
    except httpx.TransportError:
        return {}
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if line and line[0] != "#")
    return {name: float(value) for name, value in lines}


def summed(samples: Mapping[str, float], name: str) -> float:
    """Sum of a metric over its labels."""
    return sum(v for k, v in samples.items() if k == name or k.startswith(name + "{"))


@dataclass(slots=True)
class Worker:
    """A stream worker and where it says how it is."""

    process: Process
    port: int

    def metric(self, name: str) -> float:
        """One of its metrics, summed over labels."""
        return summed(metrics_of(self.port), name)


@dataclass(slots=True)
class Parts:
    """What runs."""

    folder: Path
    servers: str
    store_url: str
    kafka: Process
    store: Process
    partitions: int
    workers: list[Worker] = field(default_factory=list)

    def start_worker(self, **settings: str) -> Worker:
        """One more worker, with further `RIDGELINE_*` settings."""
        number, port = len(self.workers), broker.free_port()
        env = {
            "RIDGELINE_KAFKA_SERVERS": self.servers,
            "RIDGELINE_KAFKA_PARTITIONS": str(self.partitions),
            "RIDGELINE_STORE_URL": self.store_url,
            "RIDGELINE_STREAMS_INSTANCE": f"bench{number}",
            "RIDGELINE_STREAMS_DATA_DIR": str(self.folder / f"worker{number}"),
            "RIDGELINE_STREAMS_METRICS_PORT": str(port),
        }
        command = [sys.executable, "-m", "streams"]
        log = self.folder / f"worker{number}.log"
        worker = Worker(Process("worker", command, log, env | settings), port)
        self.workers.append(worker)
        wait_until(lambda: bool(metrics_of(port)), worker.process, 120)
        return worker

    def stop_workers(self) -> None:
        """Stop all workers."""
        for worker in self.workers:
            worker.process.stop()
        self.workers.clear()


@contextlib.contextmanager
def parts(partitions: int = 4) -> Iterator[Parts]:
    """Apache Kafka with our topics, and an empty store."""
    if not apache.fetched():
        sys.exit("needs Apache Kafka: run `ridgeline kafka fetch`")
    with tempfile.TemporaryDirectory(prefix="ridgeline-bench-") as name:
        folder = Path(name)
        kafka_port, store_port = broker.free_port(), broker.free_port()
        servers = f"127.0.0.1:{kafka_port}"
        kafka = Process("kafka", apache.command(kafka_port, folder), folder / "kafka.log")
        gateway = [sys.executable, "-m", "ridgeline.local.gateway", f"--port={store_port}"]
        store = Process("store", [*gateway, f"--path={folder / 'store'}"], folder / "store.log")
        running = Parts(folder, servers, f"http://127.0.0.1:{store_port}", kafka, store, partitions)
        try:
            wait_until(lambda: broker.answers(servers), kafka, 120)
            wait_until(lambda: _answers(f"{running.store_url}/ping"), store, 60)
            asyncio.run(ensure_topics(KafkaSettings(servers=servers, partitions=partitions)))
            yield running
        finally:
            running.stop_workers()
            store.stop()
            kafka.stop()


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url, timeout=2).status_code == 200
    return False

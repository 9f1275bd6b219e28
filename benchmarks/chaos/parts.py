"""The parts of a run as processes that can be killed, frozen and started again."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from ridgeline.local import apache, broker
from ridgeline.local.process import Process, wait_until
from ridgeline.settings import KafkaSettings, StoreSettings, StreamsSettings

PARTITIONS = 3
READY = "processing"
"""What a worker logs once it reads."""
_JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""A broker that lives for minutes: starting costs more than slow code."""
SETTINGS = StreamsSettings(
    app_id="chaos",
    idle_seconds=2,
    remember_seconds=30,
    rollup_seconds=2,
    stall_seconds=30,
    session_seconds=10,
    metrics_port=0,
)


@dataclass(slots=True)
class Part:
    """One process, alive or not."""

    name: str
    command: Sequence[str]
    log: Path
    env: dict[str, str] = field(default_factory=dict)
    process: Process | None = None
    lives: int = 0
    wanted: bool = True

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.alive

    def start(self) -> None:
        """Start it; each life has a fate of its own."""
        seed = {"CHAOS_SEED": f"{self.env.get('CHAOS_SEED', '')}/{self.lives}"}
        self.lives += 1
        self.process = Process(self.name, self.command, self.log, self.env | seed)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self.process is not None and self.process.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    def kill(self) -> None:
        """Kill -9; returns when it is dead."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait(10)

    def text(self) -> str:
        """Its log."""
        with contextlib.suppress(OSError):
            return self.log.read_text(encoding="utf-8", errors="replace")
        return ""


class Parts:
    """Broker and store gateway of a series in a folder of their own; the workers of one run."""

    def __init__(self, folder: Path) -> None:
        kafka_port, store_port = broker.free_port(), broker.free_port()
        self.kafka = KafkaSettings(servers=f"127.0.0.1:{kafka_port}", partitions=PARTITIONS)
        self.store = StoreSettings(url=f"http://127.0.0.1:{store_port}", database="chaos")
        self.folder = self._home = folder
        self._seed = 0
        self.broker = Part(
            "broker",
            apache.command(kafka_port, folder),
            folder / "broker.log",
            {"JAVA_TOOL_OPTIONS": _JAVA},
        )
        gateway = [sys.executable, "-m", "ridgeline.local.gateway", f"--port={store_port}"]
        self.gateway = Part(
            "gateway", [*gateway, f"--path={folder / 'store'}"], folder / "gateway.log"
        )
        self.workers: list[Part] = []

    def begin(self, seed: int) -> None:
        """No workers, a database and a folder of its own for a run; it is calm."""
        self._seed, self.workers = seed, []
        self.store = self.store.model_copy(update={"database": f"chaos{seed}"})
        self.folder = self._home / f"run{seed}"
        self.folder.mkdir()
        self.calm.touch()

    @property
    def calm(self) -> Path:
        """While this exists nothing happens inside the workers."""
        return self.folder / "calm"

    @property
    def struck(self) -> Path:
        """What happened inside the workers, a line each."""
        return self.folder / "struck"

    def start(self) -> None:
        """Start broker and gateway; returns when they answer."""
        self.broker.start()
        self.gateway.start()
        self.await_broker()
        self.await_gateway()

    def await_broker(self) -> None:
        """Wait until the broker answers."""
        if self.broker.process is not None:
            wait_until(lambda: broker.answers(self.kafka.servers), self.broker.process, 120, 0.5)

    def await_gateway(self) -> None:
        """Wait until the store answers."""

        def answers() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(f"{self.store.url}/ping", timeout=2).status_code == 200
            return False

        if self.gateway.process is not None:
            wait_until(answers, self.gateway.process, 60)

    def add_worker(self) -> Part:
        """Start one more worker."""
        number = len(self.workers)
        env = {
            f"RIDGELINE_STREAMS_{name.upper()}": str(getattr(SETTINGS, name))
            for name in SETTINGS.model_fields_set
        } | {
            "RIDGELINE_KAFKA_SERVERS": self.kafka.servers,
            "RIDGELINE_KAFKA_PARTITIONS": str(PARTITIONS),
            "RIDGELINE_STORE_URL": self.store.url,
            "RIDGELINE_STORE_DATABASE": self.store.database,
            "RIDGELINE_STREAMS_INSTANCE": f"worker{number}",
            "RIDGELINE_STREAMS_APP_ID": self.store.database,
            "RIDGELINE_STREAMS_DATA_DIR": str(self.folder / f"data{number}"),
            "CHAOS_SEED": f"{self._seed}/{number}",
            "CHAOS_CALM": str(self.calm),
            "CHAOS_STRUCK": str(self.struck),
        }
        command = [sys.executable, "-m", "benchmarks.chaos.worker"]
        part = Part(f"worker{number}", command, self.folder / f"worker{number}.log", env)
        self.workers.append(part)
        part.start()
        return part

    def await_workers(self) -> None:
        """Wait until the workers read."""
        for worker in self.workers:
            if worker.process is not None:
                wait_until(lambda: READY in worker.text(), worker.process, 120)  # noqa: B023 - at once

    def end(self) -> None:
        """Kill the workers."""
        for worker in self.workers:
            worker.wanted = False
            worker.signal(signal.SIGCONT)
            worker.kill()

    def stop(self) -> None:
        """Kill everything."""
        self.end()
        for part in (self.gateway, self.broker):
            part.signal(signal.SIGCONT)
            part.kill()

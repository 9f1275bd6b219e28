"""The whole product as its users start it: real processes, real broker, real engine."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from ridgeline.errors import Retry
from ridgeline.local.broker import free_port
from ridgeline.settings import StoreSettings
from ridgeline.store import Store

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
BROKERS = ("embedded", "apache")


@dataclass
class Stack:
    """A running `ridgeline demo` or `ridgeline up`."""

    process: subprocess.Popen[bytes]
    output: Path
    console: str
    store: StoreSettings

    def text(self) -> str:
        """What the terminal shows so far."""
        return self.output.read_text(encoding="utf-8", errors="replace")

    def wait(self, what: str, ready: Callable[[], Any], seconds: float = 300) -> Any:
        """Wait until `ready` returns something true, or fail with what the terminal showed."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.process.poll() is None, f"it ended early:\n{self.text()}"
            with contextlib.suppress(OSError, Retry):
                if found := ready():
                    return found
            time.sleep(0.5)
        pytest.fail(f"no {what} after {seconds} s:\n{self.text()}")

    def api(self, path: str) -> Any:
        """GET of the advisor's HTTP API."""
        with urllib.request.urlopen(self.console + path, timeout=10) as answer:  # noqa: S310 - loopback
            return json.load(answer)

    def detectors(self) -> set[str]:
        """Whose detections the API tells."""
        return {d["detector"] for d in self.api("/api/detections")}

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Rows of the store."""
        store = Store.connect(self.store)
        try:
            return store.query(sql)
        finally:
            store.close()

    def stop(self) -> list[int]:
        """Ctrl-C; the pids of children that outlived it."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(60)
        finally:
            if self.process.poll() is None:
                self.process.kill()
        _, alive = psutil.wait_procs(family, timeout=3)
        return [child.pid for child in alive if child.status() != psutil.STATUS_ZOMBIE]


@contextlib.contextmanager
def running(home: Path, *arguments: str, **variables: str) -> Iterator[Stack]:
    """Start the command on ports of its own and stop it at the end."""
    kafka, store, console = (free_port() for _ in range(3))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RIDGELINE_LOCAL_")}
    environment |= {
        "RIDGELINE_LOCAL_HOME": str(home),
        "RIDGELINE_LOCAL_KAFKA_PORT": str(kafka),
        "RIDGELINE_LOCAL_STORE_PORT": str(store),
        "RIDGELINE_LOCAL_CONSOLE_PORT": str(console),
        "RIDGELINE_LOCAL_METRICS_PORT": str(free_port(following=3)),
        **variables,
    }
    output = home / "terminal.txt"
    with output.open("wb") as terminal:
        process = subprocess.Popen(
            [sys.executable, "-m", "ridgeline.cli", *arguments],
            env=environment,
            stdout=terminal,
            stderr=subprocess.STDOUT,
            cwd=home,
        )
    address = StoreSettings(url=f"http://127.0.0.1:{store}")
    stack = Stack(process, output, f"http://127.0.0.1:{console}", address)
    try:
        yield stack
    finally:
        if process.poll() is None:
            stack.stop()


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest) -> str:
    """Each test runs on the embedded broker and on Apache Kafka."""
    if request.param == "apache":
        request.getfixturevalue("apache_kafka_home")
    return str(request.param)


def test_the_demo_finds_and_advises_and_leaves_no_process(tmp_path: Path, broker: str) -> None:
    """From a bare start to detections, priced advice and a console; Ctrl-C leaves nothing."""
    with running(tmp_path, "demo", RIDGELINE_LOCAL_KAFKA=broker) as demo:
        demo.wait("console address", lambda: demo.console in demo.text())
        demo.wait("detection", lambda: "HBM" in demo.text() or "decode" in demo.text())
        demo.wait("stored detection", lambda: "bandwidth_bound_decode" in demo.detectors())
        advice = demo.wait("advice", lambda: demo.api("/api/advice"))
        count = "SELECT uniqExact(device) AS n FROM gpu_windows FINAL"
        demo.wait("window of every GPU", lambda: demo.query(count)[0]["n"] >= 256)
        gpus = demo.query(count)
        left = demo.stop()

    assert demo.process.returncode == 0
    assert left == []
    assert gpus[0]["n"] == 256
    assert all(a["confidence"] and a["verify"] for a in advice)


def test_up_stores_this_machines_own_interfaces(tmp_path: Path, broker: str) -> None:
    """Real input: rows of this machine's network interfaces; what is absent is said once."""
    with running(tmp_path, "up", RIDGELINE_LOCAL_KAFKA=broker) as up:
        up.wait("console address", lambda: up.console in up.text())
        rows = up.wait(
            "network rows",
            lambda: up.query(
                "SELECT name, sum(rx_bytes_inc) AS received FROM fabric_windows FINAL"
                " JOIN inventory FINAL USING device GROUP BY name"
            ),
        )
        text = up.text()
        left = up.stop()

    assert left == []
    assert {row["name"] for row in rows} <= {p.name for p in Path("/sys/class/net").iterdir()}
    assert text.count("no NVIDIA driver") == (0 if Path("/dev/nvidiactl").exists() else 1)

"""`ridgeline up` as a process, with stand-ins for the three services."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaProducer

from ridgeline.events import Detection, EpisodeState, Severity
from ridgeline.settings import LocalSettings
from tests.local.test_supervisor import local_settings

SERVICE = """
import http.server, os, sys
def main():
    if {name!r} == "collectors":
        print('level=info event="collector is off" collector=nvml reason="no driver here"')
    port = int(os.environ["{variable}"])
    http.server.ThreadingHTTPServer(("127.0.0.1", port), http.server.SimpleHTTPRequestHandler
    ).serve_forever()
if __name__ == "__main__":
    main()
"""
PORTS = {
    "collectors": "RIDGELINE_COLLECT_METRICS_PORT",
    "streams": "RIDGELINE_STREAMS_METRICS_PORT",
    "advisor": "RIDGELINE_ADVISOR_PORT",
}


class Up:
    """A running `ridgeline up` and what it printed."""

    def __init__(self, local: LocalSettings, folder: Path) -> None:
        for name, variable in PORTS.items():
            package = folder / "fakes" / name
            package.mkdir(parents=True)
            (package / "__init__.py").touch()
            code = SERVICE.format(name=name, variable=variable)
            (package / "__main__.py").write_text(code, encoding="utf-8")
        self.local = local
        self.env = os.environ | {
            "PYTHONPATH": str(folder / "fakes"),
            "RIDGELINE_LOCAL_HOME": str(local.home),
            "RIDGELINE_LOCAL_KAFKA_PORT": str(local.kafka_port),
            "RIDGELINE_LOCAL_STORE_PORT": str(local.store_port),
            "RIDGELINE_LOCAL_CONSOLE_PORT": str(local.console_port),
            "RIDGELINE_LOCAL_METRICS_PORT": str(local.metrics_port),
        }
        self._output = folder / "output"
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        """Start the command line."""
        command = [sys.executable, "-P", "-m", "ridgeline.cli", "up"]
        with self._output.open("ab") as output:
            return subprocess.Popen(command, env=self.env, stdout=output, stderr=output)

    def text(self) -> str:
        """Everything printed so far."""
        return self._output.read_text(encoding="utf-8")

    def until(self, text: str, times: int = 1) -> None:
        """Wait until it printed something; fails with the output."""
        deadline = time.monotonic() + 150
        while self.text().count(text) < times:
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.1)

    def children(self) -> list[psutil.Process]:
        """Every process below it."""
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """A stack that serves."""
    stack = Up(local_settings(tmp_path / "home"), tmp_path)
    try:
        stack.until("console: ")
        yield stack
    finally:
        if stack.process.poll() is None:
            stack.process.terminate()
            stack.process.wait(60)


def hot() -> Detection:
    """A detection that opens."""
    return Detection(
        id="1",
        detector="thermal_limit",
        condition="thermal_throttle",
        state=EpisodeState.OPEN,
        severity=Severity.WARNING,
        node=1,
        device=2,
        subject="node07 gpu3",
        opened_ms=1_700_000_000_000,
        updated_ms=1_700_000_000_000,
        summary="runs too hot",
    )


async def say(up: Up, *events: Detection) -> None:
    """Send events to the stack's broker."""
    servers = f"127.0.0.1:{up.local.kafka_port}"
    async with AIOKafkaProducer(bootstrap_servers=servers) as out:
        for event in events:
            await out.send_and_wait("detections", event.to_bytes())


async def test_up_shows_detections_and_stops(up: Up) -> None:
    """It says what is absent once, shows detections as sentences, and Ctrl-C leaves no process."""
    detection = hot()
    update = detection.model_copy(update={"state": EpisodeState.UPDATE, "summary": "hidden"})
    await say(up, update, detection)
    up.until("warning   node07 gpu3: runs too hot")
    children = up.children()
    up.process.send_signal(signal.SIGINT)
    code = up.process.wait(60)

    assert code == 0
    assert "hidden" not in up.text()
    assert up.text().count("\nno driver here\n") == 1
    assert len(children) == 5
    assert not any(child.is_running() for child in children)


async def test_broker_and_service_come_back(up: Up) -> None:
    """A killed service and a killed broker are replaced; detections still show."""
    await say(up, hot())
    up.until("runs too hot")
    by_name = {" ".join(child.cmdline()): child for child in up.children()}
    next(child for line, child in by_name.items() if "-m advisor" in line).kill()
    up.until("advisor: ready", 2)
    next(child for line, child in by_name.items() if "tansu" in line).kill()
    up.until("the broker came back empty")
    up.until("streams: ready", 2)
    await say(up, hot())
    up.until("runs too hot", 2)

    assert len(up.children()) == 5


def test_kill_nine_leaves_no_process_and_a_new_start_works(up: Up) -> None:
    """After kill -9 of the supervisor nothing survives, and the same home starts again."""
    children = up.children()
    up.process.kill()
    up.process.wait()
    _, alive = psutil.wait_procs(children, timeout=30)
    up.process = up.start()
    up.until("console: ", 2)

    assert alive == []


def test_second_up_is_refused_in_one_line(up: Up) -> None:
    """A second instance in the same home is exit 2 with one plain line."""
    command = [sys.executable, "-P", "-m", "ridgeline.cli", "up"]
    done = subprocess.run(command, env=up.env, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr.startswith("ridgeline: RIDGELINE_LOCAL_HOME: ")
    assert done.stderr.count("\n") == 1

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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest

from advisor.plan.plans import PLANS
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


@dataclass(frozen=True)
class Demo:
    """What a demo was seen to do, and what plans asked beside it answered."""

    advice: list[dict[str, Any]]
    gpus: int
    left: list[int]
    returncode: int | None
    plans: dict[str, subprocess.CompletedProcess[str]]

    def plan(self, name: str) -> dict[str, Any]:
        """The answer of a plan as JSON."""
        run = self.plans[name]
        assert 0 == run.returncode, run.stderr
        answer: dict[str, Any] = json.loads(run.stdout)
        return answer


LIVE = ("disaggregate", "capacity", "accelerator", "cooling", "network", "burst")
"""Plans that take `--live`; `test_every_plan_that_takes_live_is_asked` holds the list to that."""


def planned(stack: Stack) -> dict[str, subprocess.CompletedProcess[str]]:
    """Every plan as an operator beside the stack asks it, two at a time."""

    def one(name: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ridgeline.cli", "plan", name, "--live", "--json"],
            env=os.environ | {"RIDGELINE_STORE_URL": stack.store.url},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(LIVE, pool.map(one, LIVE), strict=True))


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Demo]:
    """Runs the demo on a broker, once; plans are asked beside the embedded one."""

    @cache
    def ran(broker: str) -> Demo:
        home = tmp_path_factory.mktemp(broker)
        with running(home, "demo", RIDGELINE_LOCAL_KAFKA=broker) as demo:
            demo.wait("console address", lambda: demo.console in demo.text())
            demo.wait("detection", lambda: "HBM" in demo.text() or "decode" in demo.text())
            demo.wait("stored detection", lambda: "bandwidth_bound_decode" in demo.detectors())
            demo.wait("advice", lambda: demo.api("/api/advice"))
            count = "SELECT uniqExact(device) AS n FROM gpu_windows FINAL"
            demo.wait("window of every GPU", lambda: demo.query(count)[0]["n"] >= 256)
            gpus = demo.query(count)
            if broker == "embedded":
                demo.wait("advice about serving", lambda: about_serving(demo.api("/api/advice")))
            advice = demo.api("/api/advice")
            plans = planned(demo) if broker == "embedded" else {}
            left = demo.stop()
        return Demo(advice, gpus[0]["n"], left, demo.process.returncode, plans)

    return ran


def about_serving(advice: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is said of prefill and decode."""
    return [a for a in advice if a["rule"] == "serving.disaggregate"]


def test_the_demo_finds_and_advises_and_leaves_no_process(
    demos: Callable[[str], Demo], broker: str
) -> None:
    """From a bare start to detections, priced advice and a console; Ctrl-C leaves nothing."""
    demo = demos(broker)

    assert demo.returncode == 0
    assert demo.left == []
    assert demo.gpus == 256
    assert demo.advice
    assert all(a["confidence"] and a["verify"] for a in demo.advice)


def test_every_plan_that_takes_live_is_asked() -> None:
    """A plan that learns to read the store joins the list."""
    assert set(LIVE) == {plan.name for plan in PLANS if "live" in plan.options.model_fields}


@pytest.mark.parametrize("name", LIVE)
def test_a_plan_speaks_of_what_runs(demos: Callable[[str], Demo], name: str) -> None:
    """Nothing but the answer is printed; what it stands on is the store, and measured."""
    demo = demos("embedded")
    answer = demo.plan(name)

    assert "" == demo.plans[name].stderr
    assert answer["answer"]
    assert "the store" in answer["sources"][0]
    serving = name in {"disaggregate", "capacity", "accelerator", "burst"}
    said = "\n".join(answer["sources"])
    assert serving is ("vLLM 0.12.0 on 24 of 24 engines" in said)
    assert not any("serving software" in warning for warning in answer["warnings"])
    measured = any(n["confidence"] == "measured" for n in answer["numbers"].values())
    assert measured or "measured, 64 GPUs of prefill, 128 GPUs of decode" in said


def test_plans_and_live_advice_speak_of_the_same_cluster(demos: Callable[[str], Demo]) -> None:
    """The engines and the software that advice counts are those of the plans."""
    demo = demos("embedded")
    evidence = {e["name"]: e for a in about_serving(demo.advice) for e in a["evidence"]}

    assert 24 == evidence["serving software"]["value"]
    assert "vLLM 0.12.0 on 24 of 24 engines" in evidence["serving software"]["note"]
    assert "8 prefill and 16 decode" in demo.plan("disaggregate")["answer"]
    assert "over 128 GPUs" in demo.plan("network")["answer"]
    assert "loop-" in demo.plan("cooling")["sources"][0]


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

"""`ridgeline plan ... --live` as a user runs it, on what the streams wrote of a simulated cluster.

The store, the command and the code between a collector's rows and the store are the real ones; only
Kafka is left out. All plans are asked of the same minutes.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from collectors.simulator import Simulator, load
from collectors.simulator.scenario import ClusterPart, ServicePart, TrafficPart
from ridgeline.pools import Role
from ridgeline.schema import SERVING
from ridgeline.settings import StoreSettings
from ridgeline.store import Store
from tests.pipeline import Pipeline

SECONDS, STEP_SECONDS = 900, 5
CODE_PER_SECOND = 30.0
AHEAD_SECONDS = 720  # of telemetry, so that a slow machine does not find it stale
DATABASE = "plan_live_process"
Answer = dict[str, Any]


CHAT, CODE, DOCS = (("--pool", service) for service in ("chat", "code", "docs"))
PLANS = (
    ("disaggregate", *CHAT),
    ("disaggregate", *CODE),
    ("capacity", *CHAT),
    ("accelerator", *CHAT),
    ("cooling",),
    ("cooling", "--loop", "loop-a"),
    ("network", *CODE),
    ("burst", *CHAT),
    ("cooling", "--loop", "loop-z"),
    ("network", *DOCS),
    ("burst", *DOCS),
)


@dataclass(frozen=True)
class Run:
    """What a command left behind."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Cluster:
    """What the engines counted, and what every plan says of them."""

    runs: dict[tuple[str, ...], Run]
    requests_per_second: float
    prompt_tokens: float
    output_tokens: float
    power_watts: float

    def plan(self, *arguments: str) -> Answer:
        """What a plan answered."""
        found = self.runs[arguments]
        assert 0 == found.code, found.err
        answer: Answer = json.loads(found.out)
        return answer


def asked(store_url: str) -> dict[tuple[str, ...], Run]:
    """All commands at once, each in its own process on this test's database.

    Together, so that none finds telemetry that has become stale meanwhile.
    """
    named = {"RIDGELINE_STORE_URL": store_url, "RIDGELINE_STORE_DATABASE": DATABASE}
    started = {
        plan: subprocess.Popen(
            [sys.executable, "-m", "ridgeline.cli", "plan", *plan, "--live", "--json"],
            env=os.environ | named,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for plan in PLANS
    }
    return {plan: Run(*_ended(process)) for plan, process in started.items()}


def _ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate()
    return process.returncode, out, err


@pytest.fixture(scope="module")
def cluster(store_url: str) -> Iterator[Cluster]:
    """Minutes of two services of one cluster through the streams into the store."""
    chat = ServicePart(
        name="chat", prefill=2, decode=4, traffic=TrafficPart(requests_per_second=20)
    )
    code = ServicePart(
        name="code",
        model="qwen3-32b",
        mixed=2,
        traffic=TrafficPart(trace="azure-code", requests_per_second=CODE_PER_SECOND),
    )
    parts = ClusterPart(prefill=0, decode=0, training=0, services=(chat, code))
    calm = load("steady").model_copy(update={"cluster": parts})
    store = Store.connect(StoreSettings(url=store_url, database=DATABASE))
    store.migrate()
    pipeline = Pipeline(Simulator(calm), store, AHEAD_SECONDS, STEP_SECONDS)
    start_ms = time.time_ns() // 1_000_000 + (AHEAD_SECONDS - SECONDS) * 1000
    read = asyncio.run(pipeline.run(start_ms, SECONDS))
    engines = [frames[SERVING] for frames in read]
    topology = pipeline.simulator.topology
    pools = {item.device: item.pool for item in topology.inventory(start_ms)}

    def counted(name: str, role: Role) -> float:
        """Of the service that is split."""
        its = np.array([pools[int(device)] == f"chat/{role}" for device in engines[0]["device"]])
        return float((engines[-1][name][its] - engines[0][name][its]).sum())

    requests = counted("requests_finished", Role.DECODE)
    prompts = counted("prompt_tokens", Role.PREFILL)
    yield Cluster(
        runs=asked(store_url),
        requests_per_second=requests / SECONDS,
        prompt_tokens=prompts / counted("requests_finished", Role.PREFILL),
        output_tokens=counted("generation_tokens", Role.DECODE) / requests,
        power_watts=float(pipeline.simulator.gpus.power.sum()),
    )
    store.close()


def number(answer: Answer, name: str) -> float:
    """The likely value of one of an answer's numbers."""
    return float(answer["numbers"][name]["mid"])


def test_disaggregate(cluster: Cluster) -> None:
    """The demand that is planned for is what the engines counted, give or take a minute's noise."""
    answer = cluster.plan("disaggregate", *CHAT)

    demand = answer["numbers"]["demand"]
    assert ("measured", "requests/s") == (demand["confidence"], demand["unit"])
    assert cluster.requests_per_second == pytest.approx(demand["mid"], rel=0.15)
    assert "minutes of chat/prefill" in demand["source"]
    now = _now(answer)
    assert cluster.prompt_tokens == pytest.approx(now["prompt tokens"], rel=0.15)
    assert cluster.output_tokens == pytest.approx(now["output tokens"], rel=0.15)
    assert not any("mean length" in warning for warning in answer["warnings"])  # they were counted
    handed = [w for w in answer["warnings"] if w.startswith("KV caches handed from prefill")]
    assert ["from 2 nodes of 400 Gbit/s (assumed" in w for w in handed] == [True]


def test_capacity(cluster: Cluster) -> None:
    """GPUs for the measured rate; lengths are those that engines counted, none is assumed."""
    answer = cluster.plan("capacity", *CHAT)

    assert cluster.requests_per_second == pytest.approx(number(answer, "rate to carry"), rel=0.15)
    assert "measured" == answer["numbers"]["rate to carry"]["confidence"]
    assert 8 <= number(answer, "GPUs") <= 64
    assert not any("lengths" in warning for warning in answer["warnings"])


def test_accelerator(cluster: Cluster) -> None:
    """The demand is what decode engines wrote, and the roofline has the fleet's pools on it."""
    answer = cluster.plan("accelerator", *CHAT)

    demand = cluster.requests_per_second * cluster.output_tokens
    assert demand == pytest.approx(number(answer, "demand"), rel=0.15)
    assert "measured" == answer["numbers"]["demand"]["confidence"]
    roofline = next(p for p in answer["plots"] if "roofline" in p["title"].lower())
    drawn = {mark["label"].split(" (")[0] for mark in roofline["marks"]}
    assert {"chat/prefill pool", "chat/decode pool"} <= drawn


def test_services_are_planned_apart(cluster: Cluster) -> None:
    """Demand, model and GPUs are those of the service named, as its servers name their model."""
    answer, chat = (cluster.plan("disaggregate", *service) for service in (CODE, CHAT))

    demand = answer["numbers"]["demand"]
    assert CODE_PER_SECOND == pytest.approx(demand["mid"], rel=0.15)
    assert "minutes of code/mixed" in demand["source"]
    # keys and values of a token: 64 layers of Qwen3-32B, 80 of Llama-3 70B
    per_request = [
        number(a, "network for the KV hand-over") / number(a, "demand") for a in (answer, chat)
    ]
    prompts = [_now(a)["prompt tokens"] for a in (answer, chat)]
    ratio = (per_request[0] / prompts[0]) / (per_request[1] / prompts[1])
    assert 64 / 80 == pytest.approx(ratio, rel=0.01)


def _now(answer: Answer) -> dict[str, float]:
    """Quantities of the table of tipping points as they are."""
    tips = next(t for t in answer["tables"] if "now" in t["columns"])
    return {row[0]: row[tips["columns"].index("now")] for row in tips["rows"]}


def test_cooling(cluster: Cluster) -> None:
    """Racks, GPUs and power of the loop; nothing throttles, so nothing is bought."""
    answer = cluster.plan("cooling")
    named = cluster.plan("cooling", "--loop", "loop-a")

    assert "Nothing throttles" in answer["answer"]
    assert 0 == pytest.approx(number(answer, "GPU time throttled by heat"), abs=0.01)
    watts = number(answer, "power of a GPU")
    assert cluster.power_watts / 64 == pytest.approx(watts, rel=0.35)
    assert "minutes of loop-" in answer["sources"][0]
    assert "loop-a" in named["sources"][0]


def test_network(cluster: Cluster) -> None:
    """Nodes and GPUs of the largest pool of a service, and both rails as they are."""
    answer = cluster.plan("network", *CODE)

    assert "over 16 GPUs" in answer["answer"]
    assert answer["action"] == "keep"
    rails = next(t for t in answer["tables"] if t["title"] == "Rails as measured")
    assert [["rail0", 8, 8], ["rail1", 8, 8]] == [row[:3] for row in rails["rows"]]
    assert 0 < number(answer, "busiest rail") < 1
    assert any("--rail-gbps" in warning for warning in answer["warnings"])


def test_burst(cluster: Cluster) -> None:
    """Minutes of history are too few for a split, and that is said; the demand is the pool's."""
    answer = cluster.plan("burst", *CHAT)

    assert "minutes of chat/decode" in answer["sources"][0]
    assert any("a whole day" in warning for warning in answer["warnings"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("cooling", "--loop", "loop-z"),
            "--loop: no GPUs on loop loop-z; there are: loop-a, loop-b",
        ),
        (
            ("network", *DOCS),
            "--pool: no pool docs; there are: chat/decode, chat/prefill, code/mixed",
        ),
        (
            ("burst", *DOCS),
            "--pool: no serving pool docs; there are: chat/decode, chat/prefill, code/mixed",
        ),
    ],
)
def test_what_is_not_there_is_named(
    cluster: Cluster, arguments: tuple[str, ...], said: str
) -> None:
    """One line with what there is, and exit 2."""
    found = cluster.runs[arguments]

    assert (2, "") == (found.code, found.out)
    assert said in found.err

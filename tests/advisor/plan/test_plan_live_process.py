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
from collectors.simulator.scenario import ClusterPart, TrafficPart
from ridgeline.pools import Role
from ridgeline.schema import SERVING
from ridgeline.settings import StoreSettings
from ridgeline.store import Store
from tests.pipeline import Pipeline

SECONDS, STEP_SECONDS = 900, 5
AHEAD_SECONDS = 720  # of telemetry, so that a slow machine does not find it stale
DATABASE = "plan_live_process"
Answer = dict[str, Any]


PLANS = (
    ("disaggregate",),
    ("capacity",),
    ("accelerator",),
    ("cooling",),
    ("cooling", "--loop", "loop-a"),
    ("network",),
    ("burst",),
    ("cooling", "--loop", "loop-z"),
    ("network", "--pool", "chat"),
    ("burst", "--pool", "chat"),
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
    """Minutes of a split cluster through the streams into the store."""
    traffic = TrafficPart(requests_per_second=20)
    parts = ClusterPart(prefill=2, decode=4, training=0)
    calm = load("steady").model_copy(update={"cluster": parts, "traffic": traffic})
    store = Store.connect(StoreSettings(url=store_url, database=DATABASE))
    store.migrate()
    pipeline = Pipeline(Simulator(calm), store, AHEAD_SECONDS, STEP_SECONDS)
    start_ms = time.time_ns() // 1_000_000 + (AHEAD_SECONDS - SECONDS) * 1000
    read = asyncio.run(pipeline.run(start_ms, SECONDS))
    engines = [frames[SERVING] for frames in read]
    topology = pipeline.simulator.topology
    pools = {item.device: item.pool for item in topology.inventory(start_ms)}

    def counted(name: str, pool: Role) -> float:
        its = np.array([pools[int(device)] == pool for device in engines[0]["device"]])
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
    answer = cluster.plan("disaggregate")

    demand = answer["numbers"]["demand"]
    assert ("measured", "requests/s") == (demand["confidence"], demand["unit"])
    assert cluster.requests_per_second == pytest.approx(demand["mid"], rel=0.15)
    assert "minutes of prefill" in demand["source"]
    tips = next(t for t in answer["tables"] if "now" in t["columns"])
    now = {row[0]: row[tips["columns"].index("now")] for row in tips["rows"]}
    assert cluster.prompt_tokens == pytest.approx(now["prompt tokens"], rel=0.15)
    assert cluster.output_tokens == pytest.approx(now["output tokens"], rel=0.15)
    assert not any("assumed" in warning for warning in answer["warnings"])  # lengths were counted


def test_capacity(cluster: Cluster) -> None:
    """GPUs for the measured rate; lengths are those that engines counted, none is assumed."""
    answer = cluster.plan("capacity")

    assert cluster.requests_per_second == pytest.approx(number(answer, "rate to carry"), rel=0.15)
    assert "measured" == answer["numbers"]["rate to carry"]["confidence"]
    assert 8 <= number(answer, "GPUs") <= 64
    assert not any("lengths" in warning for warning in answer["warnings"])


def test_accelerator(cluster: Cluster) -> None:
    """The demand is what decode engines wrote, and the roofline has the fleet's pools on it."""
    answer = cluster.plan("accelerator")

    demand = cluster.requests_per_second * cluster.output_tokens
    assert demand == pytest.approx(number(answer, "demand"), rel=0.15)
    assert "measured" == answer["numbers"]["demand"]["confidence"]
    roofline = next(p for p in answer["plots"] if "roofline" in p["title"].lower())
    drawn = {mark["label"].split(" (")[0] for mark in roofline["marks"]}
    assert {"prefill pool", "decode pool"} <= drawn


def test_cooling(cluster: Cluster) -> None:
    """Racks, GPUs and power of the loop; nothing throttles, so nothing is bought."""
    answer = cluster.plan("cooling")
    named = cluster.plan("cooling", "--loop", "loop-a")

    assert "Nothing throttles" in answer["answer"]
    assert 0 == pytest.approx(number(answer, "GPU time throttled by heat"), abs=0.01)
    watts = number(answer, "power of a GPU")
    assert cluster.power_watts / 48 == pytest.approx(watts, rel=0.35)
    assert "minutes of loop-" in answer["sources"][0]
    assert "loop-a" in named["sources"][0]


def test_network(cluster: Cluster) -> None:
    """Nodes and GPUs of the largest pool, and both rails as they are."""
    answer = cluster.plan("network")

    assert "over 32 GPUs" in answer["answer"]
    assert answer["action"] == "keep"
    rails = next(t for t in answer["tables"] if t["title"] == "Rails as measured")
    assert [["rail0", 6, 6], ["rail1", 6, 6]] == [row[:3] for row in rails["rows"]]
    assert 0 < number(answer, "busiest rail") < 1
    assert any("--rail-gbps" in warning for warning in answer["warnings"])


def test_burst(cluster: Cluster) -> None:
    """Minutes of history are too few for a split, and that is said; the demand is the pool's."""
    answer = cluster.plan("burst")

    assert "minutes of decode" in answer["sources"][0]
    assert any("a whole day" in warning for warning in answer["warnings"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("cooling", "--loop", "loop-z"),
            "--loop: no GPUs on loop loop-z; there are: loop-a, loop-b",
        ),
        (("network", "--pool", "chat"), "--pool: no pool chat; there are: decode, prefill"),
        (
            ("burst", "--pool", "chat"),
            "--pool: no serving pool chat; there are: decode, prefill",
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

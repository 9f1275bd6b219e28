"""The demo's operator follows advice in the simulator, and the advisor says what that brought.

Simulator, streams, store, engine, verifier, API and operator are the real ones under the demo's
own settings; Kafka is left out and the clock is that of the telemetry.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from advisor import facts
from advisor.api import router
from advisor.engine import Engine
from advisor.live import LiveSource
from advisor.outcome import Verifier
from advisor.rules import cooling
from advisor.rules.pricing import Catalog
from collectors.simulator import Simulator, load
from collectors.simulator.scenario import ClusterPart, Scenario
from ridgeline.events import Advice, AdviceState, Verdict
from ridgeline.local.demo_operator import DemoOperator
from ridgeline.local.follow import render
from ridgeline.local.stack import DEMO
from ridgeline.settings import AdvisorSettings, StoreSettings, StreamsSettings
from ridgeline.store import Store
from tests.pipeline import Pipeline

TURN_SECONDS = 30
MOST_SECONDS = 440
BACK_MS = 470_000  # the telemetry begins so long ago, and ends before now


def small_demo() -> Scenario:
    """The demo's failing loop in a cluster of eight nodes."""
    demo = load("demo")
    timeline = tuple(
        e.model_copy(update={"target": ("rack01",)}) for e in demo.timeline if e.kind == "cooling"
    )
    traffic = demo.traffic.model_copy(update={"requests_per_second": 15})
    cluster = ClusterPart(prefill=2, decode=2, training=4)
    return demo.model_copy(update={"cluster": cluster, "timeline": timeline, "traffic": traffic})


@dataclass
class Demo:
    """The demo without Kafka; `now_ms` is the clock of all."""

    store: Store
    repairs: Path
    now_ms: int
    said: list[str] = field(default_factory=list)
    states: list[AdviceState] = field(default_factory=list)

    def __post_init__(self) -> None:
        speed = float(DEMO["RIDGELINE_COLLECT_SPEED"])
        self.pipeline = Pipeline(Simulator(small_demo(), speed, self.repairs), self.store)
        minutes = float(DEMO["RIDGELINE_ADVISOR_VERIFY_MINUTES"])
        settings = AdvisorSettings(verify_minutes=minutes)
        span = facts.span_of(settings, StreamsSettings())
        rules = {cooling.RULE: partial(cooling.rule, catalog=Catalog(), settings=settings)}
        verify = Verifier(self.store, span(0), minutes)
        self.engine = Engine(
            self.store, lambda now: facts.read(self.store, span(now)), rules, verify, self.clock
        )
        self.app = FastAPI()
        self.app.include_router(router(LiveSource(self.engine, self.store, span, self.clock)))

    def clock(self) -> int:
        """Time of the newest telemetry."""
        return self.now_ms

    async def run(self, most_seconds: int) -> Advice:
        """Telemetry, evaluation and operator in turn, until the only advice is verified."""
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://console") as console:
            operator = DemoOperator(console, self.repairs, self.said.append, self.clock)
            for _ in range(0, most_seconds, TURN_SECONDS):
                await self.pipeline.run(self.now_ms, TURN_SECONDS)
                self.now_ms += TURN_SECONDS * 1000
                self.engine.evaluate()
                await operator.look()
                self.states += [a.state for a in self.engine.advice()]
                if any(a.verification for a in self.engine.advice()):
                    break
        (advice,) = self.engine.advice()
        return advice


@pytest.mark.timeout(300)
async def test_what_the_operator_did_is_measured_and_told_in_money(
    store_url: str, tmp_path: Path
) -> None:
    """Throttling is advised on, put right in the simulator, and gone: verdict and money."""
    store = Store.connect(StoreSettings(url=store_url, database="demo_operator"))
    store.migrate()
    demo = Demo(store, tmp_path / "repairs", time.time_ns() // 1_000_000 - BACK_MS)
    try:
        advice = await demo.run(MOST_SECONDS)
    finally:
        store.close()

    said, states = demo.said, demo.states
    assert "loop-b" == advice.scope
    order = (AdviceState.OPEN, AdviceState.ACKNOWLEDGED, AdviceState.RESOLVED)
    first = [states.index(state) for state in order]
    assert sorted(first) == first
    assert {AdviceState.RESOLVED} == set(states[first[-1] :])  # fading heat is not said anew
    assert ["acknowledges", "is done"] == [
        word for line in said for word in ("acknowledges", "is done") if word in line
    ]
    assert all(line.startswith("simulated operator: ") for line in said)
    result = advice.verification
    assert result is not None, said
    assert result.verdict in {Verdict.KEPT, Verdict.PARTLY}, result.text
    (heat,) = result.changes
    assert heat.before.mid > 0.1 > heat.after.mid
    assert min(heat.windows_before, heat.windows_after) >= 12
    assert result.brought is not None
    assert 0 < result.brought.low <= result.brought.high
    told = render(advice)
    assert told is not None
    assert "outcome" in told
    assert "USD/month" in told

"""The HTTP API over a running engine and the real store engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from advisor import facts
from advisor.api import router
from advisor.engine import Engine
from advisor.live import LiveSource
from advisor.service import engine_of
from ridgeline.errors import Retry
from ridgeline.events import AdviceState, CollectorHealth, DeviceKind, Event
from ridgeline.schema import GPU
from ridgeline.settings import AdvisorSettings, StoreSettings
from ridgeline.store import Store
from tests.advisor.test_advisor_facts import NOW_MS, SPAN, item, windows, write

HEADERS = {"Authorization": "Bearer key"}


@pytest.fixture(scope="module")
def store(store_url: str) -> Iterator[Store]:
    """A store with 16 idle GPUs on two nodes."""
    made = Store.connect(StoreSettings(url=store_url, database="adv_api"))
    made.migrate()
    gpus = [
        item(f"n{i // 8}", DeviceKind.GPU, f"GPU-{i}", pool="training", model="NVIDIA H100 80GB")
        for i in range(16)
    ]
    made.insert_events(gpus)
    idle = {"sm_util_ratio_avg": 0.0, "power_watts_avg": 75}
    write(made, GPU, np.concatenate([windows(GPU, g.device, g.node, 10, **idle) for g in gpus]))
    health = [
        CollectorHealth(
            node=1,
            host="n0",
            collector=name,
            ts=NOW_MS,
            success=name == "nvml",
            duration_seconds=0.1,
            rows=8,
        )
        for name in ("nvml", "netdev")
    ]
    made.insert_events(health)
    yield made
    made.close()


@pytest.fixture
async def client(store: Store) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API with one evaluation done."""
    engine = engine_of(store, lambda _now: SPAN, AdvisorSettings())
    engine.evaluate()
    source = LiveSource(engine, store, lambda _now: SPAN, clock=lambda: NOW_MS)
    app = FastAPI()
    app.include_router(router(source, "key"))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://advisor") as made:
        yield made


async def test_idle_gpus_become_advice_with_its_life(client: httpx.AsyncClient) -> None:
    """From windows in the store to advice a person acknowledges, snoozes and resolves."""
    (listed,) = (await client.get("/api/advice", headers=HEADERS)).json()
    path = f"/api/advice/{listed['id']}"

    assert listed["rule"] == "capacity.consolidate"
    assert listed["gain"]["mid"] == pytest.approx(16 * 0.8 * 2.40 * 730)
    one = (await client.get(path, headers=HEADERS)).json()
    assert one == listed
    for action, body, state in (
        ("acknowledge", {"by": "kim"}, AdviceState.ACKNOWLEDGED),
        ("snooze", {"by": "kim", "hours": 2}, AdviceState.SNOOZED),
        ("resolve", {"by": "kim", "note": "given to research"}, AdviceState.RESOLVED),
    ):
        answer = await client.post(f"{path}/{action}", headers=HEADERS, json=body)
        assert answer.json()["state"] == state
    left = await client.get("/api/advice", headers=HEADERS, params={"state": "open"})
    assert left.json() == []


async def test_cluster_state(client: httpx.AsyncClient) -> None:
    """Pools, nodes and collectors as the console shows them."""
    state = (await client.get("/api/cluster", headers=HEADERS)).json()

    (pool,) = state["pools"]
    assert (pool["name"], pool["gpus"], pool["nodes"]) == ("training", 16, 2)
    assert pool["power_watts"] == pytest.approx(16 * 75)
    assert pool["dram_ratio"] is None
    assert ["n0", "n1"] == [n["host"] for n in state["nodes"]]
    assert [8, 8] == [n["gpus"] for n in state["nodes"]]
    assert state["nodes"][0]["hottest_celsius"] is None
    assert state["nodes"][0]["last_seen_ms"] == NOW_MS - 10_000
    assert (state["collectors_ok"], state["collectors_failing"]) == (1, 1)


async def test_detections_are_listed(client: httpx.AsyncClient) -> None:
    """None there: an empty list."""
    assert [] == (await client.get("/api/detections", headers=HEADERS)).json()


@pytest.mark.parametrize("token", ["", "Bearer", "Bearer ke", "Bearer key2", "key", "Bearer käy"])
async def test_a_wrong_token_is_refused(client: httpx.AsyncClient, token: str) -> None:
    """401 on everything but health."""
    headers = {b"Authorization": token.encode()}

    assert (await client.get("/api/advice", headers=headers)).status_code == 401
    assert (await client.post("/api/advice/x/resolve", headers=headers)).status_code == 401
    assert (await client.get("/api/health", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/advice/nothing/acknowledge", {"by": "kim"}, 404),
        ("/api/advice/nothing/snooze", {"by": "kim", "hours": 0}, 422),
        ("/api/advice/nothing/resolve", {}, 422),
        ("/api/advice/nothing/resolve", {"by": "kim", "why": "typo"}, 422),
    ],
)
async def test_wrong_requests(
    client: httpx.AsyncClient, path: str, body: dict[str, object], status: int
) -> None:
    """Unknown advice is 404, wrong bodies 422."""
    assert (await client.post(path, headers=HEADERS, json=body)).status_code == status


class Away:
    """A store that is away."""

    def query(
        self,
        sql: str,  # noqa: ARG002 - the protocol's
        parameters: Mapping[str, Any] | None = None,  # noqa: ARG002 - likewise
    ) -> list[dict[str, Any]]:
        """Raise."""
        raise Retry("connection refused")

    def insert_events(self, events: Sequence[Event]) -> None:  # noqa: ARG002 - the protocol's
        """Raise."""
        raise Retry("connection refused")


async def test_a_store_that_is_away_is_503() -> None:
    """The reader learns that the store is away, not that there is nothing."""
    engine: Engine[facts.Facts] = Engine(Away(), lambda now: facts.Facts(now_ms=now), {})
    app = FastAPI()
    app.include_router(router(LiveSource(engine, Away(), lambda _now: SPAN)))

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://a") as client:
        answer = await client.get("/api/detections")

    assert answer.status_code == 503
    assert "connection refused" in answer.text

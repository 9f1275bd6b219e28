"""One process: the evaluation loop, the publisher, the HTTP API and the console."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

import structlog
import uvicorn
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from fastapi import FastAPI

from advisor import facts
from advisor.accounts import counted_once
from advisor.api import router
from advisor.console.page import register
from advisor.engine import Engine, now_ms
from advisor.live import LiveSource
from advisor.notify.chat import Chat, sender
from advisor.notify.grafana import Annotate, annotator
from advisor.outcome import Verifier
from advisor.rules import RULES, Rule
from advisor.rules.pricing import Catalog
from advisor.served_models import Unmatched, check
from ridgeline import kafka, metrics
from ridgeline.errors import Retry
from ridgeline.events import Advice
from ridgeline.settings import (
    AdvisorSettings,
    GrafanaSettings,
    KafkaSettings,
    StoreSettings,
    StreamsSettings,
)
from ridgeline.store import Store
from ridgeline.topics import ADVICE

log = structlog.get_logger()


def engine_of(
    store: Store, span: Callable[[int], facts.Span], settings: AdvisorSettings
) -> Engine[facts.Facts]:
    """The engine with all rules, over a store."""
    catalog = Catalog.of(settings)
    bound = {name: partial(_applied, rule, catalog, settings) for name, rule in RULES}
    verify = Verifier(store, span(0), settings.verify_minutes)

    def account(advice: Sequence[Advice], seen: facts.Facts) -> Mapping[str, Advice]:
        return counted_once(advice, seen, catalog, settings)

    return Engine(store, lambda now: facts.read(store, span(now)), bound, verify, account=account)


def _applied(
    rule: Rule, catalog: Catalog, settings: AdvisorSettings, seen: facts.Facts
) -> tuple[Advice, ...]:
    return rule(seen, catalog, settings)


class Publisher:
    """Sends changes to Kafka; what cannot be sent now is kept and sent first next time."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._producer: AIOKafkaProducer | None = None
        self._pending: list[Advice] = []

    async def publish(self, changes: list[Advice]) -> None:
        """Send the changes; never raises on a broker that is away."""
        self._pending += changes
        try:
            while self._pending:
                advice = self._pending[0]
                producer = await self._started()
                await producer.send_and_wait(ADVICE.name, advice.to_bytes(), key=advice.id.encode())
                metrics.PUBLISH_FRAMES.labels(ADVICE.name).inc()
                self._pending.pop(0)
        except (KafkaError, OSError) as error:
            metrics.PUBLISH_ERRORS.labels(ADVICE.name).inc()
            log.warning("advice waits for Kafka", pieces=len(self._pending), error=str(error))

    async def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = kafka.producer(self._settings)
            try:
                await producer.start()
            except BaseException:
                await producer.stop()
                raise
            self._producer = producer
        return self._producer

    async def close(self) -> None:
        """Stop the producer."""
        if self._producer is not None:
            await self._producer.stop()


class Loop:
    """Evaluates, publishes and tells, again and again; a failing dependency costs one turn."""

    def __init__(
        self,
        engine: Engine[facts.Facts],
        publisher: Publisher,
        chat: Chat,
        annotate: Annotate | None,
        settings: AdvisorSettings,
    ) -> None:
        self._engine = engine
        self._publisher = publisher
        self._chat = chat
        self._annotate = annotate
        self._interval_seconds = settings.interval_seconds
        self._unmatched = Unmatched(settings)

    async def run(self, recovered: asyncio.Event) -> None:
        """Recover, then evaluate for ever."""
        await kafka.with_backoff(
            "store", lambda: asyncio.to_thread(self._engine.recover), retry_on=(Retry,)
        )
        recovered.set()
        while True:
            await self.turn()
            await asyncio.sleep(self._interval_seconds)

    async def turn(self) -> None:
        """One evaluation and what follows from it."""
        try:
            await asyncio.to_thread(self._engine.evaluate)
        except Retry as error:
            log.warning("not evaluated, the store is away", error=str(error))
        except Exception:
            # the outermost loop: what is wrong with one turn must not end the advisor
            log.exception("evaluation failed")
        seen = self._engine.facts
        if seen is not None:
            self._unmatched.tell(seen)
        changes = self._engine.take_outbox()
        await self._publisher.publish(changes)
        if self._annotate is not None and changes:
            await asyncio.to_thread(self._annotate, changes)
        found = [f.detection for f in seen.found] if seen else []
        await asyncio.to_thread(self._chat.tell, self._engine.advice(), found, now_ms())


async def run(settings: AdvisorSettings) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        Misconfigured: a setting of any part is wrong; raised before anything starts.
    """
    check(settings)
    store_settings, kafka_settings = StoreSettings.load(), KafkaSettings.load()
    streams = StreamsSettings.load()
    span = facts.span_of(settings, streams)
    chat = Chat(sender(settings.notify), settings)
    annotate = annotator(GrafanaSettings.load())
    stop = _stop_signal()
    async with contextlib.AsyncExitStack() as stack:
        started = asyncio.create_task(_store(store_settings))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({started, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            started.cancel()
            return
        store = await started
        stack.callback(store.close)
        engine = engine_of(store, span, settings)
        publisher = Publisher(kafka_settings)
        stack.push_async_callback(publisher.close)
        loop = Loop(engine, publisher, chat, annotate, settings)
        limit = streams.dead_letter_limit
        source = LiveSource(engine, store, span, dead_letter_limit=limit)
        app = application(source, settings)
        evaluating = await stack.enter_async_context(_background(loop))
        await stack.enter_async_context(_serving(app, settings))
        log.info("advisor runs", address=f"http://{settings.host}:{settings.port}")
        # a console whose advice never changes again is worse than none
        await asyncio.wait({evaluating, stopping}, return_when=asyncio.FIRST_COMPLETED)


def application(source: LiveSource, settings: AdvisorSettings) -> FastAPI:
    """The API and, where it is installed, the console, as one application."""
    app = FastAPI(title="Ridgeline", docs_url="/api/docs", openapi_url="/api/openapi.json")
    app.include_router(router(source, settings.token.get_secret_value()))
    register(app, source, settings.token.get_secret_value())
    return app


async def _store(settings: StoreSettings) -> Store:
    def connected() -> Store:
        store = Store.connect(settings)
        store.migrate()
        return store

    return await kafka.with_backoff(
        "store", lambda: asyncio.to_thread(connected), retry_on=(Retry,)
    )


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


@asynccontextmanager
async def _background(loop: Loop) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(loop.run(asyncio.Event()))
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class _Server(uvicorn.Server):
    """Uvicorn without its signal handlers: this process has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


@asynccontextmanager
async def _serving(app: FastAPI, settings: AdvisorSettings) -> AsyncIterator[None]:
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_level="warning",
        timeout_graceful_shutdown=2,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve())
    try:
        yield
    finally:
        server.should_exit = True
        await task

"""The stream processor: `python -m streams`."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import faulthandler
import gc
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from faust.types import TP

from ridgeline import logs, metrics
from ridgeline.errors import Misconfigured, Retry
from ridgeline.events import Detection, Event
from ridgeline.frames import Headers
from ridgeline.kafka import ensure_topics, producer, with_backoff
from ridgeline.settings import KafkaSettings, StoreSettings, StreamsSettings
from ridgeline.store import Store
from ridgeline.topics import DEAD_LETTER, DETECTIONS
from streams.app import CONSUMED, attach, instance_of, make_app
from streams.followed import follow
from streams.health import Reporter, report_for_ever
from streams.processor import Processor
from streams.sink import Sink
from streams.watchdog import Heartbeat, watch

log = structlog.get_logger()
_STOP_SECONDS = 4.0


async def publish(to: AIOKafkaProducer, events: Sequence[Event]) -> None:
    """Send events to their topics; returns when the broker has them."""
    waiting = []
    for event in events:
        is_detection = isinstance(event, Detection)
        topic = DETECTIONS if is_detection else DEAD_LETTER
        key = event.device.to_bytes(8, "little") if isinstance(event, Detection) else None
        waiting.append(await to.send(topic.name, event.to_bytes(), key=key))
    for one in waiting:
        await one


async def append_mark(to: AIOKafkaProducer, topic: str, partition: int, headers: Headers) -> None:
    """Append a message without rows to a partition; returns when the broker has it."""
    await to.send_and_wait(topic, b"", partition=partition, headers=[*headers])


def rare_collections() -> None:
    """Have the garbage collector leave alone what is there for good, and look less often.

    Every fetched record is a handful of short-lived objects: with default thresholds it looked
    through all loaded modules again and again, 30 % of the CPU time of reading.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(1_000_000, 20, 20)  # a fetch makes tens of thousands


def keep_freed_memory() -> None:
    """Have the C library keep what is freed for what is fetched next, instead of giving it back.

    A fetch is megabytes, which were mapped, cleared page by page and unmapped again each time
    (docs/decisions/005). Numbers of mallopt(3), glibc's; another C library does as it likes.
    """
    trim_threshold, mmap_threshold = -1, -3
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, 32 * 2**20)
        libc.mallopt(trim_threshold, 128 * 2**20)


async def serve(settings: StreamsSettings, kafka: KafkaSettings, store_at: StoreSettings) -> int:
    """Process until SIGTERM or SIGINT; the exit code.

    Raises:
        Misconfigured: the store refuses us.
    """
    stop, faults = asyncio.Event(), list[str]()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def broken(why: str) -> None:
        faults.append(why)
        stop.set()

    beating = asyncio.create_task(Heartbeat(settings.stall_seconds).run())
    work = asyncio.create_task(_work(settings, kafka, store_at, stop, broken))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not work.done():
        await asyncio.wait({work}, timeout=_STOP_SECONDS)
    stopping.cancel()
    beating.cancel()
    if not work.done():
        work.cancel()
    elif work.exception() is not None:
        work.result()
    for fault in faults:
        log.critical("ending so that a fresh process goes on", why=fault)
    return 1 if faults else 0


async def _work(
    settings: StreamsSettings,
    kafka: KafkaSettings,
    store_at: StoreSettings,
    stop: asyncio.Event,
    broken: Callable[[str], None],
) -> None:
    await ensure_topics(kafka)
    store = await with_backoff(
        "store", lambda: asyncio.to_thread(Store.connect, store_at), (Retry, OSError)
    )
    await with_backoff("store", lambda: asyncio.to_thread(store.migrate), (Retry, OSError))
    sender = producer(kafka)
    await with_backoff("kafka", sender.start)
    for topic in CONSUMED:  # from then on it keeps up with how many partitions they have
        await with_backoff("kafka", partial(sender.partitions_for, topic))
    app = make_app(settings, kafka)
    sink = Sink(
        store,
        lambda events: publish(sender, events),
        lambda topic, partition, offset: app.consumer.release(TP(topic, partition), offset),
        rollup_seconds=settings.rollup_seconds,
        window_ms=settings.window_seconds * 1000,
    )
    processor = Processor(
        settings,
        store,
        sink,
        lambda topic, number, headers: append_mark(sender, topic, number, headers),
        lambda topic: len(sender.client.cluster.partitions_for_topic(topic) or ()),
        lambda topic, number, yes: app.consumer.hold(TP(topic, number), yes=yes),
    )
    attach(app, processor, broken)
    starting = asyncio.create_task(app.start())
    started, _ = await asyncio.wait({starting}, timeout=settings.stall_seconds)
    if not started:
        broken(f"Faust has not started in {settings.stall_seconds:g} s")
        return
    starting.result()
    rare_collections()
    log.info("processing", group=settings.app_id, servers=kafka.servers, store=store_at.url)
    tasks = [
        asyncio.create_task(job)
        for job in (
            sink.run(),
            processor.mark_silent(),
            processor.mark_missing(),
            follow(
                kafka.servers,
                lambda: processor.dependencies.followed,
                lambda: processor.dependencies.paused,
                processor.dependencies.hear,
            ),
            processor.refresh_inventory(),
            report_for_ever(
                Reporter(instance_of(settings), settings.dead_letter_limit),
                store.insert_events,
                processor.refresh_watermarks,
            ),
            _guard(app, processor, sink, kafka, settings, broken),
        )
    ]
    ended = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait({*tasks, ended}, return_when=asyncio.FIRST_COMPLETED)
        for task in done - {ended}:
            task.result()
    finally:
        for task in (*tasks, ended):
            task.cancel()
        await asyncio.gather(*tasks, ended, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS / 2):
                await app.stop()
        await sender.stop()
        store.close()


async def _guard(  # noqa: PLR0917 - wiring
    app: Any,
    processor: Processor,
    sink: Sink,
    kafka: KafkaSettings,
    settings: StreamsSettings,
    broken: Callable[[str], None],
) -> None:
    def mine() -> set[tuple[str, int]]:
        return {(tp.topic, tp.partition) for tp in app.consumer.assignment()}

    def positions() -> dict[tuple[str, int], int]:
        # what an earlier process has done with is not read again
        read = processor.positions
        return {tp: max(read.get(tp, -1), app.consumer.committed(TP(*tp)) - 1) for tp in mine()}

    why = await watch(
        kafka.servers,
        positions,
        mine,
        lambda: sink.waiting_for is not None,
        settings.stall_seconds,
    )
    tell_all(app)
    broken(why)
    await asyncio.sleep(3600)


def tell_all(app: Any) -> None:
    """Say on stderr where everything stands: whoever looks into a stall has nothing else."""
    consumer = app.consumer
    log.warning(
        "where a stalled worker stands",
        flow=app.flow_control.is_active(),
        consumer_flow=consumer.flow_active,
        generation=app.consumer_generation_id,
        rebalancing=app.rebalancing,
        paused=sorted(map(str, consumer._paused_partitions)),  # noqa: SLF001 - Faust has no other way
    )
    for task in asyncio.all_tasks():
        task.print_stack(limit=4)
    faulthandler.dump_traceback()


def check(settings: StreamsSettings) -> None:
    """Refuse settings that do not fit together.

    Raises:
        Misconfigured: naming the setting.
    """
    if settings.window_seconds % settings.hop_seconds:
        problem = f"must divide the window of {settings.window_seconds} s"
        raise Misconfigured(
            "RIDGELINE_STREAMS_HOP_SECONDS", f"{problem} (found {settings.hop_seconds})"
        )


def main() -> None:
    """Run the processor; exit 2 with one line when a setting is wrong."""
    logs.configure("streams")
    try:
        settings, kafka = StreamsSettings.load(), KafkaSettings.load()
        store_at = StoreSettings.load()
        check(settings)
        metrics.serve(settings.metrics_port)
        keep_freed_memory()
        code = asyncio.run(serve(settings, kafka, store_at))
    except Misconfigured as error:
        sys.stderr.write(f"ridgeline: {error}\n")
        sys.exit(2)
    sys.exit(code)


if __name__ == "__main__":
    main()

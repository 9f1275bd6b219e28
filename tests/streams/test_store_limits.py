"""A store that has no room, or no memory: the sink waits, reads no more, loses nothing, says so."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator, Sequence

import pytest
from prometheus_client import generate_latest

from ridgeline import metrics
from ridgeline.events import Event
from ridgeline.settings import StoreSettings, StreamsSettings
from ridgeline.store import Store
from ridgeline.store.connection import Connection
from streams import sink as sinks
from streams.processor import Processor
from streams.sink import Sink
from tests.streams.test_sink_processor import gpu_batch

Limit = Callable[[bool], None]


@pytest.fixture
def connection(store_url: str) -> Iterator[Connection]:
    """Of a migrated database of one's own, on the engine itself."""
    settings = StoreSettings(url=store_url, database=f"l_{uuid.uuid4().hex[:12]}")
    connection = Connection.open(settings)
    Store(connection).migrate()
    yield connection
    connection.close()


def full(connection: Connection) -> Limit:
    """The engine finds too little free space on the disk of the windows."""

    def limit(on: bool) -> None:  # noqa: FBT001 - a switch
        setting = "min_free_disk_bytes_to_perform_insert"
        how = f"MODIFY SETTING {setting} = {2**62}" if on else f"RESET SETTING {setting}"
        connection.command(f"ALTER TABLE gpu_windows {how}", "test")

    return limit


def scarce(connection: Connection) -> Limit:
    """A statement gets too little memory to insert anything."""

    def limit(on: bool) -> None:  # noqa: FBT001 - a switch
        few, more = ("200000", "0"), ("0", "4194304")
        for name, value in zip(
            ("max_memory_usage", "max_untracked_memory"), few if on else more, strict=True
        ):
            connection._client.set_client_setting(name, value)

    return limit


async def until(true: Callable[[], bool]) -> None:
    """Let others run until it is."""
    while not true():  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("make", "code"), [(full, "NOT_ENOUGH_SPACE"), (scarce, "MEMORY_LIMIT_EXCEEDED")]
)
async def test_a_store_at_its_limit_is_waited_for(
    connection: Connection,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    make: Callable[[Connection], Limit],
    code: str,
) -> None:
    """Nothing is released or read meanwhile; afterwards every row is there once."""
    released: list[tuple[str, int, int]] = []

    async def publish(_: Sequence[Event]) -> None:
        """Nobody listens."""

    async def append_mark(*_: object) -> None:
        """Nobody listens."""

    store, limit = Store(connection), make(connection)
    other = Store.connect(connection.settings)
    sink = Sink(store, publish, lambda *where: released.append(where), pause_seconds=0)
    processor = Processor(StreamsSettings(), store, sink, append_mark)
    await processor.take(gpu_batch(range(30)))
    await processor.take(gpu_batch(range(30, 76), 30))
    limit(True)
    writing = asyncio.create_task(sink.flush())
    await until(lambda: sink.waiting_for is not None)
    monkeypatch.setattr(sinks, "MOST_PENDING", 0)
    await processor.take(gpu_batch(range(76, 86), 76))
    more = asyncio.create_task(processor.take(gpu_batch(range(86, 107), 86)))
    retries = metrics.STORE_RETRIES.labels("gpu_windows")._value
    before = retries.get()
    await until(lambda: retries.get() >= before + 2)

    assert ("gpu", [], False) == (sink.waiting_for, released, sink.room.is_set())
    assert not more.done()
    assert not writing.done()
    assert [] == other.query("SELECT device FROM gpu_windows")
    assert code in capfd.readouterr().out
    assert b'ridgeline_store_retries_total{table="gpu_windows"}' in generate_latest(
        metrics.REGISTRY
    )

    limit(False)
    await writing
    await more
    await sink.flush()

    rows = other.query("SELECT window_start, samples FROM gpu_windows ORDER BY window_start")
    assert [10] * 10 == [row["samples"] for row in rows]
    assert ("telemetry.gpu", 2, 29) in released
    assert sink.waiting_for is None
    assert sink.room.is_set()
    other.close()

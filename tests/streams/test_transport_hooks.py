"""Pins the private hooks of faust-streaming and aiokafka that the batch transport rests on."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable
from importlib.metadata import version
from types import SimpleNamespace

import pytest
import zstandard
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from faust.transport.consumer import Consumer
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.transport.drivers.aiokafka import Consumer as AiokafkaConsumer
from faust.types import TP

from streams.batches import Fetched
from streams.records import RecordBatches, WholeBatches, records_of, unpacked, whole_batches
from streams.transport import (
    ANSWER_BYTES,
    FETCH_WAIT_MS,
    BatchConsumer,
    ConsumerThread,
    as_one,
    rewind,
)

HOOKS = {
    "_getmany": ["self", "active_partitions", "timeout"],
    "_filter_tps_with_pending_acks": ["self", "topics"],
    "_new_offset": ["self", "tp"],
    "_add_gap": ["self", "tp", "offset_from", "offset_to"],
}


def test_faust_is_the_version_the_hooks_were_read_in() -> None:
    """Another version: look again at what the message says, then change the number here."""
    found = version("faust-streaming")

    assert found == "0.15.3", (
        f"faust-streaming {found}: in faust/transport/consumer.py read again who calls _getmany,"
        " _filter_tps_with_pending_acks, _new_offset and _add_gap, that a message's generation_id"
        " is that of its assignment, and that commits go through _filter_committable_offsets; then"
        " run python -m benchmarks.chaos --runs 10"
    )


def test_the_hooks_have_the_signatures_we_override() -> None:
    """Names and parameters are Faust's, and ours."""
    for name, parameters in HOOKS.items():
        assert parameters == list(inspect.signature(getattr(AiokafkaConsumer, name)).parameters)
        assert parameters == list(inspect.signature(getattr(BatchConsumer, name)).parameters)
    assert "_new_offset" in inspect.getsource(Consumer._filter_committable_offsets)
    assert "_getmany" in inspect.getsource(Consumer._wait_next_records)


def test_a_batch_carries_the_last_offset() -> None:
    """So that Faust's read position is right."""
    records = [
        SimpleNamespace(
            offset=n,
            timestamp=5,
            timestamp_type=kind,
            headers=(),
            key=b"k",
            value=b"v",
        )
        for n, kind in ((7, 0), (9, 1))
    ]

    one = as_one(TP("t", 1), records)

    assert (9, 1, 2) == (one.offset, one.partition, len(one.value.messages))
    assert [1000, 5] == one.value.clocks_ms(1000).tolist()


async def test_an_empty_fetch_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Aiokafka takes our wait from where we put it, at the start of its fetcher."""
    monkeypatch.setattr(
        AIOKafkaConsumerThread,
        "_create_worker_consumer",
        lambda *_: AIOKafkaConsumer(fetch_max_wait_ms=1500),
    )
    _put_back(monkeypatch)
    thread = ConsumerThread.__new__(ConsumerThread)

    consumer = thread._create_worker_consumer(None)

    assert consumer._fetch_max_wait_ms == FETCH_WAIT_MS
    assert consumer._fetch_max_bytes == ANSWER_BYTES
    assert (RecordBatches, WholeBatches) == (fetcher.MemoryRecords, fetcher.PartitionRecords)
    answered = inspect.getsource(fetcher.Fetcher._proc_fetch_request)
    assert " MemoryRecords(" in answered
    assert " PartitionRecords(" in answered
    for name in ("self._fetch_max_wait_ms", "self._fetch_max_bytes"):
        assert name in inspect.getsource(AIOKafkaConsumer.start)
    assert "_create_worker_consumer" in inspect.getsource(AIOKafkaConsumerThread)


PARSER = sys.modules[DefaultRecordBatch.__module__]
"""Where aiokafka's parser of record batches is; it may be compiled or not."""


def _put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the test have aiokafka's consumers hand over records by themselves again."""
    for where, name in (
        (fetcher, "MemoryRecords"),
        (fetcher, "PartitionRecords"),
        (PARSER, "zstd_decode"),
    ):
        monkeypatch.setattr(where, name, getattr(where, name))


def _batch(offset: int, codec: int = 0) -> bytes:
    """A record batch whose first record has that offset: with and without headers, key, value."""
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, 0, 2**20)
    builder.append(0, 1_000, b"key", b"value", [("schema", b"gpu/1"), ("none", b"")])
    builder.append(1, 2_000, None, None, [])
    builder.append(2, 3_000, b"", b"", [])
    return offset.to_bytes(8, "big") + bytes(builder.build())[8:]


def _partition(kind: type, body: object, offset: int) -> fetcher.PartitionRecords:
    return kind(TP("t", 0), body, [], offset, None, None, True, "read_uncommitted")


@pytest.mark.parametrize("offset", [0, 1, 2])
def test_whole_batches_say_what_aiokafka_s_own_records_do(offset: int) -> None:
    """All that a batch is asked for, from any offset on, and where to read on."""
    body = _batch(0) + _batch(3, codec=4) + _batch(6)

    def said(records: Iterable[Fetched]) -> list[tuple[object, ...]]:
        return [
            (r.offset, r.timestamp, r.timestamp_type, r.key, r.value, tuple(r.headers))
            for r in records
        ]

    whole = _partition(WholeBatches, RecordBatches(body), offset)
    own = _partition(fetcher.PartitionRecords, MemoryRecords(body), offset)
    first = next(whole)

    assert [*range(offset, 3)] == [r.offset for r in first]
    assert first[-1].offset + 1 == whole.next_fetch_offset
    assert said(own) == said(records_of([first, *whole]))
    assert 9 == own.next_fetch_offset == whole.next_fetch_offset


def test_the_parser_has_zstd_unpacked_by_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the function from where we put it."""
    _put_back(monkeypatch)
    whole_batches()
    seen = []

    def counted(body: bytes) -> bytes:
        seen.append(body)
        return unpacked(body)

    assert vars(PARSER)["zstd_decode"] is unpacked
    monkeypatch.setattr(PARSER, "zstd_decode", counted)
    batch = MemoryRecords(_batch(0, codec=4)).next_batch()

    assert batch is not None
    assert [b"value", None, b""] == [record.value for record in batch]
    assert 1 == len(seen)


def test_zstd_of_any_producer_is_unpacked() -> None:
    """Java's does not say the size; a library may write several frames."""
    rows = b"row" * 100_000

    frame = zstandard.ZstdCompressor(write_content_size=False).compress(rows)

    assert rows == unpacked(frame)
    assert rows * 2 == unpacked(frame * 2)


def test_a_batch_that_is_not_what_was_sent_is_refused() -> None:
    """Nothing of it is handed over, and reading goes on where it begins."""
    body = bytearray(_batch(0) + _batch(3))
    body[-1] ^= 1

    whole = _partition(WholeBatches, RecordBatches(bytes(body)), 0)

    assert 3 == len(next(whole))
    with pytest.raises(CorruptRecordException):
        next(whole)
    assert 3 == whole.next_fetch_offset


async def test_what_was_dropped_is_read_again_where_nothing_was_committed(
    kafka_servers: str,
) -> None:
    """Faust drops what it fetched when a rebalance overtakes it, and seeks to what is committed."""
    topic = "dropped"
    never, once = TopicPartition(topic, 0), TopicPartition(topic, 1)
    async with AIOKafkaProducer(bootstrap_servers=kafka_servers) as to:
        for number in range(4):
            for tp in (never, once):
                await to.send_and_wait(topic, b"%d" % number, partition=tp.partition)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka_servers,
        group_id="dropped",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    async with consumer:
        consumer.assign([never, once])
        dropped = dict.fromkeys((never, once), 0)
        while min(dropped.values()) < 4:
            for tp, records in (await consumer.getmany(timeout_ms=1000)).items():
                dropped[tp] += len(records)
        await consumer.commit({once: 2})

        committed = await rewind(consumer)

        again: dict[TopicPartition, list[int]] = {never: [], once: []}
        while len(again[never]) < 4 or len(again[once]) < 2:
            for tp, records in (await consumer.getmany(timeout_ms=1000)).items():
                again[tp] += [record.offset for record in records]
    assert {never: [0, 1, 2, 3], once: [2, 3]} == again
    assert {never: None, once: 2} == committed
    assert "seek_to_committed" in inspect.getsource(AiokafkaConsumer.perform_seek)
    assert "call_thread" in inspect.getsource(AIOKafkaConsumerThread.seek_to_committed)

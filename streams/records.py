"""How aiokafka's consumers of this process hand over what they have fetched: record batches whole.

By itself aiokafka copies each record into an object of its own, with the topic's name and sizes
that we do not ask for, and hands it through three functions. Here a record is what the parser makes
of it, and the Python around it runs once a record batch. Private hooks of aiokafka 0.14;
`tests/streams/test_transport_hooks.py` pins them.
"""

from __future__ import annotations

import struct
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import google_crc32c
import zstandard
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords

from streams.batches import Fetched

HEAD, CHECKED = struct.Struct(">qi"), 21
"""Of a record batch: first offset and length of what follows; from where on it is checked."""
UNPACK = threading.local()
"""A thread's zstd decompressor: making one takes thirty times as long as unpacking a frame."""


def unpacked(body: bytes) -> bytes:
    """What was compressed by zstd."""
    if not hasattr(UNPACK, "zstd"):
        UNPACK.zstd = zstandard.ZstdDecompressor()
    return bytes(UNPACK.zstd.decompressobj(read_across_frames=True).decompress(body))


def whole_batches() -> None:
    """Have all consumers of this process hand over lists of records instead of records."""
    sys.modules[DefaultRecordBatch.__module__].zstd_decode = unpacked  # type: ignore[attr-defined]
    fetcher.MemoryRecords, fetcher.PartitionRecords = RecordBatches, WholeBatches


def records_of(found: Iterable[Iterable[Fetched]]) -> list[Fetched]:
    """Records of what `getmany` found in one partition."""
    return [*chain.from_iterable(found)]


@dataclass(slots=True)
class Run:
    """Consecutive records, to aiokafka one record at the last one's offset."""

    offset: int
    records: list[Fetched]


class RecordBatch:
    """A record batch that is one `Run`, checked by the processor's own instruction for CRC-32C.

    Args:
        batch: The parser's.
        checked: Those of its bytes that are.
    """

    def __init__(self, batch: Any, checked: memoryview) -> None:
        self._batch, self._checked = batch, checked
        self.is_control_batch, self.next_offset = batch.is_control_batch, batch.next_offset

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def validate_crc(self) -> bool:
        """Whether the batch is what was sent; before it is read."""
        if isinstance(self._batch, DefaultRecordBatch):
            return bool(google_crc32c.value(bytes(self._checked)) == self._batch.crc)
        return bool(self._batch.validate_crc())

    def __iter__(self) -> Iterator[Run]:
        if records := [*self._batch]:
            yield Run(records[-1].offset, records)


class RecordBatches:
    """The record batches of one partition in one answer of a broker.

    Args:
        body: All of them.
    """

    def __init__(self, body: bytes) -> None:
        self._records, self._body, self._at = MemoryRecords(body), memoryview(body), 0
        self.has_next, self.size_in_bytes = self._records.has_next, self._records.size_in_bytes

    def next_batch(self) -> RecordBatch:
        """The next one."""
        start = self._at
        _, length = HEAD.unpack_from(self._body, start)
        self._at += HEAD.size + length
        return RecordBatch(self._records.next_batch(), self._body[start + CHECKED : self._at])


class WholeBatches(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka's class is untyped
    """A partition's records, a record batch at a time."""

    def _consumer_record(self, _: Any, run: Run) -> list[Fetched]:
        wanted = self.next_fetch_offset
        if run.records[0].offset >= wanted:
            return run.records
        return [r for r in run.records if r.offset >= wanted]

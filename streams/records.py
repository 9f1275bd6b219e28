"""How aiokafka's consumers of this process hand over what they have fetched: record batches whole.

By itself aiokafka copies each record into an object of its own, with the topic's name and sizes
that we do not ask for, and hands it through three functions. Here a record is what the parser makes
of it, and the Python around it runs once a record batch. Private hooks of aiokafka 0.14;
`tests/streams/test_transport_hooks.py` pins them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import google_crc32c
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords

from streams.batches import Fetched

LENGTH, CHECKED = slice(8, 12), 21
"""Of a record batch: where its length after these bytes is, and from where on it is checked."""


def whole_batches() -> None:
    """Have all consumers of this process hand over lists of records instead of records."""
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
        body: Its bytes.
    """

    def __init__(self, batch: Any, body: memoryview) -> None:
        self._batch, self._body = batch, body

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def validate_crc(self) -> bool:
        """Whether the batch is what was sent; before it is read."""
        if isinstance(self._batch, DefaultRecordBatch):
            return bool(google_crc32c.value(bytes(self._body[CHECKED:])) == self._batch.crc)
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
        rest = self._body[self._at :]
        size = LENGTH.stop + int.from_bytes(rest[LENGTH], "big")
        self._at += size
        return RecordBatch(self._records.next_batch(), rest[:size])


class WholeBatches(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka's class is untyped
    """A partition's records, a record batch at a time."""

    def _consumer_record(self, _: Any, run: Run) -> list[Fetched]:
        wanted = self.next_fetch_offset
        if run.records[0].offset >= wanted:
            return run.records
        return [r for r in run.records if r.offset >= wanted]

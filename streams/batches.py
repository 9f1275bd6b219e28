"""A fetched batch of Kafka messages -> rows with the frame each came in, and dead letters."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress, groupby
from operator import attrgetter
from typing import Protocol

import numpy as np

from ridgeline import metrics
from ridgeline.errors import Reject
from ridgeline.events import DeadLetter
from ridgeline.frames import Headers, decode_many, facts_of, resolve, watermark_of, wrong_length
from ridgeline.schema import Schema
from streams.columns import together

APPEND_TIME = 1
"""Kafka's timestamp type LogAppendTime: the record's timestamp is the broker's clock."""
LETTER_BYTES = 64 * 1024
"""How much of an unreadable value its dead letter carries."""


class Fetched(Protocol):
    """What is read of a Kafka record, as aiokafka hands it over."""

    offset: int
    headers: Sequence[tuple[str, bytes]]
    key: bytes | None
    value: bytes | None
    timestamp: int
    timestamp_type: int


@dataclass(slots=True)
class Message:
    """A record made by hand."""

    offset: int
    headers: Sequence[tuple[str, bytes]]
    key: bytes | None
    value: bytes | None
    timestamp: int = 0
    timestamp_type: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one partition delivered in one fetch."""

    topic: str
    partition: int
    messages: Sequence[Fetched]

    @property
    def last_offset(self) -> int:
        """Offset of the newest message."""
        return self.messages[-1].offset

    def after(self, offset: int) -> Batch | None:
        """The messages past an offset; None when there are none."""
        if self.messages[0].offset > offset:
            return self
        rest = [m for m in self.messages if m.offset > offset]
        return Batch(topic=self.topic, partition=self.partition, messages=rest) if rest else None

    def clocks_ms(self, now_ms: int) -> np.ndarray:
        """When each message was appended, which a replay sees again; `now_ms` where not known."""
        if self.messages[0].timestamp_type != APPEND_TIME != self.messages[-1].timestamp_type:
            return np.full(len(self.messages), now_ms, dtype=np.int64)
        at = [m.timestamp if m.timestamp_type == APPEND_TIME else now_ms for m in self.messages]
        return np.array(at, dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows in log order; `lengths` says how many each message brought, 0 where none could be read.

    `marks` are messages (by number) that say how far event time has come, in ms.
    """

    rows: np.ndarray
    lengths: np.ndarray
    letters: tuple[DeadLetter, ...]
    marks: tuple[tuple[int, int], ...] = ()


def dead_letter(batch: Batch, message: Fetched, error: Reject) -> DeadLetter:
    """The letter for a message that can never be read; counted."""
    metrics.DEAD_LETTERS.labels(batch.topic, error.field).inc()
    value = message.value or b""
    return DeadLetter(
        topic=batch.topic,
        partition=batch.partition,
        offset=message.offset,
        field=error.field,
        reason=str(error)[:2000],
        headers={k: v.decode("utf-8", "replace")[:1000] for k, v in message.headers},
        value_base64=base64.b64encode(value[:LETTER_BYTES]).decode(),
        value_bytes=len(value),
        ts=message.timestamp or int(time.time() * 1000),  # a replay writes the same letter
    )


def decoded(batch: Batch, schema: Schema) -> Rows:
    """Every readable row of a batch of frames of one family."""
    parts: list[np.ndarray] = []
    lengths: list[np.ndarray] = []
    letters: list[DeadLetter] = []
    marks: list[tuple[int, int]] = []
    first = 0
    for headers, alike in groupby(batch.messages, attrgetter("headers")):
        messages = [*alike]
        values = [message.value or b"" for message in messages]
        version = _version(headers, schema)
        row_bytes = 0 if isinstance(version, Reject) else schema.dtype_of(version).itemsize
        count = _whole_rows(values, row_bytes)
        if not isinstance(version, Reject) and count.any():
            parts.append(decode_many(compress(values, count), schema, version))
        for number in np.flatnonzero(count == 0).tolist():
            value = values[number]
            if not value and (mark := watermark_of(headers)) is not None:
                marks.append((first + number, mark))
            elif value or facts_of(headers) is None:
                why = version if isinstance(version, Reject) else wrong_length(value, row_bytes)
                letters.append(dead_letter(batch, messages[number], why))
        lengths.append(count)
        first += len(messages)
    rows = together(parts, schema.dtype)
    metrics.STREAM_FRAMES.labels(batch.topic).inc(first)
    metrics.STREAM_SAMPLES.labels(batch.topic).inc(len(rows))
    return Rows(
        rows=rows, lengths=np.concatenate(lengths), letters=tuple(letters), marks=tuple(marks)
    )


def _whole_rows(values: Sequence[bytes], row_bytes: int) -> np.ndarray:
    """How many rows each value is; 0: it is not one or more whole ones, or of unknown size."""
    sizes = np.array([*map(len, values)], dtype=np.int64)
    if not row_bytes:
        return np.zeros_like(sizes)
    return np.where(sizes % row_bytes, 0, sizes // row_bytes)


def _version(headers: Headers, schema: Schema) -> int | Reject:
    try:
        found, version = resolve(headers)
        if found.family != schema.family:
            return Reject("header schema", found.id, f"this topic carries {schema.family}")
    except Reject as error:
        return error
    return version

"""A fetched batch of Kafka messages -> rows with the frame each came in, and dead letters."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np

from ridgeline import metrics
from ridgeline.errors import Reject
from ridgeline.events import DeadLetter
from ridgeline.frames import decode, decode_many, facts_of, resolve, watermark_of
from ridgeline.schema import Schema

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
    headers = [message.headers for message in batch.messages]
    values = [message.value for message in batch.messages]
    version = _version(batch.messages[0], schema)
    size = schema.dtype_of(version).itemsize if isinstance(version, int) else 0
    lengths = np.array([0 if value is None else len(value) for value in values], dtype=np.int64)
    plain = size and headers.count(headers[0]) == len(headers) and (lengths > 0).all()
    if isinstance(version, int) and plain and not (lengths % size).any():
        rows = decode_many(cast("list[bytes]", values), schema, version)
        out = Rows(rows=rows, lengths=lengths // size, letters=())
    else:
        out = _decoded_one_by_one(batch, schema)
    metrics.STREAM_FRAMES.labels(batch.topic).inc(len(values))
    metrics.STREAM_SAMPLES.labels(batch.topic).inc(len(out.rows))
    return out


def _decoded_one_by_one(batch: Batch, schema: Schema) -> Rows:
    """The same where versions are mixed or something is wrong with a message."""
    parts: list[np.ndarray] = []
    letters: list[DeadLetter] = []
    marks: list[tuple[int, int]] = []
    lengths = np.zeros(len(batch.messages), dtype=np.int64)
    for number, message in enumerate(batch.messages):
        if not message.value and (mark := watermark_of(message.headers)) is not None:
            marks.append((number, mark))
            continue
        if not message.value and facts_of(message.headers) is not None:
            continue
        try:
            version = _version(message, schema)
            if isinstance(version, Reject):
                raise version
            rows = decode(message.value or b"", schema, version)
        except Reject as error:
            letters.append(dead_letter(batch, message, error))
        else:
            parts.append(rows)
            lengths[number] = len(rows)
    rows = np.concatenate(parts) if parts else schema.empty(0)
    return Rows(rows=rows, lengths=lengths, letters=tuple(letters), marks=tuple(marks))


def _version(message: Fetched, schema: Schema) -> int | Reject:
    try:
        found, version = resolve(message.headers)
        if found.family != schema.family:
            return Reject("header schema", found.id, f"this topic carries {schema.family}")
    except Reject as error:
        return error
    return version

"""A fetched batch of Kafka messages -> rows with the frame each came in, and dead letters."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from ridgeline import metrics
from ridgeline.errors import Reject
from ridgeline.events import DeadLetter
from ridgeline.frames import decode, decode_many, resolve, watermark_of
from ridgeline.schema import Schema

LETTER_BYTES = 64 * 1024
"""How much of an unreadable value its dead letter carries."""


@dataclass(frozen=True, slots=True)
class Message:
    """One Kafka message as it was fetched; `appended_ms` is the broker's clock, where it says."""

    offset: int
    headers: Sequence[tuple[str, bytes]]
    key: bytes | None
    value: bytes | None
    appended_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one partition delivered in one fetch."""

    topic: str
    partition: int
    messages: Sequence[Message]

    @property
    def last_offset(self) -> int:
        """Offset of the newest message."""
        return self.messages[-1].offset

    def clocks_ms(self, now_ms: int) -> np.ndarray:
        """When each message was appended, which a replay sees again; `now_ms` where not known."""
        at = (now_ms if m.appended_ms is None else m.appended_ms for m in self.messages)
        return np.fromiter(at, dtype=np.int64, count=len(self.messages))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows in log order; `lengths` says how many each message brought, 0 where none could be read.

    `marks` are messages (by number) that say how far event time has come, in ms.
    """

    rows: np.ndarray
    lengths: np.ndarray
    letters: tuple[DeadLetter, ...]
    marks: tuple[tuple[int, int], ...] = ()


def dead_letter(batch: Batch, message: Message, error: Reject) -> DeadLetter:
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
        ts=int(time.time() * 1000),
    )


def decoded(batch: Batch, schema: Schema) -> Rows:
    """Every readable row of a batch of frames of one family."""
    headers = [message.headers for message in batch.messages]
    values = [message.value for message in batch.messages]
    version = _version(batch.messages[0], schema)
    size = schema.dtype_of(version).itemsize if isinstance(version, int) else 0
    lengths = np.array([len(value or b"") for value in values], dtype=np.int64)
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


def _version(message: Message, schema: Schema) -> int | Reject:
    try:
        found, version = resolve(message.headers)
        if found.family != schema.family:
            return Reject("header schema", found.id, f"this topic carries {schema.family}")
    except Reject as error:
        return error
    return version

"""A fetched batch of Kafka messages -> rows with the frame each came in, and dead letters."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ridgeline import metrics
from ridgeline.errors import Reject
from ridgeline.events import DeadLetter
from ridgeline.frames import check_length, decode_many, header_value, resolve, watermark_of
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
    """Rows in log order; `frame` numbers the message each row came in.

    `marks` are messages (by number) that say how far event time has come, in ms.
    """

    rows: np.ndarray
    frame: np.ndarray
    frames: int
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
    known: dict[bytes | None, int | Reject] = {}
    good: dict[int, list[tuple[int, bytes]]] = {}
    letters: list[DeadLetter] = []
    marks: list[tuple[int, int]] = []
    for number, message in enumerate(batch.messages):
        if not message.value and (mark := watermark_of(message.headers)) is not None:
            marks.append((number, mark))
            continue
        header = header_value(message.headers, "schema")
        if header not in known:
            known[header] = _version(message, schema)
        version = known[header]
        try:
            if isinstance(version, Reject):
                raise version
            value = message.value or b""
            check_length(value, schema.dtype_of(version).itemsize)
            good.setdefault(version, []).append((number, value))
        except Reject as error:
            letters.append(dead_letter(batch, message, error))
    parts, frames = [], []
    for version, numbered in good.items():
        size = schema.dtype_of(version).itemsize
        parts.append(decode_many((value for _, value in numbered), schema, version))
        lengths = [len(value) // size for _, value in numbered]
        frames.append(np.repeat([number for number, _ in numbered], lengths))
    rows = np.concatenate(parts) if parts else schema.empty(0)
    frame = np.concatenate(frames).astype(np.int64) if frames else np.zeros(0, dtype=np.int64)
    if len(parts) > 1:
        order = np.argsort(frame, kind="stable")
        rows, frame = rows[order], frame[order]
    metrics.STREAM_FRAMES.labels(batch.topic).inc(len(batch.messages))
    metrics.STREAM_SAMPLES.labels(batch.topic).inc(len(rows))
    count = len(batch.messages)
    return Rows(rows=rows, frame=frame, frames=count, letters=tuple(letters), marks=tuple(marks))


def _version(message: Message, schema: Schema) -> int | Reject:
    try:
        found, version = resolve(message.headers)
        if found.family != schema.family:
            return Reject("header schema", found.id, f"this topic carries {schema.family}")
    except Reject as error:
        return error
    return version

"""Bytes on the wire <-> numpy rows.

A frame is the value of one Kafka message: N rows of one schema, packed little-endian, no padding.
The same bytes are ClickHouse's RowBinary for the family's raw table. The schema's id travels in the
`schema` header. Frames know nothing of Kafka beyond that a header is a `(str, bytes)` pair.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ridgeline.errors import Reject
from ridgeline.schema import MISSING, SCHEMAS, Schema

SCHEMA_HEADER = "schema"
WATERMARK_HEADER = "watermark"
FACTS_HEADER = "facts"
MAX_FRAME_BYTES = 1_000_000

Headers = Sequence[tuple[str, bytes]]


def headers_of(schema: Schema) -> list[tuple[str, bytes]]:
    """Kafka headers of a frame of the current version."""
    return [(SCHEMA_HEADER, schema.id.encode())]


def watermark_headers(newest_ms: int) -> list[tuple[str, bytes]]:
    """Headers of a message without rows that says: event time has come this far.

    Whoever reads a silent partition appends it, so that its last windows end at a place in the log
    instead of at a moment of somebody's clock, and a replay ends them there too.
    """
    return [(WATERMARK_HEADER, str(newest_ms).encode())]


def watermark_of(headers: Headers) -> int | None:
    """How far event time has come, in ms, where the headers say so."""
    raw = header_value(headers, WATERMARK_HEADER)
    return int(raw) if raw is not None and raw.isdigit() else None


def facts_headers(until_ms: int) -> list[tuple[str, bytes]]:
    """Headers of a message without rows that says: verdicts go on without this up to here.

    Appended to a silent partition whose rows are needed to judge those of another topic. Unlike a
    watermark it makes no row late.
    """
    return [(FACTS_HEADER, str(until_ms).encode())]


def facts_of(headers: Headers) -> int | None:
    """Up to when verdicts go on without this partition, in ms, where the headers say so."""
    raw = header_value(headers, FACTS_HEADER)
    return int(raw) if raw is not None and raw.isdigit() else None


def encode(rows: np.ndarray, schema: Schema) -> bytes:
    """Pack rows of the current version.

    Raises:
        Reject: the rows are of another layout.
    """
    if rows.dtype != schema.dtype:
        raise Reject("dtype", rows.dtype.names, f"expected the layout of {schema.id}")
    return rows.tobytes()


def header_value(headers: Headers | Mapping[str, bytes], name: str) -> bytes | None:
    """First value of a header, from Kafka's pairs or from a mapping."""
    if isinstance(headers, Mapping):
        return headers.get(name)
    return next((value for key, value in headers if key == name), None)


def resolve(
    headers: Headers | Mapping[str, bytes], schemas: Mapping[str, Schema] = SCHEMAS
) -> tuple[Schema, int]:
    """Schema and version a frame was written with.

    Raises:
        Reject: no header, an unknown family, or a version newer than ours.
    """
    raw = header_value(headers, SCHEMA_HEADER)
    if raw is None:
        raise Reject("header schema", None, "missing; expected <family>/<version>")
    text = raw.decode("ascii", "replace")
    family, _, number = text.partition("/")
    schema = schemas.get(family)
    if schema is None:
        raise Reject("header schema", text, f"unknown family; known: {', '.join(schemas)}")
    if not number.isdecimal() or not 1 <= int(number) <= schema.version:
        raise Reject("header schema", text, f"version must be 1 to {schema.version}")
    return schema, int(number)


def decode(value: bytes, schema: Schema, version: int) -> np.ndarray:
    """Rows of one frame, widened to the current version. Read-only when nothing was widened.

    Raises:
        Reject: the length is not a whole number of rows, or is zero.
    """
    dtype = schema.dtype_of(version)
    if not value or len(value) % dtype.itemsize:
        raise wrong_length(value, dtype.itemsize)
    return widen(np.frombuffer(value, dtype=dtype), schema, version)


def wrong_length(value: bytes, row_bytes: int) -> Reject:
    """Why a value is refused that is not one or more whole rows."""
    if not value:
        return Reject("value", value, "empty frame")
    return Reject("value length", len(value), f"not a multiple of the row size {row_bytes}")


def decode_many(values: Iterable[bytes], schema: Schema, version: int) -> np.ndarray:
    """Rows of many checked frames of one version in one go: one join, one view."""
    joined = b"".join(values)
    return widen(np.frombuffer(joined, dtype=schema.dtype_of(version)), schema, version)


def widen(rows: np.ndarray, schema: Schema, version: int) -> np.ndarray:
    """Rows of an older version in the current layout; new columns are missing."""
    if version == schema.version:
        return rows
    out = np.zeros(len(rows), dtype=schema.dtype)
    for name in schema.dtype_of(version).fields or ():
        out[name] = rows[name]
    for column in schema.columns:
        if column.since > version:
            out[column.name] = MISSING[column.kind]
    return out

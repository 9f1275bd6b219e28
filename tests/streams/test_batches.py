"""A batch is decoded as its messages would be one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ridgeline.frames import SCHEMA_HEADER, decode, facts_headers, headers_of, watermark_headers
from ridgeline.schema import GPU, SERVING
from streams.batches import Batch, Message, decoded

OLD = [(SCHEMA_HEADER, b"serving/1")]
ROW, OLD_ROW = SERVING.dtype.itemsize, SERVING.dtype_of(1).itemsize
READABLE = {
    "two rows": (headers_of(SERVING), bytes(ROW) + b"\1" * ROW),
    "one row": (headers_of(SERVING), bytes(ROW)),
    "old": (OLD, b"\2" * OLD_ROW),
}
MARK, FACTS = (watermark_headers(7000), b""), (facts_headers(8000), None)
WRONG = {
    "value length": (headers_of(SERVING), bytes(ROW + 1)),
    "value": (headers_of(SERVING), None),
    "header schema": (headers_of(GPU), bytes(GPU.dtype.itemsize)),
}
KINDS = (*READABLE.values(), MARK, FACTS, *WRONG.values())


@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=12))
def test_any_mixture_is_read_as_message_by_message(
    kinds: list[tuple[list[tuple[str, bytes]], bytes | None]],
) -> None:
    """Rows in log order, rows of each message, marks and letters by message."""
    messages = [Message(n, headers, b"", value) for n, (headers, value) in enumerate(kinds)]

    found = decoded(Batch(topic=SERVING.topic, partition=0, messages=messages), SERVING)

    rows = [
        decode(value or b"", SERVING, 1 if headers == OLD else SERVING.version)
        if (headers, value) in READABLE.values()
        else SERVING.empty(0)
        for headers, value in kinds
    ]
    fields = [
        (n, field) for n, kind in enumerate(kinds) for field, odd in WRONG.items() if kind == odd
    ]
    assert [len(some) for some in rows] == found.lengths.tolist()
    assert b"".join(some.tobytes() for some in rows) == found.rows.tobytes()
    assert [(n, 7000) for n, kind in enumerate(kinds) if kind == MARK] == [*found.marks]
    assert fields == [(letter.offset, letter.field) for letter in found.letters]
    assert found.rows.dtype == SERVING.dtype

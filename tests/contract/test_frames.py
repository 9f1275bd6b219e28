"""Frames: what is written is what is read, and what cannot be read says why."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ridgeline import frames
from ridgeline.errors import Reject
from ridgeline.schema import (
    FABRIC,
    GPU,
    MISSING_COUNTER,
    SCHEMAS,
    SERVING,
    Column,
    Kind,
    Schema,
    length_columns,
)

OLD = Column(name="old_watts", kind=Kind.GAUGE, unit="W", doc="there from the start")
NEW_GAUGE = Column(name="new_watts", kind=Kind.GAUGE, unit="W", doc="came later", since=2)
NEW_COUNTER = Column(name="new_count", kind=Kind.COUNTER, unit="1", doc="came later", since=2)
EVOLVED = Schema(family="evolved", version=2, columns=(OLD, NEW_GAUGE, NEW_COUNTER))


@given(st.sampled_from(sorted(SCHEMAS)), st.integers(1, 5), st.data())
def test_any_bytes_of_whole_rows_survive_a_round_trip(
    family: str, rows: int, data: st.DataObject
) -> None:
    """Decoding then encoding gives back the very same bytes, NaN payloads included."""
    schema = SCHEMAS[family]
    size = rows * schema.dtype.itemsize
    value = data.draw(st.binary(min_size=size, max_size=size))

    assert value == frames.encode(frames.decode(value, schema, schema.version), schema)


def test_many_frames_decode_as_one_by_one() -> None:
    """Joining frames keeps their rows and their order."""
    first, second = GPU.empty(2), GPU.empty(3)
    first["ts"], second["ts"] = 1, 2
    values = [frames.encode(rows, GPU) for rows in (first, second)]

    joined = frames.decode_many(values, GPU, 1)

    assert [1, 1, 2, 2, 2] == joined["ts"].tolist()


def test_an_older_version_is_widened_with_missing_values() -> None:
    """New columns of an old frame are missing, never 0; old columns keep their values."""
    old = np.zeros(2, dtype=EVOLVED.dtype_of(1))
    old["old_watts"] = [5, 6]

    rows = frames.decode(old.tobytes(), EVOLVED, 1)

    assert rows.dtype == EVOLVED.dtype
    assert [5, 6] == rows["old_watts"].tolist()
    assert np.isnan(rows["new_watts"]).all()
    assert (rows["new_count"] == MISSING_COUNTER).all()


@pytest.mark.parametrize(
    ("headers", "value"),
    [
        ([], None),
        ([("schema", b"gpu/2")], "gpu/2"),
        ([("schema", b"gpu/0")], "gpu/0"),
        ([("schema", b"gpu")], "gpu"),
        ([("schema", b"gpu/x")], "gpu/x"),
        ([("schema", b"cpu/1")], "cpu/1"),
        ([("schema", b"\xff")], "�"),
    ],
)
def test_an_unreadable_header_is_rejected_with_its_value(
    headers: list[tuple[str, bytes]], value: str | None
) -> None:
    """Unknown family, newer version, no header: the error names the field and what was found."""
    with pytest.raises(Reject) as caught:
        frames.resolve(headers)

    assert ("header schema", value) == (caught.value.field, caught.value.value)


@pytest.mark.parametrize("value", [b"", b"x" * (FABRIC.dtype.itemsize + 1)])
def test_a_broken_length_is_rejected(value: bytes) -> None:
    """Empty and ragged values never become rows."""
    with pytest.raises(Reject):
        frames.decode(value, FABRIC, 1)


def test_rows_of_another_layout_are_not_encoded() -> None:
    """A fabric row cannot leave as a GPU frame."""
    with pytest.raises(Reject, match="gpu/1"):
        frames.encode(FABRIC.empty(1), GPU)


def test_serving_frames_of_version_1_are_read_without_lengths() -> None:
    """A collector of the version before counts no lengths: they are missing, the rest is kept."""
    old = np.zeros(1, dtype=SERVING.dtype_of(1))
    old["prompt_tokens"] = 7

    (row,) = frames.decode(old.tobytes(), *frames.resolve([("schema", b"serving/1")]))

    assert 7 == row["prompt_tokens"]
    assert {MISSING_COUNTER} == {int(row[name]) for name in length_columns("output")}
    assert SERVING.dtype_of(1).itemsize < SERVING.dtype.itemsize

"""The schema: one definition, three layouts that agree."""

from __future__ import annotations

import re

import numpy as np
import pytest

from ridgeline.schema import (
    EXACT,
    MISSING_COUNTER,
    MISSING_STATE,
    SCHEMAS,
    Kind,
    Resolution,
    Schema,
)

ALL = pytest.mark.parametrize("schema", SCHEMAS.values(), ids=lambda s: s.family)
UNIT_SUFFIX = {
    "ratio": "_ratio",
    "W": "_watts",
    "degC": "_celsius",
    "s": "_seconds",
    "ns": "_ns",
    "us": "_us",
    "mJ": "_mj",
    "MHz": "_mhz",
    "B/s": "_bytes_per_second",
    "bit/s": "_bits_per_second",
}
NOMINAL = {"B", "bit/s"}
LIMITS = {"power_limit_watts", "max_batch_requests"}
NUMPY_OF_CLICKHOUSE = {
    "Float32": "f4",
    "Float64": "f8",
    "UInt32": "u4",
    "UInt64": "u8",
    "Int64": "i8",
    "DateTime64(3, 'UTC')": "i8",
}


@ALL
def test_an_empty_row_misses_everything(schema: Schema) -> None:
    """Absence is NaN or the missing mark, never 0."""
    row = schema.empty(1)

    for column in schema.columns:
        value = row[column.name][0]
        expected = {Kind.COUNTER: MISSING_COUNTER}.get(column.kind, MISSING_STATE)

        assert np.isnan(value) if column.kind is Kind.GAUGE else value == expected


@ALL
@pytest.mark.parametrize("table", ["raw", "window"])
def test_the_ddl_is_the_numpy_layout(schema: Schema, table: str) -> None:
    """Column by column, RowBinary of the table equals the packed numpy row."""
    sql = schema.raw_columns_sql() if table == "raw" else schema.window_columns_sql()
    dtype = schema.dtype if table == "raw" else schema.window_dtype
    pattern = r"^\s*(\w+) (DateTime64\(3, 'UTC'\)|\w+)(?: DEFAULT \w+)? CODEC"
    columns = re.findall(pattern, sql, flags=re.MULTILINE)

    assert [(name, dtype[name].str[1:]) for name in dtype.names or ()] == [
        (name, NUMPY_OF_CLICKHOUSE[kind]) for name, kind in columns
    ]


@ALL
def test_names_end_in_their_unit(schema: Schema) -> None:
    """A reader never has to guess whether a column is in watts or milliwatts."""
    wrong = [
        column.name
        for column in schema.columns
        if (suffix := UNIT_SUFFIX.get(column.unit)) and suffix not in column.name
    ]
    exceptions = {"pfc_rx_pause_us"}

    assert [] == [name for name in wrong if name not in exceptions]


@ALL
def test_only_what_is_measured_is_rounded(schema: Schema) -> None:
    """Windows keep counts, states, flags and nominal values as they are."""
    exact = {c.name for c in schema.columns if c.resolution == EXACT}
    measured = {c.name for c in schema.columns if c.kind is Kind.GAUGE and c.unit not in NOMINAL}

    assert exact == {c.name for c in schema.columns} - (measured - LIMITS)


@pytest.mark.parametrize("how", [{"step": 0.3}, {"step": -1.0}, {"bits": 0}, {"bits": 24}])
def test_a_resolution_that_cannot_be_kept_is_refused(how: dict[str, float]) -> None:
    """Steps are powers of two: their multiples are floats, and rounding adds no error."""
    with pytest.raises(ValueError, match="no resolution"):
        Resolution(why="", **how)  # type: ignore[arg-type]


@ALL
def test_rows_are_packed(schema: Schema) -> None:
    """No padding: the row is as long as its fields."""
    names = schema.dtype.names or ()

    assert schema.dtype.itemsize == sum(schema.dtype[name].itemsize for name in names)

"""Where the columns of a family lie in rows seen as 32-bit words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ridgeline.schema import Kind, Schema

_WORD = 4


def as_words(rows: np.ndarray) -> np.ndarray:
    """Packed rows as `[row, word]` of the same memory; a row of every layout is whole words."""
    if not len(rows):
        return np.zeros((0, rows.dtype.itemsize // _WORD), dtype="<u4")
    return rows.view("<u4").reshape(len(rows), -1)


def _starts(dtype: np.dtype[np.void], names: list[str]) -> np.ndarray:
    starts = {name: field[1] // _WORD for name, field in (dtype.fields or {}).items()}
    return np.array([starts[name] for name in names], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Columns:
    """First word of every column by kind, in a frame row and in a window row."""

    row: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    window: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def columns_of(schema: Schema) -> Columns:
    """Layout of a schema."""

    def names(kind: Kind, how: str = "") -> list[str]:
        return [f"{name}{how}" for name in schema.of_kind(kind)]

    dtype, window = schema.dtype, schema.window_dtype
    gauge, counter, state, flags = Kind.GAUGE, Kind.COUNTER, Kind.STATE, Kind.FLAGS
    return Columns(
        row=(
            _starts(dtype, names(gauge)),
            _starts(dtype, names(counter)),
            _starts(dtype, names(state)),
            _starts(dtype, names(flags)),
        ),
        window=(
            _starts(window, names(gauge, "_avg")),
            _starts(window, names(gauge, "_min")),
            _starts(window, names(gauge, "_max")),
            _starts(window, names(counter, "_inc")),
            _starts(window, names(state, "_last")),
            _starts(window, names(flags, "_or")),
        ),
    )

"""Where the columns of a family lie in rows seen as 32-bit words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ridgeline.schema import EXACT, Kind, Resolution, Schema

_WORD = 4
_INFINITE = 0x7F800000  # bits of a float32
SUMMED_UP = ("_avg", "_min", "_max")
Rounding = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def as_words(rows: np.ndarray) -> np.ndarray:
    """Packed rows as `[row, word]` of the same memory; a row of every layout is whole words."""
    if not len(rows):
        return np.zeros((0, rows.dtype.itemsize // _WORD), dtype="<u4")
    return rows.view("<u4").reshape(len(rows), -1)


def together(parts: Sequence[np.ndarray], dtype: np.dtype[np.void]) -> np.ndarray:
    """Packed rows of one layout one after the other; as bytes, or numpy would copy by field."""
    if not parts:
        return np.zeros(0, dtype=dtype)
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([part.view(np.uint8) for part in parts]).view(dtype)


def _starts(dtype: np.dtype[np.void], names: list[str]) -> np.ndarray:
    starts = {name: field[1] // _WORD for name, field in (dtype.fields or {}).items()}
    return np.array([starts[name] for name in names], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Columns:
    """First word of every column by kind, in a frame row and in a window row.

    A window row has averages, minima and maxima of all gauges one after the other; `rounding` is
    what `kernels.round_gauges` takes, in the same order.
    """

    row: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    window: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    rounding: Rounding


def rounding_of(resolutions: Sequence[Resolution]) -> Rounding:
    """Resolutions as `kernels.round_gauges` needs them.

    For each: the bits of the first float that rounding bits away would make infinite (0: no bits
    are), how many bits that is, steps in 1, the first float that is a multiple of the step anyway.
    """
    drop = np.array([0 if r.step else EXACT.bits - r.bits for r in resolutions], dtype=np.uint32)
    limit = np.where(drop > 0, _INFINITE - (1 << drop >> 1), 0).astype(np.uint32)
    step = np.array([r.step for r in resolutions], dtype=np.float32)
    scale = np.divide(1, step, out=np.ones_like(step), where=step > 0)
    return limit, drop, scale, step * np.float32(2**23)


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
            _starts(window, [n for how in SUMMED_UP for n in names(gauge, how)]),
            _starts(window, names(counter, "_inc")),
            _starts(window, names(state, "_last")),
            _starts(window, names(flags, "_or")),
        ),
        rounding=rounding_of([c.resolution for c in schema.columns if c.kind is gauge] * 3),
    )

"""What windows tell apart: the compiled rounding and the SQL's against the definition."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from benchmarks.chaos.offline import rounded
from ridgeline.schema import SCHEMAS, Kind, Resolution
from ridgeline.settings import StoreSettings
from ridgeline.store import Store, rollup
from streams.columns import rounding_of
from streams.kernels import round_gauges

LARGEST = float(np.finfo(np.float32).max)
SMALLEST = float(np.finfo(np.float32).smallest_subnormal)
DECLARED = [c.resolution for s in SCHEMAS.values() for c in s.columns if c.kind is Kind.GAUGE]
OTHERS = [Resolution(why="", bits=1), Resolution(why="", step=4.0), Resolution(why="", step=2**-20)]
DIFFERENT = {str(resolution): resolution for resolution in (*DECLARED, *OTHERS)}
EVERY = pytest.mark.parametrize("resolution", DIFFERENT.values(), ids=str)
EDGES = (
    *(math.nan, math.inf, 0.0, LARGEST, SMALLEST, 2.0**-126, 2.0**-126 - SMALLEST),
    *(float(np.nextafter(np.float32(2.0**e), np.float32(0))) for e in (0, 10, 13)),
    *(float(np.float32(3.4028e38)), 1.5 * 2.0**-127, 2.0**12 + 2.0**-11, 2.0**13 + 2.0**-10),
)
floats = st.one_of(
    st.floats(width=32),
    st.floats(-2000, 2000, width=32),
    st.sampled_from(EDGES).flatmap(lambda x: st.sampled_from((x, -x))),
    # halfway, where the even one is taken
    st.builds(lambda n, e: (n + 0.5) * 2.0**e, st.integers(-5000, 5000), st.integers(-40, 40)),
)


def as_windows_have_them(values: Sequence[float], resolution: Resolution) -> np.ndarray:
    """By the compiled loop."""
    out = np.array(values, dtype=np.float32)
    round_gauges(out, out.view(np.uint32), rounding_of([resolution] * len(out)))
    return out


@EVERY
@given(st.lists(floats, min_size=1, max_size=40))
@example([s * x for x in EDGES for s in (1, -1)])
def test_the_compiled_loop_rounds_as_defined(resolution: Resolution, values: list[float]) -> None:
    """To the last bit, whatever lies beside it; NaN stays NaN and a zero has no sign."""
    got = as_windows_have_them(values, resolution)

    want = np.array([rounded(x, resolution) for x in values], dtype=np.float32)
    known = ~np.isnan(want)
    assert known.tolist() == (~np.isnan(got)).tolist()
    assert want[known].tobytes() == got[known].tobytes()


@EVERY
@given(st.lists(floats, min_size=1, max_size=40))
@example([s * x for x in EDGES for s in (1, -1)])
def test_rounding_again_changes_nothing(resolution: Resolution, values: list[float]) -> None:
    """So a rollup of one window, or of equal ones, is that window."""
    once = as_windows_have_them(values, resolution)

    twice = as_windows_have_them(once.tolist(), resolution)
    known = ~np.isnan(once)
    assert once[known].tobytes() == twice[known].tobytes()


@EVERY
@given(st.lists(floats.filter(lambda x: not math.isnan(x)), min_size=2, max_size=40))
@example([s * x for x in EDGES[1:] for s in (1, -1)])
def test_rounding_keeps_order_and_sign(resolution: Resolution, values: list[float]) -> None:
    """So a minimum stays below its average and a margin that is gone is not negative."""
    values = sorted(values)
    got = as_windows_have_them(values, resolution)

    assert (got[1:] >= got[:-1]).all()
    assert (got == -as_windows_have_them([-x for x in values], resolution)).all()
    assert np.isfinite(got).tolist() == np.isfinite(np.array(values, dtype=np.float32)).tolist()


@EVERY
@given(st.lists(st.floats(-1e9, 1e9, width=32), min_size=1, max_size=40))
def test_nothing_moves_by_more_than_half_a_step(
    resolution: Resolution, values: list[float]
) -> None:
    """As the reference page says."""
    off = np.abs(as_windows_have_them(values, resolution).astype(np.float64) - values)

    whole = np.maximum(np.abs(values), 2.0**-126)
    assert (off <= (resolution.step or whole * 2.0**-resolution.bits) / 2).all()


@EVERY
def test_rollups_round_as_windows_do(store_url: str, resolution: Resolution) -> None:
    """The SQL, of every exponent and sign: floats at random, halfway and next to it."""
    store = Store.connect(StoreSettings(url=store_url, database="default"))
    exponents = np.arange(0, 2**32, 2**23)
    halves = [m * 2**d + 2 ** (d - 1) for d in (5, 13, 14, 22) for m in (0, 1)]
    near = [exponents + half + off for half in halves for off in (-1, 0, 1)]
    words = np.concatenate((exponents, *near, np.arange(0, 2**32, 2**17 - 37))).astype(np.uint32)
    sql = rollup.rounded("reinterpretAsFloat32(word)", resolution)
    rows = store.query(
        f"SELECT reinterpretAsUInt32(toFloat32({sql})) AS got"
        " FROM (SELECT arrayJoin({words:Array(UInt32)}) AS word)",
        {"words": words.tolist()},
    )
    store.close()

    values = words.view(np.float32)
    known = ~np.isnan(values)
    got = np.array([row["got"] for row in rows], dtype=np.uint32).view(np.float32)
    assert known.tolist() == (~np.isnan(got)).tolist()
    assert (as_windows_have_them(values[known].tolist(), resolution) == got[known]).all()

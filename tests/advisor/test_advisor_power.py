"""Energy per token, power caps, and when a feed is full."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.models import power
from advisor.models.headroom import HORIZON_MONTHS, headroom, months_until
from advisor.models.interval import Interval, exactly
from advisor.models.power import Phase


def test_decode_hardly_notices_a_cap() -> None:
    """Splitwise: 700 to 350 W, almost no change of token latency; prefill is not known there."""
    decode = power.power_cap(Phase.DECODE, 0.5)

    assert decode is not None
    assert decode.throughput.mid >= 0.95
    assert decode.energy.mid < 0.7
    assert power.power_cap(Phase.PREFILL, 0.5) is None


def test_mlperf_max_q() -> None:
    """H200 at 450 of 700 W: llama2-70b 0.807, gptj (all compute) 0.652 (MLPerf v4.1)."""
    mixed, compute = (power.power_cap(p, 450 / 700) for p in (Phase.MIXED, Phase.PREFILL))

    assert mixed is not None
    assert compute is not None
    assert mixed.throughput.mid == pytest.approx(25_262 / 31_303, abs=0.001)
    assert compute.throughput.mid == pytest.approx(0.652)
    assert compute.throughput.mid < mixed.throughput.mid


@given(st.sampled_from(list(Phase)), st.floats(0.65, 1.0))
def test_caps_are_monotone_and_ordered(phase: Phase, ratio: float) -> None:
    """A higher cap never leaves less; without a cap nothing changes; decode loses least."""
    found, none = power.power_cap(phase, ratio), power.power_cap(phase, 1.0)
    decode = power.power_cap(Phase.DECODE, ratio)

    assert found is not None
    assert none is not None
    assert decode is not None
    assert none.throughput == exactly(1.0)
    assert found.throughput.mid <= none.throughput.mid
    assert decode.throughput.mid >= found.throughput.mid
    assert power.CAP_ORDER[0] is Phase.DECODE


@pytest.mark.parametrize("phase", list(Phase))
def test_a_cap_that_is_not_felt_costs_nothing(phase: Phase) -> None:
    """Above what the phase draws neither throughput nor energy of a token changes."""
    draws = power.PHASE_POWER.get(phase, power.PHASE_POWER[Phase.PREFILL])
    found = power.power_cap(phase, draws.mid)

    assert found is not None
    assert 1.0 == found.throughput.mid == found.energy.mid
    for ratio in np.linspace(0.65, 1.0, 36):
        capped = power.power_cap(phase, float(ratio))
        assert capped is not None
        if phase is Phase.DECODE:
            assert capped.energy.mid <= 1


@pytest.mark.parametrize("ratio", [0.1, 1.2, math.nan])
def test_caps_nobody_measured_give_none(ratio: float) -> None:
    """Below the published points, above the limit, or not a number: no claim."""
    assert power.power_cap(Phase.DECODE, ratio) is None


def test_measured_energy_per_token() -> None:
    """500 W and 1,000 tokens/s are 0.5 J a token; no power, no tokens or NaN give None."""
    found = power.measured_joules_per_token(500, 1000)

    assert found is not None
    assert found.mid == 0.5
    assert found.low < 0.5 < found.high
    for watts, rate in ((None, 1), (1, None), (500, 0), (math.nan, 1), (0, 1)):
        assert power.measured_joules_per_token(watts, rate) is None


def test_energy_of_an_engine_by_phase() -> None:
    """All prefill draws nearly the limit, decode less; H100 decode 380 W is in the interval."""
    prefill, decode = power.serving_watts(700, 1.0), power.serving_watts(700, 0.0)

    assert prefill.mid > 650
    assert decode.low <= 380 <= decode.high
    assert power.joules_per_token(decode, exactly(0.0)) is None


def hall(days: int, start_watts: float, growth_watts_per_month: float, seed: int = 0) -> np.ndarray:
    """Hourly watts with a day, a working week, noise and growth."""
    rng = np.random.default_rng(seed)
    hours = np.arange(days * 24)
    daily = 0.04 * start_watts * np.sin(hours / 24 * 2 * np.pi)
    weekend = np.where((hours // 24) % 7 >= 5, -0.06 * start_watts, 0.0)
    grown = growth_watts_per_month * hours / 24 / 30.44
    return start_watts + daily + weekend + grown + rng.normal(0, 0.01 * start_watts, len(hours))


def test_a_growing_hall_is_full_when_it_says() -> None:
    """30 kW more a month: in at least 32 of 40 halls the 90 % interval holds the truth."""
    held = 0
    for seed in range(40):
        found = headroom(hall(120, 800e3, 30e3, seed), 1_200e3)
        assert found is not None
        assert found.months is not None
        growth = found.growth_watts_per_month
        held += growth.low <= 30e3 <= growth.high
        assert growth.mid == pytest.approx(30e3, rel=0.1)
        assert found.free_ratio == pytest.approx(1 - found.peak_watts / 1_200e3)
        left = 1_200e3 * 0.9 - found.peak_watts
        assert found.months.mid == pytest.approx(left / growth.mid)

    assert held >= 32


def test_wild_days_and_gaps_do_not_move_the_trend() -> None:
    """A week of outages, a spike and a tenth of readings missing: the growth stays the same."""
    clean = hall(120, 800e3, 30e3)
    dirty = clean.copy()
    dirty[60 * 24 : 67 * 24] = 50e3
    dirty[30 * 24] = 5e6
    dirty[np.random.default_rng(1).random(len(dirty)) < 0.1] = math.nan
    a, b = headroom(clean, 1_200e3), headroom(dirty, 1_200e3)

    assert a is not None
    assert b is not None
    assert b.growth_watts_per_month.mid == pytest.approx(a.growth_watts_per_month.mid, rel=0.15)


def test_no_growth_is_never_full() -> None:
    """A flat or shrinking hall has no date."""
    flat = headroom(hall(90, 800e3, 0.0), 1_200e3)
    shrinking = headroom(hall(90, 800e3, -20e3), 1_200e3)

    assert flat is not None
    assert flat.months is None or flat.months.high == HORIZON_MONTHS
    assert shrinking is not None
    assert shrinking.months is None


@pytest.mark.parametrize(
    ("watts", "capacity"),
    [
        (hall(20, 800e3, 30e3), 1_200e3),  # three weeks are too little
        (hall(90, 800e3, 30e3) * math.nan, 1_200e3),
        (hall(90, 800e3, 30e3), 0.0),
        (hall(90, 800e3, 30e3), math.nan),
        ([], 1_200e3),
    ],
)
def test_no_forecast_from_nothing(watts: np.ndarray, capacity: float) -> None:
    """Too little history, no readings, no capacity: None, not a date."""
    assert headroom(watts, capacity) is None


def test_months_until_full() -> None:
    """120 kW free at 10 to 30 kW a month: 4 to 12 months; nothing free: now."""
    growth = Interval(low=10e3, mid=20e3, high=30e3)

    assert months_until(120e3, growth) == Interval(low=4, mid=6, high=12)
    assert months_until(-1, growth) == exactly(0.0)
    assert months_until(120e3, exactly(0.0)) is None

"""What a load is like: burstiness, base, peak, hours of day, growth, and what is not known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.models import peaks as p
from advisor.models import workload as w
from advisor.models.periods import HOURS_PER_MONTH
from ridgeline.errors import NoData
from tests import published

MINUTE, DAY = 60.0, 1440


def day(peak: float = 300, base: float = 100, days: int = 1, noise: float = 0.0) -> np.ndarray:
    """Minutes of days that swing between base and peak, highest at noon."""
    minutes = np.arange(days * DAY)
    swing = (1 - np.cos(2 * np.pi * minutes / DAY)) / 2
    return base + (peak - base) * swing + noise * np.random.default_rng(1).normal(size=minutes.size)


def test_poisson_arrivals_are_poisson() -> None:
    """100,000 exponential gaps: CV and dispersion of every window are near 1."""
    times = np.cumsum(np.random.default_rng(2).exponential(0.1, 100_000))
    seen = w.characterise_arrivals(times)

    assert 10 == pytest.approx(seen.per_second, rel=0.02)
    assert 1 == pytest.approx(seen.interarrival_cv, rel=0.02)
    assert [1.0, 10.0, 60.0, 600.0] == [window for window, _ in seen.dispersion]
    assert all(d == pytest.approx(1, abs=0.5) for _, d in seen.dispersion)


def test_even_arrivals_have_no_burstiness() -> None:
    """CV 0: a clock's ticks have neither variation nor dispersion."""
    seen = w.characterise_arrivals(np.arange(1000) * 1.0)

    assert seen.interarrival_cv == pytest.approx(0, abs=1e-9)
    assert seen.dispersion_at(60) == pytest.approx(0, abs=0.05)


def test_azure_code_is_bursty_at_every_window() -> None:
    """Azure code 2023: CV 13.15 between arrivals; dispersion grows with the window."""
    times, _, _ = published.azure("code")
    seen = w.characterise_arrivals(times)

    assert 13.15 == pytest.approx(seen.interarrival_cv, rel=0.02)
    assert seen.dispersion_at(1) > 5
    assert seen.dispersion_at(60) > seen.dispersion_at(1)


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 10**9).map(lambda ms: ms / 1000), min_size=3, max_size=60, unique=True)
)
def test_order_of_arrivals_does_not_matter(times: list[float]) -> None:
    """Unsorted times give what sorted ones give, all finite and not below 0."""
    seen = w.characterise_arrivals(times)

    assert seen == w.characterise_arrivals(sorted(times, reverse=True))
    assert 0 <= seen.interarrival_cv < math.inf
    assert all(0 <= d < math.inf for _, d in seen.dispersion)


@pytest.mark.parametrize("times", [[], [1.0], [1.0, 2.0], [5.0, 5.0, 5.0]])
def test_too_few_arrivals_are_no_data(times: list[float]) -> None:
    """Nothing, one, two, or all at one instant: no burstiness to speak of."""
    with pytest.raises(NoData):
        w.characterise_arrivals(times)


def test_a_day_has_base_peak_and_hours() -> None:
    """A swing from 100 to 300: base, peak, mean and the hour of the peak; a day is enough."""
    seen = w.characterise(day(), MINUTE)

    assert seen.enough
    assert 200 == pytest.approx(seen.mean, rel=0.01)
    assert 100 == pytest.approx(seen.base, rel=0.03)
    assert 300 == pytest.approx(seen.peak, rel=0.01)
    assert int(np.argmax(seen.by_hour)) in {11, 12}
    assert len(seen.missing) == 2  # no week, no growth


def test_hours_explain_a_diurnal_load_and_not_a_noisy_one() -> None:
    """Most of a swing's variance is the hour of day; of noise alone next to none."""
    swing = w.characterise(day(days=3, noise=5), MINUTE)
    flat = w.characterise(day(peak=100, days=3, noise=5), MINUTE)

    assert swing.by_hour_share is not None
    assert flat.by_hour_share is not None
    assert swing.by_hour_share > 0.9
    assert flat.by_hour_share < 0.1


def test_r1_day_peaks_at_two_and_a_half_times_its_mean() -> None:
    """ServeGen R1: mean 16.0 requests/s, peak 42.5 (2.66 times the mean) over one day."""
    rate = published.table("servegen-deepseek-r1/rate_600s.csv")[:, 1]
    seen = w.characterise(rate, 600.0)

    assert 16.0 == pytest.approx(seen.mean, rel=0.01)
    assert 42.5 == pytest.approx(float(rate.max()), rel=0.01)
    assert 2.3 < seen.peak_to_mean <= 2.66
    assert seen.days == pytest.approx(1.0)


@pytest.mark.parametrize("growth", [0.0, 0.05, -0.02])
def test_growth_has_an_interval(growth: float) -> None:
    """Two weeks of noisy days: the growth put in lies in the interval, none is missing."""
    daily = 1 + growth * (np.arange(14) - 6.5) + np.random.default_rng(4).normal(0, 0.01, 14)
    seen = w.characterise(day(days=14) * np.repeat(daily, DAY), MINUTE)

    assert seen.growth_per_day is not None
    assert seen.growth_per_day.low <= growth <= seen.growth_per_day.high
    assert seen.growth_per_day.high - seen.growth_per_day.low < 0.01
    assert seen.missing == ()


def test_less_than_a_day_is_not_enough() -> None:
    """Three hours: what is missing is said, growth and hours are not."""
    seen = w.characterise(day()[:180], MINUTE)

    assert not seen.enough
    assert "a whole day (3.0 h seen)" in seen.missing[0]
    assert seen.growth_per_day is None
    assert seen.by_hour_share is None
    assert sum(math.isfinite(h) for h in seen.by_hour) == 3


def test_gaps_are_not_zeros() -> None:
    """Steps that were not seen change neither mean nor peaks, and are said."""
    holed = day(days=2)
    holed[::3] = np.nan
    seen = w.characterise(holed, MINUTE)

    assert 200 == pytest.approx(seen.mean, rel=0.01)
    assert any("33%" in text for text in seen.missing)


def test_nothing_and_nonsense() -> None:
    """Zero traffic has a shape; no step is no data; below 0 is an error."""
    idle = w.characterise(np.zeros(DAY), MINUTE)

    assert (0, 0, 0) == (idle.mean, idle.peak, idle.peak_to_mean)
    with pytest.raises(NoData):
        w.characterise([], MINUTE)
    with pytest.raises(NoData):
        w.characterise([math.nan], MINUTE)
    with pytest.raises(ValueError, match="not below 0"):
        w.characterise([-1.0], MINUTE)


def test_peaks_are_counted_measured_and_foreseen() -> None:
    """Four days with two hours over capacity each: four peaks of two hours, at the same hours."""
    load = np.full(4 * DAY, 100.0)
    for n in range(4):
        load[n * DAY + 600 : n * DAY + 720] = 180.0
    load[640] = 90.0  # a minute's dip does not end a peak
    seen = p.peaks(load, MINUTE, 150)

    assert seen.count == 4
    assert 2 == pytest.approx(seen.hours_each.mid)
    assert 4 * 365 / 12 / 4 == pytest.approx(seen.per_month.mid)
    assert seen.per_month.low < seen.per_month.mid < seen.per_month.high
    assert (30, 30, 30) == (seen.above.low, seen.above.mid, seen.above.high)
    assert seen.foreseeable
    assert not p.peaks(load[:DAY], MINUTE, 150).foreseeable  # seen once: a chance


def test_no_peak_above_the_highest_load() -> None:
    """A capacity that is never passed has no peak, of no length."""
    seen = p.peaks(day(), MINUTE, 1000)

    assert (0, 0, 0) == (seen.count, seen.share_of_time, seen.hours_each.high)


@settings(max_examples=50)
@given(st.lists(st.floats(0, 100), min_size=1, max_size=200), st.floats(0, 100))
def test_time_over_capacity_is_what_peaks_last(load: list[float], capacity: float) -> None:
    """Without merging, hours of all peaks add up to the share of time over capacity."""
    seen = p.peaks(load, 60.0, capacity, merge_steps=0)

    hours = seen.count * seen.hours_each.mid
    assert hours == pytest.approx(seen.share_of_time * len(load) / 60)


def test_rented_nodes_come_and_go_with_the_excess() -> None:
    """Two hours at 20 GPUs above capacity a day: 3 nodes of 8, held a quarter of an hour more."""
    load = np.full(4 * DAY, 100.0)
    for n in range(4):
        load[n * DAY + 600 : n * DAY + 720] = 120.0
    found = p.rented(load, MINUTE, 100, 8)

    assert (3, 3, 3) == (found.units.low, found.units.mid, found.units.high)
    assert 3 * 2.25 * 365 / 12 == pytest.approx(found.unit_hours_per_month.mid)
    assert 3 * 365 / 12 == pytest.approx(found.starts_per_month.mid)
    assert found.unit_hours_per_month.low == pytest.approx(found.unit_hours_per_month.high)


def test_days_that_differ_leave_doubt_about_the_month() -> None:
    """Peaks on two of eight days: an interval; less than two days: half to twice."""
    load = np.full(8 * DAY, 100.0)
    load[600:720] = load[DAY + 600 : DAY + 720] = 120.0
    some, day_one = p.rented(load, MINUTE, 100, 8), p.rented(load[:DAY], MINUTE, 100, 8)

    assert some.unit_hours_per_month.low < some.unit_hours_per_month.mid
    assert some.unit_hours_per_month.mid < some.unit_hours_per_month.high
    mid = day_one.unit_hours_per_month.mid
    assert (mid / 2, mid * 2) == (
        day_one.unit_hours_per_month.low,
        day_one.unit_hours_per_month.high,
    )


@settings(max_examples=50)
@given(st.lists(st.floats(0, 100), min_size=1, max_size=200), st.floats(0, 100))
def test_rent_covers_the_excess_and_no_more_than_a_unit_above(
    load: list[float], capacity: float
) -> None:
    """Without holding, unit-hours lie between the excess and one more unit while there is any."""
    found = p.rented(load, 3600.0, capacity, 8.0, hold_seconds=0.0)
    excess = np.maximum(np.array(load) - capacity, 0.0)
    month = HOURS_PER_MONTH / len(load)

    low = float(excess.sum()) / 8 * month
    assert low - 1e-6 <= found.unit_hours_per_month.mid
    assert found.unit_hours_per_month.mid <= 2 * (low + float((excess > 0).sum()) * month) + 1e-6


def test_rent_needs_a_unit_and_a_demand() -> None:
    """A unit of nothing and a demand never seen are refused."""
    with pytest.raises(ValueError, match="unit=0"):
        p.rented([1.0], MINUTE, 0, 0)
    with pytest.raises(NoData):
        p.rented([math.nan], MINUTE, 0, 8)
    assert p.rented([1.0], MINUTE, 5, 8).unit_hours_per_month.high == 0


@pytest.mark.parametrize(("days", "t"), [(3, 6.31), (12, 1.812), (13, 1.796), (32, 1.697)])
def test_growth_has_the_interval_of_students_t(days: int, t: float) -> None:
    """Daily means that zigzag around a line: slope and its 90 % interval by the textbook."""
    daily = 100.0 + 2 * np.arange(days) + 3 * (np.arange(days) % 2)
    found = w.characterise(np.repeat(daily, 24), 3600.0).growth_per_day
    x = np.arange(days) - (days - 1) / 2
    slope = float(x @ daily / (x @ x))
    left = daily - daily.mean() - slope * x
    error = math.sqrt(float(left @ left) / (days - 2) / float(x @ x))

    assert found is not None
    assert slope / daily.mean() == pytest.approx(found.mid)
    assert t * error / daily.mean() == pytest.approx(found.high - found.mid, rel=0.002)

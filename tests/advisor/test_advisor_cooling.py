"""Heat, lost work by phase, causes, remedies, retrofits, PUE and TUE, carbon."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.catalog.carbon import GRIDS, load
from advisor.catalog.cooling import BY_NAME, CONTAINED_AIR, DIRECT_TO_CHIP, PUE, TECHNOLOGIES
from advisor.models import carbon, cooling
from advisor.models.cooling import Cause, Loop, Remedy
from advisor.models.interval import Interval, exactly
from advisor.models.power import Phase
from ridgeline.errors import Misconfigured
from ridgeline.events import Confidence
from tests import published


@pytest.mark.parametrize(
    ("flow", "delta"),
    [(None, 10), (10, None), (math.nan, 10), (10, math.inf), (-1, 10), (10, -2)],
)
def test_heat_of_nothing_is_none(flow: float | None, delta: float | None) -> None:
    """Missing, impossible and negative readings give None; no flow gives no heat."""
    assert cooling.heat_watts(flow, delta) is None
    assert cooling.heat_watts(0, 10) == 0
    assert cooling.flow_liters_per_minute_for(1000, 0) is None
    assert cooling.flow_liters_per_minute_for(math.nan, 10) is None


@given(st.floats(0.1, 1e4), st.floats(0.1, 60))
def test_flow_and_heat_are_inverse(flow: float, delta: float) -> None:
    """The flow for a heat carries that heat."""
    heat = cooling.heat_watts(flow, delta)

    assert heat is not None
    assert cooling.flow_liters_per_minute_for(heat, delta) == pytest.approx(flow)


@given(st.floats(0, 1), st.none() | st.floats(0, 1.2), st.none() | st.sampled_from(list(Phase)))
def test_lost_work_is_ordered_bounded_and_decode_feels_least(
    throttled: float, clock: float | None, phase: Phase | None
) -> None:
    """Low <= likely <= high <= throttled share; decode loses no more than prefill."""
    low, mid, high = cooling.lost_work_ratio(throttled, clock, phase)
    decode = cooling.lost_work_ratio(throttled, clock, Phase.DECODE)

    assert 0 <= low <= mid <= high <= throttled
    assert decode[1] <= cooling.lost_work_ratio(throttled, clock, Phase.PREFILL)[1]


def test_causes_are_what_was_measured() -> None:
    """Each reading names its cause; nothing measured is unknown, never a fault."""
    hot = Loop(
        supply_celsius=40,
        normal_supply_celsius=32,
        flow_liters_per_minute=200,
        normal_flow_liters_per_minute=400,
        inlet_celsius=31,
        fan_speed_ratio=0.6,
        rack_kw=200,
        technology=DIRECT_TO_CHIP,
    )

    assert [c for c in Cause if c is not Cause.UNKNOWN] == list(cooling.causes(hot))
    assert (Cause.UNKNOWN,) == cooling.causes(Loop())
    unread = Loop(
        supply_celsius=math.nan,
        normal_supply_celsius=32,
        flow_liters_per_minute=math.nan,
        normal_flow_liters_per_minute=400,
        fan_speed_ratio=math.nan,
        rack_kw=math.nan,
        technology=CONTAINED_AIR,
    )
    assert (Cause.UNKNOWN,) == cooling.causes(unread)
    assert (Remedy.POWER_CAP,) == cooling.remedies(unread, throttling=True)


@pytest.mark.parametrize("phase", [Phase.PREFILL, Phase.TRAINING])
def test_compute_is_not_capped_against_heat(phase: Phase) -> None:
    """Prefill at 450 of 700 W keeps 0.65 (MLPerf v4.1 MaxQ): a cap costs more than heat."""
    hot = Loop(rack_kw=80, technology=CONTAINED_AIR)

    assert (Remedy.RETROFIT,) == cooling.remedies(hot, throttling=True, phase=phase)
    assert (Remedy.MEASURE,) == cooling.remedies(Loop(), throttling=True, phase=phase)
    for other in (Phase.DECODE, Phase.MIXED, None):
        assert Remedy.POWER_CAP in cooling.remedies(hot, throttling=True, phase=other)


def test_liquid_promises_no_speed_to_healthy_gpus() -> None:
    """MLPerf v5.1: liquid over air 1.003: without throttling the gain is nothing at all."""
    assert cooling.speed_gain_ratio(0.0, None) == exactly(0.0)
    assert cooling.speed_gain_ratio(None, None) == exactly(0.0)
    assert cooling.speed_gain_ratio(math.nan, 0.5) == exactly(0.0)
    assert cooling.speed_gain_ratio(0.2, 0.7).mid > 0


def test_retrofits_by_density() -> None:
    """60 kW: rear door or direct to chip; 132 kW: not air; water warmer than W40 is said."""
    names = [r.technology.name for r in cooling.retrofits(60, 10)]
    dense = cooling.retrofits(132, 18, facility_water_celsius=42)

    assert names == ["rear-door heat exchanger", "direct-to-chip liquid"]
    chip = dense[0]
    assert chip.technology is DIRECT_TO_CHIP
    assert [18, 36] == list(chip.lead_time_months)
    assert chip.air_kw == pytest.approx((26.4, 39.6))
    assert chip.flow_liters_per_minute == pytest.approx(152, rel=0.01)
    assert [False, True] == [r.water_warm_enough for r in dense]
    assert chip.coolant_celsius == 47
    assert chip.priced_by is not None
    assert "STL Partners" in chip.priced_by.title
    assert Confidence.ASSUMED is chip.priced_by.confidence  # half and twice are nobody's
    assert chip.capex_usd == Interval(low=1000, mid=2000, high=4000).scaled(132 * 18)
    assert all(r.capex_usd is None for r in dense[1:])
    priced = cooling.retrofits(60, 10, usd_per_kw=Interval(low=1000, mid=2000, high=3000))
    assert all(r.capex_usd == Interval(low=6e5, mid=12e5, high=18e5) for r in priced)
    assert not any(r.priced_by for r in priced)


@pytest.mark.parametrize(("kw", "racks"), [(0.0, 1), (-5.0, 1), (math.nan, 1), (50.0, 0)])
def test_no_retrofit_for_nothing(kw: float, racks: int) -> None:
    """Unknown or no heat gets no offer."""
    assert cooling.retrofits(kw, racks) == ()


def test_pue_understates_what_liquid_saves() -> None:
    """Vertiv and NVIDIA: PUE -3.3 %, total -10.2 %: 7 % of IT power were fans (TUE sees them)."""
    before, after = 1.38, 1.38 * 0.967
    saved = cooling.power_saved_ratio(before, after)

    assert saved.mid == pytest.approx(0.102, abs=0.001)
    assert cooling.FAN_RATIO.mid == pytest.approx(0.071, abs=0.001)
    with_fans, without = cooling.tue(before, cooling.FAN_RATIO.mid), cooling.tue(after, 0.0)
    assert with_fans is not None
    assert without is not None
    assert 1 - without / with_fans == pytest.approx(0.102, abs=0.001)
    assert cooling.tue(0.9, 0.1) is None
    assert cooling.itue(1.0) is None


def test_pue_of_lbnl() -> None:
    """LBNL-2001637 figure 4.4: direct expansion 2.05, liquid with a dry cooler 1.093."""
    by_system = {row.system: row.pue for row in PUE}

    assert by_system["small, direct expansion"] == 2.05
    assert by_system["IT liquid, dry cooler"] == 1.093
    assert all(row.pue >= 1 and row.source for row in PUE)


def test_technologies_rise_in_density() -> None:
    """Each is meant for denser racks than the one before; liquid ones name their water."""
    limits = [t.high_kw_per_rack for t in TECHNOLOGIES]

    assert limits == sorted(limits)
    assert [t.name for t in TECHNOLOGIES if t.water] == [t.name for t in TECHNOLOGIES[2:]]
    assert BY_NAME["direct-to-chip liquid"].water == "W40"


def test_carbon_of_regions_matches_the_published_tables() -> None:
    """Iowa 412.72 g/kWh and 87 % carbon-free hours (GCP 2024), Paris 52 g (CCF, AWS)."""
    rows = published.data("gcp-carbon/2024.csv").read_text().splitlines()[1:]

    assert GRIDS["gcp/us-central1"].grams_per_kwh == 412.72
    assert GRIDS["gcp/us-central1"].carbon_free_ratio == 0.87
    assert GRIDS["aws/eu-west-3"].grams_per_kwh == pytest.approx(52)
    assert len(rows) == sum(region.startswith("gcp/") for region in GRIDS)


def test_operators_grid_and_its_hours() -> None:
    """The own hall's grid is added with 24 hours; a value without its decimal point is refused."""
    hours = [100.0] * 12 + [400.0] * 12
    own = {"grids": [{"region": "own", "grams_per_kwh": 250, "hourly_grams_per_kwh": hours}]}
    found = load(own)

    assert found["own"].at(3) == 100
    assert found["own"].at(24 + 15) == 400
    assert found["gcp/europe-west1"].at(3) == found["gcp/europe-west1"].grams_per_kwh
    wrong: tuple[dict[str, Any], ...] = ({"grams_per_kwh": 402_000}, {"grams_per_kwh": -1})
    for entry in wrong:
        with pytest.raises(Misconfigured, match="grams_per_kwh"):
            load({"grids": [{"region": "own", **entry}]})
    with pytest.raises(Misconfigured, match="hourly_grams_per_kwh"):
        load({"grids": [{"region": "own", "grams_per_kwh": 1, "hourly_grams_per_kwh": [1.0]}]})


def test_grams_a_million_tokens() -> None:
    """1 J a token at PUE 1.2 and 300 g/kWh: 100 g a million tokens."""
    found = carbon.grams_per_million_tokens(
        exactly(1.0), 1.2, load({"grids": [{"region": "own", "grams_per_kwh": 300}]})["own"]
    )

    assert found.mid == pytest.approx(100)


def test_a_contract_by_volume_is_not_one_by_hour() -> None:
    """100 % PPA that covers 63 % of the hours reports 0 and still emits 37 %."""
    assert carbon.after_contracts(100, 1.0, 0.63) == pytest.approx((0, 37))
    assert carbon.after_contracts(100, 0.3, 0.63) == pytest.approx((70, 70))
    assert carbon.after_contracts(100, 2.0, -1.0) == pytest.approx((0, 100))


def test_shifting_work_to_clean_hours() -> None:
    """A fifth of the dirty hours' load moves to the cleaner half day behind, within the room."""
    found = carbon.shift(
        [10.0] * 24, [400.0] * 12 + [100.0] * 12, shiftable_ratio=0.2, capacity_kwh=15.0
    )

    assert found is not None
    assert found.moved_kwh == pytest.approx(24)
    assert found.saved_kg == pytest.approx(24 * 0.3)
    assert found.saved_ratio == pytest.approx(24 * 300 / (120 * 400 + 120 * 100))
    assert carbon.usd_per_tonne(7.2, found.saved_kg) == pytest.approx(1000)


def test_shifting_needs_room_time_and_a_cleaner_hour() -> None:
    """No room, no time to wait, a flat grid, or clean hours first: nothing moves."""
    dirty_first = [400.0] * 12 + [100.0] * 12
    still = [
        carbon.shift([10.0] * 24, dirty_first, shiftable_ratio=0.2, capacity_kwh=10.0),
        carbon.shift([10.0] * 24, [300.0] * 24, shiftable_ratio=0.2, capacity_kwh=99.0),
        carbon.shift([10.0] * 24, dirty_first[::-1], shiftable_ratio=0.2, capacity_kwh=99.0),
    ]

    assert [0.0, 0.0, 0.0] == [s.moved_kwh for s in still if s is not None]
    assert carbon.usd_per_tonne(5, 0) is None
    assert carbon.shift([1.0], [1.0, 2.0], shiftable_ratio=0.2, capacity_kwh=9) is None
    assert carbon.shift([math.nan], [1.0], shiftable_ratio=0.2, capacity_kwh=9) is None
    assert carbon.shift([], [], shiftable_ratio=0.2, capacity_kwh=9) is None


@given(
    st.lists(st.floats(0, 10), min_size=24, max_size=24),
    st.lists(st.floats(0, 900), min_size=24, max_size=24),
    st.floats(0, 1),
    st.integers(0, 24),
)
def test_shifting_never_adds_carbon_or_waits_too_long(
    load_kwh: list[float], grams: list[float], share: float, delay: int
) -> None:
    """Saved is never negative, moved never above the shiftable share, delays within the limit."""
    found = carbon.shift(
        load_kwh, grams, shiftable_ratio=share, capacity_kwh=10.0, longest_delay_hours=delay
    )

    assert found is not None
    assert found.saved_kg >= 0
    assert found.moved_kwh <= share * sum(load_kwh) + 1e-6
    assert found.longest_delay_hours <= delay


def test_emissions_by_hour_and_by_mean_agree_on_a_flat_grid() -> None:
    """24 hours of 10 kWh at the mean; an hour without a reading adds nothing."""
    grid = GRIDS["gcp/europe-west3"]

    assert carbon.tonnes_by_hour([10.0] * 24, grid) == pytest.approx(carbon.tonnes(240, grid))
    assert carbon.tonnes_by_hour([10.0, math.nan], grid) == pytest.approx(carbon.tonnes(10, grid))


def test_cleaner_regions() -> None:
    """From Frankfurt to Stockholm, 2.73 g/kWh; from there nothing is cleaner by a fifth."""
    found = carbon.cleaner(GRIDS["gcp/europe-west3"], GRIDS.values())

    assert found[0].region == "gcp/europe-north2"
    assert all(g.grams_per_kwh <= 0.8 * 275.82 for g in found)
    assert () == carbon.cleaner(GRIDS["gcp/europe-north2"], GRIDS.values())

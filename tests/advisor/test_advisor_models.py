"""The models against closed forms and published results; each with its source."""

from __future__ import annotations

import pytest

from advisor.catalog.accelerators import ACCELERATORS, BY_NAME, by_device_name
from advisor.catalog.cooling import TECHNOLOGIES
from advisor.catalog.prices import PRICES, Price, checked, street
from advisor.models import accelerators, cooling, cost

H100 = BY_NAME["H100-SXM"]


def test_redfish_heat() -> None:
    """DMTF DSP2046 mock: 24.3 L/min at 23.4 K is 39.6 kW; the inverse gives the flow back."""
    watts = cooling.heat_watts(24.3, 23.4)

    assert watts is not None
    assert watts / 1000 == pytest.approx(39.6, rel=0.02)
    assert cooling.flow_liters_per_minute_for(watts, 23.4) == pytest.approx(24.3)
    assert cooling.flow_liters_per_minute_for(132e3, 10) == pytest.approx(190, rel=0.01)


def test_no_retrofit_without_throttling() -> None:
    """MLPerf v5.1: liquid over air 1.003 on healthy GPUs: no promise without throttling."""
    dense = cooling.Loop(rack_kw=60, technology=TECHNOLOGIES[1], fan_speed_ratio=0.99)

    assert cooling.remedies(dense, throttling=False) == ()
    assert cooling.Remedy.RETROFIT in cooling.remedies(dense, throttling=True)


def test_cheapest_remedy_first() -> None:
    """Low flow, a hot supply and slow fans come before power and building work."""
    loop = cooling.Loop(
        supply_celsius=40,
        normal_supply_celsius=32,
        flow_liters_per_minute=200,
        normal_flow_liters_per_minute=400,
        fan_speed_ratio=0.5,
        rack_kw=200,
        technology=TECHNOLOGIES[3],
    )

    every = [r for r in cooling.Remedy if r is not cooling.Remedy.MEASURE]
    assert every == list(cooling.remedies(loop, throttling=True))
    assert cooling.remedies(cooling.Loop(), throttling=True) == (cooling.Remedy.POWER_CAP,)
    assert cooling.technology_for(40).name == "rear-door heat exchanger"


def test_break_even_utilisation() -> None:
    """300k USD, 4 y, 10.2 kW, PUE 1.3: 11.87 USD/h; 0.65 of 8 x 2.29, 0.12 of AWS."""
    owned = cost.owned_usd_per_hour(
        capex_usd=300_000,
        life_years=4,
        power_kw=10.2,
        pue=1.3,
        usd_per_kwh=0.12,
        opex_usd_per_hour=300_000 * 0.05 / 8760,
    )

    assert owned == pytest.approx(11.87, rel=0.005)
    assert cost.break_even_utilisation_ratio(owned, 8 * 2.29) == pytest.approx(0.65, abs=0.005)
    assert cost.break_even_utilisation_ratio(owned, 98.32) == pytest.approx(0.12, abs=0.005)


def test_splitwise_iso_cost() -> None:
    """40 DGX H100 at 4.76 cost as much as 86 DGX A100 at 2.21 (splitwise-sim@8f99e7d)."""
    assert cost.price_ratio_equivalent(40, 4.76, 2.21) == 86


def test_opencost_price_normalisation() -> None:
    """30/30/10 at 35 USD become 15/15/5 (OpenCost's specification)."""
    assert cost.idle_cost_split_usd(35, (30, 30, 10)) == pytest.approx((15, 15, 5))


def test_newsvendor_owns_what_is_used_often_enough() -> None:
    """Own the level that is exceeded the break-even share of the time, rent the rest."""
    demand = [float(i) for i in range(1, 101)]

    assert cost.newsvendor_capacity(demand, 0.65) == 35
    assert cost.newsvendor_capacity(demand, 0.12) == 88
    assert cost.newsvendor_capacity(demand, 1.5) == 0
    assert cost.newsvendor_capacity([], 0.5) == 0
    assert cost.burst_usd(
        hours=10,
        gpus=8,
        usd_per_gpu_hour=2,
        egress_gb=100,
        usd_per_egress_gb=0.1,
        warm_up_hours=1,
    ) == pytest.approx(186)


def test_spot_above_on_demand_is_bad_data() -> None:
    """TPU v4 pods were listed at 3.686 spot and 3.22 on demand (gpuhunt): refused."""
    bad = Price(provider="gcp", accelerator="TPU-v4", usd_per_hour=3.22, spot_usd_per_hour=3.686)

    assert checked([bad]) == ()
    assert all(p.spot_usd_per_hour is None or p.spot_usd_per_hour < p.usd_per_hour for p in PRICES)


def test_street_price_leaves_launch_lists_out() -> None:
    """The same H100 is listed at 2.29 and 12.29; only what is paid now counts."""
    assert street("H100-SXM") == (2.29, 2.40, 2.95)
    assert street("WSE-3") is None


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "H100-SXM"),
        ("NVIDIA H100 PCIe", "H100-PCIe"),
        ("NVIDIA A100-SXM4-80GB", "A100-SXM-80G"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA GB200", "GB200"),
        ("H100-SXM", "H100-SXM"),
    ],
)
def test_device_names(device: str, name: str) -> None:
    """A driver's name finds its catalogue entry."""
    found = by_device_name(device)

    assert found is not None
    assert found.name == name
    assert by_device_name("NVIDIA GeForce GTX 750") is None


def test_catalogue_is_sane() -> None:
    """Names are unique, every entry has a source, what was measured is below its peak."""
    assert len(BY_NAME) == len(ACCELERATORS)
    for a in ACCELERATORS:
        assert a.source
        if a.measured_bf16_tflops is not None and a.bf16_tflops is not None:
            assert a.measured_bf16_tflops < a.bf16_tflops
    assert {p.accelerator for p in PRICES} <= set(BY_NAME)


def test_comparison_is_of_measured_ceilings_only() -> None:
    """H200 reads 1.43 times as fast as H100; MI300X's bandwidth was never measured: unverified."""
    bound = accelerators.Bound.BANDWIDTH
    h200 = accelerators.compare(H100, BY_NAME["H200-SXM"], bound, 2.29, 3.39)

    assert h200 is not None
    assert h200.speed_ratio == pytest.approx(4.8 / 3.35)
    assert h200.cost_ratio == pytest.approx(3.39 / 2.29 / (4.8 / 3.35))
    assert accelerators.compare(H100, BY_NAME["MI300X"], bound, 2.29, 2.0) is None


@pytest.mark.parametrize(
    ("dram", "tensor", "bound"),
    [
        (0.7, 0.2, accelerators.Bound.BANDWIDTH),
        (0.3, 0.7, accelerators.Bound.COMPUTE),
        (0.1, 0.1, None),
        (0.7, 0.7, None),
        (None, 0.7, None),
    ],
)
def test_bound(dram: float | None, tensor: float | None, bound: accelerators.Bound | None) -> None:
    """A bound is said only where measurements show exactly one."""
    assert accelerators.measured_bound(dram, tensor) is bound

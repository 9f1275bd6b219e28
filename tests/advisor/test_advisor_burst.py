"""Own, rent, managed: break-even, newsvendor, burst plans and their refusals, layers of demand."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.catalog import managed as endpoints
from advisor.catalog.models import MODELS
from advisor.models import burst_plan as bp
from advisor.models import hybrid, managed, ownership
from advisor.models.interval import Interval, exactly, of
from advisor.models.peaks import Rented
from advisor.models.workload import Shape
from ridgeline.errors import Misconfigured, NoData

SERVER = ownership.Server(
    gpus=8,
    capex_usd=of(250_000, 300_000, 400_000),
    life_years=4,
    power_kw=10.2,
    upkeep_ratio_per_year=0.05,
)
loads = st.lists(st.integers(0, 40).map(float), min_size=1, max_size=60)


def test_break_even_with_its_doubt() -> None:
    """8 H100 for 250 to 400k USD: 11.87 USD/h, u* 0.65 of 2.29 USD, 0.12 of a launch list."""
    owned = SERVER.usd_per_gpu_hour(usd_per_kwh=0.12, pue=1.3)

    assert 11.87 / 8 == pytest.approx(owned.mid, rel=0.005)
    rent = ownership.break_even_ratio(owned, of(1.90, 2.29, 2.95))
    assert 0.65 == pytest.approx(rent.mid, abs=0.005)
    assert rent.low < 0.5
    assert rent.high > 0.8
    assert 0.12 == pytest.approx(ownership.break_even_ratio(owned, exactly(12.29)).mid, abs=0.005)
    with pytest.raises(ValueError, match="rent_usd_per_hour=0"):
        ownership.break_even_ratio(owned, exactly(0))


def test_break_even_hours() -> None:
    """Lenovo LP2225's shape: 833,806 USD against 98.32 an hour and its running cost; or never."""
    assert 8556 == pytest.approx(ownership.break_even_hours(833_806, 0.87, 98.32), rel=0.001)
    assert math.isinf(ownership.break_even_hours(1, 3, 2))


@given(loads, st.floats(0.01, 2), st.floats(0.5, 3))
def test_no_other_level_is_cheaper_than_the_newsvendors(
    load: list[float], own: float, rent: float
) -> None:
    """Brute force over all whole levels finds nothing below the level owned by the rule."""
    level = ownership.owned_level(load, own / rent)
    best = float(ownership.usd_per_hour(load, level, own, rent)[0])

    assert best <= float(ownership.usd_per_hour(load, np.arange(42), own, rent).min()) + 1e-9


def test_a_split_has_an_interval_from_prices_and_days() -> None:
    """Days that differ widen what to own; a split is cheaper than all or nothing."""
    rng = np.random.default_rng(6)
    days = np.repeat(rng.uniform(20, 60, 10), 24) + rng.uniform(0, 30, 240)
    own, rent = of(1.4, 1.5, 1.9), of(1.9, 2.3, 2.9)

    many = ownership.split(days, own, rent, 24)
    sure = ownership.split(days, exactly(1.5), exactly(2.3), 24)

    assert many.owned.low < many.owned.mid < many.owned.high
    assert sure.owned.high - sure.owned.low < many.owned.high - many.owned.low
    assert many.usd_per_hour <= min(many.all_owned_usd_per_hour, many.all_rented_usd_per_hour)
    assert 0 < many.rented_share < 1
    flat = ownership.split(np.full(240, 30.0), exactly(1.5), exactly(2.3), 24)
    assert (30, 30, 30) == (flat.owned.low, flat.owned.mid, flat.owned.high)
    with pytest.raises(NoData):
        ownership.split([], own, rent, 24)


def offer(**changes: object) -> bp.Offer:
    """H100 at 2.29 USD in Helsinki."""
    made = bp.Offer(
        provider="verda",
        region="fi-helsinki",
        accelerator="H100-SXM",
        usd_per_gpu_hour=2.29,
        spot_usd_per_gpu_hour=0.8015,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # test data: checked at run time


def need(**changes: object) -> bp.Need:
    """24 GPUs for two hours on each of 30 days."""
    made = bp.Need(
        pool="decode",
        accelerator="H100-SXM",
        gpus=of(16, 24, 32),
        hours_per_peak=of(1, 2, 3),
        peaks_per_month=of(20, 30, 40),
        model_gb=140,
        gpu_kw=1.0,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # likewise


ANYWHERE = bp.Policy()


def planned(asked: bp.Need, *offers: bp.Offer, policy: bp.Policy = ANYWHERE) -> bp.BurstPlan:
    """A plan, which there must be."""
    found = bp.plan(asked, offers, policy)

    assert isinstance(found, bp.BurstPlan)
    return found


def refused(
    asked: bp.Need,
    *offers: bp.Offer,
    policy: bp.Policy = ANYWHERE,
    across: bp.Across | None = None,
) -> tuple[bp.Reason, ...]:
    """Reasons of a no, which there must be."""
    found = bp.plan(asked, offers, policy, across)

    assert isinstance(found, bp.No)
    return found.reasons


def test_a_plan_says_where_how_many_how_long_and_how_much() -> None:
    """24 GPUs in 3 nodes at the cheapest place, warm-up paid, dearer places as alternatives."""
    found = planned(need(), offer(provider="nebius", usd_per_gpu_hour=2.95), offer())

    assert ("verda/fi-helsinki", 3, False) == (
        found.best.offer.place,
        found.best.nodes,
        found.best.spot,
    )
    warm = found.ready_seconds.mid / 3600
    assert 30 * (2 + warm) * 24 * 2.29 == pytest.approx(found.best.usd_per_month.mid)
    assert found.best.usd_per_month.low < found.best.usd_per_month.mid
    assert ["nebius/fi-helsinki"] == [o.offer.place for o in found.alternatives]


def test_residency_comes_before_everything() -> None:
    """A free GPU where the data may not go is not looked at; the no says why."""
    free = offer(region="us-east1", usd_per_gpu_hour=0.01)
    home = bp.Policy(allowed=("verda/fi-*",))

    assert planned(need(), free, offer(), policy=home).best.offer.region == "fi-helsinki"
    assert refused(need(), free, policy=home) == (bp.Reason.RESIDENCY,)


@pytest.mark.parametrize(
    ("entries", "passes"),
    [
        ((), True),
        (("verda",), True),
        (("VERDA",), True),
        (("fi-helsinki",), True),
        (("verda/fi-helsinki",), True),
        (("fi-*",), True),
        (("nebius", "us-*"), False),
        (("verda/de-*",), False),
        (("on-site",), False),
    ],
)
def test_allow_lists(entries: tuple[str, ...], passes: bool) -> None:  # noqa: FBT001 - a parameter
    """Providers, regions and both, with wildcards, in any case; an empty list is anywhere."""
    assert bp.allowed(offer(), entries) is passes


def test_a_price_without_a_region_needs_its_provider_allowed() -> None:
    """A region on the list does not let a provider pass whose region is not known."""
    somewhere = offer(region="")

    assert not bp.allowed(somewhere, ("fi-*",))
    assert bp.allowed(somewhere, ("verda",))
    assert any("region" in text for text in planned(need(), somewhere).unknown)


@pytest.mark.parametrize("spot", [3.686, 3.22, 0.0, -1.0, math.nan])
def test_spot_at_or_above_on_demand_is_bad_data(spot: float) -> None:
    """TPU v4 pods at 3.686 spot and 3.22 on demand (gpuhunt): the offer is refused."""
    tpu = offer(accelerator="TPU-v4", usd_per_gpu_hour=3.22, spot_usd_per_gpu_hour=spot)

    assert refused(need(accelerator="TPU-v4"), tpu) == (bp.Reason.BAD_PRICE,)


def test_spot_is_planned_only_where_losing_a_node_is_known_and_allowed() -> None:
    """An interruptible pool and a known rate: spot, dearer by what coming back costs."""
    steady = offer(interruptions_per_hour=0.05)
    free = need(interruptible=True)

    assert not planned(need(), steady).best.spot
    unknown = planned(free, offer())
    assert not unknown.best.spot
    assert any("spot" in text for text in unknown.unknown)
    calm, wild = planned(free, steady), planned(free, offer(interruptions_per_hour=2.0))
    assert calm.best.spot
    assert calm.best.usd_per_month.mid < wild.best.usd_per_month.mid
    awful = planned(free, offer(interruptions_per_hour=60.0))
    assert not awful.best.spot  # so often that on-demand is cheaper


def test_a_peak_that_is_over_first_is_refused() -> None:
    """Four minutes of peak, or a queue drained in five: no; foreseen it can be started ahead."""
    short = need(hours_per_peak=exactly(4 / 60))

    assert refused(short, offer()) == (bp.Reason.TOO_LATE,)
    assert refused(need(drain_seconds=300), offer()) == (bp.Reason.TOO_LATE,)
    assert planned(replace(short, foreseeable=True), offer()).start_ahead


def test_idle_gpus_come_before_rented_ones() -> None:
    """As many idle GPUs of the kind as are missing: use those; fewer: rent the difference."""
    assert refused(need(idle_gpus=24), offer()) == (bp.Reason.IDLE_FIRST,)
    assert planned(need(idle_gpus=8), offer()).best.nodes == 2


def test_prefill_and_decode_on_two_sites_need_the_network() -> None:
    """OPT-66B's 90 Gbps at 10 requests/s needs Mooncake's 100; llama3-70b at 20 needs 1,342."""
    opt = bp.Across(
        prompt_tokens=512,
        kv_bytes_per_token=1.13e9 / 512,
        requests_per_second=10,
        network_gbps=99,
    )
    long = bp.Across(
        prompt_tokens=25_600,
        kv_bytes_per_token=MODELS["llama3-70b"].kv_bytes_per_token(),
        requests_per_second=20,
        network_gbps=400,
    )

    assert refused(need(), offer(), across=opt) == (bp.Reason.SPLIT_SITES,)
    assert refused(need(), offer(), across=long) == (bp.Reason.SPLIT_SITES,)
    assert long.needed_gbps == pytest.approx(1342, rel=0.001)
    enough = bp.plan(need(), [offer()], ANYWHERE, replace(opt, network_gbps=100))
    assert isinstance(enough, bp.BurstPlan)


def test_nodes_that_come_and_go_are_paid_by_the_hour_and_the_start() -> None:
    """With a history the bill is node-hours and starts, not every node for every peak."""
    rent = Rented(
        units=of(1, 3, 4), unit_hours_per_month=exactly(100), starts_per_month=exactly(30)
    )
    found = planned(need(rented=rent), offer())

    warm = found.ready_seconds.mid / 3600
    assert (100 + 30 * warm) * 8 * 2.29 == pytest.approx(found.best.usd_per_month.mid)


def test_residency_is_said_before_other_reasons() -> None:
    """Where the data may go nowhere and the peak is short as well, residency leads."""
    short = need(hours_per_peak=exactly(4 / 60))

    assert refused(short, offer(), policy=bp.Policy(allowed=("on-site",))) == (
        bp.Reason.RESIDENCY,
        bp.Reason.TOO_LATE,
    )


def test_other_reasons_for_no() -> None:
    """Nobody rents the GPU, nothing is missing, or the peak lasts so long that owning wins."""
    owned = bp.Policy(owned_usd_per_gpu_hour=of(1.2, 1.5, 1.9))
    always = need(hours_per_peak=exactly(23), peaks_per_month=exactly(30))

    assert refused(need()) == (bp.Reason.NO_OFFER,)
    assert refused(need(accelerator="T4"), offer()) == (bp.Reason.NO_OFFER,)
    assert refused(need(gpus=exactly(0)), offer()) == (bp.Reason.NOTHING_NEEDED,)
    assert refused(need(peaks_per_month=exactly(0)), offer()) == (bp.Reason.NOTHING_NEEDED,)
    dear = replace(always, gpus=exactly(24))
    assert refused(dear, offer(usd_per_gpu_hour=2.95), policy=owned) == (bp.Reason.OWNING_CHEAPER,)
    rented = planned(need(), offer(), policy=owned)
    assert rented.owning_usd_per_month is not None
    assert rented.best.usd_per_month.mid < rented.owning_usd_per_month.low


def test_egress_is_paid() -> None:
    """Data that leaves costs its price an hour of peak; without a price the plan says so."""
    talks = need(egress_gb_per_hour=100.0)
    free, paid = planned(talks, offer()), planned(talks, offer(egress_usd_per_gb=0.09))

    assert 30 * 2 * 100 * 0.09 == pytest.approx(
        paid.best.usd_per_month.mid - free.best.usd_per_month.mid
    )
    assert any("egress" in text for text in free.unknown)


def test_carbon_ranks_where_it_has_a_price() -> None:
    """24 GPUs at 1 kW: a clean grid wins over a slightly cheaper dirty one from some price on."""
    clean = offer(region="fi", usd_per_gpu_hour=2.40, grid_gco2_per_kwh=50.0)
    dirty = offer(region="pl", usd_per_gpu_hour=2.29, grid_gco2_per_kwh=650.0)

    assert planned(need(), clean, dirty).best.offer.region == "pl"
    priced = planned(need(), clean, dirty, policy=bp.Policy(usd_per_tonne_co2=200.0))
    assert priced.best.offer.region == "fi"
    assert priced.best.kg_co2_per_month is not None
    assert priced.alternatives[0].kg_co2_per_month == pytest.approx(
        13 * priced.best.kg_co2_per_month
    )


@given(
    st.permutations([offer(), offer(provider="nebius", usd_per_gpu_hour=2.95), offer(region="x")])
)
def test_the_order_of_offers_does_not_matter(offers: list[bp.Offer]) -> None:
    """The same offers in any order give the same plan."""
    assert planned(need(), *offers).best == planned(need(), *reversed(offers)).best


def test_managed_against_own() -> None:
    """SGLang's 0.20 USD a million output tokens: 96 H100 at 2 USD, 22.3k tokens/s a node of 8."""
    assert 0.20 == pytest.approx(managed.usd_per_million_tokens(2.0, 22_300 / 8), rel=0.01)
    assert math.isinf(managed.usd_per_million_tokens(2.0, 0.0))
    price = managed.TokenPrice(
        usd_per_million_prompt=0.5, usd_per_million_output=1.5, usd_per_million_cached=0.1
    )
    assert (1000 * 0.5 + 200 * 1.5) / 1e6 == pytest.approx(price.usd_per_query(1000, 200))
    assert price.usd_per_query(1000, 200, 1.0) == pytest.approx((100 + 300) / 1e6)


def test_managed_wins_below_the_break_even_rate_and_own_above() -> None:
    """16 USD/h against 0.8 mUSD a query: even at 5.6 queries/s; overlap says neither."""
    own, query = of(14, 16, 18), of(0.7e-3, 0.8e-3, 0.9e-3)
    few, many = managed.against(exactly(1), query, own), managed.against(exactly(50), query, own)

    assert 16 / 3600 / 0.8e-3 == pytest.approx(few.break_even_queries_per_second)
    assert ("managed", "own") == (few.cheaper, many.cheaper)
    assert managed.against(exactly(5.6), query, own).cheaper == ""
    assert math.isinf(managed.break_even_queries_per_second(16, 0))


def test_managed_catalogue() -> None:
    """Every row has a source and a model we know; the operator's rows win; no row is no price."""
    known = {*MODELS, "deepseek-r1"}
    assert {e.model for e in endpoints.ENDPOINTS} <= known
    assert all("genai-prices" in e.source.title for e in endpoints.ENDPOINTS)
    own = endpoints.load(
        {
            "managed": [
                {
                    "provider": "groq",
                    "model": "llama3-70b",
                    "usd_per_million_prompt": 0.1,
                    "usd_per_million_output": 0.2,
                }
            ]
        }
    )
    low, mid, high = endpoints.usd_per_query("llama3-70b", 1000, 200, own) or (0, 0, 0)
    assert low == pytest.approx((1000 * 0.1 + 200 * 0.2) / 1e6)
    assert low <= mid <= high
    assert endpoints.usd_per_query("opt-13b", 1000, 200) is None
    with pytest.raises(Misconfigured, match="usd_per_million_output"):
        endpoints.load({"managed": [{"provider": "x", "model": "y", "usd_per_million_prompt": 1}]})


PRICES = hybrid.Prices(own=1.5, rent=2.3, managed=4.0, rent_start_hours=0.15)


def test_own_the_base_rent_the_peaks_and_buy_the_rest() -> None:
    """40 GPUs always, 24 more for 6 hours a day, 8 more for 5 minutes every hour."""
    load = np.full(7 * 1440, 40.0).reshape(7, 24, 60)
    load[:, 10:16] += 24
    load[:, :, :5] += 8
    found = hybrid.recommend(load.ravel(), 60.0, PRICES)

    assert isinstance(found, hybrid.Hybrid)
    assert found.own_gpus == 40
    assert found.rent_gpus + found.managed_gpus == 32
    assert found.rent_gpus >= 16
    assert found.managed_gpus >= 8
    for other in (
        found.own_only_usd_per_hour,
        found.rent_only_usd_per_hour,
        found.managed_only_usd_per_hour,
    ):
        assert other is not None
        assert found.usd_per_hour < other


def test_a_hybrid_needs_a_day() -> None:
    """Twenty hours: the answer is the shape with what is missing, not a split."""
    found = hybrid.recommend(np.full(1200, 40.0), 60.0, PRICES)

    assert isinstance(found, Shape)
    assert "a whole day" in found.missing[0]


@given(
    st.lists(st.floats(0, 30), min_size=24, max_size=48),
    st.none() | st.floats(0.1, 3),
    st.floats(0.1, 5),
    st.floats(0.1, 9),
)
def test_layers_account_for_all_demand(
    load: list[float], own: float | None, rent: float, tokens: float
) -> None:
    """Layers cover the highest demand; managed alone costs the mean; the mix is never dearer."""
    prices = hybrid.Prices(own=own, rent=rent, managed=tokens, rent_start_hours=0.1)
    found = hybrid.recommend(load, 3600.0, prices)

    assert isinstance(found, hybrid.Hybrid)
    layers = found.own_gpus + found.rent_gpus + found.managed_gpus
    assert layers == max(1, math.ceil(max(load)))
    assert found.managed_only_usd_per_hour == pytest.approx(tokens * float(np.mean(load)), abs=1e-9)
    assert found.usd_per_hour <= (found.managed_only_usd_per_hour or 0) + 1e-9
    assert (found.own_only_usd_per_hour is None) == (own is None)


def test_starts_of_a_layer_are_counted() -> None:
    """A layer that comes and goes every other hour pays a start and a quarter hour of holding."""
    load = np.tile([0.0, 1.0], 12)
    prices = hybrid.Prices(own=None, rent=1.0, managed=None, rent_start_hours=0.5)
    found = hybrid.recommend(load, 3600.0, prices)

    assert isinstance(found, hybrid.Hybrid)
    assert found.usd_per_hour == pytest.approx(0.5 + 12 / 24 * (0.5 + 0.25))
    with pytest.raises(ValueError, match="need one of own, rent and managed"):
        hybrid.recommend(load, 3600.0, replace(prices, rent=None))


def test_intervals_refuse_disorder() -> None:
    """An interval cannot be built upside down."""
    with pytest.raises(ValueError, match="low <= mid <= high"):
        Interval(low=3, mid=2, high=1)


def test_a_year_of_minutes_is_split_in_seconds() -> None:
    """525,600 values and 200 draws of days: sorting lists of them took a quarter of a minute."""
    load = 30 + 20 * (np.arange(365 * 1440) // 600 % 2) + np.arange(365 * 1440) % 7
    began = time.process_time()
    found = ownership.split(load, exactly(1.4), exactly(2.4), 1440)

    assert 30 <= found.owned.mid <= 56
    assert time.process_time() - began < 8

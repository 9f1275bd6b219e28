"""The models against closed forms and published results; each with its source."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.catalog.accelerators import ACCELERATORS, BY_NAME, by_device_name
from advisor.catalog.cooling import TECHNOLOGIES
from advisor.catalog.prices import PRICES, Price, checked, street
from advisor.models import accelerators, cooling, cost, llm, roofline
from advisor.models import disaggregation as dg
from advisor.models.llm import MODELS, Replica

H100 = BY_NAME["H100-SXM"]
LLAMA_70B = MODELS["llama3-70b"]
REPLICA = Replica(model=LLAMA_70B, accelerator=H100, gpus=8)


def test_kv_bytes_per_token_of_llama3_70b() -> None:
    """320 KB a token (Mooncake FAST'25 s3): 2*80*8*128*2; 128k tokens are 40 GiB."""
    per_token = LLAMA_70B.kv_bytes_per_token()

    assert per_token == 327_680
    assert per_token * 131_072 / 2**30 == pytest.approx(40, rel=0.08)


def test_kv_of_opt_66b_and_its_transfer() -> None:
    """512 tokens are 1.13 GiB; at 10 requests/s their hand-over takes 90 Gbps (DistServe s3.3)."""
    per_token = MODELS["opt-66b"].kv_bytes_per_token()

    assert per_token * 512 / 2**30 == pytest.approx(1.13, rel=0.01)
    assert dg.kv_transfer_gbps(512, 1.13e9 / 512, 10) == pytest.approx(90, rel=0.01)
    assert dg.kv_transfer_seconds(512, 1.13e9 / 512, 90.4) == pytest.approx(0.1)


def test_kv_of_multi_head_latent_attention() -> None:
    """DeepSeek-V3: 61*(512+64)*2 bf16; vLLM's packed FP8 layout takes 656 B a layer."""
    model = MODELS["deepseek-v3"]

    assert model.kv_bytes_per_token() == 70_272
    assert model.kv_bytes_per_token(656 / 576) == pytest.approx(40_016)


def test_kv_capacity_needs_the_overhead() -> None:
    """RTX 4090, Llama-3.1-8B: 41,408 tokens measured (LLMServingSim@5daddb2, vLLM 0.19)."""
    inputs = (25_250_627_584, 0.9, 16.06e9)

    assert llm.kv_capacity_tokens(*inputs, 1.24e9, 131_072) == pytest.approx(41_408, rel=0.01)
    assert llm.kv_capacity_tokens(*inputs, 0, 131_072) == pytest.approx(50_854, rel=0.01)
    assert llm.kv_capacity_tokens(1e9, 0.9, 2e9, 0, 131_072) == 0


@pytest.mark.parametrize(("tflops", "gb_per_second"), [(2496, 6), (7912, 19)])
def test_reuse_pays_above(tflops: float, gb_per_second: float) -> None:
    """8xA800: 6 GB/s, 8xH800: 19 GB/s at 8,192 tokens (Mooncake FAST'25 s3)."""
    found = dg.reuse_pays_above_bytes_per_second(8192, tflops * 1e12, 8192, 8, 2)

    assert found / 1e9 == pytest.approx(gb_per_second, rel=0.05)


def test_md1_forms_agree_with_one_another() -> None:
    """DistServe eq. 1, 2, 3 at D = 0.1 s, R = 5/s; K = 1 of eq. 3 is eq. 1."""
    assert dg.md1_ttft_seconds(0.1, 5) == pytest.approx(0.1 + 5 * 0.01 / (2 * 0.5))
    assert dg.md1_inter_op_ttft_seconds(0.1, 5) == pytest.approx(0.1 + 5 * 0.01 / (4 * 1.5))
    assert dg.md1_intra_op_ttft_seconds(0.1, 5, 1) == pytest.approx(dg.md1_ttft_seconds(0.1, 5))
    assert dg.md1_intra_op_ttft_seconds(0.1, 5, 2) == pytest.approx(0.05 + 5 * 0.01 / (4 * 1.5))


@given(st.floats(0.001, 10), st.floats(0.0, 0.99))
def test_queues_grow_with_load_and_break_at_one(service: float, load: float) -> None:
    """Never below the service time, p99 never below half of the mean wait, inf at overload."""
    mean = dg.md1_ttft_seconds(service, load / service)

    assert mean >= service
    assert dg.md1_ttft_p99_seconds(service, load / service) >= service
    assert math.isinf(dg.md1_ttft_seconds(service, 1.01 / service))


def test_distserve_figure_1() -> None:
    """13B on A100: 1.6 rps co-located, 2P+1D with 5.6 and 10 rps is 3.3 a GPU, 2.1 times."""
    apart = dg.matched_rate_per_replica(5.6, 2, 10, 1, derate=False)

    assert apart == pytest.approx(3.3, rel=0.03)
    assert apart / 1.6 == pytest.approx(2.1, rel=0.03)


def test_best_split_finds_distserves_ratio() -> None:
    """With figure 1's rates the best use of three replicas is 2P+1D."""
    split = dg.best_split(5.6, 10, 3)

    assert (split.prefills, split.decodes) == (2, 1)


def test_dynamo_planner_prefill() -> None:
    """Llama-3.1-8B-FP8 H200, 3000/150, 40k tok/s a GPU: 10 rps 1 prefill, 20 rps 2 (Dynamo)."""

    def planned(rps: float) -> int:
        return dg.planner_replicas(
            requests=rps * 60,
            tokens_each=3000,
            interval_seconds=60,
            correction=1.4,
            tokens_per_second_per_gpu=40_000,
            gpus_per_engine=1,
        )

    assert [1, 2] == [planned(10), planned(20)]


def test_workload_variant_autoscaler_latency() -> None:
    """llm-d WVA's H100 sample: alpha 7.470, beta 0.044, gamma 15.415, delta 0.000337."""
    assert llm.linear_itl_ms(7.470, 0.044, 64) == pytest.approx(10.286)
    assert llm.linear_ttft_ms(15.415, 0.000337, 1000, 8) == pytest.approx(18.111)


def test_roofline_ridge_and_calibration() -> None:
    """H100 bf16 ridge 295; a fit meets its measurement; an impossible one is no fit."""
    assert roofline.ridge_point_flops_per_byte(989e12, 3.35e12) == pytest.approx(295, rel=0.01)
    assert roofline.arithmetic_intensity_flops_per_byte(10, 4) == 2.5
    assert roofline.speed_of_light_seconds(10, 4, 10, 2) == 2
    eta = roofline.fitted_efficiency(0.030, 0.020, 0.004)
    assert eta is not None
    assert roofline.Calibration(overhead_seconds=0.004, efficiency=eta).seconds(
        0.020
    ) == pytest.approx(0.030)
    assert roofline.fitted_efficiency(0.003, 0.020, 0.004) is None
    assert roofline.fitted_efficiency(0.010, 0.020, 0.004) is None


def test_prefill_of_70b_on_h100_is_near_the_measured_one() -> None:
    """AIC: 70B, TP8, 2,048 tokens: 85.9 ms measured against 64.7 ms of roofline at operators."""
    measured = 0.0859
    # AIC's table is of FP16 with all-reduce; the matrix work alone is 36.5 ms of speed of light
    least = REPLICA.prefill_speed_of_light_seconds(2048)

    assert 0.3 < least / measured < 1
    assert REPLICA.prefill_seconds(2048) < measured


def test_decode_is_bandwidth_bound_below_the_ridge() -> None:
    """At batch 8 a step takes the time of reading weights and cache."""
    least = REPLICA.decode_speed_of_light_seconds(8, 1000)
    traffic = LLAMA_70B.weight_bytes + 8 * 1000 * 327_680

    assert least == pytest.approx(traffic / (8 * 3.35e12))
    assert REPLICA.decode_step_seconds(8, 1000) > least


TIGHT = dg.Workload(
    prompt_tokens=8000, output_tokens=200, slo_ttft_seconds=3.0, slo_tpot_seconds=0.02
)
LOOSE = dg.Workload(
    prompt_tokens=500, output_tokens=500, slo_ttft_seconds=5.0, slo_tpot_seconds=0.2
)


def test_tight_tpot_and_long_prompts_pay() -> None:
    """AIC: 8000/200 gains 1.86 at a tight TPOT and 0.99 at a loose one: the same must win here."""
    tight = dg.decide_disaggregation(REPLICA, TIGHT, 8, 400, slo_met_today=False)
    loose = dg.decide_disaggregation(REPLICA, LOOSE, 8, 400, slo_met_today=False)

    assert tight.advised
    assert tight.gain_low_ratio <= tight.gain_ratio <= tight.gain_high_ratio
    assert tight.distance_ratio > 0
    assert not loose.advised
    assert dg.Refusal.MARGIN in loose.refusals


def test_a_warm_prefix_cache_leaves_prefill_less_to_do() -> None:
    """Nine tenths of the prompt cached: a prefill engine takes several times the requests."""
    warm = replace(TIGHT, prefix_hit_ratio=0.9)

    assert warm.computed_tokens == pytest.approx(800)
    assert dg.prefill_rate_per_second(REPLICA, warm, 0.05) > 4 * dg.prefill_rate_per_second(
        REPLICA, TIGHT, 0.05
    )


@pytest.mark.parametrize(
    ("gbps", "replicas", "met", "refusal"),
    [
        (50, 8, False, dg.Refusal.NETWORK),
        (400, 1, False, dg.Refusal.REPLICAS),
        (400, 8, True, dg.Refusal.SLO_MET),
    ],
)
def test_refusals(gbps: float, replicas: int, met: bool, refusal: dg.Refusal) -> None:  # noqa: FBT001 - a parameter
    """A slow network, one replica or met objectives refuse, whatever the gain."""
    decision = dg.decide_disaggregation(REPLICA, TIGHT, replicas, gbps, slo_met_today=met)

    assert refusal in decision.refusals
    assert not decision.advised


def test_disaggregation_never_claims_raw_throughput() -> None:
    """VLLM's docs: it does not improve throughput. Without objectives it must lose here."""
    free = dg.Workload(
        prompt_tokens=1000, output_tokens=200, slo_ttft_seconds=1e6, slo_tpot_seconds=1e6
    )

    decision = dg.decide_disaggregation(REPLICA, free, 8, 400, slo_met_today=False)

    assert decision.gain_ratio < dg.MARGIN_RATIO
    assert not decision.advised


def test_rebalance_moves_towards_the_bottleneck() -> None:
    """Many decoders and one prefill engine under long prompts: prefill gets more."""
    decision = dg.decide_rebalance(REPLICA, TIGHT, 1, 23, 400)

    assert decision.split is not None
    assert decision.split.prefills > 1
    assert decision.advised
    best = decision.split
    again = dg.decide_rebalance(REPLICA, TIGHT, best.prefills, best.decodes, 400)
    assert not again.advised


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

    assert list(cooling.Remedy) == list(cooling.remedies(loop, throttling=True))
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

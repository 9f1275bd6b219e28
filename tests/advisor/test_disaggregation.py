"""Prefill and decode together or apart: decisions, refusals, and published results."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.catalog.accelerators import BY_NAME
from advisor.catalog.models import MODELS, Format
from advisor.models import decision as dc
from advisor.models import disaggregation as dg
from advisor.models import event_simulation as es
from advisor.models import phases, published, rates, slo
from advisor.models.replica import Layout, Replica
from advisor.models.slo import Workload

H200 = Replica(
    model=MODELS["qwen3-32b"],
    accelerator=BY_NAME["H200-SXM"],
    layout=Layout(tensor=8),
    weights=Format.FP8,
)
FLEET = dc.Fleet(replica=H200, engines=4, network_gbps=3200)


def steady(prompt: float, output: float, ttft_ms: float, tpot_ms: float) -> Workload:
    """A closed loop as AIConfigurator looks at it: no burst, no spread, no queue."""
    return Workload(
        prompt_tokens=prompt,
        output_tokens=output,
        slo_ttft_seconds=ttft_ms / 1e3,
        slo_tpot_seconds=tpot_ms / 1e3,
        arrival_cv=0.0,
        attainment_ratio=0.5,
    )


TIGHT = steady(8000, 200, 300, 10)
LOOSE = steady(8000, 200, 300, 50)


def test_tight_tpot_and_long_prompts_pay() -> None:
    """AIC, Qwen3-32B-FP8 on 32 H200, 8000/200: 1.86 at TPOT 10 ms, 0.99 at 50 ms."""
    tight, loose = dc.decide(FLEET, TIGHT), dc.decide(FLEET, LOOSE)

    assert tight.advised
    assert 0.86 == pytest.approx(tight.gain_ratio, abs=0.3)
    assert tight.gain_low_ratio <= tight.gain_ratio <= tight.gain_high_ratio
    assert tight.distance_ratio > 0
    assert not loose.advised
    assert -0.01 == pytest.approx(loose.gain_ratio, abs=0.3)
    assert dc.Refusal.MARGIN in loose.refusals


@pytest.mark.parametrize(("ttft_ms", "tpot_ms"), [(300, 10), (300, 50), (1000, 20), (2000, 50)])
def test_long_answers_stay_together(ttft_ms: float, tpot_ms: float) -> None:
    """AIC never takes 500/4000 apart, whatever the objectives."""
    decision = dc.decide(FLEET, steady(500, 4000, ttft_ms, tpot_ms))

    assert not decision.advised


@pytest.mark.parametrize(
    ("gbps", "engines", "met", "refusal"),
    [
        (50, 8, False, dc.Refusal.NETWORK),
        (400, 1, False, dc.Refusal.REPLICAS),
        (400, 8, True, dc.Refusal.SLO_MET),
    ],
)
def test_refusals(gbps: float, engines: int, met: bool, refusal: dc.Refusal) -> None:  # noqa: FBT001 - a parameter
    """A slow network, one replica or met objectives refuse, whatever the gain."""
    fleet = dc.Fleet(replica=H200, engines=engines, network_gbps=gbps)

    decision = dc.decide(fleet, TIGHT, slo_met_today=met)

    assert refusal in decision.refusals
    assert not decision.advised


def test_a_demand_that_is_carried_together_needs_no_change() -> None:
    """Even where apart would carry more, half of today's rate is served as it is."""
    free = dc.decide(FLEET, TIGHT)

    decision = dc.decide(FLEET, TIGHT, requests_per_second=free.today_rate_per_second / 2)

    assert free.advised
    assert dc.Refusal.SLO_MET in decision.refusals


def test_disaggregation_never_claims_raw_throughput() -> None:
    """VLLM's docs: it does not improve throughput. Without objectives it must lose here."""
    free = steady(1000, 200, 1e9, 1e9)

    decision = dc.decide(FLEET, free)

    assert decision.gain_ratio < dc.MARGIN_RATIO
    assert not decision.advised


@given(
    st.floats(100, 16_000),
    st.floats(20, 3000),
    st.floats(0.2, 5),
    st.floats(0.008, 0.1),
    st.floats(0, 3),
)
@settings(max_examples=25, deadline=None)
def test_every_answer_is_whole(
    prompt: float, output: float, ttft: float, tpot: float, cv: float
) -> None:
    """Engines fit the fleet, rates are finite, the interval holds the gain, a no has a reason."""
    work = Workload(
        prompt_tokens=prompt,
        output_tokens=output,
        slo_ttft_seconds=ttft,
        slo_tpot_seconds=tpot,
        arrival_cv=cv,
        attainment_ratio=0.9,
    )

    decision = dc.decide(FLEET, work)

    assert decision.advised is not bool(decision.refusals)
    assert decision.gain_low_ratio <= decision.gain_ratio <= decision.gain_high_ratio
    if decision.together is not None:
        assert decision.together.engines * decision.together.replica.gpus <= FLEET.gpus
        assert decision.together.tpot_seconds <= tpot * 1.0001
        assert math.isfinite(decision.together.rate_per_second)
    if decision.apart is not None:
        assert decision.apart.gpus <= FLEET.gpus
        assert decision.apart.tpot_seconds <= tpot * 1.0001
        assert decision.apart.ttft_seconds <= ttft * 1.0001


@given(st.floats(0.5, 4))
@settings(max_examples=10, deadline=None)
def test_bursts_cost_rate(cv: float) -> None:
    """Burstier arrivals never raise what an arrangement carries."""
    calm = replace(TIGHT, attainment_ratio=0.95, slo_ttft_seconds=1.0, arrival_cv=cv)
    wild = replace(calm, arrival_cv=cv + 1)
    one = replace(H200, layout=Layout(tensor=4))

    def carried(work: Workload) -> tuple[float, float, float]:
        return (
            rates.prefill_rate(one, work, 4).rate_per_second,
            rates.decode_rate(one, work, 4).rate_per_second,
            rates.shared_rate(one, work, 4).rate_per_second,
        )

    assert all(w <= c + 1e-9 for w, c in zip(carried(wild), carried(calm), strict=True))


def test_a_warm_prefix_cache_leaves_prefill_less_to_do() -> None:
    """Nine tenths of the prompt cached: a prefill engine takes several times the requests."""
    warm = replace(TIGHT, prefix_hit_ratio=0.9)

    cold_rate = rates.prefill_rate(H200, TIGHT, 4).rate_per_second
    warm_rate = rates.prefill_rate(H200, warm, 4).rate_per_second

    assert 800 == pytest.approx(warm.computed_tokens)
    assert warm_rate > 4 * cold_rate


def test_the_thin_network_caps_the_prefill_pool() -> None:
    """At 100 Gbps a node the hand-over, not the GPUs, limits OPT-66B's prefill (DistServe s3.3)."""
    opt = Replica(
        model=MODELS["opt-66b"], accelerator=BY_NAME["A100-SXM-80G"], layout=Layout(tensor=4)
    )
    work = Workload(prompt_tokens=512, output_tokens=64, slo_ttft_seconds=4, slo_tpot_seconds=0.3)

    thin = dg.best_apart((opt,), (opt,), work, 32, 10)
    wide = dg.best_apart((opt,), (opt,), work, 32, 800)

    assert wide is not None
    assert thin is None or thin.rate_per_second < 0.5 * wide.rate_per_second


def test_distserve_figure_1() -> None:
    """13B on A100: 1.6 rps co-located, 2P+1D with 5.6 and 10 rps is 3.3 a GPU, 2.1 times."""
    apart = dg.matched_rate_per_replica(5.6, 2, 10, 1, derate=False)

    assert 3.3 == pytest.approx(apart, rel=0.03)
    assert 2.1 == pytest.approx(apart / 1.6, rel=0.03)
    assert (2, 1) == dg.split_of(3, (5.6, 1), (10, 1))[:2]


def test_distserve_opt_13b_from_the_model_alone() -> None:
    """Figure 1's workload on our A100: apart carries more than twice a GPU's co-located rate.

    512/64, TTFT 0.25 s and TPOT 0.1 s as in DistServe's table 1, 90 %; the co-located engine of
    the paper (vLLM of 2023) prefills whole prompts, so chunked prefill must not be held against it.
    """
    opt = Replica(model=MODELS["opt-13b"], accelerator=BY_NAME["A100-SXM-80G"])
    work = Workload(
        prompt_tokens=512,
        output_tokens=64,
        slo_ttft_seconds=0.25,
        slo_tpot_seconds=0.1,
        attainment_ratio=0.9,
    )

    prefill = rates.prefill_rate(opt, work, 2).rate_per_second
    decode = rates.decode_rate(opt, work, 1).rate_per_second

    assert 5.6 == pytest.approx(prefill, rel=1.0)
    assert decode > 8
    assert dg.matched_rate_per_replica(prefill, 2, decode, 1, derate=False) > 3.3


def test_distserve_placement_of_opt_13b() -> None:
    """Its simulator: 4 A100, ShareGPT, 200/100 ms, 90/90: prefill TP2, decode TP1, 1.56 a GPU.

    ShareGPT has 755.5 prompt and 200.3 output tokens on average (DistServe's table of data sets).
    """
    opt = Replica(
        model=MODELS["opt-13b"], accelerator=BY_NAME["A100-SXM-80G"], layout=Layout(tensor=4)
    )
    work = Workload(
        prompt_tokens=755.5,
        output_tokens=200.3,
        slo_ttft_seconds=0.2,
        slo_tpot_seconds=0.1,
        attainment_ratio=0.9 * 0.9,
        prompt_cv=0.8,
        output_cv=1.0,
    )
    shapes = dg.layouts_of(opt, 4)

    found = dg.best_apart(shapes, shapes, work, 4, 1600)

    assert found is not None
    assert (Layout(tensor=2), Layout(tensor=1)) == (found.prefill.layout, found.decode.layout)
    assert 1.56 == pytest.approx(found.rate_per_gpu, rel=0.2)


def test_tipping_points_are_where_the_answer_turns() -> None:
    """On either side of the named TPOT the bare comparison differs."""
    tips = {t.name: t for t in dc.tipping_points(FLEET, LOOSE)}
    tpot = tips["TPOT objective"]

    assert tpot.flips_at is not None
    assert tpot.flips_at < LOOSE.slo_tpot_seconds
    turned = dc.decide(FLEET, replace(LOOSE, slo_tpot_seconds=tpot.flips_at))
    assert turned.gain_ratio >= dc.MARGIN_RATIO


def test_rebalance_moves_towards_the_bottleneck() -> None:
    """Many decoders and one prefill engine under long prompts: prefill gets more, then no more."""
    moved = dc.decide_rebalance(H200, TIGHT, (1, 23), 3200)
    again = dc.decide_rebalance(H200, TIGHT, (moved.prefills, moved.decodes), 3200)

    assert moved.advised
    assert moved.prefills > 1
    assert moved.rate_per_second > moved.today_rate_per_second
    assert not again.advised


def test_an_older_gpu_may_decode() -> None:
    """Splitwise HA: H100 prefill and A100 decode is compared as one fleet."""
    llama = Replica(
        model=MODELS["llama2-70b"], accelerator=BY_NAME["H100-SXM"], layout=Layout(tensor=8)
    )
    old = replace(llama, accelerator=BY_NAME["A100-SXM-80G"])
    work = Workload(
        prompt_tokens=1500, output_tokens=130, slo_ttft_seconds=1, slo_tpot_seconds=0.06
    )

    fleet = dc.Fleet(replica=llama, engines=8, network_gbps=400, decode=old)
    found = dc.decide(fleet, work)

    assert found.apart is not None
    assert "H100-SXM" == found.apart.prefill.accelerator.name
    assert "A100-SXM-80G" == found.apart.decode.accelerator.name


def test_queues_are_exact_where_theory_is() -> None:
    """One server: P(wait) is the load and the mean is Kingman's, which for M/D/1 is DistServe's."""
    load, service = 0.5, 0.1
    wait = float(
        slo.waiting_share(load, 1) * slo.conditional_wait_seconds(load, service, 1, 1.0, 0.0)
    )

    assert load == pytest.approx(float(slo.waiting_share(load, 1)))
    assert published.md1_ttft_seconds(service, load / service) == pytest.approx(service + wait)


GAPS = Workload(
    prompt_tokens=2000,
    output_tokens=200,
    slo_ttft_seconds=1.0,
    slo_tpot_seconds=0.06,
    slo_itl_seconds=0.06,
    attainment_ratio=0.9,
    prompt_cv=0.6,
    output_cv=0.8,
)


@pytest.mark.parametrize(
    ("work", "name"),
    [
        (
            Workload(
                prompt_tokens=2000,
                output_tokens=200,
                slo_ttft_seconds=1.0,
                slo_tpot_seconds=0.03,
                attainment_ratio=0.9,
                prompt_cv=0.6,
                output_cv=0.8,
            ),
            "poisson",
        ),
        (
            Workload(
                prompt_tokens=2000,
                output_tokens=200,
                slo_ttft_seconds=2.0,
                slo_tpot_seconds=0.03,
                attainment_ratio=0.9,
                arrival_cv=2.5,
                prompt_cv=1.0,
                output_cv=1.0,
            ),
            "bursty",
        ),
        (GAPS, "no gap above 60 ms"),
        (replace(GAPS, slo_itl_seconds=0.03), "no gap above 30 ms"),
    ],
)
def test_a_simulation_of_events_agrees(work: Workload, name: str) -> None:
    """The rate at which simulated requests leave the objectives is the analytic one, 0.7 to 1.4."""
    llama = Replica(
        model=MODELS["llama3-70b"],
        accelerator=BY_NAME["H100-SXM"],
        layout=Layout(tensor=4),
        weights=Format.FP8,
    )
    found = dc.decide(dc.Fleet(replica=llama, engines=8, network_gbps=3200), work)
    assert found.together is not None
    assert found.apart is not None

    def simulated(rate: float, *, apart: bool) -> float:
        arrivals = es.generated(work, 1600, rate, seed=1)
        if apart and found.apart is not None:
            outcome = es.simulate_apart(found.apart, work, arrivals, 3200)
        else:
            assert found.together is not None
            outcome = es.simulate_together(found.together, work, arrivals)
        return outcome.attained_ratio(work)

    for apart, rate in (
        (False, found.together.rate_per_second),
        (True, found.apart.rate_per_second),
    ):
        at = {rate * s: simulated(rate * s, apart=apart) for s in (0.5, 0.7, 0.9, 1.1, 1.3, 1.6)}
        measured = es.rate_at_attainment(at, work.attainment_ratio)

        assert measured is not None, name
        assert 0.7 <= measured / rate <= 1.4, name  # apart keeps a reserve of 8 to 10 %


def test_the_largest_gap_is_a_step_with_a_chunk() -> None:
    """A prompt that comes in between makes one gap of a mixed step, apart it makes none."""
    one = Replica(model=MODELS["llama3-8b"], accelerator=BY_NAME["H100-SXM"])
    together = dg.Together(
        replica=one, engines=1, rate_per_second=1, chunk_tokens=2048, batch=1, tpot_seconds=1
    )
    pool = dg.best_apart([one], [one], GAPS, 2, 3200)
    assert pool is not None
    step = float(phases.decode_step_seconds(one, 1, 2050))
    mixed = float(phases.mixed_step_seconds(one, 1, 2050, 2048))
    arrivals = es.Arrivals(
        np.array([0.0, 0.5, 9.0]), np.array([2000.0, 2048.0, 2000.0]), np.array([400.0, 1.0, 2.0])
    )

    shared = es.simulate_together(together, GAPS, arrivals)
    split = es.simulate_apart(replace(pool, prefills=1, decodes=1), GAPS, arrivals, 3200)

    assert shared.most_itl_seconds == pytest.approx([mixed, np.nan, step], rel=0.02, nan_ok=True)
    assert split.most_itl_seconds[[0, 2]] == pytest.approx(
        [float(phases.decode_step_seconds(pool.decode, 1, tokens)) for tokens in (2400, 2050)],
        rel=0.02,
    )
    bound = replace(GAPS, slo_itl_seconds=(step + mixed) / 2)
    assert 2 / 3 == pytest.approx(shared.attained_ratio(bound))
    assert 1.0 == split.attained_ratio(bound) == shared.attained_ratio(GAPS)


def test_generated_arrivals_have_the_moments_asked_for() -> None:
    """Rate, burstiness and lengths of many generated requests are the workload's."""
    work = replace(TIGHT, arrival_cv=2.0, prompt_cv=1.0, output_cv=0.5)

    made = es.generated(work, 60_000, 10.0, seed=3)
    gaps = np.diff(made.seconds)

    assert 0.1 == pytest.approx(gaps.mean(), rel=0.05)
    assert 2.0 == pytest.approx(gaps.std() / gaps.mean(), rel=0.05)
    assert 8000 == pytest.approx(made.prompt_tokens.mean(), rel=0.03)
    assert 0.5 == pytest.approx(made.output_tokens.std() / made.output_tokens.mean(), rel=0.05)
    assert 20.0 == pytest.approx(60_000 / np.ptp(made.at_rate(20.0).seconds), rel=0.01)


@pytest.mark.parametrize(
    ("field", "value"),
    [("prompt_tokens", 0), ("slo_tpot_seconds", -1), ("attainment_ratio", 1.0)],
)
def test_impossible_workloads_are_refused(field: str, value: float) -> None:
    """The error names field and value."""
    with pytest.raises(ValueError, match=f"{field}="):
        replace(TIGHT, **{field: value})  # type: ignore[arg-type]  # the field's name is the test's

"""Throughput and choice of accelerators against what others measured."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.catalog.accelerators import ACCELERATORS, BY_NAME, Accelerator
from advisor.catalog.measured import MEASURED, Measurement, near
from advisor.catalog.models import MODELS, Format
from advisor.catalog.prices import street
from advisor.catalog.software import Support, maturity
from advisor.models import accelerators, power, throughput
from advisor.models.accelerators import Verdict
from advisor.models.interval import Interval, exactly, of
from advisor.models.replica import BALANCED_RANKS_2025
from advisor.models.throughput import Job

QWEN = MODELS["qwen3-235b-a22b"]
WIDTHS = {0.5: Format.FP4, 1.0: Format.FP8, 2.0: Format.BF16}
LLAMA_70B = MODELS["llama3-70b"]
CHAT = Job(model=LLAMA_70B, prompt_tokens=2000, output_tokens=300, weights=Format.FP8)


def street_price(accelerator: Accelerator) -> Interval | None:
    """The street price of the catalogue."""
    found = street(accelerator.name)
    return of(*found) if found else None


def log_error(m: Measurement, devices: int | None) -> float:
    """Logarithm of modelled over measured tokens per second per device."""
    job = Job(
        model=MODELS[m.model],
        prompt_tokens=m.prompt_tokens,
        output_tokens=m.output_tokens,
        weights=WIDTHS[m.bytes_per_weight],
        tpot_limit_seconds=m.tpot_seconds,
        stack=BALANCED_RANKS_2025 if "v5.1" in m.source.title else None,
    )
    system = BY_NAME[m.accelerator]
    found = throughput.rate(job, system, devices) if devices else throughput.best_rate(job, system)
    assert found is not None
    return math.log(found.tokens_per_second_per_device.mid / m.tokens_per_second_per_device)


TRTLLM = [m for m in MEASURED if "TensorRT-LLM" in m.source.title]
DENSE = [m for m in TRTLLM if m.model != QWEN.name and "RTX" not in m.accelerator]
MLPERF = [m for m in MEASURED if "MLPerf" in m.source.title and "capped" not in m.scenario]


def test_dense_models_on_nvlink_systems() -> None:
    """100 runs of 8B to 405B on H100, H200, B200, GB200: mean error below 8 %, none above 25 %."""
    errors = [abs(log_error(m, m.devices)) for m in DENSE]

    assert len(errors) == 100
    assert sum(errors) / len(errors) < 0.08
    assert max(errors) < 0.25


def test_405b_is_predicted_though_smaller_models_set_the_ceilings() -> None:
    """The 405B runs alone, which need tensor parallelism: mean error below 10 %, bias below 5 %."""
    errors = [log_error(m, m.devices) for m in DENSE if m.model == "llama3-405b"]

    assert sum(map(abs, errors)) / len(errors) < 0.10
    assert abs(sum(errors) / len(errors)) < 0.05


def test_mlperf_results_it_was_not_fitted_to() -> None:
    """12 MLPerf results, v4.1 to v6.0, offline to interactive: mean error below 13 %."""
    errors = [abs(log_error(m, None)) for m in MLPERF if m.model != "deepseek-v3"]

    assert len(errors) == 12
    assert sum(errors) / len(errors) < 0.13
    assert max(errors) < 0.35


def test_deepseek_at_mlperf() -> None:
    """Five results of v5.1 on B200, GB200 and GB300 set one ratio: mean error below 15 %."""
    errors = [abs(log_error(m, None)) for m in MLPERF if m.model == "deepseek-v3"]

    assert len(errors) == 5
    assert sum(errors) / len(errors) < 0.15


def test_deepseek_under_newer_engines() -> None:
    """MLPerf v6.1, nothing fitted: 69,847 tokens/s on 8 B300 and 542,075 on 72 GB200."""
    for name, devices, tokens, measured in (
        ("B300-SXM", 8, 3760, 69_847 / 8),
        ("GB200", 72, 3740, 542_075 / 72),
    ):
        job = Job(
            model=MODELS["deepseek-v3"],
            prompt_tokens=800,
            output_tokens=tokens,
            weights=Format.FP4,
        )
        old = replace(job, stack=BALANCED_RANKS_2025)
        now, then = (throughput.rate(j, BY_NAME[name], devices) for j in (job, old))

        assert now is not None
        assert then is not None
        found = now.tokens_per_second_per_device
        assert found.low < measured < found.high
        assert found.mid == pytest.approx(measured, rel=0.25)
        assert then.tokens_per_second_per_device.mid < 0.75 * found.mid


def test_mixtures_of_experts_are_rougher_and_say_so() -> None:
    """Qwen3-235B: mean error below 18 %, nine tenths of 27 runs within the interval."""
    runs = [m for m in TRTLLM if m.model == QWEN.name]
    errors = [abs(log_error(m, m.devices)) for m in runs]
    inside = [e <= math.log(1 + throughput.EXPERT_ERROR) for e in errors]

    assert sum(errors) / len(errors) < 0.18
    assert sum(inside) / len(inside) >= 0.9


def test_pipelines_over_pcie() -> None:
    """RTX PRO 6000, 70B over 1 to 8 GPUs by layers: mean error below 10 %."""
    runs = [m for m in TRTLLM if "RTX" in m.accelerator]
    errors = [abs(log_error(m, m.devices)) for m in runs]

    assert len(errors) == 40
    assert sum(errors) / len(errors) < 0.10


def test_order_of_published_405b_interactive_results() -> None:
    """MLPerf v5.1, 405B interactive: GB200 138 and B200 96 tokens/s a GPU: the same order here."""
    job = Job(
        model=MODELS["llama3-405b"],
        prompt_tokens=9428,
        output_tokens=684,
        weights=Format.FP4,
        tpot_limit_seconds=0.08,
    )
    gb200, b200 = (throughput.best_rate(job, BY_NAME[n]) for n in ("GB200", "B200-SXM"))

    assert gb200 is not None
    assert b200 is not None
    assert gb200.tokens_per_second_per_device.mid > b200.tokens_per_second_per_device.mid


def test_energy_against_mlperf_power() -> None:
    """8x B200: 9.9 tokens/J on llama2-70b, 15.6 on 8B, 0.165 on 405B: in the interval."""
    for m in (m for m in MEASURED if m.system_watts is not None and "capped" not in m.scenario):
        job = Job(
            model=MODELS[m.model],
            prompt_tokens=m.prompt_tokens,
            output_tokens=m.output_tokens,
            weights=WIDTHS[m.bytes_per_weight],
        )
        found = accelerators.choice(job, BY_NAME[m.accelerator], street_price)
        assert m.system_watts is not None
        measured = m.system_watts / m.tokens_per_second
        assert found.joules_per_token is not None
        assert found.joules_per_token.low < measured < found.joules_per_token.high
        assert found.joules_per_token.mid == pytest.approx(measured, rel=0.35)


@pytest.mark.parametrize(
    ("system", "devices", "batch", "joules"),
    [("H100-SXM", 2, 8, 2.01), ("H100-SXM", 2, 64, 0.536), ("B200-SXM", 1, 128, 0.312)],
)
def test_energy_of_gpus_against_ml_energy(
    system: str, devices: int, batch: float, joules: float
) -> None:
    """Qwen3-32B reasoning on GPQA (some 300 in, 7,200 out), GPUs alone: within 10 %."""
    job = Job(model=MODELS["qwen3-32b"], prompt_tokens=300, output_tokens=7200, most_batch=batch)
    which = BY_NAME[system]
    found = throughput.rate(job, which, devices)

    assert found is not None
    assert which.power_w is not None
    watts = power.serving_watts(which.power_w, found.prefill_share)
    each = power.joules_per_token(watts, found.tokens_per_second_per_device)
    assert each is not None
    assert each.low < joules < each.high
    assert each.mid == pytest.approx(joules, rel=0.1)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([a for a in ACCELERATORS if a.serving_ratio is not None]),
    st.floats(16, 50_000),
    st.floats(16, 8_000),
    st.sampled_from(list(Format)),
)
def test_rates_hold_together(
    system: Accelerator, prompt: float, output: float, width: Format
) -> None:
    """Positive, ordered, within memory, shares below 1; a longer prompt is never faster."""
    job = Job(model=LLAMA_70B, prompt_tokens=prompt, output_tokens=output, weights=width)
    least = throughput.least_devices(job, system)
    if least is None:
        return
    found = throughput.rate(job, system, least)
    longer = throughput.rate(replace(job, prompt_tokens=prompt * 1.5), system, least)

    assert found is not None
    interval = found.tokens_per_second_per_device
    assert 0 < interval.low < interval.mid < interval.high
    assert found.batch <= found.capacity_sequences * 1.000001
    assert 0 <= found.prefill_share <= 1
    if longer is not None:
        assert longer.tokens_per_second_per_device.mid <= interval.mid * 1.000001


def test_a_tighter_objective_costs_throughput_until_it_cannot_be_held() -> None:
    """Each halving of the TPOT limit gives less; at 1 ms nothing serves 70B."""
    h100 = BY_NAME["H100-SXM"]
    rates = [
        throughput.rate(replace(CHAT, tpot_limit_seconds=limit), h100, 4)
        for limit in (1.0, 0.1, 0.05, 0.03)
    ]

    speeds = [r.tokens_per_second_per_device.mid for r in rates if r is not None]
    assert len(speeds) == 4
    assert speeds == sorted(speeds, reverse=True)
    assert throughput.rate(replace(CHAT, tpot_limit_seconds=1e-3), h100, 4) is None


def test_a_warm_prefix_cache_is_faster() -> None:
    """Nine tenths of the prompt cached: prefill is nearly free, tokens come faster."""
    h100 = BY_NAME["H100-SXM"]
    cold = throughput.rate(CHAT, h100, 4)
    warm = throughput.rate(replace(CHAT, prefix_hit_ratio=0.9), h100, 4)

    assert cold is not None
    assert warm is not None
    assert warm.prefill_seconds < 0.25 * cold.prefill_seconds
    assert warm.tokens_per_second_per_device.mid > 1.5 * cold.tokens_per_second_per_device.mid


def test_capacity_fit() -> None:
    """70B in bf16 needs 2 H100 but one MI300X; 405B in bf16 no server of L4 at all."""
    bf16 = replace(CHAT, weights=Format.BF16)
    large = replace(bf16, model=MODELS["llama3-405b"])

    assert throughput.least_devices(bf16, BY_NAME["H100-SXM"]) == 2
    assert throughput.least_devices(bf16, BY_NAME["MI300X"]) == 1
    assert throughput.least_devices(large, BY_NAME["L4"]) is None


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_impossible_workloads_give_none(bad: float) -> None:
    """Zero, negative and infinite lengths are no workload, and no fault."""
    assert throughput.rate(replace(CHAT, output_tokens=bad), BY_NAME["H100-SXM"], 4) is None
    found = accelerators.choice(replace(CHAT, prompt_tokens=bad), BY_NAME["H100-SXM"], street_price)
    assert found.rate is None


def test_ranking_never_puts_the_unverified_or_not_runnable_first() -> None:
    """Order: ranked by dollars a token, unpriced, too slow, unverified, no fit, not runnable."""
    found = accelerators.choices(CHAT, ACCELERATORS, street_price)
    verdicts = [list(Verdict).index(c.verdict) for c in found]

    assert verdicts == sorted(verdicts)
    assert found[0].verdict is Verdict.RANKED
    costs = [c.usd_per_million_tokens.mid for c in found if c.usd_per_million_tokens]
    assert costs == sorted(costs)
    by_name = {c.accelerator.name: c for c in found}
    assert by_name["TPU-v5p"].verdict is Verdict.UNVERIFIED
    assert by_name["TPU-v5p"].usd_per_million_tokens is None
    assert by_name["Groq-LPU"].verdict is Verdict.NOT_RUNNABLE
    assert by_name["MI355X"].verdict is Verdict.UNPRICED


def test_a_free_accelerator_that_nobody_measured_is_still_not_ranked() -> None:
    """At a price near zero, Gaudi 3 and WSE-3 stay below every measured one."""
    found = accelerators.choices(CHAT, ACCELERATORS, lambda _: exactly(0.001))

    assert all(c.verdict is Verdict.RANKED for c in found[:5])
    assert found[-1].verdict is Verdict.NOT_RUNNABLE
    assert "Gaudi3" not in [c.accelerator.name for c in found if c.verdict is Verdict.RANKED]


def test_break_even_price() -> None:
    """At its break-even price a candidate's tokens cost what today's do."""
    today, candidate = (
        accelerators.choice(CHAT, BY_NAME[n], street_price) for n in ("H100-SXM", "MI355X")
    )
    price = accelerators.break_even_usd_per_hour(candidate, today)

    assert price is not None
    there = accelerators.choice(CHAT, BY_NAME["MI355X"], lambda _: exactly(price.mid))
    assert there.usd_per_million_tokens is not None
    assert today.usd_per_million_tokens is not None
    assert there.usd_per_million_tokens.mid == pytest.approx(today.usd_per_million_tokens.mid)
    unverified = accelerators.choice(CHAT, BY_NAME["Gaudi3"], street_price)
    assert accelerators.break_even_usd_per_hour(unverified, today) is None


def test_software_maturity_has_evidence() -> None:
    """Every stack of the catalogue is described, with evidence and date; others are unknown."""
    for system in ACCELERATORS:
        found = maturity(system.stack)
        assert found.support is not Support.UNKNOWN
        assert found.evidence
        assert found.source.as_of
    assert maturity("ROCm").runnable
    assert not maturity("Maia").runnable
    assert not maturity("abacus").runnable


def test_published_runs_near_a_workload() -> None:
    """A 1,200/900 chat finds the 1000/1000 run; a 100,000-token prompt finds none."""
    found = near("H100-SXM", "llama3-70b", 1200, 900)

    assert found is not None
    assert (found.prompt_tokens, found.output_tokens) == (1000, 1000)
    assert near("H100-SXM", "llama3-70b", 100_000, 900) is None
    assert near("Gaudi3", "llama3-70b", 1000, 1000) is None

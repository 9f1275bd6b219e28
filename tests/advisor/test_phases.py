"""Latency of prefill and decode: properties that hold for every replica, and measured points."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.catalog.accelerators import BY_NAME
from advisor.catalog.models import MODELS, Format
from advisor.models import closed_loop, energy, kv, phases
from advisor.models.passes import experts_touched
from advisor.models.phases import Layout, Replica, Speculation
from advisor.models.replica import EAGER, PREFILL_FIRST

H100 = BY_NAME["H100-SXM"]
MODEL_NAMES = st.sampled_from(sorted(MODELS))
GPU_NAMES = st.sampled_from(["A100-SXM-80G", "H100-SXM", "H200-SXM", "B200-SXM", "MI300X", "L40S"])


def replica(model: str, gpu: str = "H100-SXM", tensor: int = 1, **layout: int) -> Replica:
    """An engine of a catalogue model."""
    return Replica(
        model=MODELS[model],
        accelerator=BY_NAME[gpu],
        layout=Layout(tensor=tensor, **layout),
    )


@given(MODEL_NAMES, GPU_NAMES, st.sampled_from([1, 2, 4, 8]))
@settings(max_examples=60, deadline=None)
def test_nothing_is_faster_than_light(model: str, gpu: str, tensor: int) -> None:
    """No phase beats the roofline of the same work, whatever the model and GPU."""
    one = replica(model, gpu, tensor)
    batch = np.array([1.0, 16.0, 256.0])
    prompt = np.array([64.0, 1024.0, 16384.0])

    decode = phases.decode_step_seconds(one, batch, 1000)
    prefill = phases.prefill_seconds(one, prompt)

    assert np.all(decode >= 0.98 * phases.decode_speed_of_light_seconds(one, batch, 1000))
    assert np.all(prefill >= 0.98 * phases.prefill_speed_of_light_seconds(one, prompt))


@given(MODEL_NAMES, st.floats(1, 500), st.floats(1, 30_000))
@settings(max_examples=60, deadline=None)
def test_more_work_takes_longer(model: str, batch: float, context: float) -> None:
    """A larger batch, a longer context, a longer prompt never make a step shorter."""
    one = replica(model, tensor=8)
    base = float(phases.decode_step_seconds(one, batch, context))

    assert base <= float(phases.decode_step_seconds(one, batch + 8, context)) + 1e-12
    assert base <= float(phases.decode_step_seconds(one, batch, context * 2)) + 1e-12
    assert float(phases.prefill_seconds(one, context)) <= float(
        phases.prefill_seconds(one, context * 2)
    )


@given(MODEL_NAMES, st.integers(2, 4000), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_a_cached_prefix_saves_time_and_never_all_of_it(
    model: str, prompt: int, hit: float
) -> None:
    """What is in the cache need not be computed; one token always must be."""
    one = replica(model, tensor=8)

    cold = float(phases.prefill_seconds(one, prompt))
    warm = float(phases.prefill_seconds(one, prompt, cached_tokens=hit * prompt))

    assert 0 < warm <= cold * (1 + 1e-9)


def test_arrays_and_numbers_agree() -> None:
    """The answer for an array is the answers for its elements."""
    one = replica("qwen3-235b-a22b", tensor=4, data=2, expert=8)
    batches = np.array([1.0, 7.0, 64.0, 300.0])

    together = phases.decode_step_seconds(one, batches, 2000)
    each = [float(phases.decode_step_seconds(one, b, 2000)) for b in batches]

    assert each == pytest.approx(list(together), rel=1e-12)


def test_experts_touched() -> None:
    """One token touches its k; many touch all; 64 tokens on 8 of 256 touch 87 %."""
    assert 8 == pytest.approx(float(experts_touched(256, 8, 1)))
    assert 256 == pytest.approx(float(experts_touched(256, 8, 1e5)))
    assert 0.869 == pytest.approx(float(experts_touched(256, 8, 64)) / 256, abs=0.001)


# What was measured: ml-energy leaderboard (vLLM, H100 SXM, BF16, chat of some 600 and 350 output
# tokens), batches so small that prefill hardly disturbs: median inter-token latency in ms.
ITL = [
    ("qwen3-14b", 1, 7.99, 700, 12.54),
    ("qwen3-14b", 1, 15.97, 700, 13.34),
    ("qwen3-14b", 1, 31.92, 700, 15.01),
    ("llama3-70b", 4, 15.95, 400, 17.70),
    ("llama3-70b", 4, 31.88, 400, 20.05),
]


@pytest.mark.parametrize(("model", "gpus", "batch", "context", "measured_ms"), ITL)
def test_measured_inter_token_latency(
    model: str, gpus: int, batch: float, context: float, measured_ms: float
) -> None:
    """Without any fit to it, the model meets vLLM's measured latency within 20 %."""
    found = phases.decode_step_seconds(replica(model, tensor=gpus), batch, context)

    assert measured_ms == pytest.approx(float(found) * 1e3, rel=0.20)


@pytest.mark.parametrize(
    ("gpu", "prompt_ms", "bs1_ms", "bs64_ms"),
    [("A100-SXM-80G", 94.3, 44.9, 71.6), ("H100-SXM", 53.4, 29.8, 50.2)],
)
def test_engines_of_2023_are_bound_by_their_host(
    gpu: str, prompt_ms: float, bs1_ms: float, bs64_ms: float
) -> None:
    """Splitwise, llama2-70b, TP8, 512 tokens: our decode within 15 %, our prefill within 45 %."""
    one = Replica(
        model=MODELS["llama2-70b"],
        accelerator=BY_NAME[gpu],
        layout=Layout(tensor=8),
        stack=EAGER,
    )

    assert prompt_ms == pytest.approx(float(phases.prefill_seconds(one, 512)) * 1e3, rel=0.45)
    assert bs1_ms == pytest.approx(float(phases.decode_step_seconds(one, 1, 576)) * 1e3, rel=0.15)
    assert bs64_ms == pytest.approx(float(phases.decode_step_seconds(one, 64, 576)) * 1e3, rel=0.15)


def test_tensor_parallelism_over_pcie_is_slow() -> None:
    """AIC: 70B TP8, 2,048 tokens: 5,035 ms on L40S, 85.9 ms on H100 SXM; seconds, not 0.4."""
    pcie = float(phases.prefill_seconds(replica("llama3-70b", "L40S", 8), 2048))
    nvlink = float(phases.prefill_seconds(replica("llama3-70b", "H100-SXM", 8), 2048))

    assert 0.0859 == pytest.approx(nvlink, rel=0.15)
    assert pcie > 40 * nvlink


def test_speculation_pays_by_what_is_accepted() -> None:
    """Three drafts at 80 % bring 2.95 tokens a step; at 0 % they only cost."""
    plain = replica("llama3-70b", tensor=8)
    good = Speculation(drafted=3, acceptance_ratio=0.8)
    bad = Speculation(drafted=3, acceptance_ratio=0.0)

    def step(spec: Speculation | None) -> float:
        one = Replica(model=plain.model, accelerator=H100, layout=plain.layout, speculation=spec)
        return float(phases.decode_step_seconds(one, 4, 1000))

    assert 2.952 == pytest.approx(good.tokens_per_step)
    assert step(good) < 0.6 * step(None)
    assert step(bad) > step(None)


def test_a_sliding_window_stops_the_growth_of_the_cache() -> None:
    """Half of gpt-oss's layers keep 128 tokens: past them a context costs half."""
    model = MODELS["gpt-oss-120b"]

    assert float(kv.kv_bytes(model, 100)) == pytest.approx(100 * model.kv_bytes_per_token())
    assert float(kv.kv_bytes(model, 100_000)) == pytest.approx(
        0.5 * 100_128 * model.kv_bytes_per_token()
    )


def test_a_layout_that_cannot_be_is_refused() -> None:
    """Experts are spread over GPUs that are there."""
    with pytest.raises(ValueError, match="expert=3"):
        Layout(tensor=4, expert=3)
    with pytest.raises(ValueError, match="tensor=0"):
        Layout(tensor=0)


def test_weights_that_do_not_fit() -> None:
    """405B in BF16 fits no eight H100, in FP8 it does."""
    big = Replica(model=MODELS["llama3-405b"], accelerator=H100, layout=Layout(tensor=8))
    small = Replica(model=big.model, accelerator=H100, layout=big.layout, weights=Format.FP8)

    assert not phases.fits(big)
    assert phases.fits(small)
    assert 0 == float(kv.most_sequences(big, 1000))
    assert float(kv.most_sequences(small, 1000)) > 50


def test_pipelines_shorten_the_service_not_the_latency() -> None:
    """Two stages take a prompt every half of its latency."""
    two = replica("llama3-70b", tensor=4, pipeline=2)

    latency = float(phases.prefill_seconds(two, 4096))
    service = float(phases.prefill_service_seconds(two, 4096))
    alone = float(phases.prefill_seconds(replica("llama3-70b", tensor=4), 4096))

    assert latency == pytest.approx(2 * service)
    assert latency >= alone


def test_decode_pools_may_be_capped_and_prefill_pools_not() -> None:
    """Splitwise: the token phase of an H100 draws 380 of 700 W, the prompt phase all of it."""
    one = replica("llama2-70b", tensor=8)

    decode = float(energy.unfelt_power_limit_watts(one, 16, 1000))
    prompt = float(energy.prefill_power_watts(one, 2048)) / one.gpus

    assert 380 == pytest.approx(decode, rel=0.3)
    assert 700 == pytest.approx(prompt, rel=0.15)


@pytest.mark.parametrize(
    ("gpu", "prompt_watts", "token_watts"), [("A100-SXM-80G", 400, 250), ("H100-SXM", 700, 380)]
)
def test_splitwise_power(gpu: str, prompt_watts: float, token_watts: float) -> None:
    """What Splitwise's simulator takes for a GPU of llama2-70b at TP8, engines of 2023: 25 %."""
    one = dataclasses.replace(replica("llama2-70b", gpu, 8), stack=EAGER)

    token = float(energy.decode_power_watts(one, 16, 1200)) / one.gpus
    prompt = float(energy.prefill_power_watts(one, 2048)) / one.gpus

    assert token_watts == pytest.approx(token, rel=0.25)
    assert prompt_watts == pytest.approx(prompt, rel=0.25)


@given(MODEL_NAMES, GPU_NAMES, st.sampled_from([1, 2, 4, 8]), st.floats(100, 30_000))
@settings(max_examples=80, deadline=None)
def test_power_stays_between_idle_and_the_limit(
    model: str, gpu: str, tensor: int, context: float
) -> None:
    """Power rises with the batch, energy of a token falls; prompts draw no less than decoding.

    By 3 % of the limit at most: where prompts wait for PCIe their GPUs do little.
    """
    one = replica(model, gpu, tensor)
    limit = one.accelerator.power_w
    assert limit is not None
    batches = np.geomspace(1, 512, 12)

    decode = energy.decode_power_watts(one, batches, context) / one.gpus
    joules = energy.decode_joules_per_token(one, batches, context)
    prompt = float(energy.prefill_power_watts(one, 4096)) / one.gpus

    assert np.all(decode > energy.BUSY.idle_ratio * limit)
    assert np.all(decode <= limit)
    assert np.all(np.diff(decode) >= -0.005 * limit)
    assert np.all(np.diff(joules) < 0)
    assert decode.max() <= prompt + 0.03 * limit
    assert prompt <= limit


def test_energy_of_a_token_falls_with_the_batch() -> None:
    """ml-energy, Qwen3-32B: 2.01 J at a batch of 8 (two H100), a quarter of it at 64."""
    one = replica("qwen3-32b", tensor=2)

    few = float(energy.decode_joules_per_token(one, 8, 4000))
    many = float(energy.decode_joules_per_token(one, 64, 4000))

    assert 2.01 == pytest.approx(few, rel=0.4)
    assert 0.536 == pytest.approx(many, rel=0.4)


def test_a_closed_loop_is_slower_than_decode_alone() -> None:
    """Every output token pays its share of prefill; past the cache's room nothing runs faster."""
    one = replica("llama3-70b", tensor=4)
    concurrency = np.array([1.0, 8.0, 64.0, 4096.0, 8192.0])

    tpot = closed_loop.tpot_seconds(one, concurrency, 1024, 256)
    rate = closed_loop.tokens_per_second(one, concurrency, 1024, 256)
    joules = closed_loop.joules_per_token(one, concurrency, 1024, 256)
    batch = closed_loop.running_sequences(one, concurrency, 1024, 256)

    assert np.all(tpot > phases.decode_step_seconds(one, batch, 1024 + 128))
    assert np.all(np.diff(rate) >= 0)
    assert np.all(np.diff(joules) <= 0)
    assert rate[-1] == rate[-2]


@given(MODEL_NAMES, st.floats(1, 200), st.floats(100, 8000), st.floats(50, 2000))
@settings(max_examples=40, deadline=None)
def test_first_tokens_of_a_closed_loop_wait_longer_for_more(
    model: str, concurrency: float, prompt: float, output: float
) -> None:
    """More requests in flight never bring a first token sooner, nor sooner than its own prompt."""
    one = replica(model, "H200-SXM", 8)

    few = float(closed_loop.ttft_seconds(one, concurrency, prompt, output))
    many = float(closed_loop.ttft_seconds(one, 2 * concurrency, prompt, output))

    assert few <= many + 1e-9
    assert few >= float(phases.prefill_speed_of_light_seconds(one, prompt))


@pytest.mark.parametrize("prompts", [1, 3, 8])
def test_a_prompt_runs_on_one_data_rank(prompts: int) -> None:
    """With attention in 8 data ranks up to 8 prompts cost a rank the work of one, not of an 8th."""
    spread = Replica(
        model=MODELS["qwen3-235b-a22b"], accelerator=H100, layout=Layout(data=8, expert=8)
    )
    alone = float(phases.prefill_seconds(spread, 8192))
    found = float(phases.prefill_seconds(spread, 8192, prompts=prompts))
    full = float(phases.prefill_seconds(spread, 8192, prompts=8))

    assert alone <= found <= full
    assert alone > 0.5 * full


def test_prompts_before_decoding_keep_requests_in_step() -> None:
    """Answers of one length where an engine prefills first: half of all prompts are ahead."""
    one = replica("llama3-70b", "H200-SXM", 8)
    first = dataclasses.replace(one, stack=PREFILL_FIRST)
    asked = (64, 4096, 512)
    mixed = float(closed_loop.ttft_seconds(one, *asked))
    waves, drawn = (float(closed_loop.ttft_seconds(first, *asked, alike=a)) for a in (True, False))
    each = float(phases.prefill_seconds(one, 4096, prompts=2)) / 2

    assert waves > 2 * mixed
    later = PREFILL_FIRST.entry_seconds - one.stack.entry_seconds
    assert drawn == pytest.approx(mixed + later)
    assert waves == pytest.approx(drawn + 0.85 * 63 / 2 * each, rel=1e-6)


def test_an_indexer_bounds_what_is_read() -> None:
    """DeepSeek-V3.2 attends to 2,048 tokens: long contexts cost it less, short ones 35 us more."""
    sparse, full = (replica(name, "H200-SXM", 8) for name in ("deepseek-v3.2", "deepseek-v3"))
    contexts = np.array([1000.0, 100_000.0])

    s, f = (phases.decode_step_seconds(one, 16, contexts) for one in (sparse, full))

    assert 61 * 20e-6 < s[0] - f[0] < 61 * 60e-6
    assert s[1] - s[0] < 0.5 * (f[1] - f[0])
    read = kv.kv_read_bytes(MODELS["deepseek-v3.2"], contexts)
    assert read[1] < 0.3 * kv.kv_bytes(MODELS["deepseek-v3.2"], contexts)[1]

"""Rates of one phase: they add up to the whole engine's, and each follows what limits it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.catalog.accelerators import BY_NAME
from advisor.catalog.models import MODELS, Format
from advisor.models import throughput
from advisor.models.phase_rates import PhaseRate, mean_tpot_seconds, output_rate, prompt_rate
from advisor.models.throughput import Job

H100, H200, B200 = (BY_NAME[n] for n in ("H100-SXM", "H200-SXM", "B200-SXM"))
CHAT = Job(model=MODELS["llama3-70b"], prompt_tokens=2000, output_tokens=300)


def there(rate: PhaseRate | None) -> PhaseRate:
    """The rate, which there must be."""
    assert rate is not None
    return rate


@given(
    prompt=st.floats(100, 20_000),
    output=st.floats(10, 3_000),
    cached=st.floats(0, 0.9),
)
def test_phases_add_up_to_the_whole_engine(prompt: float, output: float, cached: float) -> None:
    """An engine that does both spends on a token what the two phases spend on it."""
    one_size = replace(H200, scale_up_devices=4)  # 405B in 8 bit needs 4
    large = replace(CHAT, model=MODELS["llama3-405b"], weights=Format.FP8)
    job = replace(large, prompt_tokens=prompt, output_tokens=output, prefix_hit_ratio=cached)
    whole = throughput.rate(job, one_size, 4)
    assert whole is not None

    prompts = there(prompt_rate(job, one_size)).tokens_per_second_per_device
    outputs = there(output_rate(job, one_size, whole.batch / 4)).tokens_per_second_per_device

    seconds = 1 / outputs + prompt / output / prompts
    assert whole.tokens_per_second_per_device.mid == pytest.approx(1 / seconds, rel=1e-6)


def test_prompts_follow_compute_and_answers_bandwidth() -> None:
    """H200 is H100 with 1.43 times the bandwidth: prompts as fast, answers of one sequence 1.4."""
    prompts = [there(prompt_rate(CHAT, a)).tokens_per_second_per_device for a in (H100, H200)]
    few = [there(output_rate(CHAT, a, 0.25)) for a in (replace(H100, scale_up_devices=4), H200)]
    here = few[0].tokens_per_second_per_device

    assert 0.9 < prompts[1] / prompts[0] < 1.25  # fewer devices, so less to reduce
    assert 1.2 < few[1].tokens_per_second_per_device / here < 1.9


@given(batch=st.floats(1, 64), more=st.floats(1.05, 4))
def test_a_larger_batch_gives_more_and_longer_waits(batch: float, more: float) -> None:
    """At a batch that fits tokens/s grow with it, and so does the time between two tokens."""
    small, large = (there(output_rate(CHAT, B200, b)) for b in (batch, batch * more))

    assert small.tokens_per_second_per_device <= large.tokens_per_second_per_device * (1 + 1e-9)
    assert large.sequences_per_device <= batch * more * (1 + 1e-9)


def test_limits_hold() -> None:
    """A limit between tokens cuts the batch; the cache does; one nobody can hold is None."""
    free = there(output_rate(CHAT, H100))
    held = there(output_rate(CHAT, H100, tpot_limit_seconds=free.seconds / 2))

    assert free.sequences_per_device < CHAT.most_batch
    assert held.sequences_per_device < free.sequences_per_device
    assert held.seconds <= free.seconds / 2
    assert output_rate(CHAT, H100, tpot_limit_seconds=1e-4) is None
    assert prompt_rate(CHAT, H100, 1e-3) is None
    assert there(prompt_rate(CHAT, H100, 1.0)).seconds <= 1.0
    assert mean_tpot_seconds(0.1) == pytest.approx(0.06)


def test_a_warm_cache_makes_prompts_cheaper() -> None:
    """Cached tokens count as served."""
    cold, warm = (
        there(prompt_rate(replace(CHAT, prefix_hit_ratio=r), H100)).tokens_per_second_per_device
        for r in (0.0, 0.5)
    )

    assert 1.7 * cold < warm < 2.2 * cold


@pytest.mark.parametrize("name", ["MI300X", "Gaudi3", "L4"])
def test_what_nobody_measured_is_none(name: str) -> None:
    """No published rate of an engine, or no room for the model: no number."""
    which = replace(BY_NAME[name], serving_ratio=None)

    assert prompt_rate(CHAT, which) is None
    assert output_rate(CHAT, which, 1.0) is None


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_impossible_lengths_are_none(bad: float) -> None:
    """A length that cannot be true has no rate."""
    assert prompt_rate(replace(CHAT, prompt_tokens=bad), H100) is None
    assert output_rate(replace(CHAT, output_tokens=bad), H100, 4) is None

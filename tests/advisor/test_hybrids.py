"""Hybrids of attention and recurrent layers: the state of a sequence has a constant size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.catalog.accelerators import BY_NAME
from advisor.catalog.models import MODELS, Format
from advisor.models import disaggregation as dg
from advisor.models import kv, phases
from advisor.models.replica import Layout, Replica
from advisor.models.slo import Workload

HYBRIDS = sorted(name for name, model in MODELS.items() if model.recurrent is not None)
H200 = BY_NAME["H200-SXM"]


def engine(model: str, tensor: int = 8) -> Replica:
    """A hybrid in FP8 on H200."""
    return Replica(
        model=MODELS[model], accelerator=H200, layout=Layout(tensor=tensor), weights=Format.FP8
    )


@pytest.mark.parametrize(
    ("name", "attention", "kilobytes", "megabytes"),
    [
        ("qwen3-next-80b-a3b", 12, 24.6, 75.5),
        ("qwen3.5-397b-a17b", 15, 30.7, 188.7),
        ("nemotron3-nano-30b-a3b", 6, 6.1, 48.2),
        ("minimax-01-456b-a46b", 10, 41.0, 293.6),
    ],
)
def test_cache_of_a_token_and_state_of_a_sequence(
    name: str, attention: int, kilobytes: float, megabytes: float
) -> None:
    """Only attention layers cache (Qwen3-Next: 2 * 12 * 2 * 256 * 2 B); states are in 32 bit."""
    model = MODELS[name]

    assert attention == model.attention_layers
    assert kilobytes == pytest.approx(model.kv_bytes_per_token() / 1e3, abs=0.1)
    assert megabytes == pytest.approx(model.state_bytes / 1e6, abs=0.1)


@given(st.sampled_from(HYBRIDS), st.floats(1, 100_000), st.floats(1, 100_000))
@settings(max_examples=40, deadline=None)
def test_the_state_is_held_once(name: str, one: float, other: float) -> None:
    """Two lengths differ by their cache alone, on a GPU and as a whole."""
    model, replica = MODELS[name], engine(name)
    whole = float(kv.kv_bytes(model, one) - kv.kv_bytes(model, other))

    assert whole == pytest.approx((one - other) * model.kv_bytes_per_token(), rel=1e-6, abs=1)
    assert float(kv.kv_bytes(model, 1.0)) > model.state_bytes
    assert float(kv.kv_bytes_per_gpu(replica, 1.0)) >= model.state_bytes / replica.layout.tensor


@pytest.mark.parametrize("name", HYBRIDS)
def test_long_contexts_cost_a_hybrid_less(name: str) -> None:
    """Against the same model with attention in every layer, a long context slows decode less."""
    hybrid = engine(name)
    full = replace(hybrid, model=replace(hybrid.model, recurrent=None))

    def growth(one: Replica) -> float:
        short, long = phases.decode_step_seconds(one, 16, np.array([1000.0, 100_000.0]))
        return float(long - short)

    assert 0 < growth(hybrid) < 0.6 * growth(full)
    assert kv.most_sequences(hybrid, 200_000) > kv.most_sequences(full, 200_000)


@pytest.mark.parametrize("name", HYBRIDS)
def test_short_requests_hold_and_hand_over_the_state_too(name: str) -> None:
    """A state is there from the first token on: short prompts hand over at least that much."""
    replica = engine(name)
    work = Workload(prompt_tokens=64, output_tokens=64, slo_ttft_seconds=1, slo_tpot_seconds=0.1)

    assert dg.handover_gbps_per_request(replica, work) * 1e9 / 8 > replica.model.state_bytes
    assert float(phases.decode_work(replica, 1, 64).traffic_bytes) > 2 * replica.model.state_bytes


def test_prompts_scan_in_linear_time() -> None:
    """Twice the prompt is about twice the time where most layers are recurrent."""
    one = engine("qwen3-next-80b-a3b")
    short, long = phases.prefill_seconds(one, np.array([65_536.0, 131_072.0]))

    assert 2.0 <= float(long / short) < 2.6

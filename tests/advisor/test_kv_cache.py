"""KV cache: sizes, capacity and hand-over against published figures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from advisor.catalog.accelerators import BY_NAME, Accelerator
from advisor.catalog.models import MODELS, Format
from advisor.models import kv, phases
from advisor.models.replica import (
    BALANCED_RANKS,
    EAGER,
    EARLY_GRAPHS,
    MODERN,
    SYNCHRONOUS,
    Layout,
    Replica,
    Stack,
)

A100, H100 = BY_NAME["A100-SXM-80G"], BY_NAME["H100-SXM"]
RTX_4090 = Accelerator(
    name="RTX-4090", bf16_tflops=165, memory_gb=25.757, bandwidth_tb_s=1.008
)  # nvidia-smi: 24,564 MiB


def engine(
    model: str,
    accelerator: Accelerator,
    tensor: int = 1,
    weights: Format = Format.BF16,
    stack: Stack = MODERN,
) -> Replica:
    """An engine with its cache in 16 bit."""
    return Replica(
        model=MODELS[model],
        accelerator=accelerator,
        layout=Layout(tensor=tensor),
        weights=weights,
        stack=stack,
    )


def test_kv_bytes_per_token_of_llama3_70b() -> None:
    """320 KB a token (Mooncake FAST'25 s3): 2*80*8*128*2; 128k tokens are 40 GiB."""
    per_token = MODELS["llama3-70b"].kv_bytes_per_token()

    assert 327_680 == per_token
    assert 40 == pytest.approx(per_token * 131_072 / 2**30, rel=0.08)


def test_kv_of_opt_66b_and_its_transfer() -> None:
    """512 tokens are 1.13 GiB; at 10 requests/s their hand-over takes 90 Gbps (DistServe s3.3)."""
    per_token = MODELS["opt-66b"].kv_bytes_per_token()

    assert 1.13 == pytest.approx(per_token * 512 / 2**30, rel=0.01)
    assert 90 == pytest.approx(kv.transfer_gbps(512, 1.13e9 / 512, 10), rel=0.01)
    assert 0.1 == pytest.approx(float(kv.transfer_seconds(512, 1.13e9 / 512, 90.4)))


def test_kv_of_multi_head_latent_attention() -> None:
    """DeepSeek-V3: 61*(512+64)*2 bf16; vLLM's packed FP8 layout takes 656 B a layer."""
    model = MODELS["deepseek-v3"]

    assert 70_272 == model.kv_bytes_per_token()
    assert 40_016 == pytest.approx(model.kv_bytes_per_token(656 / 576))


def test_kv_capacity_needs_the_overhead() -> None:
    """RTX 4090, Llama-3.1-8B: 41,408 tokens measured (LLMServingSim@5daddb2, vLLM 0.19)."""
    inputs = (25_250_627_584, 0.9, 16.06e9)

    assert 41_408 == pytest.approx(kv.kv_capacity_tokens(*inputs, 1.24e9, 131_072), rel=0.01)
    assert 50_854 == pytest.approx(kv.kv_capacity_tokens(*inputs, 0, 131_072), rel=0.01)
    assert 0 == kv.kv_capacity_tokens(1e9, 0.9, 2e9, 0, 131_072)


def test_capacity_of_a_replica_is_the_measured_one() -> None:
    """The same card as a replica, weights counted from the model's shape."""
    rtx_4090 = replace(RTX_4090, memory_gb=25.250627584)
    one = Replica(model=MODELS["llama3-8b"], accelerator=rtx_4090, overhead_bytes_per_gpu=1.24e9)

    assert 41_408 == pytest.approx(kv.replica_kv_capacity_tokens(one), rel=0.01)
    assert phases.fits(one)


GIB = 2**30
BLOCK = 16  # tokens


@pytest.mark.parametrize(
    ("replica", "measured", "rel"),
    [
        # LLMServingSim@5daddb2, vLLM 0.19
        (engine("llama3-8b", RTX_4090), 41_408, 0.05),
        # vllm-project/vllm pull request 10511, 2024-12: 53.29 GiB, the sampling figure is from here
        (engine("llama3-8b", H100, stack=EARLY_GRAPHS), 53.29 * GIB / 131_072, 0.05),
        # issue 21348, 2025-07; nothing fitted to it
        (engine("qwen3-235b-a22b", H100, 4, Format.FP8, SYNCHRONOUS), 178_880, 0.1),
        # pull request 2031, 2023-12: 7,351 blocks; nothing fitted to it
        (engine("llama2-7b", A100, stack=EAGER), 7_351 * BLOCK, 0.05),
    ],
    ids=["RTX 4090", "H100", "4 H100, experts", "A100"],
)
def test_capacities_that_engines_printed(replica: Replica, measured: float, rel: float) -> None:
    """Tokens of cache in vLLM's logs at 0.9 of the memory, in public issues and pull requests."""
    assert measured == pytest.approx(kv.replica_kv_capacity_tokens(replica), rel=rel)


def test_capacity_of_tensor_parallel_engines_of_2023() -> None:
    """llama2-70b on 4 A100: 31,615 blocks overran 0.9 of the memory, 20,865 kept (request 2031)."""
    capacity = kv.replica_kv_capacity_tokens(engine("llama2-70b", A100, 4, stack=EAGER))

    assert 20_865 * BLOCK < capacity < 31_615 * BLOCK


def test_capacity_at_another_share_of_the_memory() -> None:
    """gpt-oss-20b on A100, vLLM 0.19 at 0.65: 36.56 GiB (myoceane.fr, 2026-04); nothing fitted."""
    one = replace(engine("gpt-oss-20b", A100, 1, Format.FP4), memory_ratio=0.65)

    assert 36.56 * GIB == pytest.approx(kv.free_bytes_per_gpu(one), rel=0.05)


def test_a_share_of_what_is_free_is_more_than_a_share_of_the_device() -> None:
    """70B in 16 bit on two H100: TensorRT-LLM's rule leaves 39,000 tokens, vLLM's none."""
    two = engine("llama3-70b", H100, 2)

    assert not phases.fits(two)
    assert 39_600 == pytest.approx(
        kv.replica_kv_capacity_tokens(replace(two, stack=BALANCED_RANKS)), rel=0.01
    )


def test_an_answer_that_is_never_evicted_is_held_as_a_whole() -> None:
    """Guaranteed no evict: prompt and answer; else what a sequence has made on average."""
    one = engine("llama3-8b", H100)

    assert 1_500 == kv.held_tokens(one, 1_000, 1_000)
    assert 2_000 == kv.held_tokens(replace(one, stack=BALANCED_RANKS), 1_000, 1_000)


@pytest.mark.parametrize(("tflops", "gb_per_second"), [(2496, 6), (7912, 19)])
def test_reuse_pays_above(tflops: float, gb_per_second: float) -> None:
    """8xA800: 6 GB/s, 8xH800: 19 GB/s at 8,192 tokens (Mooncake FAST'25 s3)."""
    found = kv.reuse_pays_above_bytes_per_second(8192, tflops * 1e12, 8192, 8, 2)

    assert gb_per_second == pytest.approx(found / 1e9, rel=0.05)

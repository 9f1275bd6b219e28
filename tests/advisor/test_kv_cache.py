"""KV cache: sizes, capacity and hand-over against published figures."""

from __future__ import annotations

import pytest

from advisor.catalog.accelerators import Accelerator
from advisor.catalog.models import MODELS
from advisor.models import kv, phases
from advisor.models.replica import Replica


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
    rtx_4090 = Accelerator(
        name="RTX-4090", bf16_tflops=165, memory_gb=25.250627584, bandwidth_tb_s=1.008
    )
    one = Replica(model=MODELS["llama3-8b"], accelerator=rtx_4090, overhead_bytes_per_gpu=1.24e9)

    assert 41_408 == pytest.approx(kv.replica_kv_capacity_tokens(one), rel=0.01)
    assert phases.fits(one)


@pytest.mark.parametrize(("tflops", "gb_per_second"), [(2496, 6), (7912, 19)])
def test_reuse_pays_above(tflops: float, gb_per_second: float) -> None:
    """8xA800: 6 GB/s, 8xH800: 19 GB/s at 8,192 tokens (Mooncake FAST'25 s3)."""
    found = kv.reuse_pays_above_bytes_per_second(8192, tflops * 1e12, 8192, 8, 2)

    assert gb_per_second == pytest.approx(found / 1e9, rel=0.05)

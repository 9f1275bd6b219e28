"""Served language models: sizes, KV cache, and the time of a prefill and of a decode step."""

from __future__ import annotations

from dataclasses import dataclass

from advisor.catalog.accelerators import Accelerator
from advisor.models.roofline import Calibration, speed_of_light_seconds

# Priors: H100, 70B, TP8, decode measured a = 3.7 ms, eta = 0.83; 8B, TP1: 1.5 ms, 0.91 (own fits to
# AIC 0.12 tables). Prefill: H100 SXM 70B TP8 at 2048 tokens 85.9 ms against 64.7 ms of roofline.
DECODE_LARGE = Calibration(overhead_seconds=3.7e-3, efficiency=0.83)
DECODE_SMALL = Calibration(overhead_seconds=1.5e-3, efficiency=0.91)
PREFILL = Calibration(overhead_seconds=5e-3, efficiency=0.80)

BF16_BYTES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Shape of a decoder. `active_params` differs from `params` in a mixture of experts."""

    name: str
    params: float
    layers: int
    hidden: int
    kv_heads: int
    head_dim: int
    active_params: float
    latent_dim: int = 0  # MLA: compressed KV plus rotary part, per layer; 0: ordinary attention
    weight_bytes_per_param: float = BF16_BYTES
    source: str = "model card"

    def kv_bytes_per_token(self, bytes_per_element: float = BF16_BYTES) -> float:
        """KV cache of one token: `2*L*kv_heads*head_dim*bytes`, or `L*(d_c+d_rope)*bytes` (MLA)."""
        width = self.latent_dim or 2 * self.kv_heads * self.head_dim
        return self.layers * width * bytes_per_element

    @property
    def weight_bytes(self) -> float:
        """Bytes of all weights."""
        return self.params * self.weight_bytes_per_param


def _dense(  # noqa: PLR0917 - a table row
    name: str, billions: float, layers: int, hidden: int, kv_heads: int, head_dim: int
) -> Model:
    return Model(
        name=name,
        params=billions * 1e9,
        active_params=billions * 1e9,
        layers=layers,
        hidden=hidden,
        kv_heads=kv_heads,
        head_dim=head_dim,
    )


MODELS: dict[str, Model] = {
    m.name: m
    for m in (
        _dense("llama3-8b", 8.03, 32, 4096, 8, 128),
        _dense("llama3-70b", 70.6, 80, 8192, 8, 128),
        _dense("llama3-405b", 405.9, 126, 16384, 8, 128),
        _dense("llama2-70b", 69.0, 80, 8192, 8, 128),
        _dense("qwen3-32b", 32.8, 64, 5120, 8, 128),
        _dense("opt-13b", 12.9, 40, 5120, 40, 128),
        _dense("opt-66b", 65.7, 64, 9216, 72, 128),
        Model(
            name="deepseek-v3",
            params=671e9,
            active_params=37e9,
            layers=61,
            hidden=7168,
            kv_heads=128,
            head_dim=128,
            latent_dim=512 + 64,
            weight_bytes_per_param=1,  # published in FP8
            source="DeepSeek-V3 report arXiv 2412.19437",
        ),
    )
}


def kv_capacity_tokens(
    memory_bytes: float,
    utilisation_ratio: float,
    weight_bytes: float,
    overhead_bytes: float,
    kv_bytes_per_token: float,
) -> float:
    """Tokens whose KV cache fits: `(mem*util - weights - overhead) / kv_bytes`, at least 0.

    The overhead (activations, graphs) must not be left out: RTX 4090 with Llama-3.1-8B holds a
    measured 41,408 tokens; without overhead the formula gives 50,854 (LLMServingSim@5daddb2).
    """
    free = memory_bytes * utilisation_ratio - weight_bytes - overhead_bytes
    return max(0.0, free / kv_bytes_per_token)


def prefill_flops(model: Model, prompt_tokens: float) -> float:
    """`2*P*T` for the weights plus causal attention, `2*d*T^2` a layer (half of the full 4)."""
    attention = 2 * model.layers * model.hidden * prompt_tokens**2
    return 2 * model.active_params * prompt_tokens + attention


def mooncake_prefill_flops(layers: int, hidden: int, tokens: float) -> float:
    """`l*(4*n^2*d + 22*n*d^2)` for a gated Llama shape (Mooncake, FAST'25, section 3)."""
    return layers * (4 * tokens**2 * hidden + 22 * tokens * hidden**2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One engine: a model on `gpus` accelerators, tensor-parallel, with its calibrations."""

    model: Model
    accelerator: Accelerator
    gpus: int
    prefill: Calibration = PREFILL
    decode: Calibration | None = None
    kv_utilisation_ratio: float = 0.9
    overhead_bytes_per_gpu: float = 3.5e9  # AIC's reserve ("other_mem")

    @property
    def decode_calibration(self) -> Calibration:
        """Its own, or the prior for its size."""
        return self.decode or (DECODE_LARGE if self.gpus > 1 else DECODE_SMALL)

    @property
    def flops(self) -> float:
        """Peak of all its GPUs in FLOP/s, in the precision of the weights."""
        fp8 = self.accelerator.fp8_tflops if self.model.weight_bytes_per_param == 1 else None
        return (fp8 or self.accelerator.bf16_tflops or 0.0) * 1e12 * self.gpus

    @property
    def bytes_per_second(self) -> float:
        """Memory bandwidth of all its GPUs."""
        return (self.accelerator.bandwidth_tb_s or 0.0) * 1e12 * self.gpus

    @property
    def kv_capacity_tokens(self) -> float:
        """Tokens whose KV cache fits beside the weights."""
        return kv_capacity_tokens(
            self.accelerator.memory_gb * 1e9 * self.gpus,
            self.kv_utilisation_ratio,
            self.model.weight_bytes,
            self.overhead_bytes_per_gpu * self.gpus,
            self.model.kv_bytes_per_token(),
        )

    def prefill_speed_of_light_seconds(self, prompt_tokens: float) -> float:
        """Least time of one prompt."""
        return float(
            speed_of_light_seconds(
                prefill_flops(self.model, prompt_tokens),
                self.model.weight_bytes,
                self.flops,
                self.bytes_per_second,
            )
        )

    def prefill_seconds(self, prompt_tokens: float) -> float:
        """Expected time of one prompt."""
        return float(self.prefill.seconds(self.prefill_speed_of_light_seconds(prompt_tokens)))

    def decode_speed_of_light_seconds(self, batch: float, context_tokens: float) -> float:
        """Least time of one step: weights and every sequence's KV cache are read once."""
        traffic = self.model.weight_bytes + batch * context_tokens * self.model.kv_bytes_per_token()
        flops = 2 * self.model.active_params * batch
        return float(speed_of_light_seconds(flops, traffic, self.flops, self.bytes_per_second))

    def decode_step_seconds(self, batch: float, context_tokens: float) -> float:
        """Expected time of one step, which is the TPOT of everyone in the batch."""
        least = self.decode_speed_of_light_seconds(batch, context_tokens)
        return float(self.decode_calibration.seconds(least))


def linear_itl_ms(alpha_ms: float, beta_ms: float, batch: float) -> float:
    """`alpha + beta*batch` (llm-d workload-variant-autoscaler's latency model)."""
    return alpha_ms + beta_ms * batch


def linear_ttft_ms(gamma_ms: float, delta_ms: float, tokens: float, batch: float) -> float:
    """`gamma + delta*tokens*batch` (llm-d workload-variant-autoscaler's latency model)."""
    return gamma_ms + delta_ms * tokens * batch

"""How long a prefill and a decode step take: t = overhead + work / (peak x efficiency).

Peaks are NVIDIA's H100 SXM data sheet; models are dense ones in bf16 with grouped-query attention,
tensor-parallel over the 8 GPUs of a node. Efficiencies and overheads are assumed: with Llama-3 70B
they put prefill near 30,000 tokens/s a node, and a decode step near 9 ms with short contexts and
near 20 ms with a full KV cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from collectors.simulator.workload import Floats

GPUS = 8
PEAK_FLOPS = GPUS * 989e12  # bf16, dense
PEAK_BYTES_PER_SECOND = GPUS * 3.35e12
HBM_BYTES = 80.0 * 2**30

PREFILL_EFFICIENCY = 0.72
PREFILL_OVERHEAD_SECONDS = 0.004
DECODE_OVERHEAD_SECONDS = 0.002
WEIGHT_EFFICIENCY = 0.70  # small sharded matrices ramp up and down
KV_EFFICIENCY = 0.95
CLOCK_FOR_FULL_BANDWIDTH = 0.6  # of the highest SM clock; below it loads come too slowly


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """A served model on one node."""

    parameters: float
    layers: int
    hidden: int
    query_heads: int
    kv_heads: int
    head_size: int = 128

    @property
    def weight_bytes(self) -> float:
        """All weights."""
        return 2 * self.parameters

    @property
    def kv_bytes_per_token(self) -> float:
        """Keys and values of a token in all layers."""
        return 2.0 * self.layers * self.kv_heads * self.head_size * 2

    @property
    def kv_capacity_tokens(self) -> float:
        """What a node's memory holds beside weights and 4 GB a GPU of workspace."""
        room = GPUS * (HBM_BYTES * 0.9 - 4e9) - self.weight_bytes
        return room / self.kv_bytes_per_token

    @property
    def all_reduce_bytes_per_token(self) -> float:
        """Sent by a GPU, as a ring: two all-reduces a layer."""
        return 2 * self.layers * self.hidden * 2 * 2 * (GPUS - 1) / GPUS

    def prefill_flops(self, tokens: Floats, context: Floats) -> Floats:
        """Operations to compute `tokens` new tokens of a prompt of `context` tokens."""
        width = self.query_heads * self.head_size
        return 2 * self.parameters * tokens + 2 * self.layers * width * tokens * context

    def prefill_seconds(self, tokens: Floats, context: Floats) -> Floats:
        """Time of a prompt at full clock."""
        flops = self.prefill_flops(tokens, context)
        return PREFILL_OVERHEAD_SECONDS + flops / (PEAK_FLOPS * PREFILL_EFFICIENCY)

    def decode_bytes(self, context_tokens: Floats) -> Floats:
        """Bytes one step of a batch reads: all weights and the batch's whole KV cache."""
        return self.weight_bytes + context_tokens * self.kv_bytes_per_token

    def decode_seconds(self, batch: Floats, context_tokens: Floats, clock_ratio: Floats) -> Floats:
        """Time of one step of a batch whose contexts sum up to `context_tokens`."""
        bandwidth = PEAK_BYTES_PER_SECOND * bandwidth_factor(clock_ratio)
        memory = (
            self.weight_bytes / WEIGHT_EFFICIENCY
            + context_tokens * self.kv_bytes_per_token / KV_EFFICIENCY
        ) / bandwidth
        compute = 2 * self.parameters * batch / (PEAK_FLOPS * PREFILL_EFFICIENCY * clock_ratio)
        return DECODE_OVERHEAD_SECONDS / clock_ratio + np.maximum(memory, compute)


def bandwidth_factor(clock_ratio: Floats) -> Floats:
    """Share of the memory bandwidth that is left at an SM clock (Splitwise section 3.5)."""
    return np.minimum(1.0, clock_ratio / CLOCK_FOR_FULL_BANDWIDTH)


# Shapes: The Llama 3 Herd of Models (2024, arXiv:2407.21783), table 3; Qwen3 Technical Report
# (2025, arXiv:2505.09388), table 1, with the parameters of its model card.
MODELS: Mapping[str, Roofline] = MappingProxyType(
    {
        "llama3-70b": Roofline(
            parameters=70.6e9, layers=80, hidden=8192, query_heads=64, kv_heads=8
        ),
        "qwen3-32b": Roofline(
            parameters=32.8e9, layers=64, hidden=5120, query_heads=64, kv_heads=8
        ),
    }
)

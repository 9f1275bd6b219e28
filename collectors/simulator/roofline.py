"""How long a prefill and a decode step take: t = overhead + work / (peak x efficiency).

Peaks are NVIDIA's H100 SXM data sheet; the model is a Llama-3 70B in bf16 with grouped-query
attention (80 layers, 8 KV heads of 128, hidden 8192), tensor-parallel over the 8 GPUs of a node.
Efficiencies and overheads are assumed: they put prefill near 30,000 tokens/s a node, and a decode
step near 9 ms with short contexts and near 20 ms with a full KV cache.
"""

from __future__ import annotations

import numpy as np

from collectors.simulator.workload import Floats

GPUS = 8
PEAK_FLOPS = GPUS * 989e12  # bf16, dense
PEAK_BYTES_PER_SECOND = GPUS * 3.35e12
PARAMETERS = 70.6e9
WEIGHT_BYTES = 2 * PARAMETERS
KV_BYTES_PER_TOKEN = 327_680.0  # 2 x 80 layers x 8 heads x 128 x 2 B
HBM_BYTES = 80.0 * 2**30
KV_CAPACITY_TOKENS = (GPUS * (HBM_BYTES * 0.9 - 4e9) - WEIGHT_BYTES) / KV_BYTES_PER_TOKEN
LAYERS, HIDDEN = 80, 8192

PREFILL_EFFICIENCY = 0.72
PREFILL_OVERHEAD_SECONDS = 0.004
DECODE_OVERHEAD_SECONDS = 0.002
WEIGHT_EFFICIENCY = 0.70  # small sharded matrices ramp up and down
KV_EFFICIENCY = 0.95
CLOCK_FOR_FULL_BANDWIDTH = 0.6  # of the highest SM clock; below it loads come too slowly
ALL_REDUCE_BYTES_PER_TOKEN = 2 * LAYERS * HIDDEN * 2 * 2 * (GPUS - 1) / GPUS  # a GPU, ring


def prefill_flops(tokens: Floats, context: Floats) -> Floats:
    """Operations to compute `tokens` new tokens of a prompt of `context` tokens."""
    return 2 * PARAMETERS * tokens + 2 * LAYERS * HIDDEN * tokens * context


def prefill_seconds(tokens: Floats, context: Floats) -> Floats:
    """Time of a prompt at full clock."""
    flops = prefill_flops(tokens, context)
    return PREFILL_OVERHEAD_SECONDS + flops / (PEAK_FLOPS * PREFILL_EFFICIENCY)


def bandwidth_factor(clock_ratio: Floats) -> Floats:
    """Share of the memory bandwidth that is left at an SM clock (Splitwise section 3.5)."""
    return np.minimum(1.0, clock_ratio / CLOCK_FOR_FULL_BANDWIDTH)


def decode_bytes(context_tokens: Floats) -> Floats:
    """Bytes one step of a batch reads: all weights and the batch's whole KV cache."""
    return WEIGHT_BYTES + context_tokens * KV_BYTES_PER_TOKEN


def decode_seconds(batch: Floats, context_tokens: Floats, clock_ratio: Floats) -> Floats:
    """Time of one step of a batch whose contexts sum up to `context_tokens`."""
    bandwidth = PEAK_BYTES_PER_SECOND * bandwidth_factor(clock_ratio)
    memory = (
        WEIGHT_BYTES / WEIGHT_EFFICIENCY + context_tokens * KV_BYTES_PER_TOKEN / KV_EFFICIENCY
    ) / bandwidth
    compute = 2 * PARAMETERS * batch / (PEAK_FLOPS * PREFILL_EFFICIENCY * clock_ratio)
    return DECODE_OVERHEAD_SECONDS / clock_ratio + np.maximum(memory, compute)

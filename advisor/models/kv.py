"""KV cache: what a token takes, what fits beside the weights, what handing it over takes."""

from __future__ import annotations

import numpy as np

from advisor.catalog.models import Model
from advisor.models.arrays import Floats, Numbers, floats
from advisor.models.replica import Replica

VERSION = "kv/2"
LEAST_NETWORK_GBPS = 100.0  # a node; Mooncake: TTFT collapses below
# What a driver reports less what CUDA gives a process: 0.5 to 0.9 GB (RTX 4090 24,564 MiB and 25.25
# GB, H100 81,559 MiB and 79.1 GiB, H200 143,771 and 139.8, B200 183,359 and 178.35)
CONTEXT_BYTES = 0.6e9
# Engines try at start what their largest batch takes. Sampling is most of it: some ten buffers of
# sequences x vocabulary in 32 bit. vLLM counted 1.26 GiB for 256 sequences and 128,256 tokens of
# vocabulary (vllm-project/vllm pull request 10511); other points in tests/advisor/test_kv_cache.py
SAMPLING_BUFFERS = 10
LARGE_BYTES = 70 * 2**30


def kv_bytes(model: Model, tokens: Numbers, bytes_per_element: float = 2.0) -> Floats:
    """Cache of one sequence of `tokens`, the state of recurrent layers with it.

    Layers with a sliding window stop growing at it.
    """
    return model.state_bytes + _growing_bytes(model, tokens, bytes_per_element)


def _growing_bytes(model: Model, tokens: Numbers, bytes_per_element: float) -> Floats:
    t = floats(tokens)
    if model.window_tokens:
        w = model.windowed_ratio
        t = (1 - w) * t + w * np.minimum(t, model.window_tokens)
    return t * model.kv_bytes_per_token(bytes_per_element)


def kv_read_bytes(model: Model, tokens: Numbers, bytes_per_element: float = 2.0) -> Floats:
    """What a decode step reads of one sequence's cache: all of it, or what an indexer picks."""
    latent = model.latent
    if latent is None or not latent.top_tokens:
        return kv_bytes(model, tokens, bytes_per_element)
    picked = np.minimum(floats(tokens), latent.top_tokens) * (latent.kv_rank + latent.rope_dim)
    index = floats(tokens) * latent.index_dim
    return model.attention_layers * (picked + index) * bytes_per_element


def kv_bytes_per_gpu(replica: Replica, tokens: Numbers) -> Floats:
    """What one sequence takes on each GPU that holds a part of it.

    Grouped heads are cut by tensor parallelism until each GPU has one head, then copied; a latent
    is copied at once; a recurrent state is cut by its heads; data-parallel attention keeps a
    sequence on one of its ranks.
    """
    model, layout = replica.model, replica.layout
    cut = 1 if model.latent is not None else min(layout.tensor, model.kv_heads)
    growing = _growing_bytes(model, tokens, replica.cache.bytes_per_element) / cut
    return (growing + model.state_bytes / layout.tensor) / layout.pipeline


def weight_bytes_per_gpu(replica: Replica) -> float:
    """Weights on each GPU: attention is copied to every data rank, experts are not."""
    model, layout = replica.model, replica.layout
    size = replica.weight_format.bytes_per_element
    routed = model.moe_layers * (model.experts.count if model.experts else 0) * model.expert_params
    dense = model.params - routed - model.embedding_params
    embedding = 2.0 * model.embedding_params
    over = layout.tensor * layout.data
    cut = (dense * size + embedding) / layout.tensor + routed * size / over
    return cut / layout.pipeline


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


def default_sequences(replica: Replica) -> int:
    """Sequences that a data rank runs at once where nobody sets `max_num_seqs`.

    vLLM's default: 1,024 on devices of 70 GiB and more but A100, else 256 (`get_batch_defaults` of
    vllm/engine/arg_utils.py, since 2025-04, and pull request 17885); 256 everywhere in 2024.
    """
    accelerator = replica.accelerator
    large = accelerator.memory_gb * 1e9 >= LARGE_BYTES and not accelerator.name.startswith("A100")
    return 1024 if large and replica.stack.many_sequences else 256


def overhead_bytes_per_gpu(replica: Replica) -> float:
    """Memory of each GPU that is neither weights nor cache: driver, NCCL, the largest batch."""
    if replica.overhead_bytes_per_gpu is not None:
        return replica.overhead_bytes_per_gpu
    sampling = SAMPLING_BUFFERS * 4.0 * default_sequences(replica) * replica.model.vocabulary
    reduces = replica.layout.tensor * replica.layout.data > 1
    return CONTEXT_BYTES + (replica.stack.collective_bytes if reduces else 0.0) + sampling


def free_bytes_per_gpu(replica: Replica) -> float:
    """Memory left for the cache on each GPU, at least 0."""
    memory = replica.accelerator.memory_gb * 1e9
    taken = weight_bytes_per_gpu(replica) + overhead_bytes_per_gpu(replica)
    share = replica.memory_ratio
    left = share * (memory - taken) if replica.stack.shares_free else share * memory - taken
    return max(0.0, left)


def held_tokens(replica: Replica, prompt_tokens: Numbers, output_tokens: Numbers) -> Floats:
    """Cache one running sequence stands for: its mean progress, or all it may come to."""
    share = 1.0 if replica.stack.holds_answers else 0.5
    return floats(prompt_tokens) + share * floats(output_tokens)


def most_sequences(replica: Replica, tokens: Numbers) -> Floats:
    """Sequences of `tokens` each whose cache fits into one engine."""
    each = kv_bytes_per_gpu(replica, tokens)
    return replica.layout.data * free_bytes_per_gpu(replica) / np.maximum(each, 1.0)


def replica_kv_capacity_tokens(replica: Replica) -> float:
    """Tokens whose cache fits into one engine, as if no layer had a window or a state."""
    each = replica.model.kv_bytes_per_token(replica.cache.bytes_per_element)
    cut = (
        1
        if replica.model.latent is not None
        else min(replica.layout.tensor, replica.model.kv_heads)
    )
    per_gpu = each / cut / replica.layout.pipeline
    return replica.layout.data * free_bytes_per_gpu(replica) / per_gpu


def transfer_seconds(prompt_tokens: Numbers, kv_bytes_per_token: float, gbps: float) -> Floats:
    """Time to hand a prompt's cache over, not overlapped with anything."""
    return floats(prompt_tokens) * kv_bytes_per_token * 8 / (gbps * 1e9)


def transfer_gbps(
    prompt_tokens: float, kv_bytes_per_token: float, requests_per_second: float
) -> float:
    """Bandwidth the hand-over needs. OPT-66B, 512 tokens, 10 requests/s: 90 Gbps (DistServe)."""
    return prompt_tokens * kv_bytes_per_token * requests_per_second * 8 / 1e9


def reuse_pays_above_bytes_per_second(
    prompt_tokens: float, flops: float, hidden: int, gqa: int, element_bytes: int
) -> float:
    """Link speed above which fetching a cached prefix beats computing it (Mooncake, section 3)."""
    work = 4 * prompt_tokens * hidden + 22 * hidden**2
    return flops * 2 * hidden * element_bytes / (gqa * work)

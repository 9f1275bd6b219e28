"""One pass through a model, kernel by kernel: every operation's time under its measured ceiling.

Operations per layer and their sizes follow from the model's shape and the layout; see `phases` for
the questions to ask.
"""

from __future__ import annotations

import math
from enum import StrEnum

import numpy as np

from advisor.catalog import ceilings
from advisor.catalog.models import Format
from advisor.models.arrays import Floats
from advisor.models.collectives import (
    Wire,
    all_reduce_seconds,
    all_to_all_seconds,
    transfer_seconds,
)
from advisor.models.kernels import (
    ACTIVATION_BYTES,
    Kernel,
    attention_products,
    cache_attention,
    dense_ffn,
    grouped_experts,
    kernel_of,
    prompt_attention,
    recurrent_mixer,
)
from advisor.models.passes import Pass
from advisor.models.replica import Layout, Replica

VERSION = "steps/4"
ELEMENTWISE_BANDWIDTH_RATIO = 0.7
LATENT_KERNELS = 6
RECURRENT_KERNELS = 4  # convolution, gates, norms


class FeedForward(StrEnum):
    """What follows the mixer of a layer."""

    DENSE = "dense"
    EXPERTS = "experts"
    NONE = "none"


def reduce_seconds(replica: Replica, gpus: int, message_bytes: Floats) -> Floats:
    """All-reduce among neighbours; past the node's domain in two steps, inside and between."""
    inside, outside = replica.wires
    later = replica.stack.collective_seconds if gpus > 1 else 0.0
    if gpus <= inside.domain_gpus:
        return later + all_reduce_seconds(inside, gpus, message_bytes)
    local = inside.domain_gpus
    within = later + all_reduce_seconds(inside, local, message_bytes)
    return within + all_reduce_seconds(outside, gpus // local, message_bytes / local)


def _communication(replica: Replica, work: Pass, rows: Floats, follows: FeedForward) -> Floats:
    model, layout = replica.model, replica.layout
    message = rows * model.hidden * ACTIVATION_BYTES
    attention = reduce_seconds(replica, layout.tensor, message)
    if follows is FeedForward.NONE:
        return attention
    if follows is FeedForward.DENSE or layout.data == 1 or model.experts is None:
        return attention * (1 if layout.tensor == 1 else 2)
    copies = min(model.experts.active, layout.expert)
    return attention + _exchange_seconds(replica, work, rows / layout.tensor, copies)


def _exchange_seconds(replica: Replica, work: Pass, rows: Floats, copies: int) -> Floats:
    """Rows to their experts and back, out in FP8, back in 16 bit, as DeepEP does it.

    Past a node a prompt's row crosses the network once for each node that has an expert of its, and
    goes on over NVLink there (DeepEP's kernels for training and prefill); those for decoding, where
    a step must be short, send each copy by itself.
    """
    ranks = replica.layout.tensor * replica.layout.data
    inside, outside = replica.wires
    nodes = ranks / inside.domain_gpus
    copy_bytes = rows * replica.model.hidden
    if nodes <= 1:
        return _there_and_back(inside, ranks, copies * copy_bytes)
    direct = _there_and_back(outside, ranks, copies * copy_bytes)
    reached = nodes * (1 - (1 - 1 / nodes) ** copies)
    by_node = _there_and_back(outside, math.ceil(nodes), reached * copy_bytes)
    forwarded = _there_and_back(inside, inside.domain_gpus, copies * copy_bytes)
    return np.where(work.prompt_tokens > 0, np.maximum(by_node, forwarded), direct)


def _there_and_back(wire: Wire, gpus: int, row_bytes: Floats) -> Floats:
    return all_to_all_seconds(wire, gpus, row_bytes) + all_to_all_seconds(wire, gpus, 2 * row_bytes)


def _elementwise(replica: Replica, rows: Floats, width: float) -> Floats:
    model = replica.model
    passes = replica.stack.elementwise_passes * model.hidden + 3 * width / replica.layout.tensor
    rate = ELEMENTWISE_BANDWIDTH_RATIO * ceilings.peak_bytes_per_second(replica.accelerator)
    return rows * passes * ACTIVATION_BYTES / rate


def _small_kernels(replica: Replica) -> float:
    """Small kernels a layer; a latent is normalised, rotated, copied and split besides."""
    model = replica.model
    own = float(LATENT_KERNELS if model.latent else 0)
    if model.recurrent is not None:
        share = model.recurrent.layers / model.layers
        own = (1 - share) * own + share * RECURRENT_KERNELS
    return replica.stack.layer_kernels + own


def _mixer(replica: Replica, work: Pass, kernel: Kernel) -> Floats:
    """What mixes tokens in a layer, mean of those with attention and those with a state."""
    model = replica.model
    sequences, prompts = work.of_busiest_rank(replica.layout.data)
    b, p = work.sequences * sequences, work.prompt_tokens * prompts
    attention = (
        attention_products(replica, b + p, kernel)
        + cache_attention(replica, b, work.context_tokens)
        + prompt_attention(replica, work, prompts)
    )
    if model.recurrent is None:
        return attention
    share = model.recurrent.layers / model.layers
    return (1 - share) * attention + share * recurrent_mixer(replica, b, p, kernel)


def layer_seconds(replica: Replica, work: Pass, follows: FeedForward) -> Floats:
    """One layer on one stage's GPUs; the pass is what is in that stage."""
    model, stack = replica.model, replica.stack
    sequences, prompts = work.of_busiest_rank(replica.layout.data)
    p = work.prompt_tokens * prompts
    rows = work.sequences * sequences + p
    everything = work.sequences + work.prompt_tokens
    kernel = kernel_of(replica, _attention_format(replica))
    gpu = (
        _mixer(replica, work, kernel)
        + _communication(replica, work, rows, follows)
        + _small_kernels(replica) * stack.kernel_seconds
    )
    width = float(model.ffn_hidden) if follows is FeedForward.DENSE else 0.0
    if follows is FeedForward.EXPERTS and model.experts is not None:
        gpu = gpu + grouped_experts(
            replica, everything, kernel_of(replica, replica.weight_format, experts=True)
        )
        if replica.weight_format is Format.FP8:  # narrower ones keep their activations wide
            gpu = gpu + stack.narrow_experts_seconds
        width = float(model.experts.shared_width)
        if model.experts.width:
            gpu = gpu + kernel.product(rows, model.experts.width, model.hidden)
            gpu = gpu + kernel.product(rows, model.hidden, model.experts.width)
    gpu = gpu + dense_ffn(replica, rows, width, kernel) + _elementwise(replica, rows, width)
    host = ceilings.of(replica.accelerator).host_ratio
    floor = np.where(p > 0, stack.prefill_layer_floor_seconds, stack.layer_floor_seconds) * host
    return np.maximum(gpu, floor)


def _attention_format(replica: Replica) -> Format:
    """Mixed checkpoints (gpt-oss, Kimi, DeepSeek FP4) keep all but their experts wider."""
    if replica.model.experts is not None and replica.weight_format in {Format.FP4, Format.INT4}:
        return Format.BF16 if replica.model.format is Format.FP4 else Format.FP8
    return replica.weight_format


def stage_seconds(replica: Replica, work: Pass) -> Floats:
    """All layers one after another for one pass (or one micro-batch of it), heads included."""
    model, layout = replica.model, replica.layout
    total = np.zeros_like(work.sequences)
    kinds = (
        (model.dense_ffn_layers, FeedForward.DENSE),
        (model.moe_layers, FeedForward.EXPERTS),
        (model.bare_layers, FeedForward.NONE),
    )
    for layers, follows in kinds:
        if layers:
            total = total + layers * layer_seconds(replica, work, follows)
    sequences, prompts = work.of_busiest_rank(layout.data)
    rows = work.sequences * sequences + work.prompts * prompts
    head = kernel_of(replica, Format.BF16)
    total = total + head.product(rows, model.vocabulary / layout.tensor, model.hidden)
    if layout.pipeline > 1:
        inside, outside = replica.wires
        wire = inside if layout.gpus <= inside.domain_gpus else outside
        tokens = work.sequences * sequences + work.prompt_tokens * prompts
        message = tokens * model.hidden * ACTIVATION_BYTES
        total = total + (layout.pipeline - 1) * transfer_seconds(wire, message)
    return total


def layout_of(gpus: int) -> Layout:
    """Tensor parallelism over `gpus`, within a node of 8; more nodes are pipeline stages."""
    return Layout(tensor=min(gpus, 8), pipeline=max(1, gpus // 8))

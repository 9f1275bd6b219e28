"""Latency, throughput and least times of prefill and decode: the questions other models ask.

All functions are pure, take a `Replica` and numbers or arrays, and answer with arrays of the
broadcast shape. Times are of one engine; divide throughput by `replica.gpus` for a GPU's share.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from advisor.catalog import ceilings
from advisor.models.arrays import Floats, Numbers, floats
from advisor.models.kernels import SCAN_FLOPS
from advisor.models.kv import free_bytes_per_gpu, kv_bytes, kv_read_bytes, most_sequences
from advisor.models.passes import Pass, both, decode_pass, experts_touched, prompt_pass
from advisor.models.replica import Layout, Replica, Speculation, Stack
from advisor.models.roofline import Calibration, speed_of_light_seconds
from advisor.models.steps import stage_seconds

VERSION = "phases/4"
__all__ = [
    "Calibration",
    "Layout",
    "Replica",
    "Speculation",
    "Stack",
    "Work",
    "decode_speed_of_light_seconds",
    "decode_step_seconds",
    "decode_tokens_per_second",
    "decode_work",
    "fits",
    "mixed_step_seconds",
    "most_sequences",
    "prefill_seconds",
    "prefill_service_seconds",
    "prefill_speed_of_light_seconds",
    "prefill_work",
]


@dataclass(frozen=True, slots=True)
class Work:
    """Operations and memory traffic of a pass, of all GPUs of the engine together."""

    flops: Floats
    traffic_bytes: Floats


def fits(replica: Replica) -> bool:
    """Whether the weights leave room for any cache at all."""
    return free_bytes_per_gpu(replica) > 0


def _host_seconds(replica: Replica, sequences: Numbers) -> Floats:
    """Work of the host that no kernel hides; each data rank has a scheduler of its own."""
    stack = replica.stack
    host = ceilings.of(replica.accelerator).host_ratio if stack.layer_floor_seconds else 1.0
    several = stack.parallel_seconds if replica.gpus > 1 else 0.0
    own = floats(sequences) / replica.layout.data
    return host * (stack.step_seconds + several + stack.sequence_seconds * own)


def prefill_seconds(
    replica: Replica, prompt_tokens: Numbers, *, cached_tokens: Numbers = 0.0, prompts: Numbers = 1
) -> Floats:
    """Time of `prompts` prompts of `prompt_tokens` each, `cached_tokens` of them in the cache."""
    cached = np.minimum(floats(cached_tokens), floats(prompt_tokens) - 1)
    work = prompt_pass(replica.model, floats(prompt_tokens) - cached, cached, prompts)
    modelled = stage_seconds(replica, work) + _host_seconds(replica, prompts)
    return replica.prefill.seconds(modelled)


def prefill_service_seconds(
    replica: Replica, prompt_tokens: Numbers, *, cached_tokens: Numbers = 0.0, prompts: Numbers = 1
) -> Floats:
    """Time between two such prefills at full load: a pipeline works on as many as it has stages."""
    t = prefill_seconds(replica, prompt_tokens, cached_tokens=cached_tokens, prompts=prompts)
    return t / replica.layout.pipeline


def decode_step_seconds(replica: Replica, batch: Numbers, context_tokens: Numbers) -> Floats:
    """Mean time between two tokens of a sequence in a batch, `context_tokens` long on average.

    With speculation it is the time of a step over the tokens a step brings. A pipeline works on as
    many parts of the batch as it has stages; each part passes all of them.
    """
    b = floats(batch)
    spec, parts = replica.speculation, replica.layout.pipeline
    rows = b / parts * (1 if spec is None else 1 + spec.drafted)
    work = decode_pass(rows, context_tokens)
    t = replica.decode.seconds(stage_seconds(replica, work) + _host_seconds(replica, b))
    if spec is None:
        return t
    return t * (1 + spec.drafted * spec.draft_cost_ratio) / spec.tokens_per_step


def decode_tokens_per_second(replica: Replica, batch: Numbers, context_tokens: Numbers) -> Floats:
    """Output tokens/s of one engine that does nothing but decode."""
    return floats(batch) / decode_step_seconds(replica, batch, context_tokens)


def mixed_step_seconds(
    replica: Replica,
    batch: Numbers,
    context_tokens: Numbers,
    chunk_tokens: Numbers,
    chunk_context_tokens: Numbers = 0.0,
    *,
    chunks: Numbers = 1.0,
) -> Floats:
    """Time of a step that decodes a batch and carries `chunk_tokens` of a prompt with it.

    The chunk comes after `chunk_context_tokens` of its prompt that earlier chunks computed. Each
    data rank carries `chunks` such chunks, of prompts of their own.
    """
    parts, ranks = replica.layout.pipeline, replica.layout.data
    decoding = decode_pass(floats(batch) / parts, context_tokens)
    tokens = floats(chunk_tokens) / parts
    chunk = prompt_pass(replica.model, tokens, chunk_context_tokens, prompts=ranks * floats(chunks))
    modelled = stage_seconds(replica, both(decoding, chunk)) + _host_seconds(replica, batch)
    return replica.decode.seconds(modelled)


def decode_work(replica: Replica, batch: Numbers, context_tokens: Numbers) -> Work:
    """Least operations and traffic of one decode step: weights once, every cache once."""
    work = decode_pass(batch, context_tokens)
    cache = kv_read_bytes(replica.model, context_tokens, replica.cache.bytes_per_element)
    written = replica.model.state_bytes  # a state is read and written, a cache is read
    return _work(replica, work, floats(batch) * (cache + written))


def prefill_work(
    replica: Replica, prompt_tokens: Numbers, *, cached_tokens: Numbers = 0.0, prompts: Numbers = 1
) -> Work:
    """Least operations and traffic of a prefill: weights once, the cache written once."""
    new = floats(prompt_tokens) - floats(cached_tokens)
    work = prompt_pass(replica.model, new, cached_tokens, prompts)
    cache = kv_bytes(replica.model, prompt_tokens, replica.cache.bytes_per_element)
    return _work(replica, work, floats(prompts) * cache)


def _work(replica: Replica, work: Pass, cache_bytes: Floats) -> Work:
    model = replica.model
    tokens = work.sequences + work.prompt_tokens
    head = model.vocabulary * model.hidden
    inner = model.active_params - model.embedding_params
    top = (model.latent.top_tokens if model.latent else 0) or np.inf
    pairs = work.sequences * np.minimum(work.context_tokens, top)
    pairs = pairs + np.minimum(work.pairs, work.prompt_tokens * min(top, 1e12))
    if model.latent is None:
        each = 4 * model.heads * model.head_dim
    else:
        each = 2 * model.heads * (model.latent.nope_dim + model.latent.rope_dim)
        each += 2 * model.heads * model.latent.value_dim
    rows = work.sequences + work.prompts
    flops = 2 * tokens * inner + 2 * rows * head + model.attention_layers * pairs * each
    if model.recurrent is not None:
        state = model.recurrent
        flops = flops + SCAN_FLOPS * tokens * state.layers * state.state_elements
    size = replica.weight_format.bytes_per_element
    read = floats((inner - _routed_active(replica)) * size + 2.0 * head)
    if model.experts is not None:
        touched = experts_touched(model.experts.count, model.experts.active, tokens)
        read = read + model.moe_layers * touched * model.expert_params * size
    return Work(flops, read + cache_bytes)


def _routed_active(replica: Replica) -> float:
    model = replica.model
    active = model.experts.active if model.experts else 0
    return float(model.moe_layers * active * model.expert_params)


def decode_speed_of_light_seconds(
    replica: Replica, batch: Numbers, context_tokens: Numbers
) -> Floats:
    """Least time of one decode step on the textbook roofline."""
    work = decode_work(replica, batch, context_tokens)
    return speed_of_light_seconds(
        work.flops, work.traffic_bytes, replica.peak_flops, replica.peak_bytes_per_second
    )


def prefill_speed_of_light_seconds(
    replica: Replica, prompt_tokens: Numbers, *, cached_tokens: Numbers = 0.0, prompts: Numbers = 1
) -> Floats:
    """Least time of a prefill on the textbook roofline."""
    work = prefill_work(replica, prompt_tokens, cached_tokens=cached_tokens, prompts=prompts)
    return speed_of_light_seconds(
        work.flops, work.traffic_bytes, replica.peak_flops, replica.peak_bytes_per_second
    )

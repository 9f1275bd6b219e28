"""Times of the kernels of one layer under their measured ceilings, on one GPU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from advisor.catalog import ceilings
from advisor.catalog.models import Format
from advisor.models.arrays import Floats
from advisor.models.passes import Pass, experts_touched
from advisor.models.replica import Replica

ACTIVATION_BYTES = 2.0
INDEX_SCAN_RATIO = 0.5  # of the 16 bit peak, scores of a prompt: products in 8 bit
SCAN_FLOPS = 6  # an element of a recurrent state and token: decay, update, read


@dataclass(frozen=True, slots=True)
class Kernel:
    """Rates of one accelerator in one format."""

    ceiling: ceilings.Ceiling
    peak_flops: float
    peak_bytes_per_second: float
    weight_bytes: float
    activation_bytes: float
    launch_ratio: float

    def product(self, rows: Floats, columns: float, inner: float) -> Floats:
        """Time of `rows x inner` times `inner x columns`; 0 where there are no rows."""
        flops = 2 * rows * columns * inner
        traffic = (
            self.weight_bytes * columns * inner
            + self.activation_bytes * rows * inner
            + ACTIVATION_BYTES * rows * columns
        )
        return np.where(rows > 0, self.seconds(flops, traffic), 0.0)

    def seconds(self, flops: Floats, traffic_bytes: Floats) -> Floats:
        """Time of work of this size."""
        return self.ceiling.seconds(
            flops / self.peak_flops,
            traffic_bytes / self.peak_bytes_per_second,
            self.launch_ratio,
        )


def kernel_of(replica: Replica, stored: Format, *, experts: bool = False) -> Kernel:
    """Rates for weights stored in a format, of dense or of grouped products."""
    accelerator = replica.accelerator
    computed = ceilings.computes_in(accelerator, stored)
    ceiling = ceilings.experts if experts else ceilings.gemm
    # grouped products of narrow weights have their own table even where they are widened first
    of = stored if experts and stored is Format.FP4 else computed
    return Kernel(
        ceiling=ceiling(accelerator, of),
        peak_flops=ceilings.peak_flops(accelerator, computed),
        peak_bytes_per_second=ceilings.peak_bytes_per_second(accelerator),
        weight_bytes=stored.bytes_per_element,
        activation_bytes=min(ACTIVATION_BYTES, computed.bytes_per_element),
        # a grouped product is itself a chain of kernels: what hides a launch is in its table
        launch_ratio=1.0 if experts else replica.stack.launch_ratio,
    )


def attention_products(replica: Replica, rows: Floats, kernel: Kernel) -> Floats:
    """Projections around attention; a latent is projected down, up and absorbed."""
    model, tp = replica.model, replica.layout.tensor
    heads = model.heads / tp
    if model.latent is None:
        kv = max(model.kv_heads / tp, 1.0)
        queries = heads * (2 if model.output_gate else 1)
        qkv = kernel.product(rows, (queries + 2 * kv) * model.head_dim, model.hidden)
        return qkv + kernel.product(rows, model.hidden, heads * model.head_dim)
    m = model.latent
    down = kernel.product(rows, m.query_rank + m.kv_rank + m.rope_dim, model.hidden)
    up = kernel.product(rows, heads * (m.nope_dim + m.rope_dim), m.query_rank or model.hidden)
    absorbed = kernel.product(rows, heads * (m.nope_dim + m.value_dim), m.kv_rank)
    return down + up + absorbed + kernel.product(rows, model.hidden, heads * m.value_dim)


def recurrent_mixer(replica: Replica, b: Floats, tokens: Floats, kernel: Kernel) -> Floats:
    """One recurrent layer: its projections, a step of `b` sequences, the scan of prompt `tokens`.

    Neither depends on the context; 0 for a model without such layers.
    """
    state, accelerator = replica.model.recurrent, replica.accelerator
    rows = b + tokens
    if state is None:
        return np.zeros_like(rows)
    tp, hidden = replica.layout.tensor, replica.model.hidden
    products = kernel.product(rows, state.input_columns / tp, hidden)
    products = products + kernel.product(rows, hidden, state.output_width / tp)
    if state.extra_params:
        rank = state.extra_params / state.output_width
        products = products + kernel.product(rows, state.output_width / tp, rank)
    elements = state.state_elements / tp
    peak = ceilings.peak_flops(accelerator, Format.BF16)
    bandwidth = ceilings.peak_bytes_per_second(accelerator)
    step = ceilings.RECURRENT_STEP.seconds(
        b * elements * SCAN_FLOPS / peak,
        b * elements * 2 * state.state_bytes / bandwidth,
        replica.stack.launch_ratio,
    )
    scan = ceilings.RECURRENT_SCAN.seconds(
        tokens * elements * SCAN_FLOPS / peak,
        tokens * 4 * state.output_width / tp * ACTIVATION_BYTES / bandwidth,
    )
    return products + np.where(b > 0, step, 0.0) + np.where(tokens > 0, scan, 0.0)


def cache_attention(replica: Replica, b: Floats, context: Floats) -> Floats:
    """Attention of decode sequences over their caches, mean of full and windowed layers."""
    model, windowed = replica.model, replica.model.windowed_ratio
    if model.latent is not None and model.latent.top_tokens:
        picked = np.minimum(context, model.latent.top_tokens)
        index = _indexer(replica, b, b * context)
        return _cache_attention_over(replica, b, picked) + index
    full = _cache_attention_over(replica, b, context)
    if not model.window_tokens:
        return full
    short = _cache_attention_over(replica, b, np.minimum(context, model.window_tokens))
    return (1 - windowed) * full + windowed * short


def _indexer(replica: Replica, rows: Floats, pairs: Floats) -> Floats:
    """Scores of `rows` tokens against `pairs` cached ones in all, of which the best are picked."""
    latent, accelerator = replica.model.latent, replica.accelerator
    if latent is None or not latent.index_heads:
        return np.zeros_like(rows)
    peak = ceilings.peak_flops(accelerator, Format.BF16)
    t = ceilings.INDEXER.seconds(
        2 * pairs * latent.index_heads * latent.index_dim / peak,
        pairs * latent.index_dim / ceilings.peak_bytes_per_second(accelerator),
    )
    return np.where(rows > 0, t, 0.0)


def _cache_attention_over(replica: Replica, b: Floats, context: Floats) -> Floats:
    model, accelerator = replica.model, replica.accelerator
    heads = model.heads / replica.layout.tensor
    size = replica.cache.bytes_per_element
    if model.latent is None:
        grouped = max(model.kv_heads / replica.layout.tensor, 1.0)
        width = 2 * (grouped if replica.stack.grouped_caches else heads) * model.head_dim
        work = 4 * heads * model.head_dim
        query = 2 * heads * model.head_dim
    else:
        width = model.latent.kv_rank + model.latent.rope_dim
        work = 2 * heads * (width + model.latent.kv_rank)
        query = heads * (width + model.latent.kv_rank)
    traffic = b * (context * width * size + query * ACTIVATION_BYTES)
    peak = ceilings.peak_flops(accelerator, Format.BF16)
    family = ceilings.of(accelerator)
    own = family.latent_decode if model.latent is not None else None
    t = (own or family.decode_attention).seconds(
        b * context * work / peak,
        traffic / replica.stack.cache_bandwidth_ratio / ceilings.peak_bytes_per_second(accelerator),
        replica.stack.launch_ratio,
    )
    return np.where(b > 0, t, 0.0)


def prompt_attention(replica: Replica, work: Pass, share: Floats) -> Floats:
    """Causal attention of a share of a pass's prompts: those of one data rank."""
    model, accelerator = replica.model, replica.accelerator
    heads = model.heads / replica.layout.tensor
    if model.latent is None:
        each, kv = 4 * heads * model.head_dim, max(model.kv_heads / replica.layout.tensor, 1.0)
        width = 2 * (heads + kv) * model.head_dim
    else:
        m = model.latent
        each = 2 * heads * (m.nope_dim + m.rope_dim + m.value_dim)
        width = 2 * heads * (m.nope_dim + m.rope_dim + m.value_dim)
    tokens, pairs = work.prompt_tokens * share, work.pairs
    if model.window_tokens:
        windowed = model.windowed_ratio
        pairs = (1 - windowed) * work.pairs + windowed * work.windowed_pairs
    index = np.zeros_like(tokens)
    if model.latent is not None and model.latent.top_tokens:
        pairs = np.minimum(pairs, work.prompt_tokens * model.latent.top_tokens)
        scores = work.pairs * share * 2 * model.latent.index_heads * model.latent.index_dim
        index = scores / (INDEX_SCAN_RATIO * ceilings.peak_flops(accelerator, Format.BF16))
    peak = ceilings.peak_flops(accelerator, Format.BF16)
    family = ceilings.of(accelerator)
    own = family.latent_prefill if model.latent is not None else None
    t = (own or family.prefill_attention).seconds(
        pairs * share * each / peak,
        tokens * width * ACTIVATION_BYTES / ceilings.peak_bytes_per_second(accelerator),
    )
    return np.where(tokens > 0, t + index, 0.0)


def dense_ffn(replica: Replica, rows: Floats, width: float, kernel: Kernel) -> Floats:
    """A feed-forward of hidden width `width`; 0 without one."""
    if width <= 0:
        return np.zeros_like(rows)
    hidden, cut = replica.model.hidden, width / replica.layout.tensor
    up = kernel.product(rows, (replica.model.ffn_matrices - 1) * cut, hidden)
    return up + kernel.product(rows, hidden, cut)


def grouped_experts(replica: Replica, all_tokens: Floats, kernel: Kernel) -> Floats:
    """Grouped products of the busiest GPU, for the tokens of all data ranks."""
    model, layout = replica.model, replica.layout
    if model.experts is None:
        return np.zeros_like(all_tokens)
    e = model.experts
    width = e.width or model.hidden
    cut = e.hidden / (layout.tensor * layout.data / layout.expert)
    touched = experts_touched(e.count, e.active, all_tokens) / layout.expert
    rows = all_tokens * e.active / layout.expert
    busiest = layout.expert**ceilings.EXPERT_SKEW
    mats = model.ffn_matrices
    flops = 2 * rows * busiest * mats * width * cut
    traffic = touched * mats * width * cut * kernel.weight_bytes + rows * (
        2 * width * kernel.activation_bytes + mats * cut * ACTIVATION_BYTES
    )
    return np.where(all_tokens > 0, kernel.seconds(flops, traffic), 0.0)

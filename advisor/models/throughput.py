"""Tokens per second of a served model on an accelerator, from its shape and measured ceilings.

One engine, prefill and decode together, as many sequences as its KV cache holds: a request costs
one prefill and its share of every decode step. Both are the roofline derated by what serving
engines reach (`serving_*_ratio` of the catalogue), plus collectives. Against 110 published runs of
dense models (TensorRT-LLM 1.0: 8B to 405B on H100, H200, B200, GB200, RTX PRO 6000, prompts of 128
to 20,000 tokens) the mean error is 6 %, the worst 22 %; against 18 MLPerf results that (but for
one number an accelerator where nothing else is published) were not fitted, 13 % and 48 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from advisor.catalog.accelerators import Accelerator
from advisor.catalog.fabric import SAME_LINK, CollectiveFit, Op
from advisor.catalog.files import Source
from advisor.models import network
from advisor.models.interval import Interval
from advisor.models.llm import Model, prefill_flops

VERSION = "throughput/1"
MEMORY_RATIO = 0.9  # engines' default share of memory
RESERVE_BYTES_PER_DEVICE = 3.5e9  # AIC's "other_mem"
STEP_OVERHEAD_SECONDS = 2e-3  # launch and scheduling, fitted
ATTENTION_RATIO = 0.5  # of bf16 peak that prefill attention reaches, fitted
ADMITTED_OUTPUT_SHARE = 0.75  # of its output that a sequence holds cache for on average, fitted
PREFILL_CHUNK_TOKENS = 8192.0
EXPERT_RATIO = 0.6  # of the rate its shape says; fitted to Qwen3-235B and DeepSeek-R1, 30 runs
EXPERT_ERROR = 0.5
MOST_BATCH = 2048  # sequences; of a mixture of experts on each device (attention data-parallel)
STAGE_COST = 0.155  # time a further pipeline stage adds (bubbles); fitted to RTX PRO 6000, 30 runs
P99_RATIO = 0.6  # mean time between tokens that holds a limit at p99; fitted to MLPerf interactive
UNTESTED_ERROR = 0.4  # where few published runs test the model: objectives, pipelines
SLOW_LINK_GB_S = 64.0  # PCIe 5.0: below it engines split by layers (pipeline), not by tensors


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is served. `bytes_per_weight` None: as the model was published."""

    model: Model
    prompt_tokens: float
    output_tokens: float
    bytes_per_weight: float | None = None
    prefix_hit_ratio: float = 0.0
    tpot_limit_seconds: float | None = None
    most_batch: float = MOST_BATCH

    @property
    def width_bytes(self) -> float:
        """Bytes of one weight."""
        return self.bytes_per_weight or self.model.weight_bytes_per_param

    @property
    def weight_bytes(self) -> float:
        """Bytes of all weights."""
        return self.model.params * self.width_bytes

    @property
    def kv_bytes_per_token(self) -> float:
        """Cache of a token: 8 bit beside weights of 8 bits or fewer, else 16."""
        return self.model.kv_bytes_per_token(1.0 if self.width_bytes <= 1 else 2.0)

    @property
    def valid(self) -> bool:
        """Whether the numbers can be true."""
        lengths = (self.prompt_tokens, self.output_tokens, self.most_batch)
        return all(math.isfinite(v) and v > 0 for v in lengths) and 0 <= self.prefix_hit_ratio < 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What one engine on `devices` accelerators gives at its best batch."""

    devices: int
    batch: float
    tokens_per_second_per_device: Interval
    tpot_seconds: float
    prefill_seconds: float
    prefill_share: float  # of the time
    bandwidth_bound: bool  # decode reads longer than it computes
    capacity_tokens: float


def cache_tokens(job: Job, accelerator: Accelerator, devices: int) -> float:
    """Tokens whose cache fits beside the weights on `devices`, never below 0."""
    free = (accelerator.memory_gb * 1e9 * MEMORY_RATIO - RESERVE_BYTES_PER_DEVICE) * devices
    return max(0.0, (free - job.weight_bytes) / job.kv_bytes_per_token)


def least_devices(job: Job, accelerator: Accelerator) -> int | None:
    """Fewest devices (a power of two) holding the weights and four sequences.

    None when not even the accelerator's scale-up domain does.
    """
    needed = 4 * (job.prompt_tokens + job.output_tokens)
    devices = 1
    while devices <= accelerator.scale_up_devices:
        if cache_tokens(job, accelerator, devices) >= needed:
            return devices
        devices *= 2
    return None


def rate(job: Job, accelerator: Accelerator, devices: int) -> Rate | None:
    """Rate at the largest batch that fits memory and TPOT limit.

    None: nobody measured what the accelerator reaches ("unverified"), nothing fits, or the limit
    cannot be held even by one sequence.
    """
    engine = _engine(job, accelerator, devices)
    if engine is None or not job.valid:
        return None
    capacity = cache_tokens(job, accelerator, devices)
    held = job.prompt_tokens + ADMITTED_OUTPUT_SHARE * job.output_tokens
    batch = min(job.most_batch * (devices if engine.mixture else 1), capacity / held)
    limit = None if job.tpot_limit_seconds is None else job.tpot_limit_seconds * P99_RATIO
    if batch < 1 or (limit is not None and engine.tpot_seconds(1) > limit):
        return None
    if limit is not None:
        batch = _largest(engine, batch, limit)
    tpot = engine.tpot_seconds(batch)
    reached = (EXPERT_RATIO if engine.mixture else 1.0) / (1 + STAGE_COST * (engine.stages - 1))
    mid = batch / tpot / devices * reached
    doubts = (
        accelerator.serving_error_ratio or UNTESTED_ERROR,
        EXPERT_ERROR if engine.mixture else 0.0,
        UNTESTED_ERROR if engine.stages > 1 or limit is not None else 0.0,
    )
    error = max(doubts)
    return Rate(
        devices=devices,
        batch=batch,
        tokens_per_second_per_device=Interval(
            low=mid / (1 + error), mid=mid, high=mid * (1 + error)
        ),
        tpot_seconds=tpot / reached,
        prefill_seconds=engine.prefill_seconds,
        prefill_share=min(1.0, batch * engine.prefill_seconds / job.output_tokens / tpot),
        bandwidth_bound=engine.read_seconds(batch) > engine.compute_seconds(batch),
        capacity_tokens=capacity,
    )


def best_rate(job: Job, accelerator: Accelerator) -> Rate | None:
    """The rate on the number of devices that gives most tokens per device."""
    least = least_devices(job, accelerator)
    if least is None:
        return None
    counts = [n for n in (least, 2 * least, 4 * least) if n <= accelerator.scale_up_devices]
    found = [r for n in counts if (r := rate(job, accelerator, n)) is not None]
    return max(found, key=lambda r: r.tokens_per_second_per_device.mid, default=None)


def _largest(engine: _Engine, batch: float, limit_seconds: float) -> float:
    low, high = 1.0, batch
    if engine.tpot_seconds(high) <= limit_seconds:
        return high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if engine.tpot_seconds(middle) <= limit_seconds else (low, middle)
        )
    return low


@dataclass(frozen=True, slots=True, kw_only=True)
class _Engine:
    """Times of one engine; `fit` None: split by layers, nothing to reduce."""

    job: Job
    flops: float
    attention_flops: float
    bytes_per_second: float
    fit: CollectiveFit | None
    stages: int
    mixture: bool

    @property
    def prefill_seconds(self) -> float:
        """One prompt, less what the prefix cache holds."""
        model, tokens = self.job.model, self.job.prompt_tokens * (1 - self.job.prefix_hit_ratio)
        linear = 2 * model.active_params * tokens
        attention = prefill_flops(model, self.job.prompt_tokens) - (
            2 * model.active_params * self.job.prompt_tokens
        )
        attention *= 1 - self.job.prefix_hit_ratio**2
        chunk = self._reduce_seconds(PREFILL_CHUNK_TOKENS) * tokens / PREFILL_CHUNK_TOKENS
        return linear / self.flops + attention / self.attention_flops + chunk

    def read_seconds(self, batch: float) -> float:
        """Reading weights (of a mixture: of the experts in use) and every sequence's cache."""
        share = self.job.model.active_params / self.job.model.params
        touched = share + (1 - share) * (1 - math.pow(1 - share, batch))
        context = self.job.prompt_tokens + self.job.output_tokens / 2
        cache = batch * context * self.job.kv_bytes_per_token
        return (self.job.weight_bytes * touched + cache) / self.bytes_per_second

    def compute_seconds(self, batch: float) -> float:
        """Matrix work of a step; latent attention computes for each token of the context too."""
        model = self.job.model
        context = self.job.prompt_tokens + self.job.output_tokens / 2
        latent = 4 * model.layers * model.kv_heads * model.latent_dim * context
        work = 2 * model.active_params / self.flops + latent / self.attention_flops
        return batch * work

    def _reduce_seconds(self, tokens: float) -> float:
        if self.fit is None:
            return 0.0
        model = self.job.model
        seconds = network.tensor_parallel_seconds(
            self.fit, layers=model.layers, hidden=model.hidden, tokens=tokens
        )
        return float(seconds)

    def tpot_seconds(self, batch: float) -> float:
        """Time between a sequence's tokens: a step, and the prefills that come between."""
        step = STEP_OVERHEAD_SECONDS + self.read_seconds(batch) + self.compute_seconds(batch)
        stalled = batch * self.prefill_seconds / self.job.output_tokens
        return step + self._reduce_seconds(batch) + stalled


def _engine(job: Job, accelerator: Accelerator, devices: int) -> _Engine | None:
    compute, bandwidth = accelerator.serving_compute_ratio, accelerator.serving_bandwidth_ratio
    peak, bf16 = accelerator.tflops(job.width_bytes), accelerator.bf16_tflops
    if not (compute and bandwidth and peak and accelerator.bandwidth_tb_s):
        return None
    fit = tensor_fit(accelerator, devices)
    return _Engine(
        job=job,
        flops=peak * compute * devices * 1e12,
        attention_flops=(bf16 or peak / 2) * ATTENTION_RATIO * devices * 1e12,
        bytes_per_second=accelerator.bandwidth_tb_s * bandwidth * devices * 1e12,
        fit=fit,
        stages=devices if fit is None else 1,
        mixture=job.model.active_params < job.model.params,
    )


def tensor_fit(accelerator: Accelerator, devices: int) -> CollectiveFit | None:
    """How tensor parallelism reduces here; None for one device or a link too slow for it.

    A link nobody measured collectives on is taken at half of its rate, with NCCL's start of 20 us.
    """
    link = accelerator.link_gb_s
    if devices < network.FEWEST_RANKS or link is None or link <= SLOW_LINK_GB_S:
        return None
    system = SAME_LINK.get(accelerator.name, accelerator.name)
    found = network.best_known(system, Op.ALL_REDUCE, devices)
    if found is not None:
        return replace(found, ranks=devices)
    return CollectiveFit(
        system=accelerator.name,
        op=Op.ALL_REDUCE,
        ranks=devices,
        start_seconds=20e-6,
        bus_bytes_per_second=link * 0.5e9,
        ramp_seconds_per_sqrt_byte=6e-9,
        source=Source(title="assumed: half of the link's rate", as_of="2026-11"),
    )

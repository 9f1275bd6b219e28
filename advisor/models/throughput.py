"""Tokens per second of a served model on an accelerator at its best batch, and what limits it.

One engine, prefill and decode together, as many sequences as its KV cache holds: a request costs
one prefill and its share of every decode step. Times are those of `phases` (kernels under measured
ceilings), times `serving_ratio` of the catalogue: what whole engines reached over what their
kernels say. Where that ratio was never published the answer is None, "unverified".

Against 140 published runs of dense models (TensorRT-LLM 1.0: 8B to 405B on H100, H200, B200, GB200,
RTX PRO 6000, prompts of 128 to 20,000 tokens), 27 of a mixture of experts and 17 MLPerf results the
errors are in `docs/models/throughput.md` and held by tests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from advisor.catalog import ceilings
from advisor.catalog.accelerators import Accelerator
from advisor.catalog.models import Format, Model
from advisor.models import kv, phases
from advisor.models.arrays import Floats
from advisor.models.closed_loop import CHUNK_TOKENS
from advisor.models.interval import Interval
from advisor.models.replica import BALANCED_RANKS, MODERN, Layout, Replica, Stack

VERSION = "throughput/7"
MOST_BATCH = 2048  # sequences; of a mixture of experts on each device (attention data-parallel)
LEAST_SEQUENCES = 4
EXPERT_ERROR = 0.5
# Time a further pipeline stage adds to decoding, whose parts of a batch wait for one another;
# prompts follow without gaps. Fitted to 30 runs of 70B on RTX PRO 6000; 405B over 8 is 15 % off
STAGE_COST = 0.1
P99_RATIO = 0.6  # mean time between tokens that holds a limit at p99; fitted to MLPerf interactive
UNTESTED_ERROR = 0.4  # where few published runs test the model: objectives, pipelines
SLOW_LINK_GB_S = 64.0  # PCIe 5.0: up to it engines split by layers (pipeline), not by tensors
BATCHES = 64  # steps between one sequence and the largest batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is served. `weights` None: as the model was published."""

    model: Model
    prompt_tokens: float
    output_tokens: float
    weights: Format | None = None
    prefix_hit_ratio: float = 0.0
    tpot_limit_seconds: float | None = None
    most_batch: float = MOST_BATCH
    stack: Stack | None = None  # None: that of the runs behind `serving_ratio`

    def cache_on(self, accelerator: Accelerator) -> Format:
        """Format of the cache: 8 bit beside weights of 8 bits or fewer, else 16.

        With attention sinks it is 16 before Blackwell (TensorRT-LLM's guide to gpt-oss).
        """
        narrow = (self.weights or self.model.format).bytes_per_element <= 1
        sinks = self.model.attention_sinks and not accelerator.fp4_tflops
        return Format.FP8 if narrow and not sinks else Format.BF16

    @property
    def mixture(self) -> bool:
        """Whether the model is a mixture of experts."""
        return self.model.experts is not None

    @property
    def valid(self) -> bool:
        """Whether the numbers can be true."""
        lengths = (self.prompt_tokens, self.output_tokens, self.most_batch)
        return all(math.isfinite(v) and v > 0 for v in lengths) and 0 <= self.prefix_hit_ratio < 1

    @property
    def context_tokens(self) -> float:
        """Mean length of a running sequence while it is decoded."""
        return self.prompt_tokens + self.output_tokens / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What one engine on `layout.gpus` accelerators gives at its best batch."""

    layout: Layout
    batch: float
    tokens_per_second_per_device: Interval
    tpot_seconds: float
    prefill_seconds: float  # of one prompt, computed with others
    prefill_share: float  # of the time
    bandwidth_bound: bool  # decode reads longer than it computes
    capacity_sequences: float

    @property
    def devices(self) -> int:
        """Accelerators of the engine."""
        return self.layout.gpus


def layout(job: Job, accelerator: Accelerator, devices: int) -> Layout:
    """How an engine is spread: by layers over PCIe, experts whole where there are any, else TP."""
    if (accelerator.link_gb_s or 0.0) <= SLOW_LINK_GB_S:
        return Layout(pipeline=devices)
    return Layout(data=devices, expert=devices) if job.mixture else Layout(tensor=devices)


def replica(job: Job, accelerator: Accelerator, devices: int) -> Replica:
    """The engine of a job on `devices` accelerators; untold TensorRT-LLM on CUDA, else vLLM."""
    return Replica(
        model=job.model,
        accelerator=accelerator,
        layout=layout(job, accelerator, devices),
        weights=job.weights,
        cache=job.cache_on(accelerator),
        stack=job.stack or (BALANCED_RANKS if accelerator.stack == "CUDA" else MODERN),
    )


def least_devices(job: Job, accelerator: Accelerator) -> int | None:
    """Fewest devices (a power of two) holding the weights and four sequences.

    None when not even the accelerator's scale-up domain does.
    """
    devices, tokens = 1, job.prompt_tokens + job.output_tokens
    while devices <= accelerator.scale_up_devices:
        if phases.most_sequences(replica(job, accelerator, devices), tokens) >= LEAST_SEQUENCES:
            return devices
        devices *= 2
    return None


def rate(job: Job, accelerator: Accelerator, devices: int) -> Rate | None:
    """Rate at the largest batch that fits memory and TPOT limit.

    None: nobody published what engines reach on the accelerator ("unverified"), nothing fits, or
    the limit cannot be held even by one sequence.
    """
    engine = replica(job, accelerator, devices)
    reached = reached_ratio(engine)
    if reached is None or not job.valid:
        return None
    capacity = capacity_sequences(job, engine)
    most = min(job.most_batch * (devices if job.mixture else 1), capacity)
    if most < 1:
        return None
    stages = engine.layout.pipeline - 1
    prefill = prefill_seconds(job, engine) / reached
    batches = np.geomspace(1.0, most, BATCHES)
    steps = _steps(job, engine, batches) / reached * (1 + STAGE_COST * stages)
    tpot = steps + batches * prefill / job.output_tokens
    limit = job.tpot_limit_seconds
    fine = tpot <= (math.inf if limit is None else limit * P99_RATIO)
    if not fine[0]:
        return None
    best = int(np.flatnonzero(fine)[-1])
    batch, seconds = float(batches[best]), float(tpot[best])
    mid, error = batch / seconds / devices, _error(job, accelerator, engine)
    return Rate(
        layout=engine.layout,
        batch=batch,
        tokens_per_second_per_device=Interval(
            low=mid / (1 + error), mid=mid, high=mid * (1 + error)
        ),
        tpot_seconds=seconds,
        prefill_seconds=prefill,
        prefill_share=min(1.0, batch * prefill / job.output_tokens / seconds),
        bandwidth_bound=_bandwidth_bound(job, engine, batch),
        capacity_sequences=capacity,
    )


def reached_ratio(engine: Replica) -> float | None:
    """Speed of a whole engine over what its kernels say; None: nobody published."""
    ratio, stack = engine.accelerator.serving_ratio, engine.stack
    if ratio is None or engine.accelerator.bandwidth_tb_s is None:
        return None
    if engine.model.experts is None or engine.gpus == 1:
        return ratio
    latent = engine.model.latent is not None
    return ratio * (stack.latent_experts_ratio if latent else stack.spread_experts_ratio)


def engine_devices(job: Job, accelerator: Accelerator) -> tuple[int, ...]:
    """Numbers of devices an engine is tried on; empty where nothing fits."""
    least = least_devices(job, accelerator) if job.valid else None
    if least is None:
        return ()
    return tuple(n for n in (least, 2 * least, 4 * least) if n <= accelerator.scale_up_devices)


def best_rate(job: Job, accelerator: Accelerator) -> Rate | None:
    """The rate on the number of devices that gives most tokens per device."""
    counts = engine_devices(job, accelerator)
    found = [r for n in counts if (r := rate(job, accelerator, n)) is not None]
    return max(found, key=lambda r: r.tokens_per_second_per_device.mid, default=None)


def capacity_sequences(job: Job, engine: Replica) -> float:
    """Sequences whose cache fits into the engine."""
    held = kv.held_tokens(engine, job.prompt_tokens, job.output_tokens)
    return float(phases.most_sequences(engine, held))


def prefill_seconds(job: Job, engine: Replica) -> float:
    """One prompt's share of a pass of several on each data rank, less what is in the cache."""
    together = max(1.0, math.floor(CHUNK_TOKENS / job.prompt_tokens)) * engine.layout.data
    cached = job.prompt_tokens * job.prefix_hit_ratio
    seconds = phases.prefill_service_seconds(
        engine, job.prompt_tokens, cached_tokens=cached, prompts=together
    )
    return float(seconds) / together


def _steps(job: Job, engine: Replica, batches: Floats) -> Floats:
    return phases.decode_step_seconds(engine, batches, job.context_tokens)


def _error(job: Job, accelerator: Accelerator, engine: Replica) -> float:
    few = engine.layout.pipeline > 1 or job.tpot_limit_seconds is not None
    return max(
        accelerator.serving_error_ratio or UNTESTED_ERROR,
        EXPERT_ERROR if job.mixture else 0.0,
        UNTESTED_ERROR if few else 0.0,
    )


def _bandwidth_bound(job: Job, engine: Replica, batch: float) -> bool:
    work = phases.decode_work(engine, batch, job.context_tokens)
    reading = float(work.traffic_bytes) / engine.peak_bytes_per_second
    computing = float(work.flops) / ceilings.peak_flops(engine.accelerator, engine.computed_format)
    return reading > computing / engine.gpus

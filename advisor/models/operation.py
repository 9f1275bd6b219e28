"""One engine with so many requests in flight: what a benchmark of it reports, side by side.

Times are of the closed loop (`closed_loop`: a request follows as one ends) and of a fixed batch
(all begin together and run to their end, as in latency benchmarks). How far off each was against
published measurements is in `docs/models/latency.md`; `within` makes an interval of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from advisor.catalog.models import Model
from advisor.models import closed_loop, phases
from advisor.models.arrays import Floats, Numbers, floats
from advisor.models.interval import Interval
from advisor.models.kv import most_sequences
from advisor.models.replica import Replica

VERSION = "operation/1"
# 90 % of the measured times per token lie within these factors of the model's, by kind of model;
# of first tokens and of power likewise (docs/models/latency.md, Latency and Energy)
TPOT_ERROR = {"dense": 0.25, "experts": 0.38, "hybrid": 0.30}
TTFT_ERROR = 0.9
POWER_ERROR = 0.24


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Arrays of one shape, an entry for each number of requests in flight.

    `tokens_per_second` counts output tokens of the engine, `gpu_watts` one GPU, `joules_per_token`
    all GPUs of the engine and no servers. `bandwidth_ratio` and `compute_ratio` are shares of peak
    in a decode step, `cache_ratio` of the KV cache.
    """

    requests: Floats
    running: Floats
    ttft_seconds: Floats
    tpot_seconds: Floats
    tokens_per_second: Floats
    gpu_watts: Floats
    joules_per_token: Floats
    batch_seconds: Floats
    bandwidth_ratio: Floats
    compute_ratio: Floats
    cache_ratio: Floats


def operate(
    replica: Replica,
    requests: Numbers,
    prompt_tokens: float,
    output_tokens: float,
    cached_tokens: float = 0.0,
) -> Operation:
    """The engine at each number of requests in flight, all with these tokens.

    `cached_tokens` of each prompt are in the prefix cache, in the closed loop; in a fixed batch
    none are. Power and energy are NaN where the accelerator's power is not known.

    Raises:
        ValueError: the weights leave no room for a cache.
    """
    if not phases.fits(replica):
        raise ValueError(f"{replica.model.name} does not fit {replica.layout}")
    asked = np.atleast_1d(floats(requests))
    context = prompt_tokens + output_tokens / 2
    running = closed_loop.running_sequences(replica, asked, prompt_tokens, output_tokens)
    step = phases.decode_step_seconds(replica, running, context)
    work = phases.decode_work(replica, running, context)
    loop = (replica, asked, prompt_tokens, output_tokens)
    rate = closed_loop.tokens_per_second(*loop, cached_tokens=cached_tokens)
    watts = np.full(asked.shape, np.nan)
    if replica.accelerator.power_w is not None:
        watts = closed_loop.power_watts(*loop, cached_tokens=cached_tokens)
    return Operation(
        requests=asked,
        running=running,
        ttft_seconds=closed_loop.ttft_seconds(*loop, cached_tokens=cached_tokens),
        tpot_seconds=closed_loop.tpot_seconds(*loop, cached_tokens=cached_tokens),
        tokens_per_second=rate,
        gpu_watts=watts / replica.gpus,
        joules_per_token=watts / rate,
        batch_seconds=batch_seconds(replica, asked, prompt_tokens, output_tokens),
        bandwidth_ratio=work.traffic_bytes / step / replica.peak_bytes_per_second,
        compute_ratio=work.flops / step / replica.peak_flops,
        cache_ratio=running / np.maximum(1.0, most_sequences(replica, context)),
    )


def batch_prefill_seconds(replica: Replica, batch: Numbers, prompt_tokens: float) -> Floats:
    """Prompts that begin together, as many at a time as a step takes."""
    size = floats(batch)
    at_once = np.clip(closed_loop.CHUNK_TOKENS // prompt_tokens, 1, size)
    each: Floats = phases.prefill_seconds(replica, prompt_tokens, prompts=at_once) / at_once
    return size * each


def batch_seconds(
    replica: Replica, batch: Numbers, prompt_tokens: float, output_tokens: float
) -> Floats:
    """A fixed batch from its prompts to its last tokens; infinite where the cache is too small."""
    size = floats(batch)
    step = phases.decode_step_seconds(replica, size, prompt_tokens + output_tokens / 2)
    whole = batch_prefill_seconds(replica, size, prompt_tokens) + (output_tokens - 1) * step
    room = most_sequences(replica, prompt_tokens + output_tokens)
    return np.where(size <= room, whole, np.inf)


def kind_of(model: Model) -> str:
    """Dense, experts or hybrid: errors differ by it."""
    if model.recurrent is not None:
        return "hybrid"
    return "experts" if model.experts is not None else "dense"


def within(value: float, error_ratio: float) -> Interval:
    """The value with 90 % of what was measured around it."""
    return Interval(low=value / (1 + error_ratio), mid=value, high=value * (1 + error_ratio))

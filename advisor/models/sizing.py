"""Engines, GPUs, cache, latency and money for a rate of queries: the answer to "how many?".

An engine's slots (sequences it can run) are servers of a queue: they are staffed by the square
root of the load, with the burstiness that arrivals have and with N samples arriving together.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass

from advisor.models import concurrency, queueing
from advisor.models.concurrency import Ceiling, Engine, Limit
from advisor.models.traffic import Traffic

VERSION = "sizing/3"
QUANTILES = (0.50, 0.95, 0.99)


@dataclass(frozen=True, slots=True, kw_only=True)
class Objectives:
    """What must hold. `waiting_share` of arrivals may find no free slot."""

    tpot_seconds: float = math.inf
    waiting_share: float = 0.05
    most_load_ratio: float = 0.8  # of what the engines carry


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What serves the queries, at what price, and how they arrive."""

    engine: Engine
    usd_per_gpu_hour: float
    objectives: Objectives = Objectives()
    arrival_cv: float = 1.0  # of the times between queries; 1 is Poisson


@dataclass(frozen=True, slots=True, kw_only=True)
class AtQuantile:
    """One query among many, by length: the median one, the one in twenty, the one in a hundred."""

    quantile: float
    tokens: float
    seconds: float  # from admission to the last token of its longest sample
    usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """What a rate of queries takes; 0 engines for no traffic."""

    queries_per_second: float
    engines: int
    gpus: int
    load_ratio: float
    sequences: float  # running at once over all engines, on average
    tpot_seconds: float
    kv_tokens: float  # on average
    kv_tokens_p99: float
    kv_ratio: float  # average over capacity
    oversized_share: float  # queries that alone are larger than an engine's cache
    limit: Limit
    usd_per_hour: float
    usd_per_query: float
    by_quantile: tuple[AtQuantile, ...]


def size(queries_per_second: float, mix: Traffic, service: Service) -> Sizing | None:
    """Fewest engines that carry the rate within the objectives; None when no number does.

    The rate is the one to carry: of the busiest minutes, not the mean of a day.
    """
    engine, objectives = service.engine, service.objectives
    if queries_per_second < 0 or not math.isfinite(queries_per_second):
        raise ValueError(f"queries_per_second={queries_per_second:g}: need finite, not below 0")
    top = concurrency.ceiling(engine, mix, objectives.tpot_seconds)
    if top.sequences <= 0:
        return None
    if queries_per_second == 0:
        return _nothing(top)
    engines = engines_needed(queries_per_second, mix, service, top)
    each = queries_per_second / engines
    state = concurrency.steady_state(engine, mix, each, top.sequences)
    if state is None:  # unreachable while most_load_ratio <= 1
        return None
    usd_per_hour = engines * engine.gpus * service.usd_per_gpu_hour
    running = state.sequences * engines
    peak = _dispersion(mix, service.arrival_cv)
    kv_p99 = (running + 2.326 * math.sqrt(running * peak)) * mix.kv_tokens_per_sequence
    return Sizing(
        queries_per_second=queries_per_second,
        engines=engines,
        gpus=engines * engine.gpus,
        load_ratio=each / top.queries_per_second,
        sequences=running,
        tpot_seconds=state.tpot_seconds,
        kv_tokens=running * mix.kv_tokens_per_sequence,
        kv_tokens_p99=min(kv_p99, engines * engine.kv_capacity_tokens),
        kv_ratio=state.kv_tokens / engine.kv_capacity_tokens,
        oversized_share=1 - float(mix.total.cdf(engine.kv_capacity_tokens - mix.prompt_tokens)),
        limit=top.limit,
        usd_per_hour=usd_per_hour,
        usd_per_query=usd_per_hour / 3600 / queries_per_second,
        by_quantile=_by_quantile(mix, engine, state, usd_per_hour / 3600 / engines),
    )


def gpus_for_tokens(
    tokens_per_second: float, tokens_per_second_per_gpu: float, most_load_ratio: float = 1.0
) -> int:
    """GPUs for a token rate at a measured rate of one: `ceil(lambda*E[T] / (rho*tput))`.

    R1's day: 34.2k tokens/s at 2,324 a B200 (MLPerf v5.1 Server) are 15 GPUs, its peak 40.

    Raises:
        ValueError: a rate is negative, or a GPU makes nothing.
    """
    made = tokens_per_second_per_gpu * most_load_ratio
    if tokens_per_second < 0 or made <= 0:
        raise ValueError(f"tokens_per_second={tokens_per_second:g}, of one GPU {made:g}: need > 0")
    return math.ceil(tokens_per_second / made - 1e-9)


def engines_needed(queries_per_second: float, mix: Traffic, service: Service, top: Ceiling) -> int:
    """The larger of what the load and what the waiting share ask for; `top` is an engine's ceiling.

    Where nothing is decoded there are no slots to wait for.
    """
    objectives = service.objectives
    by_load = queries_per_second / (objectives.most_load_ratio * top.queries_per_second)
    least = max(1, math.ceil(by_load - 1e-9))
    if mix.decode_steps_per_query == 0:
        return least
    slots_busy = queries_per_second / top.queries_per_second * top.sequences
    together = math.sqrt(mix.samples_per_query) * service.arrival_cv  # N samples arrive at once
    needed = queueing.square_root_staffing(
        slots_busy, objectives.waiting_share, together, mix.service_cv
    )

    def has_slots(engines: int) -> bool:
        rate = queries_per_second / engines
        of_one = concurrency.slots(service.engine, mix, rate, objectives.tpot_seconds)
        return engines * of_one >= needed - 1e-9

    return bisect_left(range(max(least, needed) + 1), x=True, lo=least, key=has_slots)


def _dispersion(mix: Traffic, arrival_cv: float) -> float:
    """Variance over mean of the number of running sequences."""
    together = mix.samples_per_query * arrival_cv**2
    return (together + mix.service_cv**2) / (1 + mix.service_cv**2)


def _by_quantile(
    mix: Traffic, engine: Engine, state: concurrency.SteadyState, usd_per_second: float
) -> tuple[AtQuantile, ...]:
    """What a query costs by its length: its prompt and its steps, idle time spread over both."""
    prefill = engine.prefill_seconds(mix.computed_prompt_tokens)
    first = (engine.first_token_seconds or engine.prefill_seconds)(mix.computed_prompt_tokens)
    together = max(1.0, state.sequences)
    step = engine.step_seconds(together, mix.context_tokens) / together
    busy = prefill + mix.decode_steps_per_query * step

    def usd(tokens: float) -> float:
        own = prefill + max(0.0, tokens - mix.samples_per_query) * step
        share = own / busy if busy > 0 else 1.0
        return usd_per_second / state.queries_per_second * share

    return tuple(
        AtQuantile(
            quantile=q,
            tokens=mix.total.quantile(q),
            seconds=first + max(0.0, mix.longest.quantile(q) - 1) * state.tpot_seconds,
            usd=usd(mix.total.quantile(q)),
        )
        for q in QUANTILES
    )


def _nothing(top: Ceiling) -> Sizing:
    return Sizing(
        queries_per_second=0.0,
        engines=0,
        gpus=0,
        load_ratio=0.0,
        sequences=0.0,
        tpot_seconds=0.0,
        kv_tokens=0.0,
        kv_tokens_p99=0.0,
        kv_ratio=0.0,
        oversized_share=0.0,
        limit=top.limit,
        usd_per_hour=0.0,
        usd_per_query=0.0,
        by_quantile=(),
    )

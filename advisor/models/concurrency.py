"""How many sequences run at once, how fast, and what stops an engine from taking more.

Little's law with a step time that depends on the answer: `L = lambda * N * E[T-1] * tpot(L)`, as
the first of a sample's T tokens comes out of the prefill. With arrivals of lambda queries/s, each
costing `p` seconds of prefill, decode has `1 - lambda*p` of the time, so that
`tpot = step(L) / (1 - lambda*p)` and a batch of L carries
`lambda = L / (N * E[T-1] * step(L) + L * p)`: no iteration is needed to see what a batch carries.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

import numpy as np

from advisor.models import phases
from advisor.models.arrays import Numbers, floats
from advisor.models.kv import default_sequences, replica_kv_capacity_tokens
from advisor.models.normal import Floats
from advisor.models.rates import MOST_SHORT_TOKENS
from advisor.models.replica import Replica
from advisor.models.traffic import Traffic

VERSION = "concurrency/4"
StepSeconds = Callable[[float, float], float]
"""Seconds of one decode step by sequences in the batch and tokens of context of each."""
_TABLE_POINTS = 64
_KV_FULL_RATIO = 0.98
"""Share of the cache that is in use when it is full: LLMServingSim's saturated vLLM 0.19 run
holds 98.5 % in the median, the rest is cut-off of blocks and admission."""


class Limit(StrEnum):
    """What keeps one more sequence out."""

    KV_CACHE = "KV cache"
    SEQUENCES = "sequence cap"
    TPOT = "objective for time per output token"
    PREFILL = "time that prompts take"  # where nothing is decoded


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """One serving engine as capacity sees it."""

    gpus: int
    kv_capacity_tokens: float
    max_sequences: int
    step_seconds: StepSeconds
    prefill_seconds: Callable[[float], float] = lambda _tokens: 0.0
    """What a prompt takes from the engine among many: 0 where it is prefilled elsewhere."""
    first_token_seconds: Callable[[float], float] | None = None
    """What its user waits for it; None: the same."""


def default_max_sequences(replica: Replica) -> int:
    """Sequences an engine runs at once where nobody sets `max_num_seqs`, over its data ranks."""
    return default_sequences(replica) * replica.layout.data


def of_replica(
    replica: Replica, max_sequences: int | None = None, *, prefills: bool = True
) -> Engine:
    """A replica of the latency model as an engine; `max_sequences` None: vLLM's default.

    Steps are tabulated over the batch once for each context, then interpolated: a fixed point asks
    for hundreds of them.
    """
    cap = default_max_sequences(replica) if max_sequences is None else max_sequences
    batches = np.unique(np.geomspace(1, max(cap, 2), _TABLE_POINTS))

    @cache
    def steps(context_tokens: float) -> Floats:
        return phases.decode_step_seconds(replica, batches, context_tokens)

    @cache
    def prefill(tokens: float) -> float:
        return float(prefill_share_seconds(replica, tokens)) if prefills else 0.0

    @cache
    def first_token(tokens: float) -> float:
        return float(phases.prefill_seconds(replica, max(tokens, 1.0))) if prefills else 0.0

    return Engine(
        gpus=replica.gpus,
        kv_capacity_tokens=replica_kv_capacity_tokens(replica),
        max_sequences=cap,
        step_seconds=lambda batch, context: float(np.interp(batch, batches, steps(context))),
        prefill_seconds=prefill,
        first_token_seconds=first_token,
    )


def prefill_share_seconds(
    replica: Replica, tokens: Numbers, *, cached_tokens: Numbers = 0.0
) -> Floats:
    """What a prompt takes from an engine that prefills many: short ones share a step, ranks work.

    Prompts go through a step together as far as they fill it no better (2,048 tokens), and every
    data rank has prompts of its own.
    """
    computed = np.maximum(1.0, floats(tokens) - floats(cached_tokens))
    at_once = np.maximum(1.0, np.floor(MOST_SHORT_TOKENS / computed)) * replica.layout.data
    prompts = np.maximum(1.0, floats(tokens))
    together = phases.prefill_service_seconds(
        replica, prompts, cached_tokens=cached_tokens, prompts=at_once
    )
    return np.asarray(together / at_once, dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """The most one engine carries, and why not more."""

    sequences: float
    queries_per_second: float
    tpot_seconds: float
    limit: Limit


@dataclass(frozen=True, slots=True, kw_only=True)
class SteadyState:
    """One engine at a rate it can carry, on average over time."""

    queries_per_second: float
    sequences: float
    tpot_seconds: float
    kv_tokens: float
    prefill_ratio: float  # share of time spent on prompts


def carried_queries_per_second(engine: Engine, traffic: Traffic, sequences: float) -> float:
    """Queries/s that leave when `sequences` run all the time."""
    if sequences <= 0:
        return 0.0
    step = engine.step_seconds(max(sequences, 1.0), traffic.context_tokens)
    prefill = engine.prefill_seconds(traffic.computed_prompt_tokens)
    busy = traffic.decode_steps_per_query * step + sequences * prefill
    return sequences / busy if busy > 0 else math.inf


def tpot_seconds(engine: Engine, traffic: Traffic, sequences: float) -> float:
    """Time per output token with `sequences` running and their prompts prefilled in between.

    Below one sequence, which is the mean over time, each decodes alone. 0 where none has a second
    token.
    """
    if traffic.decode_steps_per_query == 0:
        return 0.0
    rate = carried_queries_per_second(engine, traffic, sequences)
    prefill = rate * engine.prefill_seconds(traffic.computed_prompt_tokens)
    step = engine.step_seconds(max(sequences, 1.0), traffic.context_tokens)
    return step / (1 - prefill) if prefill < 1 else math.inf


def ceiling(engine: Engine, traffic: Traffic, slo_tpot_seconds: float = math.inf) -> Ceiling:
    """The most an engine carries: the cache, the cap of sequences or the objective ends it.

    A ceiling of 0 sequences means that not one fits, or that one alone misses the objective. Below
    one, prompts take so much of the time that one decodes only now and then.
    """
    most, limit = _room(engine, traffic)
    if traffic.decode_steps_per_query == 0:
        limit = Limit.PREFILL if most > 0 else limit
    elif most > 0 and tpot_seconds(engine, traffic, most) > slo_tpot_seconds:
        most, limit = _within(engine, traffic, most, slo_tpot_seconds), Limit.TPOT
    return Ceiling(
        sequences=most,
        queries_per_second=carried_queries_per_second(engine, traffic, most),
        tpot_seconds=tpot_seconds(engine, traffic, most) if most > 0 else math.inf,
        limit=limit,
    )


def _room(engine: Engine, traffic: Traffic) -> tuple[float, Limit]:
    """Sequences that cache and cap take, 0 where the cache does not hold one."""
    held = traffic.kv_tokens_per_sequence
    by_cache = engine.kv_capacity_tokens * _KV_FULL_RATIO / held if held > 0 else math.inf
    most, limit = min((by_cache, Limit.KV_CACHE), (float(engine.max_sequences), Limit.SEQUENCES))
    return (most if by_cache >= 1 else 0.0), limit


def _within(engine: Engine, traffic: Traffic, most: float, slo_tpot_seconds: float) -> float:
    """Most sequences that hold the objective, 0 when one alone does not."""
    if tpot_seconds(engine, traffic, 0.0) > slo_tpot_seconds:
        return 0.0
    return _largest(lambda n: tpot_seconds(engine, traffic, n) <= slo_tpot_seconds, most)


def slots(
    engine: Engine, traffic: Traffic, queries_per_second: float, slo_tpot_seconds: float = math.inf
) -> float:
    """Sequences that may decode at one moment: by cache, cap, and the step that so many make.

    Beside the step goes what prompts take on average at this rate: how many decode at a moment says
    nothing of how many prompts are computed in it. 0 where prompts take all of the time.
    """
    most, _ = _room(engine, traffic)
    left = 1 - queries_per_second * engine.prefill_seconds(traffic.computed_prompt_tokens)
    if left <= 0:
        return 0.0

    def holds(sequences: float) -> bool:
        step = engine.step_seconds(max(sequences, 1.0), traffic.context_tokens)
        return step <= slo_tpot_seconds * left

    return most if holds(most) else _largest(holds, most)


def _largest(holds: Callable[[float], bool], most: float) -> float:
    """The largest number up to `most` that holds, of what holds below some number."""
    low, high = 0.0, most
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def steady_state(
    engine: Engine, traffic: Traffic, queries_per_second: float, most_sequences: float
) -> SteadyState | None:
    """The fixed point at a rate, None when it needs more than `most_sequences`: it has none."""
    if queries_per_second > carried_queries_per_second(engine, traffic, most_sequences):
        return None
    low, high = 0.0, most_sequences
    for _ in range(80):
        middle = (low + high) / 2
        short = carried_queries_per_second(engine, traffic, middle) < queries_per_second
        low, high = (middle, high) if short else (low, middle)
    return SteadyState(
        queries_per_second=queries_per_second,
        sequences=high,
        tpot_seconds=tpot_seconds(engine, traffic, high),
        kv_tokens=high * traffic.kv_tokens_per_sequence,
        prefill_ratio=queries_per_second * engine.prefill_seconds(traffic.computed_prompt_tokens),
    )

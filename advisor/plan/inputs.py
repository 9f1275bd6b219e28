"""What a plan is asked about: demand and hardware from flags, a trace file, or the live store."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from advisor import facts
from advisor.facts import Facts, ServingLoad
from advisor.models.token_sources import from_samples
from advisor.plan.options import WorkloadOptions, option_name
from advisor.plan.traces import Trace, read
from advisor.rules.request_lengths import Spread, answers_of, prompts_of
from ridgeline.errors import Misconfigured
from ridgeline.events import Confidence
from ridgeline.pools import Role, pool_of
from ridgeline.settings import AdvisorSettings, StoreSettings, StreamsSettings

_TWO_ORIGINS = ("--trace", "not together with --live")


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Requests to plan for; token counts are means, `trace` holds each request where there is one.

    `arrival_cv`, `prefix_hit_ratio`, and how `prompts` and `answers` spread are None where nobody
    said or measured them.
    """

    requests_per_second: float
    prompt_tokens: float
    output_tokens: float
    arrival_cv: float | None
    prefix_hit_ratio: float | None
    trace: Trace | None
    confidence: Confidence
    origin: str
    prompts: Spread | None = None
    answers: Spread | None = None
    pools: tuple[str, ...] = ()
    """Under `--live`: those of prompts and of answers."""


def demand(options: WorkloadOptions, seen: Facts | None = None) -> Demand:
    """The demand the options name; numbers given as flags win over trace and live data.

    Args:
        options: What was asked.
        seen: Facts of the store, for `--live`; read when None.

    Raises:
        Misconfigured: two origins at once, or too little to plan by.
        Retry: `--live` and the store is away.
    """
    if options.trace is not None and options.live:
        raise Misconfigured(*_TWO_ORIGINS)
    if options.trace is not None:
        return _overridden(_of_trace(read(options.trace)), options)
    if options.live:
        return _overridden(_of_facts(seen or live_facts(), options.pool), options)
    return _of_flags(options)


def seen_by(options: WorkloadOptions) -> Facts | None:
    """Facts of the store where `--live` asks for them, else None; raises as `demand`."""
    if not options.live:
        return None
    if options.trace is not None:
        raise Misconfigured(*_TWO_ORIGINS)
    return live_facts()


def _of_flags(options: WorkloadOptions) -> Demand:
    for name in ("requests_per_second", "prompt_tokens", "output_tokens"):
        if getattr(options, name) is None:
            raise Misconfigured(option_name(name), "is needed, or --trace FILE, or --live")
    return Demand(
        requests_per_second=options.requests_per_second or 0.0,
        prompt_tokens=options.prompt_tokens or 0.0,
        output_tokens=options.output_tokens or 0.0,
        arrival_cv=options.burstiness,
        prefix_hit_ratio=options.prefix_hit_ratio,
        trace=None,
        confidence=Confidence.ASSUMED,
        origin="options",
    )


def _of_trace(trace: Trace) -> Demand:
    return Demand(
        requests_per_second=trace.requests_per_second,
        prompt_tokens=float(trace.prompt_tokens.mean()),
        output_tokens=float(trace.output_tokens.mean()),
        arrival_cv=trace.arrival_cv,
        prefix_hit_ratio=trace.reused_prompt_ratio,
        trace=trace,
        confidence=Confidence.MEASURED,
        origin=f"{len(trace.arrival_seconds):,} requests of {trace.name}",
        prompts=_spread(trace, trace.prompt_tokens),
        answers=_spread(trace, trace.output_tokens),
    )


def _spread(trace: Trace, tokens: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Spread:
    return Spread(
        histogram=from_samples(np.maximum(tokens, 1.0)),
        confidence=Confidence.MEASURED,
        how=f"{len(tokens):,} requests of {trace.name}",
    )


def _overridden(found: Demand, options: WorkloadOptions) -> Demand:
    """The demand with what was given as a flag; a trace is replayed at the rate given."""
    given = {
        "requests_per_second": options.requests_per_second,
        "prompt_tokens": options.prompt_tokens,
        "output_tokens": options.output_tokens,
        "arrival_cv": options.burstiness,
        "prefix_hit_ratio": options.prefix_hit_ratio,
    }
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if not changes:
        return found
    faster = (options.requests_per_second or found.requests_per_second) / found.requests_per_second
    longer = (options.prompt_tokens or found.prompt_tokens) / found.prompt_tokens
    wordier = (options.output_tokens or found.output_tokens) / found.output_tokens
    return replace(
        found,
        **changes,
        trace=None if found.trace is None else _rescaled(found.trace, faster, longer, wordier),
        origin=f"{found.origin}, changed by options",
        confidence=Confidence.ASSUMED,
        prompts=None if found.prompts is None else found.prompts.scaled(longer),
        answers=None if found.answers is None else found.answers.scaled(wordier),
    )


def _rescaled(trace: Trace, faster: float, longer: float, wordier: float) -> Trace:
    """The trace at another rate and other mean lengths, its shape kept."""
    return replace(
        trace,
        arrival_seconds=trace.arrival_seconds / faster,
        prompt_tokens=trace.prompt_tokens * longer,
        output_tokens=trace.output_tokens * wordier,
    )


def live_facts() -> Facts:
    """The facts of the store that the environment names, as the advisor reads them.

    Raises:
        Retry: the store is away.
        Misconfigured: nothing fresh is in it.
    """
    from ridgeline.store import Store  # noqa: PLC0415 - needs clickhouse-connect, nothing else here

    store = Store.connect(StoreSettings.load())
    try:
        span = facts.span_of(AdvisorSettings.load(), StreamsSettings.load())
        seen = facts.read(store, span(time.time_ns() // 1_000_000))
    finally:
        store.close()
    if seen.stale:
        raise Misconfigured("--live", "the store has no telemetry of the last minute")
    return seen


def _of_facts(seen: Facts, pool: str | None) -> Demand:
    prompts, outputs = _loads(seen, pool)
    rate = outputs.requests_per_second or prompts.requests_per_second
    prompt_rate, output_rate = (
        prompts.prompt_tokens_per_second,
        outputs.generation_tokens_per_second,
    )
    if not rate or not prompt_rate or not output_rate:
        raise Misconfigured("--live", f"no requests were finished in {prompts.pool} lately")
    return Demand(
        requests_per_second=rate,
        prompt_tokens=prompt_rate / rate,
        output_tokens=output_rate / rate,
        # for a renewal process the dispersion of counts tends to the square of the gaps' CV
        arrival_cv=None if prompts.arrival_dispersion is None else prompts.arrival_dispersion**0.5,
        prefix_hit_ratio=prompts.prefix_hit_ratio,
        trace=None,
        confidence=Confidence.MEASURED,
        origin=f"the store, {outputs.seconds / 60:.0f} minutes of {prompts.pool}",
        prompts=prompts_of(prompts, seen, prompt_rate / rate),
        answers=answers_of(outputs, seen, output_rate / rate),
        pools=tuple(dict.fromkeys((prompts.pool, outputs.pool))),
    )


def _loads(seen: Facts, pool: str | None) -> tuple[ServingLoad, ServingLoad]:
    """Where prompts and where outputs are worked on: in one pool, or in two of a service."""
    one, other = pools_of(seen, pool)
    prompts, outputs = seen.serving_of(one), seen.serving_of(other)
    if prompts is None or outputs is None:
        missing = one if prompts is None else other
        there = ", ".join(load.pool for load in seen.serving) or "none"
        raise Misconfigured("--pool", f"no serving pool {missing}; there are: {there}")
    return prompts, outputs


def pools_of(seen: Facts, asked: str | None) -> tuple[str, str]:
    """The pools of prompts and of outputs that `--pool` means: one, "one+other", or a service.

    Not given it is the only service there is: its mixed pool, else prefill and decode.

    Raises:
        Misconfigured: there are several services and none was named.
    """
    services = seen.services
    if asked is not None and asked not in services:
        one, _, other = asked.partition("+")
        return one, other or one
    if asked is None and len(services) > 1:
        named = ", ".join(filter(None, services))
        pools = ", ".join(load.pool for load in seen.serving)
        problem = f"is needed: a service ({named}), a pool ({pools}), or prefill+decode"
        raise Misconfigured("--pool", problem)
    service = asked if asked is not None else next(iter(services), "")
    mixed = pool_of(service, Role.MIXED)
    if seen.serving_of(mixed) is not None:
        return mixed, mixed
    return pool_of(service, Role.PREFILL), pool_of(service, Role.DECODE)

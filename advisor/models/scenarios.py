"""Sizings under doubt and under change: an interval of GPUs, and another mix of queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from advisor.models.concurrency import Engine
from advisor.models.interval import Interval, of
from advisor.models.sizing import Service, Sizing, size
from advisor.models.traffic import Kind, Traffic, mixed, with_share

STEP_ERROR_RATIO = 0.13
"""Worst error of a calibrated roofline over 24 cells of AIConfigurator's tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """A sizing with what the doubt about the rate and the engine's speed does to it."""

    likely: Sizing
    engines: Interval
    gpus: Interval
    usd_per_hour: Interval


def size_range(
    queries_per_second: Interval,
    mix: Traffic,
    service: Service,
    step_error_ratio: float = STEP_ERROR_RATIO,
) -> Range | None:
    """Sizings at the corners: slow traffic on a fast engine to fast traffic on a slow one.

    None when the likely case, or the slow engine, holds the objectives on no number of engines.
    """
    rates = (queries_per_second.low, queries_per_second.mid, queries_per_second.high)
    factors = (1 - step_error_ratio, 1.0, 1 + step_error_ratio)
    found = [
        size(rate, mix, replace(service, engine=slower(service.engine, factor)))
        for rate, factor in zip(rates, factors, strict=True)
    ]
    low, likely, high = found
    if low is None or likely is None or high is None:
        return None
    return Range(
        likely=likely,
        engines=of(low.engines, likely.engines, high.engines),
        gpus=of(low.gpus, likely.gpus, high.gpus),
        usd_per_hour=of(low.usd_per_hour, likely.usd_per_hour, high.usd_per_hour),
    )


def slower(engine: Engine, factor: float) -> Engine:
    """The same engine with every step and prompt taking `factor` times as long."""
    first = engine.first_token_seconds
    return replace(
        engine,
        step_seconds=lambda batch, context: factor * engine.step_seconds(batch, context),
        prefill_seconds=lambda tokens: factor * engine.prefill_seconds(tokens),
        first_token_seconds=None if first is None else lambda tokens: factor * first(tokens),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """What a change of the mix does."""

    before: Sizing
    after: Sizing
    gpus_ratio: float
    kv_ratio: float
    usd_per_query_ratio: float
    p99_seconds_ratio: float


def shift_share(
    kinds: Sequence[Kind],
    name: str,
    shares: tuple[float, float],
    queries_per_second: float,
    service: Service,
) -> Shift | None:
    """What happens when kind `name` goes from one share of queries to another at the same rate."""
    before, after = (
        size(queries_per_second, mixed(with_share(kinds, name, share)), service) for share in shares
    )
    if before is None or after is None or before.engines == 0:
        return None
    return Shift(
        before=before,
        after=after,
        gpus_ratio=after.gpus / before.gpus,
        kv_ratio=after.kv_tokens / before.kv_tokens,
        usd_per_query_ratio=after.usd_per_query / before.usd_per_query,
        p99_seconds_ratio=after.by_quantile[-1].seconds / before.by_quantile[-1].seconds,
    )

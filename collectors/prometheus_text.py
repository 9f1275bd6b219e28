"""Prometheus text of an LLM server -> sums by engine; histograms -> quantiles of what is new."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from ridgeline.errors import Reject

Key = tuple[str, str]
"""Model name and engine number of one engine."""

Buckets = Mapping[float, float]
"""Upper bound -> cumulative count."""


@dataclass(slots=True)
class Engine:
    """What one engine says: samples summed over the labels that do not tell engines apart."""

    values: dict[str, float] = field(default_factory=dict)
    largest: dict[str, float] = field(default_factory=dict)
    by_reason: dict[str, dict[str, float]] = field(default_factory=dict)
    buckets: dict[str, dict[float, float]] = field(default_factory=dict)

    def first(self, names: tuple[str, ...]) -> float | None:
        """Value of the first of several spellings that is there."""
        return next((self.values[n] for n in names if n in self.values), None)

    def first_largest(self, names: tuple[str, ...]) -> float | None:
        """Largest single sample of the first spelling that is there."""
        return next((self.largest[n] for n in names if n in self.largest), None)

    def first_buckets(self, names: tuple[str, ...]) -> tuple[str, Buckets] | None:
        """Name and buckets of the first histogram that is there."""
        return next(((n, self.buckets[n]) for n in names if n in self.buckets), None)


def engines_of(text: str, prefix: str) -> dict[Key, Engine]:
    """Engines in a `/metrics` page whose metric names start with `prefix`.

    Tensor- and pipeline-parallel ranks above 0 repeat what rank 0 says and are left out.

    Raises:
        Reject: a line is not Prometheus text.
    """
    engines: dict[Key, Engine] = {}
    for sample in _samples(text, prefix):
        labels = sample.labels
        if labels.get("tp_rank", "0") != "0" or labels.get("pp_rank", "0") != "0":
            continue
        number = labels.get("engine") or labels.get("dp_rank") or "0"
        engine = engines.setdefault((labels.get("model_name", ""), number), Engine())
        _add(engine, sample.name.removeprefix(prefix), labels, float(sample.value))
    return engines


def _samples(text: str, prefix: str) -> Iterator[Sample]:
    lines = [line for line in text.splitlines() if line.startswith(prefix)]
    try:
        for family in text_string_to_metric_families("\n".join([*lines, ""])):
            yield from family.samples
    except ValueError as error:
        raise Reject("metrics text", str(error), "expected the Prometheus text format") from error


def _add(engine: Engine, name: str, labels: Mapping[str, str], value: float) -> None:
    if not math.isfinite(value):
        return
    if name.endswith("_bucket") and "le" in labels:
        buckets = engine.buckets.setdefault(name.removesuffix("_bucket"), {})
        bound = float(labels["le"])
        buckets[bound] = buckets.get(bound, 0.0) + value
        return
    engine.values[name] = engine.values.get(name, 0.0) + value
    engine.largest[name] = max(value, engine.largest.get(name, -math.inf))
    if "finished_reason" in labels:
        reasons = engine.by_reason.setdefault(name, {})
        reason = labels["finished_reason"]
        reasons[reason] = reasons.get(reason, 0.0) + value


def counted(page: Buckets, bounds: Sequence[float]) -> list[float]:
    """Cumulative counts of a histogram at other bounds, and of all; linear within its buckets.

    What lies past the page's last bound is counted at the next of ours.
    """
    known = sorted(b for b in page if math.isfinite(b))
    every = page.get(math.inf, page[known[-1]] if known else 0.0)
    if not known:
        return [math.nan] * len(bounds) + [every]
    at = np.interp(bounds, [0.0, *known], [0.0, *(page[b] for b in known)], right=every)
    return [*(math.floor(v + 1e-9) for v in at), every]


def quantiles(before: Buckets, now: Buckets, wanted: tuple[float, ...]) -> list[float]:
    """Quantiles of the observations between two readings of a histogram.

    Linear within a bucket; an observation past the last bound counts as that bound. NaN when there
    is no new observation. After a reset (any count fell) everything in `now` is new.
    """
    reset = any(now.get(bound, 0.0) < count for bound, count in before.items())
    base = {} if reset else before
    bounds = sorted(now)
    cumulative = [now[b] - base.get(b, 0.0) for b in bounds]
    if not cumulative or cumulative[-1] <= 0:
        return [math.nan for _ in wanted]
    return [_quantile(bounds, cumulative, q) for q in wanted]


def _quantile(bounds: list[float], cumulative: list[float], wanted: float) -> float:
    rank = wanted * cumulative[-1]
    k = next(i for i, count in enumerate(cumulative) if count >= rank)
    lower = bounds[k - 1] if k else 0.0
    if math.isinf(bounds[k]):
        return lower
    below = cumulative[k - 1] if k else 0.0
    inside = cumulative[k] - below
    share = (rank - below) / inside if inside > 0 else 0.0
    return lower + (bounds[k] - lower) * share

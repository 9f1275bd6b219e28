"""Histograms from what there is: request lengths, a Prometheus histogram, a table of buckets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from prometheus_client.parser import text_string_to_metric_families

from advisor.models.normal import Floats
from advisor.models.tokens import Histogram
from ridgeline.errors import NoData
from ridgeline.schema import LENGTH_BOUNDS

STEPS_PER_DOUBLING = 8
LONGEST_TOKENS = 1e6  # the longest context any model of the catalogue is sold with
EXACT_TOKENS = 32
"""Lengths up to this have a bucket each; above, a bucket is 9 % wide (2^(1/8))."""


def token_edges(most_tokens: float) -> Floats:
    """Bucket edges between whole tokens, up to at least `most_tokens`."""
    doublings = math.log2(max(most_tokens, EXACT_TOKENS) / EXACT_TOKENS)
    steps = np.arange(1, math.ceil(doublings * STEPS_PER_DOUBLING) + 2)
    long = np.unique(np.round(EXACT_TOKENS * 2 ** (steps / STEPS_PER_DOUBLING)))
    return np.concatenate(([0.0], np.arange(EXACT_TOKENS + 1) + 0.5, long + 0.5))


def from_samples(tokens: ArrayLike, edges: ArrayLike | None = None) -> Histogram:
    """Histogram of measured lengths in tokens.

    Raises:
        NoData: there is no length.
        ValueError: a length is negative or not finite.
    """
    seen = np.asarray(tokens, dtype=float).ravel()
    if not seen.size:
        raise NoData("no request length")
    if not np.isfinite(seen).all() or (seen < 0).any():
        raise ValueError("tokens: need finite lengths, none below 0")
    bounds = token_edges(float(seen.max())) if edges is None else np.asarray(edges, dtype=float)
    inside = np.clip(seen, bounds[0], bounds[-1])
    counts, _ = np.histogram(inside, bounds)
    return _trimmed(bounds, counts.astype(float))


def from_buckets(rows: Iterable[tuple[float, float, float]]) -> Histogram:
    """Histogram of (low, high, weight) rows, in any order; gaps between rows hold nothing.

    Raises:
        NoData: there is no row.
        ValueError: rows overlap.
    """
    ordered = sorted(rows)
    if not ordered:
        raise NoData("no bucket")
    edges, counts = [ordered[0][0]], []
    for low, high, weight in ordered:
        if low > edges[-1]:
            edges.append(low)
            counts.append(0.0)
        elif low < edges[-1]:
            raise ValueError(f"bucket from {low:g} overlaps the one up to {edges[-1]:g}")
        edges.append(high)
        counts.append(weight)
    return Histogram(edges, counts)


def from_prometheus(
    cumulative: Mapping[float, float],
    *,
    total_tokens: float | None = None,
    limit_tokens: float | None = None,
) -> Histogram:
    """Histogram of cumulative `le` counts, as vLLM and SGLang export them.

    Args:
        cumulative: Upper bound (with infinity) to the count at or below it.
        total_tokens: The histogram's `_sum`; the mean is then met instead of guessed.
        limit_tokens: The longest possible answer; needed when a count lies above every bound.

    Raises:
        NoData: nothing was counted.
        ValueError: counts fall with the bound, or some lie above every bound without a limit.
    """
    bounds = sorted(cumulative)
    at = np.array([cumulative[b] for b in bounds], dtype=float)
    if not at.size or at[-1] <= 0:
        raise NoData("the histogram counts no request")
    counts = np.diff(at, prepend=0.0)
    if (counts < 0).any():
        raise ValueError("buckets: cumulative counts must not fall")
    if math.isinf(bounds[-1]):
        bounds, counts = _closed(bounds, counts, limit_tokens)
    if bounds[0] <= 0:
        bounds, counts = bounds[1:], np.concatenate(([counts[0] + counts[1]], counts[2:]))
    plain = _trimmed(np.array([0.0, *bounds]), counts)
    return plain if total_tokens is None else meeting_mean(plain, total_tokens / plain.total)


def from_counts(cumulative: Sequence[float]) -> Histogram | None:
    """Histogram of stored counts (`ridgeline.schema.length_columns`); None when empty.

    What lies past the last bound is spread up to `LONGEST_TOKENS`.
    """
    if not cumulative or cumulative[-1] <= 0:
        return None
    rising = np.maximum.accumulate(np.asarray(cumulative, dtype=float))
    pairs = dict(zip((*LENGTH_BOUNDS, math.inf), rising.tolist(), strict=True))
    return from_prometheus(pairs, limit_tokens=LONGEST_TOKENS)


def _closed(
    bounds: list[float], counts: Floats, limit_tokens: float | None
) -> tuple[list[float], Floats]:
    finite = bounds[:-1]
    if counts[-1] <= 0:
        return finite, counts[:-1]
    last = finite[-1] if finite else 0.0
    if limit_tokens is None or limit_tokens <= last:
        raise ValueError(
            f"limit_tokens={limit_tokens}: {counts[-1]:g} requests lie above the last bound "
            f"{last:g}; say how long an answer can be"
        )
    return [*finite, limit_tokens], counts


def meeting_mean(histogram: Histogram, mean_tokens: float) -> Histogram:
    """Mass moved inside its buckets (by a power of the length) until the mean is `mean_tokens`.

    Exporters' buckets are 2 to 2.5 times as wide as the one before: even mass inside them puts the
    mean off by up to 20 %. A mean the buckets do not allow is met as far as they do.
    """
    parts = 12
    fine = histogram.refined(parts)
    middles = ((fine.edges[1:] + fine.edges[:-1]) / 2).reshape(-1, parts)

    def tilted(power: float) -> Floats:
        weight = (middles / middles[:, -1:]) ** power
        return np.asarray(histogram.counts[:, None] * weight / weight.sum(axis=1, keepdims=True))

    low, high = -60.0, 60.0
    for _ in range(60):
        power = (low + high) / 2
        mean = float((tilted(power) * middles).sum() / histogram.total)
        low, high = (power, high) if mean < mean_tokens else (low, power)
    return Histogram(fine.edges, tilted((low + high) / 2).ravel())


def from_exposition(
    text: str, metric: str, *, limit_tokens: float | None = None, labels: str = ""
) -> Histogram:
    """Histogram `metric` (e.g. `vllm:request_generation_tokens`) of a scraped page, series summed.

    Args:
        text: The page in Prometheus's text format.
        metric: Name without `_bucket`.
        limit_tokens: See `from_prometheus`.
        labels: Only series in which some label has this value; empty: all.

    Raises:
        NoData: the page has no such histogram, or it counts nothing.
    """
    cumulative: dict[float, float] = {}
    total = 0.0
    for family in text_string_to_metric_families(text):
        for sample in family.samples if family.name == metric else ():
            if labels and labels not in sample.labels.values():
                continue
            if sample.name.endswith("_bucket"):
                bound = float(sample.labels["le"])
                cumulative[bound] = cumulative.get(bound, 0.0) + sample.value
            elif sample.name.endswith("_sum"):
                total += sample.value
    if not cumulative:
        raise NoData(f"no histogram {metric}")
    return from_prometheus(cumulative, total_tokens=total or None, limit_tokens=limit_tokens)


def increase(before: Mapping[float, float], after: Mapping[float, float]) -> dict[float, float]:
    """Cumulative counts between two scrapes; after a restart of the server, those since it."""
    restarted = any(after[b] < before.get(b, 0.0) for b in after)
    return {b: v - (0.0 if restarted else before.get(b, 0.0)) for b, v in after.items()}


def _trimmed(edges: Floats, counts: Floats) -> Histogram:
    used = np.flatnonzero(counts)
    if not used.size:
        raise NoData("nothing was counted")
    first, last = int(used[0]), int(used[-1])
    return Histogram(edges[first : last + 2], counts[first : last + 1])

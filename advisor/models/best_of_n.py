"""N samples a query (best-of-N, self-consistency): work is the sum, waiting is the longest.

Samples of one prompt resemble each other: a hard prompt makes all of them long. `correlation` is
that of their normal scores (one-factor Gaussian copula): 0 is independent, which understates the
spread of the sum and overstates the mean of the longest; 1 is N copies. The prompt's KV cache is
shared, so a query holds the prompt once and N growing answers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from advisor.models import normal
from advisor.models.normal import Floats
from advisor.models.tokens import Histogram

VERSION = "best-of-n/2"
_NODES = 96
_CELLS = 1024
_TAIL_CUTS = 48
_SUMMED_EXACTLY = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledQuery:
    """What a query of N samples is: tokens generated, and tokens of its longest sample."""

    samples: int
    correlation: float
    total: Histogram
    longest: Histogram
    total_mean: float
    total_cv: float

    def held_tokens_at_end(self, prompt_tokens: float) -> float:
        """KV tokens of one query once all samples are written: the prompt once, N answers."""
        return prompt_tokens + self.total_mean


def sample(one: Histogram, samples: int, correlation: float = 0.0) -> SampledQuery:
    """A query of `samples` answers, each as long as `one` says.

    Raises:
        ValueError: fewer than one sample, or a correlation outside 0..1.
    """
    if samples < 1:
        raise ValueError(f"samples={samples}: need at least 1")
    if not 0 <= correlation <= 1:
        raise ValueError(f"correlation={correlation:g}: need 0..1")
    if samples == 1 or correlation == 1:
        total = one if samples == 1 else one.scaled(samples)
        return SampledQuery(
            samples=samples,
            correlation=correlation,
            total=total,
            longest=one,
            total_mean=samples * one.mean,
            total_cv=one.cv,
        )
    # the longest of many lies in the tail: cuts where the N-th power of the curve rises
    tail = np.exp(-np.geomspace(0.05, 10.0, _TAIL_CUTS) / samples)
    fine = one.refined(8).split_at(one.quantiles(tail))
    given = _given_prompt(fine, correlation)
    middles = (fine.edges[1:] + fine.edges[:-1]) / 2
    means = np.diff(given, axis=1) @ middles
    shared = float(np.mean(np.square(means - means.mean())))
    variance = samples * one.variance + samples * (samples - 1) * shared
    return SampledQuery(
        samples=samples,
        correlation=correlation,
        total=_sum(fine, given, samples),
        longest=Histogram(fine.edges, np.diff((given**samples).mean(axis=0))),
        total_mean=samples * one.mean,
        total_cv=math.sqrt(variance) / (samples * one.mean) if one.mean > 0 else 0.0,
    )


def _given_prompt(one: Histogram, correlation: float) -> Floats:
    """Cumulative share at every edge (columns), for equally likely kinds of prompts (rows)."""
    below = one.cdf(one.edges)
    if correlation == 0:
        return below[None, :]
    scores = normal.quantile(below)[None, :]
    kinds = normal.even_nodes(_NODES)[:, None]
    given = normal.cdf((scores - math.sqrt(correlation) * kinds) / math.sqrt(1 - correlation))
    given[:, 0], given[:, -1] = 0.0, 1.0
    return given


def _sum(one: Histogram, given: Floats, samples: int) -> Histogram:
    """The sum of `samples` lengths that are independent once the kind of prompt is known."""
    top = float(one.edges[-1])
    cell = top / _CELLS
    grid = np.arange(_CELLS + 1) * cell
    if samples > _SUMMED_EXACTLY:
        return _sum_of_many(one, given, samples)
    size = 1 << math.ceil(math.log2(_CELLS * samples + 1))
    mass = np.zeros(size)
    for below in given:
        cells = np.diff(np.interp(grid, one.edges, below, left=0.0, right=1.0))
        mass += np.fft.irfft(np.fft.rfft(cells, size) ** samples, size)
    used = _CELLS * samples - samples + 1
    counts = np.clip(mass[:used] / len(given), 0.0, None)
    counts[counts < 1e-13] = 0.0  # rounding of the transform
    # cell i of the sum stands for lengths around (i + samples/2) cells
    edges = np.asarray((np.arange(used + 1) + (samples - 1) / 2) * cell, dtype=np.float64)
    return _nonempty(edges, counts)


def _sum_of_many(one: Histogram, given: Floats, samples: int) -> Histogram:
    """Normal given the kind of prompt (central limit theorem): many need no convolution."""
    middles = (one.edges[1:] + one.edges[:-1]) / 2
    shares = np.diff(given, axis=1)
    mean = shares @ middles
    spread = np.sqrt(np.maximum(shares @ np.square(middles) - np.square(mean), 1e-12))
    low = max(0.0, float((samples * mean - 8 * math.sqrt(samples) * spread).min()))
    high = float((samples * mean + 8 * math.sqrt(samples) * spread).max())
    edges = np.linspace(low, high, 4 * _CELLS + 1)
    z = (edges[None, :] - samples * mean[:, None]) / (math.sqrt(samples) * spread[:, None])
    return _nonempty(edges, np.diff(normal.cdf(z).mean(axis=0)))


def _nonempty(edges: Floats, counts: Floats) -> Histogram:
    used = np.flatnonzero(counts)
    first, last = int(used[0]), int(used[-1])
    return Histogram(edges[first : last + 2], counts[first : last + 1])

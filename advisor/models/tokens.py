"""How many tokens a query takes, as a distribution: what was seen first, a fit only without it.

An empirical histogram keeps the two humps of reasoning traffic (short answers, long thought) that
every single-humped fit smooths away. Where histograms come from is `token_sources`, parametric fits
are `token_fits`, change over time is `drift`, N samples a query is `best_of_n`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from advisor.models.normal import Floats

VERSION = "tokens/2"


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Histogram:
    """Counts between ascending `edges` (one more than counts). Mass is even inside a bucket."""

    edges: Floats
    counts: Floats

    def __init__(self, edges: ArrayLike, counts: ArrayLike) -> None:
        e, c = np.array(edges, dtype=float), np.array(counts, dtype=float)
        _check(e, c)
        e.setflags(write=False)
        c.setflags(write=False)
        object.__setattr__(self, "edges", e)
        object.__setattr__(self, "counts", c)

    @property
    def total(self) -> float:
        """Queries counted (or 1 for a histogram of probabilities)."""
        return float(self.counts.sum())

    @property
    def shares(self) -> Floats:
        """Probability of each bucket."""
        return np.asarray(self.counts / self.counts.sum())

    @property
    def mean(self) -> float:
        """Mean tokens."""
        return float(self.shares @ (self.edges[1:] + self.edges[:-1]) / 2)

    @property
    def second_moment(self) -> float:
        """E[T^2] in tokens^2, exact for even mass in each bucket."""
        a, b = self.edges[:-1], self.edges[1:]
        return float(self.shares @ (a * a + a * b + b * b) / 3)

    @property
    def variance(self) -> float:
        """Variance in tokens^2."""
        return max(0.0, self.second_moment - self.mean**2)

    @property
    def cv(self) -> float:
        """Standard deviation over mean; 0 when all queries take no token."""
        return math.sqrt(self.variance) / self.mean if self.mean > 0 else 0.0

    @property
    def mean_progress(self) -> float:
        """Tokens a query in flight has made so far, on average: `E[T^2] / (2 E[T])`.

        Length-biased: a long query is in flight for longer, so it is met more often. With CV 1.38
        that is 1.45 of the mean, not half of it (renewal theory, e.g. Cox 1962, section 5).
        """
        return self.second_moment / (2 * self.mean) if self.mean > 0 else 0.0

    def _below(self) -> Floats:
        """Share of queries below each edge, 0 to exactly 1."""
        reached = np.cumsum(self.counts)
        return np.concatenate(([0.0], reached / reached[-1]), dtype=float)

    def cdf(self, tokens: ArrayLike) -> Floats:
        """Share of queries at or below each number of tokens."""
        below = self._below()
        at = np.asarray(tokens, dtype=float)
        return np.asarray(np.interp(at, self.edges, below, left=0.0, right=1.0))

    def quantiles(self, shares: ArrayLike) -> Floats:
        """Tokens below which each share of queries lies, interpolated inside its bucket."""
        below = self._below()
        p = np.clip(np.asarray(shares, dtype=float), 0.0, 1.0)
        i = np.clip(np.searchsorted(below, p, side="left") - 1, 0, None)
        i = np.maximum(i, int(np.flatnonzero(self.counts)[0]))
        width = below[i + 1] - below[i]
        inside = np.where(width > 0, (p - below[i]) / np.where(width > 0, width, 1.0), 0.0)
        found = self.edges[i] + inside * (self.edges[i + 1] - self.edges[i])
        return np.asarray(found, dtype=float)

    def quantile(self, q: float) -> float:
        """Tokens below which share `q` of queries lies."""
        return float(self.quantiles(q))

    def token_share_above(self, q: float) -> float:
        """Share of all tokens that the longest `1 - q` of queries take: how heavy the tail is."""
        fine = self.split_at([self.quantile(q)])
        middles = (fine.edges[1:] + fine.edges[:-1]) / 2
        tokens = fine.shares * middles
        above = fine.edges[:-1] >= self.quantile(q) * (1 - 1e-12)
        return float(tokens[above].sum() / tokens.sum()) if tokens.sum() > 0 else 0.0

    def slowest_of(self, n: int) -> float:
        """Mean of the longest of `n` independent queries: what best-of-N waits for.

        Samples of one prompt resemble each other, which lowers it: `best_of_n` has the correlation.
        """
        below = self._below()
        a, b = below[:-1], below[1:]
        width, rise = np.diff(self.edges), b - a
        # integral of F^n over a bucket in which F rises evenly from a to b; a rise too small for
        # the difference of powers to keep its digits is taken at its middle
        steep = rise > 1e-6
        filled = (b ** (n + 1) - a ** (n + 1)) / ((n + 1) * np.where(steep, rise, 1.0))
        return float(self.edges[-1] - np.sum(width * np.where(steep, filled, ((a + b) / 2) ** n)))

    def split_at(self, cuts: ArrayLike) -> Histogram:
        """The same distribution with additional edges."""
        more = np.asarray(cuts, dtype=float)
        more = more[(more > self.edges[0]) & (more < self.edges[-1])]
        return self.rebinned(np.unique(np.concatenate((self.edges, more))))

    def refined(self, parts: int) -> Histogram:
        """The same distribution with every bucket in `parts`."""
        steps = np.arange(parts) / parts
        fine = (self.edges[:-1, None] + np.diff(self.edges)[:, None] * steps).ravel()
        return Histogram(np.append(fine, self.edges[-1]), np.repeat(self.counts / parts, parts))

    def rebinned(self, edges: ArrayLike) -> Histogram:
        """The same counts in other buckets; what lies outside goes to the first and the last."""
        target = np.asarray(edges, dtype=float)
        below = self.cdf(target)
        below[0], below[-1] = 0.0, 1.0
        return Histogram(target, np.diff(below) * self.total)

    def merged(self, other: Histogram) -> Histogram:
        """Both sets of queries together, on the edges of both; the total is kept."""
        edges = np.union1d(self.edges, other.edges)
        return Histogram(edges, self.rebinned(edges).counts + other.rebinned(edges).counts)

    def scaled(self, factor: float) -> Histogram:
        """Every query times `factor` tokens."""
        if factor <= 0:
            raise ValueError(f"factor={factor:g}: need > 0")
        return Histogram(self.edges * factor, self.counts)

    def sampled(self, size: int, rng: np.random.Generator) -> Floats:
        """`size` draws."""
        return self.quantiles(rng.random(size))


def _check(edges: Floats, counts: Floats) -> None:
    if edges.ndim != 1 or counts.ndim != 1 or len(edges) != len(counts) + 1 or not counts.size:
        raise ValueError(f"edges={edges.size} counts={counts.size}: need n+1 and n>0")
    if not (np.isfinite(edges).all() and (np.diff(edges) > 0).all() and edges[0] >= 0):
        raise ValueError("edges: need finite, ascending, not below 0")
    if not (np.isfinite(counts).all() and (counts >= 0).all() and counts.sum() > 0):
        raise ValueError(f"counts={counts.sum():g}: need finite, none below 0, one above 0")


def mixture(parts: Sequence[Histogram], shares: Sequence[float]) -> Histogram:
    """Traffic made of several kinds of queries, by their share of queries; sums to 1.

    Raises:
        ValueError: shares are negative, do not match the parts, or sum to 0.
    """
    weights = np.asarray(shares, dtype=float)
    if len(parts) != len(weights) or (weights < 0).any() or weights.sum() <= 0:
        raise ValueError(f"shares={list(shares)}: need one a part, none below 0, one above 0")
    weights /= weights.sum()
    used = [(h, w) for h, w in zip(parts, weights, strict=True) if w > 0]
    edges = np.unique(np.concatenate([h.edges for h, _ in used]))
    counts = sum((h.rebinned(edges).shares * w for h, w in used), np.zeros(len(edges) - 1))
    return Histogram(edges, counts)

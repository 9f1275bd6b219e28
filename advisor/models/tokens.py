"""How many tokens a query costs, from what was seen, and what best-of-N does to it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate, pairwise

VERSION = "tokens/1"


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts between `edges` (one more than counts, ascending). Mass is even inside a bucket."""

    edges: tuple[float, ...]
    counts: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.edges) != len(self.counts) + 1 or sum(self.counts) <= 0:
            raise ValueError(f"edges={len(self.edges)} counts={len(self.counts)}: need n+1 and n>0")

    @property
    def mean(self) -> float:
        """Mean by bucket middles."""
        middles = [(a + b) / 2 for a, b in pairwise(self.edges)]
        return sum(m * c for m, c in zip(middles, self.counts, strict=True)) / sum(self.counts)

    def quantile(self, q: float) -> float:
        """Value below which share `q` lies, interpolated inside its bucket."""
        target = q * sum(self.counts)
        for i, reached in enumerate(accumulate(self.counts)):
            if reached >= target and self.counts[i] > 0:
                inside = 1 - (reached - target) / self.counts[i]
                return self.edges[i] + inside * (self.edges[i + 1] - self.edges[i])
        return self.edges[-1]

    def slowest_of(self, n: int) -> float:
        """Mean of the longest of `n` independent samples: the latency of best-of-N.

        Real samples of one prompt resemble each other, so this is an upper bound of the mean.
        """
        total, below, out = sum(self.counts), 0.0, 0.0
        for (low, high), count in zip(pairwise(self.edges), self.counts, strict=True):
            above = below + count / total
            out += (above**n - below**n) * (low + high) / 2
            below = above
        return out


def lognormal_quantile(mu: float, sigma: float, z: float) -> float:
    """Quantile at standard score `z`; DeepSeek-R1 output: mu 7.020, sigma 1.111 (ServeGen fit)."""
    return math.exp(mu + sigma * z)


def kingman_wait_seconds(
    load: float, service_seconds: float, arrival_cv: float, service_cv: float
) -> float:
    """`rho/(1-rho) * (Ca^2+Cs^2)/2 * S` (Kingman 1961); inf at full load."""
    if load >= 1:
        return math.inf
    return load / (1 - load) * (arrival_cv**2 + service_cv**2) / 2 * service_seconds


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """`1 - C(n-c,k)/C(n,k)`, the unbiased estimate of coverage."""
    return 1 - math.comb(samples - correct, k) / math.comb(samples, k)

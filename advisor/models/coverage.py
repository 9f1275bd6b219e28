"""The share of tasks that N samples solve at least once, measured and extrapolated.

Coverage needs something that tells a right answer from a wrong one (tests, a proof, a checker);
majority votes and reward models level off after some hundred samples (arXiv 2407.21787).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from advisor.models.interval import Interval, of, of_draws
from advisor.models.normal import Floats

VERSION = "coverage/1"


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Unbiased chance that one of `k` samples is right: `1 - C(n-c,k)/C(n,k)` (arXiv 2107.03374).

    Raises:
        ValueError: `k` is not in 1..samples, or `correct` not in 0..samples.
    """
    if not 1 <= k <= samples or not 0 <= correct <= samples:
        raise ValueError(f"samples={samples} correct={correct} k={k}: need 1<=k<=n and 0<=c<=n")
    if samples - correct < k:
        return 1.0
    i = np.arange(samples - correct + 1, samples + 1)
    return float(1 - np.prod(1 - k / i))  # the same product, without the huge factorials


def coverage(results: Sequence[tuple[int, int]], k: int, *, seed: int = 0) -> Interval:
    """Mean pass@k over tasks given as (samples, correct); the interval resamples the tasks.

    Raises:
        ValueError: there is no task, or one has fewer than `k` samples.
    """
    if not results:
        raise ValueError("results: need at least one task")
    each = np.array([pass_at_k(n, c, k) for n, c in results])
    draws = np.random.default_rng(seed).choice(each, (1000, len(each))).mean(axis=1)
    return of_draws(float(each.mean()), draws)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageLaw:
    """`coverage(k) = exp(-a * k^-b)` (Large Language Monkeys, arXiv 2407.21787).

    `residual` is the standard deviation of the fit in `ln(-ln(coverage))`, 0 with two points.
    """

    a: float
    b: float
    residual: float
    most_k: float
    deviation: Floats  # 2x2 covariance of (ln a, b)

    def at(self, k: ArrayLike) -> Floats:
        """Coverage at `k` samples."""
        x = np.asarray(k, dtype=float)
        return np.asarray(np.exp(-self.a * x ** (-self.b)))

    def interval(self, k: float) -> Interval:
        """Coverage at `k` with a 90 % interval, which widens beyond what was measured."""
        direction = np.array([1.0, -math.log(k)])
        variance = float(direction @ self.deviation @ direction) + self.residual**2
        # no law was seen to hold further than this: half of the change beyond the data is in doubt
        beyond = max(0.0, math.log(k / self.most_k)) * self.b / 2
        spread = 1.645 * math.sqrt(variance) + beyond
        middle = math.log(self.a) - self.b * math.log(k)
        return of(*(math.exp(-math.exp(middle + s)) for s in (spread, 0.0, -spread)))

    def marginal(self, k: float) -> float:
        """Coverage that one more sample adds at `k`."""
        return float(self.at(k + 1) - self.at(k))


def fit_law(ks: ArrayLike, covered: ArrayLike) -> CoverageLaw:
    """Least squares of `ln(-ln c)` on `ln k`.

    Raises:
        ValueError: fewer than two different k, or a coverage that is not above 0 and below 1.
    """
    k, c = np.asarray(ks, dtype=float), np.asarray(covered, dtype=float)
    if k.shape != c.shape or len(np.unique(k)) < 2 or (k < 1).any():
        raise ValueError("ks: need at least two different numbers of samples, each 1 or more")
    if not ((c > 0) & (c < 1)).all():
        raise ValueError("covered: need coverages above 0 and below 1")
    design = np.column_stack((np.ones_like(k), -np.log(k)))
    target = np.log(-np.log(c))
    (intercept, b), *_ = np.linalg.lstsq(design, target, rcond=None)
    free = len(k) - 2
    left = target - design @ np.array([intercept, b])
    variance = float(left @ left) / free if free > 0 else 0.0
    return CoverageLaw(
        a=math.exp(intercept),
        b=float(b),
        residual=math.sqrt(variance),
        most_k=float(k.max()),
        deviation=np.asarray(variance * np.linalg.inv(design.T @ design)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BetaTasks:
    """Tasks whose chance of success follows Beta(alpha, beta): what makes coverage a power law.

    Mean pass@k is `1 - B(alpha, beta+k)/B(alpha, beta)`; its failures fall as `k^-alpha`
    (Schaeffer et al., ICML 2025). A fit needs few samples a task, not coverage at large k.
    """

    alpha: float
    beta: float

    def coverage(self, k: ArrayLike) -> Floats:
        """Expected share of tasks solved within `k` samples."""
        x = np.asarray(k, dtype=float)
        gamma = np.vectorize(math.lgamma, otypes=[float])
        a, b = self.alpha, self.beta
        log = gamma(b + x) + math.lgamma(a + b) - gamma(a + b + x) - math.lgamma(b)
        return np.asarray(-np.expm1(log))


def fit_tasks(results: Sequence[tuple[int, int]]) -> BetaTasks:
    """Beta-binomial of (samples, correct) by the method of moments (Skellam 1948).

    Raises:
        ValueError: fewer than two tasks, no success, no failure, or a task with a single sample.
    """
    n = np.array([r[0] for r in results], dtype=float)
    c = np.array([r[1] for r in results], dtype=float)
    if len(n) < 2 or (n < 2).any() or c.sum() == 0 or (c == n).all():
        raise ValueError("results: need two tasks, two samples each, a success and a failure")
    mean = float(c.sum() / n.sum())
    pairs = n * (n - 1)
    both = float((c * (c - 1)).sum() / pairs.sum())  # unbiased E[p^2]
    variance = both - mean**2
    most = mean * (1 - mean)
    shared = min(max(variance / most, 1e-6), 1 - 1e-6)
    size = 1 / shared - 1
    return BetaTasks(alpha=mean * size, beta=(1 - mean) * size)

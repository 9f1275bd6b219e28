"""Whether tokens per query have changed: by more than chance, and by enough to matter.

Two measures: PSI over pooled quantile bins (sensitive to the whole shape, tail bins included) and
the largest gap of the cumulative curves (Kolmogorov-Smirnov). Each must pass what sampling alone
would give at this many queries as well as the size below which nobody would act.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from advisor.models import normal
from advisor.models.normal import Floats
from advisor.models.tokens import Histogram

VERSION = "drift/3"
CUTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
PSI_MATERIAL = 0.10
"""Credit scoring's convention: below 0.1 no shift, above 0.25 a large one."""
KS_MATERIAL = 0.10
FALSE_ALARM = 1e-4
LEAST_QUERIES = 50.0
_MARGIN = 7.0  # by how much a day must pass the one furthest out: 1 + this over the days


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One comparison; thresholds are what the value must pass to count."""

    psi: float
    psi_threshold: float
    ks: float
    ks_threshold: float
    mean_ratio: float  # now over before
    p50_ratio: float
    p99_ratio: float
    enough: bool  # false: too few queries on one side to say anything

    @property
    def drifted(self) -> bool:
        """Whether the two differ by more than noise and by enough to matter."""
        return self.enough and (self.psi > self.psi_threshold or self.ks > self.ks_threshold)


def compare(
    before: Histogram,
    now: Histogram,
    *,
    before_queries: float | None = None,
    now_queries: float | None = None,
    queries_per_independent_one: float = 1.0,
    false_alarm: float = FALSE_ALARM,
) -> Drift:
    """Compare two histograms of tokens per query.

    Args:
        before: The reference.
        now: What is seen now.
        before_queries: Queries behind `before` when its counts are probabilities.
        now_queries: Likewise for `now`.
        queries_per_independent_one: Above 1 where queries come in look-alike groups (N samples of
            one prompt are one and a bit observations, not N).
        false_alarm: Share of comparisons of equal traffic that may call it drift.
    """
    n = (before.total if before_queries is None else before_queries) / queries_per_independent_one
    m = (now.total if now_queries is None else now_queries) / queries_per_independent_one
    return Drift(
        psi=psi(before, now, n, m),
        psi_threshold=max(PSI_MATERIAL, psi_noise(n, m, false_alarm)),
        ks=ks_distance(before, now),
        ks_threshold=max(KS_MATERIAL, ks_noise(n, m, false_alarm)),
        mean_ratio=_ratio(now.mean, before.mean),
        p50_ratio=_ratio(now.quantile(0.5), before.quantile(0.5)),
        p99_ratio=_ratio(now.quantile(0.99), before.quantile(0.99)),
        enough=min(n, m) >= LEAST_QUERIES,
    )


def against_days(days: Sequence[Histogram], now: Histogram) -> Drift:
    """Compare with several days, each of which differs from the others already.

    Traffic is never twice the same: what is called drift must also pass what any one of the days
    differed from the rest by, and by a margin. A day like the others is the one furthest out in
    one of `n + 1` cases; at `1 + 7/n` times the PSI, and the root of that times the gap, it is in
    one of 9 (two days) to 22 (seven; deviations normal and of one kind).
    `days` are of counts, at least two.

    Raises:
        ValueError: there are fewer than two days.
    """
    if len(days) < 2:
        raise ValueError(f"days={len(days)}: need two or more to know what is usual")
    found = compare(together(days), now)
    usual = [compare(together([*days[:n], *days[n + 1 :]]), day) for n, day in enumerate(days)]
    margin = 1 + _MARGIN / len(days)
    return replace(
        found,
        psi_threshold=max(found.psi_threshold, margin * max(day.psi for day in usual)),
        ks_threshold=max(found.ks_threshold, math.sqrt(margin) * max(day.ks for day in usual)),
    )


def together(days: Sequence[Histogram]) -> Histogram:
    """All queries of several days."""
    return reduce(Histogram.merged, days)


def psi(before: Histogram, now: Histogram, n: float, m: float) -> float:
    """Population stability index, `sum (a-b) * ln(a/b)`, half a query added to every bin."""
    a, b = _bins(before, now)
    p = (a * n + 0.5) / (n + 0.5 * len(a))
    q = (b * m + 0.5) / (m + 0.5 * len(b))
    return float(np.sum((q - p) * np.log(q / p)))


def psi_noise(n: float, m: float, false_alarm: float) -> float:
    """PSI that chance exceeds in share `false_alarm`: `(1/n + 1/m) * chi^2` of the bins."""
    freedom = len(CUTS)
    z = float(normal.quantile(1 - false_alarm))
    chi2 = freedom * (1 - 2 / (9 * freedom) + z * math.sqrt(2 / (9 * freedom))) ** 3
    return (1 / max(n, 1.0) + 1 / max(m, 1.0)) * chi2  # chi^2 quantile: Wilson-Hilferty 1931


def ks_distance(before: Histogram, now: Histogram) -> float:
    """Largest gap between the cumulative curves."""
    edges = np.union1d(before.edges, now.edges)
    return float(np.abs(before.cdf(edges) - now.cdf(edges)).max())


def ks_noise(n: float, m: float, false_alarm: float) -> float:
    """Gap that chance exceeds in share `false_alarm` (two-sample Smirnov, asymptotic)."""
    scale = math.sqrt(1 / max(n, 1.0) + 1 / max(m, 1.0))
    return math.sqrt(-math.log(false_alarm / 2) / 2) * scale


def _bins(before: Histogram, now: Histogram) -> tuple[Floats, Floats]:
    """Shares of both between the pooled quantiles, each counted once."""
    pooled = Histogram(before.edges, before.shares).merged(Histogram(now.edges, now.shares))
    cuts = np.unique(pooled.quantiles(CUTS))
    return tuple(np.diff(h.cdf(cuts), prepend=0.0, append=1.0) for h in (before, now))  # type: ignore[return-value]  # two by construction


def _ratio(now: float, before: float) -> float:
    return now / before if before > 0 else (1.0 if now == before else math.inf)

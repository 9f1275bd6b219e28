"""How lengths spread around their mean: a few lengths that stand for all, each with its share.

Costs that grow faster than length (attention over a prompt), and promises that a share of requests
must hold, are reckoned length by length; the mean alone sees neither.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from advisor.models.arrays import Floats
from advisor.models.tokens import Histogram

CUTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
"""Shares of requests between which one length, their mean, stands for all: finer in the tail, where
p99 promises break."""
_EVEN = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Lengths over their mean (1 on average), ascending, and the share of requests of each."""

    ratios: tuple[float, ...]
    shares: tuple[float, ...]

    def lengths(self, mean_tokens: float) -> Floats:
        """The lengths in tokens, at least one, of requests of this mean."""
        found: Floats = np.maximum(1.0, mean_tokens * np.array(self.ratios))
        return found


CONSTANT = Shape(ratios=(1.0,), shares=(1.0,))


def lognormal(cv: float) -> Shape:
    """A log-normal by its coefficient of variation, at evenly spaced quantiles."""
    if cv <= 0:
        return CONSTANT
    sigma = math.sqrt(math.log1p(cv**2))
    scores = [NormalDist().inv_cdf((n + 0.5) / _EVEN) for n in range(_EVEN)]
    lengths = np.exp(sigma * np.array(scores))
    return Shape(ratios=tuple((lengths / lengths.mean()).tolist()), shares=(1 / _EVEN,) * _EVEN)


def of_histogram(seen: Histogram) -> Shape:
    """What was counted: the mean length between each two of `CUTS`."""
    fine = seen.split_at(seen.quantiles(CUTS))
    share = fine.shares
    part = np.searchsorted(CUTS, np.cumsum(share) - share / 2)
    weight = np.bincount(part, weights=share)
    tokens = np.bincount(part, weights=share * (fine.edges[1:] + fine.edges[:-1]) / 2)
    used = weight > 0
    ratios = tokens[used] / weight[used] / tokens.sum()
    return Shape(ratios=tuple(ratios.tolist()), shares=tuple(weight[used].tolist()))

"""The standard normal distribution over numpy arrays: what the models need of it and no more."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
_STANDARD = NormalDist()
_erf = np.vectorize(math.erf, otypes=[float])
_inverse = np.vectorize(_STANDARD.inv_cdf, otypes=[float])


def cdf(z: ArrayLike) -> Floats:
    """Share below each standard score; 0 and 1 at the infinities."""
    return np.asarray(0.5 * (1 + _erf(np.asarray(z, dtype=float) / math.sqrt(2))))


def pdf(z: ArrayLike) -> Floats:
    """Density at each standard score."""
    return np.asarray(np.exp(-0.5 * np.square(np.asarray(z, dtype=float))) / math.sqrt(2 * math.pi))


def quantile(share: ArrayLike) -> Floats:
    """Standard score below which each share lies; infinite at 0 and 1."""
    p = np.asarray(share, dtype=float)
    inside = (p > 0) & (p < 1)
    score = _inverse(np.where(inside, p, 0.5))
    return np.where(inside, score, np.where(p <= 0, -np.inf, np.inf))


def even_nodes(count: int) -> Floats:
    """`count` standard scores of equal weight: the middles of equal shares."""
    return quantile((np.arange(count) + 0.5) / count)

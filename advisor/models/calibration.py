"""Fits `t = a + modelled/eta` to telemetry: robust, from a prior, with its uncertainty.

A prior is worth a few samples; with none the fit is the prior, with many it is the data. Outliers
(a step that waited for something else) are bounded by Huber weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from advisor.models.arrays import Floats, Numbers, floats
from advisor.models.roofline import Calibration

VERSION = "calibration/2"
LEAST_NOISE_RATIO = 0.02  # telemetry is never better than this
FIRST_NOISE_RATIO = 0.12  # median error of the phase model, docs/models/latency.md
HUBER = 1.345  # 95 % as good as least squares where errors are normal (Huber 1964)
BUSY_SM_RATIO = 0.9  # of SMs while prompts are computed, between kernels too: assumed
_ROUNDS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """What is believed before any sample; `slope` is `1/eta`."""

    overhead_seconds: float = 0.0
    overhead_sd_seconds: float = 2e-3
    slope: float = 1.0
    slope_sd: float = 0.25  # 90 % of errors within 0.37 (experts, docs/models/latency.md)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A calibration with a 90 % interval of its efficiency and of its overhead."""

    calibration: Calibration
    efficiency_low: float
    efficiency_high: float
    overhead_low_seconds: float
    overhead_high_seconds: float
    noise_ratio: float
    samples: int

    @property
    def spread_ratio(self) -> float:
        """Half of the efficiency's interval, as a share of it."""
        return (self.efficiency_high - self.efficiency_low) / 2 / self.calibration.efficiency


def fit(modelled_seconds: Numbers, measured_seconds: Numbers, prior: Prior | None = None) -> Fit:
    """The calibration of the samples; those that are not positive and finite are left out.

    Residuals are relative, so that a slow step weighs no more than a fast one.
    """
    before = prior or Prior()
    x, t = (
        np.atleast_1d(v)
        for v in np.broadcast_arrays(floats(modelled_seconds), floats(measured_seconds))
    )
    known = np.isfinite(x) & np.isfinite(t) & (x > 0) & (t > 0)
    x, t = x[known], t[known]
    design = np.stack([1 / t, x / t], axis=1)
    mean = np.array([before.overhead_seconds, before.slope])
    precision = np.diag([before.overhead_sd_seconds**-2, before.slope_sd**-2])
    theta, covariance, noise = mean, np.linalg.inv(precision), FIRST_NOISE_RATIO
    for _ in range(_ROUNDS if t.size else 0):
        residual = 1 - design @ theta
        noise = _noise(residual)
        weight = np.minimum(1.0, HUBER * noise / np.maximum(np.abs(residual), 1e-12))
        information = (design.T * weight) @ design / noise**2 + precision
        covariance = np.linalg.inv(information)
        theta = covariance @ ((design.T * weight) @ np.ones_like(t) / noise**2 + precision @ mean)
    return _fit(theta, covariance, noise, int(t.size))


def _noise(residual: Floats) -> float:
    """Spread of the residuals around 0 by their median; few samples lean on what is usual."""
    n = residual.size
    own = 1.4826 * float(np.median(np.abs(residual)))
    return max(LEAST_NOISE_RATIO, (n * own + 4 * FIRST_NOISE_RATIO) / (n + 4))


def _fit(theta: Floats, covariance: Floats, noise: float, samples: int) -> Fit:
    z = NormalDist().inv_cdf(0.95)
    sd = np.sqrt(np.diag(covariance))
    slope = max(float(theta[1]), 1e-3)
    return Fit(
        calibration=Calibration(overhead_seconds=float(theta[0]), efficiency=1 / slope),
        efficiency_low=1 / (slope + z * float(sd[1])),
        efficiency_high=1 / max(slope - z * float(sd[1]), 1e-3),
        overhead_low_seconds=float(theta[0] - z * sd[0]),
        overhead_high_seconds=float(theta[0] + z * sd[0]),
        noise_ratio=noise,
        samples=samples,
    )


def own_seconds(
    counted_seconds: float, busy_ratio: float | None, engines: int, requests_per_second: float
) -> float:
    """What one request takes of an engine, where what was counted may hold others beside it.

    vLLM counts a prefill from when it is scheduled to its first token: prompts computed together
    each count all of them. By the utilisation law an engine's busy share is its requests/s times
    what each takes, whatever is computed together; the smaller of the two is taken.

    Args:
        counted_seconds: Mean by the server's own count.
        busy_ratio: Share of the time that SMs are active, mean of the engines; None: not known.
        engines: Of the pool.
        requests_per_second: Of the pool.
    """
    if busy_ratio is None or busy_ratio <= 0 or requests_per_second <= 0:
        return counted_seconds
    by_utilisation = busy_ratio / BUSY_SM_RATIO * engines / requests_per_second
    return min(counted_seconds, by_utilisation)


def affine(speed_of_light_seconds: Numbers, seconds: Numbers) -> Calibration:
    """`a` and `eta` over the bare roofline that meet given times best; a is at least 0.

    With the phase model's times this is the prior of its kernels: 8B on one H100 gives 0.5 ms and
    0.73 in decode.
    """
    x, t = np.broadcast_arrays(floats(speed_of_light_seconds), floats(seconds))
    design = np.stack([1 / t.ravel(), x.ravel() / t.ravel()], axis=1)
    theta, *_ = np.linalg.lstsq(design, np.ones(t.size), rcond=None)
    if theta[0] < 0:
        slope = float((t / x).mean())
        return Calibration(overhead_seconds=0.0, efficiency=1 / slope)
    return Calibration(overhead_seconds=float(theta[0]), efficiency=1 / float(theta[1]))

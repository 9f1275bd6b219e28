"""Requests, what was promised about them, and how likely a queue keeps the promise."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from advisor.models.arrays import Floats, Numbers, floats

VERSION = "slo/1"
_NODES = 9  # prompt lengths that stand for their distribution


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Requests and the objectives that `attainment_ratio` of them must hold.

    Coefficients of variation: `arrival_cv` of the gaps between arrivals (1: Poisson), `prompt_cv`
    and `output_cv` of lengths, taken as log-normal.
    """

    prompt_tokens: float
    output_tokens: float
    slo_ttft_seconds: float
    slo_tpot_seconds: float
    prefix_hit_ratio: float = 0.0
    arrival_cv: float = 1.0
    prompt_cv: float = 0.0
    output_cv: float = 0.0
    attainment_ratio: float = 0.99

    def __post_init__(self) -> None:
        for name in ("prompt_tokens", "output_tokens", "slo_ttft_seconds", "slo_tpot_seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)}: need more than 0")
        if not 0 < self.attainment_ratio < 1:
            raise ValueError(f"attainment_ratio={self.attainment_ratio}: need between 0 and 1")

    @property
    def cached_tokens(self) -> float:
        """Prompt tokens that the prefix cache has."""
        return self.prompt_tokens * min(1.0, max(0.0, self.prefix_hit_ratio))

    @property
    def computed_tokens(self) -> float:
        """Prompt tokens that must be computed; at least one."""
        return max(1.0, self.prompt_tokens - self.cached_tokens)

    @property
    def context_tokens(self) -> float:
        """Mean context while decoding: long outputs are seen longer (`E[o^2]/(2E[o])`)."""
        return self.prompt_tokens + self.output_tokens * (1 + self.output_cv**2) / 2

    @property
    def each_ratio(self) -> float:
        """Share that must hold each of the two objectives, so that their product is enough."""
        return float(np.sqrt(self.attainment_ratio))

    @property
    def standard_score(self) -> float:
        """Standard score of what each objective must reach."""
        return NormalDist().inv_cdf(self.each_ratio)

    @property
    def prompt_nodes(self) -> Floats:
        """Prompt lengths at evenly spaced quantiles, scaled to keep the mean."""
        if self.prompt_cv <= 0:
            return np.array([self.prompt_tokens])
        sigma = np.sqrt(np.log1p(self.prompt_cv**2))
        shares = (np.arange(_NODES) + 0.5) / _NODES
        scores = np.array([NormalDist().inv_cdf(float(q)) for q in shares])
        lengths = np.exp(sigma * scores)
        nodes: Floats = np.maximum(1.0, self.prompt_tokens * lengths / lengths.mean())
        return nodes


def waiting_share(load_ratio: Numbers, servers: Numbers) -> Floats:
    """Share of arrivals that wait at all, `rho^(sqrt(2(c+1))-1)` (Sakasegawa 1977)."""
    rho, c = np.clip(floats(load_ratio), 0.0, 1.0), floats(servers)
    share: Floats = rho ** (np.sqrt(2 * (c + 1)) - 1)
    return share


def conditional_wait_seconds(
    load_ratio: Numbers,
    service_seconds: Numbers,
    servers: Numbers,
    arrival_cv: float,
    service_cv: float,
) -> Floats:
    """Mean wait of those that wait, `S*(Ca^2+Cs^2)/2/(c*(1-rho))` (Kingman, Allen-Cunneen)."""
    idle = np.maximum(1 - floats(load_ratio), 1e-9)
    spread = (arrival_cv**2 + service_cv**2) / 2
    return floats(service_seconds) * spread / (floats(servers) * idle)


def attained_ratio(
    work: Workload,
    load_ratio: Numbers,
    service_seconds: Numbers,
    own_seconds: Numbers,
    servers: Numbers,
) -> Floats:
    """Share of requests whose wait and own time (last axis: prompt nodes) stay within TTFT.

    The wait is 0 for most and exponential for the rest; own times are those of `prompt_nodes`.
    """
    rho, service = floats(load_ratio), floats(service_seconds)
    left = work.slo_ttft_seconds - floats(own_seconds)
    share = waiting_share(rho, servers)
    scale = conditional_wait_seconds(rho, service, servers, work.arrival_cv, work.prompt_cv)
    late = share[..., None] * np.exp(-np.maximum(left, 0.0) / np.maximum(scale, 1e-12)[..., None])
    each = np.where(left >= 0, 1 - late, 0.0)
    return np.where(rho < 1, each.mean(axis=-1), 0.0)


def mean_within(limit: Numbers, spread: float, engines: float) -> Floats:
    """Largest mean L whose quantile `L + spread*sqrt(L/engines)` stays within `limit`.

    The number in service at many servers is near normal with a variance of its mean (M/G/inf);
    engines share the fluctuation of all.
    """
    k = spread / np.sqrt(engines)
    root = (-k + np.sqrt(k**2 + 4 * np.maximum(floats(limit), 0.0))) / 2
    mean: Floats = np.maximum(root, 0.0) ** 2
    return mean


def batch_spread(work: Workload) -> float:
    """Standard score times the spread of a request's mean batch.

    Peakedness in heavy traffic `(Ca^2+Cs^2)/(1+Cs^2)` (Whitt 1992), 1 for Poisson arrivals; a
    request averages over its own life, which takes a third off the variance.
    """
    peakedness = (work.arrival_cv**2 + work.output_cv**2) / (1 + work.output_cv**2)
    return max(0.0, work.standard_score) * float(np.sqrt(peakedness * 2 / 3))

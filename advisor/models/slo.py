"""Requests, what was promised about them, and how likely a queue keeps the promise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from advisor.models import length_shape
from advisor.models.arrays import Floats, Numbers, floats
from advisor.models.length_shape import Shape

VERSION = "slo/3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Requests and the objectives that `attainment_ratio` of them must hold.

    Coefficients of variation: `arrival_cv` of the gaps between arrivals (1: Poisson), `prompt_cv`
    and `output_cv` of lengths. `prompts` is how prompts were counted to spread; without it they are
    log-normal by their variation. `slo_tpot_seconds` is the mean of a request; `slo_itl_seconds` is
    what no gap between two of its tokens may pass (TBT), for those who watch answers appear.
    """

    prompt_tokens: float
    output_tokens: float
    slo_ttft_seconds: float
    slo_tpot_seconds: float
    slo_itl_seconds: float = math.inf
    prefix_hit_ratio: float = 0.0
    arrival_cv: float = 1.0
    prompt_cv: float = 0.0
    output_cv: float = 0.0
    attainment_ratio: float = 0.99
    prompts: Shape | None = None

    def __post_init__(self) -> None:
        objectives = ("slo_ttft_seconds", "slo_tpot_seconds", "slo_itl_seconds")
        for name in ("prompt_tokens", "output_tokens", *objectives):
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
    def prompt_shape(self) -> Shape:
        """Prompt lengths that stand for all, and their shares."""
        return self.prompts or length_shape.lognormal(self.prompt_cv)

    @property
    def prompt_nodes(self) -> Floats:
        """These lengths in tokens."""
        return self.prompt_shape.lengths(self.prompt_tokens)

    @property
    def context_of_a_prompt_token(self) -> float:
        """Tokens of its own prompt before a computed token, on average over tokens.

        Half of a prompt's length, and long prompts have more of the tokens: `(1 + cv^2)` times.
        """
        wider = 1 + self.prompt_cv**2
        return wider * (self.cached_tokens + self.computed_tokens / 2)


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
    return np.where(rho < 1, each @ np.array(work.prompt_shape.shares), 0.0)


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


def cache_spread(work: Workload) -> float:
    """Likewise of the cache that running requests hold, in contexts of mean length.

    Requests differ in what they hold: a sum of Poisson many contexts has a variance larger by
    `1 + cv^2`, of a context in flight (prompt and progress apart; progress of log-normal answers).
    """
    mean, wider = work.output_tokens, 1 + work.output_cv**2
    progress = mean**2 * (wider**3 / 3 - wider**2 / 4)
    variance = (work.prompt_cv * work.prompt_tokens) ** 2 + progress
    return batch_spread(work) * float(np.sqrt(1 + variance / work.context_tokens**2))

"""Requests: when they arrive and how long their prompts and outputs are.

Lengths are mixtures of lognormals fitted to public traces by expectation maximisation on the
natural logarithm of the length: four components started at the quantiles 1/8, 3/8, 5/8 and 7/8,
400 iterations, standard deviations kept above 0.05, draws cut at the longest length of the trace.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]
DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Lengths:
    """A mixture of lognormals cut at `longest` tokens."""

    weights: tuple[float, ...]
    means_log: tuple[float, ...]
    deviations_log: tuple[float, ...]
    longest: float

    def draw(self, rng: np.random.Generator, count: int) -> Floats:
        """`count` lengths in whole tokens, at least 1."""
        part = np.searchsorted(np.cumsum(self.weights)[:-1], rng.random(count))
        mean, deviation = np.array(self.means_log)[part], np.array(self.deviations_log)[part]
        tokens = np.exp(mean + deviation * rng.standard_normal(count))
        return np.clip(np.rint(tokens), 1.0, self.longest)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Token lengths of one kind of traffic and how bursty its arrivals are."""

    prompt: Lengths
    output: Lengths
    interarrival_cv: float  # coefficient of variation of the time between requests
    source: str


# Azure: Azure/AzurePublicDataset at b469a11, AzureLLMInferenceTrace_{code,conv}.csv (2023),
# 8,819 and 19,366 requests. Mooncake: kvcache-ai/Mooncake at 3b5a594, conversation trace, 12,031.
# The code trace's own coefficient is 13: a handful of long silences; 3 keeps its bursts.
TRAFFIC: Mapping[str, Traffic] = MappingProxyType(
    {
        "azure-conv": Traffic(
            Lengths(
                (0.1926, 0.2339, 0.4024, 0.1711),
                (5.4397, 5.9889, 6.9960, 8.0056),
                (1.0057, 0.0500, 0.0993, 0.3797),
                14_050,
            ),
            Lengths(
                (0.0197, 0.6479, 0.0555, 0.2769),
                (2.7295, 4.5616, 6.2573, 6.0039),
                (0.1850, 0.4680, 0.1923, 0.0500),
                1_000,
            ),
            1.09,
            "Azure LLM inference trace 2023, conversation",
        ),
        "azure-code": Traffic(
            Lengths(
                (0.3059, 0.3216, 0.3173, 0.0552),
                (5.4810, 7.1383, 7.9895, 8.9003),
                (1.2656, 0.4823, 0.4460, 0.0500),
                7_437,
            ),
            Lengths(
                (0.0716, 0.2233, 0.4243, 0.2808),
                (1.7942, 2.1363, 2.6433, 3.7790),
                (0.0500, 0.1699, 0.3420, 0.8680),
                1_899,
            ),
            3.0,
            "Azure LLM inference trace 2023, code",
        ),
        "mooncake-conversation": Traffic(
            Lengths(
                (0.1068, 0.1072, 0.4594, 0.3266),
                (6.8212, 7.2489, 8.7863, 9.7822),
                (0.0500, 0.2317, 0.7313, 0.7804),
                126_195,
            ),
            Lengths(
                (0.2356, 0.2441, 0.2771, 0.2431),
                (3.4016, 5.7295, 6.1139, 5.9303),
                (1.4638, 0.7140, 0.2228, 0.3457),
                2_000,
            ),
            1.1,
            "Mooncake FAST'25 conversation trace",
        ),
    }
)


def diurnal_factor(seconds: float, amplitude: float) -> float:
    """Load over its daily mean: lowest at 03:00 UTC, highest at 15:00 UTC."""
    return 1.0 - amplitude * math.cos(2 * math.pi * (seconds / DAY_SECONDS - 0.125))


class Arrivals:
    """A Gamma renewal process whose rate may change at any time.

    Gaps are drawn with mean 1 and spent in requests, not in seconds, so that a change of the rate
    needs no redraw.
    """

    def __init__(self, rng: np.random.Generator, cv: float) -> None:
        self._rng = rng
        self._shape = 1.0 / (cv * cv)
        self._next = float(rng.gamma(self._shape, 1.0 / self._shape))

    def draw(self, rate_per_second: float, seconds: float) -> Floats:
        """Arrival times of the next `seconds`, from 0, ascending."""
        budget = rate_per_second * seconds
        if budget <= 0.0:
            return np.empty(0)
        times = np.array([self._next])
        while times[-1] < budget:
            count = int(budget) + 16
            gaps = self._rng.gamma(self._shape, 1.0 / self._shape, count)
            times = np.concatenate([times, times[-1] + np.cumsum(gaps)])
        inside = int(np.searchsorted(times, budget))
        self._next = float(times[inside]) - budget
        return times[:inside] / rate_per_second

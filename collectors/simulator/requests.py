"""Requests as rows of one table, and the users who send them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collectors.simulator.roofline import Roofline
from collectors.simulator.workload import Arrivals, Traffic

PROMPT, TRANSFER, QUEUED, RUNNING, DONE = range(5)
REQUEST = np.dtype(
    [
        ("seq", "i8"),
        ("phase", "i8"),
        ("engine", "i8"),
        ("source", "i8"),  # the engine that computed the prompt
        ("arrived", "f8"),
        ("ready", "f8"),  # when the present phase may begin
        ("work", "f8"),  # seconds of prompt computation left, at full clock
        ("cost", "f8"),  # the same at the start
        ("prompt", "f8"),
        ("cached", "f8"),
        ("output", "f8"),
        ("produced", "f8"),
    ]
)


@dataclass(slots=True)
class Demand:
    """What users ask for now."""

    requests_per_second: float
    prompt_scale: float = 1.0
    output_scale: float = 1.0
    prefix_hit_ratio: float = 0.25


class Users:
    """Everybody who sends requests to a service, drawn from a published trace's statistics."""

    def __init__(self, traffic: Traffic, roofline: Roofline, rng: np.random.Generator) -> None:
        self._traffic, self._roofline, self._rng = traffic, roofline, rng
        self._arrivals = Arrivals(rng, traffic.interarrival_cv)
        self._seq = 0

    def ask(self, now: float, seconds: float, demand: Demand) -> np.ndarray:
        """Requests that arrive from `now` (s) on for `seconds`, as rows of REQUEST."""
        arrived = now + self._arrivals.draw(demand.requests_per_second, seconds)
        count, traffic = len(arrived), self._traffic
        new = np.zeros(count, dtype=REQUEST)
        new["seq"] = self._seq + np.arange(count)
        self._seq += count
        new["phase"], new["arrived"], new["ready"] = PROMPT, arrived, arrived
        longest = 0.25 * self._roofline.kv_capacity_tokens
        prompt = np.rint(traffic.prompt.draw(self._rng, count) * demand.prompt_scale)
        new["prompt"] = np.clip(prompt, 1.0, longest)
        output = np.rint(traffic.output.draw(self._rng, count) * demand.output_scale)
        new["output"] = np.clip(output, 1.0, longest)
        mean = demand.prefix_hit_ratio
        spread = min(0.2, mean, 1.0 - mean)
        hit = mean + spread * self._rng.uniform(-1.0, 1.0, count)
        new["cached"] = np.floor(new["prompt"] * hit)
        computed = new["prompt"] - new["cached"]
        new["cost"] = self._roofline.prefill_seconds(computed, new["prompt"])
        new["work"] = new["cost"]
        return new

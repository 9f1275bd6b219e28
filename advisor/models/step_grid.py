"""Step times of one engine on a grid, so that a simulation of events can ask for a million."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

from advisor.models.phases import (
    decode_step_seconds,
    mixed_step_seconds,
    most_sequences,
)
from advisor.models.replica import Replica
from advisor.models.slo import Workload


class StepGrid:
    """Step times of a replica on a grid, read in a microsecond.

    `chunk` are the prompt tokens that a step of one data rank takes, 0 where none are prefilled.
    """

    def __init__(self, replica: Replica, work: Workload, chunk: float) -> None:
        room = max(1.0, float(most_sequences(replica, work.context_tokens)))
        self.batches = np.unique(np.rint(np.geomspace(1, max(2.0, 2 * room), 40))).tolist()
        longest = 4 * (work.prompt_tokens + work.output_tokens)
        self.contexts = np.linspace(1, longest, 12).tolist()
        b, c = np.array(self.batches)[:, None], np.array(self.contexts)[None, :]
        plain = decode_step_seconds(replica, b, c)
        self.plain = plain.tolist()
        self.chunk = chunk * replica.layout.data  # of all data ranks together
        if chunk:
            back = max(1.0, work.context_of_a_prompt_token)
            first = mixed_step_seconds(replica, b, c, chunk, 0.0)
            further = (mixed_step_seconds(replica, b, c, chunk, back) - first) / back
            self.extra, self.further = (first - plain).tolist(), further.tolist()
            self.alone = float(mixed_step_seconds(replica, 0.0, 1.0, chunk, 0.0))
            later = float(mixed_step_seconds(replica, 0.0, 1.0, chunk, back))
            self.alone_further = (later - self.alone) / back

    def seconds(
        self, batch: int, context: float, tokens: float = 0.0, back_tokens: float = 0.0
    ) -> float:
        """One step of `batch` sequences of a mean context, with `tokens` of a prompt.

        These look back on `back_tokens` of their prompt, which is taken as linear.
        """
        if batch == 0:
            return (self.alone + self.alone_further * back_tokens) * tokens / self.chunk
        i, u = _place(self.batches, batch)
        j, v = _place(self.contexts, context)
        t = _bilinear(self.plain, i, j, u, v)
        if tokens:
            more = _bilinear(self.further, i, j, u, v) * back_tokens
            t += (_bilinear(self.extra, i, j, u, v) + more) * tokens / self.chunk
        return t


def _place(points: list[float], value: float) -> tuple[int, float]:
    """The point after a value, and how far the value is from the one before to it."""
    i = min(bisect_right(points, value), len(points) - 1)
    return i, (value - points[i - 1]) / (points[i] - points[i - 1])


def _bilinear(grid: list[list[float]], i: int, j: int, u: float, v: float) -> float:
    low, high = grid[i - 1], grid[i]
    a = low[j - 1] + v * (low[j] - low[j - 1])
    b = high[j - 1] + v * (high[j] - high[j - 1])
    return a + u * (b - a)

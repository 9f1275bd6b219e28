"""When a collector runs: a fixed grid of instants, without drift."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(slots=True)
class Grid:
    """Instants `start + k * interval`, in seconds of any clock."""

    start: float
    interval: float
    _last: int = -1

    def next(self, now: float) -> tuple[float, int]:
        """The next instant to run at and how many were skipped because a run took too long.

        An instant that is already past is used when it is the latest one past, so that one late
        run does not cost two samples.
        """
        due = self._last + 1
        latest = math.floor((now - self.start) / self.interval)
        skipped = max(0, latest - due)
        self._last = due + skipped
        return self.start + self._last * self.interval, skipped

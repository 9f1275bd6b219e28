"""The last valid reading of every counter of every device; `kernels.fold` takes differences."""

from __future__ import annotations

import numpy as np

from streams.slots import grown

NEVER = -(2**62)


class Predecessors:
    """Readings by slot, and the time of the newest row of each device.

    Args:
        counters: How many counters a row has.
    """

    def __init__(self, counters: int) -> None:
        self.arrays = (
            np.zeros((0, counters), dtype=np.uint64),
            np.zeros((0, counters), dtype=np.int64),
        )
        self.last = np.zeros(0, dtype=np.int64)
        self.ordered = np.zeros(0, dtype=np.int64)  # scratch of `kernels.in_order`

    def keep(self, slots: np.ndarray) -> None:
        """Forget all but these slots, which become 0, 1, ... in their order."""
        value, ts = self.arrays
        self.arrays = (value[slots], ts[slots])
        self.last, self.ordered = self.last[slots], self.ordered[slots]

    def grow(self, size: int) -> None:
        """Have room for `size` slots."""
        if len(self.last) < size:
            value, ts = self.arrays
            self.arrays = (grown(value, size, 0), grown(ts, size, NEVER))
            self.last = grown(self.last, size, NEVER)
            self.ordered = grown(self.ordered, size, NEVER)

"""The last valid reading of every counter of every device; `kernels.fold` takes differences."""

from __future__ import annotations

import numpy as np

from ridgeline.schema import MISSING_COUNTER
from streams.slots import NEVER, grown


class Predecessors:
    """Readings by slot, and the time of the newest row of each device.

    `arrays`: that time; whether every counter was last read then, or never was; the readings; when
    each was taken, to be looked at only where they were not all taken together.

    Args:
        counters: How many counters a row has.
    """

    def __init__(self, counters: int) -> None:
        self.arrays: tuple[np.ndarray, ...] = (
            np.zeros(0, dtype=np.int64),
            np.zeros(0, dtype=np.bool_),
            np.zeros((0, counters), dtype=np.uint64),
            np.zeros((0, counters), dtype=np.int64),
        )

    @property
    def last(self) -> np.ndarray:
        """Time of the newest row used, ms, by slot."""
        return self.arrays[0]

    @property
    def value(self) -> np.ndarray:
        """The readings, `[slot, counter]`; `MISSING_COUNTER`: never read."""
        return self.arrays[2]

    def keep(self, slots: np.ndarray) -> None:
        """Forget all but these slots, which become 0, 1, ... in their order."""
        self.arrays = tuple(a[slots] for a in self.arrays)

    def grow(self, size: int) -> None:
        """Have room for `size` slots."""
        if len(self.last) < size:
            empty = (NEVER, 1, MISSING_COUNTER, NEVER)
            self.arrays = tuple(grown(a, size, e) for a, e in zip(self.arrays, empty, strict=True))

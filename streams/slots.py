"""Dense slot numbers for 64-bit device ids, so that state can be plain arrays."""

from __future__ import annotations

import numpy as np

_FIRST = 64


class Slots:
    """Gives each device of a partition a small number, for as long as the partition is ours.

    Args:
        limit: Devices past this many get slot -1; the caller drops their rows.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.count = 0
        self.device = np.zeros(0, dtype=np.uint64)
        self.node = np.zeros(0, dtype=np.uint64)
        self._order = np.zeros(0, dtype=np.int64)

    def of(self, devices: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        """Slots of devices (repeats allowed), made for the unknown ones; -1 past the limit."""
        found = self.find(devices)
        if (found < 0).any() and self.count < self.limit:
            fresh, first = np.unique(devices[found < 0], return_index=True)
            fresh, first = fresh[: self.limit - self.count], first[: self.limit - self.count]
            self.device = np.concatenate((self.device, fresh))
            self.node = np.concatenate((self.node, nodes[found < 0][first]))
            self.count = len(self.device)
            self._order = np.argsort(self.device)
            found = self.find(devices)
        return found

    def find(self, devices: np.ndarray) -> np.ndarray:
        """Slots of devices; -1 for the unknown."""
        if not self.count:
            return np.full(len(devices), -1, dtype=np.int64)
        at = np.searchsorted(self.device, devices, sorter=self._order)
        slots = self._order[np.minimum(at, self.count - 1)]
        return np.where(self.device[slots] == devices, slots, -1)


def grown(array: np.ndarray, size: int, fill: float) -> np.ndarray:
    """The array with room for at least `size` along its first axis; new room holds `fill`."""
    if len(array) >= size:
        return array
    room = max(_FIRST, size, 2 * len(array))
    out = np.full((room, *array.shape[1:]), fill, dtype=array.dtype)
    out[: len(array)] = array
    return out

"""Dense slot numbers for 64-bit device ids, so that state can be plain arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from streams.kernels import enter, found, located

NEVER = -(2**62)
"""Before any time, ms."""
_FIRST = 64


class BySlot(Protocol):
    """State that is dense by slot."""

    def keep(self, slots: np.ndarray) -> None:
        """Forget all but these slots, which become 0, 1, ... in their order."""


class Slots:
    """Gives each device of a partition a small number, for as long as the partition is ours.

    Args:
        limit: Devices past this many get slot -1; the caller drops their rows.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._clear()

    def _clear(self) -> None:
        self.count = 0
        self._device = np.zeros(_FIRST, dtype=np.uint64)
        self._node = np.zeros(_FIRST, dtype=np.uint64)
        self._newest = np.full(_FIRST, NEVER, dtype=np.int64)  # ms, of any row asked about
        self._table = np.full(4 * _FIRST, -1, dtype=np.int32)  # at most half full

    @property
    def device(self) -> np.ndarray:
        """Device ids by slot."""
        return self._device[: self.count]

    @property
    def node(self) -> np.ndarray:
        """Node ids by slot."""
        return self._node[: self.count]

    def memory(self) -> dict[str, np.ndarray]:
        """Devices and nodes by slot."""
        return {"device": self.device, "node": self.node}

    def restore(self, memory: Mapping[str, np.ndarray]) -> None:
        """Give the devices of a memory the slots they had."""
        self._fill(memory["device"], memory["node"])

    def keep(self, slots: np.ndarray) -> None:
        """Forget all but these slots, which become 0, 1, ... in their order."""
        newest = self._newest[slots]
        self._fill(self.device[slots], self.node[slots])
        self._newest[: self.count] = newest

    def _fill(self, device: np.ndarray, node: np.ndarray) -> None:
        self._clear()
        self._enter(np.stack((node, device), axis=1))

    def of(self, words: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, bool]:
        """Slots of the devices of some rows, made for the unknown ones; -1 past the limit.

        And whether every device's rows are in time order, after all that were asked about before.

        Args:
            words: Rows as 32-bit words (see `kernels`).
            index: Which rows, int64.
        """
        slots, unknown, ordered = self._located(words, index)
        if unknown and self.count < self.limit:
            rows = words[index[slots < 0]]
            ids = np.ascontiguousarray(rows[:, 2:6]).view("<u8")
            _, first = np.unique(ids[:, 1], return_index=True)
            first.sort()  # in the order in which they report: the next row is the next slot's
            self._enter(ids[first[: self.limit - self.count]])
            slots, _, ordered = self._located(words, index)
        return np.asarray(slots), bool(ordered)

    def _located(self, words: np.ndarray, index: np.ndarray) -> Any:
        return located(
            words, index, self._table, self._device, self._node, self._newest, self.count
        )

    def find(self, devices: np.ndarray) -> np.ndarray:
        """Slots of device ids; -1 for the unknown."""
        return found(np.asarray(devices, dtype=np.uint64), self._table, self._device)

    def _enter(self, ids: np.ndarray) -> None:
        """Give the next slots to these nodes' devices, `[row, (node, device)]`."""
        start, self.count = self.count, self.count + len(ids)
        self._device = grown(self._device, self.count, 0)
        self._node = grown(self._node, self.count, 0)
        self._newest = grown(self._newest, self.count, NEVER)
        self._node[start : self.count], self._device[start : self.count] = ids.T
        size = len(self._table)
        while size < 2 * self.count:
            size *= 2
        if size > len(self._table):
            self._table, start = np.full(size, -1, dtype=np.int32), 0
        enter(self._table, self._device, start, self.count)


def grown(array: np.ndarray, size: int, fill: float, axis: int = 0) -> np.ndarray:
    """The array with room for at least `size` along an axis; new room holds `fill`."""
    have = array.shape[axis]
    if have >= size:
        return array
    room = max(_FIRST, size, 2 * have)
    shape = (*array.shape[:axis], room, *array.shape[axis + 1 :])
    out = np.full(shape, fill, dtype=array.dtype)
    out[(slice(None),) * axis + (slice(0, have),)] = array
    return out

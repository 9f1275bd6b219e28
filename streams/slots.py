"""Dense slot numbers for 64-bit device ids, so that state can be plain arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from streams.kernels import found, place, rebuild, settle

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
        self.count = 0
        self._device = np.zeros(_FIRST, dtype=np.uint64)
        self._node = np.zeros(_FIRST, dtype=np.uint64)
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
        self._fill(self.device[slots], self.node[slots])

    def _fill(self, device: np.ndarray, node: np.ndarray) -> None:
        size = 4 * _FIRST
        while size < 2 * len(device):
            size *= 2
        self.count = len(device)
        self._device, self._node = grown(device.copy(), _FIRST, 0), grown(node.copy(), _FIRST, 0)
        self._table = np.full(size, -1, dtype=np.int32)
        rebuild(self._table, self._device, self.count)

    def of(self, words: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Slots of the devices of some rows, made for the unknown ones; -1 past the limit.

        Args:
            words: Rows as 32-bit words (see `kernels`).
            index: Which rows, int64.
        """
        slots, unknown = found(words, index, self._table, self._device)
        if unknown and self.count < self.limit:
            rows = words[index[slots < 0]]
            ids = np.ascontiguousarray(rows[:, 2:6]).view("<u8")
            fresh, first = np.unique(ids[:, 1], return_index=True)
            for device, node in zip(fresh, ids[first, 0], strict=True):
                if self.count < self.limit:
                    self._enter(device, node)
            slots, _ = found(words, index, self._table, self._device)
        settle(words, index, slots, self._node)
        return np.asarray(slots)

    def find(self, devices: np.ndarray) -> np.ndarray:
        """Slots of device ids; -1 for the unknown."""
        words = np.zeros((len(devices), 6), dtype=np.uint32)
        words[:, 4:6] = np.ascontiguousarray(devices, dtype="<u8").view("<u4").reshape(-1, 2)
        slots, _ = found(words, np.arange(len(devices)), self._table, self._device)
        return np.asarray(slots)

    def _enter(self, device: np.uint64, node: np.uint64) -> None:
        self._device = grown(self._device, self.count + 1, 0)
        self._node = grown(self._node, self.count + 1, 0)
        if 2 * (self.count + 1) > len(self._table):
            self._table = np.full(2 * len(self._table), -1, dtype=np.int32)
            rebuild(self._table, self._device, self.count)
        self._device[self.count], self._node[self.count] = device, node
        place(self._table, self._device, self.count)
        self.count += 1


def grown(array: np.ndarray, size: int, fill: float) -> np.ndarray:
    """The array with room for at least `size` along its first axis; new room holds `fill`."""
    if len(array) >= size:
        return array
    room = max(_FIRST, size, 2 * len(array))
    out = np.full((room, *array.shape[1:]), fill, dtype=array.dtype)
    out[: len(array)] = array
    return out


def widened(array: np.ndarray, size: int, fill: float) -> np.ndarray:
    """The same along the last axis, for arrays that keep a column together."""
    if array.shape[-1] >= size:
        return array
    room = max(_FIRST, size, 2 * array.shape[-1])
    out = np.full((*array.shape[:-1], room), fill, dtype=array.dtype)
    out[..., : array.shape[-1]] = array
    return out

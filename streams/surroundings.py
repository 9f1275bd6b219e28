"""What is known around a device: who it is, its node's LLM servers, its loop's cooling unit.

One per process. Inventory and cooling units are seen by the one worker that reads their partition;
with several workers each also reads the inventory from the store (see `Inventory.load`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from ridgeline.events import InventoryItem, Pool
from streams.episodes import Who
from streams.ring import Ring
from streams.slots import Slots

STALE_MS = 30_000
SERVING_COLUMNS = (
    "requests_running",
    "requests_waiting",
    "kv_cache_usage_ratio",
    "prompt_tokens",
    "generation_tokens",
    "preemptions",
)


@dataclass(slots=True)
class Inventory:
    """The newest item of every device."""

    items: dict[int, InventoryItem] = field(default_factory=dict)
    version: int = 0

    def load(self, items: Iterable[InventoryItem]) -> None:
        """Take items; older ones than known are ignored."""
        for item in items:
            known = self.items.get(item.device)
            if known is None or item.seen_ms >= known.seen_ms:
                self.items[item.device] = item
                moved = known is None or (known.pool, known.rack) != (item.pool, item.rack)
                self.version += moved

    def who(self, device: int) -> Who:
        """The name of a device, or its number when nobody introduced it."""
        item = self.items.get(device)
        if item is None:
            return Who(subject=f"device {device:016x}")
        name = f"gpu{item.index}" if item.kind == "gpu" and item.index is not None else item.name
        subject = name if item.kind == "facility" else f"{item.host} {name}"
        return Who(subject=subject, pool=item.pool)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeNumbers:
    """Numbers of LLM servers by node, sorted by node."""

    end_ms: int
    nodes: np.ndarray
    numbers: dict[str, np.ndarray]


@dataclass(slots=True)
class Board:
    """The latest values that other families' detectors look at."""

    inventory: Inventory = field(default_factory=Inventory)
    servers: dict[int, NodeNumbers] = field(default_factory=dict)
    loops: dict[str, tuple[int, dict[str, float]]] = field(default_factory=dict)

    def post_serving(self, partition: int, ring: Ring, slots: Slots) -> None:
        """Remember what the LLM servers of a partition do."""
        at = np.flatnonzero(ring.present)
        nodes, group = np.unique(slots.node[at], return_inverse=True)
        numbers = {}
        for name in SERVING_COLUMNS:
            total = np.full(len(nodes), np.nan)
            value = ring.now(name)[at]
            known = ~np.isnan(value)
            sums = np.bincount(group[known], value[known], len(nodes))
            counts = np.bincount(group[known], minlength=len(nodes))
            total[counts > 0] = sums[counts > 0]
            numbers[name] = total
        self.servers[partition] = NodeNumbers(end_ms=ring.end_ms, nodes=nodes, numbers=numbers)

    def post_facility(self, ring: Ring, slots: Slots) -> None:
        """Remember what the cooling units do, by loop."""
        for slot in np.flatnonzero(ring.present):
            item = self.inventory.items.get(int(slots.device[slot]))
            supply = float(ring.now("supply_celsius")[slot])
            if item is None or not item.cooling_loop or np.isnan(supply):
                continue
            flow = ring.now("flow_liters_per_minute")[slot]
            usual_flow = ring.usual("flow_liters_per_minute")[slot]
            numbers = {
                "supply_celsius": supply,
                "supply_celsius_usual": float(ring.usual("supply_celsius")[slot]),
                "flow_share": float(flow / usual_flow) if usual_flow > 0 else float("nan"),
            }
            self.loops[item.cooling_loop] = (ring.end_ms, numbers)


class Neighbourhood:
    """The board as the devices of one partition see it (`Around` of the detectors)."""

    def __init__(self, board: Board, partition: int, slots: Slots) -> None:
        self._board, self._partition, self._slots = board, partition, slots
        self._known = (-1, -1)
        self._names: dict[str, np.ndarray] = {}
        self._end_ms = 0
        self._size = 0

    def at(self, end_ms: int, size: int) -> Neighbourhood:
        """The same, at a hop, for the first `size` slots."""
        self._end_ms, self._size = end_ms, size
        known = (self._board.inventory.version, size)
        if known != self._known:
            self._known = known
            items = self._board.inventory.items
            found = [items.get(int(d)) for d in self._slots.device[:size]]
            for name in ("pool", "rack", "rail", "cooling_loop"):
                words = [str(getattr(i, name)) if i is not None else "" for i in found]
                unknown = Pool.UNKNOWN.value
                self._names[name] = np.array([w if w != unknown else "" for w in words], dtype=str)
        return self

    @property
    def pool(self) -> np.ndarray:
        """Pool names."""
        return self._names["pool"]

    @property
    def rack(self) -> np.ndarray:
        """Rack names."""
        return self._names["rack"]

    @property
    def rail(self) -> np.ndarray:
        """Rail names."""
        return self._names["rail"]

    @property
    def loop(self) -> np.ndarray:
        """Cooling-loop names."""
        return self._names["cooling_loop"]

    def serving(self, name: str) -> np.ndarray:
        """A number of the LLM servers on the device's node; NaN when there is none lately."""
        out = np.full(self._size, np.nan)
        servers = self._board.servers.get(self._partition)
        if (
            servers is None
            or abs(servers.end_ms - self._end_ms) > STALE_MS
            or not len(servers.nodes)
        ):
            return out
        nodes = self._slots.node[: self._size]
        at = np.minimum(np.searchsorted(servers.nodes, nodes), len(servers.nodes) - 1)
        return np.where(servers.nodes[at] == nodes, servers.numbers[name][at], np.nan)

    def cooling(self, name: str) -> np.ndarray:
        """A number of the CDU of the device's cooling loop; NaN when there is none lately."""
        out = np.full(self._size, np.nan)
        for loop, (end_ms, numbers) in self._board.loops.items():
            if abs(end_ms - self._end_ms) <= STALE_MS:
                out[self.loop == loop] = numbers[name]
        return out

"""What is known around a device: who it is, its node's LLM servers, its loop's cooling unit.

One per process. Inventory and cooling units are seen by the one worker that reads their partition;
with several workers each also reads the inventory from the store (see `Inventory.load`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from ridgeline.events import InventoryItem, Pool
from streams.detectors.verdict import Groups
from streams.episodes import Who
from streams.ring import Ring
from streams.slots import Slots, widened

STALE_MS = 30_000
KEEP_MS = 24 * 3_600_000  # collectors introduce their devices again every few minutes
_LEAST_ITEMS = 512
_PLACES = ("pool", "rack", "rail", "loop")
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
    """The newest item of every device, and which devices changed their place since when."""

    items: dict[int, InventoryItem] = field(default_factory=dict)
    moved: list[int] = field(default_factory=list)
    forgotten: int = 0
    _newest_ms: int = 0
    _least: int = 512

    @property
    def version(self) -> int:
        """Grows with every device that is new or has moved."""
        return self.forgotten + len(self.moved)

    def load(self, items: Iterable[InventoryItem]) -> None:
        """Take items; older ones than known are ignored."""
        for item in items:
            known = self.items.get(item.device)
            if known is None or item.seen_ms >= known.seen_ms:
                self.items[item.device] = item
                if known is None or _place(known) != _place(item):
                    self.moved.append(item.device)
                self._newest_ms = max(self._newest_ms, item.seen_ms)
        self._forget()
        if len(self.moved) > 1000 + 2 * len(self.items):
            self.forgotten, self.moved = self.version, []

    def _forget(self) -> None:
        """Drop who has not been introduced again for long."""
        if len(self.items) < 2 * self._least:
            return
        since = self._newest_ms - KEEP_MS
        self.items = {d: item for d, item in self.items.items() if item.seen_ms >= since}
        self._least = max(_LEAST_ITEMS, len(self.items))

    def moved_since(self, version: int) -> list[int] | None:
        """Devices that are new or moved after `version`; None: too long ago to say."""
        return None if version < self.forgotten else self.moved[version - self.forgotten :]

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


def _place(item: InventoryItem) -> tuple[str, ...]:
    pool = "" if item.pool is Pool.UNKNOWN else item.pool.value
    return pool, item.rack, item.rail, item.cooling_loop


class Neighbourhood:
    """The board as the devices of one partition see it (`Around` of the detectors)."""

    def __init__(self, board: Board, partition: int, slots: Slots) -> None:
        self._board, self._partition, self._slots = board, partition, slots
        self._version = 0
        self._seen = 0
        self._codes = np.zeros((len(_PLACES), 0), dtype=np.int32)
        self._numbers: tuple[dict[str, int], ...] = tuple({} for _ in _PLACES)
        self._servers: tuple[NodeNumbers, np.ndarray] | None = None
        self._end_ms = 0
        self._size = 0

    def at(self, end_ms: int, size: int) -> Neighbourhood:
        """The same, at a hop, for the first `size` slots."""
        inventory = self._board.inventory
        moved = inventory.moved_since(self._version)
        known = 0 if moved is None else self._seen
        self._codes = widened(self._codes, size, -1)
        if moved:
            at = self._slots.find(np.array(moved, dtype=np.uint64))
            self._enter(int(slot) for slot in at if 0 <= slot < known)
        self._enter(range(known, size))
        self._version, self._seen = inventory.version, size
        self._end_ms, self._size = end_ms, size
        self._servers = self._find_servers(end_ms)
        return self

    def keep(self, slots: np.ndarray) -> None:
        """Forget all but these slots, which become 0, 1, ... in their order."""
        self._codes = np.ascontiguousarray(self._codes[:, slots])
        self._seen = self._size = len(slots)
        self._servers = None

    def _enter(self, slots: Iterable[int]) -> None:
        for slot in slots:
            item = self._board.inventory.items.get(int(self._slots.device[slot]))
            for i, name in enumerate(("",) * len(_PLACES) if item is None else _place(item)):
                numbers = self._numbers[i]
                self._codes[i, slot] = numbers.setdefault(name, len(numbers)) if name else -1

    def _groups(self, place: str) -> Groups:
        i = _PLACES.index(place)
        return Groups(self._codes[i, : self._size], tuple(self._numbers[i]))

    @property
    def pool(self) -> Groups:
        """Pools."""
        return self._groups("pool")

    @property
    def rack(self) -> Groups:
        """Racks."""
        return self._groups("rack")

    @property
    def rail(self) -> Groups:
        """Rails."""
        return self._groups("rail")

    @property
    def loop(self) -> Groups:
        """Cooling loops."""
        return self._groups("loop")

    def _find_servers(self, end_ms: int) -> tuple[NodeNumbers, np.ndarray] | None:
        servers = self._board.servers.get(self._partition)
        if servers is None or abs(servers.end_ms - end_ms) > STALE_MS or not len(servers.nodes):
            return None
        nodes = self._slots.node[: self._size]
        at = np.minimum(np.searchsorted(servers.nodes, nodes), len(servers.nodes) - 1)
        return servers, np.where(servers.nodes[at] == nodes, at, -1)

    def serving(self, name: str) -> np.ndarray:
        """A number of the LLM servers on the device's node; NaN when there is none lately."""
        if self._servers is None:
            return np.full(self._size, np.nan)
        servers, at = self._servers
        return np.where(at >= 0, servers.numbers[name][at], np.nan)

    def cooling(self, name: str) -> np.ndarray:
        """A number of the CDU of the device's cooling loop; NaN when there is none lately."""
        fresh = {
            loop: numbers[name]
            for loop, (end_ms, numbers) in self._board.loops.items()
            if abs(end_ms - self._end_ms) <= STALE_MS
        }
        return self.loop.value(fresh)

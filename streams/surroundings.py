"""What is known around a device: who it is, its node's LLM servers, its loop's cooling unit.

All of it by event time: what a verdict about a moment sees does not depend on what was read first.
Servers are in the partition of the same number; cooling units in any, which each worker follows.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from ridgeline.events import InventoryItem
from ridgeline.pools import Role
from ridgeline.schema import FACILITY, SERVING
from streams.detectors.verdict import Groups
from streams.episodes import Who
from streams.facts import Facts, Numbers, Snapshot, Source
from streams.memory import Arrays, as_text, text_of
from streams.ring import Ring
from streams.slots import NEVER, Slots, grown

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
COOLING_NUMBERS = ("supply_celsius", "supply_celsius_usual", "flow_share")
NOT_PRUNED_MS = 120_000
"""How long facts are kept while no GPU is judged: rows may still come that are that old."""


@dataclass(slots=True)
class Inventory:
    """The newest item of every device, and which devices changed their place since when."""

    items: dict[int, InventoryItem] = field(default_factory=dict)
    moved: list[InventoryItem] = field(default_factory=list)
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
                    self.moved.append(item)
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

    def moved_since(self, version: int) -> list[InventoryItem]:
        """Where devices are that were new or moved after `version`; all, if that is long ago."""
        if version < self.forgotten:
            return [*self.items.values()]
        return self.moved[version - self.forgotten :]

    def who(self, device: int) -> Who:
        """The name of a device, or its number when nobody introduced it."""
        item = self.items.get(device)
        if item is None:
            return Who(subject=f"device {device:016x}")
        name = f"gpu{item.index}" if item.kind == "gpu" and item.index is not None else item.name
        subject = name if item.kind == "facility" else f"{item.host} {name}"
        return Who(subject=subject, pool=item.pool)


@dataclass(slots=True)
class Board:
    """What the partitions of this worker know about each other; `readers` are who needs it.

    A partition reads the facts of the LLM servers in the partition of its own number, and of all
    cooling units.
    """

    inventory: Inventory = field(default_factory=Inventory)
    facts: dict[Source, Facts] = field(default_factory=dict)
    _readers: dict[int, int] = field(default_factory=dict)

    def sources(self, topics: Iterable[str], partition: int) -> Iterator[tuple[Source, Facts]]:
        """Facts of these topics that matter to a partition."""
        for source, facts in self.facts.items():
            topic, number = source
            if topic in topics and (topic == FACILITY.topic or number == partition):
                yield source, facts

    def complete_ms(self, topics: Iterable[str], partition: int) -> int:
        """How far a partition may be judged that needs facts of these topics."""
        return min((f.complete_ms for _, f in self.sources(topics, partition)), default=2**62)

    def snapshots(
        self, topics: Iterable[str], partition: int, ms: int
    ) -> Iterator[tuple[Source, Snapshot]]:
        """Where these topics are to be read from by whoever goes on from that time."""
        for source, facts in self.sources(topics, partition):
            if (snapshot := facts.snapshot(ms)) is not None:
                yield source, snapshot

    def judged(self, partition: int, ms: int | None) -> None:
        """Note that a partition needs nothing of before; None: it needs nothing any more."""
        if ms is None:
            self._readers.pop(partition, None)
        else:
            self._readers[partition] = ms
        for source, facts in self.facts.items():
            needed = self.needed_ms(source)
            facts.forget(facts.until_ms - NOT_PRUNED_MS if needed is None else needed)

    def needed_ms(self, source: Source) -> int | None:
        """Up to when everybody has judged who needs facts of a source; None: nobody does."""
        topic, number = source
        if topic == SERVING.topic:
            return self._readers.get(number)
        return min(self._readers.values(), default=None)

    def trim(self, readers: Collection[int]) -> None:
        """Keep little of what no partition reads: one that comes to read it reads its log again."""
        for (topic, number), facts in self.facts.items():
            if not readers or (topic == SERVING.topic and number not in readers):
                facts.forget(facts.until_ms - NOT_PRUNED_MS)


def serving_facts(ring: Ring, slots: Slots) -> Numbers:
    """What the LLM servers of each node do, summed over them."""
    at = np.flatnonzero(ring.present)
    nodes, group = np.unique(slots.node[at], return_inverse=True)
    values = np.full((len(SERVING_COLUMNS), len(nodes)), np.nan)
    for total, name in zip(values, SERVING_COLUMNS, strict=True):
        value = ring.now(name)[at]
        known = ~np.isnan(value)
        sums = np.bincount(group[known], value[known], len(nodes))
        counts = np.bincount(group[known], minlength=len(nodes))
        total[counts > 0] = sums[counts > 0]
    return Numbers(keys=nodes, ends_ms=np.full(len(nodes), ring.end_ms), values=values)


def cooling_facts(ring: Ring, loops: Groups, before: Numbers | None) -> Numbers:
    """What the cooling units do, by loop; of a loop not seen now what was said last."""
    supply, usual = ring.now("supply_celsius"), ring.usual("supply_celsius")
    flow, usual_flow = (
        ring.now("flow_liters_per_minute"),
        ring.usual("flow_liters_per_minute"),
    )
    said: dict[str, tuple[int, tuple[float, ...]]] = {}
    if before is not None:
        rows = zip(before.keys.tolist(), before.ends_ms.tolist(), before.values.T, strict=True)
        said = {k: (end, tuple(v)) for k, end, v in rows if ring.end_ms - end <= STALE_MS}
    for slot in np.flatnonzero(ring.present & loops.known & ~np.isnan(supply)):
        share = flow[slot] / usual_flow[slot] if usual_flow[slot] > 0 else np.nan
        name = loops.names[loops.code[slot]]
        said[name] = (ring.end_ms, (float(supply[slot]), float(usual[slot]), float(share)))
    names = sorted(said)
    return Numbers(
        keys=np.array(names, dtype=np.str_),
        ends_ms=np.array([said[name][0] for name in names], dtype=np.int64),
        values=np.array([said[n][1] for n in names]).reshape(-1, len(COOLING_NUMBERS)).T,
    )


def _place(item: InventoryItem) -> tuple[str, ...]:
    pool = "" if item.pool == Role.UNKNOWN else item.pool
    return pool, item.rack, item.rail, item.cooling_loop


class Neighbourhood:
    """The board as the devices of one partition see it (`Around` of the detectors)."""

    def __init__(self, board: Board, partition: int, slots: Slots) -> None:
        self._board, self._partition, self._slots = board, partition, slots
        self._version = 0
        self._seen = 0
        self._ahead: list[InventoryItem] = []
        self._codes = np.zeros((len(_PLACES), 0), dtype=np.int32)
        self._numbers: tuple[dict[str, int], ...] = tuple({} for _ in _PLACES)
        self._serving = np.zeros((len(SERVING_COLUMNS), 0))
        self._cooling: dict[str, dict[str, float]] = {}
        self._end_ms = 0
        self._size = 0

    def at(self, end_ms: int, size: int) -> Neighbourhood:
        """The same, at a hop, for the first `size` slots."""
        self._codes = grown(self._codes, size, -1, axis=1)
        self._move(end_ms)
        self._enter(self._seen, size)
        self._seen = size
        self._end_ms, self._size = end_ms, size
        self._serving = self._find_serving(end_ms)
        self._cooling = self._find_cooling(end_ms)
        return self

    def _move(self, end_ms: int) -> None:
        """Have known devices be where they were introduced by then."""
        inventory = self._board.inventory
        if inventory.version != self._version:
            self._ahead += inventory.moved_since(self._version)
            self._version = inventory.version
        if not self._ahead:
            return
        slots = self._slots.find(np.array([i.device for i in self._ahead], dtype=np.uint64))
        known = [
            (slot, item)
            for slot, item in zip(slots.tolist(), self._ahead, strict=True)
            if 0 <= slot < self._seen  # others are looked up when their first row comes
        ]
        for slot, item in sorted(known, key=lambda pair: pair[1].seen_ms):
            if item.seen_ms <= end_ms:
                self._place(slot, item)
        self._ahead = [item for _, item in known if item.seen_ms > end_ms]

    def keep(self, slots: np.ndarray) -> None:
        """Forget all but these slots, which become 0, 1, ... in their order."""
        self._codes = np.ascontiguousarray(self._codes[:, slots])
        self._seen = self._size = len(slots)
        self._serving = np.ascontiguousarray(self._serving[:, slots])

    def memory(self, size: int) -> dict[str, np.ndarray]:
        """Where the first `size` devices are."""
        names = as_text(json.dumps([[*numbers] for numbers in self._numbers]))
        return {"codes": grown(self._codes, size, -1, axis=1)[:, :size], "names": names}

    def restore(self, memory: Arrays) -> None:
        """Go on from a memory."""
        self._codes = memory["codes"].copy()
        self._seen = self._size = self._codes.shape[1]
        self._numbers = tuple(
            {name: number for number, name in enumerate(names)}
            for names in json.loads(text_of(memory["names"]))
        )

    def _enter(self, start: int, end: int) -> None:
        items = self._board.inventory.items
        for slot, device in enumerate(self._slots.device[start:end].tolist(), start):
            if (item := items.get(device)) is not None:  # else it stays in no place that we know
                self._place(slot, item)

    def _place(self, slot: int, item: InventoryItem) -> None:
        for i, name in enumerate(_place(item)):
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

    def _find_serving(self, end_ms: int) -> np.ndarray:
        """Numbers of the LLM servers on the node of every device, `[name, slot]`."""
        facts = self._board.facts.get((SERVING.topic, self._partition))
        servers = None if facts is None else facts.at(end_ms)
        if servers is None or not len(servers.keys):
            return np.full((len(SERVING_COLUMNS), self._size), np.nan)
        nodes = self._slots.node[: self._size]
        at = np.minimum(np.searchsorted(servers.keys, nodes), len(servers.keys) - 1)
        fresh = end_ms - servers.ends_ms[at] <= STALE_MS
        values = np.take(servers.values, at, axis=1)
        values[:, (servers.keys[at] != nodes) | ~fresh] = np.nan
        return values

    def serving(self, name: str) -> np.ndarray:
        """A number of the LLM servers on the device's node; NaN when there is none lately."""
        return np.asarray(self._serving[SERVING_COLUMNS.index(name)])

    def _find_cooling(self, end_ms: int) -> dict[str, dict[str, float]]:
        """Numbers of the loops seen lately; of a loop in two partitions the newest."""
        ends: dict[str, int] = {}
        out: dict[str, dict[str, float]] = {name: {} for name in COOLING_NUMBERS}
        for _, facts in sorted(self._board.sources((FACILITY.topic,), self._partition)):
            said = facts.at(end_ms)
            if said is None:
                continue
            for loop, at, values in zip(
                said.keys.tolist(), said.ends_ms.tolist(), said.values.T.tolist(), strict=True
            ):
                if end_ms - at <= STALE_MS and at > ends.get(loop, NEVER):
                    ends[loop] = at
                    for name, value in zip(COOLING_NUMBERS, values, strict=True):
                        out[name][loop] = value
        return out

    def cooling(self, name: str) -> np.ndarray:
        """A number of the CDU of the device's cooling loop; NaN when there is none lately."""
        return self.loop.value(self._cooling[name])

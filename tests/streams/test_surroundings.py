"""What a partition's devices see of their node, rack and loop."""

from __future__ import annotations

import numpy as np

from ridgeline.events import DeviceKind, InventoryItem
from ridgeline.pools import Role
from ridgeline.schema import FACILITY, GPU, SERVING, Schema
from streams.columns import as_words
from streams.detectors.verdict import Groups
from streams.facts import Facts
from streams.ring import Ring
from streams.slots import Slots
from streams.surroundings import (
    SERVING_COLUMNS,
    STALE_MS,
    Board,
    Inventory,
    Neighbourhood,
    cooling_facts,
    serving_facts,
)
from streams.timeline import Clock, Timeline

END = 20_000


def item(device: int, rack: str, pool: str = Role.DECODE, seen_ms: int = 1) -> InventoryItem:
    """A device somewhere."""
    return InventoryItem(
        device=device,
        node=device // 10,
        kind=DeviceKind.GPU,
        host="h",
        name=f"d{device}",
        rack=rack,
        pool=pool,
        cooling_loop="loop-a",
        seen_ms=seen_ms,
    )


def slots_of(schema: Schema, devices: list[int]) -> Slots:
    """Slots of devices; a device's node is its number over ten."""
    rows = schema.empty(len(devices))
    rows["device"] = devices
    rows["node"] = rows["device"] // 10
    slots = Slots(100)
    slots.of(as_words(rows), np.arange(len(devices)))
    return slots


def ring_of(schema: Schema, columns: tuple[str, ...], rows: np.ndarray) -> tuple[Ring, Slots]:
    """A ring that has seen rows, one pane, and the slots in it."""
    ring = Ring(schema, columns, 10, 1000, learned=columns)
    line = Timeline(schema, Clock(), None, ring)
    line._waiting[END - 1000] = [(as_words(rows), np.arange(len(rows)))]
    list(line.advance(END))
    ring.slide(END, line.slots.count)
    return ring, line.slots


def test_groups_follow_the_inventory() -> None:
    """Known before or after its first sample, moved later: always where it is now."""
    board = Board()
    board.inventory.load([item(10, "r1"), item(11, "r1")])
    slots = slots_of(GPU, [10, 11, 20])
    around = Neighbourhood(board, 0, slots)

    first = around.at(END, 3).rack.count(np.array([True, False, True]))
    known = around.rack.known.tolist()
    board.inventory.load(
        [item(20, "r2"), item(11, "r2", seen_ms=2), item(10, "r3", seen_ms=END + 1)]
    )
    second = around.at(END, 3).rack

    assert [1.0, 1.0, 0.0] == first.tolist()
    assert [True, True, False] == known
    assert [1.0, 2.0, 2.0] == second.count(np.array([True, True, True])).tolist()
    assert [True, True, True] == around.pool.of_role(Role.DECODE).tolist()
    assert [1.0, 2.0, 2.0] == around.at(END + 1000, 3).rack.count(np.ones(3, bool)).tolist()
    assert ("r1", "r2", "r3") == tuple(around.rack.names)


def test_pools_of_several_services_have_their_roles() -> None:
    """A service's pool is a group of its own, and decodes like any that does."""
    board = Board()
    pools = ("chat/decode", "code/decode", "chat/mixed", "code/prefill", Role.UNKNOWN)
    board.inventory.load([item(10 + n, "r1", pool) for n, pool in enumerate(pools)])
    around = Neighbourhood(board, 0, slots_of(GPU, [10, 11, 12, 13, 14]))

    pool = around.at(END, 5).pool

    assert [True, True, True, False, False] == pool.of_role(Role.DECODE, Role.MIXED).tolist()
    assert [1.0, 1.0, 1.0, 1.0, 0.0] == pool.count(np.ones(5, bool)).tolist()


def test_an_old_follower_reads_everything_anew() -> None:
    """The list of moves is bounded; who is behind it starts over."""
    inventory = Inventory()
    for turn in range(1500):
        inventory.load([item(1, f"r{turn}", seen_ms=turn)])

    assert len(inventory.moved) <= 1002
    assert inventory.version == 1500
    assert [*inventory.items.values()] == inventory.moved_since(0)
    assert inventory.moved_since(1500) == []


def test_servers_and_coolant_are_seen_by_node_and_loop() -> None:
    """NaN for a node without server, and for everybody once the numbers are old."""
    board = Board()
    board.inventory.load([item(10, "r"), item(20, "r"), item(99, "")])
    served = SERVING.empty(2)
    served["device"], served["node"], served["ts"] = [15, 16], [1, 1], END - 500
    served["requests_running"] = [3, 4]
    for source in ((SERVING.topic, 0), (FACILITY.topic, 3)):
        board.facts[source] = Facts()
    ring, slots = ring_of(SERVING, SERVING_COLUMNS, served)
    board.facts[SERVING.topic, 0].post(END, serving_facts(ring, slots))
    cooled = FACILITY.empty(1)
    cooled["device"], cooled["ts"], cooled["supply_celsius"] = 99, END - 500, 31
    ring, _ = ring_of(FACILITY, ("supply_celsius", "flow_liters_per_minute"), cooled)
    board.facts[FACILITY.topic, 3].post(END, cooling_facts(ring, Groups.of(["loop-a"]), None))
    around = Neighbourhood(board, 0, slots_of(GPU, [10, 20]))

    now = around.at(END, 2)
    running, supply = now.serving("requests_running"), now.cooling("supply_celsius")
    later = around.at(END + STALE_MS + 1000, 2)

    assert [7.0] == running[:1].tolist()
    assert np.isnan(running[1])
    assert [31.0, 31.0] == supply.tolist()
    assert np.isnan(later.serving("requests_running")).all()
    assert np.isnan(later.cooling("supply_celsius")).all()

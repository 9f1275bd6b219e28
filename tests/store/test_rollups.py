"""Minutes, hours and places against a slow reference, whatever is repeated, late or concurrent."""

from __future__ import annotations

import math
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.chaos import offline
from ridgeline import events
from ridgeline.schema import FACILITY, MISSING_STATE, Schema, WindowField
from ridgeline.settings import StoreSettings
from ridgeline.store import Store, rollup

HOUR = 3_600_000
T0 = 1_900_000_000_000 // HOUR * HOUR  # far from every TTL
STARTS = (0, 10, 50, 60, 70, 3540, 3590, 3600, 3610, 7190)  # s: minutes and hours begin and end
DEVICES = (1, 2, 3)
FIELDS = FACILITY.window_fields
spans = count(T0, 6 * HOUR)  # every example has hours of its own
Rows = dict[tuple[int, int], dict[str, float]]


@pytest.fixture(scope="module")
def store(store_url: str) -> Iterator[Store]:
    """A migrated store of its own."""
    store = Store.connect(StoreSettings(url=store_url, database=f"r_{uuid.uuid4().hex[:12]}"))
    store.migrate()
    yield store
    store.close()


def windows(start_ms: int, seed: int) -> np.ndarray:
    """A window of every device at every start, a third of the values missing."""
    rng = np.random.default_rng(seed)
    rows = np.zeros(len(STARTS) * len(DEVICES), dtype=FACILITY.window_dtype)
    rows["window_start"] = start_ms + 1000 * np.repeat(STARTS, len(DEVICES))
    rows["device"] = np.tile(DEVICES, len(STARTS))
    rows["samples"] = rng.integers(1, 11, len(rows))
    for f in FIELDS:
        values = rng.integers(0, 2**16, len(rows)).astype(f.numpy)
        missing = math.nan if f.numpy.startswith("<f") else MISSING_STATE
        rows[f.name] = np.where(rng.random(len(rows)) < 0.33, missing, values)
    return rows


def fold(rows: Sequence[dict[str, float]], name: str, how: str) -> float:
    """One field of one rollup row, said as plainly as possible; rows in order of time."""
    absent = how in ("last", "or")
    known = [r for r in rows if (r[name] != MISSING_STATE if absent else not math.isnan(r[name]))]
    if not known:
        return MISSING_STATE if absent else math.nan
    values = [r[name] for r in known]
    folds: dict[str, Callable[[], float]] = {
        "avg": lambda: (
            sum(r[name] * r["samples"] for r in known) / sum(r["samples"] for r in known)
        ),
        "min": lambda: min(values),
        "max": lambda: max(values),
        "inc": lambda: sum(values),
        "last": lambda: values[-1],
        "or": lambda: float(np.bitwise_or.reduce(np.array(values, dtype=np.uint32))),
    }
    return folds[how]()


def rounded(value: float, f: WindowField) -> float:
    """An average as windows have it; all else is what one of the rows had."""
    return offline.rounded(value, f.resolution) if f.how == "avg" else value


def folded(rows: Rows, step_ms: int) -> Rows:
    """Rows by (device, start) -> rows of whole steps."""
    groups: dict[tuple[int, int], list[dict[str, float]]] = {}
    for (device, start), row in sorted(rows.items()):
        groups.setdefault((device, start // step_ms * step_ms), []).append(row)
    return {
        key: {"samples": sum(r["samples"] for r in group)}
        | {f.name: rounded(fold(group, f.name, f.how), f) for f in FIELDS}
        for key, group in groups.items()
    }


def as_rows(array: np.ndarray) -> Rows:
    """Window rows by (device, start)."""
    return {
        (int(r["device"]), int(r["window_start"])): {
            n: float(r[n]) for n in ("samples", *(f.name for f in FIELDS))
        }
        for r in array
    }


def stored(store: Store, table: str, start_ms: int, schema: Schema = FACILITY) -> Rows:
    """What a table holds of the six hours from `start_ms`."""
    names = ", ".join(("samples", *(f.name for f in schema.window_fields)))
    rows = store.query(
        f"SELECT device, toUnixTimestamp64Milli(window_start) AS start, {names} FROM {table}"
        f" WHERE window_start >= fromUnixTimestamp64Milli({{from:Int64}})"
        f" AND window_start < fromUnixTimestamp64Milli({{to:Int64}})",
        {"from": start_ms, "to": start_ms + 6 * HOUR},
    )
    return {(row.pop("device"), row.pop("start")): row for row in rows}


def same(want: Rows, got: Rows) -> None:
    """Equal to the last bit."""
    assert want.keys() == got.keys()
    for key, row in want.items():
        for name, value in row.items():
            assert got[key][name] == pytest.approx(value, rel=0, abs=0, nan_ok=True), (key, name)


Action = tuple[str, int, int]
parts = st.lists(st.integers(0, 3), min_size=30, max_size=30)
actions = st.lists(
    st.tuples(st.sampled_from(("insert", "roll")), st.integers(0, 3), st.integers(0, 9)),
    max_size=8,
)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), part_of=parts, before=actions)
def test_rollups_equal_a_slow_reference(
    store: Store, seed: int, part_of: list[int], before: list[Action]
) -> None:
    """However windows come in parts, late, again, and rollups in between, of whatever span."""
    start = next(spans)
    rows = windows(start, seed)
    belongs = np.array(part_of)
    for what, part, at in [*before, *(("insert", part, 0) for part in range(4))]:
        if what == "insert":  # parts that came before come again
            store.insert_windows(FACILITY, rows[belongs == part])
        else:
            store.roll_up(FACILITY, start + 1000 * STARTS[at], start + 1000 * STARTS[at] + 1)
    store.roll_up(FACILITY, start, start + 3 * HOUR)

    minutes = folded(as_rows(rows), 60_000)
    same(minutes, stored(store, "facility_1m", start))
    same(folded(minutes, HOUR), stored(store, "facility_1h", start))


def test_workers_that_roll_up_at_once_agree(store: Store) -> None:
    """Three write their devices of the same minutes and roll them up over and over."""
    start = next(spans)
    rows = windows(start, 5)
    failures: list[BaseException] = []

    def worker(device: int) -> None:
        try:
            for at in (0, 50, 60, 3590, 3600):
                mine = (rows["device"] == device) & (rows["window_start"] == start + 1000 * at)
                store.insert_windows(FACILITY, rows[mine])
                store.roll_up(FACILITY, start, start + 3 * HOUR)
        except BaseException as error:  # noqa: BLE001 - handed to the test
            failures.append(error)

    threads = [threading.Thread(target=worker, args=(device,)) for device in DEVICES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.roll_up(FACILITY, start, start + 3 * HOUR)

    written = {0, 50, 60, 3590, 3600}
    want = {k: v for k, v in as_rows(rows).items() if (k[1] - start) // 1000 in written}
    assert [] == failures
    same(folded(want, 60_000), stored(store, "facility_1m", start))
    same(folded(folded(want, 60_000), HOUR), stored(store, "facility_1h", start))


def test_what_is_complete_is_not_written_again(store: Store) -> None:
    """A minute's second rollup reads keys and sample counts, and inserts nothing."""
    start = next(spans)
    store.insert_windows(FACILITY, windows(start, 6))

    def inserted() -> int:
        (row,) = store._connection.rows(
            "SELECT count() AS n FROM facility_1m WHERE window_start >="
            " fromUnixTimestamp64Milli({from:Int64})",
            {"from": start},
        )
        return int(row["n"])

    store._connection.command("SYSTEM STOP MERGES facility_1m", "test")
    store.roll_up(FACILITY, start, start + HOUR)
    first = inserted()
    store.roll_up(FACILITY, start, start + HOUR)
    store._connection.command("SYSTEM START MERGES facility_1m", "test")

    assert first == inserted() > 0


def test_places_that_a_dying_worker_left_out_are_made_up_for(store: Store) -> None:
    """It died between the devices' minutes and those of their places."""
    start = next(spans)
    store.insert_windows(FACILITY, windows(start, 10))
    store.roll_up(FACILITY, start, start + HOUR)
    store._connection.command("TRUNCATE TABLE facility_places_1m", "test")
    store.roll_up(FACILITY, start, start + HOUR)

    want = {at for _, at in stored(store, "facility_1m", start) if at < start + HOUR}
    assert want == {at for _, at in stored(store, "facility_places_1m", start)}


def test_a_large_hour_is_rolled_up_when_it_is_over(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything stood still before it was over; the first call afterwards makes up for it."""
    monkeypatch.setattr(rollup, "RUNNING_ROWS", 0)
    start = next(spans)
    rows = windows(start, 7)
    store.insert_windows(FACILITY, rows)
    store.roll_up(FACILITY, start, start + 3 * HOUR)
    before = stored(store, "facility_1h", start)
    later = rows[:1].copy()
    later["window_start"] = start + 5 * HOUR
    store.insert_windows(FACILITY, later)
    store.roll_up(FACILITY, start + 5 * HOUR, start + 5 * HOUR + 10_000)
    after = stored(store, "facility_1h", start)

    assert {start} == {at for _, at in before}
    same(folded(folded(as_rows(rows), 60_000), HOUR), after)


def item(device: int, pool: str, rack: str) -> events.InventoryItem:
    """One rack of the inventory."""
    return events.InventoryItem.model_validate(
        {
            "device": device,
            "node": 1,
            "kind": "facility",
            "host": "facility",
            "name": f"d{device}",
            "pool": pool,
            "rack": rack,
            "seen_ms": T0 + device,
        }
    )


def place_rows(store: Store, start_ms: int) -> list[dict[str, Any]]:
    """Places of one minute, with their names."""
    return store.query(
        "SELECT p.rack AS rack, w.devices AS devices, w.samples AS samples,"
        " w.power_watts_avg AS watts, w.energy_joules_inc AS joules"
        " FROM facility_places_1m AS w INNER JOIN places AS p ON w.device = p.device"
        " WHERE w.window_start = fromUnixTimestamp64Milli({at:Int64}) AND w.devices > 0"
        " ORDER BY rack",
        {"at": start_ms},
    )


def test_a_place_is_its_mean_device_and_how_many_there_are(store: Store) -> None:
    """A device that misses a reading counts like the mean of its place."""
    start = next(spans)
    store.insert_events([item(1, "decode", "a"), item(2, "decode", "a"), item(3, "decode", "b")])
    rows = windows(start, 8)[:3]
    rows["samples"] = (10, 30, 10)
    rows["power_watts_avg"] = (100, 200, 700)
    rows["energy_joules_inc"] = (1000, math.nan, 7000)
    store.insert_windows(FACILITY, rows)
    store.roll_up(FACILITY, start, start + 10_000)

    a, b = place_rows(store, start)
    assert {"rack": "a", "devices": 2, "samples": 40, "watts": 175, "joules": 1000} == a
    assert {"rack": "b", "devices": 1, "samples": 10, "watts": 700, "joules": 7000} == b


def test_a_device_that_moved_is_in_one_place(store: Store) -> None:
    """A minute rolled up again after a move forgets the place that was left."""
    start = next(spans)
    moved = item(1, "decode", "b").model_copy(update={"seen_ms": T0 + 100})
    store.insert_events([item(1, "decode", "a"), item(2, "decode", "c")])
    rows = windows(start, 9)[:3]
    store.insert_windows(FACILITY, rows[:1])
    store.roll_up(FACILITY, start, start + 10_000)
    before = [row["rack"] for row in place_rows(store, start)]
    store.insert_events([moved])
    store.insert_windows(FACILITY, rows[1:2])
    store.roll_up(FACILITY, start, start + 10_000)

    assert ["a"] == before
    assert [("b", 1), ("c", 1)] == [(r["rack"], r["devices"]) for r in place_rows(store, start)]

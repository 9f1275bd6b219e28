"""Minutes of places, pools and loops against a plain computation, to the last bit."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator

import numpy as np
import pytest

from benchmarks.chaos import offline
from benchmarks.chaos.run import stored
from ridgeline.events import InventoryItem
from ridgeline.pools import Role
from ridgeline.schema import GPU, MISSING_STATE, SCHEMAS, Kind, Schema
from ridgeline.settings import StoreSettings
from ridgeline.store import Store
from ridgeline.store.tables import KIND, LEVELS

T0 = 1_900_000_000_000 // 3_600_000 * 3_600_000
WINDOW_MS = 5_000
DEVICES = range(1, 13)


@pytest.fixture(scope="module")
def store(store_url: str) -> Iterator[Store]:
    """A migrated store of its own, with devices of every family."""
    store = Store.connect(StoreSettings(url=store_url, database=f"p_{uuid.uuid4().hex[:12]}"))
    store.migrate()
    store.insert_events([item(schema, n) for schema in SCHEMAS.values() for n in DEVICES])
    yield store
    store.close()


def item(schema: Schema, number: int) -> InventoryItem:
    """Twelve devices in six nodes, three racks, two loops and two pools, of two models."""
    node = number // 2
    return InventoryItem.model_validate(
        {
            "device": device(schema, number),
            "node": node,
            "kind": KIND[schema.family],
            "host": f"n{node}",
            "name": f"d{number}",
            "pool": Role.DECODE if node % 3 else Role.PREFILL,
            "rack": f"r{node // 2}",
            "cooling_loop": f"loop{node // 4}",
            "rail": f"rail{number % 2}" if schema.family == "fabric" else "",
            "model": f"m{node % 2}",
            "seen_ms": T0,
        }
    )


def device(schema: Schema, number: int) -> int:
    """An id of its own in every family."""
    return 100 * list(SCHEMAS).index(schema.family) + number


def windows(schema: Schema) -> np.ndarray:
    """Two minutes of windows of 5 s, as windows are rounded; a fifth of the values missing."""
    rng = np.random.default_rng(4)
    rows = np.zeros(24 * len(DEVICES), dtype=schema.window_dtype)
    rows["window_start"] = T0 + WINDOW_MS * np.repeat(np.arange(24), len(DEVICES))
    rows["device"] = np.tile([device(schema, n) for n in DEVICES], 24)
    rows["node"] = np.tile([n // 2 for n in DEVICES], 24)
    rows["samples"] = rng.integers(1, 6, len(rows))
    for f in schema.window_fields:
        scale = 2e10 if f.name.startswith("throttle") else 100.0
        values = (rng.random(len(rows)) * scale).astype(f.numpy)
        if f.kind is Kind.GAUGE:
            values = np.array([offline.rounded(v, f.resolution) for v in values], dtype=f.numpy)
        missing = math.nan if f.numpy.startswith("<f") else MISSING_STATE
        rows[f.name] = np.where(rng.random(len(rows)) < 0.2, missing, values)
    return rows[rng.random(len(rows)) < 0.8]


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_minutes_of_places_are_what_their_devices_are(store: Store, schema: Schema) -> None:
    """Rolled up twice, the second time with what had been missing; windows are of 5 s."""
    rows = windows(schema)
    for some in (rows[::2], rows):
        store.insert_windows(schema, some)
        store.roll_up(schema, T0, T0 + 120_000, WINDOW_MS)

    base: offline.Rows = {
        (int(r["device"]), int(r["window_start"])): {
            name: float(r[name]) for name in schema.window_dtype.names or ()
        }
        for r in rows
    }
    minutes = offline.rolled(schema, base, 60_000)
    items = [item(schema, n) for n in DEVICES]
    want = offline.placed(schema, minutes, items, WINDOW_MS)

    assert tuple(want) == LEVELS[schema.family]
    for level, places in want.items():
        found = stored(store, f"{schema.family}_{level}_1m", schema)
        assert len(places) > 1
        assert [] == offline.differences(places, found)


def test_increases_longer_than_their_windows_are_no_more_than_all_of_the_time(store: Store) -> None:
    """A device whose windows got lost for a while counts in the first that came again."""
    places = stored(store, "gpu_loops_1m", GPU)

    assert places
    assert all(0 <= row["heat_ratio"] <= 1 for row in places.values())

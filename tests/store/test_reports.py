"""Minutes of collectors' reports, and the newest of each, whatever is repeated or late."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from ridgeline import events
from ridgeline.settings import StoreSettings
from ridgeline.store import Store

START = 1_900_000_000_000 // 60_000 * 60_000  # far from every TTL


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """A migrated store of its own."""
    store = Store.connect(StoreSettings(url=store_url, database=f"c_{uuid.uuid4().hex[:12]}"))
    store.migrate()
    yield store
    store.close()


def health(node: int, second: float, **given: Any) -> events.CollectorHealth:
    """A collector's report."""
    values = {"collector": "nvml", "success": True, "duration_seconds": 0.1, "rows": 8, "failed": 0}
    return events.CollectorHealth.model_validate(
        {"node": node, "host": f"n{node}", "ts": START + int(second * 1000), **values, **given}
    )


def minutes_of(reports: Sequence[events.CollectorHealth]) -> dict[tuple[int, str], Any]:
    """The minutes of different reports, said as plainly as possible."""
    out = {}
    for key in {(r.ts // 60_000 * 60_000, r.collector) for r in reports}:
        of = [r for r in reports if (r.ts // 60_000 * 60_000, r.collector) == key]
        failed = sum(not (r.success or r.no_data) if r.failed is None else r.failed for r in of)
        seconds = sorted(r.duration_seconds for r in of)
        slow = seconds[min(int(0.95 * len(seconds)), len(seconds) - 1)]
        nodes = len({r.node for r in of})
        out[key] = (nodes, len(of), sum(r.runs for r in of), failed, slow)
    return out


def folded(store: Store) -> dict[tuple[int, str], Any]:
    """The minutes in the store."""
    rows = store.query(
        "SELECT toUnixTimestamp64Milli(ts) AS at_ms, * EXCEPT ts FROM collector_minutes"
    )
    return {(r.pop("at_ms"), r.pop("collector")): tuple(r.values()) for r in rows}


def test_minutes_of_reports(store: Store) -> None:
    """Replays count once, late reports are added, and what a dead worker left is made up for."""
    rng = np.random.default_rng(2)
    batch = [
        health(
            node,
            second + float(rng.integers(0, 60_000)) / 1000,
            collector=("nvml", "netdev")[node % 2],
            success=bool(rng.random() < 0.7),
            no_data=bool(rng.random() < 0.2),
            runs=int(rng.integers(1, 61)),
            failed=None if node == 3 else int(rng.integers(0, 2)),
            duration_seconds=float(rng.random()),
        )
        for node in range(40)
        for second in range(0, 600, 60)
    ]
    for part in (batch[:300], batch[100:300]):
        store.insert_events(part)
        store.roll_up_reports(START, START + 240_000)
    first = minutes_of(batch[:300])
    assert {k: v for k, v in first.items() if k[0] < START + 240_000} == folded(store)

    store.insert_events(batch)
    store.roll_up_reports(START + 540_000, START + 600_000)  # nobody asked for the minutes between

    late = {k: v for k, v in minutes_of(batch).items() if k[0] >= START + 180_000}
    got = folded(store)
    assert late == {k: v for k, v in got.items() if k[0] >= START + 180_000}
    store.roll_up_reports(START, START + 600_000)
    assert minutes_of(batch) == folded(store)
    assert 40 == len(store.query("SELECT host FROM collectors"))


def test_the_newest_report_of_a_collector(store: Store) -> None:
    """One row each, whatever comes late or twice."""
    newest = health(7, 5, collector="sensors", success=False, error="no answer")
    store.insert_events([health(7, 4, collector="sensors"), newest])
    store.insert_events([health(7, 3, collector="sensors")])

    rows = store.query("SELECT body FROM collectors WHERE collector = 'sensors'")

    assert [newest] == [events.CollectorHealth.model_validate_json(row["body"]) for row in rows]

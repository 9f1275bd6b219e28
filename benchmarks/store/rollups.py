"""What a minute of rollups costs: rows in, folds, and the calls of workers that come second.

Usage: `python -m benchmarks.store.rollups [gpus] [minutes]`. Inserts minutes (ten unless said) of
noise, as wide as windows tell it apart, in a store of its own, then rolls up one of them, the same
again, and the hour.
Prints seconds, the store's CPU seconds, the ratio to inserting the minute's windows, and the bytes
of a row of each table: noise compresses worse than telemetry.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.store.fleet import HOUR_S, Fleet
from benchmarks.store.queries import cpu_seconds, gateway
from ridgeline.schema import GPU, Kind
from ridgeline.settings import StoreSettings
from ridgeline.store import Store, rollup
from ridgeline.store.connection import Connection
from ridgeline.store.tables import LEVELS
from streams.columns import rounding_of
from streams.kernels import round_gauges


def minute(
    node: np.ndarray, device: np.ndarray, start_ms: int, rng: np.random.Generator
) -> np.ndarray:
    """Six windows of every device, every value noise."""
    rows = np.zeros(6 * len(device), dtype=GPU.window_dtype)
    rows["window_start"] = start_ms + 10_000 * np.repeat(np.arange(6), len(device))
    rows["node"], rows["device"] = np.tile(node, 6), np.tile(device, 6)
    rows["samples"] = 10
    for f in GPU.window_fields:
        values = (rng.random(len(rows)) * (f.numpy != "<u4")).astype(f.numpy)
        if f.kind is Kind.GAUGE:
            round_gauges(values, values.view("<u4"), rounding_of([f.resolution] * len(rows)))
        rows[f.name] = values
    return rows


def hour(store: Store, start_ms: int) -> None:
    """Fold the hour that goes on, which a large fleet does when it is over."""
    span = {"start": start_ms, "end": start_ms + rollup.HOUR_MS}
    levels = (rollup.fold_places_sql(GPU, level, "1h") for level in LEVELS["gpu"])
    for sql in (rollup.fold_sql(GPU, rollup.HOUR), *levels):
        store._connection.command(sql, "hour", span)  # noqa: SLF001 - a benchmark


def sizes(store: Store) -> None:
    """Rows and bytes a row of every table that has some."""
    for row in store.query(
        "SELECT table, sum(rows) AS n, sum(bytes_on_disk) / n AS each FROM system.parts"
        " WHERE active AND startsWith(table, 'gpu') AND database = currentDatabase()"
        " GROUP BY table ORDER BY table"
    ):
        print(f"{row['table']:16} {row['n']:10d} rows {row['each']:8.1f} B/row")


def main() -> None:
    """Measure and print."""
    gpus, minutes = (int(a) for a in (*sys.argv[1:3], *("10000", "10")[len(sys.argv[:3]) - 1 :]))
    now_s = int(time.time()) // HOUR_S * HOUR_S - HOUR_S
    fleet, rng = Fleet(gpus=gpus, now_s=now_s), np.random.default_rng(1)
    items = [item for item in fleet.inventory() if item.kind == "gpu"]
    node, device = (
        np.array([getattr(item, name) for item in items], dtype=np.uint64)
        for name in ("node", "device")
    )
    with tempfile.TemporaryDirectory(prefix="ridgeline-rollups-") as folder:
        process, url = gateway(Path(folder))
        try:
            store = Store(Connection.open(StoreSettings(url=url), 600.0))
            store.migrate()
            store.insert_events(items)

            def timed(name: str, call: Callable[[], None]) -> float:
                start, used = time.perf_counter(), cpu_seconds(process.pid)
                call()
                wall, used = time.perf_counter() - start, cpu_seconds(process.pid) - used
                print(f"{name:34} {wall:8.2f} s {used:8.2f} CPU s", flush=True)
                return used

            rows = minute(node, device, now_s * 1000, rng)
            base = timed("insert a minute of windows", lambda: store.insert_windows(GPU, rows))
            for number in range(1, minutes):
                rows = minute(node, device, (now_s + 60 * number) * 1000, rng)
                store.insert_windows(GPU, rows)
            span = (now_s * 1000, now_s * 1000 + rollup.MINUTE_MS)
            first = timed("roll it up, places too", lambda: store.roll_up(GPU, *span))
            again = timed("the same call again", lambda: store.roll_up(GPU, *span))
            print(f"ratios to the insert: {first / base:.2f}, again {again / base:.2f}")
            store.roll_up(GPU, now_s * 1000, now_s * 1000 + minutes * rollup.MINUTE_MS)
            timed("the hour, places too", lambda: hour(store, now_s * 1000))
            sizes(store)
            store.close()
        finally:
            process.stop()


if __name__ == "__main__":
    main()

"""What a store of one day needs: inserts and rollups, and the merges that come behind them.

Usage: `python -m benchmarks.store.day [gpus] [hours]`. Inserts a fleet's base windows step by step,
each ten seconds of them at once as a worker does, and rolls up every minute and hour, as fast as
the store takes it. Values are noise, which is the most that merging can cost. Prints, for each
hour, the store's CPU seconds a minute of telemetry: of threads that merge, and of all others; and
what is on disk. Not as fast as life: a part that is merged a day later is not seen.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.store.fleet import DAY_S, HOUR_S, Fleet
from benchmarks.store.queries import gateway
from benchmarks.store.rollups import minute
from ridgeline.schema import GPU
from ridgeline.settings import StoreSettings
from ridgeline.store import Store
from ridgeline.store.connection import Connection

MERGING = "MergeMutate"
"""Name of the engine's threads that merge parts (Linux keeps 15 letters of it)."""
TICKS = os.sysconf("SC_CLK_TCK")


def merging_seconds(pid: int) -> tuple[float, float]:
    """CPU seconds of a process' threads that merge, and of the others."""
    merging = others = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the thread has ended
            stat = (task / "stat").read_text()
            name, fields = stat[stat.index("(") + 1 : stat.rindex(")")], stat.rsplit(")", 1)[1]
            user, system = fields.split()[11:13]
            seconds = (int(user) + int(system)) / TICKS
            if name.startswith(MERGING):
                merging += seconds
            else:
                others += seconds
    return merging, others


def settle(store: Store) -> None:
    """Wait until nothing is merged any more."""
    quiet = 0
    while quiet < 3:
        time.sleep(1)
        (row,) = store.query("SELECT count() AS n FROM system.merges")
        quiet = 0 if row["n"] else quiet + 1


def on_disk(store: Store) -> str:
    """Active parts and bytes of the fleet's tables."""
    (row,) = store.query(
        "SELECT count() AS parts, sum(bytes_on_disk) / 1e9 AS size FROM system.parts"
        " WHERE active AND startsWith(table, 'gpu') AND database = currentDatabase()"
    )
    return f"{row['parts']:5d} parts {row['size']:6.2f} GB"


def main() -> None:
    """Measure and print."""
    gpus, hours = (int(a) for a in (*sys.argv[1:3], *("5000", "24")[len(sys.argv[:3]) - 1 :]))
    now_s = int(time.time()) // DAY_S * DAY_S - DAY_S
    fleet, rng = Fleet(gpus=gpus, now_s=now_s), np.random.default_rng(1)
    items = [item for item in fleet.inventory() if item.kind == "gpu"]
    node = np.array([item.node for item in items], dtype=np.uint64)
    device = np.array([item.device for item in items], dtype=np.uint64)
    with tempfile.TemporaryDirectory(prefix="ridgeline-day-") as folder:
        process, url = gateway(Path(folder))
        try:
            store = Store(Connection.open(StoreSettings(url=url), 600.0))
            store.migrate()
            store.insert_events(items)
            settle(store)
            first = before = merging_seconds(process.pid)
            print(f"{gpus} GPUs; CPU s a minute of telemetry: merges, all else", flush=True)
            for hour in range(hours):
                for start_s in range(now_s + hour * HOUR_S, now_s + (hour + 1) * HOUR_S, 60):
                    for rows in np.split(minute(node, device, start_s * 1000, rng), 6):
                        store.insert_windows(GPU, rows)
                    store.roll_up(GPU, start_s * 1000, (start_s + 60) * 1000)
                spent = merging_seconds(process.pid)
                merges, others = ((b - a) / 60 for a, b in zip(before, spent, strict=True))
                before = spent
                print(f"{hour + 1:3d} h {merges:8.3f} {others:8.3f} {on_disk(store)}", flush=True)
            settle(store)
            merges, others = (
                (b - a) / 60 / hours
                for a, b in zip(first, merging_seconds(process.pid), strict=True)
            )
            print(f"all   {merges:8.3f} {others:8.3f} {on_disk(store)}, merged")
            store.close()
        finally:
            process.stop()


if __name__ == "__main__":
    main()

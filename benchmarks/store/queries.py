"""Time of everything in `statements` on the rows of a large fleet, through the real client.

Usage: `python -m benchmarks.store.queries [gpus] [repeats] [folder]`. Fills a store of its own
(about 9 GB at 10,000 GPUs, removed afterwards; a named folder is kept, and used again when it is
there): 30 days of hours, one day of minutes, an hour of base windows, and what workers and
collectors say of themselves. Prints of each statement the
store's CPU time, p50 and p95 of the clock and the rows that the index leaves to be read, the
slowest last, with the load of the machine: where that is above the number of cores, the CPU time
says more than the clock. A panel's time ends with the last byte of its answer, as it is Grafana
that reads it; that of the advisor with the value its rules get.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.store import statements
from benchmarks.store.fleet import DAY_S, HOUR_S, Fleet, fill
from benchmarks.store.statements import Call
from ridgeline.local import broker
from ridgeline.local.process import Process, wait_until
from ridgeline.settings import StoreSettings
from ridgeline.store import Store
from ridgeline.store.connection import Connection
from tests.conftest import answers_http

SPANS = {
    "1h": 30 * DAY_S,
    "places_1h": 30 * DAY_S,
    "pools_1h": 30 * DAY_S,
    "loops_1h": 30 * DAY_S,
    "1m": DAY_S,
    "places_1m": DAY_S,
    "pools_1m": DAY_S,
    "loops_1m": DAY_S,
    "windows": HOUR_S,
}
CHOSEN: tuple[dict[str, str], ...] = ({}, {"node": "node00100"}, {"rack": "rack0025"})
AIM_MS = 100.0


def gateway(folder: Path) -> tuple[Process, str]:
    """A store in its own process."""
    port = broker.free_port()
    command = [sys.executable, "-m", "ridgeline.local.gateway", f"--port={port}"]
    process = Process("gateway", [*command, f"--path={folder / 'data'}"], folder / "gateway.log")
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: answers_http(f"{url}/ping"), process, 60)
    return process, url


class Recording(Connection):
    """A connection that keeps the SELECTs it is asked.

    Args:
        connection: The one that answers.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection._client, connection.settings)  # noqa: SLF001 - a benchmark
        self.asked: list[tuple[str, Mapping[str, Any] | None, Mapping[str, Any] | None]] = []

    def rows(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        subject: str = "query",
    ) -> list[dict[str, Any]]:
        """Rows of a SELECT."""
        self.asked.append((sql, parameters, settings))
        return super().rows(sql, parameters, settings, subject)

    def answer(self, sql: str) -> int:
        """Bytes of the answer of a SELECT as Grafana asks it: without settings of ours."""
        self.asked.append((sql, None, None))
        return len(self._client.raw_query(sql, fmt="Native"))

    def rows_read(self, call: Call) -> int:
        """Rows in the stretches that the index leaves to a call's statements."""
        self.asked.clear()
        call()
        asked = tuple(self.asked)
        found = (self.rows(f"EXPLAIN ESTIMATE {sql}", asks, how) for sql, asks, how in asked)
        return sum(row["rows"] for rows in found for row in rows)


def cpu_seconds(pid: int) -> float:
    """CPU time a process has used: the clock that Linux keeps of it."""
    return time.clock_gettime((~pid << 3) | 2)


def measure(call: Call, repeats: int, pid: int) -> tuple[float, float, float]:
    """CPU time, median and 95th percentile of a call, in ms, after one call to warm up."""
    call()
    took, used = [], cpu_seconds(pid)
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        took.append((time.perf_counter() - start) * 1000)
    used = (cpu_seconds(pid) - used) * 1000 / repeats
    return used, statistics.median(took), float(np.percentile(took, 95))


def main() -> None:
    """Fill, measure and print."""
    gpus, repeats = (int(a) for a in (*sys.argv[1:3], *("10000", "10")[len(sys.argv[:3]) - 1 :]))
    kept = Path(sys.argv[3]) if len(sys.argv) > 3 else None
    folder = kept or Path(tempfile.mkdtemp(prefix="ridgeline-queries-"))
    folder.mkdir(parents=True, exist_ok=True)
    filled = folder / "now"
    process, url = gateway(folder)
    try:
        connection = Recording(Connection.open(StoreSettings(url=url), 600.0))
        store = Store(connection)
        store.migrate()
        if not filled.exists():
            now_s = int(time.time()) // HOUR_S * HOUR_S
            fill(store, Fleet(gpus=gpus, now_s=now_s), SPANS, statements.words(now_s))
            filled.write_text(str(now_s), encoding="ascii")
        merged(store)
        report(store, connection, int(filled.read_text(encoding="ascii")), repeats, process.pid)
        store.close()
    finally:
        process.stop()
        if kept is None:
            shutil.rmtree(folder)


def merged(store: Store) -> None:
    """Wait until nothing is merged: a merge takes the CPU that a statement would be charged."""
    while store.query("SELECT count() AS n FROM system.merges")[0]["n"]:
        time.sleep(1)


def asked(store: Store, connection: Recording, now_s: int) -> Iterator[tuple[str, Call]]:
    """Every statement by name: panels of the fleet, of one node, of one rack; the advisor's."""
    for chosen in CHOSEN:
        of = "".join(f"one {name} " for name in chosen)
        for span_name, span_s in statements.RANGES:
            for title, sql in statements.rendered(connection.rows, now_s, span_s, chosen):
                yield f"{of}{span_name} {title}", partial(connection.answer, sql)
    yield from statements.advisor(store, now_s)


def report(store: Store, connection: Recording, now_s: int, repeats: int, pid: int) -> None:
    """One line a statement."""
    lines = [
        (*measure(call, repeats, pid), connection.rows_read(call), name)
        for name, call in asked(store, connection, now_s)
    ]
    print("     cpu      p50      p95 ms       rows")
    for cpu, p50, p95, rows, name in sorted(lines, key=lambda line: line[2]):
        print(f"{cpu:8.1f} {p50:8.1f} {p95:8.1f} {rows:13d}  {name}")
    for what, column in (("CPU time", 0), ("p95", 2)):
        slow = sum(float(line[column]) > AIM_MS for line in lines)
        print(f"{slow} of {len(lines)} statements with a {what} above {AIM_MS:.0f} ms")
    print("load", *(f"{x:.1f}" for x in os.getloadavg()))


if __name__ == "__main__":
    main()

"""Time of every panel, variable and fact on the rows of a large fleet, through the real client.

Usage: `python -m benchmarks.store.queries [gpus] [repeats] [folder]`. Fills a store of its own
(about 8 GB at 10,000 GPUs, removed afterwards; a named folder is kept, and used again when it is
there): 30 days of hours, one day of minutes, an hour of base windows. Prints of each statement the
store's CPU time, p50 and p95 of the clock and the rows that the index leaves to be read, the
slowest last, with the load of the machine: where that is above the number of cores, the CPU time
says more than the clock.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from advisor import facts, state
from advisor.facts import Span
from benchmarks.store.fleet import DAY_S, HOUR_S, Fleet, fill
from dashboards import sql
from dashboards.build import documents
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
    "1m": DAY_S,
    "places_1m": DAY_S,
    "pools_1m": DAY_S,
    "windows": HOUR_S,
}
POINTS = 1000  # of a panel's width
AIM_MS = 100.0


def gateway(folder: Path) -> tuple[Process, str]:
    """A store in its own process."""
    port = broker.free_port()
    command = [sys.executable, "-m", "ridgeline.local.gateway", f"--port={port}"]
    process = Process("gateway", [*command, f"--path={folder / 'data'}"], folder / "gateway.log")
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: answers_http(f"{url}/ping"), process, 60)
    return process, url


def panels(store: Store, now_s: int, **one: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Every statement of the dashboards over 15 minutes, a day and 30 days.

    `one` names the node or the rack that is chosen.
    """
    for name, span in (("15 min", 900), ("1 day", DAY_S), ("30 days", 30 * DAY_S)):
        chosen: dict[str, Any] = dict.fromkeys(("pool", "rack", "node"))
        chosen |= {key: [value] for key, value in one.items()} | {"rows": "auto"}
        ask = partial(_rows, store, now_s, span, chosen)
        for table in ("resolution", "detail", "fleet"):
            chosen[table] = ask(getattr(sql, table.upper()))[0][table]
        for uid, document in documents().items():
            for panel in document["panels"]:
                for target in panel.get("targets") or ():
                    title = f"{uid.removeprefix('ridgeline-')}: {panel['title']}"
                    yield f"{name} {chosen['resolution']} {title}", partial(ask, target["rawSql"])
        for variable in documents()["ridgeline-overview"]["templating"]["list"]:
            if variable["type"] == "query":
                yield f"{name} ${variable['name']}", partial(ask, variable["query"]["rawSql"])


def _rows(store: Store, now_s: int, span: int, chosen: dict[str, Any], text: str) -> Any:
    interval = max(10, span // POINTS)
    rendered = sql.render(text, now_s - span, now_s, chosen, interval)
    return store._connection.rows(rendered)  # noqa: SLF001 - as Grafana: without our settings


def advice(store: Store, now_s: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Every fact and every query of the console."""
    span = Span(now_ms=now_s * 1000, history_ms=900_000)
    for name, query in facts.QUERIES:
        yield f"fact {name}", partial(query, store, span)
    none = facts.Facts(now_ms=span.now_ms)
    yield "console nodes", lambda: state.nodes(store, span, none)
    yield "console detections", lambda: state.recent_detections(store, span.now_ms)


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

    def rows_read(self, call: Callable[[], Any]) -> int:
        """Rows in the stretches that the index leaves to a call's statements."""
        self.asked.clear()
        call()
        asked = tuple(self.asked)
        found = (self.rows(f"EXPLAIN ESTIMATE {sql}", asks, how) for sql, asks, how in asked)
        return sum(row["rows"] for rows in found for row in rows)


def cpu_seconds(pid: int) -> float:
    """CPU time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(call: Callable[[], Any], repeats: int, pid: int) -> tuple[float, float, float]:
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
            fill(store, Fleet(gpus=gpus, now_s=now_s), SPANS)
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


def report(store: Store, connection: Recording, now_s: int, repeats: int, pid: int) -> None:
    """One line a statement."""
    one = {"node": "node00100", "rack": "rack0025"}
    everything = [
        *panels(store, now_s),
        *(
            (f"one {k} {n}", call)
            for k, v in one.items()
            for n, call in panels(store, now_s, **{k: v})
        ),
        *advice(store, now_s),
    ]
    lines = [
        (*measure(call, repeats, pid), connection.rows_read(call), name)
        for name, call in everything
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

"""A whole evaluation of a large cluster: seconds and memory, and milliseconds of each fact query.

Usage: `python -m benchmarks.advisor.evaluate [gpus] [hours] [rounds]`; 10,000 GPUs, 0.5 hours of
windows and 10 rounds unless told. Starts a store gateway of its own. The first evaluation is
counted apart. Memory is the growth of this process' peak, and the peak of the store's process
while it answers. Times depend on the machine; the ratio of the evaluation to its longest query does
not.
"""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from advisor import facts
from advisor.service import engine_of
from benchmarks.advisor.cluster import fill
from ridgeline.local import broker
from ridgeline.local.process import Process, wait_until
from ridgeline.settings import AdvisorSettings, StoreSettings, StreamsSettings
from ridgeline.store import Store
from tests.conftest import answers_http


@contextmanager
def gateway(folder: Path) -> Iterator[tuple[str, int]]:
    """Address and process id of a store on disk."""
    port = broker.free_port()
    command = [sys.executable, "-m", "ridgeline.local.gateway", f"--port={port}"]
    process = Process("gateway", [*command, f"--path={folder / 'data'}"], folder / "gateway.log")
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: answers_http(f"{url}/ping"), process, 60)
        yield url, process.pid
    finally:
        process.stop()


def peak_mb() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def resident_mb(pid: int, line: str = "VmRSS") -> float:
    """Resident memory of a process now, or its peak (VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.partition(f"{line}:")[2].split()[0]) / 1024


def forget_peak(pid: int) -> None:
    """Start the peak of a process again (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="utf-8")


def cpu_ms(pid: int) -> float:
    """CPU time a process has used: unlike a duration, the same on a busy machine."""
    used = psutil.Process(pid).cpu_times()
    return (used.user + used.system) * 1e3


def p95(values: list[float]) -> float:
    """The 95th percentile."""
    return (
        statistics.quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]
    )


def main() -> None:
    """Fill, evaluate, print."""
    gpus, hours, rounds = (
        float(a) for a in (*sys.argv[1:4], *("10000", "0.5", "10")[len(sys.argv) - 1 :])
    )
    with tempfile.TemporaryDirectory() as folder, gateway(Path(folder)) as (url, pid):
        store = Store.connect(StoreSettings(url=url, database="bench"))
        store.migrate()
        now_ms = time.time_ns() // 1_000_000
        started = time.perf_counter()
        written = fill(store, int(gpus), now_ms, hours)
        print(f"{written:,} rows for {gpus:,.0f} GPUs in {time.perf_counter() - started:.0f} s")
        measure(store, now_ms, int(rounds), pid)
        store.close()


def measure(store: Store, now_ms: int, rounds: int, store_pid: int) -> None:
    """Evaluate as the service does, then time each query."""
    settings = AdvisorSettings()
    made = facts.span_of(settings, StreamsSettings())
    engine = engine_of(store, lambda _now: made(now_ms), settings)
    before, store_before = peak_mb(), resident_mb(store_pid)
    forget_peak(store_pid)
    seconds: list[float] = []
    busy: list[float] = []
    for _ in range(rounds):
        started, cpu = time.perf_counter(), time.process_time() * 1e3 + cpu_ms(store_pid)
        engine.evaluate()
        seconds.append(time.perf_counter() - started)
        busy.append((time.process_time() * 1e3 + cpu_ms(store_pid) - cpu) / 1e3)
    print(
        f"evaluation: first {seconds[0]:.2f} s, p95 of the others {p95(seconds[1:]):.2f} s, "
        f"CPU of both processes {statistics.median(busy):.2f} s; "
        f"{len(engine.advice())} pieces of advice"
    )
    print(
        f"memory: advisor {before:.0f}, at most {peak_mb():.0f} MB; "
        f"store {store_before:.0f}, at most {resident_mb(store_pid, 'VmHWM'):.0f} MB"
    )
    for name, query in facts.QUERIES:
        taken: list[float] = []
        used = cpu_ms(store_pid)
        for _ in range(rounds):
            started = time.perf_counter()
            query(store, made(now_ms))
            taken.append((time.perf_counter() - started) * 1e3)
        used = (cpu_ms(store_pid) - used) / rounds
        print(
            f"  {name:13} median {statistics.median(taken):6.0f} ms   p95 {p95(taken):6.0f} ms"
            f"   store CPU {used:6.0f} ms"
        )


if __name__ == "__main__":
    main()

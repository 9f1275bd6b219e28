"""Bytes a sample on disk: codecs and sort orders against Prometheus' blocks of the same telemetry.

Usage: `python -m benchmarks.store.bytes [gpus] [seconds]` (needs `promtool`). Tables of one kind
of column are filled with the same rows and merged into one part; a column counts what the engine
says it compressed to, the keys included in the totals. Prometheus gets the windows before they are
rounded to their resolution, and for comparison after. CPU seconds are of this process, in which the
engine runs.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping

import numpy as np

from benchmarks.store import prometheus, telemetry
from ridgeline.local.engine import Engine
from ridgeline.schema import GPU
from ridgeline.store import rollup, tables

KEYS = {"window_start": "time", "ts": "time", "node": "id", "device": "id", "samples": "<u4"}
SQL = {"<f4": "Float32", "<f8": "Float64", "<u4": "UInt32", "<u8": "UInt64"}
CANDIDATES: Mapping[str, tuple[str, ...]] = {
    "time": ("Delta, ZSTD(1)", "DoubleDelta", "DoubleDelta, ZSTD(1)", "Delta, LZ4", "T64, ZSTD(1)"),
    "id": ("ZSTD(1)", "LZ4", "Delta, ZSTD(1)", "T64, ZSTD(1)"),
    "<f4": (
        "NONE",
        "LZ4",
        "ZSTD(1)",
        "ZSTD(3)",
        "ZSTD(6)",
        "Delta(4), LZ4",
        "Delta(4), ZSTD(1)",
        "Delta(4), ZSTD(3)",
        "Delta(4), ZSTD(6)",
        "Gorilla, LZ4",
        "Gorilla, ZSTD(1)",
        "FPC(12, 4), ZSTD(1)",
        "ALP, ZSTD(1)",
    ),
    "step": (
        "LZ4",
        "ZSTD(1)",
        "ZSTD(3)",
        "ZSTD(6)",
        "Delta(4), ZSTD(1)",
        "Delta(4), ZSTD(6)",
        "Gorilla, ZSTD(1)",
    ),
    "<f8": (
        "LZ4",
        "ZSTD(1)",
        "ZSTD(3)",
        "Delta(8), ZSTD(1)",
        "Gorilla, ZSTD(1)",
        "FPC(12), ZSTD(1)",
        "ALP, ZSTD(1)",
    ),
    "<u8": (
        "ZSTD(1)",
        "Delta, LZ4",
        "Delta, ZSTD(1)",
        "Delta, ZSTD(3)",
        "Delta, T64, ZSTD(1)",
        "DoubleDelta, ZSTD(1)",
        "T64, ZSTD(1)",
    ),
    "<u4": ("LZ4", "ZSTD(1)", "T64, ZSTD(1)", "T64, LZ4", "Delta, T64, ZSTD(1)"),
}
ORDERS = {
    "device, day": "(device, {t})",
    "hour, device": "(toStartOfHour({t}), device, {t})",
    "10 min, device": "(toStartOfInterval({t}, INTERVAL 600 SECOND), device, {t})",
    "5 min, device": "(toStartOfInterval({t}, INTERVAL 300 SECOND), device, {t})",
    "time, device": "({t}, device)",
}
BUCKET = "10 min, device"
WIDE = ", min_bytes_for_wide_part = 0, min_rows_for_wide_part = 0"


def columns(rows: np.ndarray) -> dict[str, str]:
    """Group (time, id, step or numpy type) of each column."""
    fields = {name: rows.dtype[name].str for name in rows.dtype.names or ()}
    steps = {f.name: "step" for f in GPU.window_fields if f.resolution.step}
    return {name: (KEYS | steps).get(name, code) for name, code in fields.items()}


class Bench:
    """One engine on disk and the rows to compress.

    Args:
        engine: Empty, with a folder of its own.
        rows: Rows of the raw or the window layout.
        time_column: `ts` or `window_start`.
    """

    def __init__(self, engine: Engine, rows: np.ndarray, time_column: str) -> None:
        self.engine, self.rows, self.time = engine, rows, time_column
        self.groups = columns(rows)

    def fill(self, codecs: Mapping[str, str], order: str = BUCKET) -> tuple[float, float]:
        """Make table `t` with a codec for each group; CPU seconds to insert and to merge it."""
        names = self.rows.dtype.names or ()
        kinds = {n: SQL[self.rows.dtype[n].str] if n != self.time else "" for n in names}
        kinds[self.time] = "DateTime64(3, 'UTC')"
        lines = ", ".join(f"{n} {kinds[n]} CODEC({codecs[self.groups[n]]})" for n in names)
        key = ORDERS[order].format(t=self.time)
        self._run("DROP TABLE IF EXISTS t SYNC")
        self._run(
            f"CREATE TABLE t ({lines}) ENGINE = ReplacingMergeTree"
            f" PARTITION BY toDate({self.time}) ORDER BY {key}"
            " SETTINGS min_bytes_for_wide_part = 0, min_rows_for_wide_part = 0"
        )
        body = np.ascontiguousarray(self.rows).tobytes()
        head = f"INSERT INTO t ({', '.join(names)}) FORMAT RowBinary\n".encode()
        start = time.process_time()
        self.engine.run(head + body)
        inserted = time.process_time()
        self._run("OPTIMIZE TABLE t FINAL")
        return inserted - start, time.process_time() - inserted

    def sizes(self) -> dict[str, int]:
        """Compressed bytes of each column of `t`."""
        sql = (
            "SELECT column, sum(column_data_compressed_bytes) FROM system.parts_columns"
            " WHERE table = 't' AND active GROUP BY column"
        )
        lines = self._run(sql).decode().splitlines()
        return {name: int(size) for name, size in (line.split("\t") for line in lines)}

    def disk(self) -> int:
        """Bytes of the active parts, marks and index included."""
        sql = "SELECT sum(bytes_on_disk) FROM system.parts WHERE table = 't' AND active"
        return int(self._run(sql))

    def _run(self, sql: str) -> bytes:
        settings = {"enable_alp_codec": "1", "allow_suspicious_codecs": "1"}
        return self.engine.run(sql.encode(), settings=settings).body


def candidates(bench: Bench) -> dict[str, str]:
    """Print every candidate of every group; the smallest plain ones by group."""
    best: dict[str, tuple[int, str]] = {}
    present = set(bench.groups.values())
    values = {g: sum(k == g for k in bench.groups.values()) * len(bench.rows) for g in present}
    default = dict.fromkeys(CANDIDATES, "ZSTD(1)")
    for turn in range(max(len(c) for c in CANDIDATES.values())):
        codecs = {g: c[turn] if turn < len(c) else default[g] for g, c in CANDIDATES.items()}
        insert, merge = bench.fill(codecs)
        sizes = bench.sizes()
        for group in sorted(present):
            if turn >= len(CANDIDATES[group]):
                continue
            size = sum(sizes[n] for n, g in bench.groups.items() if g == group)
            print(
                f"  {group:5} {codecs[group]:22} {size / values[group]:8.4f} B/value,"
                f" all: insert {insert:.2f} CPU s, merge {merge:.2f}"
            )
            if "ALP" not in codecs[group]:  # not in every released server
                best[group] = min(best.get(group, (size, codecs[group])), (size, codecs[group]))
    return default | {group: codec for group, (_, codec) in best.items()}


def report(name: str, rows: np.ndarray, time_column: str, whole: np.ndarray) -> None:
    """Codecs and orders of one table, next to Prometheus; `whole` are the rows before rounding."""
    metrics = tuple(n for n, g in columns(rows).items() if g[0] in "<s" and n != "samples")
    print(f"{name}: {len(rows)} rows x {len(metrics)} values")
    choices(rows, time_column, len(rows) * len(metrics))
    against(rows, time_column, metrics, whole)


def choices(rows: np.ndarray, time_column: str, samples: int) -> None:
    """Every codec and every order, `samples` values in all."""
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(folder)
        bench = Bench(engine, rows, time_column)
        best = candidates(bench)
        print("  smallest:", best)
        for order in ORDERS:
            insert, merge = bench.fill(best, order)
            print(
                f"  order {order:16} {bench.disk() / samples:.4f} B/value"
                f"  insert {insert:.2f} CPU s, merge {merge:.2f}"
            )
        engine.close()


def against(
    rows: np.ndarray, time_column: str, metrics: tuple[str, ...], whole: np.ndarray
) -> None:
    """The table as it is made today, next to Prometheus: windows of all devices, and a quarter."""
    name = "gpu_raw" if time_column == "ts" else "gpu_windows"
    few = np.isin(rows["device"], np.unique(rows["device"])[::4])
    for each in (few,) if whole is rows else (np.ones_like(few), few):
        ours, theirs = on_disk(name, rows[each]), whole[each]
        count = sum(_known(theirs[n]) for n in metrics)
        chunks, index = prometheus.block_bytes(theirs, time_column, metrics)
        print(
            f"  same {count} values: ridgeline {ours / count:.4f},"
            f" prometheus chunks {chunks / count:.4f} + index {index / count:.4f} B/value,"
            f" ratio {ours / (chunks + index):.3f}"
        )
    if whole is not rows:
        chunks, index = prometheus.block_bytes(rows[each], time_column, metrics)
        print(f"  prometheus of rounded values: {(chunks + index) / count:.4f} B/value")


def on_disk(name: str, rows: np.ndarray) -> int:
    """Bytes of one part of a table of today, marks and index included."""
    (table,) = (table for table in tables.telemetry() if table.name == name)
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(folder)
        engine.run((table.create() + WIDE).encode())
        columns = ", ".join(rows.dtype.names or ())
        head = f"INSERT INTO {name} ({columns}) FORMAT RowBinary\n"
        engine.run(head.encode() + np.ascontiguousarray(rows).tobytes())
        engine.run(f"OPTIMIZE TABLE {name} FINAL".encode())
        sql = f"SELECT sum(bytes_on_disk) FROM system.parts WHERE table = '{name}' AND active"
        size = int(engine.run(sql.encode()).body)
        engine.close()
    return size


def sizing(raw: np.ndarray, windows: np.ndarray) -> None:
    """Bytes of a row, and of a GPU and day, in the tables as they are."""
    made = {table.name: table for table in tables.telemetry()}
    seconds = {"gpu_raw": 1, "gpu_windows": 10, "gpu_1m": 60}
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(folder)
        for name in seconds:
            engine.run((made[name].create() + WIDE).encode())
        for name, rows in (("gpu_raw", raw), ("gpu_windows", windows)):
            columns = ", ".join(rows.dtype.names or ())
            head = f"INSERT INTO {name} ({columns}) FORMAT RowBinary\n"
            engine.run(head.encode() + np.ascontiguousarray(rows).tobytes())
        span = (windows["window_start"].min(), windows["window_start"].max() + 1)
        engine.run(
            rollup.fold_sql(GPU, rollup.MINUTE).encode(),
            parameters={"start": str(span[0]), "end": str(span[1])},
        )
        for name, step in seconds.items():
            engine.run(f"OPTIMIZE TABLE {name} FINAL".encode())
            sql = f"SELECT sum(bytes_on_disk) / sum(rows) FROM system.parts WHERE table = '{name}'"
            size = float(engine.run(f"{sql} AND active".encode()).body)
            print(f"  {name:12} {size:7.1f} B/row {size * 86_400 / step / 1e6:8.3f} MB/GPU/day")
        engine.close()


def _known(column: np.ndarray) -> int:
    if column.dtype.kind == "f":
        return int((~np.isnan(column)).sum())
    return int((column != np.iinfo(column.dtype).max).sum())


def main() -> None:
    """Measure and print."""
    gpus, seconds = (int(a) for a in (*sys.argv[1:3], *("64", "7200")[len(sys.argv) - 1 :]))
    parts = list(telemetry.seconds(gpus, seconds))
    raw, windows = np.concatenate(parts), telemetry.windows(GPU, parts)
    sizing(raw, windows)
    whole = telemetry.windows(telemetry.exact(GPU), parts)
    report("windows", windows, "window_start", whole)
    report("raw", raw, "ts", raw)


if __name__ == "__main__":
    main()

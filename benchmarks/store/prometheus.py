"""Prometheus' own blocks of given samples, made by its own tool."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np


def block_bytes(rows: np.ndarray, time: str, metrics: tuple[str, ...]) -> tuple[int, int]:
    """Bytes of the chunks and of the index of blocks that hold every known value of the rows.

    Args:
        rows: Rows with `node`, `device` and the columns named by the other arguments.
        time: Column of ms since the epoch.
        metrics: Columns that become one series for each device.
    """
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "samples.om"
        with text.open("w", encoding="ascii") as out:
            out.writelines(_lines(rows[np.argsort(rows[time], kind="stable")], time, metrics))
        blocks = Path(folder) / "blocks"
        command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(text), str(blocks)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        sizes = dict.fromkeys(("chunks", "index"), 0)
        for path in blocks.rglob("*"):
            kind = "index" if path.name == "index" else path.parent.name
            if kind in sizes and path.is_file():
                sizes[kind] += path.stat().st_size
    return sizes["chunks"], sizes["index"]


def _lines(rows: np.ndarray, time: str, metrics: tuple[str, ...]) -> Iterator[str]:
    """OpenMetrics text, metric by metric; what is not known has no sample."""
    seconds = [f"{t / 1000:.3f}" for t in rows[time].tolist()]
    labels = [
        f'{{gpu="{d:016x}",instance="{n:016x}"}}'
        for n, d in zip(rows["node"].tolist(), rows["device"].tolist(), strict=True)
    ]
    for metric in metrics:
        column = rows[metric]
        missing = (
            np.isnan(column) if column.dtype.kind == "f" else column == np.iinfo(column.dtype).max
        )
        yield f"# TYPE {metric} gauge\n"
        for i, (value, absent) in enumerate(zip(column.tolist(), missing.tolist(), strict=True)):
            if not absent:
                yield f"{metric}{labels[i]} {value!r} {seconds[i]}\n"
    yield "# EOF\n"

"""GPUs in use over time, from a file, a request trace, or the live store."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from advisor.facts import Facts
from advisor.models.concurrency import Ceiling
from advisor.models.normal import Floats
from advisor.plan.traces import LATEST_SECONDS, Trace
from ridgeline.errors import Misconfigured

MINUTE = 60.0
MOST_ROWS = 1_000_000
ALLOWED = "a CSV with the columns timestamp (seconds or ISO 8601) and gpus (in use, 0 or more)"


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """GPUs in use at even steps; NaN where a step was not seen."""

    gpus: Floats
    step_seconds: float
    first_second_of_day: float
    origin: str
    gpus_there: float | None = None  # where the source says how many there are


def of_file(path: Path) -> History:
    """The history in a file, put on even steps of its most common distance.

    Raises:
        Misconfigured: cannot be read, or a row is wrong; names line, field and value.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            rows = [_row(path, n, row) for n, row in enumerate(csv.DictReader(lines), 2)]
    except OSError as error:
        raise Misconfigured("--demand", f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise Misconfigured("--demand", f"{path}: {error}; allowed: {ALLOWED}") from error
    if len(rows) < 2 or len(rows) > MOST_ROWS:
        raise Misconfigured("--demand", f"{path} has {len(rows)} rows; allowed: 2 to {MOST_ROWS:,}")
    times, gpus = (np.array(column) for column in zip(*sorted(rows), strict=True))
    gaps = np.diff(times)
    step = float(np.median(gaps[gaps > 0])) if (gaps > 0).any() else 0.0
    if step <= 0 or (times[-1] - times[0]) / step > MOST_ROWS:
        raise Misconfigured("--demand", f"{path}: timestamps must rise by even steps")
    place = np.round((times - times[0]) / step).astype(int)
    even = np.full(place[-1] + 1, np.nan)
    even[place] = gpus
    return History(
        gpus=even,
        step_seconds=step,
        first_second_of_day=float(times[0] % 86_400),
        origin=f"{len(rows):,} rows of {path.name}",
    )


def _row(path: Path, line: int, row: dict[str, str]) -> tuple[float, float]:
    try:
        gpus = float(row["gpus"])
        at = _seconds(row["timestamp"])
    except (KeyError, TypeError, ValueError) as error:
        problem = f"{path} line {line}: {error}; allowed: {ALLOWED}"
        raise Misconfigured("--demand", problem) from error
    if abs(at) > LATEST_SECONDS:
        problem = f"{path} line {line}: timestamp={row['timestamp']!r} is no second: {ALLOWED}"
        raise Misconfigured("--demand", problem)
    if not (np.isfinite(at) and np.isfinite(gpus) and gpus >= 0):
        raise Misconfigured("--demand", f"{path} line {line}: gpus={row['gpus']!r}: {ALLOWED}")
    return at, gpus


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def lasting(seconds: float) -> str:
    """A length of time in the unit that people would say it in."""
    for unit, scale in (("days", 86_400.0), ("hours", 3600.0)):
        if seconds >= 2 * scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / MINUTE:.0f} minutes"


def of_trace(trace: Trace, top: Ceiling, gpus_per_engine: int, load_ratio: float) -> History:
    """GPUs that each minute of a trace would take at `load_ratio` of an engine's ceiling."""
    minutes = max(1, int(trace.arrival_seconds[-1] // MINUTE))
    counts, _ = np.histogram(trace.arrival_seconds, minutes, (0.0, minutes * MINUTE))
    each = top.queries_per_second * load_ratio
    return History(
        gpus=counts / MINUTE / each * gpus_per_engine,
        step_seconds=MINUTE,
        first_second_of_day=trace.first_second_of_day,
        origin=f"{len(trace.arrival_seconds):,} requests of {trace.name}, modelled GPUs",
    )


def of_facts(seen: Facts, pool: str) -> History:
    """GPUs by minute of a live pool: its concurrent requests, by how many its GPUs run now.

    Raises:
        Misconfigured: the pool is not known, runs nothing, or has no history.
    """
    demand = seen.demand.get(pool, ())
    load, gpus = seen.serving_of(pool), seen.gpus_of(pool)
    if not demand or load is None or gpus is None or not load.running:
        there = ", ".join(sorted(seen.demand)) or "none"
        raise Misconfigured("--pool", f"no history of {pool}; pools with one: {there}")
    now = (seen.now_ms / 1000 - len(demand) * MINUTE) % 86_400
    return History(
        gpus=np.array(demand) / load.running * gpus.gpus,
        step_seconds=MINUTE,
        first_second_of_day=now,
        origin=f"the store, {lasting(len(demand) * MINUTE)} of {pool}",
        gpus_there=float(gpus.gpus),
    )

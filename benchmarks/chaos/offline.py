"""What the log says, computed plainly: one sample at a time, nothing killed, nothing cut."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from ridgeline.errors import Reject
from ridgeline.events import Detection, InventoryItem
from ridgeline.frames import decode, resolve, watermark_of
from ridgeline.schema import (
    FABRIC,
    FACILITY,
    GPU,
    MISSING_COUNTER,
    MISSING_STATE,
    SCHEMAS,
    SERVING,
    Kind,
    Resolution,
    Schema,
    WindowField,
)
from ridgeline.store.derived import DERIVED
from ridgeline.store.tables import KIND, LEVELS, PLACES
from streams.batches import APPEND_TIME, Batch, Fetched
from streams.episodes import Policy
from streams.facts import Facts
from streams.kernels import SATURATED_32
from streams.partition import Partition
from streams.surroundings import Board
from streams.timeline import Clock

Key = tuple[int, int]
"""Device and start of the window, ms."""
Row = dict[str, float]
Rows = dict[Key, Row]


@dataclass(slots=True)
class _Sums:
    """One device in one window, so far."""

    node: int
    samples: int = 0
    gauges: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    increases: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    states: dict[str, int] = field(default_factory=dict)
    flags: dict[str, int] = field(default_factory=dict)


def kept(
    log: Iterable[Fetched], clock: Clock, schemas: Mapping[str, Schema] = SCHEMAS
) -> Iterator[np.void]:
    """The rows of one partition's log that are neither unreadable nor late nor from the future."""
    newest = -(10**18)
    for message in log:
        mark = None if message.value else watermark_of(message.headers)
        now = message.timestamp if message.timestamp_type == APPEND_TIME else 10**18
        if mark is not None:
            newest = max(newest, mark) if mark <= now + clock.future else newest
            continue
        try:
            found, version = resolve(message.headers, schemas)
            rows = decode(message.value or b"", found, version)
        except Reject:
            continue
        rows = rows[rows["ts"] <= now + clock.future]
        for row in rows:
            if int(row["ts"]) // clock.hop * clock.hop + clock.hop > newest - clock.lateness:
                yield row
        newest = max(newest, int(rows["ts"].max(initial=newest)))


def windows(schema: Schema, logs: Iterable[Sequence[Fetched]], clock: Clock) -> Rows:
    """Every window row of a topic, from the logs of its partitions."""
    sums: dict[Key, _Sums] = {}
    for log in logs:
        once: dict[Key, np.void] = {}
        for row in kept(log, clock, {**SCHEMAS, schema.family: schema}):
            once.setdefault((int(row["device"]), int(row["ts"])), row)
        before: dict[tuple[int, str], tuple[int, int]] = {}
        for (device, ts), row in sorted(once.items(), key=lambda item: item[0][1]):
            start = ts // clock.window * clock.window
            into = sums.setdefault((device, start), _Sums(node=int(row["node"])))
            _add(schema, into, row, ts, before, clock)
    return {key: _row(schema, one) for key, one in sums.items()}


def _add(  # noqa: PLR0917 - one obvious loop
    schema: Schema,
    into: _Sums,
    row: np.void,
    ts: int,
    before: dict[tuple[int, str], tuple[int, int]],
    clock: Clock,
) -> None:
    into.samples, into.node = into.samples + 1, int(row["node"])
    for name in schema.of_kind(Kind.GAUGE):
        if not math.isnan(row[name]):
            into.gauges[name].append(float(row[name]))
    for name in schema.of_kind(Kind.COUNTER):
        value = int(row[name])
        if value in (MISSING_COUNTER, SATURATED_32):
            continue
        last = before.get((int(row["device"]), name))
        if last is not None and ts - last[0] <= clock.gap:
            into.increases[name].append(value - last[1] if value >= last[1] else value)
        before[int(row["device"]), name] = (ts, value)
    for name in schema.of_kind(Kind.STATE):
        if int(row[name]) != MISSING_STATE:
            into.states[name] = int(row[name])
    for name in schema.of_kind(Kind.FLAGS):
        if int(row[name]) != MISSING_STATE:
            into.flags[name] = into.flags.get(name, 0) | int(row[name])


def rounded(value: float, resolution: Resolution) -> float:
    """A gauge as windows have it: as many whole steps as are nearest, of two the even number."""
    value = float(np.float32(value))
    if not math.isfinite(value) or value == 0:
        return value + 0.0
    # the power of two below it, of which a float32 has none below 2^-126
    power = max(math.frexp(value)[1] - 1, -126)
    step = Fraction(resolution.step) or Fraction(2) ** (power - resolution.bits)
    near = round(Fraction(value) / step) * step
    return float(near) if abs(near) < 2**128 else value


def _row(schema: Schema, sums: _Sums) -> Row:
    out: Row = {"node": sums.node, "samples": sums.samples}
    for f in schema.window_fields:
        values = sums.gauges.get(f.column, [])
        match f.how:
            case "avg":
                total = 0.0
                for value in values:  # in order of time
                    total += value
                mean = total / len(values) if values else math.nan
                out[f.name] = rounded(mean, f.resolution)
            case "min" | "max":
                most = {"min": min, "max": max}[f.how](values, default=math.nan)
                out[f.name] = rounded(most, f.resolution)
            case "inc":
                found = sums.increases.get(f.column)
                out[f.name] = math.nan if found is None else math.fsum(found)
            case "last":
                out[f.name] = sums.states.get(f.column, MISSING_STATE)
            case _:
                out[f.name] = sums.flags.get(f.column, MISSING_STATE)
    return out


def rolled(schema: Schema, rows: Mapping[Key, Row], step_ms: int) -> Rows:
    """Windows folded into minutes, or minutes into hours."""
    groups: dict[Key, list[tuple[int, Row]]] = defaultdict(list)
    for (device, start), row in rows.items():
        groups[device, start // step_ms * step_ms].append((start, row))
    return {
        key: _fold(schema, [row for _, row in sorted(g, key=lambda p: p[0])])
        for key, g in groups.items()
    }


def _fold(schema: Schema, rows: list[Row]) -> Row:
    out: Row = {"node": rows[-1]["node"], "samples": sum(r["samples"] for r in rows)}
    out["windows"] = sum(r.get("windows", 1) for r in rows)
    for f in schema.window_fields:
        missing = math.nan if f.numpy.startswith("<f") else float(MISSING_STATE)
        known = [r for r in rows if not math.isnan(r[f.name]) and r[f.name] != MISSING_STATE]
        values = [r[f.name] for r in known]
        if not values:
            out[f.name] = missing
        elif f.how == "avg":
            total = sum(r["samples"] for r in known)
            mean = math.fsum(r[f.name] * r["samples"] for r in known) / total
            out[f.name] = rounded(mean, f.resolution)
        elif f.how == "or":
            out[f.name] = float(np.bitwise_or.reduce([int(v) for v in values]))
        else:
            folds: dict[str, Any] = {"min": min, "max": max, "inc": math.fsum}
            out[f.name] = values[-1] if f.how == "last" else folds[f.how](values)
    return out


Place = tuple[str, ...]
"""Pool, rack, cooling loop, rail and model; those that a level does not tell apart are empty."""
_TOLD = {
    "places": (True, True, True, True, True),
    "pools": (True, False, False, True, True),
    "loops": (False, False, True, False, True),
}


def placed(
    schema: Schema, minutes: Mapping[Key, Row], items: Iterable[InventoryItem], window_ms: int
) -> dict[str, dict[tuple[Place, int], Row]]:
    """By level, minutes of devices summed up to places, and those to pools and loops."""
    of_level: dict[str, dict[tuple[Place, int], Row]] = {}
    where = {
        i.device: (i.pool, i.rack, i.cooling_loop, i.rail, i.model)
        for i in items
        if i.kind.value == KIND[schema.family]
    }
    fields = [*schema.window_fields, *(d.field for d in DERIVED[schema.family])]
    devices = [
        ((where[device], start), _device(schema, row, window_ms))
        for (device, start), row in minutes.items()
        if device in where
    ]
    for level in LEVELS[schema.family]:
        groups: dict[tuple[Place, int], list[Row]] = defaultdict(list)
        for (place, start), row in devices if level == PLACES else of_level[PLACES].items():
            told = tuple(n if t else "" for n, t in zip(place, _TOLD[level], strict=True))
            groups[told, start].append(row)
        of_level[level] = {key: _sum_up(fields, rows) for key, rows in groups.items()}
        if level == PLACES:
            for key, rows in groups.items():
                of_level[level][key]["nodes"] = len({row["node"] for row in rows})
    return of_level


def _device(schema: Schema, row: Row, window_ms: int) -> Row:
    """A device's minute as a place of its own."""
    one: Row = {**row, "devices": 1, "nodes": 1, "device_windows": row["windows"]}
    values = _DERIVED[schema.family](row, row["windows"] * window_ms / 1000)
    for derived in DERIVED[schema.family]:
        value = values[derived.field.name]
        average = derived.field.how == "avg"
        one[derived.field.name] = rounded(value, derived.field.resolution) if average else value
    return one


def _sum_up(fields: Sequence[WindowField], rows: Sequence[Row]) -> Row:
    """One place of several; no node is in two of them."""
    counts = ("samples", "devices", "nodes", "device_windows")
    out: Row = {name: sum(r[name] for r in rows) for name in counts}
    out["windows"] = max(r["windows"] for r in rows)
    for f in fields:
        known = [r for r in rows if not math.isnan(r[f.name]) and r[f.name] != MISSING_STATE]
        values = [r[f.name] for r in known]
        if f.how == "last":
            out[f.name] = MISSING_STATE
        elif not values:
            out[f.name] = math.nan if f.numpy.startswith("<f") else MISSING_STATE
        elif f.how in ("avg", "inc"):
            weight = {"avg": "samples", "inc": "devices"}[f.how]
            total = math.fsum(r[f.name] * r[weight] for r in known)
            value = total / sum(r[weight] for r in known)
            out[f.name] = rounded(value, f.resolution) if f.how == "avg" else value
        elif f.how == "or":
            out[f.name] = float(np.bitwise_or.reduce([int(v) for v in values]))
        else:
            out[f.name] = {"min": min, "max": max}[f.how](values)
    return out


def _worst(row: Row, seconds: float, *columns: str) -> float:
    """Share of time in the worst of several throttle counters."""
    known = [row[f"throttle_{c}_ns_inc"] for c in columns]
    known = [value for value in known if not math.isnan(value)]
    return min(1.0, max(known) / (seconds * 1e9)) if known else math.nan


def _larger(row: Row, a: str, b: str) -> float:
    return float(np.fmax(row[a], row[b]))


def _over(a: float, b: float) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.float64(a) / np.float64(b))


def _gpu(row: Row, seconds: float) -> Row:
    heat = _worst(row, seconds, "thermal", "sw_thermal", "hw_thermal")
    clock = _over(row["sm_clock_mhz_avg"], row["sm_clock_max_mhz_avg"])
    known = math.isfinite(heat) and math.isfinite(clock)
    rates = "_bytes_per_second_avg"
    return {
        "heat_ratio": heat,
        "power_ratio": _worst(row, seconds, "power", "power_brake"),
        "hot_ratio": float(heat > 0.01) if known else math.nan,
        "hot_clock_ratio": (clock if heat > 0.01 else 0.0) if known else math.nan,
        "memory_used_ratio": _over(row["memory_used_bytes_avg"], row["memory_total_bytes_avg"]),
        **{
            f"{link}_busier_bytes_per_second": _larger(
                row, f"{link}_tx{rates}", f"{link}_rx{rates}"
            )
            for link in ("pcie", "nvlink")
        },
    }


def _port(row: Row, seconds: float) -> Row:
    del seconds
    carried = _larger(row, "tx_bytes_inc", "rx_bytes_inc")
    took = _over(carried * 8, row["link_rate_bits_per_second_avg"])
    return {"carried_bytes_inc": carried, "carried_seconds_inc": took}


def _engine(row: Row, seconds: float) -> Row:
    del seconds
    waiting, running = row["requests_waiting_avg"], row["requests_running_avg"]
    known = math.isfinite(waiting + running)
    overloaded = float(waiting > max(1, 0.1 * running)) if known else math.nan
    return {"overloaded_ratio": overloaded}


_DERIVED: Mapping[str, Callable[[Row, float], Row]] = {
    "gpu": _gpu,
    "fabric": _port,
    "facility": lambda _row, _seconds: {},
    "serving": _engine,
}
"""By family, what `ridgeline.store.derived` says of a device's row of so many seconds."""


class _AllKept(Board):
    """A board that drops no fact: partitions are read one after the other."""

    def judged(self, partition: int, ms: int | None) -> None:
        """Keep everything."""


def detections(
    logs: Mapping[str, Mapping[int, Sequence[Fetched]]],
    items: Iterable[InventoryItem],
    clock: Clock,
    policy: Policy,
) -> list[Detection]:
    """What a worker says that reads each partition once, from beginning to end, alone.

    First what others need, then the others: whatever they say in life must not depend on it.
    """
    board = _AllKept()
    board.inventory.load(items)
    out: list[Detection] = []
    for schema in sorted(SCHEMAS.values(), key=(SERVING, FACILITY, GPU, FABRIC).index):
        for number, log in logs[schema.topic].items():
            facts = Facts() if schema in (SERVING, FACILITY) else None
            partition = Partition(schema, number, clock, policy, board, {}, facts=facts)
            for message in log:
                batch = Batch(topic=schema.topic, partition=number, messages=[message])
                for output in partition.take(batch, 10**15):
                    out += [e for e in output.events if isinstance(e, Detection)]
            if facts is not None:
                facts.reached(10**15)
                board.facts[schema.topic, number] = facts
    return out


def differences(want: Mapping[Any, Row], found: Mapping[Any, Row]) -> list[str]:
    """How two sets of rows differ, to the last bit but for increases above 2^53."""
    out = [f"missing {key}" for key in sorted(want.keys() - found.keys())]
    out += [f"not wanted {key}" for key in sorted(found.keys() - want.keys())]
    for key in want.keys() & found.keys():
        for name, value in want[key].items():
            other = found[key][name]
            close = math.isclose(value, other, rel_tol=1e-12 * name.endswith("_inc"))
            if not close and not (math.isnan(value) and math.isnan(other)):
                out.append(f"{key} {name}: want {value}, found {other}")
    return out

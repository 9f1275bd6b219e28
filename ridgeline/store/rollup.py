"""The SQL that folds base windows into minutes and hours, devices into places, places into pools.

Folding again gives the same rows, which replace the earlier ones: a rollup may be repeated, by
several workers at once. A missing value is skipped; where all are missing the result is missing.

A *place* stands for all devices of one model that share pool, rack, cooling loop and rail. Its row
is that of its mean device, with the number of devices beside it; as they are of one model a column
is known for all of them or for none, and one that misses a reading counts like the mean. A *pool*
is such a place whatever the rack and the loop, a *loop* one whatever the pool, the rack and the
rail: a few rows for a fleet of any size. Their minutes have what `derived` says as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ridgeline.schema import EXACT, MISSING_STATE, Resolution, Schema, WindowField
from ridgeline.store.derived import DERIVED
from ridgeline.store.tables import KIND, LEVELS, LOOPS, PLACES, POOLS

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
MOST_ROWS = 500_000
"""Rows one statement folds, or one step: memory grows with them, overhead with their number."""
RUNNING_ROWS = 100_000
"""Minute rows up to which an hour is rebuilt each time while it goes on: 1,700 devices."""
_PLACE_KEY = "pool, rack, cooling_loop, rail, model"
_KEY = {
    PLACES: _PLACE_KEY,
    POOLS: "pool, '' AS rack, '' AS cooling_loop, rail, model",
    LOOPS: "'' AS pool, '' AS rack, cooling_loop, '' AS rail, model",
}
_PARTS = ", ".join(f"toString({part})" for part in _PLACE_KEY.split(", "))


@dataclass(frozen=True, slots=True)
class Step:
    """One fold over time: rows of `source` of the same `step_ms` become one of `target`."""

    source: str
    target: str
    step_ms: int

    def span(self, start_ms: int, end_ms: int) -> tuple[int, int]:
        """The smallest span of whole steps that holds [start, end)."""
        return start_ms // self.step_ms * self.step_ms, -(-end_ms // self.step_ms) * self.step_ms


MINUTE = Step("windows", "1m", MINUTE_MS)
HOUR = Step("1m", "1h", HOUR_MS)


def runs(stale: Sequence[tuple[int, int]], step: Step) -> list[tuple[int, int]]:
    """Stale steps (start in ms, rows) as spans for one statement each: neighbours, not too many."""
    out: list[tuple[int, int]] = []
    room = 0
    for start, rows in stale:
        if out and out[-1][1] == start and rows <= room:
            out[-1] = (out[-1][0], start + step.step_ms)
        else:
            out.append((start, start + step.step_ms))
            room = MOST_ROWS
        room -= rows
    return out


def place_id(kind: str) -> str:
    """SQL of the id of a place, from the columns of `inventory`."""
    return f"cityHash64('place', '{kind}', {_PARTS})"


def rounded(x: str, resolution: Resolution) -> str:
    """SQL of a gauge's average as windows have it: `schema.Resolution` says how it is rounded."""
    x = f"toFloat32({x})"
    if resolution.step:  # round() takes the even one of two, too
        return f"round({x} / {resolution.step!r}) * {resolution.step!r}"
    if resolution.bits == EXACT.bits:
        return x
    drop = EXACT.bits - resolution.bits
    word, half = f"reinterpretAsUInt32({x})", 1 << drop >> 1
    near = f"{word} + {half - 1} + bitTest({word}, {drop})"
    near = f"reinterpretAsFloat32(toUInt32(bitAnd({near}, {2**32 - (1 << drop)})))"
    return f"if(bitAnd({word}, {2**31 - 1}) < {0x7F800000 - half}, {near}, {x})"


def _fold(f: WindowField) -> str:
    x = f.name
    known = f"NOT isNaN({x})" if f.numpy.startswith("<f") else f"{x} != {MISSING_STATE}"
    match f.how:
        case "avg":  # 0 / 0 is NaN: nothing known
            mean = f"sumIf({x} * samples, {known}) / sumIf(samples, {known})"
            return rounded(mean, f.resolution)
        case "min" | "max" as how:
            return f"if(countIf({known}) = 0, nan, {how}If({x}, {known}))"
        case "inc":
            return f"if(countIf({known}) = 0, nan, sumIf({x}, {known}))"
        case "last":
            value = f"argMaxIf({x}, window_start, {known})"
        case "or":
            value = f"groupBitOrIf({x}, {known})"
        case _:
            raise ValueError(f"no fold for {f.how!r} of {f.name}")
    return f"if(countIf({known}) = 0, {MISSING_STATE}, {value})"


def _fold_place(f: WindowField) -> str:
    if f.how == "inc":  # of the mean device: 0 / 0 is NaN
        known = f"NOT isNaN({f.name})"
        return f"sumIf({f.name} * devices, {known}) / sumIf(devices, {known})"
    if f.how == "last":  # several devices have no common last state
        return str(MISSING_STATE)
    return _fold(f)


def _between(column: str = "window_start") -> str:
    return (
        f"{column} >= fromUnixTimestamp64Milli({{start:Int64}}, 'UTC')"
        f" AND {column} < fromUnixTimestamp64Milli({{end:Int64}}, 'UTC')"
    )


def _interval(step: Step) -> str:
    return f"toStartOfInterval(window_start, INTERVAL {step.step_ms // 1000} SECOND)"


def stale_sql(schema: Schema, step: Step) -> str:
    """Steps between `start` and `end` whose rollups have not seen all of their rows; how many rows.

    A window is a function of its samples, so rows are compared by how many samples they hold.
    Places and pools are asked too: a worker may have died between two of them.
    """
    family, interval = schema.family, _interval(step)
    targets = (step.target, *(f"{level}_{step.target}" for level in LEVELS[family]))

    def seen(table: str, number: int) -> str:
        counts = ["sum(samples)" if n == number else "0" for n in range(len(targets) + 1)]
        rows = "count()" if number == 0 else "0"
        return (
            f"    SELECT {interval} AS step, {rows} AS count, [{', '.join(counts)}] AS seen\n"
            f"    FROM {family}_{table} FINAL WHERE {_between()} GROUP BY step\n"
        )

    every = "    UNION ALL\n".join(seen(t, n) for n, t in enumerate((step.source, *targets)))
    return (
        "SELECT toUnixTimestamp64Milli(toDateTime64(step, 3, 'UTC')) AS start_ms,"
        f" sum(count) AS rows FROM (\n{every}) GROUP BY step\n"
        "HAVING sumForEach(seen)[1] > arrayMin(arraySlice(sumForEach(seen), 2)) ORDER BY step"
    )


def fold_sql(schema: Schema, step: Step) -> str:
    """INSERT ... SELECT of one step; parameters `start` and `end` in ms, whole steps."""
    fields = [f.name for f in schema.window_fields]
    names = ["window_start", "node", "device", "samples", *fields, "windows"]
    folds = ",\n    ".join(_fold(f) for f in schema.window_fields)
    return (
        f"INSERT INTO {schema.family}_{step.target} ({', '.join(names)})\n"
        f"SELECT\n    {_interval(step)},\n"
        f"    argMax(node, window_start),\n    device,\n    sum(samples),\n    {folds},\n"
        f"    sum(w.windows)\n"
        f"FROM {schema.family}_{step.source} AS w FINAL\nWHERE {_between()}\nGROUP BY 1, device"
    )


def places_sql(schema: Schema) -> str:
    """INSERT ... SELECT of the places of a family's devices that `places` does not have yet."""
    kind = KIND[schema.family]
    each = "    UNION ALL\n".join(
        f"    SELECT {_KEY[level]} FROM inventory FINAL WHERE kind = '{kind}'\n"
        for level in LEVELS[schema.family]
    )
    return (
        f"INSERT INTO {PLACES} (device, kind, {_PLACE_KEY})\n"
        f"SELECT {place_id(kind)} AS place, '{kind}', {_PLACE_KEY}\nFROM (\n{each}"
        f") WHERE place NOT IN (SELECT device FROM {PLACES})\n"
        f"GROUP BY {_PLACE_KEY}"
    )


@dataclass(frozen=True, slots=True)
class _PlaceColumn:
    """A column of places: its value in a row of the source `w`, of one without devices, its fold.

    A row without devices adds nothing.
    """

    name: str
    value: str
    nothing: str
    fold: str


def _place_columns(schema: Schema, level: str, target: str) -> list[_PlaceColumn]:
    def column(f: WindowField, value: str) -> _PlaceColumn:
        bits = "32" if f.numpy.endswith("4") else "64"
        floating = f.numpy.startswith("<f")
        nothing = f"toFloat{bits}(nan)" if floating else f"toUInt32({MISSING_STATE})"
        return _PlaceColumn(f.name, value, nothing, _fold_place(f))

    out = [column(f, f.name) for f in schema.window_fields]
    if target != MINUTE.target:
        return out
    of_devices = level == PLACES
    for one in DERIVED[schema.family]:
        f, value = one.field, one.field.name
        if of_devices:
            value = f"toFloat64({one.sql})"
            value = rounded(value, f.resolution) if f.how == "avg" else value
        out.append(column(f, value))
    nodes = ("node", "uniqExactIf(nodes, devices > 0)") if of_devices else ("nodes", "sum(nodes)")
    counted = "windows" if of_devices else "device_windows"
    return [
        *out,
        _PlaceColumn("nodes", nodes[0], "toUInt64(0)", nodes[1]),
        _PlaceColumn("windows", "windows", "toUInt32(0)", "max(windows)"),
        _PlaceColumn("device_windows", counted, "toUInt64(0)", "sum(device_windows)"),
    ]


def fold_places_sql(schema: Schema, level: str, target: str) -> str:
    """INSERT ... SELECT of one level's `target` table; parameters `start`, `end`, `window_s`.

    A place that had devices when it was folded before, and has none now, gets a row without any:
    else a device that moved would be counted in both.
    """
    family, kind = schema.family, KIND[schema.family]
    if level == PLACES:
        source = f"{family}_{target}"
        where = f"SELECT device, {_PLACE_KEY} FROM inventory FINAL WHERE kind = '{kind}'"
    else:
        source = f"{family}_{PLACES}_{target}"
        where = f"SELECT device, {_KEY[level]} FROM {PLACES} FINAL WHERE kind = '{kind}'"
    columns = _place_columns(schema, level, target)
    names = ["window_start", "node", "device", "samples", *(c.name for c in columns)]
    values = ", ".join(c.value if c.value == c.name else f"{c.value} AS {c.name}" for c in columns)
    folds = ",\n    ".join(c.fold for c in columns)
    return (
        f"INSERT INTO {family}_{level}_{target} ({', '.join(names)}, devices, rebuilt)\n"
        f"SELECT window_start, 0, place, sum(samples),\n    {folds},\n"
        "    sum(devices), now64(6, 'UTC')\nFROM (\n"
        f"    SELECT window_start, {place_id(kind)} AS place, devices, samples, {values}\n"
        f"    FROM (SELECT *, devices FROM {source} FINAL WHERE {_between()}) AS w\n"
        f"    LEFT JOIN ({where}) AS i USING (device)\n"
        "    UNION ALL\n"
        f"    SELECT window_start, device, 0, 0, {', '.join(c.nothing for c in columns)}\n"
        f"    FROM {family}_{level}_{target} FINAL WHERE {_between()} AND devices > 0\n"
        ") GROUP BY window_start, place"
    )


REPORTS = f"""
INSERT INTO collector_minutes (ts, collector, nodes, reports, runs, failed, duration_p95_seconds)
SELECT toStartOfMinute(h.ts) AS minute, collector, uniqExact(node), count(), sum(h.runs),
    sum(h.failed), quantileExact(0.95)(duration_seconds)
FROM collector_health AS h FINAL
WHERE {_between("h.ts")}
GROUP BY minute, collector
"""
"""INSERT ... SELECT of the minutes of collectors' reports between `start` and `end` in ms."""
LAST_REPORTS = """
SELECT toUnixTimestamp64Milli(max(ts)) AS last_ms FROM collector_minutes
WHERE ts <= fromUnixTimestamp64Milli({before:Int64}, 'UTC')
    AND ts > fromUnixTimestamp64Milli({before:Int64}, 'UTC') - INTERVAL 1 DAY
"""
"""The last minute of reports that was folded, not after `before` in ms; 0: none within a day."""

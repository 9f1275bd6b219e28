"""The SQL that folds base windows into minutes and minutes into hours.

Folding again gives the same rows, which replace the earlier ones: a rollup may be repeated. A
missing value is skipped; where all are missing the result is missing.
"""

from __future__ import annotations

from ridgeline.schema import MISSING_STATE, Schema, WindowField

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
STEPS = (("windows", "1m", MINUTE_MS), ("1m", "1h", HOUR_MS))


def span(start_ms: int, end_ms: int, step_ms: int) -> tuple[int, int]:
    """The smallest span of whole steps that holds [start, end)."""
    return start_ms // step_ms * step_ms, -(-end_ms // step_ms) * step_ms


def _fold(f: WindowField) -> str:
    x = f.name
    known = f"NOT isNaN({x})" if f.numpy.startswith("<f") else f"{x} != {MISSING_STATE}"
    match f.how:
        case "avg":  # 0 / 0 is NaN: nothing known
            return f"sumIf({x} * samples, {known}) / sumIf(samples, {known})"
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


def fold_sql(schema: Schema, source: str, target: str, step_ms: int) -> str:
    """INSERT ... SELECT of one step; parameters `start` and `end` in ms, whole steps."""
    names = ["window_start", "node", "device", "samples", *(f.name for f in schema.window_fields)]
    folds = ",\n    ".join(_fold(f) for f in schema.window_fields)
    return (
        f"INSERT INTO {schema.family}_{target} ({', '.join(names)})\n"
        f"SELECT\n    toStartOfInterval(window_start, INTERVAL {step_ms // 1000} SECOND),\n"
        f"    argMax(node, window_start),\n    device,\n    sum(samples),\n    {folds}\n"
        f"FROM {schema.family}_{source} FINAL\n"
        "WHERE window_start >= fromUnixTimestamp64Milli({start:Int64}, 'UTC')\n"
        "  AND window_start < fromUnixTimestamp64Milli({end:Int64}, 'UTC')\n"
        "GROUP BY 1, device"
    )

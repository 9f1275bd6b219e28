"""Pieces of SQL that panels share, and the macros as the plug-in expands them.

Window rows hold averages over known readings, NaN where nothing is known; a counter column holds
the increase within the row. `${resolution}` is the dashboard's choice of table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ridgeline.settings import StreamsSettings

ALL = "__all"
_WINDOW_SECONDS = StreamsSettings.model_fields["window_seconds"].default
ROW_SECONDS = f"transform('${{resolution}}', ['1m', '1h'], [60, 3600], {_WINDOW_SECONDS})"
"""Seconds that one row of the chosen table covers."""
TIME = "toStartOfInterval(window_start, INTERVAL $__interval_s SECOND) AS time"

_MACRO = re.compile(r"\$__(\w+)(?:\(([^()]*)\))?")
_VARIABLE = re.compile(r"\$\{(\w+)(?::(\w+))?\}")


def mean(column: str) -> str:
    """Average over rows weighted by their samples; NaN when nothing is known."""
    known = f"NOT isNaN({column})"
    return f"sumIf({column} * samples, {known}) / sumIf(samples, {known})"


def largest(column: str) -> str:
    """Maximum over known values; NaN when nothing is known."""
    return f"if(countIf(NOT isNaN({column})) = 0, nan, maxIf({column}, NOT isNaN({column})))"


def smallest(column: str) -> str:
    """Minimum over known values; NaN when nothing is known."""
    return f"if(countIf(NOT isNaN({column})) = 0, nan, minIf({column}, NOT isNaN({column})))"


def rate(column: str) -> str:
    """Mean increase a second of one device; NaN when nothing is known."""
    known = f"NOT isNaN({column})"
    return f"sumIf({column}, {known}) / (countIf({known}) * {ROW_SECONDS})"


def total_rate(column: str) -> str:
    """Increase a second of all devices together; NaN when nothing is known."""
    return f"{rate(column)} * uniqExactIf(device, NOT isNaN({column}))"


def chosen(variable: str, column: str) -> str:
    """Condition that a row is among a variable's chosen values (or that All is chosen)."""
    values = f"${{{variable}:singlequote}}"
    return f"('{ALL}' IN ({values}) OR {column} IN ({values}))"


def places(kind: str, *, pool: str = "") -> str:
    """CTE `places`: the chosen devices of one kind, with where they are."""
    where = [f"kind = '{kind}'"]
    where += [f"pool = '{pool}'"] if pool else [chosen("pool", "pool")]
    if kind != "facility":
        where += [chosen("rack", "rack"), chosen("node", "host")]
    else:
        where = where[:1]  # cooling serves every pool
    return (
        "WITH places AS (\n    SELECT device, pool, rack, host, name, cooling_loop, rail\n"
        f"    FROM inventory FINAL\n    WHERE {' AND '.join(where)}\n)\n"
    )


def by_time(
    family: str, kind: str, values: Mapping[str, str], *, label: str = "", pool: str = ""
) -> str:
    """Values over time of the chosen devices, one series a label and a value.

    Args:
        family: Telemetry family.
        kind: Inventory kind of its devices.
        values: Column name to aggregate expression.
        label: Column of `places` to split by, named `series`; empty: one series a value.
        pool: Only this pool, whatever is chosen.
    """
    picked = ",\n    ".join(f'{expression} AS "{name}"' for name, expression in values.items())
    split = f"if({label} = '', 'unknown', {label}) AS series, " if label else ""
    keys = "time, series" if label else "time"
    return (
        f"{places(kind, pool=pool)}SELECT\n    {TIME},\n    {split}{picked}\n"
        f"FROM {family}_${{resolution}} AS w FINAL\nINNER JOIN places USING (device)\n"
        f"WHERE $__timeFilter(window_start)\nGROUP BY {keys}\nORDER BY {keys}"
    )


def render(
    sql: str,
    start: int,
    end: int,
    variables: Mapping[str, str | Sequence[str] | None],
    interval_seconds: int = 10,
) -> str:
    """SQL as Grafana sends it for one time range.

    Args:
        sql: Statement with macros and variables.
        start: Start of the range in s since the epoch.
        end: End of the range in s since the epoch.
        variables: Text of one value, a sequence of values, or None for All.
        interval_seconds: The panel's interval.

    Raises:
        ValueError: a macro or a variable is unknown, or a macro's argument is missing.
    """
    text = _VARIABLE.sub(lambda found: _value(found, variables), sql)
    return _MACRO.sub(lambda found: _expand(found, start, end, interval_seconds), text)


def _value(found: re.Match[str], variables: Mapping[str, str | Sequence[str] | None]) -> str:
    name, how = found.groups()
    if name not in variables:
        raise ValueError(f"unknown variable ${{{name}}}")
    value = variables[name]
    if value is None:  # Grafana puts a variable's "all value" in as it stands
        return f"'{ALL}'"
    values = [value] if isinstance(value, str) else list(value)
    if how == "singlequote":
        return ",".join("'" + v.replace("\\", "\\\\").replace("'", "\\'") + "'" for v in values)
    return ",".join(values)


def _expand(found: re.Match[str], start: int, end: int, interval_seconds: int) -> str:
    name, argument = found.groups()
    match name:
        case "timeFilter" if argument:
            low, high = f"toDateTime({start})", f"toDateTime({end})"
            return f"{argument} >= {low} AND {argument} <= {high}"
        case "fromTime":
            return f"toDateTime({start})"
        case "toTime":
            return f"toDateTime({end})"
        case "interval_s":
            return str(max(interval_seconds, 1))
    raise ValueError(f"unknown macro or missing argument: {found.group(0)}")

"""Pieces of SQL that panels share, and the macros as the plug-in expands them.

Window rows hold averages over known readings, NaN where nothing is known; a counter column holds
the increase within the row. `${resolution}` is the table that fits the time range and the choice:
rows of devices, or of pools (all devices of one model in a pool and on a rail), or, where racks are
chosen, of places (likewise within a rack and a loop): the mean device with `devices` beside it. The
same SQL reads all. `${detail}` is the same table for panels that tell racks apart, `${loops}` for
those that tell cooling loops apart, `${fleet}` the one of pools whatever is chosen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ridgeline.settings import StreamsSettings

ALL = "__all"
_WINDOW_SECONDS = StreamsSettings.model_fields["window_seconds"].default
_ROLLED = (
    "['1m', 'places_1m', 'pools_1m', '1h', 'places_1h', 'pools_1h'], [60, 60, 60, 3600, 3600, 3600]"
)
ROW_SECONDS = f"transform('${{resolution}}', {_ROLLED}, {_WINDOW_SECONDS})"
"""Seconds that one row of the chosen table covers."""
MOST_SERIES = 10
"""Lines of a chart that would have one a rack: hundreds cannot be told apart."""
MOST_DEVICES = 5000
"""Devices of which base windows are drawn: a quarter of an hour has 90 rows of each."""
KEYS_FIRST = "SETTINGS optimize_move_to_prewhere_if_final = 1"
"""Conditions on the sort key, which rows that replace each other share, are looked at first."""
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


def total(column: str, when: str | None = None) -> str:
    """Increase of all devices together where it is known, or where `when` holds."""
    return f"sumIf({column} * devices, {when or f'NOT isNaN({column})'})"


def rate(column: str) -> str:
    """Mean increase a second of one device; NaN when nothing is known."""
    known = f"NOT isNaN({column})"
    return f"{total(column)} / (sumIf(devices, {known}) * {ROW_SECONDS})"


def reporting(column: str = "") -> str:
    """Devices with a row, or with a known value, at a time; 0 when there is none."""
    known = f"NOT isNaN({column})" if column else "1"
    first, last = (f"{f}If(window_start, {known})" for f in ("min", "max"))
    rows = f"dateDiff('second', {first}, {last}) / {ROW_SECONDS} + 1"
    return f"sumIf(devices, {known}) / ({rows})"


def total_rate(column: str) -> str:
    """Increase a second of all devices together; NaN when nothing is known."""
    return f"{rate(column)} * {reporting(column)}"


def chosen(variable: str, column: str) -> str:
    """Condition that a row is among a variable's chosen values (or that All is chosen)."""
    values = f"${{{variable}:singlequote}}"
    return f"('{ALL}' IN ({values}) OR {column} IN ({values}))"


RESOLUTION = (
    "WITH dateDiff('second', $__fromTime, $__toTime) AS span,\n"
    f"    '{ALL}' IN (${{node:singlequote}}) AS many,\n"
    f"    (SELECT count() FROM inventory FINAL WHERE {chosen('pool', 'pool')}"
    f" AND {chosen('rack', 'rack')}) > {MOST_DEVICES} AS large,\n"
    f"    if('{ALL}' IN (${{rack:singlequote}}), 'pools', 'places') AS level\n"
    "SELECT multiIf('${rows}' != 'auto', '${rows}',\n"
    "    span <= 1200 AND NOT (many AND large), 'windows',\n"
    "    span <= 172800, if(many, concat(level, '_1m'), '1m'),\n"
    "    if(many, concat(level, '_1h'), '1h')) AS resolution"
)
"""The table for a time range: enough rows for a chart, summed up unless nodes are chosen."""
DETAIL = "SELECT replaceOne('${resolution}', 'pools', 'places') AS detail"
LOOPS = (
    "SELECT if('${resolution}' = 'windows', 'windows',"
    " concat('loops_', right('${resolution}', 2))) AS loops"
)
FLEET = "SELECT if(endsWith('${resolution}', '1h'), 'pools_1h', 'pools_1m') AS fleet"


def _table(kind: str, label: str) -> str:
    """The variable that names the table of a chart of one kind with a line a label."""
    if label == "cooling_loop" and kind == "facility":  # drawn whole, whatever is chosen
        return "loops"
    return "detail" if label in ("rack", "cooling_loop") else "resolution"


def picked(kind: str, *, role: str = "", table: str = "resolution") -> str:
    """CTE `picked`: the chosen devices of one kind and their places, with where they are."""
    where = [f"kind = '{kind}'"]
    host: list[str] = []
    if kind != "facility":  # cooling serves every pool
        of_role = f"splitByChar('/', toString(pool))[-1] = '{role}'"  # of whichever service
        where += [of_role if role else chosen("pool", "pool")]
        where += [chosen("rack", "rack")]
        host = [chosen("node", "host")]
    summed = f"position('${{{table}}}', '_') > 0"  # so that only one of the two is read
    return (
        "WITH picked AS (\n    SELECT node, device, pool, rack, cooling_loop, rail\n"
        f"    FROM inventory FINAL\n    WHERE NOT {summed} AND {' AND '.join(where + host)}\n"
        "    UNION ALL\n    SELECT 0 AS node, device, pool, rack, cooling_loop, rail\n"
        f"    FROM places FINAL\n    WHERE {summed} AND {' AND '.join(where)}\n)\n"
    )


def telemetry(family: str, table: str = "resolution", joined: str = "picked") -> str:
    """FROM and WHERE of the chosen devices' rows in the time range, each with where it is."""
    return f"FROM {family}_${{{table}}} AS w FINAL\nINNER JOIN {joined} USING (device)\n{_where()}"


def _where() -> str:
    return (
        "WHERE $__timeFilter(window_start)"
        f" AND ('{ALL}' IN (${{node:singlequote}}) AND '{ALL}' IN (${{rack:singlequote}}) OR"
        " (w.node, device) IN (SELECT node, device FROM picked))"
    )


def by_time(
    family: str,
    kind: str,
    values: Mapping[str, str],
    *,
    label: str = "",
    role: str = "",
    lowest: str = "",
) -> str:
    """Values over time of the chosen devices, one series a label and a value.

    Args:
        family: Telemetry family.
        kind: Inventory kind of its devices.
        values: Column name to aggregate expression.
        label: Column of `picked` to split by, named `series`; empty: one series a value.
        role: Only pools of this role, whichever pool is chosen.
        lowest: Only the `MOST_SERIES` labels where this column is smallest in the whole range.
    """
    lines = ",\n    ".join(f'{expression} AS "{name}"' for name, expression in values.items())
    table = _table(kind, label)
    head = picked(kind, role=role, table=table)
    if not label:
        source = telemetry(family, table)
        columns = f"SELECT\n    {TIME},\n    {lines}"
        return f"{head}{columns}\n{source}\nGROUP BY time\nORDER BY time\n{KEYS_FIRST}"
    # rows are grouped by a number of their label: by the text takes a quarter longer
    head = (
        f"{head.rstrip()},\nnamed AS (\n    SELECT device, if({label} = '', 'unknown', {label}) AS"
        " series,\n        cityHash64(series) AS number\n    FROM picked\n)\n"
    )
    source = telemetry(family, table, "(SELECT device, number FROM named) AS n")
    if lowest:
        # devices are folded before they meet their labels: a join of every row costs more; a row
        # that another one replaced held fewer samples, so without FINAL no minimum gets smaller
        head = (
            f"{head.rstrip()},\nlowest AS (\n    SELECT node, device FROM picked\n"
            f"    WHERE {label} IN (\n        SELECT {label} FROM (\n"
            f"            SELECT device, {smallest(lowest)} AS least\n"
            f"            FROM {family}_${{{table}}} AS w\n            {_where()}\n"
            "            GROUP BY device\n        ) AS d INNER JOIN picked USING (device)\n"
            f"        WHERE isFinite(least) GROUP BY {label}\n"
            f"        ORDER BY min(least) LIMIT {MOST_SERIES}\n    )\n)\n"
        )
        source += (
            f"\n    AND ((SELECT uniqExact({label}) FROM picked) <= {MOST_SERIES}"
            " OR (w.node, device) IN (SELECT node, device FROM lowest))"
        )
    names = ", ".join(f'r."{name}" AS "{name}"' for name in values)
    return (
        f"{head}SELECT r.time AS time, l.series AS series, {names}\nFROM (\n"
        f"SELECT\n    {TIME},\n    number,\n    {lines}\n{source}\nGROUP BY time, number\n"
        ") AS r INNER JOIN (SELECT DISTINCT number, series FROM named) AS l USING (number)\n"
        f"ORDER BY time, series\n{KEYS_FIRST}"
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

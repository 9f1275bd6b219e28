"""The stretch of time facts are read over, and the SQL that all fact queries share.

Values come from the minute rollup: a quarter of an hour of a fleet is a sixth of the rows there.
Only telemetry no older than the freshness bound is turned into facts: a group (a pool, a loop)
whose newest base window is older, or whose minutes stand still, is left out, so a rule can never
judge by data that has stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ridgeline.settings import AdvisorSettings, StreamsSettings

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
HEAT_MS = 180_000
"""Heat is judged by the last minutes: a loop that was put right is not to be put right again."""


class Reader(Protocol):
    """The part of the store that facts are read through."""

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Rows by column name; raises Retry while the store is away."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The stretch of time facts are read over."""

    now_ms: int
    history_ms: int
    window_ms: int = 10_000
    lateness_ms: int = 5_000
    rollup_ms: int = MINUTE_MS

    @property
    def since_ms(self) -> int:
        """Start of the history."""
        return self.now_ms - self.history_ms

    @property
    def fresh_ms(self) -> int:
        """Oldest acceptable start of a group's newest window: two windows and the lateness."""
        return self.now_ms - 3 * self.window_ms - self.lateness_ms

    @property
    def rolled_ms(self) -> int:
        """Oldest acceptable start of a group's newest minute: two rollups and two minutes."""
        return self.now_ms - 2 * self.rollup_ms - 2 * MINUTE_MS

    def newest(self, history_ms: int) -> Span:
        """The same span, at most `history_ms` back."""
        return replace(self, history_ms=min(self.history_ms, history_ms))

    def parameters(self) -> dict[str, Any]:
        """Query parameters."""
        return {
            "since": self.since_ms,
            "until": self.now_ms,
            "fresh": self.fresh_ms,
            "rolled": self.rolled_ms,
            "window_s": self.window_ms / 1000,
        }


def span_of(settings: AdvisorSettings, streams: StreamsSettings) -> Callable[[int], Span]:
    """Makes the span facts are read over, with the windows the stream processor writes."""
    return lambda now: Span(
        now_ms=now,
        history_ms=int(settings.history_minutes * 60_000),
        window_ms=streams.window_seconds * 1000,
        lateness_ms=int(streams.lateness_seconds * 1000),
        rollup_ms=int(streams.rollup_seconds * 1000),
    )


IN_SPAN = (
    "w.window_start >= fromUnixTimestamp64Milli({since:Int64})"
    " AND w.window_start <= fromUnixTimestamp64Milli({until:Int64})"
)


def newest_windows(family: str) -> str:
    """SQL: the newest window of every device that is fresh; two columns of the last windows.

    A row that is replaced by another of the same window changes nothing: both may be read.
    """
    return f"""
        SELECT device, toUnixTimestamp64Milli(max(window_start)) AS newest
        FROM {family}_windows
        WHERE window_start >= fromUnixTimestamp64Milli({{fresh:Int64}})
            AND window_start <= fromUnixTimestamp64Milli({{until:Int64}})
        GROUP BY device SETTINGS final = 0
    """


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a group: SQL over a device's windows, then SQL over the group's devices.

    In `group`, `{0}` and `{1}` stand for the device's values; `i` is the device's inventory.
    """

    group: str
    device: tuple[str, ...] = ()

    def device_sql(self, name: str) -> list[str]:
        """Selected from a device's windows."""
        return [f"{sql} AS {name}_{n}" for n, sql in enumerate(self.device)]

    def group_sql(self, name: str) -> str:
        """Selected from a group's devices."""
        values = (f"d.{name}_{n}" for n in range(len(self.device)))
        return f"{self.group.format(*values)} AS {name}"


def grouped(
    store: Reader,
    span: Span,
    family: str,
    by: str,
    columns: Mapping[str, Column],
    *,
    source: str | None = None,
    where: str = "1",
    extra: Mapping[str, Any] | None = None,
) -> list[tuple[str, dict[str, Any]]]:
    """One row a group (an inventory column) of devices, of groups whose newest window is fresh.

    Devices are folded before they meet the inventory: a join of every row costs several times the
    whole query. A device counts the same however many of its windows arrived. `source` stands for
    the family's minutes.
    """
    folded = ", ".join(sql for name, c in columns.items() for sql in c.device_sql(name))
    selected = ", ".join(c.group_sql(name) for name, c in columns.items())
    sql = f"""
        SELECT toString(i.{by}) AS group_name, max(f.newest) AS newest_ms,
            max(d.windows) * {{window_s:Float64}} AS seconds, {selected}
        FROM (
            SELECT w.device AS device, sum(w.windows) AS windows,
                toUnixTimestamp64Milli(max(w.window_start)) AS rolled, {folded}
            FROM {source or f"{family}_1m"} AS w WHERE {IN_SPAN} AND {where} GROUP BY device
        ) AS d INNER JOIN inventory AS i ON d.device = i.device
        LEFT JOIN ({newest_windows(family)}) AS f ON d.device = f.device
        WHERE i.{by} != ''
        GROUP BY group_name
        HAVING newest_ms >= {{fresh:Int64}} AND max(d.rolled) >= {{rolled:Int64}}
        ORDER BY group_name
    """
    rows = store.query(sql, span.parameters() | dict(extra or {}))
    return [(str(row.pop("group_name")), clean(row)) for row in rows]


def _known(column: str) -> str:
    """SQL: whether a row says something of a column."""
    return f"isFinite(w.{column})"


def mean(column: str, when: str = "1") -> Column:
    """Mean over devices of a column's mean over a device's windows, where it is known."""
    weight = "toFloat64(w.windows)"  # the engine takes the value in the type of the weight
    device = f"avgWeightedIf(w.{column}, {weight}, {_known(column)} AND {when})"
    return Column("avgIf({0}, isFinite({0}))", (device,))


def largest(column: str) -> Column:
    """Largest known value; `maxIf` over no row is 0, which would be a value."""
    most = f"if(countIf({_known(column)}) = 0, -inf, maxIf(w.{column}, {_known(column)}))"
    return Column("max({0})", (most,))


def clean(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with what is not finite as None: absent, not zero."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


def without(row: dict[str, Any], name: str) -> dict[str, Any]:
    """The row without one column."""
    return {k: v for k, v in row.items() if k != name}

"""The stretch of time facts are read over, and the SQL that all fact queries share.

Only telemetry no older than the freshness bound is turned into facts: a group (a pool, a loop)
whose newest window is older is left out, so a rule can never judge by data that has stopped.
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

    @property
    def since_ms(self) -> int:
        """Start of the history."""
        return self.now_ms - self.history_ms

    @property
    def fresh_ms(self) -> int:
        """Oldest acceptable start of a group's newest window: two windows and the lateness."""
        return self.now_ms - 3 * self.window_ms - self.lateness_ms

    def newest(self, history_ms: int) -> Span:
        """The same span, at most `history_ms` back."""
        return replace(self, history_ms=min(self.history_ms, history_ms))

    def parameters(self) -> dict[str, Any]:
        """Query parameters."""
        return {
            "since": self.since_ms,
            "until": self.now_ms,
            "fresh": self.fresh_ms,
            "window_s": self.window_ms / 1000,
        }


def span_of(settings: AdvisorSettings, streams: StreamsSettings) -> Callable[[int], Span]:
    """Makes the span facts are read over, with the windows the stream processor writes."""
    return lambda now: Span(
        now_ms=now,
        history_ms=int(settings.history_minutes * 60_000),
        window_ms=streams.window_seconds * 1000,
        lateness_ms=int(streams.lateness_seconds * 1000),
    )


IN_SPAN = (
    "w.window_start >= fromUnixTimestamp64Milli({since:Int64})"
    " AND w.window_start <= fromUnixTimestamp64Milli({until:Int64})"
)
SECONDS = "uniqExact(w.window_start) * {window_s:Float64}"


def grouped(
    store: Reader,
    span: Span,
    table: str,
    by: str,
    columns: Mapping[str, str],
    *,
    where: str = "1",
    extra: Mapping[str, Any] | None = None,
) -> list[tuple[str, dict[str, Any]]]:
    """One row a group, of groups whose newest window is fresh."""
    selected = ", ".join(f"{sql} AS {name}" for name, sql in columns.items())
    sql = f"""
        SELECT {by} AS group_name, toUnixTimestamp64Milli(max(w.window_start)) AS newest_ms,
            {SECONDS} AS seconds, {selected}
        FROM {table} AS w INNER JOIN inventory AS i ON w.device = i.device
        WHERE {IN_SPAN} AND {where}
        GROUP BY group_name
        HAVING newest_ms >= {{fresh:Int64}}
        ORDER BY group_name
    """
    rows = store.query(sql, span.parameters() | dict(extra or {}))
    return [(str(row.pop("group_name")), clean(row)) for row in rows]


def mean(column: str, when: str = "1") -> str:
    """SQL: mean of the known values of a column."""
    return f"avgIf(w.{column}, isFinite(w.{column}) AND {when})"


def mean_of(expression: str) -> str:
    """SQL: mean of the known values of an expression."""
    return f"avgIf({expression}, isFinite({expression}))"


def largest(column: str) -> str:
    """SQL: largest known value of a column, NaN when none is known."""
    # maxIf over no row is 0, which is a value; NaN says that there was none
    return (
        f"maxIf(w.{column}, isFinite(w.{column})) + if(countIf(isFinite(w.{column})) = 0, nan, 0)"
    )


def rate(column: str) -> str:
    """Sum over devices: mean of a device's windows times devices, so that a gap is no dip."""
    return f"{mean(column)} / {{window_s:Float64}} * uniqExactIf(w.device, isFinite(w.{column}))"


def per(total: str, count: str, scale: float) -> str:
    """SQL: sum of one counter over the sum of another, scaled; null when there was nothing."""
    return (
        f"sumIf(w.{total}, isFinite(w.{total})) * {scale}"
        f" / nullIf(sumIf(w.{count}, isFinite(w.{count})), 0)"
    )


def clean(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with NaN as None: absent, not zero."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


def without(row: dict[str, Any], name: str) -> dict[str, Any]:
    """The row without one column."""
    return {k: v for k, v in row.items() if k != name}

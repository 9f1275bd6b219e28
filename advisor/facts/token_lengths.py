"""How many requests of a pool had how long a prompt and an answer, lately and a week back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from advisor.facts.span import DAY_MS, HOUR_MS, IN_SPAN, Reader, Span
from advisor.facts.values import Lengths
from ridgeline.schema import length_columns

COMPARED_HOURS = 3
"""Whole hours of today that are held against the same hours of the days before: a night that is
unlike the day is no change."""
COMPARED_DAYS = 7


def lengths(store: Reader, span: Span) -> Mapping[str, Lengths]:
    """Requests of each pool by length, of the history; pools that counted none are left out."""
    asked = {"since": span.since_ms, "until": span.now_ms}
    return {pool: found for pool, _, found in _counted(store, "serving_windows", "0", "1", asked)}


def lengths_by_day(store: Reader, span: Span) -> Mapping[str, tuple[Lengths, ...]]:
    """Likewise of the last whole hours, then of the same hours of each of the seven days before.

    A day without a counted request is empty.
    """
    end_ms = span.now_ms // HOUR_MS * HOUR_MS
    back_ms = COMPARED_DAYS * DAY_MS + COMPARED_HOURS * HOUR_MS
    back = "({until:Int64} - toUnixTimestamp64Milli(w.window_start))"
    rows = _counted(
        store,
        "serving_1h",
        f"intDiv({back}, {DAY_MS})",
        f"{back} % {DAY_MS} < {COMPARED_HOURS * HOUR_MS}",
        {"since": end_ms - back_ms, "until": end_ms - 1},
    )
    found: dict[str, list[Lengths]] = {}
    for pool, day, counted in rows:
        found.setdefault(pool, [Lengths()] * (COMPARED_DAYS + 1))[day] = counted
    return {pool: tuple(days) for pool, days in found.items()}


def _counted(
    store: Reader, table: str, day: str, within: str, asked: Mapping[str, Any]
) -> Iterator[tuple[str, int, Lengths]]:
    """Pool, day and counts; devices are folded before they meet the inventory."""
    names = [f"{name}_inc" for what in ("prompt", "output") for name in length_columns(what)]
    sums = ", ".join(f"sumIf(w.{name}, isFinite(w.{name})) AS {name}" for name in names)
    folded = ", ".join(f"sum(d.{name})" for name in names)
    sql = f"""
        SELECT toString(i.pool) AS pool, d.day AS day, [{folded}] AS counts
        FROM (
            SELECT w.device AS device, {day} AS day, {sums}
            FROM {table} AS w WHERE {IN_SPAN} AND {within} GROUP BY device, day
        ) AS d INNER JOIN inventory AS i ON d.device = i.device
        GROUP BY pool, day HAVING arrayExists(x -> x > 0, counts)
    """
    half = len(names) // 2
    for row in store.query(sql, asked):
        counts = tuple(float(v) for v in row["counts"])
        found = Lengths(prompts=_known(counts[:half]), answers=_known(counts[half:]))
        yield row["pool"], int(row["day"]), found


def _known(counts: tuple[float, ...]) -> tuple[float, ...]:
    return counts if counts[-1] > 0 else ()

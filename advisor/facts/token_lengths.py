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
_COLUMNS = [f"{name}_inc" for what in ("prompt", "output") for name in length_columns(what)]
_SUMS = f"[{', '.join(f'sum(d.{name})' for name in _COLUMNS)}] AS counts"


def lengths(store: Reader, span: Span) -> Mapping[str, Lengths]:
    """Requests of each pool by length, of the history; pools that counted none are left out."""
    names = ", ".join(f"sumIf(w.{name}, isFinite(w.{name})) AS {name}" for name in _COLUMNS)
    sums = f"""
        SELECT toString(i.pool) AS pool, 0 AS day, {_SUMS}
        FROM (
            SELECT w.device AS device, {names}
            FROM serving_1m AS w WHERE {IN_SPAN} GROUP BY device
        ) AS d INNER JOIN inventory AS i ON d.device = i.device
        GROUP BY pool
    """
    asked = {"since": span.since_ms, "until": span.now_ms}
    return {pool: found for pool, _, found in _counted(store, sums, asked)}


def lengths_by_day(store: Reader, span: Span) -> Mapping[str, tuple[Lengths, ...]]:
    """Likewise of the last whole hours, then of the same hours of each of the seven days before.

    A day without a counted request is empty. A row is the mean engine of its pool: one that misses
    a reading counts like the others.
    """
    end_ms = span.now_ms // HOUR_MS * HOUR_MS
    back_ms = COMPARED_DAYS * DAY_MS + COMPARED_HOURS * HOUR_MS
    back = "({until:Int64} - toUnixTimestamp64Milli(w.window_start))"
    names = ", ".join(f"if(isFinite(w.{n}), w.{n} * w.devices, 0) AS {n}" for n in _COLUMNS)
    sums = f"""
        SELECT i.pool AS pool, d.day AS day, {_SUMS}
        FROM (
            SELECT w.device AS device, intDiv({back}, {DAY_MS}) AS day, {names}
            FROM serving_pools_1h AS w
            WHERE {IN_SPAN} AND {back} % {DAY_MS} < {COMPARED_HOURS * HOUR_MS} AND w.devices > 0
        ) AS d
        INNER JOIN (SELECT device, toString(pool) AS pool FROM places) AS i ON d.device = i.device
        GROUP BY pool, day
    """
    asked = {"since": end_ms - back_ms, "until": end_ms - 1}
    found: dict[str, list[Lengths]] = {}
    for pool, day, counted in _counted(store, sums, asked):
        found.setdefault(pool, [Lengths()] * (COMPARED_DAYS + 1))[day] = counted
    return {pool: tuple(days) for pool, days in found.items()}


def _counted(
    store: Reader, sums: str, asked: Mapping[str, Any]
) -> Iterator[tuple[str, int, Lengths]]:
    """Pool, day and counts, where anything was counted."""
    half = len(_COLUMNS) // 2
    for row in store.query(f"{sums} HAVING arrayExists(x -> x > 0, counts)", asked):
        counts = tuple(float(v) for v in row["counts"])
        found = Lengths(prompts=_known(counts[:half]), answers=_known(counts[half:]))
        yield row["pool"], int(row["day"]), found


def _known(counts: tuple[float, ...]) -> tuple[float, ...]:
    return counts if counts[-1] > 0 else ()

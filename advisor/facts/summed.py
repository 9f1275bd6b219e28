"""Facts about groups of devices, worked out from the minutes of pools and of cooling loops.

A row there stands for all devices of one model in a pool (and on a rail), or on a loop, as they
were when the minute was folded: a few rows a minute for a fleet of any size. To plan sums over
twenty columns takes the store longer than to read them, so they are taken here. A device that
misses a reading counts like the mean of the others, so a gap in one is no dip. Rows that an earlier
release folded lack what is needed and are left out: after an upgrade `seconds` grows from 0 again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from advisor.facts.span import IN_SPAN, Reader, Span, clean, newest_windows
from ridgeline.store.tables import KIND, LOOPS, POOLS

_LEVEL = {"pool": POOLS, "rail": POOLS, "cooling_loop": LOOPS}
Row = Mapping[str, Any]
Place = Sequence[Row]
"""Minutes of the devices of one model, `device_windows` of `devices` devices each."""


@dataclass(frozen=True, slots=True)
class Sum:
    """One value of a group: the columns it needs, and what it is of the group's places."""

    columns: tuple[str, ...]
    of: Callable[[Sequence[Place]], Any]


def summed(
    store: Reader, span: Span, family: str, by: str, sums: Mapping[str, Sum]
) -> list[tuple[str, dict[str, Any]]]:
    """One row a group (pool, rail or cooling_loop), of groups whose newest window is fresh."""
    columns = dict.fromkeys(name for one in sums.values() for name in one.columns)
    sql = f"""
        SELECT i.name AS group_name, i.model AS model, f.newest AS newest_ms,
            toUnixTimestamp64Milli(w.window_start) AS minute_ms, w.device AS device,
            w.devices AS devices, w.nodes AS nodes, w.windows AS windows,
            w.device_windows AS device_windows, {", ".join(f"w.{c} AS {c}" for c in columns)}
        FROM {family}_{_LEVEL[by]}_1m AS w
        INNER JOIN (
            SELECT device, toString({by}) AS name, toString(model) AS model
            FROM places WHERE kind = '{KIND[family]}' AND name != ''
        ) AS i ON w.device = i.device
        INNER JOIN (
            SELECT toString(i.{by}) AS name, max(n.newest) AS newest
            FROM ({newest_windows(family)}) AS n INNER JOIN inventory AS i ON n.device = i.device
            GROUP BY name
        ) AS f ON i.name = f.name
        WHERE {IN_SPAN} AND w.device_windows > 0
        ORDER BY group_name, device
    """
    found = store.query(sql, span.parameters())
    groups = ((name, [*rows]) for name, rows in groupby(found, lambda row: row["group_name"]))
    return [
        (str(name), _group(span, rows, sums))
        for name, rows in groups
        if max(row["minute_ms"] for row in rows) >= span.rolled_ms
    ]


def _group(span: Span, rows: Sequence[Row], sums: Mapping[str, Sum]) -> dict[str, Any]:
    places = [[*minutes] for _, minutes in groupby(rows, lambda row: row["device"])]
    windows = max(sum(row["windows"] for row in place) for place in places)
    given = {"newest_ms": rows[0]["newest_ms"], "seconds": windows * span.window_ms / 1000}
    return clean(given | {name: one.of(places) for name, one in sums.items()})


def _devices(place: Place) -> int:
    """As many as there were in any minute."""
    return max(int(row["devices"]) for row in place)


def _known(place: Place, *columns: str) -> Iterable[Row]:
    return (row for row in place if all(math.isfinite(row[c]) for c in columns))


def _ratio(parts: Iterable[tuple[float, float]]) -> float:
    """Sum of the first over sum of the second; NaN where there is nothing to divide by."""
    over = under = 0.0
    for a, b in parts:
        over, under = over + a, under + b
    return over / under if under else math.nan


def _mean(column: str) -> Callable[[Place], float]:
    """Mean over a place's minutes; NaN where nothing is known."""

    def of(place: Place) -> float:
        return _ratio(
            (row[column] * row["device_windows"], row["device_windows"])
            for row in _known(place, column)
        )

    return of


def _over_devices(places: Sequence[Place], value: Callable[[Place], float]) -> float:
    """Mean over the devices of places of which something is known."""
    found = [(value(place), _devices(place)) for place in places]
    return _ratio((v * n, n) for v, n in found if math.isfinite(v))


def _of_all(places: Sequence[Place], value: Callable[[Place], float]) -> float:
    """Sum over them."""
    found = [value(place) * _devices(place) for place in places]
    known = [v for v in found if math.isfinite(v)]
    return sum(known) if known else math.nan


def _model(places: Sequence[Place]) -> str:
    models = {row["model"] for place in places for row in place}
    return models.pop() if len(models) == 1 else ""


DEVICES = Sum((), lambda places: sum(map(_devices, places)))
NODES = Sum((), lambda places: sum(max(row["nodes"] for row in place) for place in places))
MODEL = Sum((), _model)
"""Of all devices; empty where there are several."""


def mean(column: str) -> Sum:
    """Mean over devices of a column's mean where it is known."""
    return Sum((column,), lambda places: _over_devices(places, _mean(column)))


def total(column: str) -> Sum:
    """Sum over devices of a column's mean."""
    return Sum((column,), lambda places: _of_all(places, _mean(column)))


def _pace(counter: str, span: Span) -> Callable[[Place], float]:
    """Increase a second of a place's mean device; NaN where nothing is known."""

    def of(place: Place) -> float:
        return _ratio(
            (row[counter] * row["devices"], row["device_windows"] * span.window_ms / 1000)
            for row in _known(place, counter)
        )

    return of


def pace(counter: str, span: Span, scale: float = 1) -> Sum:
    """Mean over devices of a counter's increase a second, scaled."""
    return Sum((counter,), lambda places: _over_devices(places, _pace(counter, span)) * scale)


def rate(counter: str, span: Span) -> Sum:
    """Sum over devices of a counter's increase a second."""
    return Sum((counter,), lambda places: _of_all(places, _pace(counter, span)))


def _increase(places: Sequence[Place], counter: str) -> float:
    known = (row for place in places for row in _known(place, counter))
    return float(sum(row[counter] * row["devices"] for row in known))


def per(counter: str, events: str, scale: float) -> Sum:
    """Sum of one counter over the sum of another, scaled; NaN where there was nothing."""

    def of(places: Sequence[Place]) -> float:
        return _ratio([(_increase(places, counter), _increase(places, events))]) * scale

    return Sum((counter, events), of)


def mean_where(column: str, share: str) -> Sum:
    """Mean of what a column says of a share of the devices and is 0 of all others."""

    def of(places: Sequence[Place]) -> float:
        return _ratio(
            (row[column] * row["device_windows"], row[share] * row["device_windows"])
            for place in places
            for row in _known(place, column, share)
        )

    return Sum((column, share), of)


def largest(column: str) -> Sum:
    """Largest known value."""
    return Sum((column,), lambda places: max(_values(places, column), default=math.nan))


def least(column: str) -> Sum:
    """Least known value."""
    return Sum((column,), lambda places: min(_values(places, column), default=math.nan))


def _values(places: Sequence[Place], column: str) -> Iterable[float]:
    return (float(row[column]) for place in places for row in _known(place, column))

"""One metric of one scope through time, beside the load it was measured under.

Not read by the rules: the advisor asks for it when a change is to be verified.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from advisor.facts.span import MINUTE_MS, Reader
from ridgeline.store.tables import KIND

MOST_COMPARED = 1000
"""Devices of a scope that are compared: the mean of more would hardly differ."""
ENOUGH_MINUTES = 24
"""How many minutes there must be on a side to take a large scope from minutes."""
_IN_RACK = "PARTITION BY rack"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A metric that a change should move. SQL is over the windows of a scope at one instant.

    Increases were counted over `derived.SECONDS`.
    """

    name: str
    unit: str
    family: str
    by: str
    """Inventory column that scopes are names of."""
    value: str
    load: str | None
    """What the metric must be compared at; None where it does not depend on load."""
    load_name: str = ""
    worse_with_load: bool = False
    """Whether more load makes it worse: an improvement at more load is then one at the same."""
    lower_is_better: bool = True
    judged_ms: int | None = None
    """How far back the condition is judged by; None: over the advisor's history."""
    money_follows: bool = False
    """Whether the promised money is lost in proportion to this metric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The metric in one window or minute; `load` is None where it does not depend on load."""

    at_ms: int
    value: float
    load: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMean:
    """The metric of one device of a sample, over a stretch of time."""

    device: int
    rack: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a metric is read of: what `by` of the measure is one of, seen since a moment."""

    names: frozenset[str]
    seen_ms: int


def device_count(store: Reader, measure: Measure, scope: Scope) -> int:
    """Devices in a scope; of more than `MOST_COMPARED` only as many are read by `samples`."""
    sql = f"SELECT count() AS devices FROM inventory WHERE {_in_scope(measure)}"
    return int(store.query(sql, _asked(measure, scope))[0]["devices"])


def by_minutes(devices: int, *spans_ms: int) -> bool:
    """Whether to read minutes: a large scope, of whose windows the index leaves nothing out.

    Args:
        devices: In the scope.
        spans_ms: Lengths of what is compared.
    """
    return devices > MOST_COMPARED and min(spans_ms) >= ENOUGH_MINUTES * MINUTE_MS


def samples(  # noqa: PLR0917 - private to the verifier
    store: Reader,
    measure: Measure,
    scope: Scope,
    start_ms: int,
    end_ms: int,
    window_ms: int,
    *,
    minutes: bool,
) -> tuple[Sample, ...]:
    """Windows or minutes in which value and load are known, oldest first.

    Windows start in [start, end), minutes end when such a window does at the latest.

    Of a scope with more devices than `MOST_COMPARED` as many are read, always the same ones: of
    each rack its share, those with the smallest ids. Ids are hashes, so these are as good as drawn
    by chance, and what happens in one rack weighs what it does in the scope.
    """
    sql = f"""
        SELECT toUnixTimestamp64Milli(w.window_start) AS at_ms, {measure.value} AS value,
            {measure.load or "0"} AS load
        FROM {_rows_of_sample(measure, minutes=minutes)}
        GROUP BY w.window_start
        HAVING isFinite(value) AND isFinite(load)
        ORDER BY at_ms
        SETTINGS optimize_move_to_prewhere_if_final = 1
    """
    asked = _asked_between(start_ms, end_ms, window_ms, minutes=minutes)
    rows = store.query(sql, asked | _asked(measure, scope))
    loaded = measure.load is not None
    return tuple(
        Sample(at_ms=r["at_ms"], value=r["value"], load=r["load"] if loaded else None) for r in rows
    )


def device_means(  # noqa: PLR0917 - private to the verifier
    store: Reader,
    measure: Measure,
    scope: Scope,
    start_ms: int,
    end_ms: int,
    window_ms: int,
    *,
    minutes: bool,
) -> tuple[DeviceMean, ...]:
    """The metric of each device that `samples` reads; those of which it is not known left out.

    Right for metrics whose SQL is a mean or a share over rows, as all of `outcome.MEASURES` are.
    """
    sql = f"""
        SELECT d.device AS device, toString(i.rack) AS rack, d.value AS value FROM (
            SELECT w.device AS device, {measure.value} AS value
            FROM {_rows_of_sample(measure, minutes=minutes)}
            GROUP BY device
            HAVING isFinite(value)
        ) AS d INNER JOIN inventory AS i ON d.device = i.device
        ORDER BY device
        SETTINGS optimize_move_to_prewhere_if_final = 1
    """
    asked = _asked_between(start_ms, end_ms, window_ms, minutes=minutes)
    rows = store.query(sql, asked | _asked(measure, scope))
    return tuple(DeviceMean(**row) for row in rows)


def _rows_of_sample(measure: Measure, *, minutes: bool) -> str:
    """FROM and WHERE of the rows of the devices that are compared."""
    share = f"row_number() OVER ({_IN_RACK} ORDER BY node, device) - 0.5"
    return f"""{measure.family}_{"1m" if minutes else "windows"} AS w
        WHERE w.window_start >= fromUnixTimestamp64Milli({{start:Int64}})
            AND w.window_start < fromUnixTimestamp64Milli({{end:Int64}})
            AND (w.node, w.device) IN (
                SELECT node, device FROM inventory WHERE {_in_scope(measure)}
                ORDER BY ({share}) / count() OVER ({_IN_RACK}), node, device
                LIMIT {MOST_COMPARED}
            )"""


def _asked_between(start_ms: int, end_ms: int, window_ms: int, *, minutes: bool) -> dict[str, Any]:
    last_ms = end_ms - (MINUTE_MS if minutes else window_ms) + window_ms
    return {"start": start_ms, "end": last_ms, "window_s": window_ms / 1000}


def _in_scope(measure: Measure) -> str:
    named = f"has({{names:Array(String)}}, toString({measure.by}))"
    seen = "seen >= fromUnixTimestamp64Milli({seen:Int64})"
    return f"kind = {{kind:String}} AND {named} AND {seen}"


def _asked(measure: Measure, scope: Scope) -> dict[str, Any]:
    return {"kind": KIND[measure.family], "names": sorted(scope.names), "seen": scope.seen_ms}

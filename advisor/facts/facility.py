"""Power and cooling: loops against their own normal, and racks."""

from __future__ import annotations

import math

from advisor.facts.span import (
    DAY_MS,
    HOUR_MS,
    IN_SPAN,
    Column,
    Reader,
    Span,
    grouped,
    largest,
    mean,
    without,
)
from advisor.facts.values import LoopHeat, RackLoad


def loop_heat(store: Reader, span: Span) -> tuple[LoopHeat, ...]:
    """State of each cooling loop in the newest minute, and its normal of the last six hours."""
    recent = "w.window_start >= fromUnixTimestamp64Milli({recent:Int64})"
    flow = "w.flow_liters_per_minute_avg"
    columns = {
        "supply_celsius": mean("supply_celsius_avg", recent),
        "return_celsius": mean("return_celsius_avg", recent),
        "flow_liters_per_minute": mean("flow_liters_per_minute_avg", recent),
        "heat_watts": mean("heat_removed_watts_avg", recent),
        "pump_speed_ratio": mean("pump_speed_ratio_avg", recent),
        "normal_supply_celsius": Column("avg({0})", ("quantile(0.1)(w.supply_celsius_avg)",)),
        "normal_flow_liters_per_minute": Column(
            "avgIf({0}, isFinite({0}))",
            (f"quantileIf(0.9)({flow}, isFinite({flow}))",),
        ),
    }
    extra = {"since": span.now_ms - 6 * HOUR_MS, "recent": span.now_ms - 60_000 - span.lateness_ms}
    where = "isFinite(w.supply_celsius_avg)"
    needed = (
        "window_start, node, device, windows, supply_celsius_avg, return_celsius_avg,"
        " flow_liters_per_minute_avg, heat_removed_watts_avg, pump_speed_ratio_avg"
    )
    begins = "window_start {} fromUnixTimestamp64Milli({{recent:Int64}})"
    both = (
        f"(SELECT {needed} FROM facility_1m WHERE {begins.format('<')} AND window_start >="
        f" fromUnixTimestamp64Milli({{since:Int64}}) UNION ALL"
        f" SELECT {needed} FROM facility_windows WHERE {begins.format('>=')})"
    )
    rows = grouped(
        store, span, "facility", "cooling_loop", columns, source=both, where=where, extra=extra
    )
    return tuple(LoopHeat(loop=group, **without(row, "seconds")) for group, row in rows)


def rack_load(store: Reader, span: Span) -> tuple[RackLoad, ...]:
    """Power and air of each rack."""
    columns = {
        "loop": Column("any(i.cooling_loop)"),
        "power_watts": largest("power_watts_avg"),
        "inlet_celsius": largest("inlet_celsius_avg"),
        "fan_speed_ratio": mean("fan_speed_ratio_avg"),
    }
    rows = grouped(store, span, "facility", "rack", columns)
    return tuple(RackLoad(rack=group, **without(row, "seconds")) for group, row in rows)


def hall_watts_hourly(store: Reader, span: Span) -> tuple[float, ...]:
    """Power of all racks together by full hour, newest last, of 180 days; NaN where none was read.

    An hour in which fewer racks reported than nine tenths of the usual number counts as not read.
    """
    sql = f"""
        SELECT toUnixTimestamp64Milli(w.window_start) AS hour_ms,
            sum(w.power_watts_avg) AS watts, uniqExact(w.device) AS racks
        FROM facility_1h AS w
        INNER JOIN (SELECT device FROM inventory WHERE rack != '') AS i ON w.device = i.device
        WHERE {IN_SPAN} AND isFinite(w.power_watts_avg)
        GROUP BY hour_ms ORDER BY hour_ms
    """
    until = span.now_ms // HOUR_MS * HOUR_MS - 1
    rows = store.query(sql, {"since": span.now_ms - 180 * DAY_MS, "until": until})
    if not rows:
        return ()
    usual = sorted(row["racks"] for row in rows)[len(rows) // 2]
    first, last = rows[0]["hour_ms"], rows[-1]["hour_ms"]
    watts = [math.nan] * ((last - first) // HOUR_MS + 1)
    for row in rows:
        if row["racks"] >= 0.9 * usual:
            watts[(row["hour_ms"] - first) // HOUR_MS] = float(row["watts"])
    return tuple(watts)

"""What the GPUs do: activity by pool, rack or loop, and those that do nothing."""

from __future__ import annotations

from advisor.facts.span import (
    IN_SPAN,
    SECONDS,
    Reader,
    Span,
    clean,
    grouped,
    largest,
    mean,
    mean_of,
)
from advisor.facts.values import GpuActivity, IdleGpus

IDLE_SM_RATIO = 0.02
_THERMAL = ("throttle_thermal_ns_inc", "throttle_sw_thermal_ns_inc", "throttle_hw_thermal_ns_inc")
_POWER = ("throttle_power_ns_inc", "throttle_power_brake_ns_inc")


def gpu_activity(store: Reader, span: Span, by: str) -> tuple[GpuActivity, ...]:
    """Activity of the GPUs by an inventory column: pool, rack or cooling_loop."""
    hot = f"{_throttled(_THERMAL)} > 0.01"
    columns = {
        "gpus": "uniqExact(w.device)",
        "nodes": "uniqExact(w.node)",
        "model": "if(uniqExact(i.model) = 1, any(i.model), '')",
        "dram_ratio": mean("dram_util_ratio_avg"),
        "tensor_ratio": mean("tensor_util_ratio_avg"),
        "sm_ratio": mean("sm_util_ratio_avg"),
        "power_watts": mean("power_watts_avg"),
        "power_limit_watts": mean("power_limit_watts_avg"),
        "thermal_ratio": mean_of(_throttled(_THERMAL)),
        "power_throttled_ratio": mean_of(_throttled(_POWER)),
        "clock_ratio": f"avgIf(w.sm_clock_mhz_avg / w.sm_clock_max_mhz_avg, {hot} AND"
        " isFinite(w.sm_clock_mhz_avg / w.sm_clock_max_mhz_avg))",
        "hottest_celsius": largest("temperature_celsius_max"),
        "least_margin_celsius": "minIf(w.tlimit_margin_celsius_min,"
        " isFinite(w.tlimit_margin_celsius_min))"
        " + if(countIf(isFinite(w.tlimit_margin_celsius_min)) = 0, nan, 0)",
    }
    rows = grouped(store, span, "gpu_windows", f"toString(i.{by})", columns)
    return tuple(GpuActivity(group=group, **row) for group, row in rows)


def idle_gpus(store: Reader, span: Span) -> tuple[IdleGpus, ...]:
    """GPUs whose SMs stayed idle in every window of the history."""
    sql = f"""
        SELECT pool, count() AS gpus, countIf(busiest < {IDLE_SM_RATIO}) AS idle,
            avgIf(power, busiest < {IDLE_SM_RATIO} AND isFinite(power)) AS idle_power_watts,
            min(span) AS seconds
        FROM (
            SELECT w.device AS device, any(toString(i.pool)) AS pool,
                maxIf(w.sm_util_ratio_avg, isFinite(w.sm_util_ratio_avg)) AS busiest,
                {mean("power_watts_avg")} AS power, {SECONDS} AS span
            FROM gpu_windows AS w INNER JOIN inventory AS i ON w.device = i.device
            WHERE {IN_SPAN}
            GROUP BY device
            HAVING max(w.window_start) >= fromUnixTimestamp64Milli({{fresh:Int64}})
                AND countIf(isFinite(w.sm_util_ratio_avg)) > 0
        )
        GROUP BY pool ORDER BY pool
    """
    rows = store.query(sql, span.parameters())
    return tuple(IdleGpus(**clean(row)) for row in rows)


def _throttled(columns: tuple[str, ...]) -> str:
    """Share of a window in the worst of several throttle counters, which may overlap."""
    known = " OR ".join(f"isFinite(w.{c})" for c in columns)
    worst = ", ".join(f"ifNotFinite(w.{c}, 0)" for c in columns)
    share = f"least(1, greatest({worst}) / ({{window_s:Float64}} * 1e9))"
    return f"if({known}, {share}, nan)"

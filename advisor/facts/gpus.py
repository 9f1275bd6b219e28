"""What the GPUs do: activity by pool, rack or loop, and those that do nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from advisor.facts.span import (
    DAY_MS,
    DEVICES,
    HOUR_MS,
    IN_SPAN,
    NODES,
    SECONDS,
    Column,
    Reader,
    Span,
    clean,
    grouped,
    largest,
    least,
    mean,
    mean_of,
    newest_windows,
)
from advisor.facts.values import GpuActivity, IdleGpus, SmallJob

IDLE_SM_RATIO = 0.02
SMALL_RATIO = 0.5
"""Of memory, SMs and bandwidth: a GPU that never used more holds a small job."""
HOURS_A_DAY = 24
LEAST_DAYS = 2
"""Days on which every hour must have been read before a day counts as known."""


def _throttled(columns: tuple[str, ...]) -> str:
    """Share of a row's time in the worst of several throttle counters, which may overlap."""
    known = " OR ".join(f"isFinite(w.{c})" for c in columns)
    worst = ", ".join(f"ifNotFinite(w.{c}, 0)" for c in columns)
    share = f"least(1, greatest({worst}) / ({SECONDS} * 1e9))"
    return f"if({known}, {share}, nan)"


HEAT_SHARE = _throttled(
    ("throttle_thermal_ns_inc", "throttle_sw_thermal_ns_inc", "throttle_hw_thermal_ns_inc")
)
"""SQL: share of a row's time in which heat held the clocks down."""
_POWER_SHARE = _throttled(("throttle_power_ns_inc", "throttle_power_brake_ns_inc"))


def gpu_activity(store: Reader, span: Span, by: str) -> tuple[GpuActivity, ...]:
    """Activity of the GPUs by an inventory column: pool, rack or cooling_loop."""
    hot = f"{HEAT_SHARE} > 0.01"
    columns = {
        "gpus": DEVICES,
        "nodes": NODES,
        "model": Column("if(uniqExact(i.model) = 1, any(i.model), '')"),
        "dram_ratio": mean("dram_util_ratio_avg"),
        "tensor_ratio": mean("tensor_util_ratio_avg"),
        "sm_ratio": mean("sm_util_ratio_avg"),
        "power_watts": mean("power_watts_avg"),
        "power_limit_watts": mean("power_limit_watts_avg"),
        "thermal_ratio": mean_of(HEAT_SHARE),
        "power_throttled_ratio": mean_of(_POWER_SHARE),
        "clock_ratio": mean_of("w.sm_clock_mhz_avg / w.sm_clock_max_mhz_avg", when=hot),
        "hottest_celsius": largest("temperature_celsius_max"),
        "least_margin_celsius": least("tlimit_margin_celsius_min"),
        "memory_used_ratio": mean_of("w.memory_used_bytes_avg / w.memory_total_bytes_avg"),
        "pcie_bytes_per_second": mean_of(_busier("pcie")),
        "nvlink_bytes_per_second": mean_of(_busier("nvlink")),
    }
    rows = grouped(store, span, "gpu", by, columns)
    return tuple(GpuActivity(group=group, **row) for group, row in rows)


def _busier(link: str) -> str:
    """The busier direction of a link, in bytes per second."""
    tx, rx = (f"w.{link}_{way}_bytes_per_second_avg" for way in ("tx", "rx"))
    return f"greatest({tx}, {rx})"


def idle_gpus(store: Reader, span: Span) -> tuple[IdleGpus, ...]:
    """GPUs whose SMs stayed idle in every minute of the history, and those that hold small jobs.

    A GPU in MIG mode has no reading of its SMs as a whole and is neither.
    """
    busy = "isFinite(w.sm_util_ratio_avg)"
    nvlink = _busier("nvlink")
    sql = f"""
        SELECT toString(i.pool) AS pool, count() AS gpus,
            countIf(d.busiest < {IDLE_SM_RATIO}) AS idle,
            avgIf(d.power, d.busiest < {IDLE_SM_RATIO} AND isFinite(d.power)) AS idle_power_watts,
            min(d.seconds) AS seconds,
            uniqExact(i.node) AS nodes,
            uniqExactIf(i.node, d.busiest >= {IDLE_SM_RATIO}) AS busy_nodes,
            groupArrayIf([d.memory, d.busiest, d.dram, d.nvlink],
                d.busiest >= {IDLE_SM_RATIO} AND d.busiest <= {SMALL_RATIO}
                AND d.dram BETWEEN 0 AND {SMALL_RATIO}
                AND d.memory BETWEEN 0 AND {SMALL_RATIO} * d.memory_total) AS small
        FROM (
            SELECT w.device AS device, maxIf(w.sm_util_ratio_avg, {busy}) AS busiest,
                avgIf(w.power_watts_avg, isFinite(w.power_watts_avg)) AS power,
                {_most("w.memory_used_bytes_max")} AS memory,
                {_most("w.memory_total_bytes_avg")} AS memory_total,
                {_most("w.dram_util_ratio_avg")} AS dram,
                {_most(nvlink)} AS nvlink,
                sum({SECONDS}) AS seconds
            FROM gpu_1m AS w WHERE {IN_SPAN}
            GROUP BY device
            HAVING max(w.window_start) >= fromUnixTimestamp64Milli({{rolled:Int64}})
                AND countIf({busy}) > 0
        ) AS d INNER JOIN inventory AS i ON d.device = i.device
        INNER JOIN ({newest_windows("gpu")}) AS f ON d.device = f.device
        GROUP BY pool ORDER BY pool
    """
    rows = store.query(sql, span.parameters())
    return tuple(IdleGpus(**clean(row) | {"small": _small(row["small"])}) for row in rows)


def _most(expression: str) -> str:
    """A device's largest known value; -1 where none is, as nothing here is negative."""
    known = f"isFinite({expression})"
    return f"maxIf(toFloat64({expression}), {known}) - (countIf({known}) = 0)"


def _small(rows: Sequence[Sequence[float]]) -> tuple[SmallJob, ...]:
    return tuple(
        SmallJob(
            memory_bytes=memory,
            sm_ratio=sm,
            dram_ratio=dram,
            nvlink_bytes_per_second=None if nvlink < 0 else nvlink,
        )
        for memory, sm, dram, nvlink in rows
    )


def pool_watts_by_hour(store: Reader, span: Span) -> Mapping[str, tuple[float, ...]]:
    """Mean power of a pool's GPUs by UTC hour, 24 values, of the last week's full hours.

    A pool with an hour that was read on fewer than `LEAST_DAYS` days is left out.
    """
    sql = f"""
        SELECT pool, groupArray(watts) AS watts, min(days) AS days FROM (
            SELECT pool, toHour(at) AS hour, avg(watts) AS watts, count() AS days FROM (
                SELECT p.pool AS pool, w.window_start AS at,
                    sum(w.power_watts_avg * w.devices) AS watts
                FROM gpu_places_1h AS w FINAL
                INNER JOIN (
                    SELECT DISTINCT device, toString(pool) AS pool FROM places WHERE kind = 'gpu'
                ) AS p ON w.device = p.device
                WHERE {IN_SPAN} AND isFinite(w.power_watts_avg) AND w.devices > 0
                GROUP BY pool, at
            ) GROUP BY pool, hour ORDER BY pool, hour
        ) GROUP BY pool
    """
    until = span.now_ms // HOUR_MS * HOUR_MS - 1
    rows = store.query(sql, {"since": span.now_ms - 7 * DAY_MS, "until": until})
    return {
        row["pool"]: tuple(float(v) for v in row["watts"])
        for row in rows
        if len(row["watts"]) == HOURS_A_DAY and row["days"] >= LEAST_DAYS
    }

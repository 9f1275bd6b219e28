"""What the GPUs do: activity by pool, rack or loop, and those that do nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from advisor.facts.span import (
    DAY_MS,
    HOUR_MS,
    IN_SPAN,
    Reader,
    Span,
    clean,
    newest_windows,
)
from advisor.facts.summed import (
    DEVICES,
    MODEL,
    NODES,
    largest,
    least,
    mean,
    mean_where,
    summed,
)
from advisor.facts.values import GpuActivity, IdleGpus, SmallJob
from ridgeline.store.derived import SECONDS

IDLE_SM_RATIO = 0.02
SMALL_RATIO = 0.5
"""Of memory, SMs and bandwidth: a GPU that never used more holds a small job."""
HOURS_A_DAY = 24
LEAST_DAYS = 2
"""Days on which every hour must have been read before a day counts as known."""


def gpu_activity(store: Reader, span: Span, by: str) -> tuple[GpuActivity, ...]:
    """Activity of the GPUs by pool or cooling_loop."""
    columns = {
        "gpus": DEVICES,
        "nodes": NODES,
        "model": MODEL,
        "dram_ratio": mean("dram_util_ratio_avg"),
        "tensor_ratio": mean("tensor_util_ratio_avg"),
        "sm_ratio": mean("sm_util_ratio_avg"),
        "power_watts": mean("power_watts_avg"),
        "power_limit_watts": mean("power_limit_watts_avg"),
        "thermal_ratio": mean("heat_ratio"),
        "power_throttled_ratio": mean("power_ratio"),
        "clock_ratio": mean_where("hot_clock_ratio", "hot_ratio"),
        "hottest_celsius": largest("temperature_celsius_max"),
        "least_margin_celsius": least("tlimit_margin_celsius_min"),
        "memory_used_ratio": mean("memory_used_ratio"),
        "pcie_bytes_per_second": mean("pcie_busier_bytes_per_second"),
        "nvlink_bytes_per_second": mean("nvlink_busier_bytes_per_second"),
    }
    rows = summed(store, span, "gpu", by, columns)
    return tuple(GpuActivity(group=group, **row) for group, row in rows)


def idle_gpus(store: Reader, span: Span) -> tuple[IdleGpus, ...]:
    """GPUs whose SMs stayed idle in every minute of the history, and those that hold small jobs.

    A GPU in MIG mode has no reading of its SMs as a whole and is neither.
    """
    nvlink = "greatest(w.nvlink_tx_bytes_per_second_avg, w.nvlink_rx_bytes_per_second_avg)"
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
            SELECT w.device AS device, {_most("w.sm_util_ratio_avg")} AS busiest,
                avgIf(w.power_watts_avg, isFinite(w.power_watts_avg)) AS power,
                {_most("w.memory_used_bytes_max")} AS memory,
                {_most("w.memory_total_bytes_avg")} AS memory_total,
                {_most("w.dram_util_ratio_avg")} AS dram,
                {_most(nvlink)} AS nvlink,
                sum({SECONDS}) AS seconds
            FROM gpu_1m AS w WHERE {IN_SPAN}
            GROUP BY device
            HAVING max(w.window_start) >= fromUnixTimestamp64Milli({{rolled:Int64}})
                AND busiest >= 0
        ) AS d INNER JOIN inventory AS i ON d.device = i.device
        INNER JOIN ({newest_windows("gpu")}) AS f ON d.device = f.device
        GROUP BY pool ORDER BY pool
    """
    rows = store.query(sql, span.parameters())
    return tuple(IdleGpus(**clean(row) | {"small": _small(row["small"])}) for row in rows)


def _most(expression: str) -> str:
    """A device's largest known value; -1 where none is, as nothing here is negative."""
    return f"max(ifNotFinite(toFloat64({expression}), -1))"


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

"""The cluster at a glance: findings and advice first, then the telemetry they rest on."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as builders

from dashboards.panels import series, stat, table, variables
from dashboards.sql import TIME, by_time, chosen, largest, mean, places, rate, smallest, total_rate

_OPEN = f"FROM detections FINAL\nWHERE state != 'closed' AND {chosen('pool', 'pool')}"
_ADVICE = "FROM advice FINAL\nWHERE state != 'resolved'"
_US = 1e6


def build() -> builders.Dashboard:
    """The dashboard `ridgeline-overview`."""
    board = (
        builders.Dashboard("Ridgeline: cluster overview")
        .uid("ridgeline-overview")
        .description("What limits the cluster now, and what to change.")
        .tags(["ridgeline"])
        .time("now-15m", "now")
        .timezone("browser")
        .refresh("10s")
        .readonly()
    )
    for variable in variables():
        board = board.with_variable(variable)
    for part in (_findings, _compute, _heat, _fabric, _serving, _cooling):
        board = part(board)
    return board


def _findings(board: builders.Dashboard) -> builders.Dashboard:
    power = (
        f'{places("gpu")}SELECT sum(watts) AS "GPU power"\nFROM (\n'
        f"    SELECT device, argMaxIf(power_watts_avg, window_start, NOT isNaN(power_watts_avg))"
        " AS watts\n    FROM gpu_${resolution} AS w FINAL\n    INNER JOIN places USING (device)\n"
        "    WHERE $__timeFilter(window_start)\n    GROUP BY device\n)"
    )
    reporting = (
        f'{places("gpu")}SELECT uniqExact(device) AS "GPUs"\nFROM gpu_${{resolution}} AS w FINAL\n'
        "INNER JOIN places USING (device)\nWHERE $__timeFilter(window_start)"
    )
    gain = 'SELECT sumIf(gain_usd_month, NOT isNaN(gain_usd_month)) AS "Gain a month"\n' + _ADVICE
    return (
        board.with_panel(
            stat(
                "Open findings",
                f'SELECT count() AS "Open findings"\n{_OPEN}',
                "short",
                "Detections that still hold.",
            )
        )
        .with_panel(
            stat(
                "Gain of open advice",
                gain,
                "currencyUSD",
                "Money a month, sum of the middle estimates; advice without a price adds nothing.",
            )
        )
        .with_panel(stat("GPU power", power, "watt", "Newest reading of every chosen GPU, summed."))
        .with_panel(stat("GPUs reporting", reporting, "short", "GPUs with rows in this range."))
        .with_panel(
            table(
                "Open findings",
                "SELECT opened, severity, condition, subject, pool, summary,\n"
                "    dateDiff('second', opened, updated) AS held\n"
                f"{_OPEN}\n"
                "ORDER BY indexOf(['critical', 'warning', 'info'], severity), opened DESC\n"
                "LIMIT 200",
                "Episodes that detectors hold open now, gravest first.",
                {"held": "s"},
                empty="no open findings",
            )
        )
        .with_panel(
            table(
                "Advice",
                "SELECT created, action, scope, title,\n"
                "    if(isNaN(gain_usd_month), NULL, gain_usd_month) AS gain_usd_month,\n"
                f"    confidence, state\n{_ADVICE}\n"
                "ORDER BY gain_usd_month DESC NULLS LAST, created DESC\nLIMIT 100",
                "What to change; an empty gain means that no price is known.",
                {"gain_usd_month": "currencyUSD"},
                empty="no advice",
            )
        )
    )


def _compute(board: builders.Dashboard) -> builders.Dashboard:
    both = {
        "HBM bandwidth": mean("dram_util_ratio_avg"),
        "Tensor cores": mean("tensor_util_ratio_avg"),
    }
    power = (
        f"{places('gpu')}SELECT time, pool AS series, sumIf(watts, NOT isNaN(watts)) AS power\n"
        "FROM (\n"
        f"    SELECT {TIME}, device, any(pool) AS pool, {mean('power_watts_avg')} AS watts\n"
        "    FROM gpu_${resolution} AS w FINAL\n    INNER JOIN places USING (device)\n"
        "    WHERE $__timeFilter(window_start)\n    GROUP BY time, device\n)\n"
        "GROUP BY time, series\nORDER BY time, series"
    )
    return (
        board.with_row(builders.Row("Compute"))
        .with_panel(
            series(
                "Decode pool: HBM against tensor cores",
                by_time("gpu", "gpu", both, pool="decode"),
                "percentunit",
                "Decode with HBM near its peak and idle tensor cores is limited by bandwidth.",
            )
        )
        .with_panel(
            series(
                "Prefill pool: HBM against tensor cores",
                by_time("gpu", "gpu", both, pool="prefill"),
                "percentunit",
                "Prefill should keep the tensor cores busy.",
            )
        )
        .with_panel(
            series(
                "HBM bandwidth by pool",
                by_time("gpu", "gpu", {"hbm": mean("dram_util_ratio_avg")}, label="pool"),
                "percentunit",
                "Share of the theoretical peak of HBM bandwidth.",
                labelled=True,
            )
        )
        .with_panel(
            series("GPU power by pool", power, "watt", "Sum of board power.", labelled=True)
        )
    )


def _heat(board: builders.Dashboard) -> builders.Dashboard:
    share = {
        "Power cap": f"{rate('throttle_power_ns_inc')} / 1e9",
        "Heat": f"{rate('throttle_thermal_ns_inc')} / 1e9",
        "Power brake": f"{rate('throttle_power_brake_ns_inc')} / 1e9",
    }
    return (
        board.with_row(builders.Row("Heat and power limits"))
        .with_panel(
            series(
                "Time with clocks held down",
                by_time("gpu", "gpu", share),
                "percentunit",
                "Share of time, mean of the chosen GPUs, from the driver's own counters.",
                width=8,
            )
        )
        .with_panel(
            series(
                "Hottest GPU and HBM",
                by_time(
                    "gpu",
                    "gpu",
                    {
                        "GPU": largest("temperature_celsius_max"),
                        "HBM": largest("memory_temperature_celsius_max"),
                    },
                ),
                "celsius",
                "Maximum over the chosen GPUs.",
                width=8,
            )
        )
        .with_panel(
            series(
                "Smallest margin to the thermal limit",
                by_time(
                    "gpu", "gpu", {"margin": smallest("tlimit_margin_celsius_min")}, label="rack"
                ),
                "celsius",
                "T.Limit margin of the worst GPU of each rack; 0 is the limit.",
                labelled=True,
                width=8,
            )
        )
    )


def _fabric(board: builders.Dashboard) -> builders.Dashboard:
    marks = {
        "ECN marked": total_rate("ecn_marked_packets_inc"),
        "CNP sent": total_rate("cnp_sent_inc"),
        "CNP handled": total_rate("cnp_handled_inc"),
    }
    losses = {
        "Discards in": total_rate("rx_discards_inc"),
        "Discards out": total_rate("tx_discards_inc"),
        "Out of sequence": total_rate("out_of_sequence_inc"),
        "Out of buffer": total_rate("out_of_buffer_inc"),
    }
    return (
        board.with_row(builders.Row("Fabric"))
        .with_panel(
            series(
                "Throughput sent, by rail",
                by_time("fabric", "port", {"sent": total_rate("tx_bytes_inc")}, label="rail"),
                "Bps",
                "All chosen ports together.",
                labelled=True,
            )
        )
        .with_panel(
            series(
                "ECN marks and CNPs",
                by_time("fabric", "port", marks),
                "pps",
                "Marks at receivers, notifications sent by them and obeyed by senders.",
            )
        )
        .with_panel(
            series(
                "Transmit wait, by rail",
                by_time("fabric", "port", {"wait": rate("tx_wait_ticks_inc")}, label="rail"),
                "cps",
                "InfiniBand port_xmit_wait ticks a second of the mean port: data without credit."
                " The length of a tick is the device's own: compare a port with itself.",
                labelled=True,
                width=8,
            )
        )
        .with_panel(
            series(
                "Time paused by PFC, by rail",
                by_time(
                    "fabric",
                    "port",
                    {"paused": f"{rate('pfc_rx_pause_us_inc')} / {_US:.0f}"},
                    label="rail",
                ),
                "percentunit",
                "Share of time the mean port was told to pause.",
                labelled=True,
                width=8,
            )
        )
        .with_panel(
            series(
                "Losses",
                by_time("fabric", "port", losses),
                "pps",
                "Packets dropped or out of order; out of buffer is the host's fault.",
                width=8,
            )
        )
    )


def _serving(board: builders.Dashboard) -> builders.Dashboard:
    def latency(name: str) -> dict[str, str]:
        known = f"NOT isNaN({name}_us_inc) AND NOT isNaN({name}_count_inc)"
        sums = f"sumIf({name}_us_inc, {known}) / sumIf({name}_count_inc, {known})"
        return {
            "Mean": f"{sums} / {_US:.0f}",
            "Worst engine's p99": largest(f"{name}_p99_seconds_max"),
        }

    return (
        board.with_row(builders.Row("Serving"))
        .with_panel(
            series(
                "Time to first token",
                by_time("serving", "serving", latency("ttft")),
                "s",
                "TTFT: mean over all requests, and the worst p99 of any engine.",
                width=8,
            )
        )
        .with_panel(
            series(
                "Time per output token",
                by_time("serving", "serving", latency("tpot")),
                "s",
                "TPOT: mean over all tokens, and the worst p99 of any engine.",
                width=8,
            )
        )
        .with_panel(
            series(
                "KV cache in use, by pool",
                by_time(
                    "serving", "serving", {"kv": mean("kv_cache_usage_ratio_avg")}, label="pool"
                ),
                "percentunit",
                "Share of blocks; near 1 requests are preempted.",
                labelled=True,
                width=8,
            )
        )
        .with_panel(
            series(
                "Tokens",
                by_time(
                    "serving",
                    "serving",
                    {
                        "Prompt tokens": total_rate("prompt_tokens_inc"),
                        "Generated tokens": total_rate("generation_tokens_inc"),
                    },
                ),
                "cps",
                "Tokens a second of all chosen engines.",
            )
        )
        .with_panel(
            series(
                "Requests of the mean engine",
                by_time(
                    "serving",
                    "serving",
                    {
                        "Running": mean("requests_running_avg"),
                        "Waiting": mean("requests_waiting_avg"),
                    },
                ),
                "short",
                "Batch and queue.",
            )
        )
    )


def _cooling(board: builders.Dashboard) -> builders.Dashboard:
    def loops(column: str) -> str:
        return by_time("facility", "facility", {"value": mean(column)}, label="cooling_loop")

    return (
        board.with_row(builders.Row("Cooling"))
        .with_panel(
            series(
                "Coolant supply, by loop",
                loops("supply_celsius_avg"),
                "celsius",
                "Temperature of the coolant that reaches the racks.",
                labelled=True,
                width=8,
            )
        )
        .with_panel(
            series(
                "Coolant flow, by loop",
                loops("flow_liters_per_minute_avg"),
                "flowlpm",
                "Mean flow of the loop's units.",
                labelled=True,
                width=8,
            )
        )
        .with_panel(
            series(
                "Heat removed, by loop",
                loops("heat_removed_watts_avg"),
                "watt",
                "Mean of the loop's units.",
                labelled=True,
                width=8,
            )
        )
    )

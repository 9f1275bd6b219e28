"""The cluster at a glance: findings and advice first, then the telemetry they rest on."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as builders

from dashboards import rows
from dashboards.panels import series, stat, table, variables
from dashboards.sql import (
    KEYS_FIRST,
    MOST_SERIES,
    by_time,
    chosen,
    largest,
    mean,
    picked,
    rate,
    reporting,
    smallest,
    telemetry,
)

_OPEN = f"FROM detections FINAL\nWHERE state != 'closed' AND {chosen('pool', 'pool')}"
_ADVICE = "FROM advice FINAL\nWHERE state != 'resolved'"


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
    for part in (_findings, _compute, _heat, rows.fabric, rows.serving, rows.cooling):
        board = part(board)
    return board


def _findings(board: builders.Dashboard) -> builders.Dashboard:
    newest = "argMaxIf(power_watts_avg * devices, window_start, NOT isNaN(power_watts_avg))"
    power = (
        f'{picked("gpu")}SELECT sum(watts) AS "GPU power"\nFROM (\n    SELECT {newest} AS watts\n'
        f"{telemetry('gpu')}\n    GROUP BY device\n)\n{KEYS_FIRST}"
    )
    present = (
        f'{picked("gpu")}SELECT sum(count) AS "GPUs"\nFROM (\n'
        f"    SELECT max(devices) AS count\n{telemetry('gpu')}\n    GROUP BY device\n)\n"
        f"{KEYS_FIRST}"
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
        .with_panel(stat("GPUs reporting", present, "short", "GPUs with rows in this range."))
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
    watts = "power_watts_avg"
    power = {"power": f"{mean(watts)} * {reporting(watts)}"}
    return (
        board.with_row(builders.Row("Compute"))
        .with_panel(
            series(
                "Decode pools: HBM against tensor cores",
                by_time("gpu", "gpu", both, role="decode"),
                "percentunit",
                "Decode with HBM near its peak and idle tensor cores is limited by bandwidth.",
            )
        )
        .with_panel(
            series(
                "Prefill pools: HBM against tensor cores",
                by_time("gpu", "gpu", both, role="prefill"),
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
            series(
                "GPU power by pool",
                by_time("gpu", "gpu", power, label="pool"),
                "watt",
                "Sum of board power.",
                labelled=True,
            )
        )
    )


def _heat(board: builders.Dashboard) -> builders.Dashboard:
    share = {
        "Power cap": f"{rate('throttle_power_ns_inc')} / 1e9",
        "Heat": f"{rate('throttle_thermal_ns_inc')} / 1e9",
        "Power brake": f"{rate('throttle_power_brake_ns_inc')} / 1e9",
    }
    margin = "tlimit_margin_celsius_min"
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
                by_time("gpu", "gpu", {"margin": smallest(margin)}, label="rack", lowest=margin),
                "celsius",
                f"T.Limit margin of the worst GPU of a rack, the {MOST_SERIES} racks nearest the"
                " limit in this range; 0 is the limit.",
                labelled=True,
                width=8,
            )
        )
    )

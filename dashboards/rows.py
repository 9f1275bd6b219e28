"""Rows of the overview about what connects, feeds and cools the GPUs."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as builders

from dashboards.panels import series
from dashboards.sql import by_time, largest, mean, rate, total, total_rate

_US = 1e6


def fabric(board: builders.Dashboard) -> builders.Dashboard:
    """Throughput, congestion signals and losses of the ports."""
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


def serving(board: builders.Dashboard) -> builders.Dashboard:
    """Latencies, KV cache, tokens and queues of the engines."""

    def latency(name: str) -> dict[str, str]:
        known = f"NOT isNaN({name}_us_inc) AND NOT isNaN({name}_count_inc)"
        sums = f"{total(f'{name}_us_inc', known)} / {total(f'{name}_count_inc', known)}"
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


def cooling(board: builders.Dashboard) -> builders.Dashboard:
    """Temperature, flow and heat of each coolant loop."""

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

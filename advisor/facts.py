"""What the advisor knows: every query, named, one function each, and the values they return.

Only telemetry no older than the freshness bound is turned into facts: a group (a pool, a loop)
whose newest window is older is left out, so a rule can never judge by data that has stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from ridgeline.events import Detection
from ridgeline.settings import AdvisorSettings, StreamsSettings

HOUR_MS = 3_600_000
HEAT_MS = 180_000
"""Heat is judged by the last minutes: a loop that was put right is not to be put right again."""
_THERMAL = ("throttle_thermal_ns_inc", "throttle_sw_thermal_ns_inc", "throttle_hw_thermal_ns_inc")
_POWER = ("throttle_power_ns_inc", "throttle_power_brake_ns_inc")
IDLE_SM_RATIO = 0.02


class Reader(Protocol):
    """The part of the store that facts are read through."""

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Rows by column name; raises Retry while the store is away."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The stretch of time facts are read over."""

    now_ms: int
    history_ms: int
    window_ms: int = 10_000
    lateness_ms: int = 5_000

    @property
    def since_ms(self) -> int:
        """Start of the history."""
        return self.now_ms - self.history_ms

    @property
    def fresh_ms(self) -> int:
        """Oldest acceptable start of a group's newest window: two windows and the lateness."""
        return self.now_ms - 3 * self.window_ms - self.lateness_ms

    def newest(self, history_ms: int) -> Span:
        """The same span, at most `history_ms` back."""
        return replace(self, history_ms=min(self.history_ms, history_ms))

    def parameters(self) -> dict[str, Any]:
        """Query parameters."""
        return {
            "since": self.since_ms,
            "until": self.now_ms,
            "fresh": self.fresh_ms,
            "window_s": self.window_ms / 1000,
        }


def span_of(settings: AdvisorSettings, streams: StreamsSettings) -> Callable[[int], Span]:
    """Makes the span facts are read over, with the windows the stream processor writes."""
    return lambda now: Span(
        now_ms=now,
        history_ms=int(settings.history_minutes * 60_000),
        window_ms=streams.window_seconds * 1000,
        lateness_ms=int(streams.lateness_seconds * 1000),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingLoad:
    """What the engines of a pool do; sums over engines, means over the history."""

    pool: str
    engines: int
    newest_ms: int
    seconds: float
    prompt_tokens_per_second: float | None
    generation_tokens_per_second: float | None
    requests_per_second: float | None
    running: float | None
    waiting: float | None
    kv_usage_ratio: float | None
    max_batch: float | None
    ttft_p99_seconds: float | None
    tpot_p50_seconds: float | None
    tpot_p99_seconds: float | None
    prompt_tokens_p50: float | None
    prompt_tokens_p99: float | None
    output_tokens_p50: float | None
    output_tokens_p99: float | None
    preemptions_per_second: float | None
    prefill_seconds_mean: float | None
    queue_seconds_mean: float | None
    overload_ratio: float | None  # share of windows with a queue longer than a tenth of the batch
    kv_transfer_bytes_per_second: float | None
    prefix_hit_ratio: float | None = None  # prompt tokens found in the prefix cache


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuActivity:
    """What the GPUs of a pool, rack or loop (`group`) do; means over GPUs and history."""

    group: str
    gpus: int
    nodes: int
    model: str  # empty when the group mixes models
    newest_ms: int
    seconds: float
    dram_ratio: float | None
    tensor_ratio: float | None
    sm_ratio: float | None
    power_watts: float | None
    power_limit_watts: float | None
    thermal_ratio: float | None
    power_throttled_ratio: float | None
    clock_ratio: float | None  # SM clock over highest, of windows throttled by heat
    hottest_celsius: float | None
    least_margin_celsius: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleGpus:
    """GPUs of a pool that did nothing through the whole history."""

    pool: str
    gpus: int
    idle: int
    idle_power_watts: float | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopHeat:
    """One cooling loop: newest minute against its own normal (p90 flow, p10 supply of 6 h)."""

    loop: str
    newest_ms: int
    supply_celsius: float | None
    return_celsius: float | None
    flow_liters_per_minute: float | None
    heat_watts: float | None
    pump_speed_ratio: float | None
    normal_supply_celsius: float | None
    normal_flow_liters_per_minute: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RackLoad:
    """One rack: the largest power reading among its devices and its warmest air."""

    rack: str
    loop: str
    newest_ms: int
    power_watts: float | None
    inlet_celsius: float | None
    fan_speed_ratio: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RailTraffic:
    """One network rail; rates are sums over ports."""

    rail: str
    ports: int
    nodes: int
    newest_ms: int
    utilisation_ratio: float | None
    ecn_marked_per_second: float | None
    cnp_per_second: float | None
    pause_ratio: float | None
    discards_per_second: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An open detection and where its device is."""

    detection: Detection
    host: str
    rack: str
    loop: str
    rail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything a rule may look at. What is not known is absent or None."""

    now_ms: int
    serving: tuple[ServingLoad, ...] = ()
    pools: tuple[GpuActivity, ...] = ()
    gpu_loops: tuple[GpuActivity, ...] = ()
    gpu_racks: tuple[GpuActivity, ...] = ()
    idle: tuple[IdleGpus, ...] = ()
    loops: tuple[LoopHeat, ...] = ()
    racks: tuple[RackLoad, ...] = ()
    rails: tuple[RailTraffic, ...] = ()
    found: tuple[Found, ...] = ()
    demand: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def stale(self) -> bool:
        """True when no family has fresh rows."""
        return not (self.serving or self.pools or self.loops or self.rails)

    @property
    def newest_ms(self) -> int | None:
        """Start of the newest window seen."""
        groups = (self.serving, self.pools, self.loops, self.rails)
        return max((row.newest_ms for group in groups for row in group), default=None)

    def serving_of(self, pool: str) -> ServingLoad | None:
        """Serving load of a pool."""
        return next((s for s in self.serving if s.pool == pool), None)

    def gpus_of(self, pool: str) -> GpuActivity | None:
        """GPU activity of a pool."""
        return next((g for g in self.pools if g.group == pool), None)


def read(store: Reader, span: Span) -> Facts:
    """All facts of a span. Raises Retry while the store is away."""
    return Facts(
        now_ms=span.now_ms,
        serving=serving_load(store, span),
        pools=gpu_activity(store, span, "pool"),
        gpu_loops=gpu_activity(store, span.newest(HEAT_MS), "cooling_loop"),
        gpu_racks=gpu_activity(store, span.newest(HEAT_MS), "rack"),
        idle=idle_gpus(store, span),
        loops=loop_heat(store, span),
        racks=rack_load(store, span),
        rails=rail_traffic(store, span),
        found=open_detections(store, span),
        demand=demand_per_minute(store, span),
    )


def serving_load(store: Reader, span: Span) -> tuple[ServingLoad, ...]:
    """Load of each serving pool."""
    waiting, running = "requests_waiting_avg", "requests_running_avg"
    columns = {
        "engines": "uniqExact(w.device)",
        "prompt_tokens_per_second": _rate("prompt_tokens_inc"),
        "generation_tokens_per_second": _rate("generation_tokens_inc"),
        "requests_per_second": _rate("requests_finished_inc"),
        "running": f"{_mean(running)} * uniqExact(w.device)",
        "waiting": f"{_mean(waiting)} * uniqExact(w.device)",
        "kv_usage_ratio": _mean("kv_cache_usage_ratio_avg"),
        "max_batch": f"{_mean('max_batch_requests_max')} * uniqExact(w.device)",
        "ttft_p99_seconds": _mean("ttft_p99_seconds_avg"),
        "tpot_p50_seconds": _mean("tpot_p50_seconds_avg"),
        "tpot_p99_seconds": _mean("tpot_p99_seconds_avg"),
        "prompt_tokens_p50": _mean("prompt_tokens_p50_avg"),
        "prompt_tokens_p99": _mean("prompt_tokens_p99_avg"),
        "output_tokens_p50": _mean("output_tokens_p50_avg"),
        "output_tokens_p99": _mean("output_tokens_p99_avg"),
        "preemptions_per_second": _rate("preemptions_inc"),
        "prefill_seconds_mean": _per("prefill_us_inc", "requests_finished_inc", 1e-6),
        "queue_seconds_mean": _per("queue_us_inc", "requests_finished_inc", 1e-6),
        "overload_ratio": f"avgIf(w.{waiting} > greatest(1, 0.1 * w.{running}),"
        f" isFinite(w.{waiting}) AND isFinite(w.{running}))",
        "kv_transfer_bytes_per_second": _rate("kv_transfer_bytes_inc"),
        "prefix_hit_ratio": _per("prefix_cache_hits_inc", "prefix_cache_queries_inc", 1),
    }
    rows = _grouped(store, span, "serving_windows", "toString(i.pool)", columns)
    return tuple(ServingLoad(pool=group, **row) for group, row in rows)


def gpu_activity(store: Reader, span: Span, by: str) -> tuple[GpuActivity, ...]:
    """Activity of the GPUs by an inventory column: pool, rack or cooling_loop."""
    hot = f"{_throttled(_THERMAL)} > 0.01"
    columns = {
        "gpus": "uniqExact(w.device)",
        "nodes": "uniqExact(w.node)",
        "model": "if(uniqExact(i.model) = 1, any(i.model), '')",
        "dram_ratio": _mean("dram_util_ratio_avg"),
        "tensor_ratio": _mean("tensor_util_ratio_avg"),
        "sm_ratio": _mean("sm_util_ratio_avg"),
        "power_watts": _mean("power_watts_avg"),
        "power_limit_watts": _mean("power_limit_watts_avg"),
        "thermal_ratio": _mean_of(_throttled(_THERMAL)),
        "power_throttled_ratio": _mean_of(_throttled(_POWER)),
        "clock_ratio": f"avgIf(w.sm_clock_mhz_avg / w.sm_clock_max_mhz_avg, {hot} AND"
        " isFinite(w.sm_clock_mhz_avg / w.sm_clock_max_mhz_avg))",
        "hottest_celsius": _largest("temperature_celsius_max"),
        "least_margin_celsius": "minIf(w.tlimit_margin_celsius_min,"
        " isFinite(w.tlimit_margin_celsius_min))"
        " + if(countIf(isFinite(w.tlimit_margin_celsius_min)) = 0, nan, 0)",
    }
    rows = _grouped(store, span, "gpu_windows", f"toString(i.{by})", columns)
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
                {_mean("power_watts_avg")} AS power, {_SECONDS} AS span
            FROM gpu_windows AS w INNER JOIN inventory AS i ON w.device = i.device
            WHERE {_IN_SPAN}
            GROUP BY device
            HAVING max(w.window_start) >= fromUnixTimestamp64Milli({{fresh:Int64}})
                AND countIf(isFinite(w.sm_util_ratio_avg)) > 0
        )
        GROUP BY pool ORDER BY pool
    """
    rows = store.query(sql, span.parameters())
    return tuple(IdleGpus(**_clean(row)) for row in rows)


def loop_heat(store: Reader, span: Span) -> tuple[LoopHeat, ...]:
    """State of each cooling loop in the newest minute, and its normal of the last six hours."""
    recent = "w.window_start >= fromUnixTimestamp64Milli({recent:Int64})"
    columns = {
        "supply_celsius": _mean("supply_celsius_avg", recent),
        "return_celsius": _mean("return_celsius_avg", recent),
        "flow_liters_per_minute": _mean("flow_liters_per_minute_avg", recent),
        "heat_watts": _mean("heat_removed_watts_avg", recent),
        "pump_speed_ratio": _mean("pump_speed_ratio_avg", recent),
        "normal_supply_celsius": "quantileIf(0.1)(w.supply_celsius_avg,"
        " isFinite(w.supply_celsius_avg))",
        "normal_flow_liters_per_minute": "quantileIf(0.9)(w.flow_liters_per_minute_avg,"
        " isFinite(w.flow_liters_per_minute_avg))",
    }
    extra = {"since": span.now_ms - 6 * HOUR_MS, "recent": span.now_ms - 60_000 - span.lateness_ms}
    where = "i.cooling_loop != '' AND isFinite(w.supply_celsius_avg)"
    rows = _grouped(
        store, span, "facility_windows", "i.cooling_loop", columns, where=where, extra=extra
    )
    return tuple(LoopHeat(loop=group, **_without(row, "seconds")) for group, row in rows)


def rack_load(store: Reader, span: Span) -> tuple[RackLoad, ...]:
    """Power and air of each rack."""
    columns = {
        "loop": "any(i.cooling_loop)",
        "power_watts": _largest("power_watts_avg"),
        "inlet_celsius": _largest("inlet_celsius_avg"),
        "fan_speed_ratio": _mean("fan_speed_ratio_avg"),
    }
    rows = _grouped(store, span, "facility_windows", "i.rack", columns, where="i.rack != ''")
    return tuple(RackLoad(rack=group, **_without(row, "seconds")) for group, row in rows)


def rail_traffic(store: Reader, span: Span) -> tuple[RailTraffic, ...]:
    """Traffic and congestion marks of each rail."""
    bits = "greatest(w.tx_bytes_inc, w.rx_bytes_inc) * 8 / {window_s:Float64}"
    columns = {
        "ports": "uniqExact(w.device)",
        "nodes": "uniqExact(w.node)",
        "utilisation_ratio": _mean_of(f"{bits} / w.link_rate_bits_per_second_avg"),
        "ecn_marked_per_second": _rate("ecn_marked_packets_inc"),
        "cnp_per_second": _rate("cnp_sent_inc"),
        "pause_ratio": _mean_of("w.pfc_rx_pause_us_inc / ({window_s:Float64} * 1e6)"),
        "discards_per_second": _rate("tx_discards_inc"),
    }
    rows = _grouped(store, span, "fabric_windows", "i.rail", columns, where="i.rail != ''")
    return tuple(RailTraffic(rail=group, **_without(row, "seconds")) for group, row in rows)


def open_detections(store: Reader, span: Span) -> tuple[Found, ...]:
    """Open episodes updated within the last hour or the history, and where they are."""
    sql = """
        SELECT d.body AS body, i.host AS host, i.rack AS rack, i.cooling_loop AS cooling_loop,
            i.rail AS rail
        FROM detections AS d LEFT JOIN inventory AS i ON d.device = i.device
        WHERE d.state != 'closed' AND d.updated >= fromUnixTimestamp64Milli({since:Int64})
        ORDER BY d.opened DESC LIMIT 5000
    """
    since = span.now_ms - max(HOUR_MS, span.history_ms)
    return tuple(
        Found(
            detection=Detection.model_validate_json(row["body"]),
            host=row["host"],
            rack=row["rack"],
            loop=row["cooling_loop"],
            rail=row["rail"],
        )
        for row in store.query(sql, {"since": since})
    )


def demand_per_minute(store: Reader, span: Span) -> Mapping[str, tuple[float, ...]]:
    """Concurrent requests (running and waiting) of each pool by minute, of the last 14 days."""
    sql = """
        SELECT pool, groupArray(demand) AS demand FROM (
            SELECT toString(i.pool) AS pool, w.window_start AS minute,
                sumIf(w.requests_running_avg + w.requests_waiting_avg,
                    isFinite(w.requests_running_avg + w.requests_waiting_avg)) AS demand
            FROM serving_1m AS w INNER JOIN inventory AS i ON w.device = i.device
            WHERE w.window_start >= fromUnixTimestamp64Milli({since:Int64})
                AND w.window_start <= fromUnixTimestamp64Milli({until:Int64})
            GROUP BY pool, minute ORDER BY minute
        ) GROUP BY pool
    """
    rows = store.query(sql, {"since": span.now_ms - 14 * 24 * HOUR_MS, "until": span.now_ms})
    return {row["pool"]: tuple(float(v) for v in row["demand"]) for row in rows}


_IN_SPAN = (
    "w.window_start >= fromUnixTimestamp64Milli({since:Int64})"
    " AND w.window_start <= fromUnixTimestamp64Milli({until:Int64})"
)
_SECONDS = "uniqExact(w.window_start) * {window_s:Float64}"


def _grouped(
    store: Reader,
    span: Span,
    table: str,
    by: str,
    columns: Mapping[str, str],
    *,
    where: str = "1",
    extra: Mapping[str, Any] | None = None,
) -> list[tuple[str, dict[str, Any]]]:
    """One row a group, of groups whose newest window is fresh."""
    selected = ", ".join(f"{sql} AS {name}" for name, sql in columns.items())
    sql = f"""
        SELECT {by} AS group_name, toUnixTimestamp64Milli(max(w.window_start)) AS newest_ms,
            {_SECONDS} AS seconds, {selected}
        FROM {table} AS w INNER JOIN inventory AS i ON w.device = i.device
        WHERE {_IN_SPAN} AND {where}
        GROUP BY group_name
        HAVING newest_ms >= {{fresh:Int64}}
        ORDER BY group_name
    """
    rows = store.query(sql, span.parameters() | dict(extra or {}))
    return [(str(row.pop("group_name")), _clean(row)) for row in rows]


def _mean(column: str, when: str = "1") -> str:
    return f"avgIf(w.{column}, isFinite(w.{column}) AND {when})"


def _mean_of(expression: str) -> str:
    return f"avgIf({expression}, isFinite({expression}))"


def _largest(column: str) -> str:
    # maxIf over no row is 0, which is a value; NaN says that there was none
    return (
        f"maxIf(w.{column}, isFinite(w.{column})) + if(countIf(isFinite(w.{column})) = 0, nan, 0)"
    )


def _rate(column: str) -> str:
    """Sum over devices: mean of a device's windows times devices, so that a gap is no dip."""
    return f"{_mean(column)} / {{window_s:Float64}} * uniqExactIf(w.device, isFinite(w.{column}))"


def _per(total: str, count: str, scale: float) -> str:
    return (
        f"sumIf(w.{total}, isFinite(w.{total})) * {scale}"
        f" / nullIf(sumIf(w.{count}, isFinite(w.{count})), 0)"
    )


def _throttled(columns: tuple[str, ...]) -> str:
    """Share of a window in the worst of several throttle counters, which may overlap."""
    known = " OR ".join(f"isFinite(w.{c})" for c in columns)
    worst = ", ".join(f"ifNotFinite(w.{c}, 0)" for c in columns)
    share = f"least(1, greatest({worst}) / ({{window_s:Float64}} * 1e9))"
    return f"if({known}, {share}, nan)"


def _clean(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with NaN as None: absent, not zero."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


def _without(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k != name}

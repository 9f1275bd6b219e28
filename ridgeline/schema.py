"""Every telemetry column once: name, unit, type and meaning.

From this one definition come the numpy dtype of a frame, the ClickHouse DDL of the raw and window
tables and the reference page in `docs/telemetry.md`. This module reads and writes nothing.

A *row* is one device at one instant. A missing reading is never 0: it is NaN in a gauge,
`MISSING_COUNTER` in a counter and `MISSING_STATE` in a state or a flag set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType

import numpy as np

MISSING_COUNTER = 2**64 - 1
MISSING_STATE = 2**32 - 1


class Kind(StrEnum):
    """What a column's values mean over time, which decides how a window sums them up."""

    GAUGE = "gauge"  # float32; a window keeps average, minimum and maximum
    COUNTER = "counter"  # uint64, only grows until it resets; a window keeps the increase
    STATE = "state"  # uint32, an enumeration; a window keeps the last value
    FLAGS = "flags"  # uint32, a bit set; a window keeps the union


_NUMPY = {Kind.GAUGE: "<f4", Kind.COUNTER: "<u8", Kind.STATE: "<u4", Kind.FLAGS: "<u4"}
_CLICKHOUSE = {"<f4": "Float32", "<f8": "Float64", "<u4": "UInt32", "<u8": "UInt64", "<i8": "Int64"}
# smallest of the measured ones: docs/decisions/004-codecs-and-sort-order.md; with the width of the
# values, as the server prints them, since tables of earlier releases are compared with these
_CODEC = {
    Kind.GAUGE: "CODEC(FPC(12), ZSTD(1))",
    Kind.COUNTER: "CODEC(Delta(8), T64, ZSTD(1))",
    Kind.STATE: "CODEC(T64, ZSTD(1))",
    Kind.FLAGS: "CODEC(T64, ZSTD(1))",
}
_WINDOW_CODEC = {
    Kind.GAUGE: "CODEC(Delta(4), ZSTD(1))",
    Kind.COUNTER: "CODEC(Gorilla(8), ZSTD(1))",
    Kind.STATE: "CODEC(T64, ZSTD(1))",
    Kind.FLAGS: "CODEC(T64, ZSTD(1))",
}
_STEPPED_CODEC = "CODEC(ZSTD(1))"
MISSING: Mapping[Kind, float | int] = MappingProxyType(
    {
        Kind.GAUGE: float("nan"),
        Kind.COUNTER: MISSING_COUNTER,
        Kind.STATE: MISSING_STATE,
        Kind.FLAGS: MISSING_STATE,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What windows tell apart in a gauge: less than the error of its sensor.

    A window's average, minimum and maximum, each a 32-bit float, become the nearest multiple of the
    resolution; of two that are as near, the even one. What would become infinite stays as it is,
    and a zero has no sign. That is part of what a window *is*: it depends on the value alone, keeps
    order, and changes nothing when it is done again.

    Args:
        why: Why nothing is lost.
        step: A power of two, in the column's unit.
        bits: Without a step: how many of a float's 23 fraction bits are left, so that the
            resolution is 2^-bits of the power of two below the value (of 2^-126 at least).
    """

    why: str
    step: float = 0.0
    bits: int = 23

    def __post_init__(self) -> None:
        if not (self.step == 0 or math.frexp(self.step)[0] == 0.5) or not 0 < self.bits <= 23:
            raise ValueError(f"no resolution: step {self.step}, {self.bits} bits")

    def __str__(self) -> str:
        if self.step:
            numerator, denominator = self.step.as_integer_ratio()
            return str(numerator) if denominator == 1 else f"{numerator}/{denominator}"
        return "exact" if self.bits == 23 else f"{self.bits} bits"


EXACT = Resolution(why="a nominal value, or one that is counted and not measured")
_RESOLUTION: Mapping[str, Resolution] = MappingProxyType(
    {
        "ratio": Resolution(
            step=2**-10,
            why="a tenth of a percent; sensors report whole percents, or shares of a sampling"
            " interval that is itself known to about a thousandth",
        ),
        "degC": Resolution(
            step=2**-6,
            why="GPUs report whole degrees, of which ten give tenths; cooling units tenths, good to"
            " a few (assumed)",
        ),
        "MHz": Resolution(step=0.5, why="clocks move in steps of 15 MHz, of which ten give 1.5"),
        "1": Resolution(step=2**-6, why="whole counts stay exact, and averages of ten nearly so"),
        "W": Resolution(
            bits=10,
            why="at most 0.05 %; A100 and H100 sample power a quarter of the time"
            " (arXiv 2312.02741)",
        ),
        "B/s": Resolution(
            bits=9,
            why="at most 0.1 %; a rate is an increase over a second that is known to 1 to 3 ms"
            " (assumed)",
        ),
        "L/min": Resolution(
            bits=10, why="at most 0.05 %; flow meters are good to a percent (assumed)"
        ),
        "kPa": Resolution(
            bits=10, why="at most 0.05 %; pressure sensors are good to 0.5 % (assumed)"
        ),
        "s": Resolution(bits=10, why="at most 0.05 %; quantiles between bounds of a histogram"),
        "tokens": Resolution(bits=10, why="at most 0.05 %; quantiles between such bounds, too"),
        "B": EXACT,
        "bit/s": EXACT,
    }
)
"""By unit, of gauges that name no other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One metric of a device.

    `since` is the schema version that brought it; older frames are widened with the missing value.
    `resolution` is what windows keep of a gauge; all else is exact in them.
    """

    name: str
    kind: Kind
    unit: str
    doc: str
    since: int = 1
    resolution: Resolution = EXACT

    @property
    def numpy(self) -> str:
        """Little-endian numpy type code, for example `<f4`."""
        return _NUMPY[self.kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowField:
    """One aggregate of one column in the window table: `name` = column name + `_` + `how`."""

    name: str
    column: str
    how: str  # avg | min | max | inc | last | or
    numpy: str
    kind: Kind
    unit: str
    doc: str
    resolution: Resolution

    @property
    def codec(self) -> str:
        """Of the window tables: multiples of a step repeat, other values move a little."""
        return _STEPPED_CODEC if self.resolution.step else _WINDOW_CODEC[self.kind]


@dataclass(frozen=True)
class Schema:
    """The columns of one telemetry family, with the layouts derived from them."""

    family: str
    version: int
    columns: tuple[Column, ...]
    doc: str = ""
    _dtypes: dict[int, np.dtype[np.void]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def id(self) -> str:
        """Value of the Kafka `schema` header, for example `gpu/1`."""
        return f"{self.family}/{self.version}"

    @property
    def topic(self) -> str:
        """Kafka topic of the family's frames."""
        return f"telemetry.{self.family}"

    @cached_property
    def dtype(self) -> np.dtype[np.void]:
        """Packed dtype of a row of the current version."""
        return self.dtype_of(self.version)

    def dtype_of(self, version: int) -> np.dtype[np.void]:
        """Packed dtype of a row of `version` (1 <= version <= current)."""
        if version not in self._dtypes:
            fields = [("ts", "<i8"), ("node", "<u8"), ("device", "<u8")]
            fields += [(c.name, c.numpy) for c in self.columns if c.since <= version]
            self._dtypes[version] = np.dtype(fields)
        return self._dtypes[version]

    @cached_property
    def by_name(self) -> Mapping[str, Column]:
        """Columns by name."""
        return MappingProxyType({c.name: c for c in self.columns})

    def of_kind(self, kind: Kind) -> tuple[str, ...]:
        """Names of the columns of one kind, in layout order."""
        return tuple(c.name for c in self.columns if c.kind is kind)

    def empty(self, rows: int) -> np.ndarray:
        """`rows` rows with every metric missing, ts 0 and ids 0."""
        out = np.zeros(rows, dtype=self.dtype)
        for column in self.columns:
            out[column.name] = MISSING[column.kind]
        return out

    @cached_property
    def window_fields(self) -> tuple[WindowField, ...]:
        """The aggregates a window table keeps, in layout order."""
        out: list[WindowField] = []
        for c in self.columns:
            for how, numpy in _WINDOW[c.kind]:
                out.append(
                    WindowField(
                        name=f"{c.name}_{how}",
                        column=c.name,
                        how=how,
                        numpy=numpy,
                        kind=c.kind,
                        unit=c.unit,
                        doc=c.doc,
                        resolution=c.resolution,
                    )
                )
        return tuple(out)

    @cached_property
    def window_dtype(self) -> np.dtype[np.void]:
        """Packed dtype of a window row; also the RowBinary layout of the window tables.

        `window_start` is in ms since the epoch; `samples` counts the rows that fell in the window.
        A counter's `_inc` is NaN when no pair of readings spans the window.
        """
        fields = [("window_start", "<i8"), ("node", "<u8"), ("device", "<u8"), ("samples", "<u4")]
        return np.dtype(fields + [(f.name, f.numpy) for f in self.window_fields])

    def raw_columns_sql(self) -> str:
        """Column list of the raw table, in frame order."""
        lines = [
            "ts DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1))",
            "node UInt64 CODEC(ZSTD(1))",
            "device UInt64 CODEC(ZSTD(1))",
        ]
        lines += [
            f"{c.name} {_CLICKHOUSE[c.numpy]}{_default(c, c.numpy)} {_CODEC[c.kind]}"
            f" COMMENT '{_sql(c)}'"
            for c in self.columns
        ]
        return ",\n    ".join(lines)

    def window_columns_sql(self) -> str:
        """Column list of the window tables, in `window_dtype` order."""
        lines = [
            "window_start DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1))",
            "node UInt64 CODEC(ZSTD(1))",
            "device UInt64 CODEC(ZSTD(1))",
            "samples UInt32 CODEC(T64, ZSTD(1))",
        ]
        lines += [
            f"{f.name} {_CLICKHOUSE[f.numpy]}{_default(self.by_name[f.column], f.numpy)} {f.codec}"
            for f in self.window_fields
        ]
        return ",\n    ".join(lines)


_WINDOW: Mapping[Kind, tuple[tuple[str, str], ...]] = MappingProxyType(
    {
        Kind.GAUGE: (("avg", "<f4"), ("min", "<f4"), ("max", "<f4")),
        Kind.COUNTER: (("inc", "<f8"),),
        Kind.STATE: (("last", "<u4"),),
        Kind.FLAGS: (("or", "<u4"),),
    }
)


def _default(column: Column, numpy: str) -> str:
    """What rows from before the column say: missing."""
    missing = {"f": "nan", "4": MISSING_STATE, "8": MISSING_COUNTER}
    return "" if column.since == 1 else f" DEFAULT {missing['f' if 'f' in numpy else numpy[-1]]}"


def _sql(column: Column) -> str:
    return f"{column.doc} [{column.unit}]".replace("'", "''")


def _gauge(name: str, unit: str, doc: str, resolution: Resolution | None = None) -> Column:
    resolution = resolution or _RESOLUTION[unit]
    return Column(name=name, kind=Kind.GAUGE, unit=unit, doc=doc, resolution=resolution)


def _counter(name: str, unit: str, doc: str) -> Column:
    return Column(name=name, kind=Kind.COUNTER, unit=unit, doc=doc)


def _state(name: str, unit: str, doc: str) -> Column:
    return Column(name=name, kind=Kind.STATE, unit=unit, doc=doc)


GPU = Schema(
    family="gpu",
    version=1,
    doc="One accelerator: activity, clocks, power, heat, errors.",
    columns=(
        _gauge("graphics_util_ratio", "ratio", "any engine busy, GPM 1 / DCGM 1001"),
        _gauge("sm_util_ratio", "ratio", "SM active, GPM 2 / DCGM 1002"),
        _gauge("sm_occupancy_ratio", "ratio", "resident warps over maximum, GPM 3 / DCGM 1003"),
        _gauge("tensor_util_ratio", "ratio", "any tensor pipe active, GPM 5 / DCGM 1004"),
        _gauge("dram_util_ratio", "ratio", "HBM bandwidth over theoretical peak, GPM 10"),
        _gauge("fp32_util_ratio", "ratio", "FP32 pipe active, GPM 12"),
        _gauge("fp16_util_ratio", "ratio", "FP16 pipe active (not tensor), GPM 13"),
        _gauge("gpu_util_ratio", "ratio", "NVML utilization.gpu: some kernel was running"),
        _gauge("memory_util_ratio", "ratio", "NVML utilization.memory: memory was being accessed"),
        _gauge("power_watts", "W", "board power, NVML field 186 (instant), else 185"),
        _gauge("power_limit_watts", "W", "enforced power limit, NVML field 190", EXACT),
        _gauge("temperature_celsius", "degC", "GPU core"),
        _gauge("memory_temperature_celsius", "degC", "HBM, NVML field 82"),
        _gauge("tlimit_margin_celsius", "degC", "margin to the thermal limit (signed), T.Limit"),
        _gauge(
            "slowdown_margin_celsius", "degC", "margin at which slowdown starts, NVML field 194"
        ),
        _gauge("sm_clock_mhz", "MHz", "current SM clock"),
        _gauge("sm_clock_max_mhz", "MHz", "highest SM clock of the board"),
        _gauge("memory_clock_mhz", "MHz", "current memory clock"),
        _gauge("memory_used_bytes", "B", "framebuffer in use"),
        _gauge("memory_total_bytes", "B", "framebuffer size"),
        _gauge("pcie_tx_bytes_per_second", "B/s", "GPU to host, GPM 20"),
        _gauge("pcie_rx_bytes_per_second", "B/s", "host to GPU, GPM 21"),
        _gauge("nvlink_tx_bytes_per_second", "B/s", "all links, GPM 61"),
        _gauge("nvlink_rx_bytes_per_second", "B/s", "all links, GPM 60"),
        _counter("energy_mj", "mJ", "energy since driver load, NVML field 83"),
        _counter("throttle_power_ns", "ns", "clocks held down by the power cap, NVML field 74"),
        _counter("throttle_thermal_ns", "ns", "clocks held down by heat, NVML field 75"),
        _counter("throttle_sw_thermal_ns", "ns", "software thermal slowdown, NVML field 269"),
        _counter("throttle_hw_thermal_ns", "ns", "hardware thermal slowdown, NVML field 270"),
        _counter("throttle_power_brake_ns", "ns", "external power brake, NVML field 271"),
        _counter("ecc_corrected", "1", "corrected memory errors"),
        _counter("ecc_uncorrected", "1", "uncorrected memory errors"),
        _counter("remapped_rows", "1", "rows remapped for uncorrectable errors"),
        _counter("pcie_replays", "1", "PCIe replays"),
        _counter("nvlink_errors", "1", "NVLink replay, recovery and CRC errors"),
        _counter("xid_events", "1", "XID errors seen since the collector started"),
        Column(
            name="clock_event_reasons",
            kind=Kind.FLAGS,
            unit="bits",
            doc="NVML clocks event reasons: 0x4 power cap, 0x20/0x40 thermal, 0x80 power brake",
        ),
        _state("last_xid", "code", "newest XID code"),
        _state("pstate", "P", "performance state, 0 is fastest"),
    ),
)

FABRIC = Schema(
    family="fabric",
    version=1,
    doc="One network port: InfiniBand, RoCE or plain Ethernet.",
    columns=(
        _gauge("link_rate_bits_per_second", "bit/s", "negotiated rate of the port"),
        _counter("tx_bytes", "B", "octets sent (IB port_xmit_data x 4)"),
        _counter("rx_bytes", "B", "octets received (IB port_rcv_data x 4)"),
        _counter("tx_packets", "1", "packets sent"),
        _counter("rx_packets", "1", "packets received"),
        _counter(
            "tx_wait_ticks",
            "ticks",
            "IB port_xmit_wait: data queued, no credit; tick is per device",
        ),
        _counter("tx_discards", "1", "packets dropped on the way out"),
        _counter("rx_discards", "1", "packets dropped on the way in"),
        _counter("tx_errors", "1", "transmit errors"),
        _counter("rx_errors", "1", "receive errors (IB port_rcv_errors)"),
        _counter("symbol_errors", "1", "physical-layer symbol errors"),
        _counter("link_recoveries", "1", "link retrains"),
        _counter("link_downs", "1", "link went down"),
        _counter("integrity_errors", "1", "local link integrity errors"),
        _counter("buffer_overruns", "1", "excessive buffer overruns"),
        _counter(
            "ecn_marked_packets", "1", "RoCE packets received with CE (np_ecn_marked_roce_packets)"
        ),
        _counter("cnp_sent", "1", "CNPs sent by the receiver (np_cnp_sent)"),
        _counter("cnp_handled", "1", "CNPs obeyed by the sender (rp_cnp_handled)"),
        _counter("cnp_ignored", "1", "CNPs ignored: congestion control is off (rp_cnp_ignored)"),
        _counter("out_of_sequence", "1", "RoCE out-of-sequence packets"),
        _counter("packet_sequence_errors", "1", "NAK sequence errors at the requester"),
        _counter("ack_timeouts", "1", "local ack timeouts"),
        _counter("rnr_nak_retries", "1", "RNR NAK retry errors"),
        _counter("adaptive_retransmits", "1", "RoCE adaptive retransmissions"),
        _counter("slow_restarts", "1", "RoCE slow restarts"),
        _counter("out_of_buffer", "1", "receive queue had no work request: a host-side fault"),
        _counter("pfc_rx_pauses", "1", "PFC pause frames received, all priorities"),
        _counter("pfc_tx_pauses", "1", "PFC pause frames sent, all priorities"),
        _counter("pfc_rx_pause_us", "us", "time transmission was paused by PFC, all priorities"),
        _counter("pfc_storm_events", "1", "PFC pause-storm warnings and errors"),
        _state("link_up", "0|1", "1 when the port is up"),
        _state("link_layer", "code", "1 Ethernet, 2 InfiniBand, 3 RoCE"),
    ),
)

FACILITY = Schema(
    family="facility",
    version=1,
    doc="One power or cooling device: rack, PDU, CDU, server BMC, leak detector.",
    columns=(
        _gauge("power_watts", "W", "electrical power drawn"),
        _gauge("power_limit_watts", "W", "power the feed or the breaker allows", EXACT),
        _gauge("inlet_celsius", "degC", "air at the inlet"),
        _gauge("outlet_celsius", "degC", "air at the outlet"),
        _gauge("supply_celsius", "degC", "coolant supplied to the load"),
        _gauge("return_celsius", "degC", "coolant returned from the load"),
        _gauge("facility_supply_celsius", "degC", "facility water supplied to the unit"),
        _gauge("flow_liters_per_minute", "L/min", "coolant flow to the load"),
        _gauge("delta_pressure_kpa", "kPa", "supply minus return pressure"),
        _gauge("pump_speed_ratio", "ratio", "pump speed over maximum"),
        _gauge("fan_speed_ratio", "ratio", "fan speed over maximum"),
        _gauge("heat_removed_watts", "W", "heat carried away by the coolant"),
        _gauge("humidity_ratio", "ratio", "relative humidity"),
        _counter("energy_joules", "J", "energy drawn"),
        _state("leak_state", "code", "0 OK, 1 warning, 2 critical"),
    ),
)

LENGTH_BOUNDS = (50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)
"""Upper bounds in tokens of the counted lengths of requests: of vLLM's own 1-2-5 buckets."""


def length_columns(what: str) -> tuple[str, ...]:
    """Counters of requests by length, cumulative in the bound; the last counts all of them."""
    return (*(f"{what}_length_le_{bound}" for bound in LENGTH_BOUNDS), f"{what}_length_count")


def _lengths(what: str) -> tuple[Column, ...]:
    docs = (*(f"requests whose {what} has at most {b} tokens" for b in LENGTH_BOUNDS), "all such")
    return tuple(
        Column(name=name, kind=Kind.COUNTER, unit="1", doc=doc, since=2)
        for name, doc in zip(length_columns(what), docs, strict=True)
    )


SERVING = Schema(
    family="serving",
    version=2,
    doc="One LLM serving engine: queues, tokens, latencies, KV cache.",
    columns=(
        _gauge("requests_running", "1", "requests in the running batch"),
        _gauge("requests_waiting", "1", "requests queued"),
        _gauge("kv_cache_usage_ratio", "ratio", "KV cache blocks in use"),
        _gauge("max_batch_requests", "1", "largest batch the engine allows, when known", EXACT),
        _gauge("ttft_p50_seconds", "s", "time to first token since the last sample, median"),
        _gauge("ttft_p99_seconds", "s", "time to first token since the last sample, p99"),
        _gauge("tpot_p50_seconds", "s", "time per output token since the last sample, median"),
        _gauge("tpot_p99_seconds", "s", "time per output token since the last sample, p99"),
        _gauge("prompt_tokens_p50", "tokens", "prompt length of finished requests, median"),
        _gauge("prompt_tokens_p99", "tokens", "prompt length of finished requests, p99"),
        _gauge("output_tokens_p50", "tokens", "output length of finished requests, median"),
        _gauge("output_tokens_p99", "tokens", "output length of finished requests, p99"),
        _counter("prompt_tokens", "tokens", "prompt tokens processed"),
        _counter("generation_tokens", "tokens", "tokens generated"),
        _counter("requests_finished", "1", "requests finished"),
        _counter("requests_failed", "1", "requests aborted or failed"),
        _counter("preemptions", "1", "requests preempted for want of KV cache"),
        _counter("prefix_cache_queries", "tokens", "tokens looked up in the prefix cache"),
        _counter("prefix_cache_hits", "tokens", "tokens found in the prefix cache"),
        _counter("ttft_us", "us", "sum of times to first token"),
        _counter("ttft_count", "1", "number of first tokens"),
        _counter("tpot_us", "us", "sum of inter-token times"),
        _counter("tpot_count", "1", "number of inter-token times"),
        _counter("e2e_us", "us", "sum of request latencies"),
        _counter("queue_us", "us", "sum of times waiting in the queue"),
        _counter("prefill_us", "us", "sum of prefill times"),
        _counter("decode_us", "us", "sum of decode times"),
        _counter("kv_transfer_bytes", "B", "KV cache moved between prefill and decode"),
        _state("engine", "code", "1 vLLM, 2 SGLang, 3 simulator, 4 TensorRT-LLM, 5 TGI"),
        _state("role", "code", "1 mixed, 2 prefill, 3 decode"),
        *_lengths("prompt"),
        *_lengths("output"),
    ),
)

SCHEMAS: Mapping[str, Schema] = MappingProxyType(
    {s.family: s for s in (GPU, FABRIC, FACILITY, SERVING)}
)

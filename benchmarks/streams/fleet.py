"""A fleet's telemetry as ready-made frames: 8 GPUs, 8 ports and one LLM server a node.

Values look like a serving fleet: most decode nodes near their HBM ceiling, some prefill, a few in
trouble; gauges carry noise, counters grow, so that compression and detectors see what they would
see in life. A second of a whole fleet is three arrays; a node's frame is a slice of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ridgeline.ids import device_id, node_id
from ridgeline.schema import FABRIC, GPU, MISSING_STATE, SERVING, Kind, Schema

START_MS = 1_790_000_000_000
PER_NODE = {"gpu": 8, "fabric": 8, "serving": 1}
SCHEMAS = (GPU, FABRIC, SERVING)
_LEVELS = {  # steady state of a decode GPU, a port and a server; what is not named is 0
    "dram_util_ratio": 0.62,
    "tensor_util_ratio": 0.12,
    "sm_util_ratio": 0.85,
    "graphics_util_ratio": 0.97,
    "gpu_util_ratio": 0.98,
    "power_watts": 480.0,
    "power_limit_watts": 700.0,
    "temperature_celsius": 61.0,
    "memory_temperature_celsius": 70.0,
    "tlimit_margin_celsius": 26.0,
    "slowdown_margin_celsius": -2.0,
    "sm_clock_mhz": 1900.0,
    "sm_clock_max_mhz": 1980.0,
    "memory_clock_mhz": 2619.0,
    "memory_used_bytes": 7.0e10,
    "memory_total_bytes": 8.0e10,
    "nvlink_tx_bytes_per_second": 2.0e10,
    "nvlink_rx_bytes_per_second": 2.0e10,
    "link_rate_bits_per_second": 4.0e11,
    "requests_running": 48.0,
    "requests_waiting": 2.0,
    "kv_cache_usage_ratio": 0.55,
}
_FIXED = {"power_limit_watts", "slowdown_margin_celsius", "sm_clock_max_mhz", "memory_total_bytes"}
_RATES = {  # a second
    "energy_mj": 480_000,
    "tx_bytes": 2_000_000_000,
    "rx_bytes": 2_000_000_000,
    "tx_packets": 500_000,
    "rx_packets": 500_000,
    "cnp_sent": 3,
    "cnp_handled": 3,
    "ecn_marked_packets": 20,
    "prompt_tokens": 900,
    "generation_tokens": 2400,
}
TROUBLED = 0.01
"""Share of GPUs that are slowed down by heat."""
BOUND = 0.25
"""Share of GPUs that decode at their HBM ceiling."""


@dataclass(slots=True)
class Family:
    """Rows of one family of the whole fleet, node by node, and what each second adds."""

    schema: Schema
    rows: np.ndarray
    rates: dict[str, np.ndarray]
    noisy: tuple[str, ...]

    def advance(self, generator: np.random.Generator) -> None:
        """One second later: time, counters, noise in a few gauges."""
        self.rows["ts"] += 1000
        for name, rate in self.rates.items():
            self.rows[name] += rate
        name = self.noisy[int(generator.integers(len(self.noisy)))]
        self.rows[name] *= generator.uniform(0.99, 1.01, len(self.rows)).astype(np.float32)


def family(schema: Schema, nodes: int, seed: int = 7) -> Family:
    """The first second of a family."""
    generator = np.random.default_rng(seed)
    each = PER_NODE[schema.family]
    count = nodes * each
    rows = schema.empty(count)
    rows["ts"] = START_MS
    hosts = [f"node{number:06d}" for number in range(nodes)]
    rows["node"] = np.repeat([node_id(host) for host in hosts], each)
    rows["device"] = [device_id(host, schema.family, str(i)) for host in hosts for i in range(each)]
    for column in schema.columns:
        if column.kind is Kind.GAUGE:
            spread = 0.0 if column.name in _FIXED else 0.03
            noise = generator.uniform(1 - spread, 1 + spread, count)
            rows[column.name] = _LEVELS.get(column.name, 0.0) * noise
        elif column.kind is Kind.COUNTER:
            rows[column.name] = generator.integers(0, 2**40, count)
        else:
            rows[column.name] = 0 if column.kind is Kind.FLAGS else MISSING_STATE
    rates = {
        name: np.full(count, rate, dtype=np.uint64)
        for name, rate in _RATES.items()
        if name in schema.by_name
    }
    if schema is GPU:
        rows["dram_util_ratio"][generator.random(count) < BOUND] = 0.9
        hot = generator.random(count) < TROUBLED
        rates["throttle_thermal_ns"] = (hot * 200_000_000).astype(np.uint64)
    if "link_up" in schema.by_name:
        rows["link_up"], rows["link_layer"] = 1, 3
    noisy = tuple(n for n in schema.of_kind(Kind.GAUGE) if n in _LEVELS and n not in _FIXED)
    return Family(schema=schema, rows=rows, rates=rates, noisy=noisy)


class Fleet:
    """Every family of `gpus` GPUs (a multiple of 8), one second after the other."""

    def __init__(self, gpus: int, families: tuple[Schema, ...] = SCHEMAS, seed: int = 7) -> None:
        self.nodes = gpus // PER_NODE["gpu"]
        self.families = {s.family: family(s, self.nodes, seed) for s in families}
        self._generator = np.random.default_rng(seed)
        first = next(iter(self.families.values()))
        self.node_ids = first.rows["node"][:: len(first.rows) // self.nodes].copy()

    def advance(self) -> None:
        """Go one second on."""
        for one in self.families.values():
            one.advance(self._generator)

    def frames(self, name: str) -> list[bytes]:
        """The frames of one family this second, one a node."""
        one = self.families[name]
        whole = one.rows.tobytes()
        size = PER_NODE[name] * one.schema.dtype.itemsize
        return [whole[at : at + size] for at in range(0, len(whole), size)]


def samples_per_node(families: Mapping[str, Family]) -> int:
    """Metric values that one node sends a second."""
    return sum(len(f.schema.columns) * PER_NODE[name] for name, f in families.items())

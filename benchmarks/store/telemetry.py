"""Realistic GPU telemetry for the store's benchmarks: the simulator as sensors would report it.

The simulator's values hang together (load, power, heat, clocks, throttling); but the eight GPUs of
a node do exactly the same and its temperatures have decimals. Here each GPU gets noise of its own
and every value the steps of its sensor, so that compression is not flattered.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from collectors.simulator import scenario
from collectors.simulator.cluster import Simulator
from ridgeline.frames import encode, headers_of
from ridgeline.schema import EXACT, GPU, Schema
from streams.batches import Batch, Message, decoded
from streams.timeline import Clock, Timeline, Window

START_MS = 1_900_000_800_000 // 7_200_000 * 7_200_000  # whole blocks of Prometheus, past any TTL
NOISE = 0.02  # of a GPU's activity from one second to the next (assumed)
_NOISY = (
    "graphics_util_ratio",
    "sm_occupancy_ratio",
    "fp32_util_ratio",
    "fp16_util_ratio",
    "memory_util_ratio",
    "power_watts",
    "pcie_tx_bytes_per_second",
    "pcie_rx_bytes_per_second",
    "nvlink_tx_bytes_per_second",
    "nvlink_rx_bytes_per_second",
)
# steps of NVML: integer degrees and percent, milliwatts, 15 MHz, MiB
_STEPS = {
    "temperature_celsius": 1.0,
    "memory_temperature_celsius": 1.0,
    "tlimit_margin_celsius": 1.0,
    "gpu_util_ratio": 0.01,
    "memory_util_ratio": 0.01,
    "power_watts": 0.001,
    "sm_clock_mhz": 15.0,
    "memory_used_bytes": 2.0**20,
}


def seconds(devices: int, count: int, seed: int = 7) -> Iterator[np.ndarray]:
    """One array of GPU rows for each of `count` seconds, of `devices` GPUs of all pools."""
    rng = np.random.default_rng(seed)
    simulator = Simulator(scenario.load("demo"))
    every = simulator.gpus.count // devices
    for second in range(count):
        now_ms = START_MS + 1000 * second
        (rows,) = (r for s, r in simulator.collect(now_ms).frames if s is GPU)
        yield sensed(rows[::every][:devices].copy(), rng)


def sensed(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The rows as the sensors of separate GPUs report them; up to 3 ms of jitter in time."""
    rows["ts"] += rng.integers(0, 4, len(rows))
    for name in _NOISY:
        rows[name] *= 1 + NOISE * rng.standard_normal(len(rows))
    for name, step in _STEPS.items():
        rows[name] = np.round(rows[name] / step) * step
    return rows


def exact(schema: Schema) -> Schema:
    """The schema without resolutions: windows of it are rounded to 32-bit floats only."""
    columns = tuple(dataclasses.replace(c, resolution=EXACT) for c in schema.columns)
    return dataclasses.replace(schema, columns=columns)


def windows(schema: Schema, rows: list[np.ndarray]) -> np.ndarray:
    """The base windows of consecutive seconds that the stream processor closes."""
    timeline, out = Timeline(schema, Clock()), []
    for offset, second in enumerate(rows):
        message = Message(offset, headers_of(schema), None, encode(second, schema))
        batch = Batch(topic=schema.topic, partition=0, messages=[message])
        timeline.add(decoded(batch, schema), offset, batch.clocks_ms(int(second["ts"].max())))
        out += [e.rows for e in timeline.advance() if isinstance(e, Window)]
    return np.concatenate(out)

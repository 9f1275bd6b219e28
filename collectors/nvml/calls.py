"""Readings that have an NVML function of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from collectors.nvml.asking import Asking
from collectors.nvml.fields import is_blank_32

_SENSOR_GPU = 0
_CLOCK_SM = 1
_CLOCK_MEMORY = 2
_MEMORY_V2 = 0x02000028  # nvmlMemory_v2: 40 bytes, version 2
_PSTATE_UNKNOWN = 32

Put = Callable[[np.void, Any], None]


@dataclass(frozen=True, slots=True)
class Reading:
    """How one answer becomes columns; a way is a function with its arguments, newest first."""

    ways: tuple[tuple[Any, ...], ...]
    put: Put


def _to(column: str) -> Put:
    def put(row: np.void, number: int) -> None:
        if not is_blank_32(number):
            row[column] = number

    return put


def _utilisation(row: np.void, rates: Any) -> None:
    row["gpu_util_ratio"] = rates.gpu / 100
    row["memory_util_ratio"] = rates.memory / 100


def _memory(row: np.void, memory: Any) -> None:
    row["memory_used_bytes"] = memory.used
    row["memory_total_bytes"] = memory.total


def _reasons(row: np.void, bits: int) -> None:
    if bits < 2**32 - 1:
        row["clock_event_reasons"] = bits


def _pstate(row: np.void, pstate: int) -> None:
    if pstate != _PSTATE_UNKNOWN:
        row["pstate"] = pstate


READINGS: tuple[Reading, ...] = (
    Reading(
        (("nvmlDeviceGetTemperatureV", _SENSOR_GPU), ("nvmlDeviceGetTemperature", _SENSOR_GPU)),
        _to("temperature_celsius"),
    ),
    Reading((("nvmlDeviceGetMarginTemperature",),), _to("tlimit_margin_celsius")),
    Reading((("nvmlDeviceGetClockInfo", _CLOCK_SM),), _to("sm_clock_mhz")),
    Reading((("nvmlDeviceGetMaxClockInfo", _CLOCK_SM),), _to("sm_clock_max_mhz")),
    Reading((("nvmlDeviceGetClockInfo", _CLOCK_MEMORY),), _to("memory_clock_mhz")),
    Reading((("nvmlDeviceGetUtilizationRates",),), _utilisation),
    # Version 1 counts the driver's reserve as used; it is for drivers without version 2.
    Reading((("nvmlDeviceGetMemoryInfo", _MEMORY_V2), ("nvmlDeviceGetMemoryInfo",)), _memory),
    Reading(
        (
            ("nvmlDeviceGetCurrentClocksEventReasons",),
            ("nvmlDeviceGetCurrentClocksThrottleReasons",),
        ),
        _reasons,
    ),
    Reading((("nvmlDeviceGetPerformanceState",),), _pstate),
)


def fill(row: np.void, asking: Asking, now_ms: int) -> None:
    """Write the columns; one that is not given stays missing."""
    for reading in READINGS:
        for way in reading.ways:
            answer = asking.ask(now_ms, *way)
            if answer is not None:
                reading.put(row, answer)
                break

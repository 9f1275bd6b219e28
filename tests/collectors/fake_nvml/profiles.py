"""State of fake GPUs at work, by model, and the rows that must come of it.

Names, limits, clocks, memory sizes and thresholds: NVIDIA/k8s-test-infra@3b2b865d, mock-nvml
(H100, A100, B200), Apache-2.0. T.Limit slowdown offsets (-2 H100, -3 B200, none on A100):
NVIDIA/NVSentinel, docs/designs/042. Loads and counters are made up.
"""

from __future__ import annotations

import math

from ridgeline.schema import MISSING_COUNTER, MISSING_STATE

State = dict[str, object]
Row = dict[str, float]

NVLINK_PORTS = 2  # of the board's 12 or 18: enough to see the sum
UINT, ULONG, ULL, SINT, DOUBLE = 1, 2, 3, 5, 0  # nvmlValueType_t


def h100() -> State:
    """An H100 SXM at work: GPM, T.Limit, NVLink 4."""
    return {
        "name": "NVIDIA H100 80GB HBM3",
        "serial": "1562821083900",
        "vbios": "96.00.74.00.09",
        "pci": "00000000:1B:00.0",
        "default_limit_mw": 700_000,
        "temperature": 61,
        "margin": 26,
        "sm_clock": 1755,
        "sm_clock_max": 1980,
        "memory_clock": 1593,
        "gpu_util": 97,
        "memory_util": 44,
        "memory_total": 85_899_345_920,
        "memory_reserved": 1_073_741_824,
        "memory_used": 64_424_509_440,
        "reasons": 0x4,
        "pstate": 0,
        **_common_fields(),
        "field.185": f"{UINT}:590000",  # the average, worse than the instant
        "field.186": f"{UINT}:612500",
        "field.190": f"{UINT}:700000",
        "field.194": f"{SINT}:-2",
        "field.91": f"{UINT}:{NVLINK_PORTS}",
        **_per_link({161: 3, 162: 1, 163: 7}),
        "gpm": 1,
        **{f"gpm.{i}": v for i, v in _GPM.items()},
    }


def h100_row() -> Row:
    """The columns of `h100` from the second poll on."""
    return {
        "graphics_util_ratio": 0.985,
        "sm_util_ratio": 0.91,
        "sm_occupancy_ratio": 0.375,
        "tensor_util_ratio": 0.42,
        "dram_util_ratio": 0.66,
        "fp32_util_ratio": 0.05,
        "fp16_util_ratio": 0.025,
        "gpu_util_ratio": 0.97,
        "memory_util_ratio": 0.44,
        "power_watts": 612.5,
        "power_limit_watts": 700,
        "temperature_celsius": 61,
        "memory_temperature_celsius": 74,
        "tlimit_margin_celsius": 26,
        "slowdown_margin_celsius": -2,
        "sm_clock_mhz": 1755,
        "sm_clock_max_mhz": 1980,
        "memory_clock_mhz": 1593,
        "memory_used_bytes": 64_424_509_440,
        "memory_total_bytes": 85_899_345_920,
        "pcie_tx_bytes_per_second": 1024 * 1_048_576,
        "pcie_rx_bytes_per_second": 512 * 1_048_576,
        "nvlink_tx_bytes_per_second": 200_000 * 1_048_576,
        "nvlink_rx_bytes_per_second": 190_000 * 1_048_576,
        "energy_mj": 6_000_000_000_000,
        "throttle_power_ns": 9_000_000_000,
        "throttle_thermal_ns": 5_000_000,
        "throttle_sw_thermal_ns": 4_000_000,
        "throttle_hw_thermal_ns": 1_000_000,
        "throttle_power_brake_ns": 20,
        "ecc_corrected": 12,
        "ecc_uncorrected": 1,
        "remapped_rows": 2,
        "pcie_replays": 5,
        "nvlink_errors": (3 + 1 + 7) + (4 + 2 + 8),
        "xid_events": 0,
        "clock_event_reasons": 0x4,
        "last_xid": MISSING_STATE,
        "pstate": 0,
    }


def a100() -> State:
    """An A100 SXM: no GPM, no T.Limit, no instant power, NVLink totals by the old ids."""
    gone = ("margin", "gpm", "field.186", "field.190", "field.194", "field.269", "field.270")
    state = {k: v for k, v in h100().items() if k not in gone and not _hopper_only(k)}
    return state | {
        "name": "NVIDIA A100-SXM4-40GB",
        "default_limit_mw": 400_000,
        "sm_clock_max": 1410,
        "memory_total": 42_949_672_960,
        "memory_used": 21_474_836_480,
        "gpm": 0,
        "field.185": f"{UINT}:371000",
        "field.38": f"{ULL}:6",
        "field.45": f"{ULL}:4",
        "field.52": f"{ULL}:2",
        "field.59": f"{ULL}:1",
    }


def a100_row() -> Row:
    """The columns of `a100`."""
    nan = math.nan
    without = {name: nan for name in h100_row() if name in _GPM_COLUMNS}
    return (
        h100_row()
        | without
        | {
            "power_watts": 371,
            "power_limit_watts": nan,
            "tlimit_margin_celsius": nan,
            "slowdown_margin_celsius": nan,
            "sm_clock_max_mhz": 1410,
            "memory_used_bytes": 21_474_836_480,
            "memory_total_bytes": 42_949_672_960,
            "throttle_sw_thermal_ns": MISSING_COUNTER,
            "throttle_hw_thermal_ns": MISSING_COUNTER,
            "nvlink_errors": 13,
        }
    )


def b200() -> State:
    """A B200: NVLink 5, whose error ids replaced 161 to 163."""
    state = {k: v for k, v in h100().items() if not k.startswith(("field.16", "gpm."))}
    return (
        state
        | {f"gpm.{i}": v for i, v in _GPM.items()}
        | {
            "name": "NVIDIA B200",
            "default_limit_mw": 1_000_000,
            "sm_clock_max": 2100,
            "memory_total": 206_158_430_208,
            "field.190": f"{UINT}:1000000",
            "field.194": f"{SINT}:-3",
            **_per_link({208: 10, 211: 20, 215: 30}),
        }
    )


def b200_row() -> Row:
    """The columns of `b200` from the second poll on."""
    return h100_row() | {
        "power_limit_watts": 1000,
        "slowdown_margin_celsius": -3,
        "sm_clock_max_mhz": 2100,
        "memory_total_bytes": 206_158_430_208,
        "nvlink_errors": (10 + 20 + 30) + (11 + 21 + 31),
    }


_GPM = {
    1: 98.5,
    2: 91.0,
    3: 37.5,
    5: 42.0,
    10: 66.0,
    12: 5.0,
    13: 2.5,
    20: 1024,
    21: 512,
    60: 190_000,
    61: 200_000,
}
_GPM_COLUMNS = frozenset(list(h100_row())[:7]) | {
    name for name in h100_row() if name.startswith(("pcie_tx", "pcie_rx", "nvlink_tx", "nvlink_rx"))
}


def _common_fields() -> State:
    return {
        "field.82": f"{UINT}:74",
        "field.83": f"{ULL}:6000000000000",
        "field.74": f"{ULL}:9000000000",
        "field.75": f"{ULL}:5000000",
        "field.269": f"{ULL}:4000000",
        "field.270": f"{ULL}:1000000",
        "field.271": f"{ULL}:20",
        "field.3": f"{ULONG}:12",
        "field.4": f"{ULONG}:1",
        "field.143": f"{UINT}:2",
        "field.94": f"{UINT}:5",
    }


def _per_link(first: dict[int, int]) -> State:
    """Readings of each port: port 0 as given, each further one more by one."""
    out: State = {}
    for number, value in first.items():
        for port in range(NVLINK_PORTS):
            suffix = f".{port}" if port else ""
            out[f"field.{number}{suffix}"] = f"{ULL}:{value + port}"
    return out


def _hopper_only(key: str) -> bool:
    return key.startswith(("gpm.", "field.161", "field.162", "field.163"))

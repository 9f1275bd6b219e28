"""GPUs: power follows work and clock, temperature follows power and coolant, clocks obey both.

Figures are for an H100 SXM: 700 W limit and 1,980 MHz from its data sheet; about 75 W idle, close
to 700 W in prefill and 380 to 450 W in decode from Splitwise (ISCA 2024, section 3.5). The thermal
resistance is chosen so that full load at a coolant of 32 degC ends near 63 degC (assumed).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collectors.simulator.roofline import HBM_BYTES
from collectors.simulator.workload import Bools, Floats
from ridgeline.schema import GPU, MISSING_STATE, Kind

IDLE_WATTS = 75.0
LIMIT_WATTS = 700.0
SM_WATTS, DRAM_WATTS, TENSOR_WATTS = 90.0, 230.0, 630.0
CLOCK_EXPONENT = 2.5  # power over clock: voltage falls with it
MAX_CLOCK_MHZ, IDLE_CLOCK_MHZ, MEMORY_CLOCK_MHZ = 1980.0, 345.0, 2619.0
LOWEST_CLOCK_RATIO = 0.3
SHUTDOWN_CELSIUS = 87.0  # where the margin (T.Limit) is 0
SLOWDOWN_MARGIN = -2.0  # hardware slows down here; software at 0
RESISTANCE_K_PER_W = 0.045  # coolant to core at nominal flow
FLOW_EXPONENT = -0.8  # convection
CORE_SECONDS = 8.0
CLOCK_PER_KELVIN = 0.06  # how strongly heat holds clocks down
REASON_IDLE, REASON_POWER, REASON_SW_THERMAL, REASON_HW_THERMAL = 0x1, 0x4, 0x20, 0x40
REASON_POWER_BRAKE = 0x80
CORRECTED_PER_SECOND = 2e-6  # a handful a day in the whole fleet (assumed)


@dataclass(slots=True)
class Load:
    """What every GPU does and the conditions it does it in (arrays over GPUs)."""

    duty: Floats  # share of the time there is work; the ratios below are over all time
    sm: Floats
    tensor: Floats
    dram: Floats
    nvlink_bytes_per_second: Floats
    pcie_tx_bytes_per_second: Floats
    pcie_rx_bytes_per_second: Floats
    memory_used_ratio: Floats
    coolant_celsius: Floats
    flow_ratio: Floats
    limit_watts: Floats
    brake: Bools


class Gpus:
    """All GPUs of the cluster."""

    def __init__(self, count: int, rng: np.random.Generator) -> None:
        self.count, self._rng = count, rng
        self.clock: Floats = np.ones(count)
        self.power: Floats = np.full(count, IDLE_WATTS)
        self.temperature: Floats = np.full(count, 36.0)
        self.totals: dict[str, Floats] = {n: np.zeros(count) for n in GPU.of_kind(Kind.COUNTER)}
        self.last_xid = np.full(count, MISSING_STATE, dtype=np.uint32)
        self._thermal_clock: Floats = np.ones(count)
        self._resistance: Floats = RESISTANCE_K_PER_W * rng.normal(1.0, 0.03, count)
        self._silicon: Floats = rng.normal(1.0, 0.015, count)
        self._sums: dict[str, Floats] = {}
        self._seconds = 0.0
        self._reasons = np.zeros(count, dtype=np.uint32)

    def step(self, seconds: float, load: Load) -> None:
        """Advance by `seconds`; `clock` holds for the work of the next step."""
        dynamic = self._silicon * (
            SM_WATTS * load.sm + DRAM_WATTS * load.dram + TENSOR_WATTS * load.tensor
        )
        self._follow_heat()
        room = np.maximum(load.limit_watts - IDLE_WATTS, 1.0)
        peak = np.maximum(dynamic / np.maximum(load.duty, 0.05), 1.0)  # while it works
        power_clock = np.minimum(1.0, (room / peak) ** (1 / CLOCK_EXPONENT))
        power_clock = np.maximum(power_clock, LOWEST_CLOCK_RATIO)
        self.clock = np.minimum(self._thermal_clock, power_clock)
        self.power = IDLE_WATTS + dynamic * self.clock**CLOCK_EXPONENT
        self._heat(seconds, load)
        self._count(seconds, load, power_clock)
        self._observe(seconds, load)

    def xid(self, gpu: int, code: int) -> None:
        """An XID error strikes one GPU."""
        self.totals["xid_events"][gpu] += 1
        self.totals["ecc_uncorrected"][gpu] += code in (48, 94, 95)
        self.totals["remapped_rows"][gpu] += code in (63, 94)
        self.last_xid[gpu] = code

    def fill(self, rows: np.ndarray) -> None:
        """Write averages since the last call, states and counters into GPU rows."""
        for name, total in self._sums.items():
            rows[name] = total / max(self._seconds, 1e-9)
        rows["temperature_celsius"] = self.temperature
        rows["memory_temperature_celsius"] = self.temperature + 6.0 + self.power / 100.0
        rows["tlimit_margin_celsius"] = SHUTDOWN_CELSIUS - self.temperature
        rows["slowdown_margin_celsius"] = SLOWDOWN_MARGIN
        rows["sm_clock_max_mhz"], rows["memory_clock_mhz"] = MAX_CLOCK_MHZ, MEMORY_CLOCK_MHZ
        rows["memory_total_bytes"] = HBM_BYTES
        for name, total in self.totals.items():
            rows[name] = total.astype(np.uint64)
        rows["clock_event_reasons"] = self._reasons
        rows["last_xid"], rows["pstate"] = self.last_xid, 0
        self._sums, self._seconds = {}, 0.0
        self._reasons = np.zeros(self.count, dtype=np.uint32)

    def _follow_heat(self) -> None:
        """Hold clocks down in proportion to how far the margin is gone."""
        margin = SHUTDOWN_CELSIUS - self.temperature
        want = np.clip(1.0 + CLOCK_PER_KELVIN * margin, LOWEST_CLOCK_RATIO, 1.0)
        self._thermal_clock = self._thermal_clock + 0.5 * (want - self._thermal_clock)
        self._thermal_clock[(want == 1.0) & (self._thermal_clock > 0.995)] = 1.0

    def _heat(self, seconds: float, load: Load) -> None:
        resistance = self._resistance * np.maximum(load.flow_ratio, 0.05) ** FLOW_EXPONENT
        goal = load.coolant_celsius + resistance * self.power
        self.temperature += (1.0 - np.exp(-seconds / CORE_SECONDS)) * (goal - self.temperature)

    def _count(self, seconds: float, load: Load, power_clock: Floats) -> None:
        capped = (power_clock < 0.999) & (power_clock <= self._thermal_clock)
        hot = self._thermal_clock < 0.999
        very_hot = hot & (SHUTDOWN_CELSIUS - self.temperature <= SLOWDOWN_MARGIN)
        braked = capped & load.brake
        idle = load.sm < 0.01
        span = seconds * 1e9
        totals = self.totals
        totals["energy_mj"] += self.power * seconds * 1e3
        totals["throttle_power_ns"] += capped * load.duty * span
        totals["throttle_power_brake_ns"] += braked * load.duty * span
        totals["throttle_thermal_ns"] += hot * span
        totals["throttle_sw_thermal_ns"] += (hot & ~very_hot) * span
        totals["throttle_hw_thermal_ns"] += very_hot * span
        totals["ecc_corrected"] += self._rng.poisson(CORRECTED_PER_SECOND * seconds, self.count)
        for mask, bit in (
            (idle, REASON_IDLE),
            (capped & ~braked, REASON_POWER),
            (hot & ~very_hot, REASON_SW_THERMAL),
            (very_hot, REASON_HW_THERMAL),
            (braked, REASON_POWER_BRAKE),
        ):
            self._reasons |= np.where(mask, bit, 0).astype(np.uint32)

    def _observe(self, seconds: float, load: Load) -> None:
        busy = np.minimum(1.0, load.sm * 1.05)
        clock = np.where(load.sm < 0.01, IDLE_CLOCK_MHZ, MAX_CLOCK_MHZ * self.clock)
        noise = 1.0 + 0.01 * self._rng.standard_normal(self.count)
        for name, value in (
            ("graphics_util_ratio", busy),
            ("sm_util_ratio", np.minimum(1.0, load.sm * noise)),
            ("sm_occupancy_ratio", 0.15 * load.sm + 0.2 * load.dram),
            ("tensor_util_ratio", np.minimum(1.0, load.tensor * noise)),
            ("dram_util_ratio", np.minimum(0.95, load.dram * noise)),
            ("fp32_util_ratio", 0.04 * load.sm),
            ("fp16_util_ratio", 0.02 * load.sm),
            ("gpu_util_ratio", (load.sm > 0.01).astype(np.float64)),
            ("memory_util_ratio", np.minimum(1.0, 1.1 * load.dram)),
            ("power_watts", self.power),
            ("power_limit_watts", load.limit_watts),
            ("sm_clock_mhz", clock),
            ("memory_used_bytes", load.memory_used_ratio * HBM_BYTES),
            ("pcie_tx_bytes_per_second", load.pcie_tx_bytes_per_second),
            ("pcie_rx_bytes_per_second", load.pcie_rx_bytes_per_second),
            ("nvlink_tx_bytes_per_second", load.nvlink_bytes_per_second),
            ("nvlink_rx_bytes_per_second", load.nvlink_bytes_per_second),
        ):
            self._sums[name] = self._sums.get(name, 0.0) + value * seconds
        self._seconds += seconds

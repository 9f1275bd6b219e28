"""Heat, lost work, and the cheapest thing that would help."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from advisor.catalog.cooling import TECHNOLOGIES, Technology

VERSION = "cooling/1"
WATER_KG_PER_LITER = 0.998  # 20 degC
WATER_J_PER_KG_K = 4182.0


def heat_watts(
    flow_liters_per_minute: float,
    delta_kelvin: float,
    density_kg_per_liter: float = WATER_KG_PER_LITER,
    heat_capacity_j_per_kg_k: float = WATER_J_PER_KG_K,
) -> float:
    """`rho*cp*Q*dT`. DMTF's Redfish mock: 24.3 L/min at 23.4 K is 39.6 kW."""
    kg_per_second = flow_liters_per_minute / 60 * density_kg_per_liter
    return kg_per_second * heat_capacity_j_per_kg_k * delta_kelvin


def flow_liters_per_minute_for(heat_w: float, delta_kelvin: float) -> float:
    """Water flow that carries `heat_w` away at `delta_kelvin`."""
    return heat_w / (WATER_J_PER_KG_K * delta_kelvin) * 60 / WATER_KG_PER_LITER


def lost_work_ratio(
    throttled_ratio: float, clock_ratio: float | None
) -> tuple[float, float, float]:
    """Low, likely and high share of work lost to throttling.

    High: all of the throttled time. Likely: the clock that was missing. Low: a third of it, since
    decode hardly notices a lower clock (Splitwise: 700 to 350 W, almost no change in the token
    phase, while the prompt phase slows).
    """
    high = min(1.0, max(0.0, throttled_ratio))
    missing = high / 2 if clock_ratio is None else min(high, max(0.0, 1 - clock_ratio))
    return missing / 3, missing, high


class Remedy(StrEnum):
    """What helps, cheapest first."""

    FLOW = "raise the coolant flow"
    SETPOINT = "lower the supply set point"
    AIRFLOW = "raise the fan speed, look for blocked air paths"
    POWER_CAP = "cap the power of the decode GPUs"
    RETROFIT = "change the cooling technology"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """What the choice of a remedy looks at; None is unknown and never counts as a fault."""

    supply_celsius: float | None = None
    normal_supply_celsius: float | None = None
    flow_liters_per_minute: float | None = None
    normal_flow_liters_per_minute: float | None = None
    fan_speed_ratio: float | None = None
    rack_kw: float | None = None
    technology: Technology | None = None


FLOW_LOW_RATIO = 0.85
SUPPLY_HOT_KELVIN = 3.0
FAN_HEADROOM_RATIO = 0.9


def remedies(loop: Loop, *, throttling: bool) -> tuple[Remedy, ...]:
    """What would help here, cheapest first; empty when nothing throttles.

    A retrofit is named only where throttling was seen *and* the rack is past what its technology
    carries: healthy GPUs are no faster on liquid (MLPerf Inference v5.1, 8x B200: median liquid to
    air 1.003 on llama2-70b, 1.005 on 405B, 0.96 on DeepSeek-R1).
    """
    if not throttling:
        return ()
    found = []
    if _below(loop.flow_liters_per_minute, loop.normal_flow_liters_per_minute, FLOW_LOW_RATIO):
        found.append(Remedy.FLOW)
    if _hotter(loop.supply_celsius, loop.normal_supply_celsius):
        found.append(Remedy.SETPOINT)
    if loop.fan_speed_ratio is not None and loop.fan_speed_ratio < FAN_HEADROOM_RATIO:
        found.append(Remedy.AIRFLOW)
    found.append(Remedy.POWER_CAP)
    if over_density(loop.rack_kw, loop.technology):
        found.append(Remedy.RETROFIT)
    return tuple(found)


def _below(value: float | None, normal: float | None, ratio: float) -> bool:
    return value is not None and normal is not None and value < ratio * normal


def _hotter(value: float | None, normal: float | None) -> bool:
    return value is not None and normal is not None and value > normal + SUPPLY_HOT_KELVIN


def over_density(rack_kw: float | None, technology: Technology | None) -> bool:
    """Whether a rack gives off more than its technology carries; unknown is no."""
    return rack_kw is not None and technology is not None and rack_kw > technology.high_kw_per_rack


def technology_for(rack_kw: float) -> Technology:
    """The least technology that carries `rack_kw`; the strongest when none does."""
    return next((t for t in TECHNOLOGIES if rack_kw <= t.high_kw_per_rack), TECHNOLOGIES[-1])

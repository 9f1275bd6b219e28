"""Heat, lost work, its cause, the cheapest thing that would help, and what a retrofit takes.

Watts, kelvin, litres per minute in the names. What was not measured is None, never a fault.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from advisor.catalog.cooling import TECHNOLOGIES, Technology
from advisor.catalog.files import Source
from advisor.models.interval import Interval, exactly, of
from advisor.models.power import Phase

VERSION = "cooling/3"
WATER_KG_PER_LITER = 0.998  # 20 degC
WATER_J_PER_KG_K = 4182.0


def heat_watts(
    flow_liters_per_minute: float | None,
    delta_kelvin: float | None,
    density_kg_per_liter: float = WATER_KG_PER_LITER,
    heat_capacity_j_per_kg_k: float = WATER_J_PER_KG_K,
) -> float | None:
    """`rho*cp*Q*dT`; None without both readings, for negative flow, and for a colder return.

    DMTF's Redfish mock: 24.3 L/min at 23.4 K is 39.6 kW.
    """
    flow, delta = flow_liters_per_minute, delta_kelvin
    if flow is None or delta is None or not (flow >= 0 <= delta and math.isfinite(flow * delta)):
        return None
    kg_per_second = flow / 60 * density_kg_per_liter
    return kg_per_second * heat_capacity_j_per_kg_k * delta


def flow_liters_per_minute_for(heat_w: float, delta_kelvin: float) -> float | None:
    """Water flow that carries `heat_w` away at `delta_kelvin`; None when no flow would."""
    if not (heat_w >= 0 and delta_kelvin > 0 and math.isfinite(heat_w / delta_kelvin)):
        return None
    return heat_w / (WATER_J_PER_KG_K * delta_kelvin) * 60 / WATER_KG_PER_LITER


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


# Work lost for each part of the clock that is missing. Prefill is compute: all of it (MLPerf v4.1
# gptj, 0.61 to 0.65 of throughput at 450 of 700 W). Decode hardly notices (Splitwise: 700 to 350 W,
# almost no change in the token phase).
CLOCK_SENSITIVITY: dict[Phase | None, Interval] = {
    Phase.PREFILL: Interval(low=0.8, mid=1.0, high=1.0),
    Phase.TRAINING: Interval(low=0.8, mid=1.0, high=1.0),
    Phase.DECODE: Interval(low=0.0, mid=0.1, high=0.5),
    Phase.MIXED: Interval(low=1 / 3, mid=0.6, high=1.0),
    None: Interval(low=1 / 3, mid=1.0, high=1.0),  # phase unknown
}


def lost_work_ratio(
    throttled_ratio: float, clock_ratio: float | None, phase: Phase | None = None
) -> tuple[float, float, float]:
    """Low, likely and high share of work lost to throttling.

    The clock that was missing while throttled (half of the throttled time when unknown) times the
    phase's sensitivity. High, for an unknown phase or clock: all of the throttled time.
    """
    throttled = min(1.0, max(0.0, throttled_ratio)) if math.isfinite(throttled_ratio) else 0.0
    missing = throttled / 2 if clock_ratio is None else min(throttled, max(0.0, 1 - clock_ratio))
    felt = CLOCK_SENSITIVITY.get(phase, CLOCK_SENSITIVITY[None]).scaled(missing)
    if phase is None:
        return felt.low, felt.mid, throttled
    return felt.low, felt.mid, max(felt.mid, throttled if clock_ratio is None else felt.high)


class Cause(StrEnum):
    """Why heat holds clocks down."""

    FLOW = "coolant flow is low"
    SUPPLY = "coolant supply is warm"
    INLET = "inlet air is warm"
    FANS = "fans have room to run faster"
    DENSITY = "the rack gives off more than its cooling technology carries"
    UNKNOWN = "nothing that is measured explains it"


class Remedy(StrEnum):
    """What helps, cheapest first."""

    FLOW = "raise the coolant flow"
    SETPOINT = "lower the supply set point"
    AIRFLOW = "raise the fan speed, look for blocked air paths"
    POWER_CAP = "cap the power of the decode GPUs"
    RETROFIT = "change the cooling technology"
    MEASURE = "measure flow, supply and fans: nothing that is known explains it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """What the choice of a remedy looks at; None is unknown and never counts as a fault."""

    supply_celsius: float | None = None
    normal_supply_celsius: float | None = None
    flow_liters_per_minute: float | None = None
    normal_flow_liters_per_minute: float | None = None
    fan_speed_ratio: float | None = None
    inlet_celsius: float | None = None
    rack_kw: float | None = None
    technology: Technology | None = None


FLOW_LOW_RATIO = 0.85
SUPPLY_HOT_KELVIN = 3.0
FAN_HEADROOM_RATIO = 0.9
INLET_HOT_CELSIUS = 27.0  # upper end of ASHRAE's recommended 18 to 27 degC


def causes(loop: Loop) -> tuple[Cause, ...]:
    """What measurements say heats the GPUs; UNKNOWN when none of them does."""
    tests = (
        (
            Cause.FLOW,
            _below(loop.flow_liters_per_minute, loop.normal_flow_liters_per_minute, FLOW_LOW_RATIO),
        ),
        (Cause.SUPPLY, _hotter(loop.supply_celsius, loop.normal_supply_celsius)),
        (Cause.INLET, _known(loop.inlet_celsius) and (loop.inlet_celsius or 0) > INLET_HOT_CELSIUS),
        (
            Cause.FANS,
            _known(loop.fan_speed_ratio) and (loop.fan_speed_ratio or 0) < FAN_HEADROOM_RATIO,
        ),
        (Cause.DENSITY, over_density(loop.rack_kw, loop.technology)),
    )
    return tuple(cause for cause, found in tests if found) or (Cause.UNKNOWN,)


_COMPUTE = frozenset({Phase.PREFILL, Phase.TRAINING})  # a cap costs them what heat does


def remedies(loop: Loop, *, throttling: bool, phase: Phase | None = None) -> tuple[Remedy, ...]:
    """What would help here, cheapest first; empty when nothing throttles.

    A power cap is for pools that decode, or may: prefill and training lose 0.35 of their work at
    450 of 700 W (MLPerf v4.1 MaxQ), more than most heat takes.

    A retrofit is named only where throttling was seen *and* the rack is past what its technology
    carries: healthy GPUs are no faster on liquid (MLPerf Inference v5.1, 8x B200: median liquid to
    air 1.003 on llama2-70b, 1.005 on 405B, 0.96 on DeepSeek-R1).
    """
    if not throttling:
        return ()
    found = set(causes(loop))
    named = (
        (Remedy.FLOW, Cause.FLOW in found),
        (Remedy.SETPOINT, bool({Cause.SUPPLY, Cause.INLET} & found)),
        (Remedy.AIRFLOW, Cause.FANS in found),
        (Remedy.POWER_CAP, phase not in _COMPUTE),
        (Remedy.RETROFIT, Cause.DENSITY in found),
    )
    return tuple(remedy for remedy, helps in named if helps) or (Remedy.MEASURE,)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrofit:
    """One technology for racks of a given heat: what it takes and what it leaves."""

    technology: Technology
    lead_time_months: tuple[float, float]
    air_kw: tuple[float, float]  # a rack's heat that air must still carry
    flow_liters_per_minute: float | None  # water of one rack at a rise of 10 K; None for air
    coolant_celsius: float | None  # at the rack, with the facility water there is
    water_warm_enough: bool | None  # None: no facility water known
    capex_usd: Interval | None  # for all racks; None without a quote where nobody citable names one
    priced_by: Source | None  # None: a quote, or no price


WATER_RISE_KELVIN = 10.0


def retrofits(
    rack_kw: float,
    racks: int,
    facility_water_celsius: float | None = None,
    usd_per_kw: Interval | None = None,
) -> tuple[Retrofit, ...]:
    """Technologies that carry `rack_kw`, least first; empty when none does or nothing is known.

    `usd_per_kw` is a quote; without one the catalogue's price counts where there is one.
    `water_warm_enough` False: the facility's water is warmer than the technology takes (W class),
    so that it needs colder water first.
    """
    if not (math.isfinite(rack_kw) and rack_kw > 0 and racks > 0):
        return ()
    return tuple(
        _retrofit(t, rack_kw, racks, facility_water_celsius, usd_per_kw)
        for t in TECHNOLOGIES
        if t.low_kw_per_rack <= rack_kw <= t.high_kw_per_rack
    )


def _retrofit(
    technology: Technology,
    rack_kw: float,
    racks: int,
    water_celsius: float | None,
    usd_per_kw: Interval | None,
) -> Retrofit:
    low, high = technology.air_ratio
    liquid_kw = rack_kw * (1 - low)
    suits = technology.max_supply_celsius
    approach = technology.approach_kelvin
    known = technology.usd_per_kw
    price = usd_per_kw or (of(*known) if known else None)
    return Retrofit(
        technology=technology,
        lead_time_months=technology.lead_time_months,
        air_kw=(rack_kw * low, rack_kw * high),
        flow_liters_per_minute=(
            flow_liters_per_minute_for(liquid_kw * 1000, WATER_RISE_KELVIN)
            if technology.liquid
            else None
        ),
        coolant_celsius=(
            None if water_celsius is None or approach is None else water_celsius + approach
        ),
        water_warm_enough=(
            None if water_celsius is None or suits is None else water_celsius <= suits
        ),
        capex_usd=None if price is None else price.scaled(rack_kw * racks),
        priced_by=technology.priced_by if usd_per_kw is None else None,
    )


def itue(fan_ratio: float) -> float | None:
    """IT power over the part of it that computes: fans inside servers are overhead, not IT."""
    return 1 / (1 - fan_ratio) if 0 <= fan_ratio < 1 else None


def tue(pue: float, fan_ratio: float) -> float | None:
    """Total usage effectiveness: all power over what computes, `PUE * ITUE` (Patterson 2013)."""
    inside = itue(fan_ratio)
    return None if inside is None or not pue >= 1 else pue * inside


# Server fans' share of IT power that liquid takes away: 100 % air to 75 % direct-to-chip cut total
# power by 10.2 % while PUE fell by only 3.3 % (Vertiv and NVIDIA, ASME paper): 0.898/0.967
FAN_RATIO = Interval(low=0.04, mid=1 - 0.898 / 0.967, high=0.15)


def power_saved_ratio(
    pue_before: float, pue_after: float, fan_ratio: Interval = FAN_RATIO
) -> Interval:
    """Share of total power a move to liquid saves for the same work; negative when it costs."""
    left = fan_ratio.mapped(lambda f: (1 - f) * pue_after / pue_before)
    return of(*(1 - v for v in (left.low, left.mid, left.high)))


def speed_gain_ratio(throttled_ratio: float | None, clock_ratio: float | None) -> Interval:
    """Speed that better cooling brings back: what heat took, and nothing where it took nothing."""
    if throttled_ratio is None or not throttled_ratio > 0:
        return exactly(0.0)
    return of(*lost_work_ratio(throttled_ratio, clock_ratio))

"""Clocks held down by heat or power, and coolant that will do it soon, with the cause by name.

The nanosecond counters see every short event, whatever the polling interval. Peers in the rack and
the CDU of the device's cooling loop say where the heat comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from streams.detectors.verdict import (
    Around,
    Condition,
    Detector,
    Devices,
    Level,
    Measure,
    Verdict,
    verdicts,
)
from streams.detectors.words import known, larger, or_zero, word
from streams.kernels import compiled, inlined

NAME = "thermal_limit"
THROTTLED = 0.05  # of the time
BADLY_THROTTLED, HARD_THROTTLED = 0.3, 0.01
BRAKED = 0.01
CAPPED = 0.2
NEAR_CELSIUS = 3.0  # above the margin at which slowdown starts
SUPPLY_RISE_CELSIUS, SUPPLY_BAD_RISE_CELSIUS = 4.0, 10.0  # above the loop's own baseline
SUPPLY_LIMIT_CELSIUS = 45.0  # ASHRAE W45, the warmest facility-water class before W+
FLOW_SHARE, FLOW_BAD_SHARE = 0.8, 0.5  # of the loop's own baseline
FALLING_LOAD = 1.1  # of the usual difference between return and supply, below it
PEERS_HOT = 0.5  # of the rack
POOL_SLOWED = 0.5  # of the pool
POOL_CLOCK_LOSS = 0.15
_INFO, _WARNING, _CRITICAL = int(Level.INFO), int(Level.WARNING), int(Level.CRITICAL)


class Gpus(NamedTuple):
    """Means and rates of the window, by slot."""

    temperature_celsius: np.ndarray
    tlimit_margin_celsius: np.ndarray
    slowdown_margin_celsius: np.ndarray
    power_watts: np.ndarray
    power_limit_watts: np.ndarray
    sm_clock_mhz: np.ndarray
    sm_clock_max_mhz: np.ndarray
    throttle_power_ns: np.ndarray
    throttle_thermal_ns: np.ndarray
    throttle_sw_thermal_ns: np.ndarray
    throttle_hw_thermal_ns: np.ndarray
    throttle_power_brake_ns: np.ndarray


class Beside(NamedTuple):
    """What else is known, by slot: shares of the rack and the pool, the cooling loop."""

    rack_peers_hot: np.ndarray
    pool_slowed: np.ndarray
    supply_celsius: np.ndarray
    supply_celsius_usual: np.ndarray
    flow_share: np.ndarray


class Numbers(NamedTuple):
    """Of one GPU."""

    throttled: float
    hw_throttled: float
    power_capped: float
    capped: float
    braked: float
    temperature_celsius: float
    margin: float
    clock: float
    power_watts: float
    power_limit_watts: float
    rack_peers_hot: float
    pool_slowed: float
    coolant_supply: float
    coolant_rise: float
    coolant_flow: float
    cause: int


@inlined
def heat_share(thermal: float, software: float, hardware: float) -> float:
    """Share of the time in which heat held the clocks down, of the counters' ns a second."""
    return larger(thermal, larger(software, hardware)) / 1e9


@inlined
def margin(tlimit: float, slowdown: float) -> float:
    """Degrees C to where slowdown starts."""
    return tlimit - or_zero(slowdown)


@inlined
def cause(peers: float, supply: float, rise: float, flow: float) -> int:
    """Number into `CAUSES`."""
    if rise >= SUPPLY_RISE_CELSIUS or supply >= SUPPLY_LIMIT_CELSIUS:
        return 1
    if flow <= FLOW_SHARE:
        return 2
    if peers >= PEERS_HOT:
        return 3
    return 4 if known(peers) else 0


@inlined
def numbers(now: Gpus, beside: Beside, i: int) -> Numbers:
    """Of the GPU in a slot."""
    peers, supply, flow = beside.rack_peers_hot[i], beside.supply_celsius[i], beside.flow_share[i]
    rise = supply - beside.supply_celsius_usual[i]
    capped = now.throttle_power_ns[i] / 1e9
    return Numbers(
        throttled=heat_share(
            now.throttle_thermal_ns[i], now.throttle_sw_thermal_ns[i], now.throttle_hw_thermal_ns[i]
        ),
        hw_throttled=now.throttle_hw_thermal_ns[i] / 1e9,
        power_capped=capped,
        capped=capped,
        braked=now.throttle_power_brake_ns[i] / 1e9,
        temperature_celsius=now.temperature_celsius[i],
        margin=margin(now.tlimit_margin_celsius[i], now.slowdown_margin_celsius[i]),
        clock=now.sm_clock_mhz[i] / now.sm_clock_max_mhz[i],
        power_watts=now.power_watts[i],
        power_limit_watts=now.power_limit_watts[i],
        rack_peers_hot=peers,
        pool_slowed=beside.pool_slowed[i],
        coolant_supply=supply,
        coolant_rise=rise,
        coolant_flow=flow,
        cause=cause(peers, supply, rise, flow),
    )


@compiled
def mark(now: Gpus, beside: Beside, marks: np.ndarray) -> None:
    """Which GPUs are hot, and of which it is known; which a power limit slows, and so on."""
    for i in range(marks.shape[1]):
        gpu = numbers(now, beside, i)
        marks[0, i] = gpu.throttled >= THROTTLED or gpu.margin <= NEAR_CELSIUS
        marks[1, i] = known(gpu.throttled) or known(gpu.margin)
        capped = gpu.capped >= CAPPED and not gpu.braked >= BRAKED
        marks[2, i] = capped and 1 - gpu.clock >= POOL_CLOCK_LOSS
        marks[3, i] = known(gpu.capped)


@compiled
def judge(now: Gpus, beside: Beside, said: np.ndarray) -> None:
    """Say something of every GPU, by condition in the order of `GPU_CONDITIONS`."""
    for i in range(said.shape[1]):
        gpu = numbers(now, beside, i)
        hot = gpu.throttled >= THROTTLED
        badly = gpu.throttled >= BADLY_THROTTLED or gpu.hw_throttled >= HARD_THROTTLED
        said[0, i] = word(known(gpu.throttled), hot, _CRITICAL if badly else _WARNING)
        near = gpu.margin <= NEAR_CELSIUS and not hot
        said[1, i] = word(known(gpu.margin), near, _WARNING)
        braked = gpu.braked >= BRAKED
        said[2, i] = word(known(gpu.braked), braked, _CRITICAL)
        wide = gpu.pool_slowed >= POOL_SLOWED
        capped = gpu.capped >= CAPPED and not braked
        said[3, i] = word(known(gpu.capped), capped, _WARNING if wide else _INFO)


_WHERE = (
    Measure(name="rack_peers_hot", unit="ratio", threshold=PEERS_HOT),
    Measure(name="coolant_supply", unit="degC", threshold=SUPPLY_LIMIT_CELSIUS),
    Measure(name="coolant_rise", unit="degC", threshold=SUPPLY_RISE_CELSIUS),
    Measure(name="coolant_flow", unit="ratio", threshold=FLOW_SHARE),
)
_STATE = (
    Measure(name="temperature_celsius", unit="degC"),
    Measure(name="margin", unit="degC", note="to where slowdown starts"),
    Measure(name="clock", unit="ratio", note="of the highest"),
    Measure(name="power_watts", unit="W"),
)
_LIMIT = Measure(name="power_limit_watts", unit="W")
_THROTTLED = Measure(name="throttled", unit="ratio", threshold=THROTTLED)
CAUSES = (
    "cause not known",
    "the coolant of its loop is hot",
    "the coolant of its loop flows too slowly",
    "its rack is hot as a whole",
    "only this GPU is hot: cold plate, paste or dust",
)
GPU_CONDITIONS = (
    Condition(
        name="thermal_throttle",
        summary="is slowed down by heat {throttled:.0%} of the time",
        evidence=(_THROTTLED, Measure(name="hw_throttled", unit="ratio"), *_STATE, *_WHERE),
        counter_evidence=(Measure(name="power_capped", unit="ratio"),),
        causes=CAUSES,
    ),
    Condition(
        name="near_thermal_limit",
        summary="is {margin:.0f} degC from slowing down",
        evidence=(*_STATE, *_WHERE),
        counter_evidence=(_THROTTLED,),
        causes=CAUSES,
    ),
    Condition(
        name="power_brake",
        summary="is braked from outside {braked:.0%} of the time: a power supply or the rack"
        " is over its limit",
        evidence=(Measure(name="braked", unit="ratio", threshold=BRAKED), *_STATE, _LIMIT),
    ),
    Condition(
        name="power_cap",
        summary="runs at its power limit {capped:.0%} of the time, at {clock:.0%} of its clock",
        evidence=(
            Measure(name="capped", unit="ratio", threshold=CAPPED),
            Measure(name="pool_slowed", unit="ratio", threshold=POOL_SLOWED),
            *_STATE,
            _LIMIT,
        ),
        alternatives=("a full load at the design limit is not a fault",),
    ),
)


def find_gpu(gpus: Devices, around: Around) -> Sequence[Verdict]:
    """Judge every GPU."""
    now = Gpus(*map(gpus.now, Gpus._fields))
    size = len(now.power_watts)
    beside = Beside(
        rack_peers_hot=np.empty(size),
        pool_slowed=np.empty(size),
        supply_celsius=around.cooling("supply_celsius"),
        supply_celsius_usual=around.cooling("supply_celsius_usual"),
        flow_share=around.cooling("flow_share"),
    )
    marks = np.empty((4, size), dtype=np.bool_)
    mark(now, beside, marks)
    hot, heat_known, slow, power_known = marks
    beside.rack_peers_hot[:] = around.rack.share(hot, heat_known)
    beside.pool_slowed[:] = around.pool.share(slow, power_known)
    said = np.empty((len(GPU_CONDITIONS), size), dtype=np.uint8)
    judge(now, beside, said)
    return verdicts(GPU_CONDITIONS, said, partial(numbers, now, beside))


class Units(NamedTuple):
    """Means of the window of cooling units, or their baselines, by slot."""

    supply_celsius: np.ndarray
    return_celsius: np.ndarray
    facility_supply_celsius: np.ndarray
    flow_liters_per_minute: np.ndarray
    pump_speed_ratio: np.ndarray


class UnitNumbers(NamedTuple):
    """Of one cooling unit."""

    supply_celsius: float
    supply_usual: float
    rise: float
    water_rise: float
    flow_share: float
    flow_liters_per_minute: float
    delta: float
    delta_usual: float
    pump_speed_ratio: float
    facility_supply_celsius: float
    cause: int


@inlined
def unit_numbers(now: Units, usual: Units, i: int) -> UnitNumbers:
    """Of the unit in a slot."""
    supply, water = now.supply_celsius[i], now.facility_supply_celsius[i]
    water_rise = water - usual.facility_supply_celsius[i]
    cause = 0
    if known(water_rise):
        cause = 1 if water_rise >= SUPPLY_RISE_CELSIUS / 2 else 2
    return UnitNumbers(
        supply_celsius=supply,
        supply_usual=usual.supply_celsius[i],
        rise=supply - usual.supply_celsius[i],
        water_rise=water_rise,
        flow_share=now.flow_liters_per_minute[i] / usual.flow_liters_per_minute[i],
        flow_liters_per_minute=now.flow_liters_per_minute[i],
        delta=now.return_celsius[i] - supply,
        delta_usual=usual.return_celsius[i] - usual.supply_celsius[i],
        pump_speed_ratio=now.pump_speed_ratio[i],
        facility_supply_celsius=water,
        cause=cause,
    )


@compiled
def judge_units(now: Units, usual: Units, said: np.ndarray) -> None:
    """Say something of every cooling unit against its own baseline, as in `UNIT_CONDITIONS`."""
    for i in range(said.shape[1]):
        unit = unit_numbers(now, usual, i)
        over_limit = unit.supply_celsius >= SUPPLY_LIMIT_CELSIUS
        hot = over_limit or unit.rise >= SUPPLY_RISE_CELSIUS
        badly = over_limit or unit.rise >= SUPPLY_BAD_RISE_CELSIUS
        judged = known(unit.supply_celsius) and (over_limit or known(unit.supply_usual))
        said[0, i] = word(judged, hot, _CRITICAL if badly else _WARNING)
        # a pump that follows a falling load keeps the temperature difference: nothing is wrong
        following = known(unit.delta) and not unit.delta >= FALLING_LOAD * unit.delta_usual
        low = unit.flow_share <= FLOW_SHARE and not following
        badly = unit.flow_share <= FLOW_BAD_SHARE
        said[1, i] = word(known(unit.flow_share), low, _CRITICAL if badly else _WARNING)


_PUMP = (
    Measure(name="pump_speed_ratio", unit="ratio"),
    Measure(name="facility_supply_celsius", unit="degC"),
)
UNIT_CONDITIONS = (
    Condition(
        name="coolant_supply_hot",
        summary="supplies coolant at {supply_celsius:.1f} degC, {rise:.1f} above its usual",
        evidence=(
            Measure(name="supply_celsius", unit="degC", threshold=SUPPLY_LIMIT_CELSIUS),
            Measure(name="rise", unit="degC", threshold=SUPPLY_RISE_CELSIUS),
            *_PUMP,
        ),
        causes=("cause not known", "the facility water is warm too", "the unit itself"),
    ),
    Condition(
        name="coolant_flow_low",
        summary="moves {flow_share:.0%} of its usual coolant",
        evidence=(
            Measure(name="flow_share", unit="ratio", threshold=FLOW_SHARE),
            Measure(name="flow_liters_per_minute", unit="L/min"),
            Measure(name="delta", unit="degC", note="return minus supply"),
            Measure(name="delta_usual", unit="degC"),
            *_PUMP,
        ),
        alternatives=("a valve was closed on purpose", "a clogged filter or a failing pump"),
    ),
)


def find_cooling(units: Devices, _: Around) -> Sequence[Verdict]:
    """Judge every cooling unit."""
    now = Units(*map(units.now, Units._fields))
    usual = Units(*map(units.usual, Units._fields))
    said = np.empty((len(UNIT_CONDITIONS), len(now.supply_celsius)), dtype=np.uint8)
    judge_units(now, usual, said)
    return verdicts(UNIT_CONDITIONS, said, partial(unit_numbers, now, usual))


DETECTOR = Detector(
    name=NAME,
    conditions=(*GPU_CONDITIONS, *UNIT_CONDITIONS),
    finders={"gpu": find_gpu, "facility": find_cooling},
    columns={"gpu": Gpus._fields, "facility": Units._fields},
    baselines={"facility": Units._fields},
    needs={"gpu": ("facility",)},
)

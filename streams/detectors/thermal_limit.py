"""Clocks held down by heat or power, and coolant that will do it soon, with the cause by name.

The nanosecond counters see every short event, whatever the polling interval. Peers in the rack and
the CDU of the device's cooling loop say where the heat comes from.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streams.detectors.verdict import (
    Around,
    Detector,
    Devices,
    Level,
    Measure,
    Verdict,
    levels,
    over,
)

NAME = "thermal_limit"
THROTTLED = 0.05  # of the time
BRAKED = 0.01
CAPPED = 0.2
NEAR_CELSIUS = 3.0  # above the margin at which slowdown starts
SUPPLY_RISE_CELSIUS = 4.0  # above the loop's own baseline
SUPPLY_LIMIT_CELSIUS = 45.0  # ASHRAE W45, the warmest facility-water class before W+
FLOW_SHARE = 0.8  # of the loop's own baseline
PEERS_HOT = 0.5  # of the rack
POOL_CLOCK_LOSS = 0.15
CAUSES = (
    "cause not known",
    "the coolant of its loop is hot",
    "the coolant of its loop flows too slowly",
    "its rack is hot as a whole",
    "only this GPU is hot: cold plate, paste or dust",
)
COLUMNS = (
    "temperature_celsius",
    "tlimit_margin_celsius",
    "slowdown_margin_celsius",
    "power_watts",
    "power_limit_watts",
    "sm_clock_mhz",
    "sm_clock_max_mhz",
    "throttle_power_ns",
    "throttle_thermal_ns",
    "throttle_sw_thermal_ns",
    "throttle_hw_thermal_ns",
    "throttle_power_brake_ns",
)
COOLING_COLUMNS = (
    "supply_celsius",
    "return_celsius",
    "facility_supply_celsius",
    "flow_liters_per_minute",
    "pump_speed_ratio",
)


def find_gpu(gpus: Devices, around: Around) -> Sequence[Verdict]:
    """Judge every GPU."""
    heat = np.fmax(
        gpus.now("throttle_thermal_ns"),
        np.fmax(gpus.now("throttle_sw_thermal_ns"), gpus.now("throttle_hw_thermal_ns")),
    )
    heat, hard = heat / 1e9, gpus.now("throttle_hw_thermal_ns") / 1e9
    offset = np.nan_to_num(gpus.now("slowdown_margin_celsius"))
    margin = gpus.now("tlimit_margin_celsius") - offset
    hot = over(heat, THROTTLED) | over(-margin, -NEAR_CELSIUS)
    peers = around.rack.share(hot, ~np.isnan(heat) | ~np.isnan(margin))
    rise = around.cooling("supply_celsius") - around.cooling("supply_celsius_usual")
    flow = around.cooling("flow_share")
    supply = around.cooling("supply_celsius")
    cause = np.select(
        [
            over(rise, SUPPLY_RISE_CELSIUS) | over(supply, SUPPLY_LIMIT_CELSIUS),
            over(-flow, -FLOW_SHARE),
            over(peers, PEERS_HOT),
            ~np.isnan(peers),
        ],
        [1, 2, 3, 4],
        default=0,
    )
    where = (
        Measure(name="rack_peers_hot", value=peers, unit="ratio", threshold=PEERS_HOT),
        Measure(name="coolant_supply", value=supply, unit="degC", threshold=SUPPLY_LIMIT_CELSIUS),
        Measure(name="coolant_rise", value=rise, unit="degC", threshold=SUPPLY_RISE_CELSIUS),
        Measure(name="coolant_flow", value=flow, unit="ratio", threshold=FLOW_SHARE),
    )
    clock = gpus.now("sm_clock_mhz") / gpus.now("sm_clock_max_mhz")
    state = (
        Measure(name="temperature_celsius", value=gpus.now("temperature_celsius"), unit="degC"),
        Measure(name="margin", value=margin, unit="degC", note="to where slowdown starts"),
        Measure(name="clock", value=clock, unit="ratio", note="of the highest"),
        Measure(name="power_watts", value=gpus.now("power_watts"), unit="W"),
    )
    throttled = over(heat, THROTTLED)
    near = over(-margin, -NEAR_CELSIUS) & ~throttled
    return (
        Verdict(
            condition="thermal_throttle",
            hit=throttled,
            known=~np.isnan(heat),
            level=levels(throttled, over(hard, 0.01) | over(heat, 0.3)),
            summary="is slowed down by heat {throttled:.0%} of the time",
            evidence=(
                Measure(name="throttled", value=heat, unit="ratio", threshold=THROTTLED),
                Measure(name="hw_throttled", value=hard, unit="ratio"),
                *state,
                *where,
            ),
            counter_evidence=(
                Measure(
                    name="power_capped", value=gpus.now("throttle_power_ns") / 1e9, unit="ratio"
                ),
            ),
            cause=cause,
            causes=CAUSES,
        ),
        Verdict(
            condition="near_thermal_limit",
            hit=near,
            known=~np.isnan(margin),
            level=np.full(len(margin), Level.WARNING, dtype=np.int8),
            summary="is {margin:.0f} degC from slowing down",
            evidence=(*state, *where),
            counter_evidence=(
                Measure(name="throttled", value=heat, unit="ratio", threshold=THROTTLED),
            ),
            cause=cause,
            causes=CAUSES,
        ),
        *_power(gpus, around, clock, state),
    )


def _power(
    gpus: Devices, around: Around, clock: np.ndarray, state: tuple[Measure, ...]
) -> tuple[Verdict, Verdict]:
    brake, cap = gpus.now("throttle_power_brake_ns") / 1e9, gpus.now("throttle_power_ns") / 1e9
    braked = over(brake, BRAKED)
    capped = over(cap, CAPPED) & ~braked
    slow = capped & over(1 - clock, POOL_CLOCK_LOSS)
    pool = around.pool.share(slow, ~np.isnan(cap))
    wide = np.where(over(pool, 0.5), Level.WARNING, Level.INFO).astype(np.int8)
    limit = Measure(name="power_limit_watts", value=gpus.now("power_limit_watts"), unit="W")
    return (
        Verdict(
            condition="power_brake",
            hit=braked,
            known=~np.isnan(brake),
            level=levels(braked, braked),
            summary="is braked from outside {braked:.0%} of the time: a power supply or the rack"
            " is over its limit",
            evidence=(
                Measure(name="braked", value=brake, unit="ratio", threshold=BRAKED),
                *state,
                limit,
            ),
        ),
        Verdict(
            condition="power_cap",
            hit=capped,
            known=~np.isnan(cap),
            level=wide,
            summary="runs at its power limit {capped:.0%} of the time, at {clock:.0%} of its clock",
            evidence=(
                Measure(name="capped", value=cap, unit="ratio", threshold=CAPPED),
                Measure(name="pool_slowed", value=pool, unit="ratio", threshold=0.5),
                *state,
                limit,
            ),
            alternatives=("a full load at the design limit is not a fault",),
        ),
    )


def find_cooling(units: Devices, _: Around) -> Sequence[Verdict]:
    """Judge every cooling unit against its own baseline."""
    supply, usual = units.now("supply_celsius"), units.usual("supply_celsius")
    rise = supply - usual
    hot = over(rise, SUPPLY_RISE_CELSIUS) | over(supply, SUPPLY_LIMIT_CELSIUS)
    flow = units.now("flow_liters_per_minute")
    share = flow / units.usual("flow_liters_per_minute")
    delta = units.now("return_celsius") - supply
    delta_usual = units.usual("return_celsius") - usual
    # a pump that follows a falling load keeps the temperature difference: nothing is wrong then
    following = ~over(delta, 1.1 * delta_usual) & ~np.isnan(delta)
    low = over(-share, -FLOW_SHARE) & ~following
    water = units.now("facility_supply_celsius")
    water_rise = water - units.usual("facility_supply_celsius")
    state = (
        Measure(name="pump_speed_ratio", value=units.now("pump_speed_ratio"), unit="ratio"),
        Measure(name="facility_supply_celsius", value=water, unit="degC"),
    )
    warm = np.where(over(water_rise, SUPPLY_RISE_CELSIUS / 2), 1, 2)
    return (
        Verdict(
            condition="coolant_supply_hot",
            hit=hot,
            known=~np.isnan(supply) & (~np.isnan(usual) | over(supply, SUPPLY_LIMIT_CELSIUS)),
            level=levels(hot, over(supply, SUPPLY_LIMIT_CELSIUS) | over(rise, 10.0)),
            summary="supplies coolant at {supply_celsius:.1f} degC, {rise:.1f} above its usual",
            evidence=(
                Measure(
                    name="supply_celsius", value=supply, unit="degC", threshold=SUPPLY_LIMIT_CELSIUS
                ),
                Measure(name="rise", value=rise, unit="degC", threshold=SUPPLY_RISE_CELSIUS),
                *state,
            ),
            cause=np.where(hot & ~np.isnan(water_rise), warm, 0),
            causes=("cause not known", "the facility water is warm too", "the unit itself"),
        ),
        Verdict(
            condition="coolant_flow_low",
            hit=low,
            known=~np.isnan(share),
            level=levels(low, over(-share, -0.5)),
            summary="moves {flow_share:.0%} of its usual coolant",
            evidence=(
                Measure(name="flow_share", value=share, unit="ratio", threshold=FLOW_SHARE),
                Measure(name="flow_liters_per_minute", value=flow, unit="L/min"),
                Measure(name="delta", value=delta, unit="degC", note="return minus supply"),
                Measure(name="delta_usual", value=delta_usual, unit="degC"),
                *state,
            ),
            alternatives=("a valve was closed on purpose", "a clogged filter or a failing pump"),
        ),
    )


DETECTOR = Detector(
    name=NAME,
    conditions=(
        "thermal_throttle",
        "power_cap",
        "power_brake",
        "near_thermal_limit",
        "coolant_supply_hot",
        "coolant_flow_low",
    ),
    finders={"gpu": find_gpu, "facility": find_cooling},
    columns={"gpu": COLUMNS, "facility": COOLING_COLUMNS},
    baselines={"facility": COOLING_COLUMNS},
    needs={"gpu": ("facility",)},
)

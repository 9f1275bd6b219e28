"""cooling.throttling: work lost to heat, in money, and the cheapest remedy first."""

from __future__ import annotations

from advisor.catalog.cooling import TECHNOLOGIES
from advisor.facts import Facts, GpuActivity, LoopHeat, RackLoad
from advisor.models import cooling as model
from advisor.rules.pricing import Catalog, Draft, accelerator_of, gpu_hour, monthly, seen
from ridgeline.events import Action, Advice, Confidence, Evidence, Needs
from ridgeline.settings import AdvisorSettings

RULE = "cooling.throttling"
THROTTLED_RATIO = 0.01
_HOT_CONDITIONS = frozenset(
    {"thermal_throttle", "coolant_supply_hot", "coolant_flow_low", "near_thermal_limit"}
)
_ACTIONS = {
    model.Remedy.FLOW: Action.FIX_COOLING,
    model.Remedy.SETPOINT: Action.FIX_COOLING,
    model.Remedy.AIRFLOW: Action.FIX_COOLING,
    model.Remedy.POWER_CAP: Action.CAP_POWER,
    model.Remedy.RETROFIT: Action.RETROFIT_COOLING,
}
_LEAD_DAYS = {model.Remedy.RETROFIT: 27 * 30.0, model.Remedy.AIRFLOW: 3.0}


def rule(facts: Facts, catalog: Catalog, settings: AdvisorSettings) -> tuple[Advice, ...]:
    """One piece of advice a cooling loop whose GPUs are held back by heat."""
    hot = (g for g in facts.gpu_loops if g.group and (g.thermal_ratio or 0) >= THROTTLED_RATIO)
    drafts = (_judge(gpus, facts, catalog, settings) for gpus in hot)
    return tuple(d.advice(facts, catalog) for d in drafts if d is not None)


def _judge(
    gpus: GpuActivity, facts: Facts, catalog: Catalog, settings: AdvisorSettings
) -> Draft | None:
    loop = next((line for line in facts.loops if line.loop == gpus.group), None)
    racks = [r for r in facts.racks if r.loop == gpus.group]
    found = [
        f for f in facts.found if f.loop == gpus.group and f.detection.condition in _HOT_CONDITIONS
    ]
    conditions = {f.detection.condition for f in found}
    remedies = model.remedies(_state(loop, racks, conditions), throttling=True)
    price = gpu_hour(accelerator_of(gpus), catalog, settings)
    lost = model.lost_work_ratio(gpus.thermal_ratio or 0.0, gpus.clock_ratio)
    first = remedies[0]
    source = "throttle time and clocks measured; lost work by clock (cooling model)"
    # clocks were measured, what they cost in work is modelled
    gain = monthly(gpus.gpus, lost, price, Confidence.MODELLED, source) if price else None
    retrofit = first is model.Remedy.RETROFIT
    return Draft(
        rule=RULE,
        action=_ACTIONS[first],
        scope_kind="cooling_loop",
        scope=gpus.group,
        title=f"{gpus.group}: {first}",
        reason=(
            f"{gpus.gpus} GPUs on {gpus.group} run {gpus.thermal_ratio or 0:.1%} of the time with "
            f"clocks held down by heat. Cheapest first: " + "; then ".join(remedies) + "."
        ),
        evidence=_evidence(gpus, loop),
        counter_evidence=_against(gpus),
        detections=tuple(f.detection.id for f in found),
        cost_today=gain,
        gain=gain,
        needs=Needs(
            lead_time_days=_LEAD_DAYS.get(first, 0.0),
            note="18 to 36 months for a retrofit" if retrofit else "an operator's change",
        ),
        confidence=Confidence.MODELLED,
        verify=(
            f"Throttled time of {gpus.group} falls below {THROTTLED_RATIO:.0%} within 15 minutes "
            "at the same load."
        ),
        model_version=model.VERSION,
    )


def _state(loop: LoopHeat | None, racks: list[RackLoad], conditions: set[str]) -> model.Loop:
    powers = [r.power_watts for r in racks if r.power_watts is not None]
    fans = [r.fan_speed_ratio for r in racks if r.fan_speed_ratio is not None]
    if loop is None:
        air = TECHNOLOGIES[1]  # a loop without coolant readings is air
        return model.Loop(
            fan_speed_ratio=min(fans, default=None),
            rack_kw=max(powers) / 1000 if powers else None,
            technology=air,
        )
    flow, supply = loop.flow_liters_per_minute, loop.supply_celsius
    normal_flow, normal_supply = loop.normal_flow_liters_per_minute, loop.normal_supply_celsius
    if "coolant_flow_low" in conditions and flow is not None:
        normal_flow = max(normal_flow or 0.0, flow * 1.5)  # the detector knows it is low
    if "coolant_supply_hot" in conditions and supply is not None:
        normal_supply = min(normal_supply or supply, supply - 5)
    return model.Loop(
        supply_celsius=supply,
        normal_supply_celsius=normal_supply,
        flow_liters_per_minute=flow,
        normal_flow_liters_per_minute=normal_flow,
        rack_kw=max(powers) / 1000 if powers else None,
        technology=TECHNOLOGIES[3],
    )


def _evidence(gpus: GpuActivity, loop: LoopHeat | None) -> tuple[Evidence, ...]:
    own = (
        *seen("GPU time throttled by heat", gpus.thermal_ratio, "ratio", THROTTLED_RATIO),
        *seen("SM clock while throttled", gpus.clock_ratio, "ratio of highest"),
        *seen("hottest GPU", gpus.hottest_celsius, "degC"),
        *seen("least margin to the limit", gpus.least_margin_celsius, "K"),
    )
    if loop is None:
        return own
    supply, back = loop.supply_celsius, loop.return_celsius
    delta = None if supply is None or back is None else back - supply
    heat = model.heat_watts(loop.flow_liters_per_minute, delta)
    normal_flow, normal = loop.normal_flow_liters_per_minute, loop.normal_supply_celsius
    usual = "" if normal_flow is None else f"usually {normal_flow:.0f}"
    usual_supply = "" if normal is None else f"usually {normal:.1f}"
    return (
        *own,
        *seen("coolant flow", loop.flow_liters_per_minute, "L/min", note=usual),
        *seen("coolant supply", loop.supply_celsius, "degC", note=usual_supply),
        *seen("heat carried away (rho*cp*Q*dT)", None if heat is None else heat / 1000, "kW"),
    )


def _against(gpus: GpuActivity) -> tuple[Evidence, ...]:
    power = gpus.power_throttled_ratio
    liquid = Evidence(
        name="liquid over air on healthy GPUs",
        value=1.003,
        unit="ratio",
        note="MLPerf Inference v5.1, 8x B200, llama2-70b: cooling brings back only what heat took",
    )
    return (*seen("time held by the power cap", power, "ratio"), liquid)

"""cooling.throttling: work lost to heat, in money, and the cheapest remedy first."""

from __future__ import annotations

from advisor.catalog.cooling import CONTAINED_AIR, DIRECT_TO_CHIP, LIQUID_OVER_AIR
from advisor.facts import Facts, Found, GpuActivity, LoopHeat, RackLoad
from advisor.models import cooling as model
from advisor.models.interval import Interval
from advisor.models.power import Phase
from advisor.rules.pricing import Catalog, Draft, accelerator_of, gpu_hour, monthly, seen
from ridgeline.events import Action, Advice, Confidence, Evidence, Needs
from ridgeline.pools import role_of
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
    model.Remedy.MEASURE: Action.FIX_COOLING,
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
    found = found_hot(facts, gpus.group)
    conditions = {f.detection.condition for f in found}
    state = state_of(loop, racks, conditions)
    phase = phase_of(found)
    remedies = model.remedies(state, throttling=True, phase=phase)
    price = gpu_hour(accelerator_of(gpus), catalog, settings)
    lost = model.lost_work_ratio(gpus.thermal_ratio or 0.0, gpus.clock_ratio, phase)
    first = remedies[0]
    source = "throttle time and clocks measured; lost work by clock (cooling model)"
    # clocks were measured, what they cost in work is modelled
    cost = monthly(gpus.gpus, lost, price, Confidence.MODELLED, source) if price else None
    retrofit = first is model.Remedy.RETROFIT
    return Draft(
        rule=RULE,
        action=_ACTIONS[first],
        scope_kind="cooling_loop",
        scope=gpus.group,
        title=f"{gpus.group}: {first}",
        reason=(
            f"{gpus.gpus} GPUs on {gpus.group} run {gpus.thermal_ratio or 0:.1%} of the time with "
            f"clocks held down by heat: {', '.join(model.causes(state))}. Cheapest first: "
            + "; then ".join(remedies)
            + "."
            + (_options(racks, settings) if retrofit else "")
        ),
        evidence=_evidence(gpus, loop),
        counter_evidence=_against(gpus),
        detections=tuple(f.detection.id for f in found),
        cost_today=cost,
        gain=None if first is model.Remedy.MEASURE else cost,
        needs=_needs(first, racks, settings),
        confidence=Confidence.MODELLED,
        verify=(
            f"Throttled time of {gpus.group} falls below {THROTTLED_RATIO:.0%} within 15 minutes "
            "at the same load."
        ),
        model_version=model.VERSION,
    )


def found_hot(facts: Facts, loop: str) -> list[Found]:
    """Open detections of heat on a loop."""
    on_loop = (f for f in facts.found if f.loop == loop)
    return [f for f in on_loop if f.detection.condition in _HOT_CONDITIONS]


def phase_of(found: list[Found]) -> Phase | None:
    """The phase all throttled GPUs work on; None when mixed or not known."""
    roles = {role_of(f.detection.pool) for f in found}
    one = roles.pop() if len(roles) == 1 else ""
    return Phase(one) if one in set(Phase) else None


def _quoted(settings: AdvisorSettings) -> Interval | None:
    quote = settings.retrofit_usd_per_kw
    return Interval(low=0.8 * quote, mid=quote, high=1.3 * quote) if quote > 0 else None


def _retrofits(racks: list[RackLoad], settings: AdvisorSettings) -> tuple[model.Retrofit, ...]:
    powers = [r.power_watts for r in racks if r.power_watts is not None]
    water = settings.facility_water_celsius or None
    return (
        model.retrofits(max(powers) / 1000, len(racks), water, _quoted(settings)) if powers else ()
    )


def _options(racks: list[RackLoad], settings: AdvisorSettings) -> str:
    said = []
    for option in _retrofits(racks, settings):
        low, high = option.lead_time_months
        text = f"{option.technology.name}: {low:.0f} to {high:.0f} months"
        if option.technology.liquid:
            text += f", water {option.technology.water}, {option.air_kw[1]:.0f} kW a rack stay air"
        if option.water_warm_enough is False:
            text += ", needs colder water than there is"
        said.append(text)
    return f" Options: {'; '.join(said)}." if said else ""


def _needs(first: model.Remedy, racks: list[RackLoad], settings: AdvisorSettings) -> Needs:
    if first is not model.Remedy.RETROFIT:
        return Needs(lead_time_days=_LEAD_DAYS.get(first, 0.0), note="an operator's change")
    offers = _retrofits(racks, settings)
    first_offer = offers[0] if offers else None
    capex = first_offer.capex_usd if first_offer else None
    if first_offer is None or capex is None:
        said = "no price known: set RIDGELINE_ADVISOR_RETROFIT_USD_PER_KW"
    elif (by := first_offer.priced_by) is not None:
        said = (
            f"{capex.low:,.0f} to {capex.high:,.0f} USD ({by.confidence}: {by.cited}); "
            "a quote is better: RIDGELINE_ADVISOR_RETROFIT_USD_PER_KW"
        )
    else:
        said = "quoted"
    return Needs(
        lead_time_days=_LEAD_DAYS[first],
        capex_usd=0.0 if capex is None else capex.mid,
        note=f"18 to 36 months for a retrofit; {said}",
        confidence=Confidence.ASSUMED,  # the time at least, whoever named the price
    )


def state_of(loop: LoopHeat | None, racks: list[RackLoad], conditions: set[str]) -> model.Loop:
    """The loop as the cooling model sees it; one without coolant readings is air."""
    powers = [r.power_watts for r in racks if r.power_watts is not None]
    fans = [r.fan_speed_ratio for r in racks if r.fan_speed_ratio is not None]
    inlets = [r.inlet_celsius for r in racks if r.inlet_celsius is not None]
    if loop is None:
        return model.Loop(
            fan_speed_ratio=min(fans, default=None),
            rack_kw=max(powers) / 1000 if powers else None,
            inlet_celsius=max(inlets, default=None),
            technology=CONTAINED_AIR,  # a loop without coolant readings is air
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
        technology=DIRECT_TO_CHIP,
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
        *seen(
            "heat carried away (rho*cp*Q*dT)",
            None if heat is None else heat / 1000,
            "kW",
            confidence=Confidence.MODELLED,
        ),
    )


def _against(gpus: GpuActivity) -> tuple[Evidence, ...]:
    power = gpus.power_throttled_ratio
    liquid = Evidence(
        name="speed of GPUs without heat trouble, with liquid over with air",
        confidence=LIQUID_OVER_AIR.source.confidence,
        value=LIQUID_OVER_AIR.ratio,
        unit="ratio",
        note=f"{LIQUID_OVER_AIR.source.cited}: cooling brings back only what heat took",
    )
    return (*seen("time held by the power cap", power, "ratio"), liquid)

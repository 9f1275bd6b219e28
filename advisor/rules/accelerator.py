"""accelerator.choice: would another accelerator make the measured workload's tokens cheaper?"""

from __future__ import annotations

from collections.abc import Iterator

from advisor.catalog.accelerators import ACCELERATORS, Accelerator
from advisor.facts import Facts, GpuActivity
from advisor.models import accelerators as model
from advisor.rules.pricing import Catalog, Draft, accelerator_of, estimate, monthly, seen
from ridgeline.events import Action, Advice, Confidence, Estimate, Evidence, Needs
from ridgeline.settings import AdvisorSettings

RULE = "accelerator.choice"
LEAST_SECONDS = 60.0
MARGIN_RATIO = 0.10
SPREAD_RATIO = 0.15  # worst error of a roofline comparison after calibration (13 %), rounded up


def rule(facts: Facts, catalog: Catalog, settings: AdvisorSettings) -> tuple[Advice, ...]:
    """One piece of advice a serving pool, for its best alternative."""
    pools = (p for p in facts.pools if p.group in ("prefill", "decode", "mixed"))
    drafts = (_judge(pool, catalog, settings) for pool in pools)
    return tuple(d.advice(facts, catalog) for d in drafts if d is not None)


def _judge(pool: GpuActivity, catalog: Catalog, settings: AdvisorSettings) -> Draft | None:
    today = accelerator_of(pool)
    bound = model.measured_bound(pool.dram_ratio, pool.tensor_ratio)
    if today is None or bound is None or pool.seconds < LEAST_SECONDS:
        return None
    found = list(_candidates(today, bound, catalog, settings))
    if not found:
        return None
    best, now, then = min(found, key=lambda f: f[0].cost_ratio)
    return _draft(pool, today, bound, best, now, then, found)


Found = tuple[model.Comparison, float, float]


def _candidates(
    today: Accelerator, bound: model.Bound, catalog: Catalog, settings: AdvisorSettings
) -> Iterator[Found]:
    """Candidates with verified speed, priced at the same provider: like for like."""
    allowed = settings.regions
    own = settings.gpu_usd_per_hour
    sold = [p for p in catalog.prices if not p.launch_list]
    here = {p.provider: p.usd_per_hour for p in sold if p.accelerator == today.name}
    for price in sold:
        now = own or here.get(price.provider, 0.0)
        candidate = next((a for a in ACCELERATORS if a.name == price.accelerator), None)
        forbidden = allowed and price.provider not in allowed and own == 0
        if not now or candidate is None or candidate is today or forbidden:
            continue
        if candidate.stack != today.stack or candidate.memory_gb < today.memory_gb:
            continue
        compared = model.compare(today, candidate, bound, now, price.usd_per_hour)
        if compared is not None:
            yield compared, now, price.usd_per_hour


def _draft(  # noqa: PLR0917 - private, called once
    pool: GpuActivity,
    today: Accelerator,
    bound: model.Bound,
    best: model.Comparison,
    now_usd: float,
    then_usd: float,
    found: list[Found],
) -> Draft:
    name, saving = best.candidate.name, 1 - best.cost_ratio
    low = 1 - best.cost_ratio * (1 + SPREAD_RATIO)
    high = 1 - best.cost_ratio * (1 - SPREAD_RATIO)
    source = f"measured {bound} ceilings of the catalogue; {now_usd:g} against {then_usd:g} USD/h"
    price = _usd(now_usd)
    cost = monthly(pool.gpus, (1, 1, 1), price, Confidence.MEASURED, "GPU count")
    pays = low >= MARGIN_RATIO
    tipping = now_usd * best.speed_ratio * (1 - MARGIN_RATIO) / (1 + SPREAD_RATIO)
    where = f"{pool.group} pool ({pool.gpus} x {today.name})"
    reason = (
        f"The {where} is bound by {bound}. {name} is {best.speed_ratio:.2f} times as fast at that "
        f"and costs {then_usd / now_usd:.2f} times as much: {best.cost_ratio:.2f} of today's "
        f"dollars a token."
    )
    return Draft(
        rule=RULE,
        action=Action.CHANGE_ACCELERATOR if pays else Action.KEEP,
        scope_kind="pool",
        scope=pool.group,
        title=f"Move the {pool.group} pool to {name}" if pays else f"Keep {today.name} ({where})",
        reason=reason if pays else f"{reason} It would pay below {tipping:.2f} USD/h.",
        evidence=(
            *seen("HBM bandwidth in use", pool.dram_ratio, "ratio", model.BANDWIDTH_BOUND_RATIO),
            *seen("tensor cores active", pool.tensor_ratio, "ratio", model.COMPUTE_BOUND_RATIO),
            *seen("power", pool.power_watts, "W a GPU"),
        ),
        counter_evidence=_against(today, bound, found),
        cost_today=cost,
        gain=monthly(pool.gpus, (low, saving, high), price, Confidence.MODELLED, source)
        if pays
        else None,
        effects=_effects(best, source),
        needs=Needs(lead_time_days=90, note="procurement assumed 90 days; rented: days")
        if pays
        else Needs(),
        confidence=Confidence.MODELLED,
        verify=f"Serve the same traffic on one {name} node; compare tokens/s a dollar for a day.",
        model_version=model.VERSION,
    )


def _usd(price: float) -> Estimate:
    return estimate(price, price, price, "USD/h", Confidence.PUBLISHED, "price catalogue")


def _effects(best: model.Comparison, source: str) -> tuple[Estimate, ...]:
    ratios = [("dollars a token over today's", best.cost_ratio)]
    if best.energy_ratio is not None:
        ratios.append(("joules a token over today's", best.energy_ratio))
    return tuple(
        estimate(
            value * (1 - SPREAD_RATIO),
            value,
            value * (1 + SPREAD_RATIO),
            f"ratio, {unit}",
            Confidence.MODELLED,
            source,
        )
        for unit, value in ratios
    )


def _against(today: Accelerator, bound: model.Bound, found: list[Found]) -> tuple[Evidence, ...]:
    judged = {c.candidate.name for c, _, _ in found} | {today.name}
    unverified = [
        a.name for a in ACCELERATORS if a.name not in judged and not model.sustained(a, bound)
    ]
    others = [a.name for a in ACCELERATORS if a.stack != today.stack]
    return (
        Evidence(
            name="unverified accelerators",
            value=float(len(unverified)),
            unit="1",
            note="no measured efficiency to cite: " + ", ".join(unverified),
        ),
        Evidence(
            name="other software stacks",
            value=float(len(others)),
            unit="1",
            note="not compared: moving the serving stack is a project of its own",
        ),
    )

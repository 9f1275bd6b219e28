"""accelerator.choice: would another accelerator make the measured workload's tokens cheaper?

A pool whose model, lengths and rate are known is compared by the throughput model, a prefill or
decode pool by its own phase; any other pool by the ceilings of the bound its counters show.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from advisor.catalog.files import together
from advisor.catalog.prices import Price
from advisor.catalog.software import maturity
from advisor.facts import Facts, GpuActivity, ServingLoad
from advisor.models import accelerators as model
from advisor.models import power
from advisor.rules import feed
from advisor.rules.accelerator_basis import Basis, by_bound, by_workload
from advisor.rules.pricing import (
    Catalog,
    Draft,
    accelerator_of,
    estimate,
    gpu_hour,
    monthly,
    seen,
    sourced,
    weaker,
)
from ridgeline.events import Action, Advice, Confidence, Estimate, Evidence, Needs
from ridgeline.pools import SERVING, Role, role_of, service_of
from ridgeline.settings import AdvisorSettings

RULE = "accelerator.choice"
LEAST_SECONDS = 60.0
ENOUGH_MINUTES = 7 * 24 * 60.0
MARGIN_RATIO = 0.10
SAME_MEMORY_RATIO = 0.95  # H100 reports 0.4 % less than A100, both of 80 GB
LOADED_RATIO = 0.4  # of what the pool could make; below it load is what is missing


def rule(facts: Facts, catalog: Catalog, settings: AdvisorSettings) -> tuple[Advice, ...]:
    """One piece of advice a serving pool, for its best alternative."""
    pools = (p for p in facts.pools if role_of(p.group) in SERVING)
    drafts = (
        _judge(pool, facts, catalog, settings.of_service(service_of(pool.group))) for pool in pools
    )
    return tuple(d.advice(facts, catalog) for d in drafts if d is not None)


def _judge(
    pool: GpuActivity, facts: Facts, catalog: Catalog, settings: AdvisorSettings
) -> Draft | None:
    today = accelerator_of(pool, catalog)
    if today is None or pool.seconds < LEAST_SECONDS:
        return None
    basis = by_workload(today, pool, facts, settings) or by_bound(today, pool)
    if basis is None:
        return None
    found = list(_candidates(basis, catalog, settings))
    if not found:
        return None
    best = min(found, key=lambda f: f[0].cost_ratio)
    draft = _draft(pool, facts.serving_of(pool.group), basis, best, found, catalog)
    more = feed.against(facts, settings, draft.needs.power_kw)
    return replace(draft, counter_evidence=(*draft.counter_evidence, *more))


Found = tuple[model.Comparison, Estimate, Estimate]
"""With the price of a GPU-hour today and then."""


def _candidates(basis: Basis, catalog: Catalog, settings: AdvisorSettings) -> Iterator[Found]:
    """Candidates with verified speed, priced at the same provider: like for like."""
    allowed, own, today = settings.regions, settings.gpu_usd_per_hour, basis.today
    sold = [p for p in catalog.prices if not p.launch_list]
    here = {p.provider: _usd(p) for p in sold if p.accelerator == today.name}
    set_here = gpu_hour(today, catalog, settings) if own > 0 else None
    for price in sold:
        now = set_here or here.get(price.provider)
        candidate = next((a for a in catalog.accelerators if a.name == price.accelerator), None)
        forbidden = allowed and price.provider not in allowed and own == 0
        if now is None or candidate is None or candidate.name == today.name or forbidden:
            continue
        if (
            candidate.stack != today.stack
            or candidate.memory_gb < SAME_MEMORY_RATIO * today.memory_gb
        ):
            continue
        compared = basis.compare(candidate, now.mid, price.usd_per_hour)
        if compared is not None:
            yield compared, now, _usd(price)


def _draft(  # noqa: PLR0917 - private, called once
    pool: GpuActivity,
    load: ServingLoad | None,
    basis: Basis,
    best_found: Found,
    found: list[Found],
    catalog: Catalog,
) -> Draft:
    best, now, then = best_found
    name, saving, spread = best.candidate.name, 1 - best.cost_ratio, basis.spread_ratio
    low = 1 - best.cost_ratio * (1 + spread)
    high = 1 - best.cost_ratio * (1 - spread)
    source = f"{basis.source}; {now.mid:g} against {then.mid:g} USD/h by {then.source}"
    idle = basis.reached_ratio is not None and basis.reached_ratio < LOADED_RATIO
    kw = feed.drawn_kw(best.candidate, pool.gpus / best.speed_ratio)
    kw = max(0.0, kw - feed.drawn_kw(basis.today, pool.gpus))
    pays = low >= MARGIN_RATIO and not idle
    where = f"{pool.group} pool ({pool.gpus} x {basis.today.name})"
    return Draft(
        rule=RULE,
        action=Action.CHANGE_ACCELERATOR if pays else Action.KEEP,
        scope_kind="pool",
        scope=pool.group,
        title=(
            f"Move the {pool.group} pool to {name}"
            if pays
            else f"Keep {basis.today.name} in the {pool.group} pool ({pool.gpus} GPUs)"
        ),
        reason=_reason(basis, best, now.mid, then.mid, where, pays=pays, idle=idle),
        evidence=(
            *seen("HBM bandwidth in use", pool.dram_ratio, "ratio", model.BANDWIDTH_BOUND_RATIO),
            *seen("tensor cores active", pool.tensor_ratio, "ratio", model.COMPUTE_BOUND_RATIO),
            *seen("power", pool.power_watts, "W a GPU"),
            *seen(
                "tokens made over what the pool could make",
                basis.reached_ratio,
                "ratio",
                confidence=Confidence.MODELLED,
            ),
            *_energy(pool, load),
            *(basis.software.evidence() if basis.software else ()),
        ),
        counter_evidence=(
            *_against(basis, found, catalog),
            *_history(pool),
            *(basis.software.counter_evidence() if basis.software else ()),
        ),
        cost_today=monthly(pool.gpus, (1, 1, 1), now, Confidence.MEASURED, "GPU count"),
        gain=monthly(
            pool.gpus,
            (low, saving, high),
            now,
            weaker(basis.confidence, then.confidence),
            source,
        )
        if pays
        else None,
        effects=_effects(best, basis, source),
        needs=Needs(
            lead_time_days=90,
            power_kw=kw,
            note="priced by the hour, as rented; bought, it takes capital, and 90 days are assumed",
        )
        if pays
        else Needs(),
        confidence=basis.confidence,
        verify=f"Serve the same traffic on one {name} node; compare tokens/s a dollar for a day.",
        model_version=model.VERSION,
    )


def _history(pool: GpuActivity) -> tuple[Evidence, ...]:
    """What was looked at is a moment beside how long hardware stays."""
    return seen(
        "history",
        pool.seconds / 60,
        "minutes",
        ENOUGH_MINUTES,
        note="other hours and days may ask for something else: see that it stays before buying",
    )


def _energy(pool: GpuActivity, load: ServingLoad | None) -> tuple[Evidence, ...]:
    """Joules of one token (of a prefill pool: of a prompt), from power and token counters."""
    if load is None:
        return ()
    watts = None if pool.power_watts is None else pool.power_watts * pool.gpus
    made, token = load.generation_tokens_per_second, "an output token"
    if role_of(pool.group) == Role.PREFILL:
        made, token = load.prompt_tokens_per_second, "a prompt token"
    found = power.measured_joules_per_token(watts, made)
    return seen(f"energy of {token}", None if found is None else found.mid, "J", note="GPUs, +-5 %")


def _reason(
    basis: Basis,
    best: model.Comparison,
    now_usd: float,
    then_usd: float,
    where: str,
    *,
    pays: bool,
    idle: bool,
) -> str:
    text = (
        f"The {where} is {basis.words}. {best.candidate.name} is {best.speed_ratio:.2f} times as "
        f"fast at that and costs {then_usd / now_usd:.2f} times as much an hour: a token would "
        f"cost {abs(1 - best.cost_ratio):.0%} {'less' if best.cost_ratio <= 1 else 'more'} than "
        "today."
    )
    if pays:
        return text
    if idle and basis.reached_ratio is not None:
        return (
            f"{text} But the pool makes {basis.reached_ratio:.0%} of the tokens it could: it has "
            "too little work, not too little speed; fewer GPUs come first."
        )
    tipping = now_usd * best.speed_ratio * (1 - MARGIN_RATIO) / (1 + basis.spread_ratio)
    return f"{text} It would pay below {tipping:.2f} USD/h."


def _usd(price: Price) -> Estimate:
    return sourced(*(price.usd_per_hour,) * 3, "USD/h", price.source)


def _effects(best: model.Comparison, basis: Basis, source: str) -> tuple[Estimate, ...]:
    spread = basis.spread_ratio
    ratios = [("dollars a token over today's", best.cost_ratio)]
    if best.energy_ratio is not None:
        ratios.append(("joules a token over today's", best.energy_ratio))
    return tuple(
        estimate(
            value * (1 - spread),
            value,
            value * (1 + spread),
            f"ratio, {unit}",
            basis.confidence,
            source,
        )
        for unit, value in ratios
    )


def _against(basis: Basis, found: list[Found], catalog: Catalog) -> tuple[Evidence, ...]:
    judged = {c.candidate.name for c, _, _ in found} | {basis.today.name}
    others = [a.name for a in catalog.accelerators if a.stack != basis.today.stack]
    unverified = [
        a.name for a in catalog.accelerators if a.name not in judged and a.serving_ratio is None
    ]
    closed = [a.name for a in catalog.accelerators if not maturity(a.stack).runnable]
    described = together(maturity(a.stack).source for a in catalog.accelerators)
    return (
        Evidence(
            name="unverified accelerators",
            confidence=Confidence.ASSUMED,
            value=float(len(unverified)),
            unit="1",
            note="no measured efficiency found to cite: " + ", ".join(unverified),
        ),
        Evidence(
            name="other software stacks",
            confidence=described.confidence,
            value=float(len(others)),
            unit="1",
            note="not compared: moving the serving stack is a project of its own; no engine to "
            f"install at all: {', '.join(closed)} ({described.cited})",
        ),
    )

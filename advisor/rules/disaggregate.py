"""serving.disaggregate: prefill and decode together or apart, and how many of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from advisor.facts import Facts, GpuActivity, ServingLoad
from advisor.format import number
from advisor.models import calibration, decision, length_shape, phases
from advisor.models.replica import Replica
from advisor.models.slo import Workload
from advisor.rules import rebalancing
from advisor.rules.handover import Handover, handover_of
from advisor.rules.pricing import Catalog, Draft, accelerator_of, estimate, gpu_hour, monthly, seen
from advisor.rules.replicas import replica_of
from advisor.rules.request_lengths import Spread, answers_of, prompts_of, told
from advisor.rules.served import served
from advisor.rules.serving_software import Reckoned, reckoned
from ridgeline.events import Action, Advice, Confidence, Estimate, Evidence, Needs
from ridgeline.pools import Role, pool_of
from ridgeline.settings import AdvisorSettings

RULE = "serving.disaggregate"
LEAST_SECONDS = 60.0  # shorter history is a moment, not a load
SOURCE = (
    "phase model under measured kernel ceilings (AIConfigurator tables), GI/G/c queues, "
    "rate match 0.9/0.92 (AIConfigurator)"
)
_NEARBY = ("TPOT objective", "prompt tokens", "network of a node")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """A pool or a pair of pools, ready to be judged."""

    replica: Replica
    work: Workload
    prefill: ServingLoad
    decode: ServingLoad
    gpus: int
    handover: Handover
    rate_per_second: float
    price: Estimate | None
    fits: tuple[calibration.Fit, ...]
    software: Reckoned
    prompts: Spread | None
    answers: Spread | None

    @property
    def confidence(self) -> Confidence:
        """Assumed where its software is and no fit to what the pools measured makes up for that."""
        return Confidence.MODELLED if self.fits else self.software.confidence

    @property
    def spread_ratio(self) -> float:
        """How far the efficiencies may be off: the model's error, or what the fit leaves of it."""
        worst = max((f.spread_ratio for f in self.fits), default=decision.SPREAD_RATIO)
        return min(decision.SPREAD_RATIO, worst)


def rule(facts: Facts, catalog: Catalog, settings: AdvisorSettings) -> tuple[Advice, ...]:
    """Advice for a mixed pool (take apart?) and for a split one (right ratio?)."""
    drafts = [
        judge(service, facts, catalog, settings.of_service(service))
        for service in facts.services
        for judge in (_mixed, _split)
    ]
    return tuple(d.advice(facts, catalog) for d in drafts if d is not None)


def _mixed(service: str, facts: Facts, catalog: Catalog, settings: AdvisorSettings) -> Draft | None:
    pool = pool_of(service, Role.MIXED)
    load, gpus = facts.serving_of(pool), facts.gpus_of(pool)
    if load is None or gpus is None:
        return None
    if load.ttft_p99_seconds is None or load.tpot_p99_seconds is None:
        return None
    case = _case(facts, load, load, (gpus, gpus), catalog, settings)
    if case is None:
        return None
    met = (
        load.ttft_p99_seconds <= settings.slo_ttft_seconds
        and load.tpot_p99_seconds <= settings.slo_tpot_seconds
    )
    fleet = case.handover.fleet
    found = decision.decide(fleet, case.work, slo_met_today=met, spread_ratio=case.spread_ratio)
    tips = decision.tipping_points(fleet, case.work, names=_NEARBY)
    gains = (found.gain_low_ratio, found.gain_ratio, found.gain_high_ratio)
    draft = _draft(case, gains, found.advised, settings, pool, tips)
    apart = found.apart
    if not found.advised or apart is None:
        return _keep(draft, gains, [r.value for r in found.refusals], tips)
    return replace(
        draft,
        action=Action.DISAGGREGATE,
        title=f"Take prefill and decode apart: {apart.prefills} prefill, {apart.decodes} decode",
        reason=(
            f"One engine cannot hold both objectives at this load. {apart.prefills} prefill "
            f"({apart.prefill.layout}) and {apart.decodes} decode ({apart.decode.layout}) engines "
            f"carry {_more(gains)} within them on the same GPUs, even beside the best chunk "
            f"size for engines that do both.{_tips(tips)}"
        ),
        needs=Needs(lead_time_days=5, note="redeploy with a KV connector; no new hardware"),
    )


def _split(service: str, facts: Facts, catalog: Catalog, settings: AdvisorSettings) -> Draft | None:
    pools = pool_of(service, Role.PREFILL), pool_of(service, Role.DECODE)
    prefill, decode = (facts.serving_of(pool) for pool in pools)
    p_gpus, d_gpus = (facts.gpus_of(pool) for pool in pools)
    if prefill is None or decode is None or p_gpus is None or d_gpus is None:
        return None
    case = _case(facts, prefill, decode, (p_gpus, d_gpus), catalog, settings)
    if case is None:
        return None
    found = decision.decide_rebalance(
        case.replica,
        case.work,
        (prefill.engines, decode.engines),
        case.handover.reckoned_gbps,
        case.spread_ratio,
    )
    objectives = settings.slo_ttft_seconds, settings.slo_tpot_seconds
    held = rebalancing.held(prefill, decode, *objectives)
    floor = case.rate_per_second if held else 0.0
    gains, advised = rebalancing.gains(found, floor)
    draft = _draft(case, gains, advised, settings, "+".join(pools), ())
    against = rebalancing.against(found, floor)
    draft = replace(draft, counter_evidence=(*draft.counter_evidence, *against))
    if held and case.rate_per_second <= decision.CARRIES_RATIO * found.today_rate_per_second:
        return _keep(draft, gains, [rebalancing.ENOUGH], ())
    if not advised or not all(math.isfinite(g) for g in gains):
        margin = decision.Refusal.MARGIN
        impossible = decision.Refusal.IMPOSSIBLE
        why = margin if found.rate_per_second > 0 else impossible
        return _keep(draft, gains, [why.value], ())
    moved = found.prefills - prefill.engines
    way = "decode to prefill" if moved > 0 else "prefill to decode"
    return replace(
        draft,
        action=Action.REBALANCE_POOLS,
        title=f"Move {abs(moved)} of {prefill.engines + decode.engines} engines from {way}",
        reason=(
            f"{prefill.engines} prefill and {decode.engines} decode engines "
            f"{rebalancing.today(found, floor)}; "
            f"{found.prefills} and {found.decodes} carry {found.rate_per_second:.3g} on the same "
            f"GPUs: {_more(gains)}."
        ),
        needs=Needs(lead_time_days=1, note="restart the engines in their new role"),
    )


def _case(  # noqa: PLR0917 - private, called twice
    facts: Facts,
    prefill: ServingLoad,
    decode: ServingLoad,
    gpus: tuple[GpuActivity, GpuActivity],
    catalog: Catalog,
    settings: AdvisorSettings,
) -> _Case | None:
    """None when anything the models need was not measured, or they cannot describe it."""
    accelerator = accelerator_of(gpus[1])
    rate = decode.requests_per_second or prefill.requests_per_second
    prompts, outputs = prefill.prompt_tokens_per_second, decode.generation_tokens_per_second
    if not rate or not prompts or not outputs:
        return None
    if min(prefill.seconds, decode.seconds) < LEAST_SECONDS:
        return None
    if accelerator_of(gpus[0]) is not accelerator:
        return None
    one = decode is prefill
    total = gpus[1].gpus + (0 if one else gpus[0].gpus)
    engines = decode.engines + (0 if one else prefill.engines)
    model = served(facts, (prefill.pool, decode.pool), settings)
    if model is None or accelerator is None:
        return None
    software = reckoned(facts, (prefill.pool, decode.pool), accelerator, model)
    stack = software.running.release.stack
    replica = replica_of(model.model, accelerator, stack, total, engines)
    if replica is None:
        return None
    asked = prompts_of(prefill, facts, prompts / rate)
    answered = answers_of(decode, facts, outputs / rate)
    work = Workload(
        prompt_tokens=prompts / rate,
        output_tokens=outputs / rate,
        slo_ttft_seconds=settings.slo_ttft_seconds,
        slo_tpot_seconds=settings.slo_tpot_seconds,
        prefix_hit_ratio=prefill.prefix_hit_ratio or 0.0,
        arrival_cv=_arrival_cv(prefill),
        prompt_cv=asked.histogram.cv if asked else 0.0,
        output_cv=answered.histogram.cv if answered else 0.0,
        prompts=length_shape.of_histogram(asked.histogram) if asked else None,
    )
    replica, fits = calibrated(replica, work, prefill, decode, gpus[0].sm_ratio)
    fleet = decision.Fleet(replica=replica, engines=engines, network_gbps=settings.network_gbps)
    return _Case(
        replica=replica,
        work=work,
        prefill=prefill,
        decode=decode,
        gpus=total,
        handover=handover_of(
            fleet,
            work,
            (prefill,) if one else (prefill, decode),
            gpus[:1] if one else gpus,
            facts,
            settings,
            rate,
        ),
        rate_per_second=rate,
        price=gpu_hour(accelerator, catalog, settings),
        fits=fits,
        software=software,
        prompts=asked,
        answers=answered,
    )


def _arrival_cv(load: ServingLoad) -> float:
    """Of gaps, from the dispersion of counts a window, which it squares to; 1 when not measured."""
    return math.sqrt(load.arrival_dispersion) if load.arrival_dispersion else 1.0


def calibrated(
    replica: Replica,
    work: Workload,
    prefill: ServingLoad,
    decode: ServingLoad,
    prefill_busy_ratio: float | None,
) -> tuple[Replica, tuple[calibration.Fit, ...]]:
    """The replica fitted to what its pools measured; only a pool that does one phase tells it.

    `prefill_busy_ratio`: share of time that SMs of the prefill pool are active; None: unknown.
    """
    if prefill is decode:
        return replica, ()
    fits = []
    if decode.tpot_p50_seconds is not None and decode.running:
        batch = max(1.0, decode.running / decode.engines)
        modelled = phases.decode_step_seconds(replica, batch, work.context_tokens)
        fit = calibration.fit(modelled, decode.tpot_p50_seconds)
        replica, fits = replace(replica, decode=fit.calibration), [fit]
    if prefill.prefill_seconds_mean is not None:
        nodes = work.prompt_nodes
        cached = work.cached_tokens / work.prompt_tokens * nodes
        every = phases.prefill_seconds(replica, nodes, cached_tokens=cached)
        modelled = every @ np.array(work.prompt_shape.shares)
        rate = prefill.requests_per_second or decode.requests_per_second or 0.0
        measured = calibration.own_seconds(
            prefill.prefill_seconds_mean, prefill_busy_ratio, prefill.engines, rate
        )
        fit = calibration.fit(modelled, measured)
        replica = replace(replica, prefill=fit.calibration)
        fits.append(fit)
    return replica, tuple(fits)


def _draft(  # noqa: PLR0917 - private, called twice
    case: _Case,
    gains: tuple[float, float, float],
    advised: bool,  # noqa: FBT001 - private, called twice
    settings: AdvisorSettings,
    scope: str,
    tips: Sequence[decision.Tipping],
) -> Draft:
    share = tuple(max(0.0, g) / (1 + max(0.0, g)) for g in gains)
    unit = "ratio more requests within the objectives"
    effects = (
        (estimate(*gains, unit, case.confidence, SOURCE),)
        if all(math.isfinite(g) for g in gains)
        else ()
    )
    gain, one = None, case.price
    if one is not None and advised and all(math.isfinite(g) for g in gains):
        gain = monthly(case.gpus, (share[0], share[1], share[2]), one, case.confidence, SOURCE)
    today = monthly(case.gpus, (1, 1, 1), one, Confidence.MEASURED, "GPU count") if one else None
    return Draft(
        rule=RULE,
        action=Action.KEEP,
        scope_kind="pool",
        scope=scope,
        title="",
        reason="",
        evidence=(
            *_evidence(case, settings),
            *case.software.evidence(),
            *_tipping_evidence(tips),
        ),
        counter_evidence=(*_counter_evidence(case), *case.software.counter_evidence()),
        cost_today=today,
        gain=gain,
        effects=effects,
        confidence=case.confidence,
        verify=(
            "After the change compare requests/s at which p99 TTFT and TPOT leave their "
            "objectives, over the same hour of the day."
        ),
        model_version=decision.VERSION,
    )


def _evidence(case: _Case, settings: AdvisorSettings) -> tuple[Evidence, ...]:
    work, rate = case.work, case.rate_per_second
    return (
        *seen("TTFT p99", case.prefill.ttft_p99_seconds, "s", settings.slo_ttft_seconds),
        *seen("TPOT p99", case.decode.tpot_p99_seconds, "s", settings.slo_tpot_seconds),
        *seen("requests", rate, "1/s"),
        *seen("requests waiting for prefill", case.prefill.waiting, "1"),
        *seen("prompt tokens a request", work.prompt_tokens, "tokens"),
        *seen("output tokens a request", work.output_tokens, "tokens"),
        *seen("prompt tokens from the prefix cache", case.prefill.prefix_hit_ratio, "ratio"),
        *told("prompts", case.prompts),
        *told("answers", case.answers),
        *_of_the_tails(case),
        *case.handover.evidence(rate),
    )


def _of_the_tails(case: _Case) -> tuple[Evidence, ...]:
    """What lengths that spread cost beyond lengths that are all the mean."""
    work, modelled = case.work, Confidence.MODELLED
    if case.prompts is None and case.answers is None:
        return ()
    mean = float(phases.prefill_seconds(case.replica, work.prompt_tokens))
    every = phases.prefill_seconds(case.replica, work.prompt_nodes)
    prefill = float(every @ np.array(work.prompt_shape.shares)) / mean
    cache = work.context_tokens / (work.prompt_tokens + work.output_tokens / 2)
    note = "what prompts and answers of the mean length would take"
    return (
        *seen("time of prefill", prefill, "times", note=note, confidence=modelled),
        *seen("cache of requests in flight", cache, "times", note=note, confidence=modelled),
    )


def _tipping_evidence(tips: Sequence[decision.Tipping]) -> tuple[Evidence, ...]:
    return tuple(
        Evidence(
            name=f"{tip.name} at which the answer turns",
            confidence=Confidence.MODELLED,
            value=tip.flips_at,
            unit=tip.unit,
            note=f"now {number(tip.now, tip.unit)}",
        )
        for tip in tips
        if tip.flips_at is not None
    )


def _counter_evidence(case: _Case) -> tuple[Evidence, ...]:
    caveat = Evidence(
        name="tokens more from a GPU that is never idle",
        confidence=Confidence.MODELLED,
        value=0.0,
        unit="ratio",
        note="no arrangement makes a GPU faster; it changes at what load the objectives break",
    )
    if not case.fits:
        return (
            caveat,
            *seen(
                "error of the phase model",
                decision.SPREAD_RATIO,
                "ratio",
                note="median beside runs that others published: no pool here does one phase "
                "alone, so the model could not be fitted to it",
                confidence=Confidence.MODELLED,
            ),
        )
    found = (("decode", case.replica.decode), ("prefill", case.replica.prefill))
    fitted = (
        Evidence(
            name=f"{phase} here beside the model's own speed",
            value=calibration.efficiency,
            unit="ratio",
            confidence=Confidence.MODELLED,
        )
        for phase, calibration in found
    )
    return (caveat, *fitted)


def _more(gains: tuple[float, float, float]) -> str:
    low, mid, high = sorted(gains)
    if not math.isfinite(mid):
        return "requests that no engine doing both can serve"
    until = f" to {high:.0%}" if math.isfinite(high) else " or more"
    return f"{gains[1]:.0%} more requests ({low:.0%}{until})"


def _tips(tips: Sequence[decision.Tipping]) -> str:
    said = [
        f"{tip.name} {number(tip.flips_at, tip.unit)} (now {number(tip.now)})"
        for tip in tips
        if tip.flips_at is not None
    ]
    return f" It would be otherwise with: {'; '.join(said)}." if said else ""


def _keep(
    draft: Draft,
    gains: tuple[float, float, float],
    refusals: Sequence[str],
    tips: Sequence[decision.Tipping],
) -> Draft:
    """Looked at and not advised: say why, and how far away the tipping point is."""
    why = "; ".join(refusals) or "nothing would change"
    return replace(
        draft,
        action=Action.KEEP,
        title=f"Keep prefill and decode as they are in {draft.scope}",
        reason=f"Not advised: {why}.{_away(gains, refusals)}{_tips(tips)}",
        gain=None,
    )


def _away(gains: tuple[float, float, float], refusals: Sequence[str]) -> str:
    """What the other arrangement would bring, and what that would have to be to be advised."""
    if not all(map(math.isfinite, gains)) or decision.Refusal.IMPOSSIBLE in refusals:
        return ""
    low, mid, high = gains
    margin = decision.MARGIN_RATIO
    text = f" The other arrangement would carry {mid:+.0%} ({low:+.0%} to {high:+.0%})"
    if mid >= margin and low >= -margin:
        enough = {rebalancing.ENOUGH, decision.Refusal.SLO_MET.value} & set(refusals)
        return f"{text}, which this demand does not ask for." if enough else f"{text}."
    return f"{text}; to be advised it must pass {margin:+.0%} and at worst lose as much."

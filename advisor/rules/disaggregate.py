"""serving.disaggregate: prefill and decode together or apart, and how many of each."""

from __future__ import annotations

from dataclasses import dataclass, replace

from advisor.facts import Facts, GpuActivity, ServingLoad
from advisor.models import disaggregation as dg
from advisor.models.llm import MODELS, Replica
from advisor.models.roofline import fitted_efficiency
from advisor.rules.pricing import Catalog, Draft, accelerator_of, estimate, gpu_hour, monthly, seen
from ridgeline.events import Action, Advice, Confidence, Estimate, Evidence, Needs
from ridgeline.settings import AdvisorSettings

RULE = "serving.disaggregate"
LEAST_SECONDS = 60.0  # shorter history is a moment, not a load


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """A pool or a pair of pools, ready to be judged."""

    replica: Replica
    work: dg.Workload
    gpus: int
    price: Estimate | None
    calibrated: bool


def rule(facts: Facts, catalog: Catalog, settings: AdvisorSettings) -> tuple[Advice, ...]:
    """Advice for a mixed pool (take apart?) and for a split one (right ratio?)."""
    drafts = (
        _mixed(facts, catalog, settings),
        _split(facts, catalog, settings),
    )
    return tuple(d.advice(facts, catalog) for d in drafts if d is not None)


def _mixed(facts: Facts, catalog: Catalog, settings: AdvisorSettings) -> Draft | None:
    load, gpus = facts.serving_of("mixed"), facts.gpus_of("mixed")
    if load is None or gpus is None:
        return None
    case = _case(load, load, gpus, gpus, catalog, settings)
    if case is None or load.ttft_p99_seconds is None or load.tpot_p99_seconds is None:
        return None
    met = (
        load.ttft_p99_seconds <= settings.slo_ttft_seconds
        and load.tpot_p99_seconds <= settings.slo_tpot_seconds
    )
    decision = dg.decide_disaggregation(
        case.replica, case.work, load.engines, settings.network_gbps, slo_met_today=met
    )
    draft = _draft(case, decision, settings, load, load, "mixed")
    if not decision.advised or decision.split is None:
        return _keep(draft, decision)
    split = decision.split
    return replace(
        draft,
        action=Action.DISAGGREGATE,
        title=f"Take prefill and decode apart: {split.prefills} prefill, {split.decodes} decode",
        reason=(
            f"One engine cannot hold both objectives at this load. {split.prefills} prefill and "
            f"{split.decodes} decode engines carry {decision.gain_ratio:.0%} more requests within "
            f"them on the same GPUs ({decision.distance_ratio:.0%} past the point where it pays)."
        ),
        needs=Needs(lead_time_days=5, note="redeploy with a KV connector; no new hardware"),
    )


def _split(facts: Facts, catalog: Catalog, settings: AdvisorSettings) -> Draft | None:
    prefill, decode = facts.serving_of("prefill"), facts.serving_of("decode")
    p_gpus, d_gpus = facts.gpus_of("prefill"), facts.gpus_of("decode")
    if prefill is None or decode is None or p_gpus is None or d_gpus is None:
        return None
    case = _case(prefill, decode, p_gpus, d_gpus, catalog, settings)
    if case is None:
        return None
    decision = dg.decide_rebalance(
        case.replica, case.work, prefill.engines, decode.engines, settings.network_gbps
    )
    draft = _draft(case, decision, settings, prefill, decode, "prefill+decode")
    split = decision.split
    if not decision.advised or split is None:
        return _keep(draft, decision)
    moved = split.prefills - prefill.engines
    way = "decode to prefill" if moved > 0 else "prefill to decode"
    return replace(
        draft,
        action=Action.REBALANCE_POOLS,
        title=f"Move {abs(moved)} of {prefill.engines + decode.engines} engines from {way}",
        reason=(
            f"{prefill.engines} prefill and {decode.engines} decode engines carry "
            f"{decision.today_rate_per_second:.3g} requests/s within the objectives; "
            f"{split.prefills} and {split.decodes} carry {split.rate_per_second:.3g} on the same "
            f"GPUs, {decision.gain_ratio:.0%} more."
        ),
        needs=Needs(lead_time_days=1, note="restart the engines in their new role"),
    )


def _case(  # noqa: PLR0917 - private, two symmetric pairs
    prefill: ServingLoad,
    decode: ServingLoad,
    prefill_gpus: GpuActivity,
    decode_gpus: GpuActivity,
    catalog: Catalog,
    settings: AdvisorSettings,
) -> _Case | None:
    """None when anything the models need was not measured."""
    model, accelerator = MODELS.get(settings.model), accelerator_of(decode_gpus)
    rate = decode.requests_per_second or prefill.requests_per_second
    prompts = prefill.prompt_tokens_per_second
    outputs = decode.generation_tokens_per_second
    known = model is not None and accelerator is not None and rate and prompts and outputs
    if not known or min(prefill.seconds, decode.seconds) < LEAST_SECONDS:
        return None
    if model is None or accelerator is None or not rate or not prompts or not outputs:
        return None  # the same test once more, as the type checker reads it
    if accelerator_of(prefill_gpus) is not accelerator:
        return None
    work = dg.Workload(
        prompt_tokens=prompts / rate,
        output_tokens=outputs / rate,
        slo_ttft_seconds=settings.slo_ttft_seconds,
        slo_tpot_seconds=settings.slo_tpot_seconds,
        prefix_hit_ratio=prefill.prefix_hit_ratio or 0.0,
    )
    gpus = prefill_gpus.gpus + (decode_gpus.gpus if decode is not prefill else 0)
    engines = prefill.engines + (decode.engines if decode is not prefill else 0)
    replica = Replica(model=model, accelerator=accelerator, gpus=max(1, round(gpus / engines)))
    fitted = _fitted(replica, work, decode) if decode is not prefill else None
    price = gpu_hour(accelerator, catalog, settings)
    return _Case(
        replica=fitted or replica,
        work=work,
        gpus=gpus,
        price=price,
        calibrated=fitted is not None,
    )


def _fitted(replica: Replica, work: dg.Workload, decode: ServingLoad) -> Replica | None:
    """The replica with decode calibrated to the measured TPOT at the measured batch."""
    if decode.tpot_p50_seconds is None or not decode.running:
        return None
    prior = replica.decode_calibration
    least = replica.decode_speed_of_light_seconds(
        decode.running / decode.engines, work.context_tokens
    )
    eta = fitted_efficiency(decode.tpot_p50_seconds, least, prior.overhead_seconds)
    if eta is None or not eta >= 0.25:  # outside what was ever measured (0.28 to 0.84): no fit
        return None
    return replace(replica, decode=replace(prior, efficiency=eta))


def _draft(  # noqa: PLR0917 - private, called twice
    case: _Case,
    decision: dg.Decision,
    settings: AdvisorSettings,
    prefill: ServingLoad,
    decode: ServingLoad,
    scope: str,
) -> Draft:
    work, kv = case.work, case.replica.model.kv_bytes_per_token()
    rate = work_rate(decode, prefill)
    source = "calibrated roofline, M/D/1 (DistServe), rate match 0.9/0.92 (AIConfigurator)"
    ratios = (decision.gain_low_ratio, decision.gain_ratio, decision.gain_high_ratio)
    share = tuple(max(0.0, g) / (1 + max(0.0, g)) for g in ratios)
    effects = (
        estimate(*ratios, "ratio more requests within the objectives", Confidence.MODELLED, source),
    )
    gain = None
    if case.price is not None and decision.advised:
        gain = monthly(
            case.gpus, (share[0], share[1], share[2]), case.price, Confidence.MODELLED, source
        )
    one = case.price
    today = monthly(case.gpus, (1, 1, 1), one, Confidence.MEASURED, "GPU count") if one else None
    evidence = (
        *seen("prompt tokens a request", work.prompt_tokens, "tokens"),
        *seen("prompt tokens from the prefix cache", prefill.prefix_hit_ratio, "ratio"),
        *seen("output tokens a request", work.output_tokens, "tokens"),
        *seen("requests", rate, "1/s"),
        *seen("TTFT p99", prefill.ttft_p99_seconds, "s", settings.slo_ttft_seconds),
        *seen("TPOT p99", decode.tpot_p99_seconds, "s", settings.slo_tpot_seconds),
        *seen(
            "network for the KV hand-over",
            dg.kv_transfer_gbps(work.prompt_tokens, kv, rate),
            "Gbit/s",
            note=f"of {settings.network_gbps:g} Gbit/s a node",
        ),
    )
    caveat = Evidence(
        name="token cost",
        value=0.0,
        unit="ratio",
        note="the arrangement does not raise raw throughput; it moves where the objectives break",
    )
    assumed = () if case.calibrated else seen("decode efficiency", 0.83, "ratio", note="a prior")
    return Draft(
        rule=RULE,
        action=Action.KEEP,
        scope_kind="pool",
        scope=scope,
        title="",
        reason="",
        evidence=evidence,
        counter_evidence=(caveat, *assumed),
        cost_today=today,
        gain=gain,
        effects=effects,
        confidence=Confidence.MODELLED,
        verify=(
            "After the change compare requests/s at which p99 TTFT and TPOT leave their "
            "objectives, over the same hour of the day."
        ),
        model_version=dg.VERSION,
    )


def work_rate(decode: ServingLoad, prefill: ServingLoad) -> float:
    """Requests/s, from whichever pool reports them; 0 when neither does."""
    return decode.requests_per_second or prefill.requests_per_second or 0.0


def _keep(draft: Draft, decision: dg.Decision) -> Draft:
    """Looked at and not advised: say why, and how far away the tipping point is."""
    why = "; ".join(decision.refusals) or "nothing would change"
    away = (
        f" The gain would be {decision.gain_ratio:.0%} ({decision.gain_low_ratio:.0%} to "
        f"{decision.gain_high_ratio:.0%}); the low end must pass {dg.MARGIN_RATIO:.0%}."
        if dg.Refusal.IMPOSSIBLE not in decision.refusals
        else ""
    )
    return replace(
        draft,
        action=Action.KEEP,
        title=f"Keep prefill and decode as they are ({draft.scope})",
        reason=f"Not advised: {why}.{away}",
        gain=None,
    )

"""`plan disaggregate`: prefill and decode together or apart, for this workload and these GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from advisor.catalog.accelerators import BY_NAME
from advisor.models import disaggregation as dg
from advisor.models.llm import MODELS, Replica
from advisor.plan.inputs import Demand, demand
from advisor.plan.options import AcceleratorName, ModelName, WorkloadOptions
from advisor.plan.report import Mark, Plot, PlotKind, Report, Series, Table
from advisor.rules.pricing import estimate
from ridgeline.events import Action, Confidence, Estimate

SOURCES = (
    "queues: M/D/1, DistServe (OSDI'24) eq. 1; rate matching 0.9/0.92: AIConfigurator 0.12",
    "latency: calibrated roofline, priors from AIConfigurator's kernel measurements",
)


class DisaggregateOptions(WorkloadOptions):
    """Should prefill and decode run on the same engines or apart, and how many of each?"""

    panel = "Serving"

    model: ModelName = Field("llama3-70b", description="served model, as the catalogue names it")
    accelerator: AcceleratorName = Field("H100-SXM", description="accelerator of every engine")
    gpus_per_engine: Annotated[int, Field(ge=1, le=1024)] = Field(
        8, description="GPUs of one engine, tensor-parallel"
    )
    engines: Annotated[int, Field(ge=1, le=100_000)] = Field(4, description="engines in all")
    ttft_seconds: Annotated[float, Field(gt=0)] = Field(
        2.0, description="objective: time to first token, p99"
    )
    tpot_seconds: Annotated[float, Field(gt=0)] = Field(
        0.1, description="objective: time per output token, p99"
    )
    network_gbps: Annotated[float, Field(gt=0)] = Field(
        400.0, description="network for the KV hand-over, per node"
    )


def disaggregate(options: DisaggregateOptions) -> Report:
    """The decision, what each division of the engines would carry, and why not."""
    asked = demand(options)
    accelerator, model = BY_NAME[options.accelerator], MODELS[options.model]
    replica = Replica(model=model, accelerator=accelerator, gpus=options.gpus_per_engine)
    work = dg.Workload(
        prompt_tokens=asked.prompt_tokens,
        output_tokens=asked.output_tokens,
        slo_ttft_seconds=options.ttft_seconds,
        slo_tpot_seconds=options.tpot_seconds,
        prefix_hit_ratio=asked.prefix_hit_ratio or 0.0,
    )
    decision = dg.decide_disaggregation(
        replica,
        work,
        options.engines,
        options.network_gbps,
        slo_met_today=_met(replica, work, options.engines, asked),
    )
    rates = dict(_rates(replica, work, options))
    return Report(
        command="disaggregate",
        answer=_answer(decision, options),
        action=Action.DISAGGREGATE if decision.advised else Action.AGGREGATE,
        tables=(_table(rates, decision, options),),
        plots=(_plot(rates, decision, asked),),
        numbers=_numbers(decision, work, replica, asked),
        refusals=tuple(refusal.value for refusal in decision.refusals),
        warnings=_warnings(asked),
        sources=(f"workload: {asked.origin}", *SOURCES),
        versions={"disaggregation": dg.VERSION},
    )


def _met(replica: Replica, work: dg.Workload, engines: int, asked: Demand) -> bool:
    """Whether the engines together, not apart, carry the demand within the objectives."""
    return dg.colocated_rate_per_second(replica, work) * engines >= asked.requests_per_second


def _answer(decision: dg.Decision, options: DisaggregateOptions) -> str:
    if decision.advised and decision.split is not None:
        split = decision.split
        return (
            f"Take them apart: {split.prefills} prefill and {split.decodes} decode engines carry "
            f"{split.rate_per_second:.3g} requests/s within the objectives, "
            f"{decision.gain_ratio:.0%} more than {options.engines} doing both."
        )
    return (
        f"Keep prefill and decode together: {options.engines} engines carry "
        f"{decision.today_rate_per_second:.3g} requests/s within the objectives; "
        f"apart would change that by {decision.gain_ratio:+.0%}."
    )


def _rates(
    replica: Replica, work: dg.Workload, options: DisaggregateOptions
) -> Iterator[tuple[int, float]]:
    """Requests/s within the objectives by number of prefill engines."""
    kv = replica.model.kv_bytes_per_token()
    transfer = dg.kv_transfer_seconds(work.prompt_tokens, kv, options.network_gbps)
    prefill = dg.prefill_rate_per_second(replica, work, transfer)
    decode = dg.decode_rate_per_second(replica, work)
    for p in range(1, options.engines):
        d = options.engines - p
        yield p, options.engines * dg.matched_rate_per_replica(prefill, p, decode, d)


def _table(rates: dict[int, float], decision: dg.Decision, options: DisaggregateOptions) -> Table:
    together = ("together", options.engines, None, None, decision.today_rate_per_second)
    best = sorted(rates, key=lambda p: -rates[p])[:5]
    apart = (("apart", None, p, options.engines - p, rates[p]) for p in best)
    return Table(
        title="Arrangements, best first",
        columns=("arrangement", "doing both", "prefill", "decode", "requests/s in objectives"),
        rows=(together, *apart),
    )


def _plot(rates: dict[int, float], decision: dg.Decision, asked: Demand) -> Plot:
    return Plot(
        title="What each division of the engines carries",
        kind=PlotKind.LINE,
        x_label="prefill engines",
        y_label="requests/s within the objectives",
        series=(Series(name="apart", x=tuple(map(float, rates)), y=tuple(rates.values())),),
        marks=(
            Mark(label="together", y=decision.today_rate_per_second),
            Mark(label="demand", y=asked.requests_per_second),
        ),
    )


def _numbers(
    decision: dg.Decision, work: dg.Workload, replica: Replica, asked: Demand
) -> dict[str, Estimate]:
    kv = replica.model.kv_bytes_per_token()
    needed = dg.kv_transfer_gbps(work.prompt_tokens, kv, asked.requests_per_second)
    modelled = Confidence.MODELLED
    return {
        "gain from taking apart": estimate(
            decision.gain_low_ratio,
            decision.gain_ratio,
            decision.gain_high_ratio,
            "ratio of requests/s in objectives",
            modelled,
            "both efficiencies varied by 13 %, the worst calibration error seen",
        ),
        "network for the KV hand-over": estimate(
            needed, needed, needed, "Gbit/s", modelled, "prompt tokens x KV bytes a token x rate"
        ),
        "demand": estimate(
            *(asked.requests_per_second,) * 3, "requests/s", asked.confidence, asked.origin
        ),
    }


def _warnings(asked: Demand) -> tuple[str, ...]:
    if asked.arrival_cv is None or asked.arrival_cv <= 1.2:
        return ()
    return (f"arrivals are burstier than the model's Poisson (CV {asked.arrival_cv:.1f})",)

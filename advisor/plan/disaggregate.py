"""`plan disaggregate`: prefill and decode together or apart, for this workload and these GPUs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import Field

from advisor.catalog import stacks
from advisor.catalog.accelerators import Accelerator
from advisor.catalog.models import MODELS, Format
from advisor.catalog.prices import street
from advisor.facts import Facts
from advisor.models import decision as dc
from advisor.models import energy, length_shape, phases
from advisor.models.disaggregation import (
    DECODE_MATCH,
    PREFILL_MATCH,
    Apart,
    Together,
    handover_gbps_per_request,
    layouts_of,
    pairs_in_nodes,
)
from advisor.models.layouts import LARGEST_TENSOR
from advisor.models.replica import Layout, Replica
from advisor.models.roofline import attainable_flops, ridge_point_flops_per_byte
from advisor.models.slo import Workload
from advisor.plan.disaggregate_check import Attained, checks, simulated
from advisor.plan.disaggregate_live import Split, split_of
from advisor.plan.engine import device_of
from advisor.plan.inputs import Demand
from advisor.plan.live_serving import asked_of
from advisor.plan.options import AcceleratorName, EngineName, ModelName, WorkloadOptions
from advisor.plan.report import Cell, Mark, Plot, PlotKind, Report, Series, Table
from advisor.rules.disaggregate import calibrated
from advisor.rules.pricing import estimate, weaker
from ridgeline.events import Action, Confidence, Estimate

SOURCES = (
    "latency: kernels under ceilings measured by AIConfigurator (ai-dynamo/aiconfigurator@095f58a)",
    "queues: GI/G/c (Sakasegawa, Kingman); rate matching 0.9/0.92: AIConfigurator 0.12",
    "margin and refusals: docs/models/disaggregation.md",
)


class DisaggregateOptions(WorkloadOptions):
    """Should prefill and decode run on the same engines or apart, and how many of each?"""

    panel = "Serving"

    model: ModelName = Field("llama3-70b", description="served model, as the catalogue names it")
    accelerator: AcceleratorName = Field("H100-SXM", description="accelerator of every engine")
    decode_accelerator: AcceleratorName | None = Field(
        None, description="another accelerator for the decode pool; default: the same"
    )
    weights: Format | None = Field(None, description="format of the weights; default: as published")
    gpus_per_engine: Annotated[int, Field(ge=1, le=1024)] = Field(
        8, description="GPUs of one engine; smaller ones are compared too"
    )
    engines: Annotated[int, Field(ge=1, le=100_000)] = Field(4, description="engines in all")
    engine: EngineName | None = Field(
        None, description=f"serving software: {', '.join(stacks.BY_NAME)}; default: by platform"
    )
    peer_access: bool | None = Field(
        None,
        description="GPUs over PCIe reach one another's memory (nvidia-smi topo -p2p r); "
        "default: up to 4 of PCIe 4",
    )
    ttft_seconds: Annotated[float, Field(gt=0)] = Field(
        2.0, description="objective: time to first token"
    )
    tpot_seconds: Annotated[float, Field(gt=0)] = Field(
        0.1, description="objective: time per output token, mean of a request"
    )
    itl_seconds: Annotated[float, Field(gt=0)] | None = Field(
        None, description="objective: longest time between two tokens (TBT); default: none"
    )
    attainment_ratio: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.99, description="share of requests that must hold both objectives"
    )
    network_gbps: Annotated[float, Field(gt=0)] = Field(
        400.0, description="network for the KV hand-over, per node"
    )
    simulate: bool = Field(
        default=False, description="check by a discrete-event simulation of the requests"
    )


def disaggregate(options: DisaggregateOptions, seen: Facts | None = None) -> Report:
    """The decision, what each arrangement carries, how far the answer is from turning.

    Args:
        options: What was asked.
        seen: Facts of the store, for `--live`; read when None.
    """
    options, serving = asked_of(options, seen)
    asked = serving.asked
    work, fleet = _work(options, asked), _fleet(options)
    if serving.prefill is not None and serving.decode is not None:
        busy = serving.prefill_busy_ratio
        fitted, _ = calibrated(fleet.replica, work, serving.prefill, serving.decode, busy)
        fleet = replace(fleet, replica=fitted)
    handover = serving.handover(fleet, work) if serving.handover else None
    if handover is not None:
        fleet = handover.fleet
    found = dc.decide(fleet, work, requests_per_second=asked.requests_per_second)
    tips = dc.tipping_points(fleet, work)
    checked = tuple(simulated(found, work, asked, fleet.handover_gbps)) if options.simulate else ()
    report = Report(
        command="disaggregate",
        answer=_answer(found, fleet, options),
        action=Action.DISAGGREGATE if found.advised else Action.AGGREGATE,
        tables=(_table(found, work, fleet), _tips(tips, found), *checks(checked)),
        plots=(_roofline(found, fleet, work), _goodput(found, work, asked, checked)),
        numbers=_numbers(found, work, fleet, asked),
        refusals=tuple(refusal.value for refusal in found.refusals),
        warnings=(*_warnings(asked, fleet), *_inside_nodes(found, fleet, work)),
        sources=(f"workload: {asked.origin}", *SOURCES),
        versions={"decision": dc.VERSION, "phases": phases.VERSION, "energy": energy.VERSION},
    )
    if serving.prefill is not None and serving.decode is not None:
        rate = asked.requests_per_second
        split = split_of(serving.prefill, serving.decode, fleet, work, found, rate, handover)
        report = _of_split(report, split)
    if handover is not None:
        said = (f"{e.name}: {e.note}" for e in handover.evidence(asked.requests_per_second))
        report = replace(report, warnings=(*report.warnings, *said))
    return serving.beside(report)


def _of_split(report: Report, split: Split) -> Report:
    """The report of a service whose phases run apart already."""
    return replace(
        report,
        answer=split.answer,
        action=split.action,
        tables=(split.table(), *report.tables),
        numbers={**report.numbers, **split.numbers(SOURCES[0])},
        refusals=split.refusals,
        warnings=(*report.warnings, *split.warnings),
    )


def _work(options: DisaggregateOptions, asked: Demand) -> Workload:
    prompts, answers = asked.prompts, asked.answers
    return Workload(
        prompt_tokens=asked.prompt_tokens,
        output_tokens=max(1.0, asked.output_tokens),
        slo_ttft_seconds=options.ttft_seconds,
        slo_tpot_seconds=options.tpot_seconds,
        slo_itl_seconds=math.inf if options.itl_seconds is None else options.itl_seconds,
        prefix_hit_ratio=asked.prefix_hit_ratio or 0.0,
        arrival_cv=1.0 if asked.arrival_cv is None else asked.arrival_cv,
        prompt_cv=prompts.histogram.cv if prompts else 0.0,
        output_cv=answers.histogram.cv if answers else 0.0,
        attainment_ratio=options.attainment_ratio,
        prompts=length_shape.of_histogram(prompts.histogram) if prompts else None,
    )


def _fleet(options: DisaggregateOptions) -> dc.Fleet:
    here = _replica(device_of(options.accelerator), options)
    other = options.decode_accelerator
    there = None if other is None else _replica(device_of(other), options)
    return dc.Fleet(
        replica=here,
        engines=options.engines,
        network_gbps=options.network_gbps,
        decode=there,
    )


def _replica(accelerator: Accelerator, options: DisaggregateOptions) -> Replica:
    model = MODELS[options.model]
    tensor = math.gcd(LARGEST_TENSOR, options.gpus_per_engine, model.heads)
    return Replica(
        model=model,
        accelerator=accelerator,
        layout=Layout(tensor=tensor, pipeline=options.gpus_per_engine // tensor),
        weights=options.weights,
        stack=stacks.of(options.engine, accelerator, model),
        peer_access=options.peer_access,
    )


def _answer(found: dc.Decision, fleet: dc.Fleet, options: DisaggregateOptions) -> str:
    apart, together = found.apart, found.together
    if found.advised and apart is not None:
        more = (
            f"{found.gain_ratio:.0%} more than {fleet.gpus} GPUs doing both"
            if math.isfinite(found.gain_ratio)
            else "where engines doing both hold none"
        )
        return (
            f"Take them apart: {apart.prefills} prefill ({apart.prefill.layout}) and "
            f"{apart.decodes} decode ({apart.decode.layout}) engines carry "
            f"{apart.rate_per_second:.3g} requests/s within the objectives, {more}."
        )
    if not layouts_of(fleet.replica, fleet.replica.gpus):
        return (
            f"{options.model} leaves no room for a cache in an engine of "
            f"{options.gpus_per_engine} x {options.accelerator}: give it more GPUs."
        )
    if together is None and apart is None:
        return "Neither arrangement of these GPUs holds the objectives at any rate."
    if together is None:
        return (
            "Engines doing both hold the objectives at no rate; apart the model would, but it is "
            "not advised here."
        )
    then = (
        "no split of them does"
        if apart is None
        else f"apart would change that by {found.gain_ratio:+.0%}"
    )
    return (
        f"Keep prefill and decode together: {together.engines} engines ({together.replica.layout}, "
        f"chunks of {together.chunk_tokens:,} tokens) carry {together.rate_per_second:.3g} "
        f"requests/s within the objectives; {then}."
    )


def _table(found: dc.Decision, work: Workload, fleet: dc.Fleet) -> Table:
    rows: list[tuple[Cell, ...]] = []
    if (t := found.together) is not None:
        rows.append(
            (
                "together",
                f"{t.engines} x {t.replica.layout}",
                None,
                t.rate_per_second,
                t.rate_per_gpu * work.output_tokens,
                t.tpot_seconds * 1e3,
                _joules(t.replica, t.replica, t.batch, work),
                _usd_per_million(((t.replica, t.engines),), t.rate_per_second, work),
            )
        )
    if (a := found.apart) is not None:
        rows.append(
            (
                "apart",
                f"{a.prefills} x {a.prefill.layout}",
                f"{a.decodes} x {a.decode.layout}",
                a.rate_per_second,
                a.rate_per_gpu * work.output_tokens,
                a.tpot_seconds * 1e3,
                _joules(a.prefill, a.decode, a.batch, work),
                _usd_per_million(
                    ((a.prefill, a.prefills), (a.decode, a.decodes)), a.rate_per_second, work
                ),
            )
        )
    return Table(
        title=f"Best of each arrangement on {fleet.gpus} GPUs",
        columns=(
            "arrangement",
            "engines",
            "decode engines",
            "requests/s in objectives",
            "output tokens/s a GPU",
            "TPOT ms",
            "GPU J an output token",
            "USD a million output tokens",
        ),
        rows=tuple(rows),
    )


def _usd_per_million(
    pools: Sequence[tuple[Replica, int]], rate_per_second: float, work: Workload
) -> float | None:
    """GPU-hours at street prices over the output tokens of an hour; None where one has no price."""
    total = 0.0
    for replica, engines in pools:
        prices = street(replica.accelerator.name)
        if prices is None:
            return None
        total += engines * replica.gpus * prices[1]
    return total / (rate_per_second * work.output_tokens * 3600) * 1e6


def _joules(prefill: Replica, decode: Replica, batch: float, work: Workload) -> float | None:
    """Of an output token with its share of the prompt that is computed; None: power unknown."""
    if not prefill.accelerator.power_w or not decode.accelerator.power_w:
        return None
    prompt = float(energy.prefill_joules_per_token(prefill, work.computed_tokens))
    return work.computed_tokens / work.output_tokens * prompt + float(
        energy.decode_joules_per_token(decode, max(batch, 1.0), work.context_tokens)
    )


def _tips(tips: Sequence[dc.Tipping], found: dc.Decision) -> Table:
    other = "together" if found.gain_ratio >= dc.MARGIN_RATIO else "apart"
    return Table(
        title=f"Where the comparison turns to {other}, one quantity changed at a time",
        columns=("quantity", "unit", "now", "turns at"),
        rows=tuple((t.name, t.unit, t.now, t.flips_at) for t in tips),
        note="a dash: not within a factor of 8",
    )


def _roofline(found: dc.Decision, fleet: dc.Fleet, work: Workload) -> Plot:
    one = fleet.replica
    peak = one.peak_flops / one.gpus / 1e12
    bandwidth = one.peak_bytes_per_second / one.gpus / 1e12
    ridge = ridge_point_flops_per_byte(peak, bandwidth)
    places = tuple(_places(found, work))
    furthest = max([ridge * 20, *(3 * place.x for place in places if place.x is not None)])
    x = np.array([0.5, ridge, furthest])  # straight lines between them, and a corner
    marks = [Mark(label=f"ridge {ridge:.0f} FLOP/B", x=ridge), *places]
    return Plot(
        title=f"Roofline of one {one.accelerator.name} in {one.computed_format}",
        kind=PlotKind.LOGLOG,
        x_label="FLOP/byte",
        y_label="TFLOP/s",
        series=(
            Series(
                name="attainable",
                x=tuple(x.tolist()),
                y=tuple(attainable_flops(x, peak, bandwidth).tolist()),
            ),
        ),
        marks=tuple(marks),
    )


def _places(found: dc.Decision, work: Workload) -> Iterator[Mark]:
    """Where the pools would sit: arithmetic intensity and TFLOP/s a GPU."""
    if (a := found.apart) is not None:
        prefill = phases.prefill_work(a.prefill, work.computed_tokens)
        took = phases.prefill_seconds(a.prefill, work.computed_tokens)
        yield _place("prefill pool", prefill, float(took), a.prefill.gpus)
        decode = phases.decode_work(a.decode, max(1.0, a.batch), work.context_tokens)
        yield _place("decode pool", decode, a.tpot_seconds, a.decode.gpus)


def _place(label: str, done: phases.Work, seconds: float, gpus: int) -> Mark:
    return Mark(
        label=label,
        x=float(done.flops / done.traffic_bytes),
        y=float(done.flops) / seconds / gpus / 1e12,
    )


def _goodput(
    found: dc.Decision,
    work: Workload,
    asked: Demand,
    checked: Sequence[tuple[str, Attained]],
) -> Plot:
    """Requests/s within the objectives by offered rate; simulated where that was asked for."""
    top = max((r for r in (_rate(found.together), _rate(found.apart)) if r), default=1.0)
    most = 1.4 * max(top, asked.requests_per_second)
    series = [
        Series(name=name, x=(0.0, rate, most), y=(0.0, rate, rate))
        for name, rate in (("together", _rate(found.together)), ("apart", _rate(found.apart)))
        if rate
    ]
    for name, points in checked:
        rates = sorted(points)
        held = tuple(r * points[r] for r in rates)
        series.append(Series(name=f"{name}, simulated", x=tuple(rates), y=held))
    return Plot(
        title=f"Goodput ({work.attainment_ratio:.0%} within objectives) by offered rate",
        kind=PlotKind.LINE,
        x_label="offered requests/s",
        y_label="requests/s within the objectives,\nwhere what is too much is turned away",
        series=tuple(series),
        marks=(Mark(label="demand", x=asked.requests_per_second),),
    )


def _rate(arrangement: Together | Apart | None) -> float:
    return arrangement.rate_per_second if arrangement is not None else 0.0


def _numbers(
    found: dc.Decision, work: Workload, fleet: dc.Fleet, asked: Demand
) -> dict[str, Estimate]:
    needed = handover_gbps_per_request(fleet.replica, work) * asked.requests_per_second
    modelled = weaker(Confidence.MODELLED, asked.confidence)
    gains = (found.gain_low_ratio, found.gain_ratio, found.gain_high_ratio)
    numbers = {
        "network for the KV hand-over": estimate(
            needed,
            needed,
            needed,
            "Gbit/s",
            modelled,
            "cache of a prompt (and recurrent state) x rate",
        ),
        "demand": estimate(
            *(asked.requests_per_second,) * 3, "requests/s", asked.confidence, asked.origin
        ),
    }
    if (apart := found.apart) is not None and apart.decode.accelerator.power_w:
        batch = max(1.0, apart.batch)
        watts = float(energy.unfelt_power_limit_watts(apart.decode, batch, work.context_tokens))
        numbers["power limit the decode pool would not feel"] = estimate(
            0.8 * watts, watts, 1.2 * watts, "W a GPU", modelled, "power model, docs/models.md"
        )
    if all(math.isfinite(g) for g in gains):
        source = f"both efficiencies varied by {dc.SPREAD_RATIO:.0%}, the phase model's error"
        unit = "ratio of requests/s in objectives"
        numbers["gain from taking apart"] = estimate(*gains, unit, modelled, source)
    return numbers


def _inside_nodes(found: dc.Decision, fleet: dc.Fleet, work: Workload) -> Iterator[str]:
    """On a network that is too thin: pairs whose cache stays in a node, as DistServe's do."""
    if dc.Refusal.NETWORK not in found.refusals or fleet.decode is not None:
        return
    layouts = layouts_of(fleet.replica, fleet.replica.gpus)
    pairs = pairs_in_nodes(layouts, layouts, work)
    if not pairs:
        return
    best, today = pairs[0], found.today_rate_per_second
    count = fleet.gpus // (best.prefill.gpus + best.decode.gpus)
    carried = min(PREFILL_MATCH, DECODE_MATCH) * best.rate_per_second * count
    if carried >= (1 + dc.MARGIN_RATIO) * today:
        yield (
            f"pairs that keep the cache inside a node need no such network: {count} of one prefill "
            f"({best.prefill.layout}) and one decode ({best.decode.layout}) engine would carry "
            f"{carried:.3g} requests/s, {today:.3g} together (DistServe, section 4.2)"
        )


def _warnings(asked: Demand, fleet: dc.Fleet) -> Iterator[str]:
    if fleet.handover_gbps > fleet.network_gbps:
        yield f"{fleet.gpus} GPUs share NVLink: the hand-over does not use the network"
    if asked.arrival_cv is None:
        yield "arrivals are taken as Poisson; --burstiness says otherwise"
    for what, found in (("prompt", asked.prompts), ("answer", asked.answers)):
        if found is None:
            yield f"every {what} is assumed to have the mean length"
        elif found.confidence is not Confidence.MEASURED:
            yield f"lengths of {what}s: {found.how}"

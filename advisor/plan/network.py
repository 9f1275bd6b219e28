"""`plan network`: what a collective should take, what it costs a step, InfiniBand or RoCE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field

from advisor.catalog.accelerators import BY_NAME
from advisor.catalog.fabric import FITS, PCIE, SAME_LINK, SETTINGS, Op
from advisor.catalog.models import MODELS, Model
from advisor.facts import Facts
from advisor.models import collectives, fabric_choice, network
from advisor.models.arrays import Floats
from advisor.models.interval import Interval
from advisor.models.network import Algorithm, Rails
from advisor.plan import live
from advisor.plan.inputs import live_facts
from advisor.plan.options import AcceleratorName, Options, catalogued, sureness
from advisor.plan.report import Mark, Plot, PlotKind, Report, Series, Table
from advisor.rules.pricing import estimate
from ridgeline.errors import Misconfigured
from ridgeline.events import Action, Confidence, Estimate

SOURCES = (
    "inside a node: own fit to NCCL latencies of AIConfigurator@095f58a, mean error 6.5 %",
    "between nodes: ring, double binary tree, SHARP; rails at 0.94 of line rate (nccl-tests 290)",
    "RoCE over InfiniBand: 0.85 to 1.0 tuned (secondary; Meta, SIGCOMM 2024)",
)
_PCIE_4 = collectives.Wire(link=collectives.Link.PCIE, bytes_per_second=32e9)
SLOW_RATIO = 1.3  # measured over best known; twice the fit's error and more
FAST_RATIO = 0.6  # less is no error of the fit, which is off by 57 % at worst


class NetworkOptions(Options):
    """What should an all-reduce take here, what share of a step is it, and which fabric pays?"""

    panel = "Network"

    accelerator: AcceleratorName = Field("H100-SXM", description="accelerator of every node")
    nodes: Annotated[int, Field(ge=1, le=20_000)] = Field(16, description="nodes of one job")
    gpus_per_node: Annotated[int, Field(ge=2, le=72)] = Field(8, description="GPUs of a node")
    rail_gbps: Annotated[float, Field(gt=0)] = Field(400.0, description="network of one GPU")
    oversubscription: Annotated[float, Field(ge=1, le=64)] = Field(
        1.0, description="leaf bandwidth down over up; 1: none"
    )
    message_mb: Annotated[float, Field(gt=0, le=1e6)] = Field(512.0, description="one all-reduce")
    measured_ms: Annotated[float, Field(gt=0)] | None = Field(
        None, description="what that all-reduce takes here; default: not measured"
    )
    model: Annotated[str, AfterValidator(lambda v: catalogued(v, MODELS, "model"))] = Field(
        "llama3-70b", description="served model, for the share of tensor parallelism"
    )
    tokens: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        2048, description="tokens of one step (prompt tokens, or sequences when decoding)"
    )
    communication_share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.2, description="share of a step that waits for the network between nodes"
    )
    usd_per_gpu_hour: Annotated[float, Field(gt=0)] = Field(2.4, description="worth of a GPU-hour")
    infiniband_usd_per_gpu: Annotated[float, Field(ge=0)] | None = Field(
        None, description="your offer for InfiniBand, for each GPU"
    )
    roce_usd_per_gpu: Annotated[float, Field(ge=0)] | None = Field(
        None, description="your offer for RoCE, for each GPU"
    )
    ethernet_team: bool = Field(default=False, description="somebody tunes and watches RoCE")
    sharp: bool = Field(default=False, description="the InfiniBand offer has switches that reduce")
    live: bool = Field(
        default=False, description="take nodes, GPUs, links and traffic from the store"
    )
    pool: str | None = Field(
        None, description="with --live: pool, or service (its largest); default: the largest"
    )


def plan_network(options: NetworkOptions, seen: Facts | None = None) -> Report:
    """Expected times by algorithm, tensor-parallel share by link, the fabric decision.

    Args:
        options: What was asked.
        seen: Facts of the store, for `--live`; read when None.
    """
    measured, known = None, {}
    if options.live:
        measured = live.fabric_of(seen or live_facts(), options.pool)
        known = measured.known(options.model_fields_set)
        options = options.with_measured(measured.options)
    times = _times(options)
    best = min(times, key=lambda a: times[a])
    slow = None if options.measured_ms is None else options.measured_ms / 1000 / times[best]
    decision = fabric_choice.decide(
        gpus=options.nodes * options.gpus_per_node,
        # between nodes: one node has no such communication
        communication_share=options.communication_share if options.nodes > 1 else 0.0,
        usd_per_gpu_hour=options.usd_per_gpu_hour,
        infiniband_usd_per_gpu=options.infiniband_usd_per_gpu,
        roce_usd_per_gpu=options.roce_usd_per_gpu,
        ethernet_team=options.ethernet_team,
        sharp=options.sharp,
    )
    fix = (slow is not None and slow > SLOW_RATIO) or (measured is not None and measured.congested)
    report = Report(
        command="network",
        answer=_answer(options, best, times[best], slow, decision),
        action=Action.FIX_FABRIC if fix else Action.KEEP,
        tables=(
            _algorithms(times, options),
            _shares(options),
            _criteria(decision),
            *((_settings(),) if fix else ()),
        ),
        plots=(_plot(options),),
        numbers=_numbers(options, known, times[best], decision),
        refusals=_refusals(slow, decision),
        sources=SOURCES,
        versions={
            "collectives": collectives.VERSION,
            "network": network.VERSION,
            "fabric_choice": fabric_choice.VERSION,
        },
    )
    return report if measured is None else measured.beside(report)


def _rails(options: NetworkOptions) -> Rails:
    return Rails(
        bytes_per_second=options.rail_gbps / 8 * 1e9, oversubscription=options.oversubscription
    )


def _times(options: NetworkOptions) -> dict[Algorithm, float]:
    found = network.all_reduce_over_nodes_seconds(
        options.accelerator,
        options.message_mb * 1e6,
        options.nodes,
        options.gpus_per_node,
        _rails(options),
    )
    if found is None:
        known = sorted({s for s, _, _ in FITS if s != PCIE} | set(SAME_LINK))
        raise Misconfigured(
            "--accelerator",
            f"nobody published collectives on {options.accelerator}; measured: {', '.join(known)}",
        )
    return {a: t for a, t in found.items() if options.sharp or a is not Algorithm.SHARP}


def _answer(
    options: NetworkOptions,
    best: Algorithm,
    seconds: float,
    slow: float | None,
    decision: fabric_choice.Decision,
) -> str:
    gpus = options.nodes * options.gpus_per_node
    text = (
        f"An all-reduce of {options.message_mb:g} MB over {gpus} GPUs should take "
        f"{seconds * 1e3:.3g} ms ({best})"
    )
    if slow is not None:
        verdict = "look at the settings below" if slow > SLOW_RATIO else "as it should be"
        if slow < FAST_RATIO:
            verdict = "faster than links are: was it this size, over these GPUs?"
        text += f"; it takes {slow:.2g} times that: {verdict}"
    if decision.favours is not fabric_choice.Fabric.EITHER:
        text += f". For this size {decision.favours} pays"
    return text + "."


def _refusals(slow: float | None, decision: fabric_choice.Decision) -> tuple[str, ...]:
    said = []
    if slow is not None and FAST_RATIO <= slow <= SLOW_RATIO:
        said.append(f"measured within {SLOW_RATIO:g} times the best known: nothing to fix")
    if decision.premium_usd_per_gpu is None:
        said.append("InfiniBand or RoCE: no decision without both offers")
    elif decision.favours is fabric_choice.Fabric.EITHER:
        said.append("InfiniBand or RoCE: the premium lies within the doubt about lost work")
    return tuple(said)


def _algorithms(times: dict[Algorithm, float], options: NetworkOptions) -> Table:
    gpus = options.nodes * options.gpus_per_node
    factor = 2 * (gpus - 1) / gpus * options.message_mb * 1e6
    rows = tuple(
        (a.value, t * 1e3, factor / t / 1e9) for a, t in sorted(times.items(), key=lambda i: i[1])
    )
    return Table(
        title="All-reduce over all nodes",
        columns=("algorithm", "ms", "bus GB/s"),
        rows=rows,
        note="parts of the message are in the nodes and between them at once: the slower counts",
    )


def _shares(options: NetworkOptions) -> Table:
    """Tensor parallelism of the model: time in all-reduce by link."""
    model = MODELS[options.model]
    ranks = options.gpus_per_node
    measured = collectives.best_known(options.accelerator, Op.ALL_REDUCE, ranks)
    fits = {options.accelerator: measured} if options.accelerator != PCIE else {}
    for how, peers in (("peer access", True), ("through the host's memory", False)):
        wire = replace(_PCIE_4, peer_access=peers)
        fits[f"PCIe 4, {how}"] = wire.fit(Op.ALL_REDUCE, ranks)
    rows = []
    for system, fit in fits.items():
        if fit is None:
            continue
        spent = float(
            network.tensor_parallel_seconds(
                fit, layers=model.layers, hidden=model.hidden, tokens=options.tokens
            )
        )
        computing = compute_seconds(model, options)
        share = network.communication_share(spent, computing)
        rows.append((system, ranks, spent * 1e3, computing * 1e3, share))
    return Table(
        title=f"Tensor parallelism of {model.name}, {options.tokens} tokens a step",
        columns=("link", "GPUs", "all-reduce ms", "matrix work ms", "share of the step"),
        rows=tuple(rows),
        note="PCIe: two hosts with eight L40S (AIC); the second ran TP8 at 8.4 % of its speed of"
        " light, H100 over NVLink 75 %",
    )


def compute_seconds(model: Model, options: NetworkOptions) -> float:
    """Matrix work of the step at 60 % of the accelerator's bf16 peak, over the node's GPUs."""
    peak = (BY_NAME[options.accelerator].bf16_tflops or 0.0) * 1e12
    work = 2 * model.active_params * options.tokens
    return work / (0.6 * peak * options.gpus_per_node) if peak else 0.0


def _criteria(decision: fabric_choice.Decision) -> Table:
    rows = tuple((c.name, c.favours.value, c.why, c.confidence.value) for c in decision.criteria)
    return Table(
        title="InfiniBand or RoCE", columns=("criterion", "favours", "why", "confidence"), rows=rows
    )


def _settings() -> Table:
    rows = tuple(
        (condition, s.where, s.name, s.look_for)
        for condition, all_ in SETTINGS.items()
        for s in all_
    )
    return Table(
        title="Settings to look at, by finding",
        columns=("finding", "where", "setting", "look for"),
        rows=rows,
    )


def _plot(options: NetworkOptions) -> Plot:
    """Time by size, inside one node and among all GPUs of the question."""
    fit = collectives.best_known(options.accelerator, Op.ALL_REDUCE, options.gpus_per_node)
    assert fit is not None  # noqa: S101 - `_times` refused systems without one
    sizes = np.geomspace(512, 2e9, 40)
    inside = collectives.collective_seconds(fit, sizes)
    series = [_series(f"{fit.ranks} GPUs of one node", sizes, inside.tolist())]
    if options.nodes > 1:
        every = [options.model_copy(update={"message_mb": s / 1e6}) for s in sizes.tolist()]
        gpus = options.nodes * options.gpus_per_node
        series.append(_series(f"all {gpus:,}", sizes, [min(_times(o).values()) for o in every]))
    found = options.measured_ms
    return Plot(
        title=f"All-reduce on {options.accelerator}, best known",
        kind=PlotKind.LOGLOG,
        x_label="message, MB",
        y_label="ms",
        series=tuple(series),
        marks=()
        if found is None
        else (Mark(label=f"measured: {found:.3g} ms", x=options.message_mb, y=found),),
    )


def _series(name: str, sizes: Floats, seconds: Sequence[float]) -> Series:
    return Series(name=name, x=tuple((sizes / 1e6).tolist()), y=tuple(1e3 * s for s in seconds))


_REDUCED = ("nodes", "gpus_per_node", "rail_gbps", "oversubscription", "message_mb")


def _numbers(
    options: NetworkOptions,
    known: Mapping[str, Confidence],
    seconds: float,
    decision: fabric_choice.Decision,
) -> dict[str, Estimate]:
    expected = Interval(low=0.8 * seconds, mid=seconds, high=SLOW_RATIO * seconds).scaled(1e3)
    slower, lost = decision.slowdown_ratio, decision.slowdown_usd_per_gpu
    sure = partial(sureness, options, known=known)
    waits = sure(("communication_share",))
    worth = sure(("communication_share", "usd_per_gpu_hour"))
    return {
        "all-reduce": estimate(
            expected.low, expected.mid, expected.high, "ms", sure(_REDUCED), SOURCES[0]
        ),
        "step on RoCE against InfiniBand": estimate(
            slower.low, slower.mid, slower.high, "ratio longer", waits, SOURCES[2]
        ),
        "worth of that": estimate(
            lost.low, lost.mid, lost.high, "USD a GPU in 4 years", worth, SOURCES[2]
        ),
    }

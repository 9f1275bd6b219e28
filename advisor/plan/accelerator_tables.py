"""Tables and plots of `plan accelerator`."""

from __future__ import annotations

import math

import numpy as np

from advisor.catalog import ceilings
from advisor.catalog.accelerators import Accelerator
from advisor.catalog.measured import near
from advisor.facts import Facts
from advisor.models import accelerators as model
from advisor.models import phases, throughput
from advisor.models.accelerators import Choice, Verdict
from advisor.models.roofline import ridge_point_flops_per_byte
from advisor.models.throughput import Job
from advisor.plan.inputs import Demand
from advisor.plan.report import Cell, Mark, Plot, PlotKind, Series, Table
from advisor.rules.pricing import accelerator_of

LOADED_RATIO = 0.8  # of an engine's best rate, so that queues stay short
COLUMNS = (
    "accelerator",
    "engine",
    "low tok/s",
    "tok/s each",
    "high tok/s",
    "USD/M tok",
    "USD/h",
    "break-even USD/h",
    "J/tok",
    "needed",
    "published tok/s",
    "software",
)


def devices_needed(choice: Choice, asked: Demand) -> int | None:
    """Accelerators for the demand, in whole engines at 80 % of their best rate; None unverified."""
    if choice.rate is None:
        return None
    need = asked.requests_per_second * asked.output_tokens
    each = choice.rate.tokens_per_second_per_device.mid * choice.rate.devices
    return math.ceil(need / (LOADED_RATIO * each)) * choice.rate.devices


def ranking(found: tuple[Choice, ...], job: Job, asked: Demand, today: Choice) -> Table:
    """What was measured, cheapest token first; those without a price last."""
    measured = (c for c in found if c.rate is not None and c.software.runnable)
    return Table(
        title="Measured and runnable, cheapest first",
        columns=COLUMNS,
        rows=tuple(_row(c, job, asked, today) for c in measured),
        note="tok/s: output tokens of one accelerator; break-even: price at which it costs what "
        "today's does; needed: accelerators for this demand at 80 % load",
    )


def _row(choice: Choice, job: Job, asked: Demand, today: Choice) -> tuple[Cell, ...]:
    rate, cost, energy = choice.rate, choice.usd_per_million_tokens, choice.joules_per_token
    assert rate is not None  # noqa: S101 - `ranking` lists only those
    speed = rate.tokens_per_second_per_device
    even = model.break_even_usd_per_hour(choice, today)
    name = choice.accelerator.name
    published = near(name, job.model.name, job.prompt_tokens, job.output_tokens)
    return (
        name,
        str(rate.layout),
        speed.low,
        speed.mid,
        speed.high,
        None if cost is None else cost.mid,
        None if choice.usd_per_hour is None else choice.usd_per_hour.mid,
        None if even is None else even.mid,
        None if energy is None else energy.mid,
        devices_needed(choice, asked),
        None if published is None else published.tokens_per_second_per_device,
        choice.software.support.value,
    )


def refused(found: tuple[Choice, ...]) -> Table:
    """What is not ranked, and why."""
    rows = tuple(
        (
            c.accelerator.name,
            c.verdict.value,
            c.least_devices,
            c.software.evidence,
            c.software.source.as_of,
        )
        for c in found
        if c.verdict not in {Verdict.RANKED, Verdict.UNPRICED}
    )
    return Table(
        title="Not ranked",
        columns=("accelerator", "why", "devices that would hold it", "software", "as of"),
        rows=rows,
    )


def costs(found: tuple[Choice, ...], today: Choice) -> tuple[Plot, ...]:
    """Cost per million tokens with its interval, today's named; nothing if none is ranked."""
    priced = [(c, c.usd_per_million_tokens) for c in found if c.verdict is Verdict.RANKED]
    bars = [
        (f"{c.accelerator.name}{' (today)' * (c is today)}", cost)
        for c, cost in priced
        if cost is not None
    ]
    if not bars:
        return ()
    series = Series(
        name="USD per million output tokens",
        x=tuple(float(i) for i in range(len(bars))),
        y=tuple(cost.mid for _, cost in bars),
        low=tuple(cost.low for _, cost in bars),
        high=tuple(cost.high for _, cost in bars),
        labels=tuple(name for name, _ in bars),
    )
    return (
        Plot(
            title="Cost of a million output tokens",
            kind=PlotKind.BAR,
            x_label="accelerator",
            y_label="USD per million output tokens",
            series=(series,),
        ),
    )


def roofline(job: Job, which: Accelerator, seen: Facts | None) -> tuple[Plot, ...]:
    """Roofline of one accelerator with the workload's phases and the fleet's pools on it."""
    if which.bandwidth_tb_s is None or which.bf16_tflops is None:
        return ()
    engine = throughput.replica(job, which, 1)
    flops = ceilings.peak_flops(which, engine.computed_format)
    bandwidth = which.bandwidth_tb_s * 1e12
    ridge = ridge_point_flops_per_byte(flops, bandwidth)
    x = np.array([1.0, ridge, 10_000.0])  # straight lines between them, and a corner
    roof = np.minimum(flops, x * bandwidth) / 1e12
    marks = [
        Mark(label=f"ridge {ridge:.0f} FLOP/B", x=ridge),
        *_phases(job, which, flops, bandwidth),
    ]
    return (
        Plot(
            title=f"Roofline of one {which.name} ({engine.computed_format})",
            kind=PlotKind.LOGLOG,
            x_label="arithmetic intensity, FLOP per byte",
            y_label="TFLOP/s",
            series=(Series(name="peak", x=tuple(x.tolist()), y=tuple(roof.tolist())),),
            marks=(*marks, *_pools(seen, which, flops, bandwidth)),
        ),
    )


def _phases(job: Job, which: Accelerator, flops: float, bandwidth: float) -> list[Mark]:
    found = throughput.best_rate(job, which)
    if found is None:
        return []
    engine = throughput.replica(job, which, found.devices)
    context = job.prompt_tokens + job.output_tokens / 2
    decode = phases.decode_work(engine, found.batch, context)
    prefill = phases.prefill_work(engine, job.prompt_tokens)
    marks = []
    for label, work in (("decode", decode), ("prefill", prefill)):
        intensity = float(work.flops) / float(work.traffic_bytes)
        reached = min(flops, intensity * bandwidth) / 1e12
        marks.append(Mark(label=f"{label}, at most", x=intensity, y=reached))
    return marks


def _pools(seen: Facts | None, which: Accelerator, flops: float, bandwidth: float) -> list[Mark]:
    """Where the fleet's pools of this accelerator sit, by their counters."""
    marks = []
    for pool in () if seen is None else seen.pools:
        mine = accelerator_of(pool)
        if mine is None or mine.name != which.name or not pool.dram_ratio or not pool.tensor_ratio:
            continue
        reached = pool.tensor_ratio * flops
        intensity = reached / (pool.dram_ratio * bandwidth)
        marks.append(Mark(label=f"{pool.group} pool", x=intensity, y=reached / 1e12))
    return marks

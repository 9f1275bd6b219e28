"""The question of `plan burst`: its options, and need, offers, prices and history made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from advisor.catalog import stacks
from advisor.catalog.accelerators import BY_NAME
from advisor.catalog.files import Source
from advisor.catalog.models import MODELS
from advisor.facts import Facts
from advisor.models import concurrency, hybrid, traffic, workload
from advisor.models.burst_plan import Across, BurstPlan, Need, No
from advisor.models.interval import Interval, of
from advisor.models.kv import kv_bytes
from advisor.models.peaks import Peaks, Rented
from advisor.models.periods import HOURS_PER_MONTH
from advisor.models.sizing import Objectives
from advisor.models.token_fits import histogram_of, lognormal_of
from advisor.models.traffic import Kind
from advisor.plan import gpu_demand
from advisor.plan.engine import engine_of
from advisor.plan.gpu_demand import History
from advisor.plan.inputs import Demand, demand, pools_of
from advisor.plan.options import (
    AcceleratorName,
    EngineName,
    ModelName,
    WorkloadOptions,
    option_name,
)
from advisor.rules.pricing import Catalog
from ridgeline.errors import Misconfigured
from ridgeline.settings import AdvisorSettings

NODE_GPUS = 8
LOAD_RATIO = Objectives().most_load_ratio


class BurstOptions(WorkloadOptions):
    """Where, how many and for how long to rent for peaks; or own, or buy by the token; or no."""

    panel = "Burst"

    demand: Path | None = Field(
        None, description="CSV of GPUs in use: timestamp,gpus; best a week or more"
    )
    gpus: Annotated[float, Field(gt=0, le=1e6)] | None = Field(
        None, description="without history: GPUs missing in a peak"
    )
    hours_per_peak: Annotated[float, Field(gt=0, le=720)] | None = Field(
        None, description="without history: hours a peak lasts"
    )
    peaks_per_month: Annotated[float, Field(gt=0, le=50_000)] | None = Field(
        None, description="without history: peaks a month"
    )
    own_gpus: Annotated[float, Field(ge=0, le=1e6)] | None = Field(
        None,
        description="with history: GPUs there are; default: --live counts them, else what to own",
    )
    queue_wait_seconds: Annotated[float, Field(ge=0)] | None = Field(
        None, description="batch jobs: what they wait today; rented only if provisioning is sooner"
    )
    idle_gpus: Annotated[int, Field(ge=0)] = Field(
        0, description="idle GPUs of the same kind elsewhere: used first"
    )
    model: ModelName = Field("llama3-70b", description="served model, as the catalogue names it")
    accelerator: AcceleratorName = Field("H100-SXM", description="accelerator to rent")
    gpus_per_engine: Annotated[int, Field(ge=1, le=1024)] = Field(
        8, description="GPUs of one engine, tensor-parallel"
    )
    engine: EngineName | None = Field(
        None, description=f"serving software: {', '.join(stacks.BY_NAME)}; default: by platform"
    )
    max_sequences: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        None,
        description="sequences an engine runs at once, over its data ranks (max_num_seqs); "
        "default: vLLM's, of each rank 1,024, or 256 on A100 and below 70 GiB",
    )
    tpot_seconds: Annotated[float, Field(gt=0)] = Field(
        0.1, description="objective: time per output token"
    )
    allowed: str | None = Field(
        None,
        description="where data may go, e.g. nebius,gcp/europe-*; default: the advisor's regions",
    )
    rent_usd_per_hour: Annotated[float, Field(gt=0)] | None = Field(
        None, description="an offer of your own, USD a GPU-hour"
    )
    own_usd_per_hour: Annotated[float, Field(gt=0)] | None = Field(
        None, description="what an owned GPU costs an hour, used or not; default: the catalogue's"
    )
    interruptions_per_hour: Annotated[float, Field(ge=0, le=3600)] | None = Field(
        None, description="how often a spot node is taken away; given: spot may be planned with"
    )
    egress_gb_per_hour: Annotated[float, Field(ge=0)] = Field(
        0.0, description="data that leaves the rented place while it is used"
    )
    egress_usd_per_gb: Annotated[float, Field(ge=0)] | None = Field(
        None, description="price of that"
    )
    usd_per_tonne_co2: Annotated[float, Field(ge=0)] = Field(
        0.0, description="price put on carbon when ranking places"
    )
    grid_gco2_per_kwh: Annotated[float, Field(ge=0, le=2000)] | None = Field(
        None, description="with --rent-usd-per-hour: carbon of the grid there"
    )
    split_network_gbps: Annotated[float, Field(ge=0)] | None = Field(
        None, description="prefill here, decode there: the network in between"
    )
    catalog: Path | None = Field(None, description="YAML that corrects or extends the catalogue")
    skypilot: Path | None = Field(None, description="also write the plan as a SkyPilot task file")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """USD an hour of one GPU's work; None where there is no price to cite."""

    own: Interval | None
    rent: Interval | None
    managed: Interval | None
    sources: Mapping[str, Source]  # of those that are not None, by name


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is served, where that is known, and the ceiling of one engine under it."""

    asked: Demand
    top: concurrency.Ceiling


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Everything the report is made of."""

    options: BurstOptions
    history: History | None
    shape: workload.Shape | None
    owned: Interval | None
    peaks: Peaks | None
    plan: BurstPlan | No
    layers: hybrid.Hybrid | None
    prices: Prices
    origin: str


def catalog_of(options: BurstOptions) -> Catalog:
    """Ours, corrected by the file given or by the advisor's."""
    if options.catalog is None:
        return Catalog.of(AdvisorSettings.load())
    return Catalog.of(AdvisorSettings(catalog=str(options.catalog)))


def load_of(options: BurstOptions, seen: Facts | None) -> Load | None:
    """The workload, from a trace, the store or flags; None when only GPUs were given."""
    numbers = ("requests_per_second", "prompt_tokens", "output_tokens")
    given = [n for n in numbers if getattr(options, n) is not None]
    if options.trace is None and not options.live and not given:
        return None
    asked = demand(options, seen)
    if asked.answers is not None:
        answers = asked.answers.histogram
    else:
        answers = histogram_of(lognormal_of(asked.output_tokens, 1.0))
    engine = engine_of(
        options.model,
        options.accelerator,
        options.gpus_per_engine,
        options.max_sequences,
        options.engine,
    )
    load = Kind(
        name="load",
        share=1.0,
        prompt_tokens=asked.prompt_tokens,
        answer=answers,
        prefix_hit_ratio=asked.prefix_hit_ratio or 0.0,
    )
    mix = traffic.mixed([load])
    return Load(asked=asked, top=concurrency.ceiling(engine, mix, options.tpot_seconds))


def history_of(options: BurstOptions, load: Load | None, seen: Facts | None) -> History | None:
    """GPUs in use over time, or None when peaks were given as numbers.

    Raises:
        Misconfigured: nothing to plan by, or the load fits no engine.
    """
    if options.demand is not None:
        return gpu_demand.of_file(options.demand)
    if options.trace is not None and load is not None and load.asked.trace is not None:
        if load.top.queries_per_second <= 0:
            raise Misconfigured("--accelerator", f"{load.top.limit}: no engine carries this load")
        return gpu_demand.of_trace(load.asked.trace, load.top, options.gpus_per_engine, LOAD_RATIO)
    if seen is not None:
        _, pool = pools_of(seen, options.pool)
        return gpu_demand.of_facts(seen, pool)
    for name in ("gpus", "hours_per_peak", "peaks_per_month"):
        if getattr(options, name) is None:
            problem = "is needed, or --demand FILE, --trace FILE or --live"
            raise Misconfigured(option_name(name), problem)
    return None


def need_of(
    options: BurstOptions, peaks: Peaks | None, rent: Rented | None, *, lasting: bool = True
) -> Need:
    """What is missing: of the peaks seen, or of the numbers given (with a fifth of doubt).

    Raises:
        Misconfigured: the peaks given last longer than the month.
    """
    together = (options.hours_per_peak or 0.0) * (options.peaks_per_month or 0.0)
    if together > HOURS_PER_MONTH:
        problem = f"times --peaks-per-month is {together:,.0f} h; allowed: a month's"
        raise Misconfigured("--hours-per-peak", f"{problem} {HOURS_PER_MONTH:,.0f} h")
    accelerator, model = BY_NAME[options.accelerator], MODELS[options.model]
    if peaks is None or rent is None:
        given = (options.gpus or 0.0, options.hours_per_peak or 0.0, options.peaks_per_month or 0.0)
        gpus, hours, often = (of(0.8 * v, v, 1.2 * v) for v in given)
    else:
        gpus = rent.units.mapped(lambda nodes: nodes * NODE_GPUS + options.idle_gpus)
        hours, often = peaks.hours_each, peaks.per_month
    return Need(
        pool=options.pool or "serving",
        accelerator=accelerator.name,
        gpus=gpus,
        hours_per_peak=hours,
        peaks_per_month=often,
        model_gb=model.weight_bytes() / 1e9,
        gpu_kw=(accelerator.power_w or 0.0) / 1000,
        idle_gpus=options.idle_gpus,
        foreseeable=peaks is not None and peaks.foreseeable,
        interruptible=options.interruptions_per_hour is not None,
        egress_gb_per_hour=options.egress_gb_per_hour,
        rented=rent,
        lasting=lasting,
        drain_seconds=options.queue_wait_seconds,
    )


def across_of(options: BurstOptions) -> Across | None:
    """The line between two halves of a pool, when one half is to be rented.

    Raises:
        Misconfigured: rate or prompt length is not given.
    """
    if options.split_network_gbps is None:
        return None
    for name in ("requests_per_second", "prompt_tokens"):
        if getattr(options, name) is None:
            raise Misconfigured(option_name(name), "is needed with --split-network-gbps")
    prompt = options.prompt_tokens or 1.0
    return Across(
        prompt_tokens=prompt,
        kv_bytes_per_token=float(kv_bytes(MODELS[options.model], prompt)) / prompt,
        requests_per_second=options.requests_per_second or 0.0,
        network_gbps=options.split_network_gbps,
    )

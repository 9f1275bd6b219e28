"""The question of `plan burst`: its options, and need, offers, prices and history made of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from advisor.catalog import managed as endpoints
from advisor.catalog.accelerators import BY_NAME
from advisor.catalog.models import MODELS
from advisor.catalog.prices import street
from advisor.catalog.servers import SERVERS
from advisor.facts import Facts
from advisor.models import concurrency, hybrid, traffic, workload
from advisor.models.burst_plan import Across, BurstPlan, Need, No, Offer, Policy
from advisor.models.interval import Interval, exactly, of
from advisor.models.peaks import Peaks, Rented
from advisor.models.sizing import Objectives
from advisor.models.token_fits import histogram_of, lognormal_of
from advisor.models.token_sources import from_samples
from advisor.models.traffic import Kind
from advisor.plan import gpu_demand
from advisor.plan.engine import ServedModel, engine_of
from advisor.plan.gpu_demand import History
from advisor.plan.inputs import Demand, demand
from advisor.plan.options import AcceleratorName, WorkloadOptions, option_name
from advisor.rules.offers import offers
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
    model: ServedModel = Field("llama3-70b", description="served model, as the catalogue names it")
    accelerator: AcceleratorName = Field("H100-SXM", description="accelerator to rent")
    gpus_per_engine: Annotated[int, Field(ge=1, le=1024)] = Field(
        8, description="GPUs of one engine, tensor-parallel"
    )
    max_sequences: Annotated[int, Field(ge=1, le=100_000)] = Field(
        256, description="sequences an engine runs at once (max_num_seqs)"
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
    if asked.trace is not None:
        answers = from_samples(asked.trace.output_tokens.clip(1.0))
    else:
        answers = histogram_of(lognormal_of(asked.output_tokens, 1.0))
    engine = engine_of(
        options.model, options.accelerator, options.gpus_per_engine, options.max_sequences
    )
    mix = traffic.mixed(
        [Kind(name="load", share=1.0, prompt_tokens=asked.prompt_tokens, answer=answers)]
    )
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
        pool = options.pool or ("mixed" if seen.serving_of("mixed") else "decode")
        return gpu_demand.of_facts(seen, pool)
    for name in ("gpus", "hours_per_peak", "peaks_per_month"):
        if getattr(options, name) is None:
            problem = "is needed, or --demand FILE, --trace FILE or --live"
            raise Misconfigured(option_name(name), problem)
    return None


def need_of(options: BurstOptions, peaks: Peaks | None, rent: Rented | None) -> Need:
    """What is missing: of the peaks seen, or of the numbers given (with a fifth of doubt)."""
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
        drain_seconds=options.queue_wait_seconds,
    )


def offers_of(options: BurstOptions, catalog: Catalog) -> tuple[Offer, ...]:
    """All that is for rent in the catalogue (launch lists left out), and the offer given."""
    listed = offers(catalog, options.egress_usd_per_gb, options.interruptions_per_hour)
    if options.rent_usd_per_hour is None:
        return listed
    own = Offer(
        provider="given",
        region="",
        accelerator=options.accelerator,
        usd_per_gpu_hour=options.rent_usd_per_hour,
        egress_usd_per_gb=options.egress_usd_per_gb,
        grid_gco2_per_kwh=options.grid_gco2_per_kwh,
        source="option --rent-usd-per-hour",
    )
    return (own, *listed)


def policy_of(options: BurstOptions, prices: Prices) -> Policy:
    """What is allowed and counted; without `--allowed` the advisor's regions."""
    settings = AdvisorSettings.load()
    said = settings.regions if options.allowed is None else options.allowed.split(",")
    return Policy(
        allowed=tuple(entry.strip() for entry in said if entry.strip()),
        usd_per_tonne_co2=options.usd_per_tonne_co2,
        pue=settings.pue,
        owned_usd_per_gpu_hour=prices.own,
    )


def prices_of(options: BurstOptions, load: Load | None, catalog: Catalog) -> Prices:
    """Own, rented and managed, each where it can be cited or was given."""
    settings = AdvisorSettings.load()
    server = SERVERS.get(options.accelerator)
    own = server.usd_per_gpu_hour(settings.power_usd_per_kwh, settings.pue) if server else None
    if options.own_usd_per_hour is not None:
        own = exactly(options.own_usd_per_hour)
    known = street(options.accelerator, catalog.prices)
    rent = of(*known) if known else None
    if options.rent_usd_per_hour is not None:
        rent = exactly(options.rent_usd_per_hour)
    return Prices(own=own, rent=rent, managed=_managed(options, load, catalog))


def _managed(options: BurstOptions, load: Load | None, catalog: Catalog) -> Interval | None:
    """What the queries a busy GPU answers in an hour cost at managed endpoints."""
    if load is None:
        return None
    asked = load.asked
    query = endpoints.usd_per_query(
        options.model, asked.prompt_tokens, asked.output_tokens, catalog.endpoints
    )
    hourly = load.top.queries_per_second * LOAD_RATIO * 3600 / options.gpus_per_engine
    return None if query is None or hourly <= 0 else of(*query).scaled(hourly)


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
    return Across(
        prompt_tokens=options.prompt_tokens or 0.0,
        kv_bytes_per_token=MODELS[options.model].kv_bytes_per_token(),
        requests_per_second=options.requests_per_second or 0.0,
        network_gbps=options.split_network_gbps,
    )

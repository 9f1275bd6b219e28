"""The question of `plan capacity`: its options, and load, engine and price made of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from advisor.catalog import stacks
from advisor.catalog.prices import street, street_source
from advisor.models import scenarios, token_fits
from advisor.models.interval import Interval, of
from advisor.models.sizing import Objectives, Service
from advisor.models.tokens import Histogram
from advisor.models.traffic import Kind
from advisor.plan.engine import engine_of
from advisor.plan.inputs import Demand
from advisor.plan.options import AcceleratorName, EngineName, ModelName, WorkloadOptions
from advisor.rules.pricing import estimate, sourced
from ridgeline.errors import Misconfigured
from ridgeline.events import Confidence, Estimate

WINDOW_SECONDS = 60.0
BUSY_SHARE = 0.95


class CapacityOptions(WorkloadOptions):
    """How many GPUs does this load take, what does a query cost, what would more reasoning do?"""

    panel = "Serving"

    model: ModelName = Field("llama3-70b", description="served model, as the catalogue names it")
    accelerator: AcceleratorName = Field("H100-SXM", description="accelerator of every engine")
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
    waiting_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.05, description="share of requests that may find no free slot"
    )
    gpu_usd_per_hour: Annotated[float, Field(gt=0)] | None = Field(
        None, description="price of a GPU-hour; default: the catalogue's"
    )
    output_cv: Annotated[float, Field(ge=0, le=20)] = Field(
        1.0,
        description="lengths not known: variation of answers, standard deviation over mean",
    )
    samples: Annotated[int, Field(ge=1, le=4096)] = Field(
        1, description="answers sampled a query (best-of-N, self-consistency)"
    )
    correlation: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="likeness in length of the samples of one prompt"
    )
    reasoning_share: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="what if this share of queries were answered with long thought"
    )
    reasoning_tokens: Annotated[float, Field(gt=0, le=1e7)] = Field(
        2133.0, description="mean answer with long thought; shaped like DeepSeek-R1's"
    )
    before: Path | None = Field(
        None, description="with --trace: an earlier trace; have the answers' lengths drifted?"
    )
    coverage: str | None = Field(
        None, description="measured share of tasks solved by samples, e.g. 1:0.159,5:0.296"
    )
    solved_usd: Annotated[float, Field(gt=0)] | None = Field(
        None, description="with --coverage: what a solved task is worth"
    )
    bigger_model: ModelName | None = Field(
        None, description="with --coverage: a bigger model that would be asked once instead"
    )
    bigger_coverage: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="with --bigger-model: measured share of tasks it solves at once"
    )
    bigger_gpus_per_engine: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None, description="with --bigger-model: GPUs of its engine; default: the fewest"
    )
    bigger_output_tokens: Annotated[float, Field(gt=0, le=1e7)] | None = Field(
        None, description="with --bigger-model: its mean answer; default: as long as this one's"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A load that can be carried, and everything the parts of the report are made of."""

    options: CapacityOptions
    asked: Demand
    kind: Kind
    service: Service
    price: Estimate
    rate: Interval
    found: scenarios.Range


def answer_lengths(asked: Demand, options: CapacityOptions) -> Histogram:
    """Lengths as counted or exported; else a lognormal of mean and variation."""
    if asked.answers is not None:
        return asked.answers.histogram
    law = token_fits.lognormal_of(asked.output_tokens, options.output_cv)
    return token_fits.histogram_of(law)


def service_of(options: CapacityOptions, asked: Demand, price: Estimate) -> Service:
    """The engine of the options at its price, under arrivals as bursty as they are."""
    engine = engine_of(
        options.model,
        options.accelerator,
        options.gpus_per_engine,
        options.max_sequences,
        options.engine,
    )
    return Service(
        engine=engine,
        usd_per_gpu_hour=price.mid,
        objectives=Objectives(
            tpot_seconds=options.tpot_seconds, waiting_share=options.waiting_share
        ),
        arrival_cv=1.0 if asked.arrival_cv is None else asked.arrival_cv,
    )


def kind_of(options: CapacityOptions, asked: Demand, answers: Histogram) -> Kind:
    """The load as one kind of query."""
    return Kind(
        name="this load",
        share=1.0,
        prompt_tokens=asked.prompt_tokens,
        answer=answers,
        samples=options.samples,
        correlation=options.correlation,
        prefix_hit_ratio=asked.prefix_hit_ratio or 0.0,
    )


def gpu_price(options: CapacityOptions) -> Estimate:
    """USD per GPU-hour: given, or what the street pays; Misconfigured without either."""
    if options.gpu_usd_per_hour is not None:
        given = (options.gpu_usd_per_hour,) * 3
        return estimate(*given, "USD/h", Confidence.ASSUMED, "option --gpu-usd-per-hour")
    known, source = street(options.accelerator), street_source(options.accelerator)
    if known is None or source is None:
        problem = f"is needed: no price of {options.accelerator} is in the catalogue"
        raise Misconfigured("--gpu-usd-per-hour", problem)
    return sourced(*known, "USD/h", source)


def busy_rate(asked: Demand) -> Interval:
    """The rate to carry: of the busy minutes of a trace, else the one given."""
    rate = asked.requests_per_second
    if asked.trace is None:
        return of(rate, rate, rate)
    times = asked.trace.arrival_seconds
    windows = int(times[-1] // WINDOW_SECONDS)
    if windows < 10:
        return of(rate, rate, rate)
    counts, _ = np.histogram(times, windows, (0.0, windows * WINDOW_SECONDS))
    low, mid, high = np.quantile(counts / WINDOW_SECONDS, (0.5, BUSY_SHARE, 1.0))
    # where most minutes see no request at all, the mean is the busier one
    return of(float(low) or rate, max(float(mid), rate), max(float(high), rate))

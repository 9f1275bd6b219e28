"""`plan serving`: one engine at every number of requests, as a benchmark of it would report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field

from advisor.catalog import stacks
from advisor.catalog.models import MODELS, Format
from advisor.catalog.prices import street, street_source
from advisor.models import closed_loop, energy, operation, phases
from advisor.models.arrays import Floats
from advisor.models.interval import Interval
from advisor.models.kv import most_sequences, overhead_bytes_per_gpu, weight_bytes_per_gpu
from advisor.models.operation import Operation
from advisor.models.replica import Layout, Replica, Speculation
from advisor.plan.engine import LARGEST_ENGINE, device_of, fewest_gpus, layout_of
from advisor.plan.options import AcceleratorName, EngineName, ModelName, Options
from advisor.plan.report import Mark, Plot, PlotKind, Report, Series, Table
from advisor.rules.pricing import estimate
from ridgeline.errors import Misconfigured
from ridgeline.events import Confidence, Estimate

SOURCES = (
    "latency: kernels under ceilings measured by AIConfigurator (ai-dynamo/aiconfigurator@095f58a)",
    "closed loop: a request follows as one ends; errors measured in docs/models.md",
    "power: fitted to the ML.ENERGY leaderboard, GPUs alone",
)
DEFAULT_MOST = 256  # requests, where the cache holds more: vLLM's default cap


def _counts(text: str) -> str:
    """Raises ValueError unless it is whole numbers above 0 between commas."""
    for part in text.split(","):
        if not part.strip().isdecimal() or not 1 <= int(part) <= 1_000_000:
            raise ValueError(f"whole numbers from 1 to 1,000,000 between commas, not {part!r}")
    return text


class ServingOptions(Options):
    """How fast is one engine: first token, each token, tokens/s, watts and joules a token?"""

    panel = "Engine"

    model: ModelName = Field("llama3-70b", description="served model, as the catalogue names it")
    accelerator: AcceleratorName = Field("H100-SXM", description="accelerator of the engine")
    gpus: Annotated[int, Field(ge=1, le=LARGEST_ENGINE)] | None = Field(
        None, description="GPUs of the engine; default: the fewest that hold the model"
    )
    tensor: Annotated[int, Field(ge=1, le=64)] | None = Field(
        None, description="tensor parallelism; default: all GPUs, or as the model is served"
    )
    pipeline: Annotated[int, Field(ge=1, le=64)] | None = Field(
        None, description="stages of a pipeline; with --tensor"
    )
    data: Annotated[int, Field(ge=1, le=512)] | None = Field(
        None, description="ranks of data-parallel attention; with --tensor"
    )
    expert: Annotated[int, Field(ge=1, le=512)] | None = Field(
        None, description="GPUs that experts are spread over whole; with --tensor"
    )
    weights: Format | None = Field(None, description="format of the weights; default: as published")
    cache: Format = Field(Format.BF16, description="format of the KV cache")
    engine: EngineName | None = Field(
        None, description=f"serving software: {', '.join(stacks.BY_NAME)}; default: by platform"
    )
    peer_access: bool | None = Field(
        None,
        description="GPUs over PCIe reach one another's memory (nvidia-smi topo -p2p r); "
        "default: up to 4 of PCIe 4",
    )
    prompt_tokens: Annotated[float, Field(ge=1, le=1e7)] = Field(
        1024.0, description="prompt tokens of a request"
    )
    output_tokens: Annotated[float, Field(ge=1, le=1e7)] = Field(
        256.0, description="output tokens of a request"
    )
    prefix_hit_ratio: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="share of prompt tokens found in the prefix cache"
    )
    requests: Annotated[str, AfterValidator(_counts)] | None = Field(
        None, description="requests in flight, e.g. 1,8,64; default: 1 to what the cache holds"
    )
    tpot_seconds: Annotated[float, Field(gt=0)] | None = Field(
        None, description="objective: time per output token; default: none"
    )
    drafted: Annotated[int, Field(ge=1, le=64)] | None = Field(
        None, description="speculative decoding: tokens drafted a step"
    )
    acceptance_ratio: Annotated[float, Field(ge=0, le=1)] = Field(
        0.7, description="with --drafted: share of drafted tokens that are accepted"
    )
    gpu_usd_per_hour: Annotated[float, Field(gt=0)] | None = Field(
        None, description="price of a GPU-hour; default: the street's"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """An engine that holds its model, and what it does at each number of requests."""

    options: ServingOptions
    replica: Replica
    found: Operation
    at: int | None  # the entry to speak of: the most tokens/s within the objective
    usd: Estimate | None  # of a GPU-hour


def serving(options: ServingOptions) -> Report:
    """One row for each number of requests, the best of them in a sentence, and two curves."""
    replica = _replica(options)
    if not phases.fits(replica):
        return _too_large(options, replica)
    found = operation.operate(
        replica,
        _requests(options, replica),
        options.prompt_tokens,
        options.output_tokens,
        options.prefix_hit_ratio * options.prompt_tokens,
    )
    case = _Case(
        options=options,
        replica=replica,
        found=found,
        at=_best(found, options.tpot_seconds),
        usd=_price(options),
    )
    return Report(
        command="serving",
        answer=_answer(case),
        action=None,
        tables=(_speed(case), _use(case)),
        plots=(_trade(case), _latencies(case)),
        numbers=_numbers(case),
        refusals=_refusals(case),
        warnings=tuple(_warnings(case)),
        sources=(_software(replica, options), *SOURCES),
        versions={
            "operation": operation.VERSION,
            "closed loop": closed_loop.VERSION,
            "phases": phases.VERSION,
            "energy": energy.VERSION,
        },
    )


def _replica(options: ServingOptions) -> Replica:
    device, model = device_of(options.accelerator), MODELS[options.model]
    drafting = options.drafted and Speculation(
        drafted=options.drafted, acceptance_ratio=options.acceptance_ratio
    )
    one = Replica(
        model=model,
        accelerator=device,
        weights=options.weights,
        cache=options.cache,
        stack=stacks.of(options.engine, device, model),
        peer_access=options.peer_access,
        speculation=drafting or None,
    )
    return replace(one, layout=_layout(options, one))


def _layout(options: ServingOptions, one: Replica) -> Layout:
    """As told, else as its kind of model is served on the GPUs told, else on the fewest."""
    parts = (options.tensor, options.pipeline, options.data, options.expert)
    if options.gpus is not None or parts == (None,) * 4:
        if parts != (None,) * 4:
            raise Misconfigured(
                "--gpus", "not together with --tensor, --pipeline, --data, --expert"
            )
        return layout_of(one.model, one.accelerator, options.gpus or fewest_gpus(one))
    tensor, pipeline, data, expert = (part or 1 for part in parts)
    try:
        return Layout(tensor=tensor, pipeline=pipeline, data=data, expert=expert)
    except ValueError as error:
        raise Misconfigured("--expert", str(error)) from error


def _requests(options: ServingOptions, replica: Replica) -> Floats:
    if options.requests is not None:
        return np.unique([float(part) for part in options.requests.split(",")])
    room = float(most_sequences(replica, options.prompt_tokens + options.output_tokens / 2))
    most = max(1.0, min(room, DEFAULT_MOST * replica.layout.data))
    return np.unique(np.append(2.0 ** np.arange(int(np.log2(most)) + 1), np.floor(most)))


def _best(found: Operation, tpot_limit_seconds: float | None) -> int | None:
    within = found.tpot_seconds <= (tpot_limit_seconds or np.inf)
    if not within.any():
        return None
    return int(np.argmax(np.where(within, found.tokens_per_second, -np.inf)))


def _price(options: ServingOptions) -> Estimate | None:
    if options.gpu_usd_per_hour is not None:
        given = (options.gpu_usd_per_hour,) * 3
        return estimate(*given, "USD/h", Confidence.ASSUMED, "option --gpu-usd-per-hour")
    paid, source = street(options.accelerator), street_source(options.accelerator)
    if paid is None or source is None:
        return None
    return estimate(*paid, "USD/h", source.confidence, source.cited)


def _too_large(options: ServingOptions, replica: Replica) -> Report:
    need = weight_bytes_per_gpu(replica) + overhead_bytes_per_gpu(replica)
    share = 1.0 if replica.stack.shares_free else replica.memory_ratio
    have = replica.accelerator.memory_gb * 1e9 * share
    said = f"{need / 1e9:.0f} GB of weights and overhead a GPU, {have / 1e9:.0f} GB usable"
    return Report(
        command="serving",
        answer=f"{options.model} does not fit {replica.layout} of {options.accelerator}: {said}.",
        action=None,
        refusals=(said,),
        numbers={
            "memory needed": estimate(
                *(need / 1e9,) * 3, "GB a GPU", Confidence.MODELLED, "weights by shape and format"
            )
        },
        sources=(_software(replica, options),),
        versions={"phases": phases.VERSION},
    )


def _software(replica: Replica, options: ServingOptions) -> str:
    name = options.engine or stacks.default(replica.accelerator, replica.model).name
    release = stacks.BY_NAME[name]
    return f"software: {release.engine} {release.versions} ({release.source.cited})"


def _answer(case: _Case) -> str:
    found, replica = case.found, case.replica
    what = f"{case.options.model} on {replica.gpus} x {case.options.accelerator} ({replica.layout})"
    if case.at is None:
        fastest = float(found.tpot_seconds.min())
        return (
            f"{what} gives a token every {fastest * 1e3:.3g} ms at best: not within the objective."
        )
    i = case.at
    joules = found.joules_per_token[i]
    return (
        f"{what} gives {found.tokens_per_second[i]:,.0f} tokens/s to {found.requests[i]:.0f} "
        f"request{'' if found.requests[i] == 1 else 's'} at once: first token after "
        f"{found.ttft_seconds[i]:.3g} s, then one every {found.tpot_seconds[i] * 1e3:.3g} ms"
        + (f", {joules:.3g} J a token." if np.isfinite(joules) else ".")
    )


def _refusals(case: _Case) -> tuple[str, ...]:
    if case.at is not None:
        return ()
    limit = case.options.tpot_seconds or 0.0
    return (f"no number of requests has a token every {limit * 1e3:.3g} ms",)


def _speed(case: _Case) -> Table:
    found = case.found
    columns = {
        "requests": found.requests,
        "TTFT, s": found.ttft_seconds,
        "TPOT, ms": found.tpot_seconds * 1e3,
        "tok/s": found.tokens_per_second,
        "tok/s a GPU": found.tokens_per_second / case.replica.gpus,
        "fixed batch, s": found.batch_seconds,
    }
    note = "fixed batch: all begin together, from prompts to last tokens; a dash: does not fit"
    return _rows("Speed by requests in flight", columns, note)


def _use(case: _Case) -> Table:
    found, gpus = case.found, case.replica.gpus
    usd = np.nan if case.usd is None else case.usd.mid
    columns = {
        "requests": found.requests,
        "W a GPU": found.gpu_watts,
        "J a token": found.joules_per_token,
        "USD/M tok": usd * gpus / found.tokens_per_second / 3600 * 1e6,
        "HBM, %": 100 * found.bandwidth_ratio,
        "FLOP/s, %": 100 * found.compute_ratio,
        "cache, %": 100 * found.cache_ratio,
    }
    note = "HBM, FLOP/s: of peak, in a decode step; cache: in use; a dash: not known"
    return _rows("Power, cost and use by requests in flight", columns, note)


def _rows(title: str, columns: dict[str, Floats], note: str) -> Table:
    cells = ([float(v) if np.isfinite(v) else None for v in c] for c in columns.values())
    return Table(
        title=title, columns=tuple(columns), rows=tuple(zip(*cells, strict=True)), note=note
    )


def _trade(case: _Case) -> Plot:
    found = case.found
    return Plot(
        title="Tokens of a GPU against tokens of a user, by requests in flight",
        kind=PlotKind.SCATTER,
        x_label="output tokens/s of one request",
        y_label="output tokens/s of a GPU",
        series=(
            Series(
                name=f"{case.replica.gpus} x {case.options.accelerator}",
                x=tuple((1 / found.tpot_seconds).tolist()),
                y=tuple((found.tokens_per_second / case.replica.gpus).tolist()),
                labels=tuple(f"{n:.0f}" for n in found.requests),
            ),
        ),
    )


def _latencies(case: _Case) -> Plot:
    found, limit = case.found, case.options.tpot_seconds
    x = tuple(found.requests.tolist())
    error = operation.TPOT_ERROR[operation.kind_of(case.replica.model)]
    return Plot(
        title="Latency by requests in flight",
        kind=PlotKind.LOGLOG,
        x_label="requests in flight",
        y_label="seconds",
        series=(
            _curve("time to first token", x, found.ttft_seconds, operation.TTFT_ERROR),
            _curve("time per output token", x, found.tpot_seconds, error),
        ),
        marks=() if limit is None else (Mark(label="objective a token", y=limit),),
    )


def _curve(name: str, x: tuple[float, ...], values: Floats, error: float) -> Series:
    return Series(
        name=name,
        x=x,
        y=tuple(values.tolist()),
        low=tuple((values / (1 + error)).tolist()),
        high=tuple((values * (1 + error)).tolist()),
    )


def _numbers(case: _Case) -> dict[str, Estimate]:
    found, replica = case.found, case.replica
    i = int(np.argmin(found.tpot_seconds)) if case.at is None else case.at
    per_token = operation.TPOT_ERROR[operation.kind_of(replica.model)]
    rate = operation.within(float(found.tokens_per_second[i]), per_token)
    ttft = operation.within(float(found.ttft_seconds[i]), operation.TTFT_ERROR)
    tpot = operation.within(float(found.tpot_seconds[i]), per_token)
    latency, loop, power = SOURCES
    said = {
        "requests in flight": estimate(
            *(float(found.requests[i]),) * 3, "1", Confidence.ASSUMED, "options"
        ),
        "time to first token": _number(ttft, "s", loop),
        "time per output token": _number(tpot, "s", latency),
        "output tokens": _number(rate, "tokens/s", latency),
        "sequences the cache holds": estimate(
            *(float(found.running[i] / found.cache_ratio[i]),) * 3,
            "1",
            Confidence.ASSUMED,
            "memory less weights and overhead over the cache of a sequence",
        ),
    }
    joules = float(found.joules_per_token[i])
    if np.isfinite(joules):
        drawn = operation.within(float(found.gpu_watts[i]), operation.POWER_ERROR)
        said["power of a GPU"] = _number(drawn, "W", power)
        spent = operation.within(joules, operation.POWER_ERROR + per_token)
        said["energy of an output token"] = _number(spent, "J", power)
    if case.usd is not None:
        to_million = replica.gpus / 3600 * 1e6
        said["cost of output tokens"] = estimate(
            case.usd.low * to_million / rate.high,
            case.usd.mid * to_million / rate.mid,
            case.usd.high * to_million / rate.low,
            "USD per million tokens",
            Confidence.ASSUMED,
            f"price of a GPU-hour: {case.usd.source}",
        )
    return said


def _number(value: Interval, unit: str, source: str) -> Estimate:
    # modelled, of lengths and requests that were typed
    return estimate(value.low, value.mid, value.high, unit, Confidence.ASSUMED, source)


def _warnings(case: _Case) -> Iterator[str]:
    device, found = case.replica.accelerator, case.found
    if device.serving_ratio is None:
        yield f"nobody published what an engine reaches on {device.name}: unverified"
    if device.power_w is None:
        yield f"power of {device.name} is not known: no energy is said"
    if (found.running < found.requests).any():
        most = float(found.running.max())
        yield f"the cache holds {most:,.0f} requests; more of them wait for it"
    if case.replica.speculation is not None:
        yield "the draft's share of accepted tokens is what was given, for every batch"

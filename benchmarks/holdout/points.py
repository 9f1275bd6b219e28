"""The points of `points.yaml`, and what our models say of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict

from advisor.catalog.accelerators import BY_NAME, Accelerator
from advisor.catalog.models import MODELS, Format
from advisor.models import closed_loop, energy, operation, phases, throughput
from advisor.models.replica import (
    BALANCED_RANKS,
    EAGER,
    EARLY_GRAPHS,
    EARLY_ROCM,
    GAUDI_GRAPHS,
    MODERN,
    PREFILL_FIRST,
    SYNCHRONOUS,
    WITHOUT_GRAPHS,
    Layout,
    Replica,
)

FILE = Path(__file__).with_name("points.yaml")
STACKS = {
    "modern": MODERN,
    "sglang": PREFILL_FIRST,
    "trtllm": BALANCED_RANKS,
    "synchronous": SYNCHRONOUS,
    "early": EARLY_GRAPHS,
    "early_rocm": EARLY_ROCM,
    "gaudi": GAUDI_GRAPHS,
    "mii": WITHOUT_GRAPHS,
    "eager": EAGER,
}
QUANTITIES = {"itl": "TPOT", "most": "rate", "prompts": "rate", "first": "TTFT", "ttft": "TTFT"}
ENERGY = {"power", "energy"}

Kind = Literal["latency", "rate", "most", "itl", "first", "ttft", "prompts", "power"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Like(_Strict):
    like: str
    memory_gb: float
    bandwidth_tb_s: float


class _Source(_Strict):
    title: str
    as_of: str
    later: bool = False  # added after the models were fixed


@dataclass(frozen=True, kw_only=True)
class _Served(throughput.Job):
    """A job whose cache is of the format that was set, if one was."""

    held_as: Format | None = None

    def cache_on(self, accelerator: Accelerator) -> Format:
        return self.held_as or super().cache_on(accelerator)


class _Table(_Strict):
    source: str
    engine: str
    model: str
    accelerator: str
    tensor: int = 1
    data: int = 1
    expert: int = 1
    weights: Format
    stack: Literal[
        "modern", "sglang", "trtllm", "synchronous", "early", "early_rocm", "gaudi", "mii", "eager"
    ] = "modern"
    kind: Kind
    compiled: tuple[float, float] | None = None  # sequences and tokens each that a step computes
    cache: Format | None = None  # None: 8 bit beside weights of 8 bits or fewer
    chunk: float = closed_loop.CHUNK_TOKENS  # prompt tokens a step takes at most
    rows: tuple[tuple[float, float, float, float] | tuple[float, float, float, float, float], ...]


class _File(_Strict):
    accelerators: dict[str, _Like]
    sources: dict[str, _Source]
    tables: tuple[_Table, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One measurement, and the model's answer.

    `quantity`: latency, rate, TPOT, TTFT; power of a device; energy, of its devices, a token.
    """

    source: str
    later: bool  # added after the models were fixed
    engine: str
    model: str
    accelerator: str
    devices: int
    quantity: str
    batch: float
    prompt_tokens: float
    output_tokens: float
    measured: float
    modelled: float

    @property
    def ratio(self) -> float:
        """Modelled over measured; above 1 is too slow for latencies, too fast for rates."""
        return self.modelled / self.measured

    @property
    def speed_ratio(self) -> float:
        """Modelled speed over measured speed, whatever the quantity."""
        return self.ratio if self.quantity in {"rate", *ENERGY} else 1 / self.ratio

    @property
    def is_speed(self) -> bool:
        """Whether it is a time or a rate, not watts or joules."""
        return self.quantity not in ENERGY

    @property
    def family(self) -> str:
        """Dense, experts or hybrid."""
        shape = MODELS[self.model]
        if shape.recurrent is not None:
            return "hybrid"
        return "experts" if shape.experts else "dense"

    def __str__(self) -> str:
        size = f"{self.batch:g} x {self.prompt_tokens:g}/{self.output_tokens:g}"
        return f"{self.model} on {self.devices} {self.accelerator}, {size}"


def points() -> Iterator[Point]:
    """Every measurement that our model says can run at all."""
    file = _File.model_validate(yaml.safe_load(FILE.read_text(encoding="utf-8")))
    for table in file.tables:
        engine = _engine(table, _accelerator(table.accelerator, file.accelerators))
        for row in table.rows:
            yield from _of_row(table, engine, row, later=file.sources[table.source].later)


def _accelerator(name: str, others: dict[str, _Like]) -> Accelerator:
    if name in BY_NAME:
        return BY_NAME[name]
    own = others[name]
    return replace(
        BY_NAME[own.like],
        name=f"{own.like.split('-')[0]}-{name}",
        memory_gb=own.memory_gb,
        bandwidth_tb_s=own.bandwidth_tb_s,
    )


def _engine(table: _Table, accelerator: Accelerator) -> Replica:
    narrow = table.weights.bytes_per_element <= 1
    return Replica(
        model=MODELS[table.model],
        accelerator=accelerator,
        layout=Layout(tensor=table.tensor, data=table.data, expert=table.expert),
        weights=table.weights,
        cache=table.cache or (Format.FP8 if narrow and table.kind != "itl" else Format.BF16),
        stack=STACKS[table.stack],
    )


def _of_row(
    table: _Table, engine: Replica, row: tuple[float, ...], *, later: bool
) -> Iterator[Point]:
    batch, prompt, output, measured = row[:4]
    found = _modelled(table, engine, batch, prompt, output)
    if found is None:
        return
    point = Point(
        source=table.source,
        later=later,
        engine=table.engine,
        model=table.model,
        accelerator=table.accelerator,
        devices=engine.gpus,
        quantity=QUANTITIES.get(table.kind, table.kind),
        batch=batch,
        prompt_tokens=prompt,
        output_tokens=output,
        measured=measured,
        modelled=found,
    )
    yield point
    if len(row) > 4 and table.kind == "latency":
        step = phases.decode_step_seconds(engine, max(batch, 1.0), prompt + output / 2)
        work = phases.decode_work(engine, batch, prompt + output / 2)
        watts = float(energy.work_power_watts(engine, work, step)) / engine.gpus
        yield replace(point, quantity="power", measured=row[4], modelled=watts)
    elif len(row) > 4:
        watts = float(closed_loop.power_watts(engine, batch, prompt, output)) / engine.gpus
        yield replace(point, quantity="power", measured=row[4], modelled=watts)
        joules = float(closed_loop.joules_per_token(engine, batch, prompt, output))
        spent = row[4] * engine.gpus / measured
        yield replace(point, quantity="energy", measured=spent, modelled=joules)


def _modelled(
    table: _Table, engine: Replica, batch: float, prompt: float, output: float
) -> float | None:
    """What the model says of a row, in the unit of its kind; None: our model cannot run it."""
    if table.kind == "latency":
        return _latency_seconds(engine, batch, prompt, output)
    if table.kind == "first":
        return float(operation.batch_prefill_seconds(engine, batch, prompt))
    if table.kind == "most":
        return _most(table, engine, prompt, output)
    if table.kind == "prompts":
        return _prompt_tokens_per_second(engine, prompt)
    return _closed_loop(table, engine, batch, prompt, output)


def _latency_seconds(engine: Replica, batch: float, prompt: float, output: float) -> float | None:
    """None where not all fit at once: what was timed is another thing."""
    found = float(operation.batch_seconds(engine, batch, prompt, output))
    return found if np.isfinite(found) else None


def _prompt_tokens_per_second(engine: Replica, prompt: float) -> float:
    together = max(1.0, closed_loop.CHUNK_TOKENS // prompt) * engine.layout.data
    seconds = phases.prefill_service_seconds(engine, prompt, prompts=together)
    return together * prompt / float(seconds)


def _closed_loop(
    table: _Table, engine: Replica, batch: float, prompt: float, output: float
) -> float:
    asked = (engine, batch, prompt, output)
    if table.compiled is not None:
        return _compiled(table.kind, asked, table.compiled)
    if table.kind == "rate":
        return float(closed_loop.tokens_per_second(*asked, table.chunk))
    if table.kind == "power":
        return float(closed_loop.power_watts(*asked)) / engine.gpus
    of_token = closed_loop.ttft_seconds if table.kind == "ttft" else closed_loop.tpot_seconds
    return float(of_token(*asked, table.chunk)) * 1e3


def _compiled(
    kind: str, asked: tuple[Replica, float, float, float], shape: tuple[float, float]
) -> float:
    """Engines with static shapes: a step computes all it was compiled for, a prompt its length."""
    engine, batch, _, output = asked
    step = float(phases.decode_step_seconds(engine, *shape))
    prefill = float(phases.prefill_seconds(engine, shape[1]))
    if kind == "itl":
        return step * 1e3
    if kind == "ttft":
        return (engine.stack.entry_seconds + prefill) * 1e3
    return batch / (step + batch * prefill / output)


def _most(table: _Table, engine: Replica, prompt: float, output: float) -> float | None:
    job = _Served(
        model=engine.model,
        prompt_tokens=prompt,
        output_tokens=output,
        weights=table.weights,
        held_as=table.cache,
    )
    found = throughput.rate(job, engine.accelerator, engine.gpus)
    return found.tokens_per_second_per_device.mid * engine.gpus if found else None

"""The engine that options name, spread over its GPUs as its kind of model is served."""

from __future__ import annotations

from dataclasses import replace

from advisor.catalog import stacks
from advisor.catalog.accelerators import BY_NAME, Accelerator
from advisor.catalog.models import MODELS, Model
from advisor.models import phases
from advisor.models.concurrency import Engine, of_replica
from advisor.models.replica import Layout, Replica
from advisor.models.throughput import SLOW_LINK_GB_S
from ridgeline.errors import Misconfigured

LARGEST_ENGINE = 1024  # GPUs


def engine_of(
    model: str, accelerator: str, gpus: int, max_sequences: int | None, engine: str | None = None
) -> Engine:
    """The engine in the layout its kind of model is served in."""
    shape, device = MODELS[model], device_of(accelerator)
    layout, stack = layout_of(shape, device, gpus), stacks.of(engine, device, shape)
    replica = Replica(model=shape, accelerator=device, layout=layout, stack=stack)
    return of_replica(replica, max_sequences)


def device_of(name: str) -> Accelerator:
    """The accelerator of that name.

    Raises:
        Misconfigured: its latency cannot be modelled: peak or memory bandwidth is not known.
    """
    device = BY_NAME[name]
    if not device.bf16_tflops or not device.bandwidth_tb_s:
        raise Misconfigured("--accelerator", f"{name}: peak or memory bandwidth unknown")
    return device


def layout_of(model: Model, accelerator: Accelerator, gpus: int) -> Layout:
    """By layers over PCIe, experts whole where there are any, else tensor-parallel."""
    if (accelerator.link_gb_s or 0.0) <= SLOW_LINK_GB_S:
        return Layout(pipeline=gpus)
    if model.experts is not None:
        return Layout(data=gpus, expert=gpus)
    return Layout(tensor=gpus)


def fewest_gpus(one: Replica) -> int:
    """The smallest power of two of GPUs that holds the replica's model in the layout it takes.

    `LARGEST_ENGINE` where none does.
    """
    gpus = 1
    while gpus < LARGEST_ENGINE:
        if phases.fits(replace(one, layout=layout_of(one.model, one.accelerator, gpus))):
            break
        gpus *= 2
    return gpus

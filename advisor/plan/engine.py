"""The engine that options name, spread over its GPUs as its kind of model is served."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from advisor.catalog import stacks
from advisor.catalog.accelerators import BY_NAME
from advisor.catalog.models import MODELS
from advisor.models.concurrency import Engine, of_replica
from advisor.models.replica import Layout, Replica
from advisor.models.throughput import SLOW_LINK_GB_S
from advisor.plan.options import catalogued

ServedModel = Annotated[str, AfterValidator(lambda v: catalogued(v, MODELS, "model"))]
"""A model whose shape the catalogue has (`advisor/catalog/models.py`)."""


def engine_of(
    model: str, accelerator: str, gpus: int, max_sequences: int, engine: str | None = None
) -> Engine:
    """By layers over PCIe, experts whole where there are any, else tensor-parallel."""
    shape, device = MODELS[model], BY_NAME[accelerator]
    if (device.link_gb_s or 0.0) <= SLOW_LINK_GB_S:
        layout = Layout(pipeline=gpus)
    elif shape.experts is not None:
        layout = Layout(data=gpus, expert=gpus)
    else:
        layout = Layout(tensor=gpus)
    stack = stacks.of(engine, device, shape)
    replica = Replica(model=shape, accelerator=device, layout=layout, stack=stack)
    return of_replica(replica, max_sequences)

"""A pool's engine as the latency model sees it."""

from __future__ import annotations

from advisor.catalog.accelerators import Accelerator
from advisor.catalog.models import Model
from advisor.models import phases
from advisor.models.replica import Layout, Replica, Stack


def replica_of(
    model: Model, accelerator: Accelerator, stack: Stack, gpus: int, engines: int
) -> Replica | None:
    """One of `engines` engines that share a pool's GPUs; None where it cannot be described.

    An engine that runs although its weights do not fit stores them in another way than the
    catalogue says.
    """
    if engines < 1:
        return None
    if not accelerator.bandwidth_tb_s or not accelerator.bf16_tflops:
        return None
    layout = _layout(max(1, round(gpus / engines)))
    replica = Replica(model=model, accelerator=accelerator, layout=layout, stack=stack)
    return replica if phases.fits(replica) else None


def _layout(gpus: int) -> Layout:
    """Tensor parallelism within a node, pipeline stages past it."""
    if gpus <= 8:
        return Layout(tensor=gpus)
    return Layout(tensor=8, pipeline=max(1, gpus // 8))

"""Ways to spread one engine over GPUs that are worth comparing for a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from advisor.models.phases import fits
from advisor.models.replica import Layout, Replica

LARGEST_TENSOR = 8
MOST_STAGES = 4


def _shapes(replica: Replica, most_gpus: int) -> Iterator[Layout]:
    model = replica.model
    tensor = 1
    while tensor <= min(LARGEST_TENSOR, most_gpus) and model.heads % tensor == 0:
        whole = (1, tensor) if model.experts is not None and tensor > 1 else (1,)
        for expert in whole:
            yield Layout(tensor=tensor, expert=expert)
        stages = 2
        while stages <= MOST_STAGES and tensor * stages <= most_gpus:
            yield Layout(tensor=tensor, pipeline=stages)
            stages *= 2
        if model.experts is not None:
            data = 2
            while tensor * data <= min(replica.wires[0].domain_gpus, most_gpus):
                yield Layout(tensor=tensor, data=data, expert=tensor * data)
                data *= 2
        tensor *= 2


def candidates(replica: Replica, most_gpus: int) -> tuple[Replica, ...]:
    """The replica in every layout that leaves room for a cache, pipelines only where needed.

    A pipeline costs latency and saves nothing but memory, so it is tried only at tensor sizes whose
    weights do not fit, and at the replica's own layout.
    """
    found = []
    crowded = set()
    for layout in _shapes(replica, most_gpus):
        one = replace(replica, layout=layout)
        if not fits(one):
            crowded.add((layout.tensor, layout.data))
            continue
        if layout.pipeline > 1 and (layout.tensor, layout.data) not in crowded:
            continue
        found.append(one)
    own = replica.layout
    if fits(replica) and all(r.layout != own for r in found):
        found.append(replica)
    return tuple(found)

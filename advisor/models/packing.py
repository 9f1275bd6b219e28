"""Idle and scattered GPUs: what idleness costs, and how few nodes the same work fits on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

VERSION = "packing/1"


def idle_usd(asset_usd: float, workload_usd: Sequence[float]) -> float:
    """Cost of what nobody used: asset cost minus workload cost (OpenCost specification).

    Raises:
        ValueError: workloads cost more than the asset: one of the two is wrong. (A negative idle
            cost is a known mistake of cost tools, opencost issues 1270 and 3823.)
    """
    idle = asset_usd - sum(workload_usd)
    if idle < -1e-9 * max(1.0, asset_usd):
        raise ValueError(f"workload_usd={sum(workload_usd):g}: more than asset_usd={asset_usd:g}")
    return max(0.0, idle)


def workload_usd(requested: float, used: float, usd_per_unit: float) -> float:
    """Cost of a workload: the larger of what it asked for and what it used (OpenCost)."""
    return max(requested, used) * usd_per_unit


def idle_ratio(asset_usd: float, workload_usd: Sequence[float]) -> float:
    """Idle cost over the asset's cost; 0 for an asset that costs nothing."""
    return idle_usd(asset_usd, workload_usd) / asset_usd if asset_usd > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """The same jobs on fewer nodes."""

    nodes_today: int  # with work on them
    nodes_after: int
    placement: Mapping[str, str]  # job to node, only of jobs that move
    freed: tuple[str, ...]  # nodes without work afterwards

    @property
    def saves(self) -> int:
        """Nodes that could be switched off or given to other work."""
        return self.nodes_today - self.nodes_after


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job (or replica) on one node."""

    name: str
    node: str
    gpus: int
    movable: bool = True


def pack(jobs: Sequence[Job], node_gpus: Mapping[str, int]) -> Packing:
    """Empty the least used nodes into the gaps of the fullest, a whole node or not at all.

    First-fit decreasing, node by node: a job moves only if that frees its node, so that few move.
    Jobs that may not move keep their node.

    Raises:
        ValueError: a job is on an unknown node, or a node holds more than it has.
    """
    used = dict.fromkeys(node_gpus, 0)
    for job in jobs:
        if job.node not in node_gpus or job.gpus < 1:
            raise ValueError(f"job {job.name!r}: node={job.node!r} gpus={job.gpus}")
        used[job.node] += job.gpus
    over = next((n for n, u in used.items() if u > node_gpus[n]), None)
    if over is not None:
        raise ValueError(f"node {over!r}: {used[over]} GPUs of {node_gpus[over]} in use")
    free = {n: node_gpus[n] - u for n, u in used.items()}
    busy = {n for n, u in used.items() if u}
    moves: dict[str, str] = {}
    freed: list[str] = []
    received: set[str] = set()
    for node in sorted(busy, key=lambda n: (used[n], n)):
        there = [j for j in jobs if j.node == node]
        if node in received or not all(j.movable for j in there):
            continue
        targets = {n: free[n] for n in busy if n != node and n not in freed}
        found = _fitted(there, targets)
        if found is None:
            continue
        for job in there:
            free[found[job.name]] -= job.gpus
        received |= set(found.values())
        moves |= found
        freed.append(node)
    return Packing(
        nodes_today=len(busy),
        nodes_after=len(busy) - len(freed),
        placement=moves,
        freed=tuple(freed),
    )


def _fitted(jobs: Sequence[Job], free: dict[str, int]) -> dict[str, str] | None:
    """Best fit of every job, largest first, or None when one has no room."""
    placed: dict[str, str] = {}
    for job in sorted(jobs, key=lambda j: (-j.gpus, j.name)):
        room = [n for n, f in free.items() if f >= job.gpus]
        if not room:
            return None
        target = min(room, key=lambda n: (free[n], n))
        free[target] -= job.gpus
        placed[job.name] = target
    return placed


def fewest_nodes(job_gpus: ArrayLike, gpus_per_node: int) -> int:
    """Lower bound of nodes for jobs that fit on one: by total, and by those above half a node."""
    sizes = np.asarray(job_gpus, dtype=float)
    if (sizes > gpus_per_node).any() or (sizes < 0).any():
        raise ValueError(f"job_gpus: need 0..{gpus_per_node}")
    by_total = int(np.ceil(sizes.sum() / gpus_per_node))
    return max(by_total, int((sizes > gpus_per_node / 2).sum()))

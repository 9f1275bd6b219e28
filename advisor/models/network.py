"""The fabric: all-reduce over nodes, KV transfer, shares of a step, and what is in the way.

Sizes in bytes, times in seconds, bandwidth in bytes per second. Unknown systems give None: never a
guess, never advice. One collective among GPUs is `collectives`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from advisor.catalog.fabric import CollectiveFit, Op
from advisor.models.arrays import Floats, Numbers, floats
from advisor.models.collectives import (
    FEWEST_RANKS,
    best_known,
    collective_seconds,
    traffic_factor,
)
from advisor.models.kv import LEAST_NETWORK_GBPS

VERSION = "network/3"
ACTIVATION_BYTES = 2.0  # bf16 between layers
# Mooncake's transfer engine reached 87 of 100 GB/s (4x200 Gbps) and 190 of 400 (8x400 Gbps)
TRANSFER_EFFICIENCY = 0.87
# NCCL: 46 to 48 of 50 GB/s a NIC (a maintainer, NVIDIA/nccl-tests issue 290, 2025-03-03); others
# (`test_advisor_network.py`) are not fitted
RAIL_EFFICIENCY = 0.94
ALL_REDUCES_PER_LAYER = 2  # after attention and after the MLP (Megatron-LM, arXiv 1909.08053)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rails:
    """The network between nodes: one rail a GPU."""

    bytes_per_second: float  # line rate of one rail, one direction
    efficiency: float = RAIL_EFFICIENCY
    hop_seconds: float = 5e-6  # AIC's inter-rack latency of InfiniBand
    oversubscription: float = 1.0  # bandwidth down over bandwidth up at a leaf; 1: none

    @property
    def reached_bytes_per_second(self) -> float:
        """What a rail carries when all of them are busy at once."""
        return self.bytes_per_second * self.efficiency / max(1.0, self.oversubscription)


class Algorithm(StrEnum):
    """How nodes reduce among each other."""

    RING = "ring"
    TREE = "tree"
    SHARP = "SHARP"


def between_nodes_seconds(
    message_bytes: float, nodes: int, rails: Rails, gpus_per_node: int = 1
) -> dict[Algorithm, float]:
    """All-reduce of `message_bytes` over the rails of `nodes`, by algorithm.

    Ring: through every GPU and over every node's rails, `2(N-1)` hops, `2(n-1)/n` of the bytes.
    Tree (double binary): `2*log2(N)` hops, the bytes up and down; of two nodes each is the other's
    root, so that they go once either way (NVIDIA/nccl issue 812). SHARP: the switches add, so that
    each byte goes up and comes down once, at once.
    """
    if nodes < FEWEST_RANKS:
        return dict.fromkeys(Algorithm, 0.0)
    levels, gpus = math.ceil(math.log2(nodes)), nodes * gpus_per_node
    whole = message_bytes / (rails.reached_bytes_per_second * gpus_per_node)
    trips = 1 if nodes == FEWEST_RANKS else 2
    return {
        Algorithm.RING: 2 * (nodes - 1) * rails.hop_seconds + 2 * (gpus - 1) / gpus * whole,
        Algorithm.TREE: 2 * levels * rails.hop_seconds + trips * whole,
        Algorithm.SHARP: 2 * rails.hop_seconds * max(1, math.ceil(levels / 5))
        + whole,  # radix 32 and up
    }


def all_reduce_over_nodes_seconds(
    system: str, message_bytes: float, nodes: int, gpus_per_node: int, rails: Rails
) -> dict[Algorithm, float] | None:
    """All-reduce over all GPUs: parts of a message are in the nodes and between them at once.

    NCCL cuts a message into pieces that follow one another, so that the slower of NVLink and rails
    is what takes time, not their sum; starting and filling the pipeline come on top.
    """
    inside = best_known(system, Op.ALL_REDUCE, gpus_per_node)
    if inside is None:
        return None
    alone = float(collective_seconds(inside, message_bytes))
    bytes_alone = traffic_factor(inside.op, inside.ranks) * message_bytes
    begin = alone - bytes_alone / inside.bus_bytes_per_second
    outside = between_nodes_seconds(message_bytes, nodes, rails, gpus_per_node)
    return {algorithm: max(alone, begin + seconds) for algorithm, seconds in outside.items()}


def tensor_parallel_seconds(
    fit: CollectiveFit, *, layers: int, hidden: int, tokens: Numbers
) -> Floats:
    """All-reduces of one step: two a layer, of `tokens*hidden` activations each."""
    each = collective_seconds(fit, floats(tokens) * hidden * ACTIVATION_BYTES)
    return ALL_REDUCES_PER_LAYER * layers * each


def communication_share(communication_seconds: float, compute_seconds: float) -> float | None:
    """Share of a step spent in collectives when nothing overlaps; None without a step."""
    whole = communication_seconds + compute_seconds
    return communication_seconds / whole if whole > 0 else None


def busy_share(
    link_bytes_per_second: float | None, peak_bytes_per_second: float, reached_ratio: float = 0.8
) -> tuple[float, float] | None:
    """Least and likely share of time a link was busy, from the traffic telemetry shows.

    Least: it moved at its peak. Likely: at the share of the peak collectives reach (H100: 445 of
    2x450 GB/s as bus bandwidth is 99 % of one direction; 0.8 leaves room for middle sizes).
    """
    if link_bytes_per_second is None or not math.isfinite(link_bytes_per_second):
        return None
    least = min(1.0, max(0.0, link_bytes_per_second / peak_bytes_per_second))
    return least, min(1.0, least / reached_ratio)


def rail_imbalance_ratio(rates: Sequence[float]) -> float | None:
    """Busiest rail over the mean, less one; None for fewer than two rails or no traffic."""
    known = [r for r in rates if math.isfinite(r)]
    mean = sum(known) / len(known) if known else 0.0
    return max(known) / mean - 1 if len(known) > 1 and mean > 0 else None


def oversubscription_ratio(down_gbps: float, up_gbps: float) -> float | None:
    """Bandwidth towards hosts over bandwidth towards the spine; 1 or less is non-blocking."""
    return down_gbps / up_gbps if up_gbps > 0 and down_gbps > 0 else None


BUSIEST_RATIO = 0.7  # headroom for bursts, assumed


@dataclass(frozen=True, slots=True, kw_only=True)
class KvTransfer:
    """Handing the cache of one prompt to a decode engine, and of all of them together."""

    seconds: float
    needed_gbps: float
    utilisation_ratio: float
    feasible: bool


def kv_transfer(
    *,
    prompt_tokens: float,
    kv_bytes_per_token: float,
    requests_per_second: float,
    network_gbps: float,
    budget_seconds: float,
    efficiency: float = TRANSFER_EFFICIENCY,
) -> KvTransfer | None:
    """Whether a network carries the hand-over within `budget_seconds` of time to first token.

    None without a prompt or a network. Feasible: below 70 % used, within the budget, and not
    below the 100 Gbps Mooncake asks for.
    """
    size = prompt_tokens * kv_bytes_per_token
    reached = network_gbps * efficiency
    if not (size > 0 and reached > 0 and math.isfinite(size * reached)):
        return None
    seconds = size * 8 / (reached * 1e9)
    needed = size * 8 * requests_per_second / 1e9
    used = needed / reached
    fine = used < BUSIEST_RATIO and seconds <= budget_seconds and network_gbps >= LEAST_NETWORK_GBPS
    return KvTransfer(seconds=seconds, needed_gbps=needed, utilisation_ratio=used, feasible=fine)

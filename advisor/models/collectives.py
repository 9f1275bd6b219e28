"""How long GPUs talk to one another: one formula (`collective_seconds`) under two sets of figures.

`best_known` is what NCCL reached on a system: what a fabric is held against. `Wire.fit` is what a
serving engine sees by kind of link, on any accelerator: custom all-reduces in captured graphs,
which start sooner, and NCCL where there are none (aiconfigurator@095f58a, `comm` tables). Sizes in
bytes, times in seconds, bandwidth in bytes per second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache

import numpy as np

from advisor.catalog.accelerators import Accelerator
from advisor.catalog.fabric import FITS, SAME_LINK, CollectiveFit, Op
from advisor.catalog.files import Source
from advisor.models.arrays import Floats, Numbers, floats
from ridgeline.events import Confidence

VERSION = "collectives/4"
FEWEST_RANKS = 2
PCIE_GB_S = 64.0  # PCIe 5.0 x16, one direction
SOCKET_GPUS = 4  # with PCIe 4, whose eight GPUs hang on two sockets


def traffic_factor(op: Op, ranks: int) -> float:
    """Bytes each rank must move over the message's: `2(n-1)/n` for all-reduce, else `(n-1)/n`.

    nccl-tests' definition of bus bandwidth.
    """
    share = (ranks - 1) / ranks
    return 2 * share if op is Op.ALL_REDUCE else share


def best_known(system: str, op: Op, ranks: int) -> CollectiveFit | None:
    """The fit of a system's collective; None for systems nobody measured.

    Other rank counts take the largest measured one below (or the smallest), its start scaled by
    the logarithm of ranks: an extrapolation, and its source says so.
    """
    if ranks < FEWEST_RANKS:
        return None
    system = SAME_LINK.get(system, system)
    exact = FITS.get((system, op, ranks))
    if exact is not None:
        return exact
    known = sorted(r for s, o, r in FITS if s == system and o is op)
    if not known:
        return None
    base = FITS[system, op, max((r for r in known if r < ranks), default=known[0])]
    note = replace(base.source, title=f"{base.source.title}; extrapolated to {ranks} ranks")
    start = base.start_seconds * math.log2(ranks) / math.log2(base.ranks)
    return replace(base, ranks=ranks, start_seconds=start, source=note)


def collective_seconds(fit: CollectiveFit, message_bytes: Numbers) -> Floats:
    """`start + f*S/bus + ramp*sqrt(f*S)`: latency, bandwidth, and filling the pipeline between.

    A ring cut into its best number of chunks costs the square root of its size on top (optimal
    segmentation of a pipeline). Against NCCL's measured latencies of 512 B to 512 MB on A100, H100,
    B200 and GB200 the mean error is 6.5 %; sizes at which NCCL changes protocol are off by up to
    57 % (H100 all-to-all) and 47 % (all-reduce).
    """
    moved = traffic_factor(fit.op, fit.ranks) * floats(message_bytes)
    seconds = fit.start_seconds + moved / fit.bus_bytes_per_second
    if not fit.ramp_seconds_per_sqrt_byte:
        return seconds
    return seconds + fit.ramp_seconds_per_sqrt_byte * np.sqrt(moved)


def bus_bandwidth_bytes_per_second(fit: CollectiveFit, message_bytes: Numbers) -> Floats:
    """What nccl-tests would call busbw. 8 GPUs, 512 MB: A100 222, H100 445, B200 704 GB/s."""
    size = floats(message_bytes)
    return traffic_factor(fit.op, fit.ranks) * size / collective_seconds(fit, size)


class Link(StrEnum):
    """What joins GPUs that work on one request."""

    NVLINK = "NVLink"
    PCIE = "PCIe"
    NETWORK = "InfiniBand or RoCE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """One GPU's way to the others: one-directional bytes/s and how many GPUs it reaches."""

    link: Link
    bytes_per_second: float
    domain_gpus: int = 8
    peer_access: bool | None = None  # over PCIe: GPUs reach one another's memory; None: not known

    def latency_seconds(self, gpus: int) -> float:
        """Fixed time of one collective among `gpus`.

        H100 custom all-reduce in a CUDA graph: 4.2, 4.8, 5.3 us at 2, 4, 8 GPUs; NCCL over PCIe
        7.7, 11.9, 22.6 us (L40S); across nodes some 20 us and 2 us for each doubling.
        """
        doublings = max(1.0, np.log2(max(gpus, 2)))
        if self.link is Link.NVLINK:
            return float(4.5e-6 + 0.5e-6 * doublings)
        if self.link is Link.PCIE:
            return 3e-6 + 2.5e-6 * gpus
        return float(20e-6 + 2e-6 * doublings)

    def bus_bytes_per_second(self, gpus: int) -> float:
        """Bus bandwidth of an all-reduce of megabytes.

        NVLink: 0.55 of the link at 2 GPUs, 0.62 at 4, 0.70 at 8 (H100: 248, 304, 359 GB/s fitted
        over all sizes, 445 at 512 MB). PCIe at 2: 0.60 (RTX PRO 6000 over PCIe 5: 38.6 GB/s; L40S
        over PCIe 4: 20.1); past it 0.40 of PCIe 5 (RTX PRO 6000: 26.4 GB/s at 4, 24.7 at 8). Two
        hosts with L40S tell what peer access is worth (`comm` tables of aiconfigurator-core 0.12.0,
        8 MB): with it, SGLang 0.5.12, 19.5 GB/s at 4 and 18.5 at 8; through the host's memory, all
        other tables, 3.8 and 1.8. Where it is not known, 4 GPUs are taken to have it (those of
        TensorRT-LLM had) and 8 over PCIe 4, which cross the sockets, not.
        """
        doublings = max(1.0, np.log2(max(gpus, 2)))
        if self.link is Link.NVLINK:
            return float(self.bytes_per_second * min(0.80, 0.48 + 0.07 * doublings))
        if self.link is Link.NETWORK:
            return 0.80 * self.bytes_per_second
        if gpus <= FEWEST_RANKS:
            return 0.60 * self.bytes_per_second
        if self.peer_access is False or (
            self.peer_access is None and self._is_pcie_4 and gpus > SOCKET_GPUS
        ):
            return (0.0625 if gpus > SOCKET_GPUS else 0.12) * self.bytes_per_second
        return (0.55 if self._is_pcie_4 else 0.40) * self.bytes_per_second

    @property
    def _is_pcie_4(self) -> bool:
        return self.bytes_per_second < PCIE_GB_S * 1e9

    def fit(self, op: Op, gpus: int) -> CollectiveFit:
        """The figures of a collective among `gpus` of them, at least two."""
        return _fit(self, op, gpus)


def wire_of(
    accelerator: Accelerator, network_gbps: float = 400.0, *, peer_access: bool | None = None
) -> tuple[Wire, Wire]:
    """An accelerator's way inside its node and its way out (`network_gbps` a GPU)."""
    outside = Wire(link=Link.NETWORK, bytes_per_second=network_gbps / 8 * 1e9, domain_gpus=1 << 20)
    inside_gb_s = accelerator.link_gb_s
    if not inside_gb_s:
        return outside, outside
    kind = Link.PCIE if inside_gb_s <= PCIE_GB_S else Link.NVLINK
    domain = 72 if accelerator.name in {"GB200", "GB300"} else 8
    inside = Wire(
        link=kind,
        bytes_per_second=inside_gb_s * 1e9,
        domain_gpus=domain,
        peer_access=peer_access if kind is Link.PCIE else None,
    )
    return inside, outside


_WIRES = Source(
    title="own fit to ai-dynamo/aiconfigurator@095f58a comm tables",
    as_of="2026-08-21",
    confidence=Confidence.MODELLED,
)


@cache
def _fit(wire: Wire, op: Op, gpus: int) -> CollectiveFit:
    exchange = op is Op.ALL_TO_ALL
    return CollectiveFit(
        system=wire.link,
        op=op,
        ranks=gpus,
        start_seconds=wire.latency_seconds(gpus) * (2 if exchange else 1),
        bus_bytes_per_second=wire.bus_bytes_per_second(FEWEST_RANKS if exchange else gpus),
        ramp_seconds_per_sqrt_byte=0.0,
        source=_WIRES,
    )


def all_reduce_seconds(wire: Wire, gpus: int, message_bytes: Numbers) -> Floats:
    """An all-reduce of an engine; 0 for one GPU."""
    return _seconds(wire, Op.ALL_REDUCE, gpus, message_bytes)


def all_to_all_seconds(wire: Wire, gpus: int, bytes_a_gpu: Numbers) -> Floats:
    """Every GPU sends `bytes_a_gpu`, a share of it to itself; 0 for one GPU.

    H100 NCCL: 9.3 to 11 us and 245 to 275 GB/s at 2 to 8 GPUs.
    """
    return _seconds(wire, Op.ALL_TO_ALL, gpus, bytes_a_gpu)


def _seconds(wire: Wire, op: Op, gpus: int, message_bytes: Numbers) -> Floats:
    if gpus < FEWEST_RANKS:
        return np.zeros_like(floats(message_bytes))
    return collective_seconds(wire.fit(op, gpus), message_bytes)


def transfer_seconds(wire: Wire, message_bytes: Numbers) -> Floats:
    """One message from one GPU to another."""
    return wire.latency_seconds(2) + floats(message_bytes) / (0.8 * wire.bytes_per_second)

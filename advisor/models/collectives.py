"""How long GPUs talk to one another: all-reduce, all-to-all and point-to-point, by kind of link.

`t = latency(n) + traffic / bus`; latencies and shares of the link are fitted to NCCL and vLLM
custom all-reduce measurements (aiconfigurator@095f58a, `comm` tables).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from advisor.catalog.accelerators import Accelerator
from advisor.models.arrays import Floats, Numbers, floats

VERSION = "collectives/1"
PCIE_GB_S = 64.0  # PCIe 5.0 x16, one direction: nothing slower has a switch between its GPUs


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
        over all sizes, 445 at 512 MB). PCIe 5: 0.60 at 2, 0.40 at 4 and 8 (RTX PRO 6000: 38.6,
        26.4, 24.7 GB/s). PCIe 4 through the host: 20.1, 5.2, 1.4 GB/s (L40S).
        """
        doublings = max(1.0, np.log2(max(gpus, 2)))
        if self.link is Link.NVLINK:
            return float(self.bytes_per_second * min(0.80, 0.48 + 0.07 * doublings))
        if self.link is Link.NETWORK:
            return 0.80 * self.bytes_per_second
        if self.bytes_per_second >= PCIE_GB_S * 1e9:
            return (0.60 if gpus <= 2 else 0.40) * self.bytes_per_second
        return float(0.62 * self.bytes_per_second / (max(gpus, 2) / 2) ** 1.9)


def wire_of(accelerator: Accelerator, network_gbps: float = 400.0) -> tuple[Wire, Wire]:
    """An accelerator's way inside its node and its way out (`network_gbps` a GPU)."""
    outside = Wire(link=Link.NETWORK, bytes_per_second=network_gbps / 8 * 1e9, domain_gpus=1 << 20)
    inside_gb_s = accelerator.link_gb_s
    if not inside_gb_s:
        return outside, outside
    kind = Link.PCIE if inside_gb_s <= PCIE_GB_S else Link.NVLINK
    domain = 72 if accelerator.name in {"GB200", "GB300"} else 8
    return Wire(link=kind, bytes_per_second=inside_gb_s * 1e9, domain_gpus=domain), outside


def all_reduce_seconds(wire: Wire, gpus: int, message_bytes: Numbers) -> Floats:
    """Ring bound `2(n-1)/n * S / bus` and the latency; 0 for one GPU."""
    size = floats(message_bytes)
    if gpus <= 1:
        return np.zeros_like(size)
    traffic = 2 * (gpus - 1) / gpus * size
    return wire.latency_seconds(gpus) + traffic / wire.bus_bytes_per_second(gpus)


def all_to_all_seconds(wire: Wire, gpus: int, bytes_a_gpu: Numbers) -> Floats:
    """Every GPU sends `bytes_a_gpu`, a share of it to itself; 0 for one GPU.

    H100 NCCL: 9.3 to 11 us and 245 to 275 GB/s at 2 to 8 GPUs.
    """
    size = floats(bytes_a_gpu)
    if gpus <= 1:
        return np.zeros_like(size)
    traffic = (gpus - 1) / gpus * size
    return 2 * wire.latency_seconds(gpus) + traffic / wire.bus_bytes_per_second(2)


def transfer_seconds(wire: Wire, message_bytes: Numbers) -> Floats:
    """One message from one GPU to another."""
    return wire.latency_seconds(2) + floats(message_bytes) / (0.8 * wire.bytes_per_second)

"""Fabric facts: how fast collectives run at best, and which settings speak to which finding."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from advisor.catalog.files import Entry, FileHead, Positive, Source, parsed, shipped

FILE = "fabric.yaml"
# systems whose scale-up link is the same part (NVLink 4: 450 GB/s, NVLink 5: 900 GB/s a direction)
SAME_LINK = {"H200-SXM": "H100-SXM", "B300-SXM": "B200-SXM", "GB300": "GB200"}
PCIE = "PCIe"  # the system name of accelerators without a scale-up link


class Op(StrEnum):
    """A collective, as NCCL names it."""

    ALL_REDUCE = "all_reduce"
    ALL_GATHER = "all_gather"
    REDUCE_SCATTER = "reduce_scatter"
    ALL_TO_ALL = "all_to_all"


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectiveFit:
    """Best known speed of one collective: start, asymptotic bus bandwidth, and the ramp between."""

    system: str
    op: Op
    ranks: int
    start_seconds: float
    bus_bytes_per_second: float
    ramp_seconds_per_sqrt_byte: float
    source: Source


class _FitEntry(Entry):
    system: str
    op: Op
    ranks: int
    start_us: Positive
    bus_gb_s: Positive
    ramp_us_per_sqrt_mb: float
    source: str


class _FabricFile(FileHead):
    fits: tuple[_FitEntry, ...]


def _load() -> dict[tuple[str, Op, int], CollectiveFit]:
    file = parsed(_FabricFile, shipped(FILE), FILE)
    return {
        (e.system, e.op, e.ranks): CollectiveFit(
            system=e.system,
            op=e.op,
            ranks=e.ranks,
            start_seconds=e.start_us * 1e-6,
            bus_bytes_per_second=e.bus_gb_s * 1e9,
            ramp_seconds_per_sqrt_byte=e.ramp_us_per_sqrt_mb * 1e-9,
            source=file.source(e.source),
        )
        for e in file.fits
    }


FITS = _load()


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One thing to look at: where it lives and what it should be."""

    where: str
    name: str
    look_for: str


def _s(where: str, name: str, look_for: str) -> Setting:
    return Setting(where=where, name=name, look_for=look_for)


# Meanings: linux rdma and mlx5 counter documentation, NCCL's environment reference, IEEE 802.1Qbb
# (PFC), 802.1Qau and RFC 3168 (marking). What the right value is depends on the switch: look, do
# not copy.
SETTINGS: dict[str, tuple[Setting, ...]] = {
    "incast_receiver": (
        _s("switch", "ECN thresholds of the RDMA queue", "marking starts well before PFC does"),
        _s("NIC", "DCQCN rate reduction", "senders slow down on CNPs (rp_cnp_handled grows)"),
        _s("NCCL", "NCCL_CROSS_NIC, rails used", "a collective uses every rail of its nodes"),
    ),
    "victim_sender": (
        _s("switch", "lossless priorities", "only RDMA traffic shares the paused priority"),
        _s(
            "switch",
            "PFC watchdog",
            "armed on every lossless queue, so that one host cannot pause all",
        ),
        _s("fabric", "adaptive routing", "on for RDMA, so that flows leave the paused path"),
    ),
    "pfc_storm": (
        _s("NIC", "PFC stall watermark (tx_pause_storm events)", "firmware protection is on"),
        _s("switch", "PFC watchdog", "action is drop, interval below a second"),
        _s("host", "PCIe and IOMMU of the pausing host", "receive buffers drain at line rate"),
    ),
    "lossy_link": (
        _s(
            "cable",
            "transceiver, cleanliness, seating",
            "bit error rate below 1e-12 after FEC (IBTA)",
        ),
        _s("port", "FEC mode and speed", "the same on both ends"),
    ),
    "cc_disabled": (
        _s("NIC", "ECN on the RDMA priority, both directions", "rp_cnp_ignored stops growing"),
        _s(
            "NIC",
            "traffic class of RDMA (NCCL_IB_TC)",
            "the class the switch marks and is lossless",
        ),
    ),
    "credit_starved": (
        _s("fabric", "slowest receiver downstream", "xmit_wait stays near its own baseline"),
        _s(
            "subnet manager",
            "routing engine, adaptive routing",
            "leaf to spine links equally loaded",
        ),
        _s(
            "subnet manager",
            "virtual lanes (NCCL_IB_SL)",
            "storage and collectives do not share one",
        ),
    ),
}

"""Ethernet interfaces from `/sys/class/net`: bytes, packets, drops, errors, link.

RDMA traffic bypasses these counters; the `infiniband` collector has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from collectors import sysfs
from collectors.links import LinkWatch
from collectors.protocol import Batch
from collectors.site import Site
from ridgeline.errors import NoData
from ridgeline.events import DeviceKind, InventoryItem
from ridgeline.schema import FABRIC, MISSING_COUNTER, MISSING_STATE
from ridgeline.settings import CollectSettings

NAME = "netdev"
LINK_LAYER_ETHERNET = 1
_LOOPBACK_TYPE = "772"  # ARPHRD_LOOPBACK, linux/if_arp.h
_STATISTICS: Mapping[str, str] = MappingProxyType(
    {
        "tx_bytes": "tx_bytes",
        "rx_bytes": "rx_bytes",
        "tx_packets": "tx_packets",
        "rx_packets": "rx_packets",
        "tx_discards": "tx_dropped",
        "rx_discards": "rx_dropped",
        "tx_errors": "tx_errors",
        "rx_errors": "rx_errors",
        "buffer_overruns": "rx_fifo_errors",
    }
)


class Netdev:
    """The network interfaces of one machine."""

    def __init__(self, settings: CollectSettings) -> None:
        self._root = settings.sysfs / "class" / "net"
        self._site = Site.of(settings)
        self._links = LinkWatch()

    def collect(self, now_ms: int) -> Batch:
        """One row per interface.

        Raises:
            NoData: no interface but loopback.
        """
        interfaces = interfaces_of(self._root)
        if not interfaces:
            raise NoData(f"no network interface in {self._root}")
        rows = FABRIC.empty(len(interfaces))
        rows["ts"], rows["node"] = now_ms, self._site.node
        batch = Batch(frames=[(FABRIC, rows)])
        for row, folder in zip(rows, interfaces, strict=True):
            item = self._item(folder, now_ms)
            row["device"] = item.device
            _fill(row, folder)
            batch.inventory.append(item)
            batch.events += self._links.seen(
                node=item.node,
                device=item.device,
                name=item.name,
                up=int(row["link_up"]),
                now_ms=now_ms,
            )
        return batch

    def close(self) -> None:
        """Nothing is held open."""

    def _item(self, folder: Path, now_ms: int) -> InventoryItem:
        driver = sysfs.driver_of(folder / "device")
        return self._site.item(
            DeviceKind.PORT,
            folder.name,
            now_ms,
            model=driver,
            attributes={"driver": driver} if driver else {},
        )


def interfaces_of(root: Path) -> list[Path]:
    """Interfaces to watch: the hardware ones, or the virtual ones where there are no others.

    Loopback is never among them. A container sees only a veth, and that is its network.
    """
    found = [
        f
        for f in sysfs.children(root)
        if (f / "statistics").is_dir() and sysfs.text(f / "type", NAME) != _LOOPBACK_TYPE
    ]
    hardware = [f for f in found if "virtual" not in f.resolve().parts]
    return hardware or found


def _fill(row: np.void, folder: Path) -> None:
    for column, name in _STATISTICS.items():
        row[column] = sysfs.counter(folder / "statistics" / name, NAME)
    row["link_rate_bits_per_second"] = _rate(folder)
    row["link_downs"] = _downs(folder)
    row["link_up"] = _link_up(folder)
    row["link_layer"] = LINK_LAYER_ETHERNET


def _quiet(path: Path) -> str | None:
    """Text of a file that refuses while the interface is down: that is no read error."""
    try:
        return path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None


def _rate(folder: Path) -> float:
    """Megabit/s in the file; -1 or a refusal where the driver does not know (virtio)."""
    found = _quiet(folder / "speed") or ""
    known = found.isdecimal() and 0 < int(found) < sysfs.SATURATED_32_BIT
    return int(found) * 1e6 if known else float("nan")


def _downs(folder: Path) -> int:
    downs = sysfs.counter(folder / "carrier_down_count", NAME)
    if downs != MISSING_COUNTER:
        return downs
    changes = sysfs.counter(folder / "carrier_changes", NAME)  # kernels before 4.16
    return changes if changes == MISSING_COUNTER else changes // 2


def _link_up(folder: Path) -> int:
    state = _quiet(folder / "operstate")
    if state == "up":
        return 1
    if state in {"down", "lowerlayerdown", "notpresent", "dormant"}:
        return 0
    carrier = _quiet(folder / "carrier")  # "unknown": drivers without operational state
    return int(carrier) if carrier in {"0", "1"} else MISSING_STATE


def create(settings: CollectSettings) -> Netdev:
    """The collector of this machine's interfaces.

    Raises:
        NoData: no interface but loopback.
    """
    root = settings.sysfs / "class" / "net"
    if not interfaces_of(root):
        raise NoData(f"no network interface: none in {root}; network metrics are off")
    return Netdev(settings)

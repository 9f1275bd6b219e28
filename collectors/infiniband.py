"""InfiniBand and RoCE ports from `/sys/class/infiniband`, with PFC of the port's interface.

Any file may be missing, refuse, or hold words; each costs its own column only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from collectors import rdma_names, sysfs
from collectors.ethtool import Ethtool
from collectors.links import LinkWatch
from collectors.protocol import Batch
from collectors.site import Site
from ridgeline.errors import NoData
from ridgeline.events import DeviceKind, InventoryItem
from ridgeline.schema import FABRIC, MISSING_COUNTER, MISSING_STATE
from ridgeline.settings import CollectSettings

NAME = "infiniband"
_LINK_LAYER = {"InfiniBand": 2, "Ethernet": 3}  # FABRIC.link_layer
_DEFAULT_ROUTE = "00000000"


class Statistics(Protocol):
    """Where driver statistics of an interface come from."""

    def statistics(self, interface: str) -> Mapping[str, int]:
        """Statistics by name, empty where there are none."""
        ...

    def close(self) -> None:
        """Let go of the source."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """One port of one RDMA device."""

    device: str
    number: str
    folder: Path
    driver: str
    interface: str  # the network interface that carries RoCE, or empty

    @property
    def name(self) -> str:
        """As a person writes it: `mlx5_0/1`."""
        return f"{self.device}/{self.number}"


class Infiniband:
    """The RDMA ports of one machine."""

    def __init__(self, settings: CollectSettings, ethtool: Statistics | None = None) -> None:
        self._settings = settings
        self._site = Site.of(settings)
        self._links = LinkWatch()
        self._ethtool: Statistics = ethtool or Ethtool()

    def collect(self, now_ms: int) -> Batch:
        """One row per port.

        Raises:
            NoData: the machine has no RDMA port.
        """
        ports = ports_of(self._settings)
        rows = FABRIC.empty(len(ports))
        rows["ts"], rows["node"] = now_ms, self._site.node
        batch = Batch(frames=[(FABRIC, rows)])
        for row, port in zip(rows, ports, strict=True):
            item = self._item(port, now_ms)
            row["device"] = item.device
            _fill(row, port)
            _fill_pfc(row, self._ethtool.statistics(port.interface) if port.interface else {})
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
        """Close the ethtool socket."""
        self._ethtool.close()

    def _item(self, port: Port, now_ms: int) -> InventoryItem:
        known = {
            "driver": port.driver,
            "interface": port.interface,
            "board": sysfs.text(port.folder.parents[1] / "board_id", NAME) or "",
            "rate": sysfs.text(port.folder / "rate", NAME) or "",
        }
        model = sysfs.text(port.folder.parents[1] / "hca_type", NAME) or port.driver
        attributes = {name: value for name, value in known.items() if value}
        return self._site.item(
            DeviceKind.PORT, port.name, now_ms, model=model, attributes=attributes
        )


def ports_of(settings: CollectSettings) -> list[Port]:
    """Ports to watch, by name.

    A RoCE port whose interface holds the default route serves management: `netdev` has it, and
    its habits would read as faults of the fabric. It is left out unless it is the only kind.

    Raises:
        NoData: there is none.
    """
    root = settings.sysfs / "class" / "infiniband"
    found = [port for device in sysfs.children(root) for port in _ports_of_device(device)]
    if not found:
        raise NoData(f"no InfiniBand or RoCE port: none in {root}; RDMA metrics are off")
    management = _default_route_interfaces(settings.procfs)
    return [p for p in found if p.interface not in management] or found


def _ports_of_device(device: Path) -> Iterable[Port]:
    driver = sysfs.driver_of(device / "device")
    for folder in sysfs.children(device / "ports"):
        yield Port(
            device=device.name,
            number=folder.name,
            folder=folder,
            driver=driver,
            interface=_interface(device, folder),
        )


def _interface(device: Path, port: Path) -> str:
    try:
        named = (port / "gid_attrs" / "ndevs" / "0").read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):  # EINVAL on InfiniBand, where no interface carries it
        named = ""
    if named:
        return named
    if _quiet_layer(port) != "Ethernet":
        return ""
    candidates = sysfs.children(device / "device" / "net")
    wanted = str(int(port.name) - 1) if port.name.isdecimal() else "0"
    same_port = [c for c in candidates if sysfs.text(c / "dev_port", NAME) == wanted]
    return next((c.name for c in same_port or candidates), "")


def _quiet_layer(port: Path) -> str:
    return sysfs.text(port / "link_layer", NAME) or ""


def _default_route_interfaces(procfs: Path) -> set[str]:
    table = sysfs.text(procfs / "net" / "route", NAME) or ""
    lines = [line.split() for line in table.splitlines()[1:]]
    return {line[0] for line in lines if len(line) > 1 and line[1] == _DEFAULT_ROUTE}


def _fill(row: np.void, port: Port) -> None:
    counters, hardware = port.folder / "counters", port.folder / "hw_counters"
    scale = 1 if rdma_names.counts_bytes(port.device, port.driver) else 4
    for column, names in rdma_names.DATA.items():
        row[column] = sysfs.counter(counters / names[0], NAME, scale)
    for column, names in rdma_names.COUNTERS.items():
        row[column] = sysfs.first_counter(counters, names, NAME)
    for column, names in rdma_names.HW_COUNTERS.items():
        if row[column] == MISSING_COUNTER:
            row[column] = sysfs.first_counter(hardware, names, NAME)
    row["link_rate_bits_per_second"] = sysfs.rate_bits_per_second(
        sysfs.text(port.folder / "rate", NAME)
    )
    row["link_layer"] = _LINK_LAYER.get(_quiet_layer(port.folder), MISSING_STATE)
    row["link_up"] = _link_up(sysfs.text(port.folder / "state", NAME))


def _link_up(state: str | None) -> int:
    """1 for `4: ACTIVE`, 0 for any other state, missing when unreadable."""
    if state is None or not state[:1].isdecimal():
        return MISSING_STATE
    return int(state.startswith("4"))


def _fill_pfc(row: np.void, statistics: Mapping[str, int]) -> None:
    for column, names in rdma_names.PFC.items():
        found = [statistics[name] for name in names if name in statistics]
        if found:
            row[column] = sum(found)


def create(settings: CollectSettings) -> Infiniband:
    """The collector of this machine's RDMA ports.

    Raises:
        NoData: there is none.
    """
    ports_of(settings)
    return Infiniband(settings)

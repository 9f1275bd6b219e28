"""Who is speaking: the host a collector runs on, and inventory items made in its name."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Self

from ridgeline import ids
from ridgeline.events import DeviceKind, InventoryItem
from ridgeline.pools import Role
from ridgeline.settings import CollectSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One host and where it stands."""

    host: str
    node: int
    rack: str = ""
    cooling_loop: str = ""
    pool: str = Role.UNKNOWN

    @classmethod
    def of(cls, settings: CollectSettings) -> Self:
        """The host the settings name, else this machine."""
        host = settings.host or socket.gethostname()
        return cls(
            host=host,
            node=ids.node_id(host),
            rack=settings.rack,
            cooling_loop=settings.cooling_loop,
            pool=settings.serving_pool,
        )

    def device(self, kind: DeviceKind, name: str) -> int:
        """Identity of a device of this host by a name that is unique on it."""
        return ids.device_id(self.host, kind.value, name)

    def item(
        self,
        kind: DeviceKind,
        name: str,
        now_ms: int,
        *,
        model: str = "",
        rail: str = "",
        index: int | None = None,
        pool: str | None = None,
        attributes: dict[str, str] | None = None,
    ) -> InventoryItem:
        """What a device id of this host stands for."""
        return InventoryItem(
            device=self.device(kind, name),
            node=self.node,
            kind=kind,
            host=self.host,
            name=name,
            model=model,
            index=index,
            pool=self.pool if pool is None else pool,
            rack=self.rack,
            cooling_loop=self.cooling_loop,
            rail=rail,
            attributes=attributes or {},
            seen_ms=now_ms,
        )

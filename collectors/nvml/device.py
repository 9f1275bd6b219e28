"""One GPU: who it is, and its row."""

from __future__ import annotations

from typing import Any

import numpy as np

from collectors.nvml import calls, library
from collectors.nvml.asking import Asking
from collectors.nvml.fields import FieldReader
from collectors.nvml.gpm import GpmReader
from collectors.nvml.library import NvmlError
from collectors.site import Site
from ridgeline.events import DeviceKind, InventoryItem

_CLOCK_SM = 1
LOST_RETRY_MS = 60_000


class Gpu:
    """One GPU and its readers.

    Args:
        index: Its NVML index.
        site: The host it is in.

    Raises:
        NvmlError: the GPU gives no handle or no UUID.
    """

    def __init__(self, index: int, site: Site) -> None:
        self.handle = library.call("nvmlDeviceGetHandleByIndex", index)
        self.uuid = str(library.call("nvmlDeviceGetUUID", self.handle))
        self.index = index
        self.device = site.device(DeviceKind.GPU, self.uuid)
        self.lost = False
        self.retry_ms = 0
        self.xid_count = 0
        self.last_xid: int | None = None
        self._site = site
        self._model = str(self._maybe("nvmlDeviceGetName") or "")
        self._attributes = self._describe()
        self._asking = Asking(self.handle, index)
        self._fields = FieldReader(self._asking)
        self._gpm = GpmReader(self._asking)

    @property
    def answers(self) -> int:
        """Readings answered so far."""
        return self._asking.answers

    def fill(self, row: np.void, now_ms: int) -> None:
        """Write every metric that the GPU gives.

        Raises:
            DeviceLost: the GPU is out of order.
            NoData: the driver is gone.
        """
        self._fields.fill(row, now_ms)
        calls.fill(row, self._asking, now_ms)
        self._gpm.fill(row, now_ms)

    def item(self, now_ms: int) -> InventoryItem:
        """Its inventory item."""
        return self._site.item(
            DeviceKind.GPU,
            self.uuid,
            now_ms,
            model=self._model,
            index=self.index,
            attributes=self._attributes | ({"state": "lost"} if self.lost else {}),
        )

    def close(self) -> None:
        """Free what the driver holds for us."""
        self._gpm.close()

    def _describe(self) -> dict[str, str]:
        pci = self._maybe("nvmlDeviceGetPciInfo")
        limit_mw = self._maybe("nvmlDeviceGetPowerManagementDefaultLimit")
        known = {
            "serial": self._maybe("nvmlDeviceGetSerial"),
            "pci_bus_id": _text(pci.busId) if pci is not None else None,
            "driver_version": _driver_version(),
            "vbios_version": self._maybe("nvmlDeviceGetVbiosVersion"),
            "sm_clock_max_mhz": self._maybe("nvmlDeviceGetMaxClockInfo", _CLOCK_SM),
            "power_limit_default_watts": limit_mw / 1000 if limit_mw is not None else None,
        }
        return {name: _short(value) for name, value in known.items() if value is not None}

    def _maybe(self, function: str, *args: Any) -> Any | None:
        try:
            return library.call(function, self.handle, *args)
        except NvmlError as error:
            library.log.debug("not in the inventory", gpu=self.index, error=str(error))
            return None


def _driver_version() -> str | None:
    try:
        return str(library.call("nvmlSystemGetDriverVersion"))
    except NvmlError:
        return None


def _text(value: bytes | str) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)

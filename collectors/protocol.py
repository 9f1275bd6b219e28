"""What a collector is to its runner: two methods and the batch they return."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ridgeline.events import DeviceEvent, InventoryItem
from ridgeline.schema import Schema
from ridgeline.settings import CollectSettings


@dataclass(slots=True)
class Batch:
    """What one run of a collector found.

    Args:
        frames: Rows in the schema's dtype with `ts` (ms), `node` and `device` filled in; the rows
            of one entry may belong to several nodes.
        inventory: The current full list; the runner publishes changes at once and all of it
            every 60 s.
        events: What happened since the last run.
    """

    frames: list[tuple[Schema, np.ndarray]] = field(default_factory=list)
    inventory: list[InventoryItem] = field(default_factory=list)
    events: list[DeviceEvent] = field(default_factory=list)


class Collector(Protocol):
    """One source. It owns its reading; the runner owns time, retries and self-metrics."""

    def collect(self, now_ms: int) -> Batch:
        """Read everything once; may block, for it runs on a thread of its own.

        Raises:
            NoData: the source is gone; it is probed again later.
            Retry: the source is away for the moment.
        """
        ...

    def close(self) -> None:
        """Let go of the source; may be called twice."""
        ...


Factory = Callable[[CollectSettings], Collector]
"""Makes a collector; raises NoData when the source is absent."""

"""Which inventory items are worth sending: changes at once, everything now and then."""

from __future__ import annotations

from collections.abc import Iterable

from ridgeline.events import InventoryItem


class InventoryBook:
    """The newest item of every device, by the collector that reported it."""

    def __init__(self, repeat_ms: int = 60_000) -> None:
        self._repeat_ms = repeat_ms
        self._items: dict[str, dict[int, InventoryItem]] = {}
        self._full_ms: dict[str, int] = {}

    def update(
        self, source: str, items: Iterable[InventoryItem], now_ms: int
    ) -> list[InventoryItem]:
        """Take a collector's full list; what is to be sent now.

        A device that left the list is forgotten, so that it is not announced for ever.
        """
        before = self._items.get(source, {})
        now = {item.device: item for item in items}
        self._items[source] = now
        if now_ms - self._full_ms.get(source, -self._repeat_ms) >= self._repeat_ms:
            self._full_ms[source] = now_ms
            return list(now.values())
        return [i for d, i in now.items() if d not in before or _differs(i, before[d])]

    def all(self) -> list[InventoryItem]:
        """Everything known, for a broker that has forgotten it."""
        return [item for items in self._items.values() for item in items.values()]


def _differs(one: InventoryItem, other: InventoryItem) -> bool:
    """Whether anything but the time of sight changed."""
    if one is other:
        return False
    return {**one.__dict__, "seen_ms": 0} != {**other.__dict__, "seen_ms": 0}

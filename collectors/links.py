"""Link changes of the ports of one collector, as events."""

from __future__ import annotations

from ridgeline.events import DeviceEvent
from ridgeline.schema import MISSING_STATE


class LinkWatch:
    """Remembers every port's last known state and says when it changed.

    A port seen for the first time makes no event: a cable that never was in is not a flap.
    """

    def __init__(self) -> None:
        self._up: dict[int, int] = {}

    def seen(self, *, node: int, device: int, name: str, up: int, now_ms: int) -> list[DeviceEvent]:
        """Events of one reading: none or one. An unknown state changes nothing."""
        if up == MISSING_STATE:
            return []
        before = self._up.get(device, up)
        self._up[device] = up
        if before == up:
            return []
        message = f"{name} link {'up' if up else 'down'}"
        return [
            DeviceEvent(device=device, node=node, kind="link", code=up, message=message, ts=now_ms)
        ]

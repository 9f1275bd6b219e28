"""XID errors as they happen: a daemon thread waits for the driver's events.

Polling a "last XID" register loses the first of two in one interval; an event set loses none.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from collectors.nvml import library
from collectors.nvml.library import TIMEOUT, NvmlError, Trouble
from ridgeline.metrics import COLLECT_READ_ERRORS

_XID_CRITICAL = 8  # nvmlEventTypeXidCriticalError
_WAIT_MS = 250  # how long closing may have to wait
_PAUSE_SECONDS = 1.0
_STOP_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Xid:
    """One XID of one GPU."""

    uuid: str
    code: int
    ts_ms: int


class XidWatch:
    """Waits for XIDs of the GPUs it is given.

    Args:
        handles: NVML device handles by UUID.
    """

    def __init__(self, handles: Mapping[str, Any]) -> None:
        self._uuid_by_address = {_address(h): uuid for uuid, h in handles.items()}
        self._arrived: deque[Xid] = deque()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.watched: frozenset[str] = frozenset()
        self.broken = False  # a watched GPU is lost, so the driver fails every wait of this set
        self._events: Any = None
        self._register(handles)

    def take(self) -> list[Xid]:
        """What arrived since the last call, oldest first."""
        out: list[Xid] = []
        while self._arrived:
            out.append(self._arrived.popleft())
        return out

    def put_back(self, xids: Iterable[Xid]) -> None:
        """Take over what an older watch still had."""
        self._arrived.extendleft(reversed(list(xids)))

    def pending(self) -> int:
        """How many wait to be taken."""
        return len(self._arrived)

    def close(self) -> None:
        """Stop waiting; the event set is given back unless a hung driver still holds it."""
        self._stopping.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(_STOP_SECONDS)
        events, self._events = self._events, None
        if events is None or (thread is not None and thread.is_alive()):
            return
        try:
            library.call("nvmlEventSetFree", events)
        except NvmlError as error:
            library.log.debug("event set not freed", error=str(error))

    def _register(self, handles: Mapping[str, Any]) -> None:
        try:
            self._events = library.call("nvmlEventSetCreate")
        except NvmlError as error:
            _count(error)
            return
        self.watched = frozenset(u for u, h in handles.items() if self._registered(h))
        if self.watched:
            self._thread = threading.Thread(target=self._wait, name="nvml-xids", daemon=True)
            self._thread.start()

    def _registered(self, handle: Any) -> bool:
        try:
            library.call("nvmlDeviceRegisterEvents", handle, _XID_CRITICAL, self._events)
        except NvmlError as error:
            _count(error)
            return False
        return True

    def _wait(self) -> None:
        while not self._stopping.is_set():
            try:
                event = library.call("nvmlEventSetWait_v2", self._events, _WAIT_MS)
            except NvmlError as error:
                if error.code == TIMEOUT:
                    continue
                _count(error)
                if error.trouble is not Trouble.PASSING:
                    self.broken = error.trouble is Trouble.LOST
                    self.watched = frozenset()  # missing from now on, not "no further XID"
                    return
                self._stopping.wait(_PAUSE_SECONDS)
                continue
            self._take_in(event)

    def _take_in(self, event: Any) -> None:
        uuid = self._uuid_by_address.get(_address(event.device)) or _uuid(event.device)
        if event.eventType == _XID_CRITICAL and uuid is not None:
            self._arrived.append(Xid(uuid, int(event.eventData), time.time_ns() // 1_000_000))


def _address(handle: Any) -> int | None:
    return ctypes.cast(handle, ctypes.c_void_p).value


def _uuid(handle: Any) -> str | None:
    try:
        return str(library.call("nvmlDeviceGetUUID", handle))
    except NvmlError as error:
        _count(error)
        return None


def _count(error: NvmlError) -> None:
    COLLECT_READ_ERRORS.labels(library.NAME).inc()
    library.log.debug("xid events", error=str(error))

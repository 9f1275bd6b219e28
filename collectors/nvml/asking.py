"""Asking one GPU for readings, and remembering what it does not give."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import structlog

from collectors.nvml import library
from collectors.nvml.library import NvmlError, Trouble
from ridgeline.metrics import COLLECT_READ_ERRORS

ASK_AGAIN_MS = 600_000

log = structlog.get_logger()


class DeviceLost(NvmlError):
    """This GPU is out of order; the others go on."""


class Asking:
    """The questions put to one GPU.

    Args:
        handle: NVML's device handle.
        index: Its NVML index, for the log.
    """

    def __init__(self, handle: Any, index: int) -> None:
        self.handle = handle
        self.index = index
        self.answers = 0
        self.refusals = 0
        self._until_ms: dict[Hashable, int] = {}

    def wants(self, key: Hashable, now_ms: int) -> bool:
        """Whether to ask: not refused within the last 10 minutes."""
        return now_ms >= self._until_ms.get(key, now_ms)

    def ask(self, now_ms: int, function: str, *args: Any, key: Hashable = None) -> Any | None:
        """Answer of `function(handle, *args)`, or None when there is none now.

        Args:
            now_ms: Time of the poll.
            function: The NVML function.
            args: Its arguments after the handle.
            key: What to remember a refusal by; function and arguments when absent.

        Raises:
            DeviceLost: the GPU is out of order.
            NoData: the driver is gone.
        """
        key = key or (function, *args)
        if not self.wants(key, now_ms):
            return None
        try:
            answer = library.call(function, self.handle, *args)
        except NvmlError as error:
            self.failed(key, error, now_ms)
            return None
        self.answers += 1
        return answer

    def failed(self, key: Hashable, error: NvmlError, now_ms: int) -> None:
        """Count a failed reading and decide what follows from it.

        Raises:
            DeviceLost: the GPU is out of order.
            NoData: the driver is gone.
        """
        COLLECT_READ_ERRORS.labels(library.NAME).inc()
        log.debug("reading failed", collector=library.NAME, gpu=self.index, error=str(error))
        if error.trouble is Trouble.LOST:
            raise DeviceLost(error.function, error.code) from None
        if error.trouble is Trouble.GONE:
            raise library.gone(error) from None
        if error.trouble is Trouble.REFUSED:
            self.refuse(key, now_ms)

    def refuse(self, key: Hashable, now_ms: int) -> None:
        """Do not ask this again for 10 minutes."""
        self.refusals += 1
        self._until_ms[key] = now_ms + ASK_AGAIN_MS

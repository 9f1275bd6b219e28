"""One daemon thread that runs one call at a time, so that a hung driver cannot stop the agent."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Worker:
    """A thread with a queue. Unlike an executor's, it never holds up the end of the process."""

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Queue a call; its result or error arrives in the future."""
        future: Future[T] = Future()
        self._calls.put((call, future))
        return future

    def stop(self) -> None:
        """End the thread after the calls queued so far."""
        self._calls.put(None)

    def _work(self) -> None:
        while (job := self._calls.get()) is not None:
            call, future = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call())
            except StopIteration as error:  # no coroutine can be handed one
                future.set_exception(RuntimeError(f"StopIteration: {error.value}"))
            except BaseException as error:  # noqa: BLE001 - handed to whoever waits for it
                future.set_exception(error)

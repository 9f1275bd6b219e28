"""Keeps the parts running: starts in order, restarts what dies, stops everything.

It knows processes only, not what they do; `ridgeline.local.stack` says which and in what order.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ridgeline import metrics
from ridgeline.errors import Misconfigured
from ridgeline.local.parts import Part
from ridgeline.local.process import Process

_MISCONFIGURED = 2  # exit code of every service whose settings are wrong
_HOOK_SECONDS = 120.0
_STEADY_SECONDS = 60.0  # a part that ran so long starts over with the shortest wait


class Report(Protocol):
    """How a person follows what happens; called from the event loop."""

    def starting(self, part: str) -> None:
        """A part starts."""

    def ready(self, part: str, seconds: float) -> None:
        """A part serves."""

    def note(self, text: str) -> None:
        """One plain sentence."""


class PartFailed(Exception):
    """A part did not become ready; carries the end of its log."""


@dataclass(slots=True)
class _Running:
    part: Part
    process: Process
    started: float
    wait_seconds: float = 1.0
    retry_at: float | None = None
    given_up: bool = False


class Supervisor:
    """Runs parts; one event loop, one caller at a time.

    Args:
        logs: Folder of the parts' logs.
        report: Where progress goes.
        on_line: Called with (part, line) for each line a part writes, from another thread.
        longest_wait_seconds: Bound of the back-off between restarts.
    """

    def __init__(
        self,
        logs: Path,
        report: Report,
        on_line: Callable[[str, str], None] | None = None,
        longest_wait_seconds: float = 60.0,
    ) -> None:
        self._logs = logs
        self._report = report
        self._on_line = on_line
        self._longest_wait_seconds = longest_wait_seconds
        self._running: dict[str, _Running] = {}
        self._stopped: dict[str, Part] = {}
        self._lock = asyncio.Lock()

    def process(self, name: str) -> Process:
        """The process of a started part."""
        return self._running[name].process

    async def start(self, part: Part, ready_seconds: float = 90.0) -> None:
        """Start a part and wait until it serves.

        Raises:
            PartFailed: it ended or was not ready in time.
            Misconfigured: it says that a setting is wrong.
        """
        self._report.starting(part.name)
        begun = time.monotonic()
        process = await self._spawn(part)
        self._running[part.name] = _Running(part, process, begun)
        await self._until_ready(part, process, begun + ready_seconds)
        self._report.ready(part.name, time.monotonic() - begun)

    async def run_once(self, part: Part, seconds: float = 120.0) -> None:
        """Run a part to its end.

        Raises:
            PartFailed: it ended with an error or took too long.
            Misconfigured: it says that a setting is wrong.
        """
        self._report.starting(part.name)
        begun = time.monotonic()
        process = await self._spawn(part)
        self._running[part.name] = _Running(part, process, begun)
        await asyncio.to_thread(process.wait, seconds)
        del self._running[part.name]
        code = await asyncio.to_thread(process.stop)
        if code == _MISCONFIGURED:
            raise Misconfigured(part.name, process.tail(1).removeprefix("ridgeline: "))
        if code:
            raise PartFailed(f"{part.name} failed with {code}; {process.log}:\n{process.tail()}")
        self._report.ready(part.name, time.monotonic() - begun)

    async def stop_part(self, name: str, grace_seconds: float = 5.0) -> None:
        """Stop one part for good (until it is started again)."""
        running = self._running.pop(name)
        await asyncio.to_thread(running.process.stop, grace_seconds)

    async def restart(self, name: str, ready_seconds: float = 90.0) -> None:
        """Stop a part, if it is not stopped already, and start it again."""
        if name not in self._stopped:
            await self.suspend(name)
        await self.start(self._stopped.pop(name), ready_seconds)

    async def suspend(self, name: str, grace_seconds: float = 5.0) -> None:
        """Stop one part until `restart`."""
        self._stopped[name] = self._running[name].part
        await self.stop_part(name, grace_seconds)

    def pause(self) -> asyncio.Lock:
        """Held: no part is restarted meanwhile (`async with supervisor.pause():`)."""
        return self._lock

    async def watch(self, pause_seconds: float = 0.5) -> None:
        """Restart parts that die, for ever."""
        while True:
            async with self._lock:
                for running in list(self._running.values()):
                    await self._look_after(running)
            await asyncio.sleep(pause_seconds)

    async def stop(self, groups: Iterable[Iterable[str]]) -> None:
        """Stop everything: the named groups one after the other, then whatever is left."""
        for group in [*groups, list(self._running)]:
            names = [name for name in group if name in self._running]
            await asyncio.gather(*(self.stop_part(name) for name in names))

    async def _spawn(self, part: Part) -> Process:
        command = await asyncio.to_thread(part.command)
        on_line = None
        if self._on_line is not None:
            forward = self._on_line

            def on_line(line: str) -> None:
                forward(part.name, line)

        log = self._logs / f"{part.name}.log"
        return Process(part.name, command, log, part.env, on_line)

    async def _until_ready(self, part: Part, process: Process, deadline: float) -> None:
        while not await asyncio.to_thread(part.ready):
            if process.exit_code == _MISCONFIGURED:
                await asyncio.to_thread(process.stop)
                raise Misconfigured(part.name, process.tail(1).removeprefix("ridgeline: "))
            if not process.alive:
                await asyncio.to_thread(process.stop)
                ended = f"{part.name} ended with {process.exit_code}; see {process.log}"
                raise PartFailed(f"{ended}:\n{process.tail()}")
            if time.monotonic() > deadline:
                raise PartFailed(f"{part.name} is not ready; see {process.log}:\n{process.tail()}")
            await asyncio.sleep(0.1)

    async def _look_after(self, running: _Running) -> None:
        process, part, now = running.process, running.part, time.monotonic()
        if process.alive or running.given_up:
            return
        if running.retry_at is None:
            await asyncio.to_thread(process.stop)  # reaps it and its group
            self._plan_restart(running, now)
            return
        if now < running.retry_at:
            return
        wait = min(running.wait_seconds * 2, self._longest_wait_seconds)
        metrics.LOCAL_RESTARTS.labels(part=part.name).inc()
        try:
            await self.start(part)
            if part.after_restart is not None:
                async with asyncio.timeout(_HOOK_SECONDS):
                    await part.after_restart()
        except (PartFailed, Misconfigured, OSError, TimeoutError) as error:
            self._report.note(str(error) or f"{part.name} is slow to come back")
            running.retry_at = now + wait
        self._running.setdefault(part.name, running).wait_seconds = wait

    def _plan_restart(self, running: _Running, now: float) -> None:
        name, code = running.part.name, running.process.exit_code
        if code == _MISCONFIGURED:
            running.given_up = True
            text = f"{name} is off, a setting is wrong: {running.process.tail(1)}"
            self._report.note(text)
            return
        if now - running.started > _STEADY_SECONDS:
            running.wait_seconds = 1.0
        running.retry_at = now + running.wait_seconds
        text = f"{name} ended with {code}; starting it again in {running.wait_seconds:g} s"
        self._report.note(f"{text} (log: {running.process.log})")

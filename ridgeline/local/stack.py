"""`ridgeline up` and `ridgeline demo`: the whole product on this machine, until Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from types import MappingProxyType

import httpx

from ridgeline import metrics
from ridgeline.kafka import ensure_topics
from ridgeline.local import parts
from ridgeline.local.demo_operator import DemoOperator
from ridgeline.local.follow import print_events
from ridgeline.local.parts import ADVISOR, COLLECTORS, STREAMS, Part
from ridgeline.local.renewal import keep_within, renew
from ridgeline.local.supervisor import PartFailed, Supervisor
from ridgeline.local.terminal import Terminal
from ridgeline.settings import LocalSettings, StreamsSettings

DEMO: Mapping[str, str] = MappingProxyType(
    {
        "RIDGELINE_COLLECT_COLLECTORS": "simulator",
        "RIDGELINE_COLLECT_SPEED": "5",
        "RIDGELINE_ADVISOR_VERIFY_MINUTES": "2.2",  # the least a comparison needs, and a window
    }
)
_SHOWN = ("detections", "advice", "device.events")
_STOP_ORDER = ((ADVISOR,), (STREAMS, COLLECTORS), ("store", "broker"))


class Stack:
    """The local stack, once.

    Args:
        local: Ports, home and broker.
        extra: Variables for the services on top (`DEMO`, or what `up` was given).
        terminal: What a person sees.
        operator: Whether the demo's operator follows advice in the simulator.
    """

    def __init__(
        self,
        local: LocalSettings,
        extra: Mapping[str, str],
        terminal: Terminal | None = None,
        *,
        operator: bool = False,
    ) -> None:
        self._local = local
        self._extra = extra
        self._operator = operator
        self._terminal = terminal or Terminal()
        self._kafka = parts.kafka_settings(local)
        self._follower: asyncio.Task[None] | None = None
        self._supervisor = Supervisor(
            local.home.resolve() / "logs", self._terminal, self._terminal.part_line
        )

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT.

        Raises:
            Misconfigured: a setting stops it before or while it starts.
            PartFailed: a part did not start.
        """
        with parts.lock_home(self._local):
            parts.check_ports(self._local)
            parts.hold_file(self._local).unlink(missing_ok=True)
            parts.repairs_file(self._local).unlink(missing_ok=True)
            metrics.serve(self._local.metrics_port)
            stop = asyncio.Event()
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
            work = asyncio.create_task(self._work())
            stopped = asyncio.create_task(stop.wait())
            try:
                await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
                if not work.done():
                    self._terminal.note("stopping")
            finally:
                stopped.cancel()
                await self._finish(work)
        self._terminal.note("stopped")

    async def _finish(self, work: asyncio.Task[None]) -> None:
        """Stop every part; then hand on what ended the work, if that was not us."""
        failed = work.exception() if work.done() and not work.cancelled() else None
        tasks = {work} if self._follower is None else {work, self._follower}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await self._supervisor.stop(_STOP_ORDER)
        parts.hold_file(self._local).unlink(missing_ok=True)
        if failed is not None:
            raise failed

    async def _work(self) -> None:
        await self._start()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._supervisor.watch())
            if self._operator:
                tasks.create_task(self._operate())
            if self._local.kafka == "embedded":
                pid = lambda: self._supervisor.process("broker").pid  # noqa: E731 - short
                tasks.create_task(keep_within(self._local.broker_memory_mb, pid, self._renew))

    async def _start(self) -> None:
        await self._supervisor.start(parts.broker_part(self._local, self._broker_is_back))
        await self._supervisor.start(parts.store_part(self._local))
        await self._migrate()
        await ensure_topics(self._kafka)
        self._follow()
        for part in parts.service_parts(self._local, self._extra):
            await self._supervisor.start(part)
        address = f"http://127.0.0.1:{self._local.console_port}/"
        self._terminal.note(f"console: {address}  (Ctrl-C stops everything)")

    def _follow(self) -> None:
        """Show events from here on: all that the embedded broker has, which starts empty."""
        if self._follower is not None:
            self._follower.cancel()
        embedded = self._local.kafka == "embedded"
        follow = print_events(self._kafka, _SHOWN, self._terminal.event, from_beginning=embedded)
        self._follower = asyncio.create_task(follow)

    async def _operate(self) -> None:
        """Follow the demo's advice for ever."""
        repairs, note = parts.repairs_file(self._local), self._terminal.note
        address = f"http://127.0.0.1:{self._local.console_port}"
        async with httpx.AsyncClient(base_url=address, timeout=10, trust_env=False) as console:
            await DemoOperator(console, repairs, note).run()

    async def _migrate(self) -> None:
        """Migrations run in their own process: the same command an operator has."""
        migration = Part(
            name="migrate",
            command=lambda: [*parts.PYTHON, "-m", "ridgeline.cli", "store", "migrate"],
            ready=lambda: False,
            env=parts.environment(self._local),
        )
        await self._supervisor.run_once(migration)

    async def _broker_is_back(self) -> None:
        await ensure_topics(self._kafka)
        if self._local.kafka == "embedded":
            self._terminal.note("the broker came back empty; streams goes on from the store")
            self._follow()
            await self._supervisor.restart(STREAMS)

    async def _renew(self) -> None:
        self._terminal.note("broker is past its memory budget; renewing it")
        try:
            await renew(
                self._supervisor,
                self._kafka,
                hold=parts.hold_file(self._local),
                group=StreamsSettings.load().app_id,
                report=self._terminal,
            )
            self._follow()
        except PartFailed as error:  # the watch goes on starting it
            self._terminal.note(str(error))

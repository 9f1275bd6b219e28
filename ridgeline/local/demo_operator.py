"""The demo's operator: follows one piece of advice in the simulator, so that it can be verified.

Only `ridgeline demo` has one. It uses the console's API as a person does and tells the simulator
what was put right; the advisor, which never acts, measures what that brought with the same code as
anywhere.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from pydantic import TypeAdapter

from ridgeline.events import Action, Advice, AdviceState

NAME = "simulated operator"
LOOK_SECONDS = 5.0
ACKNOWLEDGE_SECONDS, APPLY_SECONDS = 20.0, 110.0
"""Since the advice was given; a comparison needs two minutes of the fault before the change."""
_ADVICE = TypeAdapter(list[Advice])
_WAITING = frozenset({AdviceState.OPEN, AdviceState.UPDATED})


class DemoOperator:
    """Acknowledges cooling advice, and a while later carries it out and closes it as done.

    Args:
        console: Client of the advisor's API.
        repairs: The file in which the simulator reads what was put right.
        report: Tells a person what was done.
        clock: Wall clock in ms.
    """

    def __init__(
        self,
        console: httpx.AsyncClient,
        repairs: Path,
        report: Callable[[str], None],
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._console = console
        self._repairs = repairs
        self._report = report
        self._clock = clock

    async def run(self) -> None:
        """Look at the advice for ever."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Look once and do what is due; an advisor that is away is asked again next time."""
        try:
            found = await self._console.get("/api/advice")
            found.raise_for_status()
            for advice in _ADVICE.validate_json(found.content):
                if advice.action is Action.FIX_COOLING and advice.scope_kind == "cooling_loop":
                    await self._follow(advice)
        except httpx.HTTPError:
            return

    async def _follow(self, advice: Advice) -> None:
        waited = (self._clock() - advice.created_ms) / 1000
        if advice.state in _WAITING and waited >= ACKNOWLEDGE_SECONDS:
            await self._post(advice, "acknowledge", {})
            self._report(f'{NAME}: acknowledges "{advice.title}", sends somebody')
        elif advice.state is AdviceState.ACKNOWLEDGED and waited >= APPLY_SECONDS:
            with self._repairs.open("a", encoding="utf-8") as file:
                file.write(f"cooling {advice.scope}\n")
            note = "the fault ends in the simulator"
            await self._post(advice, "resolve", {"done": True, "note": note})
            self._report(
                f'{NAME}: "{advice.title}" is done ({note}); the advisor compares before and after'
            )

    async def _post(self, advice: Advice, what: str, more: dict[str, object]) -> None:
        body = {"by": NAME} | more
        answer = await self._console.post(f"/api/advice/{advice.id}/{what}", json=body)
        answer.raise_for_status()

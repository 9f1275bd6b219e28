"""The real worker with a bad fate: its writes fail, their answers get lost, it dies around them.

Started by `benchmarks.chaos`. Every access to the store, to the topic of detections and to the
offsets may, by seed, raise `Retry` before or after it worked, or be where `kill -9` strikes. While
the file `CHAOS_CALM` exists nothing happens.
"""

from __future__ import annotations

import functools
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import streams.__main__ as worker
from ridgeline.errors import Retry
from ridgeline.store import Store
from streams.transport import BatchConsumer

FAIL_SHARE, KILL_SHARE = 0.06, 0.008
WRITES = ("insert_windows", "insert_events", "save_progress", "save_state", "roll_up")
READS = ("progress", "state", "query")


class Fate:
    """What happens to the next call.

    Args:
        chance: Seeded.
        calm: While it exists, nothing.
        struck: Gets a line for everything that happens.
    """

    def __init__(self, chance: random.Random, calm: Path, struck: Path) -> None:
        self._chance, self._calm, self._struck = chance, calm, struck

    def strike(self, what: str, *, may_fail: bool = True) -> None:
        """Perhaps die, perhaps fail."""
        dice = self._chance.random()
        if self._calm.exists():
            return
        if dice < KILL_SHARE:
            self._note(f"kill {what}")
            os.kill(os.getpid(), signal.SIGKILL)
        if may_fail and dice < KILL_SHARE + FAIL_SHARE:
            self._note(f"fail {what}")
            raise Retry(f"chaos: {what}")

    def _note(self, line: str) -> None:
        with self._struck.open("a", encoding="utf-8") as out:
            out.write(f"{line}\n")

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call with something before and after it."""

        @functools.wraps(call)
        def struck(*arguments: Any, **named: Any) -> Any:
            self.strike(f"before {call.__name__}")
            answer = call(*arguments, **named)
            self.strike(f"after {call.__name__}")
            return answer

        return struck


def main() -> None:
    """Run the worker under its fate."""
    chance = random.Random(os.environ["CHAOS_SEED"])
    fate = Fate(chance, *(Path(os.environ[name]) for name in ("CHAOS_CALM", "CHAOS_STRUCK")))
    for name in (*WRITES, *READS):
        setattr(Store, name, fate.around(getattr(Store, name)))
    publish, release = worker.publish, BatchConsumer.release

    async def struck_publish(*arguments: Any) -> None:
        fate.strike("before publish")
        await publish(*arguments)
        fate.strike("after publish")

    def struck_release(*arguments: Any) -> None:
        fate.strike("release", may_fail=False)
        release(*arguments)

    setattr(worker, "publish", struck_publish)  # noqa: B010 - mypy forbids the plain assignment
    setattr(BatchConsumer, "release", struck_release)  # noqa: B010 - likewise
    worker.main()


if __name__ == "__main__":
    main()

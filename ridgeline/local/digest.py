"""Many detections at once, said in one line: what 128 GPUs do together is one piece of news."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime

from ridgeline.events import Detection, EpisodeState, Severity

_NAMED = 4  # hosts named one by one; beyond that first and last
_FORGOTTEN_SECONDS = 60.0
_RANK = {Severity.CRITICAL: 0, Severity.WARNING: 1, Severity.INFO: 2}


def clock(milliseconds: int) -> str:
    """Local time of day."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).astimezone().strftime("%H:%M:%S")


def line_of(when_ms: int, word: str, text: str) -> str:
    """The shape of every line: time, how urgent, what."""
    return f"{clock(when_ms)}  {word:<8}  {text}"


class Digest:
    """Collects detections and tells them grouped by what they say.

    The first of a condition are told at once; what follows waits, so that a condition that spreads
    over a pool is two lines and not ten.

    Args:
        quiet_seconds: How long a condition that was told waits before it is told again.
        now: Clock, seconds.
    """

    def __init__(
        self, quiet_seconds: float = 15.0, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._quiet, self._now = quiet_seconds, now
        self._waiting: dict[tuple[str, bool], list[Detection]] = defaultdict(list)
        self._told: dict[tuple[str, bool], float] = {}

    def add(self, detection: Detection) -> None:
        """Keep an opening or a closing for the next lines; updates are not news."""
        if detection.state is not EpisodeState.UPDATE:
            over = detection.state is EpisodeState.CLOSED
            self._waiting[detection.condition, over].append(detection)

    def lines(self) -> list[str]:
        """One line a group whose time has come, in the order the groups began; forgets them."""
        now, out = self._now(), []
        self._told = {k: at for k, at in self._told.items() if now - at < _FORGOTTEN_SECONDS}
        for key in list(self._waiting):
            told = self._told.get(key)
            if told is None or now - told >= self._quiet:
                group = self._waiting.pop(key)
                out.append(_ended(group) if key[1] else _began(group, again=told is not None))
                self._told[key] = now
        return out


def _began(group: list[Detection], *, again: bool) -> str:
    worst = min(group, key=lambda d: _RANK[d.severity])
    first = group[0]
    if len(group) == 1:
        known = first.summary.startswith(first.subject)
        text = first.summary if known else f"{first.subject}: {first.summary}"
    else:
        count = f"{len(group)} more" if again else f"{len(group)}"
        text = f"{_condition(first)}: {count} on {_where(group)}, e.g. {worst.summary}"
    return line_of(first.opened_ms, worst.severity.value, text)


def _ended(group: list[Detection]) -> str:
    first = group[0]
    seconds = [((d.closed_ms or d.updated_ms) - d.opened_ms) / 1000 for d in group]
    if len(group) == 1:
        text = f"{first.subject}: {_condition(first)}, lasted {seconds[0]:.0f} s"
    else:
        low, high = f"{min(seconds):.0f}", f"{max(seconds):.0f}"
        lasted = f"lasted {low} s" if low == high else f"lasted {low} to {high} s"
        text = f"{_condition(first)}: {len(group)} on {_where(group)}, {lasted}"
    return line_of(first.closed_ms or first.updated_ms, "over", text)


def _condition(detection: Detection) -> str:
    return detection.condition.replace("_", " ")


def _where(group: list[Detection]) -> str:
    hosts = sorted({detection.subject.split()[0] for detection in group})
    where = ", ".join(hosts) if len(hosts) <= _NAMED else f"{hosts[0]} to {hosts[-1]}"
    return f"{len(hosts)} nodes ({where})" if len(hosts) > 1 else hosts[0]

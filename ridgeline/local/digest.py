"""Many detections at once, said in one line: what 128 GPUs do together is one piece of news."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime

from ridgeline.events import Detection, EpisodeState

_NAMED = 4  # hosts named one by one; beyond that first and last


def clock(milliseconds: int) -> str:
    """Local time of day."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).astimezone().strftime("%H:%M:%S")


def line_of(when_ms: int, word: str, text: str) -> str:
    """The shape of every line: time, how urgent, what."""
    return f"{clock(when_ms)}  {word:<8}  {text}"


class Digest:
    """Collects detections and tells them grouped by what they say."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str], list[Detection]] = defaultdict(list)

    def add(self, detection: Detection) -> None:
        """Keep an opening or a closing for the next lines; updates are not news."""
        if detection.state is EpisodeState.UPDATE:
            return
        closed = detection.state is EpisodeState.CLOSED
        word = "over" if closed else detection.severity.value
        self._waiting[detection.condition, word].append(detection)

    def lines(self) -> list[str]:
        """One line a group, in the order the groups began; forgets them."""
        out = [_line(word, group) for (_, word), group in self._waiting.items()]
        self._waiting.clear()
        return out


def _line(word: str, group: list[Detection]) -> str:
    first = group[0]
    when = first.closed_ms or first.opened_ms
    if len(group) == 1:
        known = first.summary.startswith(first.subject)
        text = first.summary if known else f"{first.subject}: {first.summary}"
        return line_of(when, word, text)
    hosts = sorted({detection.subject.split()[0] for detection in group})
    where = ", ".join(hosts) if len(hosts) <= _NAMED else f"{hosts[0]} to {hosts[-1]}"
    many = f"{len(hosts)} nodes ({where})" if len(hosts) > 1 else hosts[0]
    condition = first.condition.replace("_", " ")
    return line_of(when, word, f"{condition}: {len(group)} on {many}, e.g. {first.summary}")

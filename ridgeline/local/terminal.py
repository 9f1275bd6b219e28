"""What `ridgeline up` prints: live on a terminal, plain lines anywhere else."""

from __future__ import annotations

import re
from collections.abc import Mapping

from rich.console import Console
from rich.text import Text

_FIELD = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)')
_STYLES = (
    ("critical", "bold red"),
    ("warning", "yellow"),
    ("advice", "bold cyan"),
    ("outcome", "bold green"),
    ("over", "green"),
)


def _too_many(fields: Mapping[str, str]) -> str:
    return (
        f"{fields.get('minute')} dead letters on {fields.get('topic')} in the last minute, more"
        f" than RIDGELINE_STREAMS_DEAD_LETTER_LIMIT={fields.get('limit')}:"
        " `ridgeline tail dead.letter` says why"
    )


class Terminal:
    """Progress and events, one line each; never loses a line to redrawing.

    Args:
        console: Where to write; colours and the spinner only when it is a terminal.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._status = self._console.status("") if self._console.is_terminal else None
        self._absent: set[str] = set()

    def starting(self, part: str) -> None:
        """A part starts."""
        if self._status is not None:
            self._status.update(f"starting {part}")
            self._status.start()
        else:
            self._write(f"{part}: starting")

    def ready(self, part: str, seconds: float) -> None:
        """A part serves."""
        if self._status is not None:
            self._status.stop()
        self._write(f"{part}: ready after {seconds:.1f} s")

    def note(self, text: str) -> None:
        """One plain sentence."""
        if self._status is not None:
            self._status.stop()
        self._write(text)

    def event(self, line: str) -> None:
        """A detection or advice, coloured by its severity."""
        words = line.split(maxsplit=2)
        style = next((s for word, s in _STYLES if word in words[1:2]), "")
        self._console.print(Text(line, style=style), soft_wrap=True)

    def part_line(self, part: str, line: str) -> None:
        """A line of a part's log: says what a person has to know, what is absent only once."""
        fields = {name: value.strip('"') for name, value in _FIELD.findall(line)}
        match fields.get("event"):
            case "collector is off":
                reason = fields.get("reason", f"{fields.get('collector', part)} is off")
                if reason not in self._absent:
                    self._absent.add(reason)
                    self._write(reason)
            case "LLM server does not answer":
                self._write(f"{fields.get('url')} does not answer: {fields.get('error')}")
            case "LLM server answers":
                self._write(f"{fields.get('url')} answers")
            case "too many dead letters":
                self._write(_too_many(fields))
            case "dead letters are few again":
                self._write(f"dead letters on {fields.get('topic')}: few again")
            case _:
                pass

    def _write(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

"""What `ridgeline up` prints: live on a terminal, plain lines anywhere else."""

from __future__ import annotations

import re

from rich.console import Console
from rich.text import Text

_FIELD = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)')
_STYLES = (
    ("critical", "bold red"),
    ("warning", "yellow"),
    ("advice", "bold cyan"),
    ("over", "green"),
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
        """A line of a part's log: says once which collectors are off and why."""
        if "collector is off" not in line:
            return
        fields = {name: value.strip('"') for name, value in _FIELD.findall(line)}
        name = fields.get("collector", part)
        if name not in self._absent:
            self._absent.add(name)
            self._write(f"not here: {name} ({fields.get('reason', 'no reason given')})")

    def _write(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

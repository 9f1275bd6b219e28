"""What a person reads while the stack runs."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from ridgeline.local.terminal import Terminal

ABSENT = (
    'timestamp=2026-01-01T00:00:00Z level=info event="collector is off" collector=nvml'
    ' reason="no NVIDIA driver: libnvidia-ml.so.1 not found; GPU metrics are off"'
)


class Shown:
    """A terminal whose text a test reads."""

    def __init__(self) -> None:
        self._out = io.StringIO()
        self.terminal = Terminal(Console(file=self._out, highlight=False, width=200))

    @property
    def text(self) -> str:
        """Everything written."""
        return self._out.getvalue()


def test_what_is_absent_is_said_once_and_plainly() -> None:
    """The sentence is the collector's own, however often it is probed."""
    shown = Shown()
    shown.terminal.part_line("collectors", ABSENT)
    shown.terminal.part_line("collectors", ABSENT)

    assert "no NVIDIA driver: libnvidia-ml.so.1 not found; GPU metrics are off\n" == shown.text


def test_too_many_dead_letters_are_said() -> None:
    """With the setting that says what too many is, and where to look."""
    shown = Shown()
    line = 'level=error event="too many dead letters" topic=telemetry.gpu minute=1200 limit=1000'
    shown.terminal.part_line("streams", line)

    assert shown.text.startswith("1200 dead letters on telemetry.gpu in the last minute")
    assert "RIDGELINE_STREAMS_DEAD_LETTER_LIMIT=1000" in shown.text


@pytest.mark.parametrize(
    "line", ["", "Traceback (most recent call last):", 'level=info event="collecting"', "=", 'a="']
)
def test_other_lines_stay_in_the_log(line: str) -> None:
    """A part's log is not the person's screen."""
    shown = Shown()
    shown.terminal.part_line("collectors", line)

    assert "" == shown.text

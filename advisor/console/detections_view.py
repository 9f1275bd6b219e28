"""The detections: open first, worst first; a row opens to its evidence."""

from __future__ import annotations

from collections.abc import Sequence

from advisor.console.advice_view import draw_evidence
from advisor.console.format import UNKNOWN, clock, duration, rough_age, words
from advisor.console.parts import KeyedRows, box, heading, section, text
from ridgeline.events import Detection, EpisodeState, Severity

SHOWN = 100
"""Most rows drawn; the note says how many there are beyond."""
_RANK = {Severity.CRITICAL: 0, Severity.WARNING: 1, Severity.INFO: 2}


def is_open(detection: Detection) -> bool:
    """Whether the condition still holds."""
    return detection.state is not EpisodeState.CLOSED


def ranked(detections: Sequence[Detection]) -> list[Detection]:
    """Open before closed, worst first, newest first."""
    return sorted(detections, key=lambda d: (not is_open(d), _RANK[d.severity], -d.opened_ms))


class DetectionsView:
    """The section of detections."""

    def __init__(self) -> None:
        self._now_ms = 0
        with section("Detections", "detections"):
            self._note = heading("What is happening")
            self._empty = text("", "rl-empty")
            with box("rl-table") as self._table:
                with box("rl-row rl-row-head"):
                    for name in ("Severity", "Subject", "Condition", "Since", "Summary"):
                        text(name, "rl-key")
                rows = box("rl-rows")
        self._rows: KeyedRows[Detection] = KeyedRows(
            rows,
            lambda detection: detection.id,
            self._draw,
            content=lambda detection: (repr(detection), self._since(detection)),
            tag="details",
            css="rl-detection",
            mark="detection",
        )

    def show(self, detections: Sequence[Detection], now_ms: int, *, loaded: bool) -> None:
        """Bring the section up to date."""
        self._now_ms = now_ms
        every = ranked(detections)
        self._rows.show(every[:SHOWN])
        note = f"{sum(map(is_open, every))} open, {len(every)} in the last hour" if every else ""
        if len(every) > SHOWN:
            note += f"; the first {SHOWN} are shown"
        self._note.set_text(note)
        self._empty.set_text("No detections in the last hour." if loaded else "Waiting for data.")
        self._empty.set_visibility(not every)
        self._table.set_visibility(bool(every))

    def _since(self, detection: Detection) -> str:
        if detection.closed_ms is not None:
            return f"lasted {duration(detection.closed_ms - detection.opened_ms)}"
        return rough_age(detection.opened_ms, self._now_ms)

    def _draw(self, detection: Detection) -> None:
        closed = "" if is_open(detection) else " rl-over"
        with box(f"rl-row{closed}", tag="summary"):
            severity = "closed" if closed else str(detection.severity)
            text(severity, f"rl-severity rl-{severity}")
            text(detection.subject, "rl-subject")
            text(words(detection.condition))
            text(self._since(detection), "rl-number")
            text(detection.summary, "rl-cut")
        with box("rl-detail"):
            text(detection.summary, "rl-reason")
            with box("rl-card-body"):
                for name, evidence, css in (
                    ("Evidence", detection.evidence, "rl-for"),
                    ("Against it", detection.counter_evidence, "rl-against"),
                ):
                    if evidence:
                        with box(f"rl-claims {css}"):
                            text(name, "rl-key")
                            draw_evidence(evidence)
            text(_story(detection), "rl-note")


def _story(detection: Detection) -> str:
    parts = [
        f"detector {detection.detector}",
        f"pool {detection.pool}",
        f"opened {clock(detection.opened_ms)}",
        f"held for {detection.windows} window{'s' if detection.windows != 1 else ''}",
    ]
    if detection.closed_ms is not None:
        parts.append(f"closed {clock(detection.closed_ms)}")
    others = ", ".join(words(a) for a in detection.alternatives) or UNKNOWN
    return "  ·  ".join([*parts, f"could also be: {others}"])

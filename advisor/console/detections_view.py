"""The detections: open first, worst first; a row opens to its evidence.

A condition that many devices have at once is one row, which opens to its members.
"""

from __future__ import annotations

from collections.abc import Sequence

from advisor.console.advice_view import draw_evidence
from advisor.console.parts import KeyedRows, box, heading, section, text
from advisor.format import UNKNOWN, clock, duration, rough_age, words
from ridgeline.events import Detection, EpisodeState, Severity

Group = tuple[Detection, ...]
"""Detections of one condition, all open or all over, worst first."""
APART = 3
"""So many of one condition have a row each; more share one."""
MEMBERS = 40
"""Most members listed within a row."""
SHOWN = 100
"""Most rows drawn; the note says how many there are beyond."""
_RANK = {Severity.CRITICAL: 0, Severity.WARNING: 1, Severity.INFO: 2}


def is_open(detection: Detection) -> bool:
    """Whether the condition still holds."""
    return detection.state is not EpisodeState.CLOSED


def ranked(detections: Sequence[Detection]) -> list[Detection]:
    """Open before closed, worst first, newest first."""
    return sorted(detections, key=lambda d: (not is_open(d), _RANK[d.severity], -d.opened_ms))


def grouped(detections: Sequence[Detection]) -> list[Group]:
    """Ranked detections with those of one condition together where they are many."""
    groups: dict[tuple[str, bool], list[Detection]] = {}
    for detection in ranked(detections):
        groups.setdefault((detection.condition, is_open(detection)), []).append(detection)
    split = [
        part
        for group in groups.values()
        for part in ([group] if len(group) > APART else [[one] for one in group])
    ]
    order = {d.id: place for place, d in enumerate(ranked(detections))}
    return sorted((tuple(group) for group in split), key=lambda group: order[group[0].id])


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
        self._rows: KeyedRows[Group] = KeyedRows(
            rows,
            _key,
            self._draw_group,
            content=self._content,
            tag="details",
            css="rl-detection",
            mark="detection",
        )

    def show(self, detections: Sequence[Detection], now_ms: int, *, loaded: bool) -> None:
        """Bring the section up to date."""
        self._now_ms = now_ms
        every = grouped(detections)
        self._rows.show(every[:SHOWN])
        count = len(detections)
        note = f"{sum(map(is_open, detections))} open, {count} in the last hour" if count else ""
        if len(every) > SHOWN:
            note += f"; the first {SHOWN} rows are shown"
        self._note.set_text(note)
        self._empty.set_text("No detections in the last hour." if loaded else "Waiting for data.")
        self._empty.set_visibility(not every)
        self._table.set_visibility(bool(every))

    def _since(self, detection: Detection) -> str:
        if detection.closed_ms is not None:
            return f"lasted {duration(detection.closed_ms - detection.opened_ms)}"
        return rough_age(detection.opened_ms, self._now_ms)

    def _content(self, group: Group) -> object:
        if len(group) == 1:
            return repr(group[0]), self._since(group[0])
        # updates come every second: a group is drawn again when its members change
        return [(d.id, d.severity, d.state, self._since(d)) for d in group]

    def _draw_group(self, group: Group) -> None:
        if len(group) == 1:
            self._draw(group[0])
            return
        worst, hosts = group[0], len({d.subject.split()[0] for d in group})
        closed = "" if is_open(worst) else " rl-over"
        with box(f"rl-row{closed}", tag="summary"):
            severity = "closed" if closed else str(worst.severity)
            text(severity, f"rl-severity rl-{severity}")
            text(f"{len(group)} on {hosts} node{'s' * (hosts != 1)}", "rl-subject")
            text(words(worst.condition))
            oldest = min(group, key=lambda d: d.opened_ms)
            text(self._since(oldest), "rl-number")
            text(f"e.g. {worst.summary}", "rl-cut")
        with box("rl-detail"):
            for detection in group[:MEMBERS]:
                with box("rl-member"):
                    text(detection.subject, "rl-subject")
                    text(self._since(detection), "rl-note")
                    text(detection.summary, "rl-cut")
            if len(group) > MEMBERS:
                text(f"and {len(group) - MEMBERS} more: /api/detections has all", "rl-note")
            text(_story(worst), "rl-note")

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


def _key(group: Group) -> str:
    first = group[0]
    if len(group) == 1:
        return first.id
    return f"{first.condition}-{'open' if is_open(first) else 'over'}"


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

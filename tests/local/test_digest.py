"""What the terminal says when many devices say the same."""

from __future__ import annotations

from ridgeline.events import Detection, EpisodeState, Severity
from ridgeline.local.digest import Digest

EXAMPLE = "node00 gpu0 decodes at 86% of its HBM ceiling"


def detection(subject: str, state: EpisodeState = EpisodeState.OPEN) -> Detection:
    """A decode detection on a GPU."""
    return Detection(
        id=subject,
        detector="bandwidth_bound_decode",
        condition="bandwidth_bound",
        state=state,
        severity=Severity.WARNING,
        node=1,
        device=1,
        subject=subject,
        opened_ms=1,
        updated_ms=2,
        closed_ms=3 if state is EpisodeState.CLOSED else None,
        summary=f"{subject} decodes at 86% of its HBM ceiling",
    )


def said(*detections: Detection) -> list[str]:
    """Lines without their time of day."""
    digest = Digest()
    for one in detections:
        digest.add(one)
    return [line.partition("  ")[2] for line in digest.lines()]


def test_one_is_told_in_its_own_words() -> None:
    """The subject is not said twice."""
    assert said(detection("node01 gpu0")) == [
        "warning   node01 gpu0 decodes at 86% of its HBM ceiling"
    ]


def test_many_of_one_kind_are_one_line() -> None:
    """How many, where, and one example."""
    found = said(*(detection(f"node{n:02} gpu{g}") for n in range(6) for g in range(8)))

    assert found == ["warning   bandwidth bound: 48 on 6 nodes (node00 to node05), e.g. " + EXAMPLE]


def test_openings_and_closings_are_told_apart_and_updates_not_at_all() -> None:
    """Two lines: one that opened, one that is over."""
    found = said(
        detection("node01 gpu0"),
        detection("node01 gpu1", EpisodeState.UPDATE),
        detection("node01 gpu2", EpisodeState.CLOSED),
    )

    assert [line.split()[0] for line in found] == ["warning", "over"]


def test_lines_are_told_once() -> None:
    """A second look finds nothing new."""
    digest = Digest()
    digest.add(detection("node01 gpu0"))
    digest.lines()

    assert digest.lines() == []

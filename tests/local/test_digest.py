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


def test_what_is_over_says_how_long_it_lasted() -> None:
    """Not what it looked like while it was there."""
    one = detection("node01 gpu0", EpisodeState.CLOSED).model_copy(update={"closed_ms": 43_001})
    two = one.model_copy(update={"subject": "node02 gpu1", "closed_ms": 60_001})

    assert said(one) == ["over      node01 gpu0: bandwidth bound, lasted 43 s"]
    assert said(one, two) == [
        "over      bandwidth bound: 2 on 2 nodes (node01, node02), lasted 43 to 60 s"
    ]


def test_a_group_is_as_urgent_as_its_worst() -> None:
    """One line for both severities, with the worst as its example."""
    worse = detection("node02 gpu0").model_copy(update={"severity": Severity.CRITICAL})

    (line,) = said(detection("node01 gpu0"), worse)

    assert line.startswith("critical  bandwidth bound: 2 on 2 nodes")
    assert line.endswith(worse.summary)


def test_what_spreads_is_told_again_after_a_while() -> None:
    """The first at once, all that follow in one more line; after a long silence it is new."""
    now = [0.0]
    digest = Digest(quiet_seconds=15, now=lambda: now[0])
    told = []
    for second in range(0, 20, 2):
        now[0] = second
        digest.add(detection(f"node{second:02} gpu0"))
        told += digest.lines()
    now[0] = 100
    digest.lines()
    now[0] = 200
    digest.add(detection("node01 gpu0"))
    digest.add(detection("node02 gpu0"))
    told += digest.lines()

    words = [line.partition("  ")[2].split(",")[0] for line in told]
    assert len(words) == 3
    assert words[1].startswith("warning   bandwidth bound: 8 more on 8 nodes")
    assert words[2].startswith("warning   bandwidth bound: 2 on 2 nodes")


def test_lines_are_told_once() -> None:
    """A second look finds nothing new."""
    digest = Digest()
    digest.add(detection("node01 gpu0"))
    digest.lines()

    assert digest.lines() == []

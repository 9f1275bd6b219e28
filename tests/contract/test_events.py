"""Events: JSON that reads back equal, tolerant of newer writers."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from ridgeline.events import Detection, EpisodeState, Evidence, Severity
from ridgeline.topics import TOPICS, Topic

DETECTION = Detection(
    id="d1",
    detector="thermal_limit",
    condition="thermal_throttle",
    state=EpisodeState.OPEN,
    severity=Severity.WARNING,
    node=2**64 - 1,
    device=2**63 + 1,
    subject="node07 gpu3",
    opened_ms=1,
    updated_ms=2,
    summary="hot",
    evidence=(Evidence(name="margin", value=-1.0, unit="degC", threshold=0.0),),
)


def test_a_detection_survives_the_wire() -> None:
    """64-bit ids included."""
    assert Detection.model_validate_json(DETECTION.to_bytes()) == DETECTION


def test_a_newer_field_is_passed_over() -> None:
    """An older reader understands a newer writer."""
    newer = json.loads(DETECTION.to_bytes()) | {"added_later": 1}

    assert Detection.model_validate(newer) == DETECTION


def test_an_event_cannot_be_changed() -> None:
    """Events are facts."""
    with pytest.raises(ValidationError):
        DETECTION.summary = "cold"  # type: ignore[misc]


@pytest.mark.parametrize("topic", TOPICS, ids=lambda t: t.name)
def test_a_topic_carries_frames_or_one_kind_of_event(topic: Topic) -> None:
    """Never both, never neither; only the compacted topic has no retention."""
    assert (topic.schema is None) != (topic.model is None)
    assert ("retention.ms" in topic.config()) != topic.compacted

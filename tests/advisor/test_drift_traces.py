"""Drift of lengths on published traces: a switch to other traffic is one, the next part is not."""

from __future__ import annotations

import pytest

from advisor.facts.token_lengths import COMPARED_DAYS
from advisor.models import drift
from benchmarks.advisor.drift_traces import (
    LENGTHS,
    counted,
    lengths,
    next_parts,
    parts,
    rate,
    switches,
)


@pytest.mark.parametrize(("size", "most"), [(100, 0.03), (200, 0.03), (500, 0.05), (1000, 0.10)])
def test_the_next_part_of_the_same_traffic_is_no_drift(size: int, most: float) -> None:
    """What is found is Azure's conversation, whose answers halve and double again in that hour."""
    assert rate(next_parts(size)) <= most


@pytest.mark.parametrize("size", [200, 500, 1000])
@pytest.mark.parametrize(("what", "least"), [("prompts", 0.97), ("answers", 0.8)])
def test_other_traffic_is_drift(size: int, what: str, least: float) -> None:
    """Code after conversation, synthetic after either, one service after the other: 12 switches."""
    assert rate(switches(size, what)) >= least


def test_a_part_of_the_requests_is_found_by_what_it_changes() -> None:
    """Half of them from elsewhere: most; a tenth: within what such traffic differs by anyway."""
    half, tenth = ([rate(switches(500, what, share)) for what in LENGTHS] for share in (0.5, 0.1))

    assert all(found >= 0.5 for found in half)
    assert all(found <= 0.35 for found in tenth)


def test_code_after_conversation_says_which_way() -> None:
    """Azure: answers of 28 tokens after ones of 211, prompts of 2,048 after 1,155."""
    answers, prompts = (
        drift.against_days(
            parts("azure conversation", what, 500)[:COMPARED_DAYS],
            counted(lengths("azure code")[what][:500]),
        )
        for what in reversed(LENGTHS)
    )

    assert answers.drifted
    assert prompts.drifted
    assert answers.mean_ratio < 0.3
    assert prompts.mean_ratio > 1.3

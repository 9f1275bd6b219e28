"""The order of advice: money, less for what makes it uncertain, late or disruptive."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor import ranking
from ridgeline.events import Action, Advice, Confidence, Needs
from tests.advisor.test_advisor_conflicts import CLUSTER
from tests.advisor.test_advisor_engine import piece


def value(advice: Advice) -> float:
    """What it is ordered by."""
    rank = ranking.rank(advice, CLUSTER)
    assert rank is not None
    return rank.usd_per_month


def test_the_formula_on_one_case() -> None:
    """1,000 likely, 500 at least, modelled, a year away, half of the GPUs, action weight 0.6."""
    advice = piece(1000, action=Action.CHANGE_ACCELERATOR).model_copy(
        update={"needs": Needs(lead_time_days=365)}
    )

    assert 750 * 0.8 * 0.5 * (1 - 0.6 * 0.5) == pytest.approx(value(advice))


@given(usd=st.floats(1, 1e7), action=st.sampled_from([a for a in Action if a is not Action.KEEP]))
def test_the_value_is_the_product_of_its_steps(usd: float, action: Action) -> None:
    """What the console shows step by step is what the order is by; it never exceeds the gain."""
    rank = ranking.rank(piece(usd, action=action), CLUSTER)

    assert rank is not None
    assert rank.usd_per_month == pytest.approx(math.prod(step.value for step in rank.steps))
    assert 0 < rank.usd_per_month <= usd
    assert all(step.note for step in rank.steps[1:])


@pytest.mark.parametrize(
    "worse",
    [
        {"confidence": Confidence.ASSUMED},
        {"needs": Needs(lead_time_days=900)},
        {"action": Action.CHANGE_ACCELERATOR},
        {"scope": "prefill+decode", "action": Action.REBALANCE_POOLS},
    ],
)
def test_risk_costs_rank(worse: dict[str, object]) -> None:
    """Less sure, later, more disruptive or wider advice of the same gain stands lower."""
    plain = piece(1000)

    assert value(plain.model_copy(update=worse)) < value(plain)


def test_a_wide_interval_costs_rank() -> None:
    """The same likely gain with a lower low end stands lower."""
    plain = piece(1000)
    assert plain.gain is not None
    wide = plain.model_copy(update={"gain": plain.gain.model_copy(update={"low": -2000})})

    assert value(wide) < 0 < value(plain)


def test_what_has_no_price_or_changes_nothing_has_no_rank() -> None:
    """It stands after what has, "keep" last of all that lives."""
    unpriced = piece(scope="a").model_copy(update={"gain": None})
    keep = piece(scope="b", action=Action.KEEP)
    priced = piece(1, scope="c")

    assert ranking.rank(unpriced) is None
    assert ranking.rank(keep) is None
    assert ["c", "a", "b"] == [a.scope for a in ranking.ordered([keep, unpriced, priced])]


def test_every_action_has_a_weight() -> None:
    """A new word of the vocabulary must say how disruptive it is."""
    assert set(Action) == set(ranking.DISRUPTION_RATIO)
    assert set(Confidence) == set(ranking.CONFIDENCE_WEIGHT)

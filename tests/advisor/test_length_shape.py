"""Lengths that stand for a distribution: they keep its mean, and its tail."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from advisor.catalog.accelerators import BY_NAME
from advisor.catalog.models import MODELS, Format
from advisor.models import drift, length_shape, rates
from advisor.models.replica import Layout, Replica
from advisor.models.slo import Workload, cache_spread
from advisor.models.token_fits import histogram_of, lognormal_of
from advisor.models.token_sources import from_samples
from advisor.models.tokens import Histogram
from tests import published

REPLICA = Replica(
    model=MODELS["llama3-70b"],
    accelerator=BY_NAME["H100-SXM"],
    layout=Layout(tensor=4),
    weights=Format.FP8,
)
EVEN = Workload(prompt_tokens=6000, output_tokens=300, slo_ttft_seconds=8, slo_tpot_seconds=0.05)


def heavy(cv: float) -> Workload:
    """The same means, lengths of prompts as counted of a log-normal of this variation."""
    counted = histogram_of(lognormal_of(EVEN.prompt_tokens, cv))
    shape = length_shape.of_histogram(counted)
    return replace(EVEN, prompt_cv=counted.cv, prompts=shape)


@pytest.mark.parametrize("cv", [0.3, 1.0, 2.5])
def test_lengths_and_shares_keep_mean_and_tail(cv: float) -> None:
    """Shares add up to 1, the mean is the mean, the last length lies past p99.5."""
    seen = histogram_of(lognormal_of(1000, cv))
    shape = length_shape.of_histogram(seen)

    assert 1 == pytest.approx(sum(shape.shares))
    assert 1 == pytest.approx(float(np.dot(shape.ratios, shape.shares)))
    assert list(shape.ratios) == sorted(shape.ratios)
    assert shape.ratios[-1] * seen.mean > seen.quantile(0.995)


def test_requests_of_one_length_have_one() -> None:
    """Counted or not, what does not spread is its mean."""
    one = length_shape.of_histogram(Histogram([499.5, 500.5], [10]))

    assert one.lengths(500) == pytest.approx(np.full(len(one.ratios), 500), rel=0.002)
    assert length_shape.CONSTANT == length_shape.lognormal(0.0)


def test_heavier_prompts_leave_less_of_both_arrangements() -> None:
    """At one mean, tails take prefill time, cache and room below the objective for TTFT."""
    for rate in (rates.prefill_rate, rates.shared_rate):
        even, tail, worse = (
            rate(REPLICA, work, 4).rate_per_second for work in (EVEN, heavy(0.8), heavy(1.5))
        )
        assert even > tail > worse
    assert cache_spread(heavy(1.5)) > cache_spread(EVEN)


def test_prompts_that_alone_break_the_promise_are_not_promised() -> None:
    """Two in a hundred prompts take longer than the objective: no rate holds 99 %."""
    lengths = np.where(np.arange(1000) < 980, 2000.0, 120_000.0)
    counted = from_samples(lengths)
    work = replace(
        EVEN,
        prompt_tokens=counted.mean,
        prompt_cv=counted.cv,
        prompts=length_shape.of_histogram(counted),
    )

    assert 0 == rates.prefill_rate(REPLICA, work, 4).rate_per_second
    assert rates.prefill_rate(REPLICA, replace(work, attainment_ratio=0.9), 4).rate_per_second > 0


def test_azures_code_prompts_are_heavier_than_a_mean_says() -> None:
    """Published lengths: time of all prompts is more than that of as many mean ones."""
    _, prompts, _ = published.azure("code")
    shape = length_shape.of_histogram(from_samples(prompts))
    mean = float(np.mean(prompts))
    nodes = shape.lengths(mean)

    assert mean == pytest.approx(float(nodes @ np.array(shape.shares)), rel=0.01)
    assert nodes[-1] == pytest.approx(np.quantile(prompts, 0.9975), rel=0.1)


def test_drift_must_pass_what_days_differ_by_anyway() -> None:
    """A day like one of the week's is none; longer than all is; one day says nothing."""
    rng = np.random.default_rng(3)
    edges = np.geomspace(1, 50_000, 120)

    def day(mean: float) -> Histogram:
        return from_samples(rng.lognormal(np.log(mean), 0.9, 4000).clip(1, 49_000), edges)

    week = [day(mean) for mean in (500, 520, 480, 500, 900, 510, 490)]

    assert not drift.against_days(week, day(900)).drifted
    assert drift.compare(drift.together(week), day(900)).drifted
    assert drift.against_days(week, day(2000)).drifted
    with pytest.raises(ValueError, match="days=1"):
        drift.against_days(week[:1], day(500))

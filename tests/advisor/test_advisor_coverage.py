"""Coverage by samples, the law behind it, when to stop, and bigger once against smaller often."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.models import coverage as c
from advisor.models import samples as s
from advisor.models.interval import Interval, exactly, of, of_draws

# SWE-bench Lite, DeepSeek-Coder-V2-Instruct (Large Language Monkeys, arXiv 2407.21787)
MONKEYS_K, MONKEYS_COVERED = (1, 5, 250), (0.159, 0.2962, 0.56)


@given(st.integers(1, 300), st.data())
def test_pass_at_k_is_the_share_of_draws(n: int, data: st.DataObject) -> None:
    """The product form equals `1 - C(n-c,k)/C(n,k)`, lies in 0..1 and rises with k."""
    right, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    found = c.pass_at_k(n, right, k)

    assert 1 - math.comb(n - right, k) / math.comb(n, k) == pytest.approx(found)
    assert 0 <= found <= 1
    if k < n:
        assert found <= c.pass_at_k(n, right, k + 1) + 1e-12


def test_pass_at_k_at_its_edges() -> None:
    """None right is 0, all right is 1, k of n with one right is k/n; more draws than samples no."""
    assert c.pass_at_k(10, 0, 10) == 0
    assert c.pass_at_k(10, 10, 1) == 1
    assert c.pass_at_k(10, 3, 1) == pytest.approx(0.3)
    assert c.pass_at_k(10, 1, 4) == pytest.approx(0.4)
    assert c.pass_at_k(1, 1, 1) == 1
    with pytest.raises(ValueError, match="samples=3 correct=1 k=4"):
        c.pass_at_k(3, 1, 4)
    with pytest.raises(ValueError, match="need at least one task"):
        c.coverage([], 1)


def test_coverage_of_tasks_has_an_interval() -> None:
    """Mean over tasks; two unlike tasks leave more doubt than twenty."""
    two = c.coverage([(10, 0), (10, 10)], 1)
    twenty = c.coverage([(10, 0), (10, 10)] * 10, 1)

    assert two.mid == twenty.mid == 0.5
    assert (two.low, two.high) == (0, 1)
    assert twenty.high - twenty.low < 0.5


def test_large_language_monkeys() -> None:
    """15.9 % at 1, 29.62 % at 5, 56 % at 250 on SWE-bench Lite: one law meets all within 2.5 %."""
    law = c.fit_law(MONKEYS_K, MONKEYS_COVERED)

    assert MONKEYS_COVERED == pytest.approx(law.at(MONKEYS_K), abs=0.025)
    for k, covered in zip(MONKEYS_K, MONKEYS_COVERED, strict=True):
        found = law.interval(k)
        assert found.low <= covered <= found.high
        assert found.low < found.mid < found.high


def test_large_language_monkeys_foretold() -> None:
    """From 1 and 5 samples alone the 250 are foretold with an interval that holds the truth."""
    found = c.fit_law(MONKEYS_K[:2], MONKEYS_COVERED[:2]).interval(250)

    assert found.low <= 0.56 <= found.high
    assert found.high - found.low > 0.1


@given(st.floats(0.1, 5), st.floats(0.05, 1.5))
def test_a_law_is_found_again(a: float, b: float) -> None:
    """Points of `exp(-a k^-b)` give a and b back; coverage rises with k and stays below 1."""
    ks = np.array([1, 4, 16, 64])
    covered = np.exp(-a * ks ** (-b))
    law = c.fit_law(ks, covered)

    assert (a, b) == pytest.approx((law.a, law.b), rel=1e-6)
    assert law.marginal(16) > 0
    assert covered == pytest.approx(law.at(ks))


@pytest.mark.parametrize(
    ("ks", "covered", "match"),
    [
        ((1,), (0.5,), "two different"),
        ((3, 3), (0.5, 0.6), "two different"),
        ((0, 1), (0.5, 0.6), "two different"),
        ((1, 2), (0.0, 0.6), "above 0"),
        ((1, 2), (0.5, 1.0), "above 0"),
    ],
)
def test_a_law_needs_points(ks: tuple[int, ...], covered: tuple[float, ...], match: str) -> None:
    """One point, none solved or all solved is no law."""
    with pytest.raises(ValueError, match=match):
        c.fit_law(ks, covered)


def test_failures_fall_as_the_power_alpha() -> None:
    """Beta(alpha, beta) tasks: between 1,000 and 10,000 samples failures fall 10^-alpha."""
    tasks = c.BetaTasks(alpha=0.3, beta=2.0)
    failures = 1 - tasks.coverage([1000, 10_000])

    assert 10**-0.3 == pytest.approx(failures[1] / failures[0], rel=0.002)
    assert 0.3 / 2.3 == pytest.approx(float(tasks.coverage(1)))


def test_tasks_are_forecast_from_few_samples() -> None:
    """400 tasks, 50 samples each, foretell coverage at 2,000 within 4 points (Schaeffer et al.)."""
    rng = np.random.default_rng(3)
    chances = rng.beta(0.3, 2.0, 400)
    results = [(50, int(right)) for right in rng.binomial(50, chances)]

    tasks = c.fit_tasks(results)

    true = float(np.mean(1 - (1 - chances) ** 2000))
    assert true == pytest.approx(float(tasks.coverage(2000)), abs=0.04)
    measured = c.coverage(results, 25)
    assert measured.mid == pytest.approx(float(tasks.coverage(25)), abs=0.02)
    with pytest.raises(ValueError, match="a success and a failure"):
        c.fit_tasks([(5, 0), (5, 0)])


def test_stop_where_a_sample_costs_more_than_it_brings() -> None:
    """At 1 USD a solved task and 0.5 cents a sample the best N is an inner one; its ends are 0."""
    law = c.fit_law(MONKEYS_K, MONKEYS_COVERED)
    n = s.samples_worth_paying(law, lambda k: 0.005 * k, 1.0)

    assert law.marginal(n - 1) > 0.005 > law.marginal(n)
    assert s.samples_worth_paying(law, lambda k: 1.0 * k, 1.0) == 0
    assert s.samples_worth_paying(law, lambda k: 0.0 * k, 1.0, most=50) == 50
    assert n < s.samples_worth_paying(law, lambda k: 0.001 * k, 1.0)
    assert n == s.samples_worth_paying(law, lambda k: 0.1 + 0.005 * k, 1.0)  # paid for already
    with pytest.raises(ValueError, match="usd_per_query"):
        s.samples_worth_paying(law, lambda k: -k, 1.0)


@given(st.floats(0, 1), st.integers(0, 1000))
def test_a_checker_ends_sampling_early(chance: float, most: int) -> None:
    """Between one draw and all of them; never fewer for a harder task."""
    found = s.expected_samples_until_solved(chance, most)

    assert min(1, most) - 1e-9 <= found <= most + 1e-9
    assert found <= s.expected_samples_until_solved(chance / 2, most) * (1 + 1e-9)


def test_a_checker_ends_sampling_after_a_mean_of_two() -> None:
    """Chance one half: 2 draws in the long run, 1.5 of at most 2."""
    assert s.expected_samples_until_solved(0.5, 1000) == pytest.approx(2)
    assert s.expected_samples_until_solved(0.5, 2) == pytest.approx(1.5)


def test_bigger_once_against_smaller_often() -> None:
    """Told apart only where the intervals are: better and cheaper, better only, neither."""
    often = s.Choice(
        name="small x5", samples=5, coverage=of(0.28, 0.296, 0.31), usd_per_query=exactly(0.04)
    )
    once = s.Choice(
        name="big x1", samples=1, coverage=of(0.22, 0.24, 0.26), usd_per_query=of(0.1, 0.13, 0.15)
    )
    close = s.Choice(
        name="close", samples=1, coverage=of(0.27, 0.29, 0.32), usd_per_query=of(0.03, 0.04, 0.05)
    )

    clear = s.versus(often, once)
    assert ("small x5", "small x5") == (clear.better_coverage, clear.cheaper)
    assert clear.coverage_difference.low == pytest.approx(0.02)
    assert clear.cost_ratio.high == pytest.approx(0.4)
    even = s.versus(often, close)
    assert ("", "") == (even.better_coverage, even.cheaper)


@given(st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0, 10))
def test_intervals_stay_in_order(one: float, two: float, three: float, factor: float) -> None:
    """Whatever is done to an interval, low <= mid <= high."""
    made = of(one, two, three)
    for found in (
        made.scaled(factor),
        made.plus(made),
        made.minus(made),
        made.over(made),
        made.mapped(lambda v: 1 / v),
        of_draws(one, [two, three]),
    ):
        assert found.low <= found.mid <= found.high
    with pytest.raises(ValueError, match="need low <= mid <= high"):
        Interval(low=2, mid=1, high=3)

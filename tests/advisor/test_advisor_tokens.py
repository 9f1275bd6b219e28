"""Tokens per query: the histogram, where it comes from, fits, drift, N samples a query."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from advisor.models import best_of_n, drift, token_fits, token_sources
from advisor.models.tokens import Histogram, mixture
from ridgeline.errors import NoData
from tests import published


def r1_output() -> Histogram:
    """DeepSeek-R1's answers in production (ServeGen)."""
    rows = published.table("servegen-deepseek-r1/hist_output_tokens.csv")
    return token_sources.from_buckets((low, high, share) for low, high, share in rows.tolist())


histograms = (
    st.lists(st.floats(0, 100), min_size=1, max_size=8)
    .filter(lambda c: sum(c) > 0.1)
    .map(lambda counts: Histogram(np.cumsum([0.0, *range(1, len(counts) + 1)]), counts))
)
lengths = hnp.arrays(float, st.integers(1, 200), elements=st.integers(0, 50_000).map(float))


def test_even_mass_in_a_bucket() -> None:
    """Mean, quantiles and the longest of N of two even buckets have closed forms."""
    seen = Histogram((0, 10, 20), (1, 1))

    assert seen.mean == 10
    assert [0, 10, 15, 20] == pytest.approx(seen.quantiles([0, 0.5, 0.75, 1]))
    assert 20**2 / 12 == pytest.approx(seen.variance)
    assert 20 * 8 / 9 == pytest.approx(seen.slowest_of(8))


@pytest.mark.parametrize(
    ("edges", "counts"),
    [
        ((0,), (1,)),
        ((0, 1), ()),
        ((0, 1, 1), (1, 1)),
        ((-1, 1), (1,)),
        ((0, 1), (-1,)),
        ((0, 1), (0,)),
        ((0, math.inf), (1,)),
        ((0, 1), (math.nan,)),
    ],
)
def test_what_is_no_histogram_is_refused(
    edges: tuple[float, ...], counts: tuple[float, ...]
) -> None:
    """Unordered, negative, empty or infinite buckets are an error that names what is wrong."""
    with pytest.raises(ValueError, match="need"):
        Histogram(edges, counts)


@settings(deadline=None)
@given(histograms, st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_quantiles_rise_and_invert_the_cdf(seen: Histogram, shares: list[float]) -> None:
    """A larger share never lies lower, and the share below a quantile is that share."""
    found = seen.quantiles(sorted(shares))

    assert (np.diff(found) >= -1e-9).all()
    assert sorted(shares) == pytest.approx(list(seen.cdf(found)), abs=1e-9)


@settings(deadline=None)
@given(histograms, histograms)
def test_merging_keeps_queries_and_tokens(one: Histogram, other: Histogram) -> None:
    """Totals and token sums of two histograms add up, in either order."""
    both, turned = one.merged(other), other.merged(one)

    assert one.total + other.total == pytest.approx(both.total)
    assert one.total * one.mean + other.total * other.mean == pytest.approx(both.total * both.mean)
    assert both.counts == pytest.approx(turned.counts)


@settings(deadline=None)
@given(histograms, st.integers(1, 64))
def test_the_longest_of_n_lies_between_mean_and_end(seen: Histogram, n: int) -> None:
    """It is the mean for one sample, never falls with N and never passes the longest answer."""
    assert seen.mean == pytest.approx(seen.slowest_of(1))
    assert seen.slowest_of(n) - 1e-9 <= seen.slowest_of(n + 1) <= seen.edges[-1] + 1e-9


@settings(deadline=None)
@given(histograms)
def test_queries_in_flight_are_longer_than_the_rest(seen: Histogram) -> None:
    """Mean progress in flight is at least half of the mean: equal only for equal lengths."""
    assert seen.mean_progress >= seen.mean / 2 - 1e-9


@settings(deadline=None)
@given(lengths)
def test_samples_are_all_counted(tokens: np.ndarray) -> None:
    """Every length is counted; the mean is off by less than half a bucket of 9 %."""
    seen = token_sources.from_samples(tokens)

    assert len(tokens) == seen.total
    assert tokens.mean() == pytest.approx(seen.mean, rel=0.06, abs=0.5)


def test_one_sample_is_a_distribution_too() -> None:
    """A single query gives a bucket around it: every quantile is that query, CV is near 0."""
    seen = token_sources.from_samples([1000])

    assert seen.total == 1
    assert seen.quantiles([0.01, 0.5, 0.99]) == pytest.approx(1000, rel=0.06)
    assert seen.cv < 0.03


def test_no_sample_is_no_data() -> None:
    """Nothing measured is no histogram; a negative or missing length is an error."""
    with pytest.raises(NoData):
        token_sources.from_samples([])
    with pytest.raises(NoData):
        token_sources.from_prometheus({100: 0, math.inf: 0})
    with pytest.raises(NoData):
        token_sources.from_exposition("", "vllm:request_generation_tokens")
    with pytest.raises(ValueError, match="none below 0"):
        token_sources.from_samples([3, -1])
    with pytest.raises(ValueError, match="finite"):
        token_sources.from_samples([3, math.nan])


VLLM_PAGE = """\
# TYPE vllm:request_generation_tokens histogram
vllm:request_generation_tokens_bucket{engine="0",le="10.0"} 0.0
vllm:request_generation_tokens_bucket{engine="0",le="100.0"} 60.0
vllm:request_generation_tokens_bucket{engine="0",le="1000.0"} 90.0
vllm:request_generation_tokens_bucket{engine="0",le="+Inf"} 100.0
vllm:request_generation_tokens_sum{engine="0"} 30000.0
vllm:request_generation_tokens_count{engine="0"} 100.0
vllm:request_generation_tokens_bucket{engine="1",le="10.0"} 0.0
vllm:request_generation_tokens_bucket{engine="1",le="100.0"} 100.0
vllm:request_generation_tokens_bucket{engine="1",le="1000.0"} 100.0
vllm:request_generation_tokens_bucket{engine="1",le="+Inf"} 100.0
vllm:request_generation_tokens_sum{engine="1"} 5000.0
vllm:request_generation_tokens_count{engine="1"} 100.0
"""


def test_a_scraped_page_of_vllm() -> None:
    """Engines are summed, counts per bucket and the exported mean are met."""
    seen = token_sources.from_exposition(
        VLLM_PAGE, "vllm:request_generation_tokens", limit_tokens=4096
    )

    assert seen.total == 200
    assert [0.8, 0.95, 1.0] == pytest.approx(seen.cdf([100, 1000, 4096]))
    assert 175 == pytest.approx(seen.mean, rel=1e-6)
    one = token_sources.from_exposition(VLLM_PAGE, "vllm:request_generation_tokens", labels="1")
    assert 50 == pytest.approx(one.mean, rel=1e-6)


def test_answers_above_every_bucket_need_a_limit() -> None:
    """How long they are is not in the buckets: the error says what to give."""
    with pytest.raises(ValueError, match="limit_tokens=None: 10 requests lie above"):
        token_sources.from_prometheus({100: 90, math.inf: 100})
    with pytest.raises(ValueError, match="must not fall"):
        token_sources.from_prometheus({10: 5, 100: 3})


@settings(deadline=None)
@given(st.lists(st.integers(1, 4000), min_size=30, max_size=300))
def test_prometheus_buckets_keep_the_mean(tokens: list[int]) -> None:
    """Buckets of 1-2-5 steps and the sum give the mean back, whatever the lengths were."""
    bounds = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]
    cumulative = {float(b): float(sum(t <= b for t in tokens)) for b in bounds}

    seen = token_sources.from_prometheus(cumulative, total_tokens=float(sum(tokens)))

    assert len(tokens) == pytest.approx(seen.total)
    assert np.mean(tokens) == pytest.approx(seen.mean, rel=0.08, abs=0.5)


def test_increase_of_counters_survives_a_restart() -> None:
    """Between two scrapes only what came counts; after a restart, what came since."""
    assert {10.0: 3.0, 20.0: 5.0} == token_sources.increase({10: 4, 20: 6}, {10: 7, 20: 11})
    assert {10.0: 1.0, 20.0: 2.0} == token_sources.increase({10: 4, 20: 6}, {10: 1, 20: 2})


def test_rows_with_gaps_and_overlaps() -> None:
    """A gap holds nothing; overlapping rows are an error."""
    assert [1, 0, 3] == list(token_sources.from_buckets([(5, 6, 3), (1, 2, 1)]).counts)
    with pytest.raises(ValueError, match="overlaps"):
        token_sources.from_buckets([(1, 3, 1), (2, 4, 1)])


def test_r1_output_has_its_published_shape() -> None:
    """ServeGen DeepSeek-R1: mean 2,133, CV 1.38, p50 1,014, p90 5,423, p99 15,063 tokens."""
    seen = r1_output()

    assert 2133 == pytest.approx(seen.mean, rel=0.02)
    assert 1.38 == pytest.approx(seen.cv, rel=0.02)
    assert [1014, 5423, 15063] == pytest.approx(seen.quantiles([0.5, 0.9, 0.99]), rel=0.02)
    assert (1 + 1.38**2) / 2 == pytest.approx(seen.mean_progress / seen.mean, rel=0.02)
    assert 0.4 < seen.token_share_above(0.9) < 0.5


@pytest.mark.parametrize(
    ("kind", "queries", "prompt", "answer"),
    [
        ("code", 8819, (2047.8, 1469), (27.9, 13, 251)),
        ("conv", 19366, (1154.7, 1020), (211.1, 129, 601)),
    ],
)
def test_azure_traces_have_their_published_shape(
    kind: str, queries: int, prompt: tuple[float, float], answer: tuple[float, float, float]
) -> None:
    """Azure 2023: counts, means, medians and p99 of prompts and answers (Splitwise's traces)."""
    _, prompts, answers = published.azure(kind)
    asked, given_ = token_sources.from_samples(prompts), token_sources.from_samples(answers)

    assert queries == asked.total
    assert prompt == pytest.approx((asked.mean, asked.quantile(0.5)), rel=0.03)
    found = (given_.mean, given_.quantile(0.5), given_.quantile(0.99))
    assert answer == pytest.approx(found, rel=0.04)


def test_one_lognormal_is_not_r1() -> None:
    """The published fit (mu 7.02, sigma 1.11; p50 +10 %, p90 -14 %) is reproduced and refused."""
    fit = token_fits.fit_lognormal(r1_output(), samples=1e6)

    assert (7.020, 1.111) == pytest.approx((fit.law.mus[0], fit.law.sigmas[0]), rel=0.003)
    assert [0.10, -0.14] == pytest.approx(fit.quantile_errors[:2], abs=0.01)
    assert not fit.good


def test_two_lognormals_are_r1() -> None:
    """Short answers and long thought: two humps fit, and the better fit is chosen."""
    fit = token_fits.best_fit(r1_output(), samples=1e6)

    assert len(fit.law.weights) == 2
    assert fit.good
    assert 2133 == pytest.approx(fit.law.mean, rel=0.03)


@settings(max_examples=25, deadline=None)
@given(st.floats(3, 8), st.floats(0.2, 1.5), st.integers(0, 2**32 - 1))
def test_a_lognormal_is_found_again(mu: float, sigma: float, seed: int) -> None:
    """Fitting 20,000 draws gives the parameters back; the fit's quantile inverts its CDF."""
    draws = np.random.default_rng(seed).lognormal(mu, sigma, 20_000)
    fit = token_fits.fit_lognormal(token_sources.from_samples(draws))

    assert mu == pytest.approx(fit.law.mus[0], abs=0.06)
    assert sigma == pytest.approx(fit.law.sigmas[0], rel=0.08)
    assert 0.3 == pytest.approx(float(fit.law.cdf(fit.law.quantile(0.3))), abs=1e-6)


def test_equal_lengths_have_a_fit_without_width() -> None:
    """CV 0: the fit collapses on the value instead of dividing by zero."""
    fit = token_fits.best_fit(Histogram((499.5, 500.5), (1000,)))

    assert 500 == pytest.approx(fit.law.mean, rel=0.01)
    assert fit.law.cv < 0.02


def test_drift_does_not_fire_on_sampling_noise() -> None:
    """400 pairs of samples of one heavy-tailed law, from 20 queries to 20,000: never a drift."""
    rng = np.random.default_rng(7)
    fired = 0
    for _ in range(400):
        n, m = rng.integers(20, 20_000, 2)
        one, other = (
            token_sources.from_samples(np.ceil(rng.lognormal(7.02, 1.11, size))) for size in (n, m)
        )
        fired += drift.compare(one, other).drifted

    assert fired == 0


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_drift_sees_reasoning_traffic_come(share: float) -> None:
    """Chat of which a part turns into reasoning is a drift, within 2,000 queries."""
    rng = np.random.default_rng(11)
    chat = rng.lognormal(5.0, 0.9, 2000)
    now = np.where(rng.random(2000) < share, rng.lognormal(8.0, 0.8, 2000), chat)

    seen = drift.compare(token_sources.from_samples(chat), token_sources.from_samples(now))

    assert seen.drifted
    assert seen.mean_ratio > 2
    assert seen.p99_ratio > 2


def test_drift_needs_queries() -> None:
    """A handful of queries is never drift, nor are look-alike groups counted as many."""
    few = drift.compare(Histogram((0, 10), (20,)), Histogram((90, 100), (20,)))
    grouped = drift.compare(
        Histogram((0, 10), (320,)), Histogram((90, 100), (320,)), queries_per_independent_one=16
    )

    assert not few.enough
    assert not few.drifted
    assert not grouped.drifted


@settings(deadline=None)
@given(histograms, histograms)
def test_drift_measures_are_symmetric_and_zero_on_equals(one: Histogram, other: Histogram) -> None:
    """PSI and KS of a histogram with itself are 0; swapping the sides changes neither."""
    assert drift.psi(one, one, 100, 100) == pytest.approx(0, abs=1e-9)
    assert drift.ks_distance(one, one) == 0
    assert drift.psi(one, other, 100, 100) == pytest.approx(drift.psi(other, one, 100, 100))
    assert 0 <= drift.ks_distance(one, other) <= 1 + 1e-9


@pytest.mark.parametrize(
    ("n", "mean", "cv", "p99", "longest"),
    [
        (1, 2129, 1.38, 15024, 2129),
        (4, 8543, 0.69, 28406, 5098),
        (8, 17081, 0.49, 42802, 7234),
        (16, 34162, 0.34, 68105, 9684),
        (32, 68300, 0.24, 113544, 12325),
    ],
)
def test_best_of_n_on_r1(n: int, mean: float, cv: float, p99: float, longest: float) -> None:
    """Sampling ServeGen's R1 histogram N times: mean, CV, p99 of the sum, mean of the longest."""
    query = best_of_n.sample(r1_output(), n)

    assert mean == pytest.approx(query.total_mean, rel=0.01)
    assert cv == pytest.approx(query.total_cv, abs=0.006)
    assert p99 == pytest.approx(query.total.quantile(0.99), rel=0.015)
    assert longest == pytest.approx(query.longest.mean, rel=0.01)


@settings(max_examples=20, deadline=None)
@given(histograms, st.integers(1, 40), st.floats(0, 1))
def test_correlated_samples_wait_less_and_spread_more(
    one: Histogram, n: int, correlation: float
) -> None:
    """The sum's mean never depends on correlation; its spread grows, the longest shrinks."""
    free, tied = best_of_n.sample(one, n), best_of_n.sample(one, n, correlation)

    assert n * one.mean == pytest.approx(tied.total_mean)
    assert tied.total_mean == pytest.approx(tied.total.mean, rel=0.03)
    assert tied.total_cv >= free.total_cv * 0.97
    assert one.mean * 0.97 <= tied.longest.mean <= free.longest.mean * 1.01


def test_the_edges_of_n_and_correlation() -> None:
    """N=1 is the query itself; full correlation is N copies; nonsense is an error."""
    one = Histogram((0, 10, 20), (1, 1))
    copies = best_of_n.sample(one, 4, 1.0)

    assert best_of_n.sample(one, 1, 0.5).longest is one
    assert 4 * one.mean == copies.total.mean
    assert one.cv == copies.total_cv
    assert 1000 + 40 == copies.held_tokens_at_end(1000)
    with pytest.raises(ValueError, match="samples=0"):
        best_of_n.sample(one, 0)
    with pytest.raises(ValueError, match=r"correlation=1\.5"):
        best_of_n.sample(one, 2, 1.5)


def test_many_samples_follow_the_central_limit() -> None:
    """100 independent samples: the sum is near normal with a tenth of the CV."""
    one = Histogram((0, 100, 1000), (3, 1))
    query = best_of_n.sample(one, 100)

    assert one.cv / 10 == pytest.approx(query.total.cv, rel=0.02)
    assert query.total_mean == pytest.approx(query.total.quantile(0.5), rel=0.02)


@settings(deadline=None)
@given(histograms, histograms, st.floats(0.01, 0.99))
def test_mixtures_have_the_mean_of_their_parts(
    one: Histogram, other: Histogram, share: float
) -> None:
    """Traffic of two kinds has the weighted mean; a share of 0 is the other kind alone."""
    mixed = mixture([one, other], [1 - share, share])

    assert (1 - share) * one.mean + share * other.mean == pytest.approx(mixed.mean)
    assert one.mean == pytest.approx(mixture([one, other], [1, 0]).mean)
    with pytest.raises(ValueError, match="shares"):
        mixture([one, other], [1])


@pytest.mark.parametrize("n", [2, 16, 64, 512])
def test_the_longest_of_many_in_one_wide_bucket(n: int) -> None:
    """Even between 0 and 1,000: `1000 n / (n + 1)`, which eight parts of the bucket do not see."""
    query = best_of_n.sample(Histogram((0, 1000), (1,)), n)

    assert 1000 * n / (n + 1) == pytest.approx(query.longest.mean, rel=0.002)
    assert 500 * n == pytest.approx(query.total.mean, rel=0.002)

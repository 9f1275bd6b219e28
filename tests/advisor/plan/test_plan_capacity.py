"""`ridgeline plan capacity`: from flags, traces and live facts; what it refuses and warns of."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from advisor.facts import Lengths
from advisor.plan import capacity as plan
from advisor.plan.capacity_case import CapacityOptions, answer_lengths
from advisor.plan.inputs import demand
from advisor.plan.report import PlotKind, Report, Table
from ridgeline.errors import Misconfigured
from ridgeline.events import Confidence
from tests import published
from tests.advisor import rule_cases as cases

FLAGS = {"requests_per_second": 20.0, "prompt_tokens": 1000.0, "output_tokens": 500.0}


def answered(**options: object) -> Report:
    """The report of the flags above and some more options."""
    return plan.capacity(CapacityOptions.checked(FLAGS | options))


def table(report: Report, word: str) -> Table:
    """The table whose title holds a word."""
    return next(t for t in report.tables if word in t.title)


def test_longer_tails_cost_the_same_and_wait_longer() -> None:
    """At one mean, a larger variation moves the p99 query, not the mean cost."""
    even, heavy = answered(output_cv=0.1), answered(output_cv=3.0)

    one, other = table(even, "its length").rows[-1], table(heavy, "its length").rows[-1]
    assert float(other[1] or 0) > 5 * float(one[1] or 0)
    assert any("assumed" in w for w in heavy.warnings)


def test_samples_are_paid_by_the_sum() -> None:
    """Tokens of N samples are N times one's, the longest is less than that."""
    rows = table(answered(samples=6), "Samples").rows
    by_n = {row[0]: row for row in rows}

    assert 6 in by_n
    assert 6 * float(by_n[1][1] or 0) == pytest.approx(float(by_n[6][1] or 0))
    assert float(by_n[1][3] or 0) < float(by_n[6][3] or 0) < float(by_n[6][1] or 0)


def test_a_share_of_reasoning_has_its_price() -> None:
    """From none to 40 % of long thought: more GPUs and cache, a longer p99."""
    rows = table(answered(reasoning_share=0.4), "long thought").rows
    none, all_of_it = rows[0], rows[-1]

    assert (0.0, 0.4) == (none[0], all_of_it[0])
    assert all(float(b or 0) > float(a or 0) for a, b in zip(none[1:], all_of_it[1:], strict=True))


def test_coverage_says_where_to_stop() -> None:
    """Large Language Monkeys' points and what a task is worth give a number of samples."""
    found = table(answered(coverage="1:0.159,5:0.2962,250:0.56", solved_usd=0.1), "Tasks solved")

    assert "worth paying" in found.note
    likely = [float(row[2] or 0) for row in found.rows]
    assert likely == sorted(likely)


def test_samples_cost_what_their_engines_do() -> None:
    """Both tables of samples give a query the same price, less than that many queries."""
    report = answered(coverage="1:0.159,5:0.2962,250:0.56")
    paid = {row[0]: row[-1] for row in table(report, "Samples a query").rows}
    solved = {row[0]: row[-1] for row in table(report, "Tasks solved").rows}

    assert solved == pytest.approx(paid)
    assert float(solved[16] or 0) < 16 * float(solved[1] or 0)


BIGGER = {"model": "llama3-8b", "gpus_per_engine": 1, "coverage": "1:0.159,5:0.2962,250:0.56"}


def test_a_bigger_model_once_or_this_one_as_often_as_it_takes() -> None:
    """As often as it needs to solve as much; what a harder task needs more, an easier one less."""
    by_solved = {}
    for solved in (0.2, 0.4, 0.55):
        found = table(
            answered(**BIGGER, bigger_model="llama3-70b", bigger_coverage=solved), "bigger model"
        )
        once, often = found.rows
        assert (once[0], once[1], often[0]) == ("llama3-70b", 1, "llama3-8b")
        assert float(often[2] or 0) >= solved == once[2]
        by_solved[solved] = (float(often[1] or 0), float(often[4] or 0) / float(once[4] or 1))
        assert "without a checker" in found.note
    needed, price = zip(*by_solved.values(), strict=True)

    assert list(needed) == sorted(needed)
    assert list(price) == sorted(price)
    assert price[0] < 1 < price[-1]


def test_what_no_number_of_samples_reaches() -> None:
    """Said, without a price."""
    found = table(
        answered(**BIGGER, bigger_model="llama3-70b", bigger_coverage=0.99), "bigger model"
    )

    assert "llama3-8b does not solve 99% in 4,096 samples" in found.note
    assert found.rows[-1][-1] is None


def test_a_bigger_model_needs_its_share_of_tasks() -> None:
    """Nothing is guessed of it."""
    with pytest.raises(Misconfigured, match="bigger-coverage: is needed"):
        answered(**BIGGER, bigger_model="llama3-70b")


def test_a_trace_brings_its_lengths_and_its_busy_minutes() -> None:
    """Azure conv 2023: the measured median and the busiest minutes, not the mean rate."""
    path = published.data("azure-llm-2023/AzureLLMInferenceTrace_conv.csv")
    report = plan.capacity(CapacityOptions.checked({"trace": path}))

    assert 129 == pytest.approx(float(table(report, "its length").rows[0][1] or 0), rel=0.03)
    rate = report.numbers["rate to carry"]
    assert rate.low < rate.mid <= rate.high
    assert rate.mid > 19_366 / 3600
    assert "poor" in [row[-1] for row in table(report, "Fits").rows]


def test_a_short_trace_has_a_plain_rate(tmp_path: Path) -> None:
    """Five minutes have no busy minute to speak of: the mean is carried."""
    rows = [f"{t},100,50" for t in range(0, 300, 3)]
    path = tmp_path / "trace.csv"
    path.write_text("\n".join(["timestamp,input_tokens,output_tokens", *rows]))
    report = plan.capacity(CapacityOptions.checked({"trace": path}))

    assert report.numbers["rate to carry"].low == report.numbers["rate to carry"].high


def test_an_earlier_trace_shows_drift() -> None:
    """Conversation after code: answers are several times as long; with itself nothing drifts."""
    conv = published.data("azure-llm-2023/AzureLLMInferenceTrace_conv.csv")
    code = published.data("azure-llm-2023/AzureLLMInferenceTrace_code.csv")

    changed = plan.capacity(CapacityOptions.checked({"trace": conv, "before": code}))
    same = plan.capacity(CapacityOptions.checked({"trace": code, "before": code}))

    assert "drifted" == table(changed, "drifted").rows[-1][0]
    assert "not told from chance" == table(same, "drifted").rows[-1][0]
    with pytest.raises(Misconfigured, match="--before: needs --trace"):
        answered(before=code)


def test_live_tails_come_from_the_engines_quantiles() -> None:
    """A pool's p50 and p99 of answers give the variation, the measured mean the place."""
    load = cases.serving(
        "mixed",
        requests_per_second=10,
        generation_tokens_per_second=21_330,
        output_tokens_p50=1014,
        output_tokens_p99=15_063,
    )
    facts = cases.facts(serving=(load,))
    options = CapacityOptions.checked({"live": True})
    lengths = answer_lengths(demand(options, facts), options)

    assert 2133 == pytest.approx(lengths.mean, rel=0.02)
    assert lengths.quantile(0.99) > 5 * lengths.quantile(0.5)


def test_live_lengths_that_were_counted_come_before_quantiles() -> None:
    """Buckets of the engines give the shape, the measured mean the place."""
    load = cases.serving(
        "mixed",
        requests_per_second=10,
        generation_tokens_per_second=40_000,
        output_tokens_p50=100,
        output_tokens_p99=101,
    )
    counted = {"mixed": Lengths(answers=cases.REASONING)}
    options = CapacityOptions.checked({"live": True})

    found = demand(options, cases.facts(serving=(load,), lengths=counted))

    assert found.answers is not None
    assert Confidence.MEASURED is found.answers.confidence
    lengths = answer_lengths(found, options)
    assert 4000 == pytest.approx(lengths.mean, rel=0.02)
    assert 0.4 == pytest.approx(1 - float(lengths.cdf(2000)), abs=0.01)  # REASONING's share above


def test_what_cannot_be_carried_is_said() -> None:
    """An objective below one step alone: no engines, the limit as the reason."""
    report = answered(tpot_seconds=0.0005)

    assert "No number of such engines" in report.answer
    assert report.refusals
    assert report.numbers


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"coverage": "1:0.2"}, "--coverage: ks: need at least two"),
        ({"coverage": "nonsense"}, "allowed: samples:share"),
        ({"accelerator": "WSE-3"}, "--gpu-usd-per-hour: is needed"),
        ({"reasoning_share": 1.5}, "--reasoning-share"),
        ({"samples": 0}, "--samples"),
    ],
)
def test_wrong_input_says_what_is_allowed(options: dict[str, object], said: str) -> None:
    """Each mistake names its option."""
    with pytest.raises(Misconfigured, match=said):
        answered(**options)


def test_lengths_of_zero_in_a_trace_are_one_token(tmp_path: Path) -> None:
    """An answer of no token (cancelled) counts as one, and nothing divides by zero."""
    path = tmp_path / "trace.csv"
    path.write_text("timestamp,input_tokens,output_tokens\n0,10,0\n1,10,0\n2,10,0\n")
    options = CapacityOptions.checked({"trace": path})
    lengths = answer_lengths(demand(options), options)

    assert np.isfinite(lengths.mean)
    assert 1 == pytest.approx(lengths.quantile(0.5), abs=0.5)
    assert plan.capacity(options).numbers


def test_gpus_by_rate_are_whole_engines() -> None:
    """Drawn in steps that rise by engines, close enough to tell where; the load is on one."""
    report = answered(requests_per_second=60)
    plot = next(p for p in report.plots if p.title.startswith("GPUs by rate"))
    (series,), (mark,) = plot.series, plot.marks

    assert PlotKind.STEP is plot.kind
    assert {0.0} == {y % 8 for y in (*series.y, *series.low, *series.high)}
    assert sorted(series.y) == list(series.y)
    assert max(b - a for a, b in pairwise(series.x)) <= 0.02 * 60
    assert mark.y == series.y[series.x.index(60.0)]

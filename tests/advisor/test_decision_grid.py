"""Decisions over a grid of models, accelerators, lengths, objectives, links and rates: sanity."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.catalog.accelerators import BY_NAME
from advisor.catalog.models import MODELS, Format
from advisor.models import decision as dc
from advisor.models.replica import Layout, Replica
from advisor.models.slo import Workload

ENGINES = (
    ("llama3-8b", "A100-SXM-80G", Format.BF16, 2),
    ("llama3-8b", "L40S", Format.FP8, 1),
    ("qwen3-32b", "H200-SXM", Format.FP8, 4),
    ("llama3-70b", "H100-SXM", Format.FP8, 4),
    ("llama3-70b", "MI300X", Format.FP8, 2),
    ("llama3-70b", "B200-SXM", Format.FP4, 2),
    ("qwen3-235b-a22b", "H200-SXM", Format.FP8, 8),
    ("gpt-oss-120b", "H100-SXM", Format.FP4, 2),
    ("deepseek-v3", "H200-SXM", Format.FP8, 8),
    ("qwen3-next-80b-a3b", "H200-SXM", Format.FP8, 2),
)
LENGTHS = ((8000, 200), (4000, 500), (1000, 1000), (500, 4000))
OBJECTIVES = ((0.5, 0.012), (1.0, 0.025), (3.0, 0.06))
GBPS = (50.0, 200.0, 3200.0)


def fleet(row: tuple[str, str, Format, int], gbps: float = 3200.0, engines: int = 8) -> dc.Fleet:
    """Engines of a row of the grid."""
    model, accelerator, weights, tensor = row
    replica = Replica(
        model=MODELS[model],
        accelerator=BY_NAME[accelerator],
        layout=Layout(tensor=tensor),
        weights=weights,
        cache=Format.BF16 if weights is Format.BF16 else Format.FP8,
    )
    return dc.Fleet(replica=replica, engines=engines, network_gbps=gbps)


def work(prompt: float, output: float, ttft: float, tpot: float, cv: float = 1.0) -> Workload:
    """Requests of a row of the grid."""
    return Workload(
        prompt_tokens=prompt,
        output_tokens=output,
        slo_ttft_seconds=ttft,
        slo_tpot_seconds=tpot,
        arrival_cv=cv,
        prompt_cv=0.5,
        output_cv=0.5,
        attainment_ratio=0.9,
    )


ROWS = st.sampled_from(ENGINES)
CASES = st.builds(
    work,
    st.floats(200, 12_000),
    st.floats(20, 2000),
    st.floats(0.2, 5),
    st.floats(0.008, 0.1),
    st.sampled_from([0.0, 1.0, 2.5]),
)


def rates(decision: dc.Decision) -> tuple[float, float]:
    """Requests/s together and apart."""
    apart = decision.apart.rate_per_second if decision.apart else 0.0
    return decision.today_rate_per_second, apart


@given(ROWS, CASES, st.floats(10, 3200), st.floats(1, 30))
@settings(max_examples=20, deadline=None)
def test_a_thinner_link_never_turns_no_into_yes(
    row: tuple[str, str, Format, int], case: Workload, gbps: float, factor: float
) -> None:
    """Pools lose by it, engines that do both do not notice."""
    wide, thin = dc.decide(fleet(row, gbps), case), dc.decide(fleet(row, gbps / factor), case)

    assert wide.advised or not thin.advised
    assert rates(thin)[0] == pytest.approx(rates(wide)[0])
    assert rates(thin)[1] <= rates(wide)[1] * (1 + 1e-9)


@given(ROWS, CASES, st.floats(1, 5), st.floats(1, 5))
@settings(max_examples=20, deadline=None)
def test_a_looser_objective_never_makes_pools_necessary(
    row: tuple[str, str, Format, int], case: Workload, ttft: float, tpot: float
) -> None:
    """Whatever holds tight objectives holds loose ones, at no lower rate, together and apart."""
    loose_case = replace(
        case,
        slo_ttft_seconds=case.slo_ttft_seconds * ttft,
        slo_tpot_seconds=case.slo_tpot_seconds * tpot,
    )
    tight, loose = dc.decide(fleet(row), case), dc.decide(fleet(row), loose_case)

    assert (tight.together is None) >= (loose.together is None)
    assert all(new >= old * (1 - 1e-6) for old, new in zip(rates(tight), rates(loose), strict=True))


@given(ROWS, CASES, st.floats(0.01, 1.5), st.floats(1, 5))
@settings(max_examples=12, deadline=None)
def test_more_demand_never_turns_yes_into_no(
    row: tuple[str, str, Format, int], case: Workload, share: float, factor: float
) -> None:
    """What the co-located pool carries needs no change; what it does not carry may."""
    rate = share * dc.decide(fleet(row), case).today_rate_per_second
    less = dc.decide(fleet(row), case, requests_per_second=rate)
    more = dc.decide(fleet(row), case, requests_per_second=rate * factor)

    assert more.advised or not less.advised


@given(ROWS, CASES, st.floats(0, 0.9), st.floats(0, 0.1))
@settings(max_examples=12, deadline=None)
def test_a_warmer_cache_never_costs_rate(
    row: tuple[str, str, Format, int], case: Workload, hit: float, more: float
) -> None:
    """Less prompt to compute, no lower rate in either arrangement."""
    cold = dc.decide(fleet(row), replace(case, prefix_hit_ratio=hit))
    warm = dc.decide(fleet(row), replace(case, prefix_hit_ratio=hit + more))

    assert all(new >= old * 0.999 for old, new in zip(rates(cold), rates(warm), strict=True))


@given(ROWS, CASES, st.integers(2, 12))
@settings(max_examples=12, deadline=None)
def test_more_engines_never_cost_rate(
    row: tuple[str, str, Format, int], case: Workload, engines: int
) -> None:
    """Twice the engines carry at least as much, together and apart."""
    few = dc.decide(fleet(row, engines=engines), case, most_engine_gpus=row[3])
    many = dc.decide(fleet(row, engines=2 * engines), case, most_engine_gpus=row[3])

    assert all(new >= old * 0.999 for old, new in zip(rates(few), rates(many), strict=True))


def test_the_grid() -> None:
    """360 questions: every answer whole; long answers and thin links are never taken apart.

    Yes is rarer than at AIConfigurator (8 of 30): its loads have no queue and its answer no
    interval; here 90 % must hold under Poisson arrivals and a yes must not be a loss at worst.
    """
    yes: list[tuple[int, int, float]] = []
    asked = 0
    for row, (prompt, output), (ttft, tpot), gbps in itertools.product(
        ENGINES, LENGTHS, OBJECTIVES, GBPS
    ):
        decision = dc.decide(fleet(row, gbps), work(prompt, output, ttft, tpot))
        asked += gbps >= 200
        assert decision.advised is not bool(decision.refusals)
        if decision.advised:
            yes.append((prompt, output, gbps))

    assert all(gbps >= 100 for _, _, gbps in yes)
    assert all(prompt >= output for prompt, output, _ in yes)
    assert 0.04 * asked <= len(yes) <= 0.3 * asked

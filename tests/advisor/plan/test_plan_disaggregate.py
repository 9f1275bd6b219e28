"""`ridgeline plan disaggregate` at its edges: odd engines, unknown power, tight gaps, one node."""

from __future__ import annotations

import math

import pytest

from advisor.models import energy
from advisor.plan.disaggregate import DisaggregateOptions, disaggregate
from advisor.plan.report import Cell, Report

ASKED = {
    "requests_per_second": 50.0,
    "prompt_tokens": 8000.0,
    "output_tokens": 200.0,
    "ttft_seconds": 2.0,
    "tpot_seconds": 0.02,
    "gpus_per_engine": 4,
    "engines": 8,
    "weights": "fp8",
}


def asked(**options: object) -> Report:
    """The report of these options beside long prompts on eight engines of four H100."""
    return disaggregate(DisaggregateOptions.checked(ASKED | options))


def column(report: Report, name: str) -> tuple[Cell, ...]:
    """A column of the first table: together, then apart."""
    table = report.tables[0]
    return tuple(row[table.columns.index(name)] for row in table.rows)


@pytest.mark.parametrize("gpus", [1, 2, 3, 6, 7, 12, 16, 24])
def test_every_gpu_of_an_engine_counts(gpus: int) -> None:
    """Engines of six or twelve GPUs are not quietly taken for four or eight."""
    report = asked(gpus_per_engine=gpus, engines=4, model="llama3-8b")

    assert f"on {4 * gpus} GPUs" in report.tables[0].title


def test_a_model_that_does_not_fit_is_not_a_missed_objective() -> None:
    """671 GB on four GPUs: more GPUs an engine, not looser objectives."""
    report = asked(model="deepseek-v3")

    assert "leaves no room for a cache in an engine of 4 x H100-SXM" in report.answer


def test_an_accelerator_of_unknown_power_has_no_joules() -> None:
    """TPU v5e: rates are said, energy is not."""
    report = asked(accelerator="TPU-v5e", model="llama3-8b", weights="bf16")

    assert all(j is None for j in column(report, "GPU J an output token"))
    assert all(r is not None for r in column(report, "requests/s in objectives"))
    assert "power limit the decode pool would not feel" not in report.numbers


def test_cached_prompts_cost_no_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a joule a prompt token: a tenth of 8,000 is computed, 4 J an output token of 200."""
    monkeypatch.setattr(energy, "prefill_joules_per_token", lambda *_: 1.0)
    monkeypatch.setattr(energy, "decode_joules_per_token", lambda *_: 0.0)

    assert {4.0} == set(column(asked(prefix_hit_ratio=0.9), "GPU J an output token"))
    assert {40.0} == set(column(asked(), "GPU J an output token"))


def test_one_node_needs_no_network() -> None:
    """Eight GPUs hand over by NVLink; sixteen do not."""
    node = asked(engines=2, network_gbps=10.0, output_tokens=150.0, prompt_tokens=3000.0)
    nodes = asked(engines=4, network_gbps=10.0, output_tokens=150.0, prompt_tokens=3000.0)

    assert any("8 GPUs share NVLink" in w for w in node.warnings)
    assert "network below 100 Gbps a node" not in node.refusals
    assert "network below 100 Gbps a node" in nodes.refusals


def test_a_bound_on_gaps_costs_chunks() -> None:
    """A step with a chunk may take 40 ms: no whole prompts beside answers."""
    free, bound = asked(tpot_seconds=0.2), asked(tpot_seconds=0.2, itl_seconds=0.04)

    assert free.numbers["gain from taking apart"].mid < bound.numbers["gain from taking apart"].mid
    assert math.isfinite(bound.numbers["gain from taking apart"].mid)


def test_thin_networks_leave_pairs_inside_nodes() -> None:
    """DistServe ran on 25 Gbit/s between nodes of eight: its pairs shared nodes (section 6.1)."""
    thin = {"network_gbps": 25.0, "output_tokens": 150.0, "prompt_tokens": 3000.0}
    paid, unpaid = asked(**thin), asked(**thin, tpot_seconds=0.5)

    assert "network below 100 Gbps a node" in paid.refusals
    assert any("pairs that keep the cache inside a node" in w for w in paid.warnings)
    assert not any("pairs that keep" in w for w in unpaid.warnings)

"""Every published result that the models are held to (`oracles.yaml`), and which test holds it."""

from __future__ import annotations

import csv
import importlib
import json

import numpy as np
import pytest
import yaml

from benchmarks.disaggregation.measure_errors import splitwise
from tests import published

HELD_BY = {
    "kv-llama3-70b-bf16": "kv_cache.test_kv_bytes_per_token_of_llama3_70b",
    "kv-llama3-70b-128k": "kv_cache.test_kv_bytes_per_token_of_llama3_70b",
    "kv-opt66b-512": "kv_cache.test_kv_of_opt_66b_and_its_transfer",
    "kvxfer-opt66b-10rps": "kv_cache.test_kv_of_opt_66b_and_its_transfer",
    "kv-mla-dsv3-bf16": "kv_cache.test_kv_of_multi_head_latent_attention",
    "kv-mla-dsv3-vllm-fp8-packed": "kv_cache.test_kv_of_multi_head_latent_attention",
    "kv-capacity-rtx4090-8b": "kv_cache.test_kv_capacity_needs_the_overhead",
    "mooncake-reuse-a800": "kv_cache.test_reuse_pays_above",
    "mooncake-reuse-h800": "kv_cache.test_reuse_pays_above",
    "md1-ttft": "roofline.test_closed_forms_agree_with_one_another",
    "md1-interop2": "roofline.test_closed_forms_agree_with_one_another",
    "md1-intraopK": "roofline.test_closed_forms_agree_with_one_another",
    "distserve-fig1": "disaggregation.test_distserve_figure_1",
    "distserve-opt13b-a100-prefill": "oracles.test_distserve_profile_of_opt_13b",
    "distserve-sim-readme": "disaggregation.test_distserve_placement_of_opt_13b",
    # within 16 points, 7 and 6 in the mean; its own profile is 6.5 and 8.8 off: see there
    "distserve-table2": "published_designs.test_distserve_table_2",
    "splitwise-table": "phases.test_engines_of_2023_are_bound_by_their_host",
    "splitwise-pcap-synthetic": "oracles.test_rows_that_nobody_measured_are_left_out",
    "splitwise-isocost": "advisor_models.test_splitwise_iso_cost",
    "splitwise-headline": "published_designs.test_splitwise_headline",
    "dynamo-planner-prefill": "roofline.test_dynamo_planner_prefill",
    "wva-itl": "roofline.test_workload_variant_autoscaler_latency",
    "vllm-disagg-throughput": "disaggregation.test_disaggregation_never_claims_raw_throughput",
    "mlperf-air-vs-liquid": "advisor_cooling.test_liquid_promises_no_speed_to_healthy_gpus",
    "splitwise-powercap-token": "advisor_power.test_decode_hardly_notices_a_cap",
    "kv-bound-rtx4090": "advisor_sizing.test_the_measured_engine_is_diagnosed_as_kv_bound",
    "redfish-heat": "advisor_models.test_redfish_heat",
    "opencost-idle": "advisor_models.test_opencost_price_normalisation",
    "breakeven-util": "advisor_models.test_break_even_utilisation",
    "llmonkeys": "advisor_coverage.test_large_language_monkeys",
    "r1-output-tail": "advisor_tokens.test_r1_output_has_its_published_shape",
    "azure-2023": "advisor_tokens.test_azure_traces_have_their_published_shape",
    "price-anomaly": "advisor_models.test_spot_above_on_demand_is_bad_data",
}


@pytest.mark.parametrize("test", sorted(set(HELD_BY.values())))
def test_the_test_is_there(test: str) -> None:
    """A test that was renamed is renamed here too."""
    module, _, name = test.partition(".")
    assert callable(getattr(importlib.import_module(f"tests.advisor.test_{module}"), name))


def test_every_published_result_is_held_by_a_test() -> None:
    """None of the list is left out, none is made up."""
    listed = yaml.safe_load(published.data("oracles.yaml").read_text(encoding="utf-8"))

    assert {entry["id"] for entry in listed} == set(HELD_BY)


def test_distserve_profile_of_opt_13b() -> None:
    """18.10 + 0.1019 L + 7.12e-6 L^2 ms, which `test_phase_errors.test_distserve` compares with."""
    path = published.data("distserve/profiler-a100-80g.distserve.json")
    found = json.loads(path.read_text(encoding="utf-8"))["facebook/opt-13b"]["1"]["prefill"]

    assert found == pytest.approx([18.10, 0.1019, 7.12e-6], rel=1e-3)


def test_rows_that_nobody_measured_are_left_out() -> None:
    """Splitwise's capped H100 is 1.30 times its prompt and 1.00 of its tokens in every row."""
    times: dict[str, list[list[float]]] = {"h100-80gb": [], "h100-80gb-pcap": []}
    with published.data("splitwise-sim/perf_model.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["hardware"] in times:
                found = [float(row["prompt_time"]), float(row["token_time"])]
                times[row["hardware"]].append(found)
    whole, capped = (np.array(rows) for rows in times.values())

    assert len(whole) > 300
    assert capped == pytest.approx(whole * [1.3, 1.0])
    assert len(list(splitwise())) == 2 * 104

"""`--live`: the workload of the running stack, out of the real store."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from advisor.facts import Facts, Software
from advisor.plan import live
from advisor.plan.accelerator import AcceleratorOptions
from advisor.plan.capacity import capacity
from advisor.plan.capacity_case import CapacityOptions
from advisor.plan.disaggregate import DisaggregateOptions, disaggregate
from advisor.plan.inputs import demand
from advisor.plan.live_serving import asked_of
from advisor.plan.network import NetworkOptions, plan_network
from advisor.plan.options import WorkloadOptions
from ridgeline.errors import Misconfigured
from ridgeline.events import Action, Confidence, DeviceKind
from ridgeline.schema import SERVING
from ridgeline.store import Store
from tests.advisor.rule_cases import facts, gpus, rail, serving
from tests.advisor.test_advisor_facts import item, store, windows, write  # noqa: F401 - a fixture

LIVE = WorkloadOptions(live=True)


@pytest.fixture
def running(
    store: Store,  # noqa: F811 - a fixture
    store_url: str,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Store:
    """The store of this test as the one the environment names."""
    name = "".join(c if c.isalnum() else "_" for c in request.node.name)
    monkeypatch.setenv("RIDGELINE_STORE_URL", store_url)
    monkeypatch.setenv("RIDGELINE_STORE_DATABASE", f"adv_{name}"[:60])
    return store


def served(store: Store, pool: str, host: str, **rates: float) -> None:  # noqa: F811 - a fixture
    """An engine that worked for ten minutes and goes on for ten: a slow test is never stale."""
    engine = item(host, DeviceKind.SERVING, f"http://{host}", pool=pool)
    end_ms = (time.time_ns() // 1_000_000 // 10_000 + 60) * 10_000
    rows = windows(SERVING, engine.device, engine.node, 20, end_ms, **rates)
    rows["ttft_count_inc"] = 40 + 10 * np.where(rows["window_start"] // 10_000 % 2, 1, -1)
    store.insert_events([engine])
    write(store, SERVING, rows)


def test_a_mixed_pool_is_the_demand(running: Store) -> None:
    """Rate and mean lengths as measured; flags still win and make it assumed."""
    rates = {"requests_finished_inc": 40, "prompt_tokens_inc": 80_000}
    served(running, "mixed", "n0", generation_tokens_inc=8_000, **rates)

    found = demand(LIVE)
    faster = demand(WorkloadOptions(live=True, requests_per_second=9))

    assert found.requests_per_second == pytest.approx(4)
    assert [2000, 200] == pytest.approx([found.prompt_tokens, found.output_tokens])
    assert found.arrival_cv == pytest.approx((100 / 40) ** 0.5, rel=0.05)
    assert Confidence.MEASURED is found.confidence
    assert (9, Confidence.ASSUMED) == (faster.requests_per_second, faster.confidence)


def test_one_service_of_several_is_named(running: Store) -> None:
    """A service is its mixed pool, or its prefill and decode; without a name none is picked."""
    mixed = {"requests_finished_inc": 40, "prompt_tokens_inc": 80_000}
    served(running, "chat/mixed", "n0", generation_tokens_inc=8_000, **mixed)
    served(running, "code/prefill", "n1", requests_finished_inc=20, prompt_tokens_inc=60_000)
    served(running, "code/decode", "n2", requests_finished_inc=20, generation_tokens_inc=1_000)

    chat, code = (demand(WorkloadOptions(live=True, pool=name)) for name in ("chat", "code"))

    assert (("chat/mixed",), ("code/prefill", "code/decode")) == (chat.pools, code.pools)
    assert [2000, 200] == pytest.approx([chat.prompt_tokens, chat.output_tokens])
    assert [3000, 50] == pytest.approx([code.prompt_tokens, code.output_tokens])
    with pytest.raises(Misconfigured, match=r"--pool: is needed: a service \(chat, code\)"):
        demand(LIVE)


def test_prompts_of_prefill_and_answers_of_decode_are_one_demand(running: Store) -> None:
    """A split deployment is asked for its two pools together; another pool must be there."""
    served(running, "prefill", "n0", requests_finished_inc=40, prompt_tokens_inc=80_000)
    served(running, "decode", "n1", requests_finished_inc=40, generation_tokens_inc=8_000)

    found = demand(LIVE)

    assert [2000, 200] == pytest.approx([found.prompt_tokens, found.output_tokens])
    with pytest.raises(Misconfigured, match="--pool: no serving pool chat; there are: decode, pre"):
        demand(WorkloadOptions(live=True, pool="chat"))


def test_an_empty_store_is_no_demand(running: Store) -> None:
    """Absence of data is said, never taken for zero load."""
    with pytest.raises(Misconfigured, match="--live: the store has no telemetry"):
        demand(LIVE)


def test_link_rates_and_traffic_are_read_where_ports_report_them() -> None:
    """Two rails of 400 Gbit/s for 8 GPUs are 100 each; the busiest rail at 0.47 is busy half."""
    ports = {"link_bits_per_second": 4e11, "bytes_per_second": 2e10}
    rails = (rail(utilisation_ratio=0.4, **ports), rail(utilisation_ratio=0.47, **ports))
    pool = gpus("mixed", gpus=64, nodes=8, nvlink_bytes_per_second=45e9)
    seen = facts(pools=(pool,), rails=rails)

    found = live.fabric_of(seen, None)
    answer = plan_network(NetworkOptions(live=True), seen)
    given = plan_network(NetworkOptions(live=True, rail_gbps=200), seen)

    assert 100 == pytest.approx(found.options["rail_gbps"])
    assert 0.5 == pytest.approx(found.options["communication_share"])
    share = found.numbers["share of a step in the network"]
    assert (0.0, Confidence.MODELLED) == (share.low, share.confidence)
    links = {row[0]: row[1:] for row in found.tables[1].rows}
    assert links["NVLink"] == pytest.approx((45, 0.1, 0.1 / 0.69), rel=1e-3)
    said = dict(zip(("rail", "share", "message"), found.warnings, strict=True))
    assert "--rail-gbps, where not given, is measured" in said["rail"]
    assert "--communication-share, where not given, is modelled" in said["share"]
    assert "assumed where not given: --message-mb" in said["message"]
    fast, slow = (a.numbers["all-reduce"].mid for a in (given, answer))
    assert fast < slow


def test_ports_without_a_rate_leave_the_network_assumed() -> None:
    """One rail of unknown rate, or none at all, and nothing is put together from the others."""
    half = facts(
        pools=(gpus("mixed"),),
        rails=(rail(link_bits_per_second=4e11), rail(utilisation_ratio=None)),
    )

    found = live.fabric_of(half, None)
    none = live.fabric_of(facts(pools=(gpus("mixed"),)), None)

    assert "rail_gbps" not in found.options
    assert any("assumed where not given: --rail-gbps" in text for text in found.warnings)
    assert not {"rail_gbps", "communication_share"} & set(none.options)
    assert "no rail is known" in none.warnings


def split_pools(**software: str) -> Facts:
    """Eight prefill and sixteen decode engines, all of which run this."""
    runs = (Software(engines=24, **software),) if software else ()
    return facts(
        serving=(serving("prefill"), serving("decode", engines=16, max_batch=2048)),
        pools=(gpus("prefill"), gpus("decode", gpus=128, nodes=16)),
        software={"decode": runs},
    )


def test_plans_of_serving_take_what_is_there() -> None:
    """Accelerator, engines, GPUs and software are counted, objectives are the advisor's."""
    seen = split_pools(name="vLLM", version="0.11.0")
    asked, serving_ = asked_of(DisaggregateOptions(live=True), seen)
    own, _ = asked_of(DisaggregateOptions(live=True, engines=9, engine="sglang"), seen)

    assert (24, 8, "H100-SXM", "vllm-0.11") == (
        asked.engines,
        asked.gpus_per_engine,
        asked.accelerator,
        asked.engine,
    )
    assert (9, "sglang") == (own.engines, own.engine)
    assert () == serving_.warnings
    said = " ".join(serving_.sources)
    assert "--engines" in said
    assert "vLLM 0.11.0 on 24 of 24 engines" in said
    assert 128 == asked_of(CapacityOptions(live=True), seen)[0].max_sequences
    assert "H100-SXM" == asked_of(AcceleratorOptions(live=True), seen)[0].today


def test_what_is_not_known_of_the_engines_is_said() -> None:
    """No GPUs of a pool, or software without a name."""
    bare = replace(split_pools(), pools=())
    asked, found = asked_of(DisaggregateOptions(live=True), bare)

    assert DisaggregateOptions().engines == asked.engines
    assert any("--gpus-per-engine, --engines" in text for text in found.warnings)
    assert (
        "serving software: no server says what it runs: newest of platform assumed"
        in found.warnings
    )


@pytest.mark.parametrize(
    ("version", "slower"), [("0.12.0", False), ("0.6.3", True)], ids=["newest", "old"]
)
def test_every_plan_of_serving_reckons_with_what_runs(version: str, slower: bool) -> None:  # noqa: FBT001 - a parameter
    """An engine of 2024 carries less than the newest, in each plan that models one."""

    def answers(version: str) -> tuple[float, float, float]:
        seen = split_pools(name="vLLM", version=version)
        taken = disaggregate(DisaggregateOptions(live=True), seen).tables[0].rows[-1][2]
        size = capacity(CapacityOptions(live=True, requests_per_second=60), seen)
        return float(taken or 0), size.numbers["GPUs"].mid, size.numbers["sequences at once"].mid

    new, found = answers("0.24.0"), answers(version)

    assert slower is (found[0] < 0.98 * new[0])
    assert slower is (found[2] > 1.02 * new[2])
    assert found[1] >= new[1]


def test_a_service_that_runs_apart_is_asked_about_its_split() -> None:
    """Not whether to keep together what is apart: as it is, the best other split, and together."""
    found = disaggregate(DisaggregateOptions(live=True), split_pools(name="vLLM", version="0.12.0"))
    table = found.tables[0]

    assert "Prefill and decode run apart, 8 prefill and 16 decode engines" in found.answer
    assert "gain from the other split" in found.numbers
    assert ["as it is", "best split of these", "together"] == [row[0] for row in table.rows]
    assert found.action in {Action.KEEP, Action.REBALANCE_POOLS, Action.AGGREGATE}
    said = {Action.KEEP: "keep the split", Action.REBALANCE_POOLS: "move engines"}
    assert said.get(found.action or Action.KEEP, "put them together") in found.answer
    assert (found.action is Action.KEEP) is bool(found.refusals)

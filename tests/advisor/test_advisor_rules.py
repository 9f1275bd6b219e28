"""Every rule keeps the same promises: advice where due, none where not, honest numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark import ParameterSet

from advisor.catalog.accelerators import BY_NAME
from advisor.catalog.carbon import GRIDS
from advisor.catalog.models import MODELS
from advisor.conflicts import resolved
from advisor.facts import Facts, Lengths, RackLoad, Software
from advisor.models.decision import Rebalance
from advisor.models.replica import Layout, Replica
from advisor.models.token_fits import histogram_of, lognormal_of
from advisor.models.tokens import Histogram
from advisor.outcome import measures
from advisor.rules import RULES, Rule, rebalancing, token_needs
from advisor.rules.pricing import Catalog, estimate, weaker
from ridgeline.errors import Misconfigured
from ridgeline.events import Action, Advice, Confidence, Estimate, Evidence
from ridgeline.pools import SERVING, Role, role_of
from ridgeline.settings import AdvisorSettings, ServiceSettings
from tests.advisor import rule_cases as cases

BY_ID = dict(RULES)
CATALOG = Catalog(grids=GRIDS | {cases.CARBON_GRID.region: cases.CARBON_GRID})
# above the street price, so that a better offer exists for the accelerator rule
SETTINGS = AdvisorSettings(
    gpu_usd_per_hour=4.0,
    slo_ttft_seconds=3.0,
    slo_tpot_seconds=0.02,
    hall_kw=1200.0,
    model="llama3-70b",
).model_copy(update={"grid": "test/solar", "shiftable_pools": ("training",)})


def changing(rule: Rule, facts: Facts, settings: AdvisorSettings = SETTINGS) -> list[Advice]:
    """Advice that asks for a change."""
    return [a for a in rule(facts, CATALOG, settings) if a.action is not Action.KEEP]


def pairs(table: dict[str, tuple[Facts, ...]]) -> list[ParameterSet]:
    """One test a case."""
    return [
        pytest.param(name, facts, id=f"{name}-{i}")
        for name, all_facts in table.items()
        for i, facts in enumerate(all_facts)
    ]


def test_every_rule_has_an_example_and_a_counterexample() -> None:
    """A rule without a counterexample does not ship."""
    assert set(BY_ID) == set(cases.POSITIVE) == set(cases.NEGATIVE)


@pytest.mark.parametrize(("name", "facts"), pairs(cases.POSITIVE))
def test_advises(name: str, facts: Facts) -> None:
    """The example gives advice of the rule with everything a person needs to judge it."""
    advice = changing(BY_ID[name], facts)

    assert advice
    for piece in advice:
        assert piece.rule == name
        assert piece.evidence
        assert piece.counter_evidence
        assert piece.verify
        assert piece.model_version
        assert piece.data_versions
        assert Advice.model_validate_json(piece.to_bytes()) == piece


@pytest.mark.parametrize(("name", "facts"), [*pairs(cases.POSITIVE), *pairs(cases.NEGATIVE)])
def test_numbers_are_finite_and_ordered(name: str, facts: Facts) -> None:
    """Every estimate has low <= mid <= high, a source, and no infinity; evidence is finite."""
    for piece in BY_ID[name](facts, CATALOG, SETTINGS):
        found: list[Estimate | None] = [piece.gain, piece.cost_today, *piece.effects]
        for number in (e for e in found if e is not None):
            assert math.isfinite(number.low)
            assert number.low <= number.mid <= number.high < math.inf
            assert number.source
        for evidence in (*piece.evidence, *piece.counter_evidence):
            assert math.isfinite(evidence.value)


@pytest.mark.parametrize(("name", "facts"), pairs(cases.NEGATIVE))
def test_does_not_advise(name: str, facts: Facts) -> None:
    """The counterexample gives no advice to change anything."""
    assert [] == changing(BY_ID[name], facts)


@pytest.mark.parametrize("name", list(BY_ID))
def test_no_data_is_no_advice(name: str) -> None:
    """Nothing known: nothing said, not even that all is well."""
    assert () == BY_ID[name](cases.facts(), CATALOG, SETTINGS)


@pytest.mark.parametrize("name", list(BY_ID))
def test_ids_are_stable(name: str) -> None:
    """The same condition at another time is the same piece of advice."""
    facts = cases.POSITIVE[name][0]
    later = replace(facts, now_ms=facts.now_ms + 60_000)
    rule = BY_ID[name]

    assert [a.id for a in rule(facts, CATALOG, SETTINGS)] == [
        a.id for a in rule(later, CATALOG, SETTINGS)
    ]


def test_the_right_answer_is_said_to_be_keep() -> None:
    """A mixed pool that holds its objectives is told so, with the reason and no money."""
    (keep,) = BY_ID["serving.disaggregate"](
        cases.NEGATIVE["serving.disaggregate"][0], CATALOG, SETTINGS
    )

    assert keep.action is Action.KEEP
    assert "meets its objectives" in keep.reason
    assert keep.gain is None


def test_disaggregation_and_rebalancing_name_the_split() -> None:
    """Mixed pools are taken apart, split ones rebalanced towards prefill under long prompts."""
    rule = BY_ID["serving.disaggregate"]
    (apart,) = rule(cases.POSITIVE["serving.disaggregate"][0], CATALOG, SETTINGS)
    (moved,) = rule(cases.POSITIVE["serving.disaggregate"][1], CATALOG, SETTINGS)

    assert apart.action is Action.DISAGGREGATE
    assert moved.action is Action.REBALANCE_POOLS
    assert "decode to prefill" in moved.title
    assert moved.gain is not None
    assert moved.cost_today is not None
    assert 0 < moved.gain.mid < moved.cost_today.mid


def running(*software: Software, rule: str = "serving.disaggregate") -> Advice:
    """What a rule says of its mixed pool, which runs this."""
    seen = {
        "serving.disaggregate": cases.POSITIVE["serving.disaggregate"][0],
        "accelerator.choice": cases.facts(serving=(CHAT,), pools=(cases.gpus("mixed", gpus=16),)),
    }[rule]
    dear = {"gpu_usd_per_hour": 8.0, "slo_tpot_seconds": 0.2}
    settings = SETTINGS if rule == "serving.disaggregate" else SETTINGS.model_copy(update=dear)
    (advice,) = BY_ID[rule](replace(seen, software={"mixed": software}), CATALOG, settings)
    return advice


def of_software(evidence: tuple[Evidence, ...]) -> list[tuple[str, Confidence]]:
    """What is said of the serving software, and how sure that is."""
    return [(e.note, e.confidence) for e in evidence if e.name == "serving software"]


@pytest.mark.parametrize("rule", ["serving.disaggregate", "accelerator.choice"])
def test_the_software_that_runs_is_what_a_pool_is_reckoned_with(rule: str) -> None:
    """By name and version where telemetry has them; else the newest, assumed, and that is said."""
    new, old = Software(name="vLLM", version="0.12.1", engines=8), "0.6.3"
    known, unknown = running(new, rule=rule), running(rule=rule)
    early = running(replace(new, version=old), rule=rule)
    mixed = running(replace(new, engines=5), replace(new, version=old, engines=3), rule=rule)

    ((said, sure),) = of_software(known.evidence)
    assert "vLLM 0.12.1 on 8 of 8 engines; modelled as vLLM, asynchronous" in said
    assert Confidence.MEASURED is sure
    assert [] == of_software(known.counter_evidence) == of_software(unknown.evidence)
    assert of_software(unknown.counter_evidence) == [
        ("no server says what it runs: newest of platform assumed", Confidence.ASSUMED)
    ]
    assert (Confidence.MODELLED, Confidence.ASSUMED) == (known.confidence, unknown.confidence)
    effect = {a.effects[0].mid for a in (known, unknown, mixed)}
    assert 1 == len(effect)  # the newest is what was assumed, and what most engines run
    assert early.effects[0].mid not in effect
    assert {Confidence.ASSUMED} == {e.confidence for e in unknown.effects}
    ((others, _),) = of_software(mixed.counter_evidence)
    assert "vLLM 0.6.3 on 3" in others


def test_what_a_pool_measures_makes_up_for_unknown_software() -> None:
    """A pool that does one phase is fitted to its own steps, whatever runs them."""
    split = cases.POSITIVE["serving.disaggregate"][1]
    fitted = replace(
        split,
        serving=tuple(
            replace(load, tpot_p50_seconds=0.012, prefill_seconds_mean=0.5)
            for load in split.serving
        ),
    )
    (before,) = BY_ID["serving.disaggregate"](split, CATALOG, SETTINGS)
    (after,) = BY_ID["serving.disaggregate"](fitted, CATALOG, SETTINGS)

    assert (Confidence.ASSUMED, Confidence.MODELLED) == (before.confidence, after.confidence)
    assert of_software(after.counter_evidence)


def of_service(facts: Facts, service: str) -> Facts:
    """The same pools as those of one service of several."""

    def named(rows: tuple[Any, ...], name: str) -> tuple[Any, ...]:
        return tuple(
            replace(r, **{name: f"{service}/{getattr(r, name)}"})
            if role_of(getattr(r, name)) in SERVING
            else r
            for r in rows
        )

    def keyed(rows: Mapping[str, Any]) -> dict[str, Any]:
        return {f"{service}/{k}" if k in SERVING else k: v for k, v in rows.items()}

    return replace(
        facts,
        serving=named(facts.serving, "pool"),
        pools=named(facts.pools, "group"),
        idle=named(facts.idle, "pool"),
        demand=keyed(facts.demand),
        lengths=keyed(facts.lengths),
        lengths_by_day=keyed(facts.lengths_by_day),
        software=keyed(facts.software),
    )


def together(one: Facts, other: Facts) -> Facts:
    """Both services in one cluster."""
    return replace(
        one,
        serving=one.serving + other.serving,
        pools=one.pools + other.pools,
        idle=one.idle + other.idle,
        demand={**one.demand, **other.demand},
        lengths={**one.lengths, **other.lengths},
        lengths_by_day={**one.lengths_by_day, **other.lengths_by_day},
    )


@pytest.mark.parametrize(
    ("name", "case"),
    [
        (name, n)
        for name in cases.POSITIVE
        for n, facts in enumerate(cases.POSITIVE[name])
        if facts.serving
    ],
)
def test_each_service_is_judged_by_itself(name: str, case: int) -> None:
    """Two services of a cluster get what each would get alone, under its pools' own names."""
    alone = BY_ID[name](cases.POSITIVE[name][case], CATALOG, SETTINGS)
    pair = [of_service(cases.POSITIVE[name][case], service) for service in ("chat", "code")]
    both = BY_ID[name](together(*pair), CATALOG, SETTINGS)

    assert len(both) == 2 * len(alone)
    assert len({advice.id for advice in both}) == len(both)
    for service in ("chat", "code"):
        mine = [a for a in both if a.scope.startswith(f"{service}/")]
        assert [a.scope.replace(f"{service}/", "") for a in mine] == [a.scope for a in alone]
        assert [(a.action, a.gain) for a in mine] == [(a.action, a.gain) for a in alone]


def test_services_have_models_and_objectives_of_their_own() -> None:
    """What is set for one service changes its answer and no other's."""
    seen = cases.POSITIVE["serving.disaggregate"][0]
    facts = together(of_service(seen, "chat"), of_service(seen, "code"))
    own = {"chat": ServiceSettings(model="llama3-8b")}
    before = BY_ID["serving.disaggregate"](facts, CATALOG, SETTINGS)
    after = BY_ID["serving.disaggregate"](
        facts, CATALOG, SETTINGS.model_copy(update={"services": own})
    )

    assert ["chat/mixed", "code/mixed"] == [a.scope for a in after]
    assert before[0].reason != after[0].reason
    assert before[1] == after[1]


def serves(*models: tuple[str, int], model: str = "") -> tuple[Advice, ...]:
    """What is said of a pool whose engines name these models."""
    seen = cases.POSITIVE["serving.disaggregate"][0]
    software = tuple(
        Software(name="vLLM", version="0.12.1", engines=engines, model=name)
        for name, engines in models
    )
    settings = SETTINGS.model_copy(update={"model": model})
    return BY_ID["serving.disaggregate"](
        replace(seen, software={"mixed": software}), CATALOG, settings
    )


def test_the_model_is_what_servers_serve() -> None:
    """Their own name for it, unless one is set; what its shape is nobody knows gives no advice."""
    (named,) = serves(("meta-llama/Llama-3.1-70B-Instruct", 8))
    (given_,) = serves(("prod", 8), model="llama3-70b")
    (mixed,) = serves(("meta-llama/Llama-3.1-70B-Instruct", 5), ("Qwen/Qwen3-32B", 3))
    (small,) = serves(("meta-llama/Llama-3.1-8B-Instruct", 8))

    notes = [[e for e in a.evidence if e.name == "served model"] for a in (named, given_)]
    assert [
        ("meta-llama/Llama-3.1-70B-Instruct, as its servers name it; modelled as llama3-70b"),
        ("llama3-70b, as set"),
    ] == [found[0].note for found in notes]
    sure = [found[0].confidence for found in notes]
    assert [Confidence.MEASURED, Confidence.ASSUMED] == sure
    assert named.effects == given_.effects == mixed.effects != small.effects
    (others,) = [e.note for e in mixed.counter_evidence if e.name == "served model"]
    assert "Qwen/Qwen3-32B on 3" in others
    assert () == serves(("acme/secret", 8)) == serves()


def moved_engines(carried: float, then: float, spread: float = 0.1) -> Rebalance:
    """A split that carries so much by the model, and another."""
    gain = then / carried - 1
    return Rebalance(
        prefills=4,
        decodes=4,
        today_rate_per_second=carried,
        rate_per_second=then,
        gain_low_ratio=gain - spread,
        gain_ratio=gain,
        gain_high_ratio=gain + spread,
    )


@pytest.mark.parametrize(
    ("carried", "then", "held", "likely", "advised"),
    [
        (100, 200, 0, 1.0, True),  # objectives are broken: the model's word
        (100, 200, 90, 1.0, True),  # or held at less than it says
        (100, 200, 160, 0.25, True),  # held at more: what is seen is carried
        (100, 209, 190, 0.1, True),  # just the margin
        (100, 200, 190.5, 0.0499, False),  # and too little is left to gain
        (100, 200, 250, -0.2, False),
    ],
)
def test_what_pools_hold_is_carried_whatever_the_model_says(
    carried: float,
    then: float,
    held: float,
    likely: float,
    advised: bool,  # noqa: FBT001 - a table
) -> None:
    """A gain over less than what is measured would be a gain that nobody gets."""
    found = moved_engines(carried, then)
    (low, mid, high), found_advised = rebalancing.gains(found, held)

    assert likely == pytest.approx(mid, abs=1e-3)
    assert low <= mid <= high
    assert advised is found_advised
    said = [e.value for e in rebalancing.against(found, held)]
    assert ([held] if held > carried else []) == said


def test_money_of_a_rebalance_is_reckoned_from_what_the_pools_hold() -> None:
    """The same pools, once with broken objectives and once with held ones: less to gain."""
    holding = cases.POSITIVE["serving.disaggregate"][1]
    late = tuple(replace(load, ttft_p99_seconds=9.0) for load in holding.serving)
    (held,) = BY_ID["serving.disaggregate"](holding, CATALOG, SETTINGS)
    (strict,) = BY_ID["serving.disaggregate"](replace(holding, serving=late), CATALOG, SETTINGS)

    name = "requests at which the objectives hold"
    assert "decode engines carry" in strict.reason
    assert not any(e.name == name for e in strict.counter_evidence)
    assert "hold the objectives at today's" in held.reason
    (said,) = (e for e in held.counter_evidence if e.name == name)
    assert said.threshold is not None
    assert held.effects[0].mid < strict.effects[0].mid
    assert held.gain is not None
    assert strict.gain is not None
    assert held.gain.mid < strict.gain.mid


def test_a_gain_that_nobody_asks_for_is_said_so() -> None:
    """Pools that carry the demand are kept, whatever another split would bring on top."""
    seen = cases.POSITIVE["serving.disaggregate"][1]
    calm = tuple(
        replace(
            load,
            requests_per_second=(load.requests_per_second or 0) / 20,
            prompt_tokens_per_second=(load.prompt_tokens_per_second or 0) / 20,
            generation_tokens_per_second=(load.generation_tokens_per_second or 0) / 20,
        )
        for load in seen.serving
    )
    (keep,) = BY_ID["serving.disaggregate"](replace(seen, serving=calm), CATALOG, SETTINGS)

    assert Action.KEEP is keep.action
    assert "the pools carry the demand within their objectives" in keep.reason
    assert "which this demand does not ask for" in keep.reason
    assert "must pass" not in keep.reason


def test_hardware_is_not_bought_for_what_was_seen_for_minutes() -> None:
    """An alternative is priced by the hour, and the history is held against it."""
    move = running(Software(name="vLLM", version="0.12.0", engines=8), rule="accelerator.choice")
    (history,) = (e for e in move.counter_evidence if e.name == "history")

    assert (10, 7 * 24 * 60) == (history.value, history.threshold)
    assert "as rented" in move.needs.note


def test_a_slow_network_refuses_disaggregation() -> None:
    """Below 100 Gbps a node the answer is keep."""
    slow = SETTINGS.model_copy(update={"network_gbps": 25.0})

    (keep,) = BY_ID["serving.disaggregate"](
        cases.POSITIVE["serving.disaggregate"][0], CATALOG, slow
    )

    assert keep.action is Action.KEEP
    assert "100 Gbps" in keep.reason


def test_market_prices_are_in_balance_for_bandwidth() -> None:
    """At one provider's prices no accelerator beats H100 on bandwidth by the margin: keep."""
    facts = cases.POSITIVE["accelerator.choice"][0]
    street = SETTINGS.model_copy(update={"gpu_usd_per_hour": 0.0})

    (keep,) = BY_ID["accelerator.choice"](facts, CATALOG, street)

    assert keep.action is Action.KEEP
    assert "would pay below" in keep.reason
    assert any("unverified" in e.name for e in keep.counter_evidence)


@pytest.mark.parametrize(
    ("number", "action", "word"),
    [
        (0, Action.FIX_COOLING, "flow"),
        (1, Action.FIX_COOLING, "set point"),
        (2, Action.CAP_POWER, "power"),
    ],
)
def test_cheapest_cooling_remedy_leads(number: int, action: Action, word: str) -> None:
    """Low flow is pumped up, a hot supply set down; only what nothing explains is capped."""
    (advice,) = BY_ID["cooling.throttling"](
        cases.POSITIVE["cooling.throttling"][number], CATALOG, SETTINGS
    )

    assert advice.action is action
    assert word in advice.title
    assert advice.gain is not None
    # 64 GPUs, 20 % of the time at 0.7 of the clock, 4 USD/h, 730 h
    assert advice.gain.high == pytest.approx(64 * 0.2 * 4 * 730)


def test_a_detector_that_knows_the_flow_is_low_is_believed() -> None:
    """Without a history of its own, the open detection names the remedy."""
    low = cases.found("coolant_flow_low", "thermal_limit")
    facts = cases.facts(gpu_loops=(cases.HOT,), loops=(cases.loop(),), found=(low,))

    (advice,) = BY_ID["cooling.throttling"](facts, CATALOG, SETTINGS)

    assert "flow" in advice.title
    assert advice.detections == (low.detection.id,)


def test_rare_peaks_are_rented_and_lasting_ones_owned() -> None:
    """A fifth of the time over capacity: rent. Nine tenths: own."""
    rule = BY_ID["capacity.cloud_burst"]
    rare = cases.POSITIVE["capacity.cloud_burst"][1]
    lasting = replace(rare, demand={"decode": (100.0,) * 160 + (400.0,) * 1440})

    (rent,) = rule(rare, CATALOG, SETTINGS)
    (own,) = rule(lasting, CATALOG, SETTINGS)

    assert rent.action is Action.BURST_TO_CLOUD
    assert own.action is Action.ADD_CAPACITY
    assert own.needs.capex_usd > 0
    assert rent.confidence is Confidence.MODELLED


def test_little_history_is_assumed_not_modelled() -> None:
    """Ten minutes of queue say that there is one, not how often."""
    (advice,) = BY_ID["capacity.cloud_burst"](
        cases.POSITIVE["capacity.cloud_burst"][0], CATALOG, SETTINGS
    )

    assert advice.confidence is Confidence.ASSUMED


def test_residency_forbids_before_cost() -> None:
    """Data that may go to no provider in the catalogue stays: no advice."""
    home = SETTINGS.model_copy(update={"regions": ("on-site",)})

    assert () == BY_ID["capacity.cloud_burst"](
        cases.POSITIVE["capacity.cloud_burst"][0], CATALOG, home
    )


def test_a_plan_to_rent_says_where_how_long_and_what_is_not_known() -> None:
    """The reason names place, GPUs and hours; rent is an effect; the unknown region is said."""
    (rent,) = BY_ID["capacity.cloud_burst"](
        cases.POSITIVE["capacity.cloud_burst"][1], CATALOG, SETTINGS
    )

    assert "verda" in rent.reason
    assert "5.0 h a peak" in rent.reason
    assert ["USD/month of rent", "USD/month less than owning as many"] == [
        e.unit for e in rent.effects
    ]
    assert rent.gain is None  # nobody pays for these GPUs today
    assert any("region" in e.note for e in rent.counter_evidence)


@pytest.mark.parametrize(
    ("number", "why"), [(4, "Idle GPUs"), (5, "max_num_seqs"), (6, "over before")]
)
def test_no_rent_is_reasoned(number: int, why: str) -> None:
    """Idle GPUs of the kind, a cap of sequences, peaks over too soon: keep, with the reason."""
    facts = cases.NEGATIVE["capacity.cloud_burst"][number]
    (keep,) = BY_ID["capacity.cloud_burst"](facts, CATALOG, SETTINGS)

    assert keep.action is Action.KEEP
    assert why in keep.reason
    assert keep.gain is None


def test_idle_gpus_with_a_queue_are_no_reserve_for_others() -> None:
    """A pool that waits for its own work lends nothing."""
    facts = cases.NEGATIVE["capacity.cloud_burst"][4]
    waiting = replace(cases.serving("training"), waiting=5)
    busy = replace(facts, serving=(*facts.serving, waiting))

    (advice,) = BY_ID["capacity.cloud_burst"](busy, CATALOG, SETTINGS)

    assert advice.action is Action.BURST_TO_CLOUD


def test_long_answers_want_cache() -> None:
    """R1's tail at a full cache: GPUs as an interval of whole servers, FP8 cache named first."""
    (advice,) = BY_ID["capacity.reasoning"](
        cases.POSITIVE["capacity.reasoning"][0], CATALOG, SETTINGS
    )
    gpus, usd = advice.effects

    assert advice.action is Action.ADD_CAPACITY
    assert "FP8 KV cache first" in advice.reason
    assert gpus.low < gpus.high
    assert {0} == {gpus.low % 8, gpus.mid % 8, gpus.high % 8}
    assert gpus.mid * 4 * 730 == pytest.approx(usd.mid)


def test_a_serving_pool_gives_up_only_what_its_peak_leaves() -> None:
    """Busy GPUs grow with demand: a day at 100 of 160 concurrent requests leaves most idle ones."""
    (advice,) = BY_ID["capacity.consolidate"](
        cases.POSITIVE["capacity.consolidate"][3], CATALOG, SETTINGS
    )

    assert advice.gain is not None
    assert 0 < advice.gain.low < advice.gain.high <= 32 * 4 * 730


def test_scattered_idle_gpus_are_told_from_idle_nodes() -> None:
    """32 of 64 GPUs busy over 7 of 8 nodes: one node is free now, three more by moving jobs."""
    (advice,) = BY_ID["capacity.consolidate"](
        cases.POSITIVE["capacity.consolidate"][1], CATALOG, SETTINGS
    )

    assert "Nodes without any work: 1." in advice.reason
    assert "32 busy GPUs lie in 7 nodes and would fit in 4" in advice.reason
    assert 1 == next(e.value for e in advice.evidence if e.name == "nodes without work")


def test_small_jobs_are_a_hint_of_slices_without_money() -> None:
    """28 jobs of 8 GB on 28 H100 fit on 4 in seven slices each: 24 less, not priced."""
    rule = BY_ID["capacity.consolidate"]
    (hint,) = rule(cases.POSITIVE["capacity.consolidate"][2], CATALOG, SETTINGS)

    assert "28 x 1g.10gb (7 a GPU) would fit on 4 GPUs in MIG mode and leave 24" in hint.reason
    assert hint.gain is None
    assert Confidence.ASSUMED is hint.confidence
    assert (12, 24) == (hint.effects[0].low, hint.effects[0].high)
    assert any("no NVLink" in e.note for e in hint.counter_evidence)
    assert () == measures(hint)

    both = cases.facts(idle=(replace(cases.NOTEBOOKS, idle=32),), pools=(cases.gpus("training"),))
    (idle,) = rule(both, CATALOG, SETTINGS)
    assert "32 GPUs had idle SMs" in idle.reason
    assert "leave 24 to other work" in idle.reason
    assert idle.gain is not None


def test_lossy_links_are_inspected() -> None:
    """A cable is no tuning problem."""
    facts = cases.facts(found=(cases.found("lossy_link", "fabric_congestion"),))

    (advice,) = BY_ID["fabric.congestion"](facts, CATALOG, SETTINGS)

    assert advice.action is Action.INSPECT_HARDWARE
    assert advice.gain is None


def test_the_port_that_causes_it_leads_whatever_number_suffers() -> None:
    """Two victims of one receiver: the receiver is named; alone they are."""
    victims = tuple(
        cases.found("victim_sender", "fabric_congestion", host=f"node0{n}") for n in (1, 2)
    )
    cause = cases.found("incast_receiver", "fabric_congestion", host="node09")
    rule = BY_ID["fabric.congestion"]
    (both,) = rule(cases.facts(found=(*victims, cause)), CATALOG, SETTINGS)
    (alone,) = rule(cases.facts(found=victims), CATALOG, SETTINGS)

    assert "rail0: incast receiver on node09" == both.title
    assert "3 open findings" in both.reason
    assert "spread the senders" in both.reason
    assert "victim sender on node01, node02" in alone.title


def test_estimates_are_put_in_order_and_products_are_no_surer() -> None:
    """Builders of numbers used by all rules."""
    made = estimate(3, 1, 2, "x", Confidence.MEASURED, "test")

    assert (1, 2, 3) == (made.low, made.mid, made.high)
    assert weaker(Confidence.MEASURED, Confidence.PUBLISHED) is Confidence.PUBLISHED


def test_capacity_that_the_feed_cannot_carry_says_so_and_waits_for_power() -> None:
    """A hall that grows, with less free than the GPUs draw: power is said, they are named on it."""
    full = cases.hall(90, 0.5)
    want = cases.POSITIVE["capacity.reasoning"][0]
    peak_kw = max(full[-168:]) / 1000
    hall = SETTINGS.model_copy(update={"hall_kw": peak_kw / 0.9 + 3})
    seen = replace(want, hall_watts_hourly=full)
    (buy,) = changing(BY_ID["capacity.reasoning"], seen, hall)
    (order,) = changing(BY_ID["power.headroom"], seen, hall)
    (free,) = changing(BY_ID["capacity.reasoning"], want, hall)

    gpus, kw = buy.effects[0].mid, buy.needs.power_kw
    assert kw == pytest.approx(gpus * (700 + 300) / 1000)  # of an H100 and its share of a server
    (said,) = (e for e in buy.counter_evidence if e.name == "free of the hall's feed")
    assert said.value == pytest.approx(0.9 * 3, abs=1)  # above p99, which is below the peak
    assert said.threshold == kw
    assert not any("feed" in e.name for e in free.counter_evidence)  # no history: nothing is known
    assert [order.id] == [a.id for a in resolved([buy, order]).kept]


def test_a_full_hall_is_said_with_its_interval_and_lead_time() -> None:
    """Months with their interval, 18 to 36 months of lead time, what capping decode frees."""
    rule = BY_ID["power.headroom"]
    (advice,) = rule(cases.POSITIVE["power.headroom"][1], CATALOG, SETTINGS)

    assert advice.action is Action.ADD_POWER
    assert "months" in advice.title
    assert "order power now" in advice.title
    assert "18 to 36 months" in advice.reason
    assert advice.needs.lead_time_days > 500
    # 64 decode GPUs at 600 W, capped at 0.65 x 700 W
    freed = next(e for e in advice.effects if e.unit == "kW freed")
    assert freed.mid == pytest.approx(64 * (600 - 455) / 1000)
    unknown = SETTINGS.model_copy(update={"hall_kw": 0.0})
    assert () == rule(cases.POSITIVE["power.headroom"][1], CATALOG, unknown)


def test_a_retrofit_names_options_lead_time_and_price() -> None:
    """60 kW in contained air that throttles: options by density, a price only when quoted."""
    rack = RackLoad(
        rack="rack01",
        loop="loop-a",
        newest_ms=cases.NOW_MS,
        power_watts=60e3,
        inlet_celsius=25,
        fan_speed_ratio=0.99,
    )
    facts = cases.facts(gpu_loops=(cases.HOT,), racks=(rack,), pools=(cases.HOT,))
    quoted = SETTINGS.model_copy(update={"retrofit_usd_per_kw": 2000.0})
    rule = BY_ID["cooling.throttling"]

    (advice,) = rule(facts, CATALOG, quoted)
    assert "gives off more than its cooling technology carries" in advice.reason
    # the cheap remedy leads; the retrofit comes last in the list
    assert advice.action is Action.CAP_POWER
    assert advice.reason.index("cap the power") < advice.reason.index("change the cooling")


def test_a_decode_pool_loses_less_to_heat_than_a_prefill_pool() -> None:
    """The same throttling costs less where detections say that decode runs there."""
    rule = BY_ID["cooling.throttling"]

    def lost(pool: Role) -> float:
        hot = cases.found("thermal_throttle", "thermal_limit")
        hot = replace(hot, detection=hot.detection.model_copy(update={"pool": pool}))
        (advice,) = rule(cases.facts(gpu_loops=(cases.HOT,), found=(hot,)), CATALOG, SETTINGS)
        assert advice.cost_today is not None
        return advice.cost_today.mid

    assert lost(Role.DECODE) < 0.2 * lost(Role.PREFILL)


def test_fabric_advice_names_settings_and_where_they_live() -> None:
    """An incast names ECN thresholds, DCQCN and the rails a collective uses."""
    (advice,) = BY_ID["fabric.congestion"](
        cases.POSITIVE["fabric.congestion"][0], CATALOG, SETTINGS
    )

    assert "ECN thresholds" in advice.reason
    assert "DCQCN" in advice.reason


def test_operators_catalogue_prices_the_rules(tmp_path: Path) -> None:
    """A file named by the setting corrects prices; a misspelt section is said."""
    own = tmp_path / "own.yaml"
    own.write_text("prices: [{provider: own, accelerator: L4, usd_per_hour: 0.2}]")
    made = Catalog.of(AdvisorSettings(catalog=str(own)))

    assert [p.usd_per_hour for p in made.prices if p.provider == "own"] == [0.2]
    assert "operator's catalogue" in made.versions
    assert Catalog.of(AdvisorSettings()).versions == CATALOG.versions
    own.write_text("price: []")
    with pytest.raises(Misconfigured, match="price: no such section"):
        Catalog.of(AdvisorSettings(catalog=str(own)))


CHAT = cases.serving(
    "mixed",
    engines=16,
    prompt_tokens_per_second=40_000.0,
    generation_tokens_per_second=12_000.0,
    requests_per_second=40.0,
)
"""1,000 tokens in, 300 out, 12,000 tokens/s."""


def test_a_mixed_pool_is_compared_by_its_workload() -> None:
    """With model, lengths and rate known the throughput model speaks, not the counters."""
    facts = cases.facts(serving=(CHAT,), pools=(cases.gpus("mixed", gpus=16),))
    dear = SETTINGS.model_copy(update={"gpu_usd_per_hour": 8.0, "slo_tpot_seconds": 0.2})

    (move,) = BY_ID["accelerator.choice"](facts, CATALOG, dear)

    assert move.action is Action.CHANGE_ACCELERATOR
    assert "serving llama3-70b (1,000 tokens in, 300 out)" in move.reason
    assert move.gain is not None
    assert 0 < move.gain.low < move.gain.mid
    assert any("could make" in e.name for e in move.evidence)


def moved(facts: Facts, **settings: float) -> Advice:
    """What the accelerator rule says of the only pool, at the street's prices."""
    street = SETTINGS.model_copy(update={"gpu_usd_per_hour": 0.0} | settings)
    (advice,) = BY_ID["accelerator.choice"](facts, CATALOG, street)
    return advice


def test_a_prefill_pool_is_compared_by_its_prompts() -> None:
    """Its counters may show busy memory: what it makes is prompts, which follow compute."""
    busy_memory = cases.gpus("prefill", dram_ratio=0.7, tensor_ratio=0.2)
    facts = cases.facts(serving=(cases.BUSY_PREFILL,), pools=(busy_memory,))
    by_counters, by_prompts = moved(replace(facts, serving=())), moved(facts)

    assert "bound by memory bandwidth. H200-SXM is" in by_counters.reason
    assert "computing prompts of 5,000 tokens for llama3-70b. B200-SXM is" in by_prompts.reason
    assert any(e.name == "energy of a prompt token" for e in by_prompts.evidence)


def test_prompts_too_long_for_the_objective_are_still_compared_by_prompts() -> None:
    """Today no prompt of 90,000 tokens is ready in two seconds: candidates need not be either."""
    long = replace(cases.BUSY_PREFILL, prompt_tokens_per_second=180_000, requests_per_second=2)
    facts = cases.facts(serving=(long,), pools=(cases.gpus("prefill"),))

    assert "computing prompts of 90,000 tokens" in moved(facts, slo_ttft_seconds=2.0).reason


def test_a_decode_pool_is_compared_at_its_batch_and_context() -> None:
    """The prompts are those of the prefill pool; an objective that only some hold decides."""
    facts = cases.POSITIVE["accelerator.choice"][2]

    assert "(25 requests at once a GPU, of 5,500 tokens)" in moved(facts).reason
    alone = replace(facts, serving=(cases.BUSY_DECODE,))  # the length of prompts is not known
    assert () == BY_ID["accelerator.choice"](alone, CATALOG, SETTINGS)


def test_a_full_cache_counts_the_memory_of_the_candidate() -> None:
    """Requests that wait for cache run on more of it; without a queue the batch stays."""

    def speed(**changes: float) -> float:
        load = replace(cases.BUSY_DECODE, **changes)  # type: ignore[arg-type]  # test data
        facts = cases.facts(serving=(cases.BUSY_PREFILL, load), pools=(cases.gpus("decode"),))
        catalog = replace(
            CATALOG, prices=tuple(p for p in CATALOG.prices if p.accelerator == "H200-SXM")
        )
        (advice,) = BY_ID["accelerator.choice"](
            facts, catalog, SETTINGS.model_copy(update={"slo_tpot_seconds": 0.1})
        )
        words = advice.reason.split(" times as fast")[0]
        return float(words.rsplit(" ", 1)[-1])

    queued = speed(waiting=80, kv_usage_ratio=0.97)

    assert speed() == speed(waiting=80, kv_usage_ratio=0.5)
    assert speed() == speed(kv_usage_ratio=0.97)
    assert speed() < queued


def test_an_idle_pool_needs_load_not_speed() -> None:
    """A pool at a tenth of what it could make keeps its accelerator, at any price."""
    idle = replace(CHAT, generation_tokens_per_second=1_200.0, requests_per_second=4.0)
    facts = cases.facts(serving=(idle,), pools=(cases.gpus("mixed", gpus=64),))
    dear = SETTINGS.model_copy(update={"gpu_usd_per_hour": 8.0, "slo_tpot_seconds": 0.2})

    (keep,) = BY_ID["accelerator.choice"](facts, CATALOG, dear)

    assert keep.action is Action.KEEP
    assert "too little work, not too little speed" in keep.reason


def test_work_that_may_wait_runs_in_cleaner_hours_of_the_grid() -> None:
    """Tonnes by place and after contracts; money only at a price of carbon; hours must be known."""
    rule = BY_ID["carbon.shift"]
    facts = cases.POSITIVE["carbon.shift"][0]
    (advice,) = rule(facts, CATALOG, SETTINGS)

    assert advice.action is Action.SHIFT_LOAD
    assert advice.gain is None
    (located,) = advice.effects
    # 20 kW x 1.3 around the clock, at most all of it (less idle power) from 500 to 150 g/kWh
    assert 0 < located.low < located.mid <= located.high < 20 * 1.3 * 730 * 0.35 / 1000
    today = next(e for e in advice.evidence if e.name == "carbon today")
    assert today.value == pytest.approx(20 * 1.3 * 730 * (18 * 500 + 6 * 150) / 24 / 1e6, rel=1e-3)

    paid = SETTINGS.model_copy(
        update={"carbon_usd_per_tonne": 100.0, "carbon_free_ratio": 0.6, "pue": 1.3}
    )
    (advice,) = rule(facts, CATALOG, paid)
    assert advice.gain is not None
    assert advice.gain.mid == pytest.approx(located.mid * 0.4 * 100)
    assert any("after contracts" in e.unit for e in advice.effects)

    place = SETTINGS.model_copy(update={"regions": ("gcp/europe-north1", "gcp/us-central1")})
    (advice,) = rule(facts, CATALOG, place)
    assert any("gcp/europe-north1" in e.name for e in advice.counter_evidence)

    for unknown in ({"grid": ""}, {"grid": "gcp/us-central1"}, {"shiftable_pools": ()}):
        assert () == rule(facts, CATALOG, SETTINGS.model_copy(update=unknown))


def effect(advice: Advice, unit: str) -> Estimate:
    """The effect whose unit begins so."""
    return next(e for e in advice.effects if e.unit.startswith(unit))


def test_longer_answers_are_a_finding_of_their_own_with_gpus_and_money() -> None:
    """Three times the tokens: GPUs, money a month, and what a query costs more by its length."""
    rule = BY_ID["traffic.token_drift"]
    (grown,) = rule(cases.POSITIVE["traffic.token_drift"][0], CATALOG, SETTINGS)
    (calm,) = rule(cases.NEGATIVE["traffic.token_drift"][0], CATALOG, SETTINGS)

    assert Action.ADD_CAPACITY is grown.action
    assert "p99" in grown.reason
    assert "Requests wait." in grown.reason
    more = effect(grown, "GPUs more")
    assert 0 < more.low <= more.mid <= more.high
    assert 0 == more.mid % 8
    assert effect(grown, "USD/month").mid == pytest.approx(more.mid * 4 * 730)
    p50, p95, p99 = (
        effect(grown, f"USD more a thousand queries, each at p{q}").mid for q in (50, 95, 99)
    )
    assert 0 < p50 < p95 < p99
    psi = next(e for e in grown.evidence if e.unit == "PSI")
    assert psi.threshold is not None
    assert psi.value > psi.threshold
    assert Action.KEEP is calm.action
    assert "nothing needs to change yet" in calm.reason
    assert effect(calm, "GPUs more") == more


def test_what_speaks_of_the_week_needs_a_week_and_lengths() -> None:
    """Shorter answers free GPUs and are left to the idle rule; unknown prompts give no GPUs."""
    rule = BY_ID["traffic.token_drift"]
    same, young, shorter, unknown = (
        rule(facts, CATALOG, SETTINGS) for facts in cases.NEGATIVE["traffic.token_drift"][1:5]
    )

    assert () == same == young
    assert "GPUs fewer" in shorter[0].title
    assert effect(shorter[0], "GPUs more").mid < 0
    assert () == unknown[0].effects
    assert "is not said" in unknown[0].reason
    assert Confidence.MEASURED is unknown[0].confidence


def test_a_day_that_differs_anyway_is_no_drift() -> None:
    """Days of chat and days of long thought in turn: another day of either is nothing new."""
    days = tuple(cases.GREW[n % 2] for n in range(8))
    facts = replace(cases.POSITIVE["traffic.token_drift"][0], lengths_by_day={"decode": days})

    assert () == BY_ID["traffic.token_drift"](facts, CATALOG, SETTINGS)


def test_a_prefill_pool_is_sized_by_the_prompts_of_each_length() -> None:
    """Attention grows with the square of a length: at one mean, a tail takes more GPUs."""
    (load,) = cases.POSITIVE["traffic.token_drift"][1].serving
    pool = token_needs.Pool(
        load=load,
        replica=Replica(
            model=MODELS["llama3-70b"], accelerator=BY_NAME["H100-SXM"], layout=Layout(tensor=8)
        ),
        requests_per_second=100,
        usd_per_gpu_hour=4,
        slo_tpot_seconds=0.02,
    )
    even = token_needs.of_prompts(pool, Histogram([19_999, 20_001], [1]))
    tail = token_needs.of_prompts(pool, histogram_of(lognormal_of(20_000, 1.5)))

    assert tail.gpus.low > even.gpus.mid
    assert tail.usd[0] < even.usd[0] < tail.usd[1] < tail.usd[2]


def test_prompts_are_taken_as_they_were_counted() -> None:
    """The same mean: a few long prompts among short ones ask more of prefill than equal ones."""
    rule = BY_ID["serving.disaggregate"]
    mean = replace(cases.BROKEN_MIXED, prompt_tokens_per_second=30_000)
    base = cases.facts(serving=(mean,), pools=(cases.gpus("mixed"),))
    heavy = (0.0, 0, 200, 500, 700, 800, 850, 900, 950, 1000, 1000, 1000)
    counted = {"mixed": Lengths(prompts=heavy, answers=cases.CHAT)}

    (even,) = rule(base, CATALOG, SETTINGS)
    (spread,) = rule(replace(base, lengths=counted), CATALOG, SETTINGS)

    def told(advice: Advice, name: str) -> Evidence:
        return next(e for e in advice.evidence if e.name == name)

    assert (
        Confidence.ASSUMED is told(even, "standard deviation of the lengths of prompts").confidence
    )
    assert (
        "assumed to be as long as the mean"
        in told(even, "standard deviation of the lengths of prompts").note
    )
    assert not any(e.name == "time of prefill" for e in even.evidence)
    assert (
        Confidence.MEASURED
        is told(spread, "standard deviation of the lengths of prompts").confidence
    )
    assert told(spread, "standard deviation of the lengths of prompts").value > 1
    assert told(spread, "time of prefill").value > 1.05
    assert told(spread, "cache of requests in flight").value > 1
    assert (even.action, even.effects) != (spread.action, spread.effects)

"""How caches go from prefill to decode: what is known, and what is assumed and said to be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from advisor.catalog.accelerators import BY_NAME
from advisor.catalog.models import MODELS
from advisor.facts import Facts
from advisor.models.decision import Fleet
from advisor.models.replica import Layout, Replica
from advisor.models.slo import Workload
from advisor.places import Place
from advisor.plan.disaggregate import DisaggregateOptions, disaggregate
from advisor.rules.handover import Handover, handover_of
from ridgeline.events import Confidence, Evidence
from ridgeline.settings import AdvisorSettings
from tests.advisor.rule_cases import facts, gpus, serving

SETTINGS = AdvisorSettings(network_gbps=400.0)
WORK = Workload(prompt_tokens=8000, output_tokens=200, slo_ttft_seconds=2.0, slo_tpot_seconds=0.1)


def split_service(nodes: int = 8, racks: int = 4, **changes: float | None) -> Facts:
    """Four prefill and four decode engines of 2 GPUs a node each, where the inventory says."""
    pools = ("prefill", "decode")
    engines = {"engines": 4, "requests_per_second": 10, "prompt_tokens_per_second": 80_000}
    loads = (
        serving("prefill", **{**engines, **changes}),
        serving("decode", **{**engines, "prompt_tokens_per_second": None}),
    )
    each = 16 // nodes
    return facts(
        serving=loads,
        pools=tuple(gpus(p, gpus=8, nodes=max(1, nodes // 2)) for p in pools),
        places=tuple(
            Place(
                host=f"n{i}",
                rack=f"r{i % racks}",
                cooling_loop="",
                pool=pools[i * 2 // nodes] if nodes > 1 else "decode",
                gpus=each,
            )
            for i in range(nodes)
        ),
    )


def handed_over(seen: Facts, settings: AdvisorSettings = SETTINGS) -> tuple[Handover, Evidence]:
    """How caches go between the pools of a split service of two GPUs an engine."""
    replica = Replica(
        model=MODELS["llama3-8b"],
        accelerator=BY_NAME[seen.pools[0].model],
        layout=Layout(tensor=2),
    )
    engines = sum(p.gpus for p in seen.pools) // 2
    fleet = Fleet(replica=replica, engines=engines, network_gbps=settings.network_gbps)
    found = handover_of(fleet, WORK, seen.serving, seen.pools, seen, settings, 10.0)
    (said,) = found.evidence(10.0)
    return found, said


def of_model(seen: Facts, model: str) -> Facts:
    """The same pools on other hardware."""
    return replace(seen, pools=tuple(replace(p, model=model) for p in seen.pools))


@pytest.mark.parametrize(
    ("model", "nodes", "racks", "inside"),
    [
        ("H100-SXM", 8, 1, False),  # eight nodes in a rack share no NVLink
        ("GB200", 8, 1, True),  # a rack of an NVL72 does
        ("GB200", 8, 2, False),
        ("L40S", 1, 1, False),  # has no NVLink
    ],
)
def test_caches_cross_a_network_only_between_domains(
    model: str,
    nodes: int,
    racks: int,
    inside: bool,  # noqa: FBT001 - a column of the table above
) -> None:
    """Where the inventory says that all GPUs share NVLink, no network limits the hand-over."""
    found, note = handed_over(of_model(split_service(nodes, racks), model))

    assert inside is found.inside
    assert inside is ("no network is needed" in note.note)
    assert inside is (found.reckoned_gbps > SETTINGS.network_gbps)


def test_one_node_hands_over_inside() -> None:
    """Two pools of one node, of which the inventory names one; without it the network counts."""
    half = of_model(split_service(1), "H100-SXM")
    pools = tuple(replace(p, gpus=4) for p in half.pools)
    place = replace(half.places[0], gpus=8)

    assert handed_over(replace(half, pools=pools, places=(place,)))[0].inside
    assert not handed_over(replace(half, pools=pools, places=()))[0].inside


def test_measured_caches_count_instead_of_modelled_ones() -> None:
    """Half of the bytes a model would hand over leave the network room for twice the requests."""
    plain = of_model(split_service(), "H100-SXM")
    model, said = handed_over(plain)
    half = model.modelled_gbit * 10 / 8 * 1e9 / 2
    some = split_service(kv_transfer_bytes_per_second=half)
    measured, told = handed_over(of_model(some, "H100-SXM"))

    assert (Confidence.MODELLED, Confidence.MEASURED) == (said.confidence, told.confidence)
    assert said.value == pytest.approx(2 * told.value)
    assert 2 * model.reckoned_gbps == pytest.approx(measured.reckoned_gbps)


def test_an_assumed_network_is_said_and_carries_what_it_is_seen_to() -> None:
    """The default is an assumption, a setting is not; what is measured on it fits through it."""
    default = AdvisorSettings(model="llama3-8b")
    plain = of_model(split_service(), "H100-SXM")
    some = split_service(kv_transfer_bytes_per_second=4 * 900e9 / 8)

    assert (
        "(assumed; RIDGELINE_ADVISOR_NETWORK_GBPS says otherwise)"
        in handed_over(plain, default)[1].note
    )
    own = default.model_copy(update={"network_gbps": 200.0})
    assert "from 4 nodes of 200 Gbit/s" in handed_over(plain, own)[1].note
    assert "assumed" not in handed_over(plain, own)[1].note
    found = handed_over(of_model(some, "H100-SXM"), own)[0]
    assert 900 == pytest.approx(found.fleet.network_gbps)


def test_a_live_plan_says_how_caches_go() -> None:
    """As the rule does: measured bytes, an assumed network; one that is typed is not assumed."""
    bytes_per_second = 1e9
    seen = facts(
        serving=(
            serving("prefill", kv_transfer_bytes_per_second=bytes_per_second),
            serving("decode", engines=16, max_batch=2048),
        ),
        pools=(gpus("prefill"), gpus("decode", gpus=128, nodes=16)),
    )
    plain = disaggregate(DisaggregateOptions(live=True), seen)
    typed = disaggregate(DisaggregateOptions(live=True, network_gbps=100), seen)

    name = "KV caches handed from prefill to decode: "
    said = [[w for w in r.warnings if w.startswith(name)] for r in (plain, typed)]
    assert ["from 8 nodes of 400 Gbit/s (assumed" in s for s in said[0]] == [True]
    assert ["from 8 nodes of 100 Gbit/s" in s and "assumed" not in s for s in said[1]] == [True]

"""No two pieces of advice that cannot both be followed, whatever the rules found."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor import conflicts, ranking
from advisor.conflicts import CONFLICTS, KEPT_BY, contradiction, resolved
from advisor.places import Place, overlap, share_ratio
from advisor.preconditions import FREE_KW, FULL_IN_MONTHS
from advisor.rules import RULES
from ridgeline.events import Action, Advice, Confidence, Estimate, Needs
from tests.advisor.test_advisor_engine import piece

CLUSTER = tuple(
    Place(
        host=f"node{i}",
        rack=f"rack{i // 2}",
        cooling_loop=f"loop{i // 4}",
        pool="decode" if i % 2 else "prefill",
        gpus=8,
    )
    for i in range(8)
)
SCOPES = (
    ("pool", "decode"),
    ("pool", "prefill"),
    ("pool", "prefill+decode"),
    ("pool", "training"),
    ("rack", "rack0"),
    ("rack", "rack3"),
    ("cooling_loop", "loop0"),
    ("cooling_loop", "loop1"),
    ("node", "node5"),
    ("device", "node5 gpu3"),
    ("cluster", "rail0"),
)


def advice(
    action: Action, kind: str = "pool", scope: str = "decode", usd: float = 1000, rule: str = ""
) -> Advice:
    """A ranked piece of advice."""
    made = piece(usd, scope, action).model_copy(
        update={
            "id": f"{rule}/{action}/{kind}/{scope}",
            "scope_kind": kind,
            "scope": scope,
            "rule": rule or "serving.test",
        }
    )
    return made.model_copy(update={"rank": ranking.rank(made, CLUSTER)})


@st.composite
def pieces(draw: st.DrawFn) -> list[Advice]:
    """Any pieces a set of rules might give, each id once."""
    one = st.builds(
        lambda action, scope, usd, rule: advice(action, scope[0], scope[1], usd, rule),
        st.sampled_from(Action),
        st.sampled_from(SCOPES),
        st.sampled_from([0.0, 10.0, 1000.0, 1100.0]),
        st.sampled_from([name for name, _ in RULES]),
    )
    return draw(st.lists(one, max_size=12, unique_by=lambda a: a.id))


@given(found=pieces(), data=st.data())
def test_the_result_never_contradicts_itself_and_ignores_the_order(
    found: list[Advice], data: st.DataObject
) -> None:
    """Every pair of what is said can be followed; any order of rules says the same."""
    shuffled = data.draw(st.permutations(found))
    incumbents = frozenset(a.id for a in data.draw(st.permutations(found))[:3])

    result = resolved(found, CLUSTER, incumbents)
    again = resolved(shuffled, CLUSTER, incumbents)

    assert [] == [
        (a.id, b.id)
        for a, b in itertools.combinations(result.kept, 2)
        if contradiction(a, b, CLUSTER)
    ]
    assert result == again


@given(found=pieces())
def test_what_is_held_back_is_named_on_what_is_said(found: list[Advice]) -> None:
    """Nothing vanishes: each piece is said, or noted once on a piece that contradicts it."""
    result = resolved(found, CLUSTER)
    notes = [e for a in result.kept for e in a.counter_evidence if e.name.startswith("held back")]

    assert {a.id for a in found} == {a.id for a in result.kept} | set(result.held_back)
    assert len(result.held_back) == len(notes)
    assert all(note.note for note in notes)


@given(found=pieces())
def test_advice_that_contradicts_nothing_is_always_said(found: list[Advice]) -> None:
    """Only a contradiction holds a piece back."""
    kept = {a.id for a in resolved(found, CLUSTER).kept}

    for one in found:
        if not any(contradiction(one, other, CLUSTER) for other in found if other is not one):
            assert one.id in kept


@pytest.mark.parametrize(
    ("said", "held"),
    [
        (Action.REBALANCE_POOLS, Action.CAP_POWER),
        (Action.CONSOLIDATE, Action.ADD_CAPACITY),
        (Action.CONSOLIDATE, Action.BURST_TO_CLOUD),
        (Action.CONSOLIDATE, Action.CHANGE_ACCELERATOR),
        (Action.DISAGGREGATE, Action.AGGREGATE),
        (Action.REBALANCE_POOLS, Action.BURST_TO_CLOUD),
        (Action.FIX_COOLING, Action.RETROFIT_COOLING),
        (Action.FIX_COOLING, Action.CAP_POWER),
        (Action.CAP_POWER, Action.RETROFIT_COOLING),
        (Action.CAP_POWER, Action.ADD_CAPACITY),
        (Action.BURST_TO_CLOUD, Action.ADD_CAPACITY),
        (Action.CHANGE_ACCELERATOR, Action.ADD_CAPACITY),
        (Action.FIX_COOLING, Action.ADD_CAPACITY),
        (Action.FIX_COOLING, Action.BURST_TO_CLOUD),
        (Action.FIX_COOLING, Action.CHANGE_ACCELERATOR),
        (Action.FIX_FABRIC, Action.ADD_CAPACITY),
        (Action.FIX_FABRIC, Action.BURST_TO_CLOUD),
        (Action.FIX_FABRIC, Action.CHANGE_ACCELERATOR),
        (Action.FIX_FABRIC, Action.DISAGGREGATE),
        (Action.CONSOLIDATE, Action.DISAGGREGATE),
        (Action.CONSOLIDATE, Action.REBALANCE_POOLS),
        (Action.CONSOLIDATE, Action.RETROFIT_COOLING),
        (Action.DISAGGREGATE, Action.CHANGE_ACCELERATOR),
        (Action.RETROFIT_COOLING, Action.CHANGE_ACCELERATOR),
        (Action.RETROFIT_COOLING, Action.ADD_CAPACITY),
        (Action.CAP_POWER, Action.SHIFT_LOAD),
        (Action.FIX_COOLING, Action.SHIFT_LOAD),
    ],
)
def test_of_two_that_contradict_the_one_that_spends_less_or_is_worth_more_is_said(
    said: Action, held: Action
) -> None:
    """On one pool; where both spend alike the first is worth more here."""
    kept = resolved([advice(held, usd=900), advice(said, usd=4000)], CLUSTER).kept

    assert [said] == [a.action for a in kept]


@pytest.mark.parametrize("cheap", [1.0, 1e6])
def test_a_cheap_remedy_comes_before_a_dear_one_whatever_they_promise(cheap: float) -> None:
    """Idle GPUs first, then buying: money alone does not turn that round."""
    buy = advice(Action.ADD_CAPACITY, usd=5000)

    kept = resolved([buy, advice(Action.CONSOLIDATE, usd=cheap)], CLUSTER).kept

    assert [Action.CONSOLIDATE] == [a.action for a in kept]


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        (("cooling_loop", "loop0"), ("pool", "decode"), True),
        (("cooling_loop", "loop0"), ("rack", "rack3"), False),
        (("rack", "rack3"), ("node", "node6"), True),
        (("rack", "rack3"), ("device", "node6 gpu1"), True),
        (("rack", "rack3"), ("device", "node5 gpu1"), False),
        (("pool", "prefill+decode"), ("pool", "decode"), True),
        (("pool", "training"), ("cooling_loop", "loop0"), False),
        (("cluster", "hall"), ("pool", "decode"), False),
        (("cluster", "rail0"), ("cluster", "rail1"), False),
    ],
)
def test_scopes_overlap_by_the_gpus_they_hold(
    one: tuple[str, str],
    other: tuple[str, str],
    together: bool,  # noqa: FBT001 - parametrized
) -> None:
    """A cap on a loop and a rebalance of a pool clash only where the loop cools that pool."""
    a, b = advice(Action.CAP_POWER, *one), advice(Action.REBALANCE_POOLS, *other)

    assert together is overlap(a, b, CLUSTER)
    assert together is overlap(b, a, CLUSTER)
    assert together is bool(contradiction(a, b, CLUSTER))


def test_without_an_inventory_only_like_scopes_are_compared() -> None:
    """Absence of data holds nothing back by guess."""
    cap = advice(Action.CAP_POWER, "cooling_loop", "loop0")

    assert not contradiction(cap, advice(Action.REBALANCE_POOLS), ())
    assert contradiction(cap, advice(Action.ADD_CAPACITY, "cooling_loop", "loop0"), ())
    assert share_ratio(cap, ()) is None


# every pair of changes that may both be said of one pool, and why that is no contradiction
BOTH = {
    "put right beside anything that it is no remedy for": {
        (one, other)
        for one in (Action.FIX_COOLING, Action.FIX_FABRIC, Action.INSPECT_HARDWARE)
        for other in Action
    },
    "a feed is years away, what the hall has room for is not": {
        (Action.ADD_POWER, other) for other in Action
    },
    "new cooling does not care how requests are served, and rented GPUs are elsewhere": {
        (Action.RETROFIT_COOLING, other)
        for other in (
            *(Action.DISAGGREGATE, Action.AGGREGATE, Action.REBALANCE_POOLS),
            *(Action.SHIFT_LOAD, Action.BURST_TO_CLOUD),
        )
    },
    "a cap is taken off as easily as it is put on": {(Action.CAP_POWER, Action.CHANGE_ACCELERATOR)},
    "which hours, and what with": {
        (Action.SHIFT_LOAD, other)
        for other in (
            *(Action.DISAGGREGATE, Action.AGGREGATE, Action.REBALANCE_POOLS),
            Action.CHANGE_ACCELERATOR,
        )
    },
}


def test_every_pair_of_changes_is_judged() -> None:
    """Of two actions on one pool it is known that they contradict, or why they do not."""
    reasoned = {frozenset(pair) for pairs in BOTH.values() for pair in pairs}
    changes = [action for action in Action if action is not Action.KEEP]
    unjudged = {
        (one, other)
        for one, other in itertools.combinations(changes, 2)
        if not contradiction(advice(one), advice(other), CLUSTER)
        and frozenset((one, other)) not in reasoned
    }

    assert set() == unjudged


@pytest.mark.parametrize(
    "action", [Action.CAP_POWER, Action.RETROFIT_COOLING, Action.CHANGE_ACCELERATOR]
)
def test_the_same_gpus_are_not_capped_cooled_or_replaced_twice(action: Action) -> None:
    """A loop and a rack on it: one is said; a rack on another loop is another matter."""
    loop, rack = advice(action, "cooling_loop", "loop0"), advice(action, "rack", "rack0")
    elsewhere = advice(action, "rack", "rack3")

    assert contradiction(loop, rack, CLUSTER)
    assert not contradiction(loop, elsewhere, CLUSTER)


def test_a_rail_that_is_to_be_put_right_is_in_the_way_of_a_hand_over_only() -> None:
    """Pools would hand over through it; buying, renting or another engine do not touch it."""
    rail = advice(Action.FIX_FABRIC, "cluster", "rail0")

    assert contradiction(rail, advice(Action.DISAGGREGATE), CLUSTER)
    assert contradiction(rail, advice(Action.DISAGGREGATE), ())
    for action in (Action.ADD_CAPACITY, Action.AGGREGATE, Action.REBALANCE_POOLS):
        assert not contradiction(rail, advice(action), CLUSTER)


def feed(free_kw: float, months: float) -> Advice:
    """A hall that is full in so many months, with so much free today."""
    found = advice(Action.ADD_POWER, "cluster", "hall", usd=0, rule="power.headroom")
    effects = tuple(
        Estimate(low=v, mid=v, high=v, unit=unit, confidence=Confidence.MODELLED, source="test")
        for v, unit in ((months, FULL_IN_MONTHS), (free_kw, FREE_KW))
    )
    return found.model_copy(update={"effects": effects})


def wanting(action: Action, kw: float, days: float = 0.0) -> Advice:
    """A change that draws so much more, so many days from now, and is worth a lot."""
    needs = Needs(power_kw=kw, lead_time_days=days)
    return advice(action, usd=1e6).model_copy(update={"needs": needs})


@pytest.mark.parametrize(
    ("action", "kw", "days", "free_kw", "months", "first"),
    [
        (Action.ADD_CAPACITY, 80, 0, 50, 12, "it draws 80 kW and the feed has 50 kW free now"),
        (Action.ADD_CAPACITY, 40, 0, 50, 12, ""),
        (Action.ADD_CAPACITY, 40, 120, 50, 12, "the feed has 34 kW free when it arrives"),
        (Action.ADD_CAPACITY, 0, 0, 50, 12, ""),
        (Action.ADD_CAPACITY, 0, 0, 0, 0, "it draws more at the peak and the feed has 0 kW"),
        (Action.ADD_CAPACITY, 1, 120, 50, 3, "the feed has 0 kW free when it arrives"),
        (Action.CHANGE_ACCELERATOR, 80, 90, 50, 12, "power comes first"),
        (Action.CHANGE_ACCELERATOR, 0, 90, 50, 12, ""),
        (Action.SHIFT_LOAD, 0, 0, 0, 0, "it draws more at the peak"),
        (Action.SHIFT_LOAD, 0, 0, 50, 12, ""),
        (Action.BURST_TO_CLOUD, 80, 0, 0, 0, ""),
        (Action.CONSOLIDATE, 0, 0, 0, 0, ""),
        (Action.CAP_POWER, 0, 0, 0, 0, ""),
        (Action.RETROFIT_COOLING, 0, 0, 0, 0, ""),
    ],
)
def test_what_cannot_be_powered_waits_for_the_feed(  # noqa: PLR0917 - a table
    action: Action, kw: float, days: float, free_kw: float, months: float, first: str
) -> None:
    """However much it is worth; rented GPUs draw nothing here, and what frees power may go on."""
    hall, want = feed(free_kw, months), wanting(action, kw, days)
    kept = resolved([want, hall], CLUSTER).kept

    assert first in contradiction(want, hall, CLUSTER)
    assert contradiction(want, hall, ()) == contradiction(hall, want, CLUSTER)
    assert ([hall.id] if first else sorted([hall.id, want.id])) == sorted(a.id for a in kept)
    if first:
        assert any(first in e.note for e in kept[0].counter_evidence)


def test_what_waits_for_power_makes_room_for_what_needs_none() -> None:
    """Buying is held back by the feed, so that renting for the same queue is said."""
    buy, rent = wanting(Action.ADD_CAPACITY, 80, 120), advice(Action.BURST_TO_CLOUD, usd=10)

    kept = resolved([buy, rent, feed(10, 12)], CLUSTER).kept

    assert {Action.ADD_POWER, Action.BURST_TO_CLOUD} == {a.action for a in kept}


@pytest.mark.parametrize("dense", [Action.ADD_CAPACITY, Action.CHANGE_ACCELERATOR])
def test_cooling_comes_before_more_heat_whatever_it_is_worth(dense: Action) -> None:
    """Racks that shed no more heat; where the racks are others both are said."""
    cool = advice(Action.RETROFIT_COOLING, "cooling_loop", "loop0", usd=1)
    here, there = advice(dense, usd=1e6), advice(dense, "rack", "rack3", usd=1e6)

    assert [cool.id] == [a.id for a in resolved([here, cool], CLUSTER).kept]
    assert {cool.id, there.id} == {a.id for a in resolved([there, cool], CLUSTER).kept}


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (Action.FIX_FABRIC, Action.DISAGGREGATE),  # a network before what is handed over through it
        (Action.FIX_COOLING, Action.SHIFT_LOAD),  # cooling before more work an hour
        (Action.FIX_COOLING, Action.ADD_CAPACITY),
        (Action.CONSOLIDATE, Action.ADD_CAPACITY),  # what is there before what is bought
    ],
)
@pytest.mark.parametrize("usd", [0.0, 1e7])
def test_what_another_needs_goes_before_it_whatever_either_is_worth(
    first: Action, then: Action, usd: float
) -> None:
    """Preconditions are physical: money does not turn them round."""
    kept = resolved([advice(then, usd=usd), advice(first, usd=1)], CLUSTER).kept

    assert [first] == [a.action for a in kept]


def test_keep_gives_way_to_a_change_of_its_kind_only() -> None:
    """To keep the split contradicts taking it apart there, and says nothing about cooling."""
    keep = advice(Action.KEEP, rule="serving.disaggregate", usd=0)
    cooling = advice(Action.FIX_COOLING, rule="cooling.throttling")
    apart = advice(Action.DISAGGREGATE, rule="serving.other")

    assert {keep.id, cooling.id} == {a.id for a in resolved([keep, cooling], CLUSTER).kept}
    assert [apart.id] == [a.id for a in resolved([keep, apart], CLUSTER).kept]


def test_an_incumbent_is_displaced_by_clearly_more_only() -> None:
    """Within a fifth what is said already stands."""
    cap, move = advice(Action.CAP_POWER, usd=1000), advice(Action.REBALANCE_POOLS, usd=1100)
    much = advice(Action.REBALANCE_POOLS, usd=2000)
    said = frozenset({cap.id})

    assert [cap.id] == [a.id for a in resolved([cap, move], CLUSTER, said).kept]
    assert [move.id] == [a.id for a in resolved([cap, move], CLUSTER).kept]
    assert [much.id] == [a.id for a in resolved([cap, much], CLUSTER, said).kept]


def test_the_table_covers_the_whole_vocabulary() -> None:
    """Every action has its place in the order of spending; every rule's domain can keep."""
    assert set(Action) == set(conflicts._ORDER)
    assert {name.partition(".")[0] for name, _ in RULES} <= set(KEPT_BY)
    assert all(conflict.why for conflict in CONFLICTS)

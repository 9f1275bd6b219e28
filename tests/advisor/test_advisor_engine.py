"""The life of a piece of advice, with a fake clock and a fake store that can be away."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from advisor import lifecycle
from advisor.engine import QUIET_EVALUATIONS, Engine
from advisor.places import Place
from ridgeline import metrics
from ridgeline.errors import Retry
from ridgeline.events import (
    Action,
    Advice,
    AdviceState,
    Confidence,
    Estimate,
    Event,
    Evidence,
    Verdict,
    Verification,
)

HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Fresh:
    """Facts whose only content is their freshness and one cluster's places."""

    stale: bool = False
    places: tuple[Place, ...] = (
        Place(host="n0", rack="r0", cooling_loop="loop-a", pool="decode", gpus=8),
        Place(host="n1", rack="r0", cooling_loop="loop-a", pool="prefill", gpus=8),
    )


class FakeStore:
    """Keeps the newest body of each id; `away` makes every call raise Retry."""

    def __init__(self) -> None:
        self.bodies: dict[str, str] = {}
        self.away = False
        self.inserts = 0

    def insert_events(self, events: Sequence[Event]) -> None:
        """Keep them."""
        if self.away:
            raise Retry("away")
        self.inserts += len(events)
        for event in events:
            body = event.model_dump_json()
            self.bodies[json.loads(body)["id"]] = body

    def query(
        self,
        sql: str,  # noqa: ARG002 - the protocol's
        parameters: Mapping[str, Any] | None = None,  # noqa: ARG002 - likewise
    ) -> list[dict[str, Any]]:
        """All of them."""
        if self.away:
            raise Retry("away")
        return [{"body": body} for body in self.bodies.values()]


class Cluster:
    """An engine with one rule whose findings the test sets."""

    def __init__(self, store: FakeStore | None = None) -> None:
        self.store = store or FakeStore()
        self.now = 1_000_000
        self.found: list[Advice] = []
        self.broken = False
        self.facts = Fresh()
        self.engine: Engine[Fresh] = Engine(
            self.store,
            lambda _now: self.facts,
            {"broken.rule": self.raises, "test.rule": lambda _facts: self.found},
            self.verify,
            clock=lambda: self.now,
        )
        self.brought: Verification | None = None

    def verify(self, _advice: Advice, _now: int) -> Verification | None:
        """What the test says was measured."""
        return self.brought

    def raises(self, _facts: Fresh) -> list[Advice]:
        """A rule that can break."""
        if self.broken:
            raise ZeroDivisionError
        return []

    def turn(self, seconds: float = 15) -> list[Advice]:
        """Time goes on, then one evaluation."""
        self.now += int(seconds * 1000)
        return self.engine.evaluate()

    @property
    def only(self) -> Advice:
        """The one piece there is."""
        (advice,) = self.engine.advice()
        return advice


def piece(
    usd: float = 1000,
    scope: str = "decode",
    action: Action = Action.FIX_COOLING,
    heat: float = 0.5,
) -> Advice:
    """A piece of advice of the test rule."""
    return Advice(
        id=lifecycle.advice_id("test.rule", "pool", f"{scope}/{action}"),
        rule="test.rule",
        action=action,
        state=AdviceState.OPEN,
        scope_kind="pool",
        scope=scope,
        title="t",
        reason="r",
        evidence=(Evidence(name="heat", value=heat, unit="ratio", threshold=0.4),),
        gain=Estimate(
            low=usd / 2,
            mid=usd,
            high=usd * 2,
            unit="USD/month",
            confidence=Confidence.MODELLED,
            source="test",
        ),
        confidence=Confidence.MODELLED,
        verify="v",
        model_version="1",
        created_ms=0,
        updated_ms=0,
    )


def test_opens_once_and_stays_quiet_while_nothing_changes() -> None:
    """Small changes of the gain are no news."""
    cluster = Cluster()
    cluster.found = [piece(1000)]

    first = cluster.turn()
    cluster.found = [piece(1150)]
    second = cluster.turn()

    assert [AdviceState.OPEN] == [a.state for a in first]
    assert [] == second
    assert cluster.store.inserts == 1


@pytest.mark.parametrize("change", [piece(1500), piece(1000, heat=0.1)])
def test_updates_when_the_gain_or_a_breach_changes(change: Advice) -> None:
    """More than 20 % of gain, or evidence crossing its threshold, is news."""
    cluster = Cluster()
    cluster.found = [piece(1000)]
    (opened,) = cluster.turn()
    cluster.found = [change]

    (updated,) = cluster.turn()

    assert updated.state is AdviceState.UPDATED
    assert updated.id == opened.id
    assert updated.created_ms == opened.created_ms
    assert updated.updated_ms > opened.updated_ms


def test_resolves_after_quiet_evaluations_with_the_outcome() -> None:
    """One quiet evaluation is noise; four are an end, dated to the first."""
    cluster = Cluster()
    cluster.found = [piece()]
    cluster.turn()
    cluster.found = []

    quiet = [cluster.turn() for _ in range(QUIET_EVALUATIONS)]

    assert [0, 0, 0, 1] == [len(changes) for changes in quiet]
    assert cluster.only.state is AdviceState.RESOLVED
    assert cluster.only.resolved_ms == cluster.now
    assert cluster.only.outcome == "the condition is gone"
    assert cluster.only.changed_ms == cluster.now - 15_000 * (QUIET_EVALUATIONS - 1)


def test_a_flicker_starts_the_count_again() -> None:
    """Quiet, seen, quiet: not resolved."""
    cluster = Cluster()
    for found in ([piece()], [], [], [], [piece()], [], [], []):
        cluster.found = list(found)
        cluster.turn()

    assert cluster.only.state is AdviceState.OPEN


def test_comes_back_open_after_it_was_resolved() -> None:
    """The same condition later is a new life under the same id."""
    cluster = Cluster()
    cluster.found = [piece()]
    (opened,) = cluster.turn()
    cluster.found = []
    for _ in range(QUIET_EVALUATIONS):
        cluster.turn()
    cluster.found = [piece()]

    (again,) = cluster.turn()

    assert (again.id, again.state) == (opened.id, AdviceState.OPEN)
    assert again.created_ms > opened.created_ms
    assert again.resolved_ms is None


def test_acknowledged_stays_acknowledged_through_new_numbers() -> None:
    """A person's word stands while the numbers are kept up to date."""
    cluster = Cluster()
    cluster.found = [piece(1000)]
    (opened,) = cluster.turn()
    cluster.engine.acknowledge(opened.id, "kim")
    cluster.found = [piece(5000)]
    cluster.turn()

    assert cluster.only.state is AdviceState.ACKNOWLEDGED
    assert cluster.only.gain is not None
    assert cluster.only.gain.mid == 5000


def test_snoozed_is_quiet_until_its_time() -> None:
    """After the snooze the piece is news again."""
    cluster = Cluster()
    cluster.found = [piece()]
    (opened,) = cluster.turn()
    cluster.engine.snooze(opened.id, "kim", 2)

    assert cluster.turn(3600) == []
    assert cluster.only.state is AdviceState.SNOOZED
    (woken,) = cluster.turn(2 * 3600)
    assert woken.state is AdviceState.UPDATED
    assert woken.snoozed_until_ms is None


def test_resolved_by_hand_stays_so_for_a_day() -> None:
    """The work takes time; the condition may go on meanwhile."""
    cluster = Cluster()
    cluster.found = [piece()]
    (opened,) = cluster.turn()
    cluster.engine.resolve(opened.id, "kim", "pump ordered")

    assert cluster.turn() == []
    assert cluster.only.outcome == "resolved by kim: pump ordered"
    (again,) = cluster.turn(25 * 3600)
    assert again.state is AdviceState.OPEN


def test_unknown_ids_are_key_errors() -> None:
    """The API turns them into 404."""
    with pytest.raises(KeyError):
        Cluster().engine.acknowledge("nothing", "kim")


def test_a_broken_rule_is_counted_and_resolves_nothing() -> None:
    """Others go on; what the broken one said before is not taken for gone."""
    cluster = Cluster()
    mine = piece().model_copy(update={"rule": "broken.rule"})
    cluster.found = [mine, piece(scope="prefill")]
    cluster.turn()
    cluster.broken = True
    cluster.found = []
    before = metrics.REGISTRY.get_sample_value(
        "ridgeline_rule_errors_total", {"rule": "broken.rule"}
    )

    for _ in range(QUIET_EVALUATIONS):
        cluster.turn()

    states = {a.rule: a.state for a in cluster.engine.advice()}
    assert states == {"broken.rule": AdviceState.OPEN, "test.rule": AdviceState.RESOLVED}
    after = metrics.REGISTRY.get_sample_value(
        "ridgeline_rule_errors_total", {"rule": "broken.rule"}
    )
    assert after == (before or 0) + QUIET_EVALUATIONS


def test_stale_facts_neither_advise_nor_resolve() -> None:
    """Absence of data is never advice, and never the end of a condition."""
    cluster = Cluster()
    cluster.found = [piece()]
    cluster.turn()
    cluster.facts = Fresh(stale=True)
    cluster.found = []

    for _ in range(2 * QUIET_EVALUATIONS):
        cluster.turn()

    assert cluster.only.state is AdviceState.OPEN


def test_store_away_changes_nothing_and_is_made_up_for() -> None:
    """What could not be stored was not said; the next evaluation says it."""
    cluster = Cluster()
    cluster.found = [piece()]
    cluster.store.away = True

    with pytest.raises(Retry):
        cluster.turn()

    assert [] == cluster.engine.advice()
    assert [] == cluster.engine.take_outbox()
    cluster.store.away = False
    assert len(cluster.turn()) == 1
    assert len(cluster.engine.take_outbox()) == 1
    assert [] == cluster.engine.take_outbox()


def test_a_new_process_takes_up_where_the_old_one_was() -> None:
    """After a restart the open piece is not opened again, the acknowledged one stays so."""
    cluster = Cluster()
    cluster.found = [piece(), piece(scope="prefill")]
    cluster.turn()
    cluster.engine.acknowledge(cluster.engine.advice()[0].id, "kim")
    after = Cluster(cluster.store)
    after.now = cluster.now
    after.engine.recover()
    after.found = cluster.found

    assert [] == after.turn()
    states = {AdviceState.OPEN, AdviceState.ACKNOWLEDGED}
    assert states == {a.state for a in after.engine.advice()}


def measured(verdict: Verdict = Verdict.KEPT) -> Verification:
    """A verification as the verifier gives it."""
    return Verification(verdict=verdict, text="It brought what was promised.", measured_ms=1)


def test_a_change_that_was_made_is_measured_once() -> None:
    """Done by hand: verified when there is enough to measure, stored, and then left alone."""
    cluster = Cluster()
    cluster.found = [piece()]
    (opened,) = cluster.turn()
    cluster.engine.resolve(opened.id, "kim", "pump replaced", done=True)
    early = cluster.turn()
    cluster.brought = measured()

    (late,) = cluster.turn()

    assert [] == early
    assert late.verification == measured()
    assert late.outcome == "resolved by kim, done: pump replaced"
    assert late.state is AdviceState.RESOLVED
    assert [] == cluster.turn()
    assert "It brought" in cluster.store.bodies[opened.id]


def test_what_was_done_is_not_said_anew_by_the_history_before_it() -> None:
    """Until it is measured, numbers that fade open nothing; what is there afterwards does."""
    cluster = Cluster()
    cluster.found = [piece()]
    (opened,) = cluster.turn()
    cluster.engine.resolve(opened.id, "kim", "pump replaced", done=True)
    fading = piece(usd=400)
    cluster.found = [fading]
    early = cluster.turn()
    cluster.brought = measured(Verdict.PARTLY)
    (told,) = cluster.turn()

    (again,) = cluster.turn()

    assert lifecycle.changed(opened, fading)
    assert [] == early
    assert (AdviceState.RESOLVED, measured(Verdict.PARTLY)) == (told.state, told.verification)
    assert (AdviceState.OPEN, None) == (again.state, again.verification)


@pytest.mark.parametrize("by_hand", [True, False])
def test_what_is_not_done_is_not_verified(by_hand: bool) -> None:  # noqa: FBT001 - parametrized
    """Neither a refusal by hand nor an open piece promises a change that could be measured."""
    cluster = Cluster()
    cluster.found = [piece()]
    cluster.brought = measured()
    (opened,) = cluster.turn()
    if by_hand:
        cluster.engine.resolve(opened.id, "kim", "will not do")

    cluster.turn()

    assert cluster.only.verification is None


def test_a_condition_that_went_away_is_verified_and_forgotten_when_it_returns() -> None:
    """The measurement belongs to one life of the advice; the next begins without it."""
    cluster = Cluster()
    cluster.found = [piece()]
    cluster.turn()
    cluster.found = []
    for _ in range(QUIET_EVALUATIONS):
        cluster.turn()
    cluster.brought = measured(Verdict.NOT_MEASURABLE)
    (verified,) = cluster.turn()
    cluster.found = [piece()]

    (again,) = cluster.turn()

    assert verified.verification is not None
    assert (again.state, again.verification) == (AdviceState.OPEN, None)


def test_a_rival_takes_the_place_at_once_and_says_whom_it_displaced() -> None:
    """Two that contradict are never live together; the displaced one names the reason."""
    cluster = Cluster()
    cap = piece(500, action=Action.CAP_POWER)
    move = piece(2000, action=Action.REBALANCE_POOLS)
    cluster.found = [cap]
    cluster.turn()
    cluster.found = [cap, move]

    cluster.turn()

    states = {a.action: a for a in cluster.engine.advice()}
    assert states[Action.REBALANCE_POOLS].state is AdviceState.OPEN
    assert "held back" in states[Action.REBALANCE_POOLS].counter_evidence[0].name
    assert states[Action.CAP_POWER].state is AdviceState.RESOLVED
    assert states[Action.CAP_POWER].outcome.startswith("held back: a capped pool")
    assert states[Action.CAP_POWER].changed_ms is None


def test_two_of_nearly_the_same_worth_do_not_take_turns() -> None:
    """What is said stands until its rival is worth a fifth more."""
    cluster = Cluster()
    cap = piece(1000, action=Action.CAP_POWER)
    cluster.found = [cap]
    cluster.turn()
    cluster.found = [cap, piece(1100, action=Action.REBALANCE_POOLS)]

    cluster.turn()

    (live,) = [a for a in cluster.engine.advice() if a.state is not AdviceState.RESOLVED]
    assert live.action is Action.CAP_POWER


def test_what_a_person_refused_makes_room_for_its_rival() -> None:
    """A piece closed by hand holds nothing back."""
    cluster = Cluster()
    move = piece(2000, action=Action.REBALANCE_POOLS)
    cluster.found = [move, piece(500, action=Action.CAP_POWER)]
    (opened,) = cluster.turn()
    cluster.engine.resolve(opened.id, "kim", "no")

    (second,) = cluster.turn()

    assert second.action is Action.CAP_POWER


def test_an_open_piece_whose_rule_fails_still_holds_its_rival_back() -> None:
    """What is said and cannot be judged now is not contradicted meanwhile."""
    cluster = Cluster()
    mine = piece(2000, action=Action.REBALANCE_POOLS).model_copy(update={"rule": "broken.rule"})
    cluster.found = [mine]
    cluster.turn()
    cluster.broken = True
    cluster.found = [piece(500, action=Action.CAP_POWER)]

    assert [] == cluster.turn()
    assert cluster.only.action is Action.REBALANCE_POOLS


def test_ordered_by_worth_resolved_last() -> None:
    """Most worth first, each with the steps to it."""
    cluster = Cluster()
    cluster.found = [piece(10, "a"), piece(30, "b"), piece(20, "c")]
    cluster.turn()
    cluster.engine.resolve(cluster.engine.advice()[0].id, "kim", "")

    assert ["c", "a", "b"] == [a.scope for a in cluster.engine.advice()]
    assert all(a.rank is not None for a in cluster.engine.advice())

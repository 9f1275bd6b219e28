"""The life of a piece of advice, with a fake clock and a fake store that can be away."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from advisor import lifecycle
from advisor.engine import QUIET_EVALUATIONS, Engine
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
)

HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Fresh:
    """Facts whose only content is their freshness."""

    stale: bool = False


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
            lambda _advice, _facts: "0.5 before, 0.1 now",
            clock=lambda: self.now,
        )

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
    """One quiet evaluation is noise; four are an end, and it says what was measured."""
    cluster = Cluster()
    cluster.found = [piece()]
    cluster.turn()
    cluster.found = []

    quiet = [cluster.turn() for _ in range(QUIET_EVALUATIONS)]

    assert [0, 0, 0, 1] == [len(changes) for changes in quiet]
    assert cluster.only.state is AdviceState.RESOLVED
    assert cluster.only.resolved_ms == cluster.now
    assert cluster.only.outcome == "0.5 before, 0.1 now"


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


def test_ranked_by_money_resolved_last() -> None:
    """Most money first."""
    cluster = Cluster()
    cluster.found = [piece(10, "a"), piece(30, "b"), piece(20, "c")]
    cluster.turn()
    cluster.engine.resolve(cluster.engine.advice()[0].id, "kim", "")

    assert ["c", "a", "b"] == [a.scope for a in cluster.engine.advice()]


def test_of_two_that_contradict_each_other_the_dearer_is_kept() -> None:
    """Capping power and adding load on one pool: one is said, the other is noted on it."""
    cap = piece(500, action=Action.CAP_POWER)
    move = piece(2000, action=Action.REBALANCE_POOLS)
    elsewhere = piece(1, scope="prefill", action=Action.CAP_POWER)

    kept = lifecycle.without_conflicts([cap, move, elsewhere])

    assert {move.id, elsewhere.id} == {a.id for a in kept}
    (note,) = kept[0].counter_evidence
    assert "test.rule" in note.name
    assert note.value == 500


def test_moving_engines_beats_renting_for_one_of_the_two_pools() -> None:
    """Scopes overlap by their parts: a rebalance of both pools speaks to a queue in one."""
    rent = piece(500, scope="prefill", action=Action.BURST_TO_CLOUD)
    move = piece(2000, scope="prefill+decode", action=Action.REBALANCE_POOLS)

    assert lifecycle.conflicts(rent, move)
    assert [move.id] == [a.id for a in lifecycle.without_conflicts([rent, move])]
    assert not lifecycle.conflicts(piece(scope="training", action=Action.BURST_TO_CLOUD), move)

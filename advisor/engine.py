"""Runs the rules, keeps the advice's life cycle, writes it down. Knows no Kafka and no HTTP.

Everything a person is shown was stored first: a failed insert leaves the engine as it was, and the
next evaluation tries again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import structlog

from advisor import conflicts, lifecycle, ranking
from advisor.places import Place
from ridgeline import metrics
from ridgeline.events import Advice, AdviceState, Event, Verification

log = structlog.get_logger()
F = TypeVar("F", bound="HasFreshness")
QUIET_EVALUATIONS = 4
"""Evaluations in a row without the condition before its advice is resolved."""


class HasFreshness(Protocol):
    """What the engine must know of the facts; the rest is between facts and rules."""

    @property
    def stale(self) -> bool:
        """True when the newest telemetry is too old to judge anything by."""
        ...

    @property
    def places(self) -> Sequence[Place]:
        """Where the GPUs are, for scopes that overlap."""
        ...


class AdviceStore(Protocol):
    """The part of `ridgeline.store.Store` the engine writes and recovers through."""

    def insert_events(self, events: Sequence[Event]) -> None:
        """Make the events durable, or raise Retry."""
        ...

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Rows of a query, or raise Retry."""
        ...


Rule = Callable[[F], Sequence[Advice]]
"""A rule with catalogue and settings bound: facts in, advice out."""
Account = Callable[[Sequence[Advice], F], Mapping[str, Advice]]
"""The pieces of advice by id, with gains that can be summed."""


def _alone(advice: Sequence[Advice], _facts: object) -> Mapping[str, Advice]:
    return {piece.id: piece for piece in advice}


def now_ms() -> int:
    """Wall clock in ms."""
    return time.time_ns() // 1_000_000


class Engine(Generic[F]):
    """Evaluates rules over facts and holds the advice there is.

    Args:
        store: Where advice is written and recovered from.
        read_facts: Reads the facts as of a time in ms; may raise Retry.
        rules: Rule id to rule; a rule may give several pieces, one a scope.
        verify: Measures what a change brought; None says that it is too early.
        clock: Wall clock in ms.
        account: What pieces bring beside one another, by id; by default what each brings alone.
    """

    def __init__(
        self,
        store: AdviceStore,
        read_facts: Callable[[int], F],
        rules: Mapping[str, Rule[F]],
        verify: Callable[[Advice, int], Verification | None] = lambda _advice, _now: None,
        clock: Callable[[], int] = now_ms,
        *,
        account: Account[F] = _alone,
    ) -> None:
        self._store = store
        self._read_facts = read_facts
        self._rules = rules
        self._verify = verify
        self._clock = clock
        self._account = account
        self._lock = threading.Lock()
        self._advice: dict[str, Advice] = {}
        self._quiet: dict[str, tuple[int, int]] = {}  # evaluations, ms of the first
        self._outbox: list[Advice] = []
        self.facts: F | None = None

    def recover(self) -> None:
        """Take up the advice the store knows. Call once before the first evaluation."""
        rows = self._store.query("SELECT body FROM advice FINAL")
        with self._lock:
            for row in rows:
                advice = Advice.model_validate_json(row["body"])
                self._advice[advice.id] = advice
        log.info("advice recovered", pieces=len(rows))

    def advice(self) -> list[Advice]:
        """All advice, best first (see `ranking`), resolved last."""
        with self._lock:
            return ranking.ordered(self._advice.values())

    def take_outbox(self) -> list[Advice]:
        """Changes stored since the last call, oldest first: what is still to be published."""
        with self._lock:
            out, self._outbox = self._outbox, []
            return out

    @metrics.ADVISE_SECONDS.time()
    def evaluate(self) -> list[Advice]:
        """Run every rule once and store what changed; returns the changes.

        Raises:
            Retry: the store is away; nothing was changed.
        """
        now = self._clock()
        facts = self._read_facts(now)
        self.facts = facts
        if facts.stale:
            log.debug("no fresh telemetry, nothing judged")
            return []
        found, failed = self._run_rules(facts)
        measured = self._verifications(now)
        with self._lock:
            changes, quiet = self._changes(found, failed, facts, now)
            changes += [
                lifecycle.verified(self._advice[key], result, now)
                for key, result in measured.items()
                if lifecycle.awaits_verification(self._advice[key])
                and key not in {change.id for change in changes}
            ]
            self._commit(changes)
            self._quiet = quiet
        return changes

    def _run_rules(self, facts: F) -> tuple[dict[str, Advice], set[str]]:
        found: list[Advice] = []
        failed: set[str] = set()
        for name, rule in self._rules.items():
            try:
                found.extend(rule(facts))
            except Exception:
                metrics.RULE_ERRORS.labels(name).inc()
                log.exception("rule failed", rule=name)
                failed.add(name)
        ranked = (a.model_copy(update={"rank": ranking.rank(a, facts.places)}) for a in found)
        return {a.id: a for a in ranked}, failed

    def _verifications(self, now: int) -> dict[str, Verification]:
        """What can be said of changes that were made; asks the store, so outside the lock."""
        with self._lock:
            waiting = [a for a in self._advice.values() if lifecycle.awaits_verification(a)]
        results = {advice.id: self._verify(advice, now) for advice in waiting}
        return {key: result for key, result in results.items() if result is not None}

    def _changes(
        self, found: dict[str, Advice], failed: set[str], facts: F, now: int
    ) -> tuple[list[Advice], dict[str, tuple[int, int]]]:
        """Changes to what is said, and for how long each condition has been quiet."""
        old = self._advice
        live = {k: a for k, a in old.items() if a.state is not AdviceState.RESOLVED}
        quiet_now = {k: a for k, a in live.items() if k not in found}
        wanted = [a for a in found.values() if not lifecycle.stays_closed(old.get(a.id), a, now)]
        decided = conflicts.resolved(
            [*wanted, *quiet_now.values()], facts.places, incumbents=frozenset(live)
        )
        counted = self._account(decided.kept, facts)
        changes = [
            lifecycle.resolved(live[k], why, now, None)
            for k, why in decided.held_back.items()
            if k in live
        ]
        for new in decided.kept:
            if new.id not in quiet_now:
                piece = counted[new.id]
                ranked = piece.model_copy(update={"rank": ranking.rank(piece, facts.places)})
                change = lifecycle.refreshed(old.get(new.id), ranked, now)
                changes += [change] if change is not None else []
        kept = {a.id for a in decided.kept}
        gone, quiet = self._gone(
            [a for k, a in quiet_now.items() if k in kept and a.rule not in failed], now
        )
        return [*changes, *gone], quiet

    def _gone(
        self, quiet_now: Sequence[Advice], now: int
    ) -> tuple[list[Advice], dict[str, tuple[int, int]]]:
        gone: list[Advice] = []
        quiet: dict[str, tuple[int, int]] = {}
        for advice in quiet_now:
            times, since = self._quiet.get(advice.id, (0, now))
            quiet[advice.id] = times + 1, since
            if times + 1 >= QUIET_EVALUATIONS:
                gone.append(lifecycle.resolved(advice, "the condition is gone", now, since))
        return gone, quiet

    def acknowledge(self, advice_id: str, by: str) -> Advice:
        """Mark as seen by a person. KeyError when there is no such advice."""
        return self._move(advice_id, lambda a: lifecycle.acknowledged(a, by, self._clock()))

    def snooze(self, advice_id: str, by: str, hours: float) -> Advice:
        """Hide for `hours`. KeyError when there is no such advice."""
        return self._move(advice_id, lambda a: lifecycle.snoozed(a, by, hours, self._clock()))

    def resolve(self, advice_id: str, by: str, note: str, *, done: bool = False) -> Advice:
        """Close by hand; `done` says that the change was made, and then it is measured.

        Raises:
            KeyError: there is no such advice.
        """
        outcome = (
            lifecycle.BY_HAND + by + (", done" if done else "") + (f": {note}" if note else "")
        )

        def close(advice: Advice) -> Advice:
            now = self._clock()
            return lifecycle.resolved(advice, outcome, now, now if done else None)

        return self._move(advice_id, close)

    def _move(self, advice_id: str, change: Callable[[Advice], Advice]) -> Advice:
        with self._lock:
            moved = change(self._advice[advice_id])
            self._commit([moved])
            return moved

    def _commit(self, changes: list[Advice]) -> None:
        if changes:
            self._store.insert_events(changes)
        for advice in changes:
            self._advice[advice.id] = advice
        self._outbox.extend(changes)
        self._count()

    def _count(self) -> None:
        live = [a.rule for a in self._advice.values() if a.state is not AdviceState.RESOLVED]
        for name in self._rules:
            metrics.ADVICE_OPEN.labels(name).set(live.count(name))

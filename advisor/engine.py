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

from advisor import lifecycle
from ridgeline import metrics
from ridgeline.events import Advice, AdviceState, Event

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


def now_ms() -> int:
    """Wall clock in ms."""
    return time.time_ns() // 1_000_000


class Engine(Generic[F]):
    """Evaluates rules over facts and holds the advice there is.

    Args:
        store: Where advice is written and recovered from.
        read_facts: Reads the facts as of a time in ms; may raise Retry.
        rules: Rule id to rule; a rule may give several pieces, one a scope.
        outcome: Says in words what happened to the thing the advice was about.
        clock: Wall clock in ms.
    """

    def __init__(
        self,
        store: AdviceStore,
        read_facts: Callable[[int], F],
        rules: Mapping[str, Rule[F]],
        outcome: Callable[[Advice, F], str] = lambda _advice, _facts: "the condition is gone",
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._store = store
        self._read_facts = read_facts
        self._rules = rules
        self._outcome = outcome
        self._clock = clock
        self._lock = threading.Lock()
        self._advice: dict[str, Advice] = {}
        self._quiet: dict[str, int] = {}
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
        """All advice, most money first, resolved last."""
        with self._lock:
            return lifecycle.ranked(list(self._advice.values()))

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
        with self._lock:
            changes, quiet = self._changes(facts, found, failed, now)
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
        return {a.id: a for a in lifecycle.without_conflicts(found)}, failed

    def _changes(
        self, facts: F, found: dict[str, Advice], failed: set[str], now: int
    ) -> tuple[list[Advice], dict[str, int]]:
        changes = [
            change
            for new in found.values()
            if (change := lifecycle.refreshed(self._advice.get(new.id), new, now)) is not None
        ]
        quiet: dict[str, int] = {}
        for old in self._advice.values():
            if old.state is AdviceState.RESOLVED or old.id in found or old.rule in failed:
                continue
            quiet[old.id] = self._quiet.get(old.id, 0) + 1
            if quiet[old.id] >= QUIET_EVALUATIONS:
                changes.append(lifecycle.resolved(old, self._outcome(old, facts), now))
        return changes, quiet

    def acknowledge(self, advice_id: str, by: str) -> Advice:
        """Mark as seen by a person. KeyError when there is no such advice."""
        return self._move(advice_id, lambda a: lifecycle.acknowledged(a, by, self._clock()))

    def snooze(self, advice_id: str, by: str, hours: float) -> Advice:
        """Hide for `hours`. KeyError when there is no such advice."""
        return self._move(advice_id, lambda a: lifecycle.snoozed(a, by, hours, self._clock()))

    def resolve(self, advice_id: str, by: str, note: str) -> Advice:
        """Close by hand. KeyError when there is no such advice."""
        outcome = lifecycle.BY_HAND + by + (f": {note}" if note else "")
        return self._move(advice_id, lambda a: lifecycle.resolved(a, outcome, self._clock()))

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

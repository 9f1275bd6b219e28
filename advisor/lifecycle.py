"""The life of a piece of advice, as pure functions of the old advice, the new finding and the time.

open -> updated -> acknowledged / snoozed -> resolved -> (comes back) open
"""

from __future__ import annotations

from uuid import UUID, uuid5

from advisor.conflicts import HELD_BACK
from ridgeline.events import Action, Advice, AdviceState, Estimate, Evidence, Verification

_NAMESPACE = UUID("6f1d3d5e-0a2b-5c54-9a53-52ad7e1f2a10")
GAIN_CHANGE_RATIO = 0.2
"""A gain that moves by less than this is the same gain to a person."""
HOUR_MS = 3_600_000
HAND_CLOSED_MS = 24 * HOUR_MS
BY_HAND = "resolved by "


def advice_id(rule: str, scope_kind: str, scope: str) -> str:
    """Stable id of a rule's advice on a scope."""
    return str(uuid5(_NAMESPACE, f"{rule}/{scope_kind}/{scope}"))


def refreshed(old: Advice | None, new: Advice, now_ms: int) -> Advice | None:
    """What to record now that `new` was found; None when nothing a person cares about changed.

    An acknowledged or snoozed piece stays so, whatever its numbers do, until the condition goes
    away, the snooze ends, or the action itself changes.
    """
    if stays_closed(old, new, now_ms):
        return None
    if old is None or old.state is AdviceState.RESOLVED:
        return new.model_copy(
            update={"state": AdviceState.OPEN, "created_ms": now_ms, "updated_ms": now_ms}
        )
    held = old.state is AdviceState.ACKNOWLEDGED or (
        old.state is AdviceState.SNOOZED and now_ms < (old.snoozed_until_ms or 0)
    )
    woken = old.state is AdviceState.SNOOZED and not held
    other_action = old.action is not new.action
    rivals = _held_back(old) != _held_back(new)
    if not (woken or other_action or rivals or changed(old, new)):
        return None
    state = old.state if held and not other_action else AdviceState.UPDATED
    return new.model_copy(
        update={
            "state": state,
            "created_ms": old.created_ms,
            "updated_ms": now_ms,
            "snoozed_until_ms": old.snoozed_until_ms if state is AdviceState.SNOOZED else None,
            "outcome": old.outcome if state is old.state else "",
        }
    )


def stays_closed(old: Advice | None, new: Advice, now_ms: int) -> bool:
    """Whether a person closed the same thing so lately that it is not to be said again.

    What was done still shows in the history that conditions are judged over, less and less: until
    it is measured, its numbers say nothing new.
    """
    if old is None or not _closed_by_hand(old, now_ms):
        return False
    return awaits_verification(old) or not changed(old, new)


def _closed_by_hand(old: Advice, now_ms: int) -> bool:
    """Whether a person closed it less than a day ago: their word stands, the work takes time."""
    closed = old.state is AdviceState.RESOLVED and old.outcome.startswith(BY_HAND)
    return closed and now_ms - (old.resolved_ms or 0) < HAND_CLOSED_MS


def changed(old: Advice, new: Advice) -> bool:
    """Whether a person would want to be told: another gain (> 20 %), action or breach."""
    return (
        old.action is not new.action
        or old.confidence is not new.confidence
        or _gain_moved(old.gain, new.gain)
        or _breaches(old) != _breaches(new)
    )


def _gain_moved(old: Estimate | None, new: Estimate | None) -> bool:
    if old is None or new is None:
        return (old is None) != (new is None)
    size = max(abs(old.mid), abs(new.mid))
    return size > 0 and abs(new.mid - old.mid) > GAIN_CHANGE_RATIO * size


def _breaches(advice: Advice) -> frozenset[str]:
    return frozenset(e.name for e in advice.evidence if _over(e))


def _held_back(advice: Advice) -> frozenset[str]:
    """Rules whose advice this one displaced."""
    return frozenset(e.name for e in advice.counter_evidence if e.name.startswith(HELD_BACK))


def _over(evidence: Evidence) -> bool:
    return evidence.threshold is not None and evidence.value >= evidence.threshold


def acknowledged(advice: Advice, by: str, now_ms: int) -> Advice:
    """A person has seen it."""
    return _moved(advice, AdviceState.ACKNOWLEDGED, now_ms, f"acknowledged by {by}")


def snoozed(advice: Advice, by: str, hours: float, now_ms: int) -> Advice:
    """A person wants quiet for `hours`."""
    until = now_ms + int(hours * HOUR_MS)
    moved = _moved(advice, AdviceState.SNOOZED, now_ms, f"snoozed by {by} for {hours:g} h")
    return moved.model_copy(update={"snoozed_until_ms": until})


def resolved(advice: Advice, outcome: str, now_ms: int, changed_ms: int | None) -> Advice:
    """Closed: the condition is gone or a person says so.

    `changed_ms` is when what was advised was done or the condition went; None when neither
    happened, and then there is nothing to verify.
    """
    moved = _moved(advice, AdviceState.RESOLVED, now_ms, outcome)
    return moved.model_copy(update={"resolved_ms": now_ms, "changed_ms": changed_ms})


def verified(advice: Advice, verification: Verification, now_ms: int) -> Advice:
    """The change was measured, or it was found that it cannot be."""
    return advice.model_copy(update={"verification": verification, "updated_ms": now_ms})


def awaits_verification(advice: Advice) -> bool:
    """Whether a change is known and not measured yet."""
    return (
        advice.state is AdviceState.RESOLVED
        and advice.changed_ms is not None
        and advice.verification is None
        and advice.action is not Action.KEEP
    )


def _moved(advice: Advice, state: AdviceState, now_ms: int, outcome: str) -> Advice:
    changes = {
        "state": state,
        "updated_ms": now_ms,
        "outcome": outcome,
        "snoozed_until_ms": None,
        "resolved_ms": None,
        "changed_ms": None,
        "verification": None,
    }
    return advice.model_copy(update=changes)

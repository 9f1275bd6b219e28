"""What must be there before an action can be followed: power in the hall.

A hall's feed (`add_power`) says how much of it is free and when it is full; what brings hardware
says how much more it draws. Where the one is less than the other when the hardware arrives, it
cannot be switched on: the feed is said, and what waits for it is named there.
"""

from __future__ import annotations

from advisor.models.periods import DAYS_PER_MONTH
from ridgeline.events import Action, Advice

FREE_KW = "kW free of the feed"
"""Unit of the effect of `add_power` that says what may still be drawn."""
FULL_IN_MONTHS = "months"
"""Unit of the effect that says when nothing is free any more."""
DRAWS_POWER = frozenset({Action.ADD_CAPACITY, Action.CHANGE_ACCELERATOR, Action.SHIFT_LOAD})
"""What draws more at the hall's peak; rented GPUs stand elsewhere."""


def unpowered(one: Advice, other: Advice) -> str:
    """Why one of the two cannot be powered before the other; empty where it can."""
    for feed, wanting in ((one, other), (other, one)):
        if feed.action is Action.ADD_POWER and wanting.action in DRAWS_POWER:
            return _unpowered(feed, wanting)
    return ""


def _unpowered(feed: Advice, wanting: Advice) -> str:
    free = _effect(feed, FREE_KW)
    if free is None:
        return ""
    left = free * _left_ratio(feed, wanting.needs.lead_time_days / DAYS_PER_MONTH)
    wanted = wanting.needs.power_kw
    if left > 0 and wanted <= left:
        return ""
    when = "when it arrives" if wanting.needs.lead_time_days else "now"
    draws = f"it draws {wanted:,.0f} kW" if wanted else "it draws more at the peak"
    return f"{draws} and the feed has {max(0.0, left):,.0f} kW free {when}: power comes first"


def _left_ratio(feed: Advice, months: float) -> float:
    """Share of what is free today that growth leaves after so many months."""
    full = _effect(feed, FULL_IN_MONTHS)
    return 1.0 if full is None or full <= 0 else 1 - months / full


def _effect(advice: Advice, unit: str) -> float | None:
    return next((effect.mid for effect in advice.effects if effect.unit == unit), None)

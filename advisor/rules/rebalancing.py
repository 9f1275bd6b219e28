"""What moving engines between prefill and decode brings, beside what the pools are seen to hold.

A model may say that pools carry less than they do. Where both objectives hold as measured, the
demand of today is carried, whatever the model says, and what engines elsewhere would bring is
reckoned from there.
"""

from __future__ import annotations

import math

from advisor.facts import ServingLoad
from advisor.models.decision import MARGIN_RATIO, Rebalance
from ridgeline.events import Confidence, Evidence

ENOUGH = "the pools carry the demand within their objectives"
Gains = tuple[float, float, float]
"""Low, likely and high, as ratios of requests more."""


def held(
    prefill: ServingLoad, decode: ServingLoad, ttft_seconds: float, tpot_seconds: float
) -> bool:
    """Whether both objectives hold as measured."""
    ttft, tpot = prefill.ttft_p99_seconds, decode.tpot_p99_seconds
    return ttft is not None and tpot is not None and ttft <= ttft_seconds and tpot <= tpot_seconds


def gains(found: Rebalance, held_per_second: float) -> tuple[Gains, bool]:
    """What the other split brings, and whether that is enough to move.

    Args:
        found: By the model.
        held_per_second: Requests/s at which the objectives hold as measured; 0 where they do not.
    """
    modelled = (found.gain_low_ratio, found.gain_ratio, found.gain_high_ratio)
    if held_per_second <= found.today_rate_per_second:
        return modelled, found.advised
    likely = found.rate_per_second / held_per_second - 1
    less = found.today_rate_per_second / held_per_second
    low, high = ((1 + modelled[0]) * less - 1, modelled[2])
    low, high = (v if math.isfinite(v) else likely for v in (low, high))
    low, high = min(low, likely), max(high, likely)
    return (low, likely, high), likely >= MARGIN_RATIO and low >= -MARGIN_RATIO


def today(found: Rebalance, held_per_second: float) -> str:
    """What the pools carry as they are, in words."""
    if held_per_second <= found.today_rate_per_second:
        return f"carry {found.today_rate_per_second:.3g} requests/s within the objectives"
    return f"hold the objectives at today's {held_per_second:.3g} requests/s"


def against(found: Rebalance, held_per_second: float) -> tuple[Evidence, ...]:
    """That the model says less than what is seen, where it does."""
    carried = found.today_rate_per_second
    if held_per_second <= carried:
        return ()
    note = (
        f"both objectives hold as measured, although by the model the pools would carry "
        f"{carried:.3g}/s: it is too pessimistic here (servers count prompts of the same step into "
        "the time of each), so the gain is counted from what the pools hold"
    )
    return (
        Evidence(
            name="requests at which the objectives hold",
            value=held_per_second,
            unit="1/s",
            threshold=carried,
            note=note,
            confidence=Confidence.MEASURED,
        ),
    )

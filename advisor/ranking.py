"""The order of advice: money a month, less for what makes it uncertain, late or disruptive.

    value = (low + likely) / 2 * confidence * 365 / (365 + lead time in days)
            * (1 - disruption of the action * share of GPUs it touches)

The middle between the low end and the likely gain pays for a wide interval; the confidence is the
weakest of the advice and its gain; a gain that starts a year later counts half; the last factor is
the blast radius. The weights are judgement, not measurement, and each is shown with the advice.
Capital is not subtracted: where a change needs it, its gain is reckoned with it already.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from advisor import places
from advisor.places import Place
from ridgeline.events import Action, Advice, AdviceState, Confidence, Evidence, Rank

YEAR_DAYS = 365.0
CONFIDENCE_WEIGHT: Mapping[Confidence, float] = MappingProxyType(
    {
        Confidence.MEASURED: 1.0,
        Confidence.MODELLED: 0.8,
        Confidence.PUBLISHED: 0.6,
        Confidence.ASSUMED: 0.4,
    }
)
DISRUPTION_RATIO: Mapping[Action, float] = MappingProxyType(
    {
        Action.KEEP: 0.0,
        Action.FIX_COOLING: 0.05,
        Action.FIX_FABRIC: 0.1,
        Action.INSPECT_HARDWARE: 0.1,
        Action.CAP_POWER: 0.1,
        Action.SHIFT_LOAD: 0.1,
        Action.ADD_CAPACITY: 0.1,
        Action.ADD_POWER: 0.1,
        Action.BURST_TO_CLOUD: 0.1,
        Action.REBALANCE_POOLS: 0.2,
        Action.CONSOLIDATE: 0.2,
        Action.DISAGGREGATE: 0.4,
        Action.AGGREGATE: 0.4,
        Action.CHANGE_ACCELERATOR: 0.6,
        Action.RETROFIT_COOLING: 0.6,
    }
)
"""How much of what it touches an action may disturb: a set point little, new hardware a lot."""
_ORDER = tuple(Confidence)


def rank(advice: Advice, cluster: Sequence[Place] = ()) -> Rank | None:
    """Value of a piece and how it comes about; None without a priced gain."""
    gain = advice.gain
    if gain is None or advice.action is Action.KEEP:
        return None
    steps = [
        Evidence(name="likely gain", value=gain.mid, unit=gain.unit, confidence=gain.confidence),
        *_factors(advice, gain.low, gain.mid, cluster),
    ]
    value = gain.mid
    for factor in steps[1:]:
        value *= factor.value
    return Rank(usd_per_month=value, steps=tuple(steps), confidence=_weakest(advice))


def _weakest(advice: Advice) -> Confidence:
    classes = [advice.confidence, *([advice.gain.confidence] if advice.gain else [])]
    return max(classes, key=_ORDER.index)


def _factors(advice: Advice, low: float, mid: float, cluster: Sequence[Place]) -> list[Evidence]:
    confidence, days = _weakest(advice), advice.needs.lead_time_days
    share = places.share_ratio(advice, cluster)
    touched = 1.0 if share is None else share
    disruption = DISRUPTION_RATIO[advice.action]
    interval = (low + mid) / 2 / mid if mid > 0 else 1.0
    return [
        _factor("interval", interval, f"half way from likely down to the low end {low:,.0f}"),
        _factor("confidence", CONFIDENCE_WEIGHT[confidence], confidence.value),
        _factor("lead time", YEAR_DAYS / (YEAR_DAYS + days), f"{days:.0f} days"),
        _factor(
            "blast radius",
            1 - disruption * touched,
            f"{advice.action.value} touches "
            + ("an unknown share of" if share is None else f"{share:.0%} of")
            + " all GPUs",
        ),
    ]


def _factor(name: str, value: float, note: str) -> Evidence:
    return Evidence(name=name, value=value, unit="x", note=note, confidence=Confidence.ASSUMED)


def value_usd(advice: Advice) -> float:
    """What it is ordered by: its rank's value, its likely gain where it has none, else 0."""
    if advice.rank is not None:
        return advice.rank.usd_per_month
    return advice.gain.mid if advice.gain is not None else 0.0


def ordered(advice: Iterable[Advice]) -> list[Advice]:
    """Live before resolved, changes before "keep", most value first, then newest."""
    return sorted(
        advice,
        key=lambda a: (
            a.state is AdviceState.RESOLVED,
            a.action is Action.KEEP,
            -value_usd(a),
            -a.updated_ms,
            a.id,
        ),
    )

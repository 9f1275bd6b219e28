"""Rented capacity for the peaks: where, how many, for how long, at what cost, or a reasoned "no".

What is forbidden is forbidden before anything is priced: data residency first, then prices that
cannot be true, then physics (a peak that is over before the capacity is there, a KV cache that does
not fit through the line), and only then money.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from advisor.models.burst_terms import (
    LOAD_GBIT_PER_SECOND,
    PROVISION_SECONDS,
    Across,
    Need,
    Offer,
    Policy,
    Reason,
    allowed,
    ready_seconds,
)
from advisor.models.interval import Interval, of
from advisor.models.periods import HOURS_PER_MONTH

__all__ = [
    "LOAD_GBIT_PER_SECOND",
    "PROVISION_SECONDS",
    "Across",
    "BurstPlan",
    "Need",
    "No",
    "Offer",
    "Option",
    "Policy",
    "Reason",
    "allowed",
    "plan",
    "ready_seconds",
]
VERSION = "burst/2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One offer that passes, priced for the whole month."""

    offer: Offer
    spot: bool
    nodes: int
    usd_per_month: Interval
    kg_co2_per_month: float | None
    rank_usd: float  # likely money with carbon at the operator's price


@dataclass(frozen=True, slots=True, kw_only=True)
class BurstPlan:
    """What to rent. `alternatives` come cheapest first; `refused` says what fell out and why."""

    need: Need
    best: Option
    ready_seconds: Interval
    start_ahead: bool
    owning_usd_per_month: Interval | None
    alternatives: tuple[Option, ...]
    refused: tuple[tuple[Offer, Reason], ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class No:
    """No burst, and why; `refused` lists the offers."""

    reasons: tuple[Reason, ...]
    refused: tuple[tuple[Offer, Reason], ...] = ()


def plan(
    need: Need, offers: Sequence[Offer], policy: Policy, across: Across | None = None
) -> BurstPlan | No:
    """The cheapest allowed way to carry the peaks, or why there is none.

    Args:
        need: What is missing.
        offers: All that is for rent; what is not allowed falls out before its price is looked at.
        policy: What the operator allows.
        across: Given when the rented half would be prefill or decode of a split pool.
    """
    lawful, refused = _sorted_out(need, offers, policy)
    if need.gpus.mid <= 0 or need.peaks_per_month.mid <= 0:
        return No(reasons=(Reason.NOTHING_NEEDED,), refused=refused)
    blocked = _blocked(need, policy, across)
    if not lawful:
        reasons = tuple(dict.fromkeys(r for _, r in refused if r is not Reason.WRONG_GPU))
        return No(reasons=(*(reasons or (Reason.NO_OFFER,)), *blocked), refused=refused)
    if blocked:
        return No(reasons=blocked, refused=refused)
    ready = ready_seconds(need.model_gb, policy)
    options = sorted(
        (o for offer in lawful for o in _options(need, offer, policy, ready)),
        key=lambda o: (o.rank_usd, o.offer.place, o.spot),
    )
    best = options[0]
    owning = _owning(best, policy)
    # how much is needed costs both ways alike; how long, only where it was seen or is said
    renting = best.usd_per_month.mid if need.lasting else best.usd_per_month.low
    if owning is not None and owning.high < renting:
        return No(reasons=(Reason.OWNING_CHEAPER,), refused=refused)
    return BurstPlan(
        need=need,
        best=best,
        ready_seconds=ready,
        start_ahead=need.foreseeable,
        owning_usd_per_month=owning,
        alternatives=tuple(options[1:]),
        refused=refused,
        unknown=_unknown(need, best.offer, policy),
    )


def _sorted_out(
    need: Need, offers: Sequence[Offer], policy: Policy
) -> tuple[list[Offer], tuple[tuple[Offer, Reason], ...]]:
    good, refused = [], []
    for offer in offers:
        if not allowed(offer, policy.allowed):
            refused.append((offer, Reason.RESIDENCY))
        elif offer.accelerator != need.accelerator:
            refused.append((offer, Reason.WRONG_GPU))
        elif not offer.believable:
            refused.append((offer, Reason.BAD_PRICE))
        else:
            good.append(offer)
    return good, tuple(refused)


def _blocked(need: Need, policy: Policy, across: Across | None) -> tuple[Reason, ...]:
    ready = ready_seconds(need.model_gb, policy)
    over = need.hours_per_peak.mid * 3600
    drained = need.drain_seconds is not None and need.drain_seconds <= ready.mid
    checks = (
        (0 < need.gpus.mid <= need.idle_gpus, Reason.IDLE_FIRST),
        (not need.foreseeable and (over <= ready.mid or drained), Reason.TOO_LATE),
        (across is not None and across.network_gbps < across.needed_gbps, Reason.SPLIT_SITES),
    )
    return tuple(reason for wrong, reason in checks if wrong)


def _options(need: Need, offer: Offer, policy: Policy, ready: Interval) -> list[Option]:
    found = [_option(need, offer, policy, ready, spot=False)]
    usable = need.interruptible and offer.interruptions_per_hour is not None
    if usable and offer.spot_usd_per_gpu_hour is not None:
        found.append(_option(need, offer, policy, ready, spot=True))
    return found


def _option(need: Need, offer: Offer, policy: Policy, ready: Interval, *, spot: bool) -> Option:
    nodes = math.ceil(need.missing_gpus.mid / offer.gpus_per_node - 1e-9)
    price = offer.usd_per_gpu_hour
    lost = 0.0  # share of paid time spent on coming back
    if spot:
        price = offer.spot_usd_per_gpu_hour or price
        lost = (offer.interruptions_per_hour or 0.0) * ready.mid / 3600
    used, starts = _node_hours(need, offer, nodes)
    warm = ready.mapped(lambda seconds: seconds / 3600)
    hourly = price * offer.gpus_per_node
    egress = need.egress_gb_per_hour * (offer.egress_usd_per_gb or 0.0)
    usd = of(
        *(
            hourly * (hours * (1 + lost) + begun * warming) + egress * peak_hours
            for hours, begun, warming, peak_hours in zip(
                _three(used), _three(starts), _three(warm), _three(_peak_hours(need)), strict=True
            )
        )
    )
    kwh = (used.mid + starts.mid * warm.mid) * offer.gpus_per_node * need.gpu_kw * policy.pue
    grid = offer.grid_gco2_per_kwh
    kg = None if grid is None else kwh * grid / 1000
    return Option(
        offer=offer,
        spot=spot,
        nodes=nodes,
        usd_per_month=usd,
        kg_co2_per_month=kg,
        rank_usd=usd.mid + (kg or 0.0) / 1000 * policy.usd_per_tonne_co2,
    )


def _node_hours(need: Need, offer: Offer, nodes: int) -> tuple[Interval, Interval]:
    """Node-hours and node starts a month."""
    if need.rented is not None:
        return need.rented.unit_hours_per_month, need.rented.starts_per_month
    per_node = offer.gpus_per_node
    each = need.missing_gpus.mapped(lambda gpus: math.ceil(gpus / per_node - 1e-9))
    hours = _peak_hours(need)
    used = Interval(low=hours.low * each.low, mid=hours.mid * nodes, high=hours.high * each.high)
    often = need.peaks_per_month
    starts = Interval(low=often.low * each.low, mid=often.mid * nodes, high=often.high * each.high)
    return used, starts


def _peak_hours(need: Need) -> Interval:
    """Hours of a month in peaks."""
    if need.rented is not None:
        nodes = max(need.rented.units.mid, 1.0)
        return need.rented.unit_hours_per_month.scaled(1 / nodes)
    often, long = need.peaks_per_month, need.hours_per_peak
    return Interval(low=often.low * long.low, mid=often.mid * long.mid, high=often.high * long.high)


def _three(number: Interval) -> tuple[float, float, float]:
    return number.low, number.mid, number.high


def _owning(best: Option, policy: Policy) -> Interval | None:
    own = policy.owned_usd_per_gpu_hour
    if own is None:
        return None
    return own.scaled(best.nodes * best.offer.gpus_per_node * HOURS_PER_MONTH)


def _unknown(need: Need, offer: Offer, policy: Policy) -> tuple[str, ...]:
    gaps = (
        (not offer.region, "the region: the price is the provider's, choose one that may be used"),
        (
            need.egress_gb_per_hour > 0 and offer.egress_usd_per_gb is None,
            "the price of egress: counted as 0",
        ),
        (
            policy.usd_per_tonne_co2 > 0 and offer.grid_gco2_per_kwh is None,
            "the carbon of the grid there: not ranked by it",
        ),
        (
            need.interruptible and offer.interruptions_per_hour is None,
            "how often spot nodes are taken away: spot is not planned with",
        ),
    )
    return tuple(text for wrong, text in gaps if wrong)

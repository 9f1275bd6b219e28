"""Owning, renting, and how much of each."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from advisor.models.periods import HOURS_PER_YEAR

VERSION = "cost/1"


def owned_usd_per_hour(
    *,
    capex_usd: float,
    life_years: float,
    power_kw: float,
    pue: float,
    usd_per_kwh: float,
    opex_usd_per_hour: float,
) -> float:
    """`capex/life + P*PUE*price + opex`, of the whole machine."""
    return (
        capex_usd / (life_years * HOURS_PER_YEAR) + power_kw * pue * usd_per_kwh + opex_usd_per_hour
    )


def break_even_utilisation_ratio(owned_usd_per_hour: float, cloud_usd_per_hour: float) -> float:
    """Share of time in use above which owning is cheaper; above 1 it never is."""
    return owned_usd_per_hour / cloud_usd_per_hour


def burst_usd(
    *,
    hours: float,
    gpus: float,
    usd_per_gpu_hour: float,
    egress_gb: float,
    usd_per_egress_gb: float,
    warm_up_hours: float,
) -> float:
    """One burst: GPUs from warm-up to the end, and the data that leaves."""
    return (hours + warm_up_hours) * gpus * usd_per_gpu_hour + egress_gb * usd_per_egress_gb


def newsvendor_capacity(demand: ArrayLike, break_even_ratio: float) -> float:
    """Demand level to own: the one exceeded `break_even_ratio` of the time; rent what is above.

    Owning the last unit pays while it is in use more than the break-even share of time.
    """
    load = np.asarray(demand, dtype=np.float64)
    if not load.size or break_even_ratio >= 1:
        return 0.0
    position = min(max(math.ceil((1 - break_even_ratio) * load.size) - 1, 0), load.size - 1)
    return float(np.partition(load, position)[position])


def price_ratio_equivalent(count: float, dear_usd: float, cheap_usd: float) -> int:
    """How many cheap machines the money of `count` dear ones buys.

    Splitwise's iso-cost configuration: 40 H100 at 4.76 are 86 A100 at 2.21.
    """
    return math.floor(count * dear_usd / cheap_usd)


def idle_cost_split_usd(
    price_usd: float, component_prices_usd: Sequence[float]
) -> tuple[float, ...]:
    """Scale component prices so that they add up to the node's price (OpenCost's specification)."""
    total = sum(component_prices_usd)
    return tuple(price_usd * part / total for part in component_prices_usd)

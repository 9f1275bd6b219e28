"""Own or rent, and how much of each, with the doubt that prices and histories leave.

Owning the last unit pays while it is in use for more than the break-even share of the time: the
newsvendor's rule with rent as the price of falling short (e.g. Arrow, Harris and Marschak 1951).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from advisor.models import cost
from advisor.models.interval import Interval, of
from advisor.models.normal import Floats
from advisor.models.periods import HOURS_PER_YEAR
from ridgeline.errors import NoData

VERSION = "ownership/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One machine to buy; `capex_usd` with its doubt."""

    gpus: int
    capex_usd: Interval
    life_years: float
    power_kw: float
    upkeep_ratio_per_year: float  # of the price

    def usd_per_gpu_hour(self, usd_per_kwh: float, pue: float) -> Interval:
        """`(capex/life + P*PUE*price + upkeep) / GPUs`, whether it is used or not."""
        return self.capex_usd.mapped(
            lambda usd: (
                cost.owned_usd_per_hour(
                    capex_usd=usd,
                    life_years=self.life_years,
                    power_kw=self.power_kw,
                    pue=pue,
                    usd_per_kwh=usd_per_kwh,
                    opex_usd_per_hour=usd * self.upkeep_ratio_per_year / HOURS_PER_YEAR,
                )
                / self.gpus
            )
        )


def break_even_ratio(owned_usd_per_hour: Interval, rent_usd_per_hour: Interval) -> Interval:
    """Share of the time in use above which owning is cheaper; above 1 it never is.

    Raises:
        ValueError: rent is not above 0.
    """
    if rent_usd_per_hour.low <= 0:
        raise ValueError(f"rent_usd_per_hour={rent_usd_per_hour.low:g}: need > 0")
    return owned_usd_per_hour.over(rent_usd_per_hour)


def break_even_hours(capex_usd: float, own_usd_per_hour: float, rent_usd_per_hour: float) -> float:
    """Hours of use after which the purchase has paid for itself; inf when it never does."""
    saved = rent_usd_per_hour - own_usd_per_hour
    return capex_usd / saved if saved > 0 else math.inf


def owned_level(demand: ArrayLike, break_even: float) -> float:
    """Demand level to own: exceeded the break-even share of the time; 0 where owning never pays.

    Raises:
        NoData: there is no demand.
    """
    return cost.newsvendor_capacity(_seen(demand), max(break_even, 0.0))


def usd_per_hour(demand: ArrayLike, owned: ArrayLike, own_usd: float, rent_usd: float) -> Floats:
    """Mean cost an hour for each level owned, renting what is above."""
    load = _seen(demand)
    level = np.atleast_1d(np.asarray(owned, dtype=np.float64))
    above = np.maximum(load[None, :] - level[:, None], 0.0).mean(axis=1)
    return np.asarray(level * own_usd + above * rent_usd, dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """How much to own and what renting the rest comes to."""

    owned: Interval  # in units of demand
    rented_share: float  # of all unit-hours
    usd_per_hour: float
    all_owned_usd_per_hour: float
    all_rented_usd_per_hour: float


def split(
    demand: ArrayLike,
    own_usd: Interval,
    rent_usd: Interval,
    steps_per_day: int,
    *,
    draws: int = 200,
    seed: int = 0,
) -> Split:
    """The level to own, with doubt from prices and from which days were seen.

    Days are drawn with replacement (a block bootstrap); a history of less than two days has no
    such interval and only the prices' doubt remains.

    Raises:
        NoData: there is no demand.
        ValueError: rent is not above 0.
    """
    load = _seen(demand)
    ratio = break_even_ratio(own_usd, rent_usd)
    found = [owned_level(load, u) for u in (ratio.low, ratio.mid, ratio.high)]
    days = load.size // steps_per_day if steps_per_day > 0 else 0
    if days >= 2:
        whole = load[: days * steps_per_day].reshape(days, steps_per_day)
        rng = np.random.default_rng(seed)
        for u in (ratio.low, ratio.high):
            picks = rng.integers(0, days, (draws // 2, days))
            levels = [owned_level(whole[p].ravel(), u) for p in picks]
            found.extend(np.quantile(levels, (0.05, 0.95)).tolist())
    likely = found[1]
    total = float(load.sum())
    return Split(
        owned=of(min(found), likely, max(found)),
        rented_share=float(np.maximum(load - likely, 0).sum()) / total if total > 0 else 0.0,
        usd_per_hour=float(usd_per_hour(load, likely, own_usd.mid, rent_usd.mid)[0]),
        all_owned_usd_per_hour=float(load.max()) * own_usd.mid,
        all_rented_usd_per_hour=float(load.mean()) * rent_usd.mid,
    )


def _seen(demand: ArrayLike) -> Floats:
    every = np.asarray(demand, dtype=np.float64)
    load: Floats = every[np.isfinite(every)]
    if not load.size:
        raise NoData("no demand was seen")
    if (load < 0).any():
        raise ValueError("demand: need not below 0")
    return load

"""Own the base, rent the peaks, buy the rest by the token: layer by layer of demand.

A layer is one more GPU of demand. What it costs depends on the share of time it is in use and on
how often it is started: owned it costs all the time; rented it costs while it is kept and while it
starts; managed it costs its tokens only. Each layer goes to the cheapest, if history allows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from advisor.models.normal import Floats
from advisor.models.peaks import kept, rest_seconds
from advisor.models.workload import Shape, characterise

VERSION = "hybrid/2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """USD an hour of one GPU's worth of work; None where that way is not open."""

    own: float | None
    rent: float | None
    managed: float | None  # for the tokens a busy GPU makes in an hour
    rent_start_hours: float  # paid before a rented GPU serves


@dataclass(frozen=True, slots=True, kw_only=True)
class Hybrid:
    """GPUs by way, and the money. `missing` not empty: what is known too little to say it."""

    own_gpus: int
    rent_gpus: int
    managed_gpus: int
    usd_per_hour: float
    own_only_usd_per_hour: float | None
    rent_only_usd_per_hour: float | None
    managed_only_usd_per_hour: float | None
    missing: tuple[str, ...]


def recommend(demand_gpus: ArrayLike, step_seconds: float, prices: Prices) -> Hybrid | Shape:
    """The cheapest way for each layer; the shape alone when less than a day was seen.

    Raises:
        NoData: no demand was seen.
        ValueError: no way is open.
    """
    shape = characterise(demand_gpus, step_seconds)
    if not shape.enough:
        return shape
    every = np.asarray(demand_gpus, dtype=np.float64)
    load: Floats = every[np.isfinite(every)]
    share, _, _ = _use(load)
    _, held, starts = _use(kept(load, step_seconds))
    rest = rest_seconds(step_seconds) / 3600
    starts_per_hour = starts / (load.size * step_seconds / 3600)
    costs = {
        "own": _column(prices.own, np.ones_like(share)),
        "rent": _column(prices.rent, held + starts_per_hour * (prices.rent_start_hours + rest)),
        "managed": _column(prices.managed, share),
    }
    table = np.stack(list(costs.values()))
    if np.isinf(table).all():
        raise ValueError("prices: need one of own, rent and managed")
    best = table.argmin(axis=0)
    own, rent, managed = (int((best == i).sum()) for i in range(3))
    return Hybrid(
        own_gpus=own,
        rent_gpus=rent,
        managed_gpus=managed,
        usd_per_hour=float(table.min(axis=0).sum()),
        own_only_usd_per_hour=_total(costs["own"]),
        rent_only_usd_per_hour=_total(costs["rent"]),
        managed_only_usd_per_hour=_total(costs["managed"]),
        missing=shape.missing,
    )


def _use(load: Floats) -> tuple[Floats, Floats, Floats]:
    """For each layer: mean GPUs of it in use, share of time with any of it in use, starts."""
    layers = np.arange(max(1, math.ceil(float(load.max()))))
    ordered = np.sort(load)
    summed = np.concatenate(([0.0], np.cumsum(ordered)))
    ends = np.arange(layers.size + 1)
    below = np.searchsorted(ordered, ends)
    up_to = (summed[below] + ends * (load.size - below)) / load.size  # E[min(demand, end)]
    held = 1 - np.searchsorted(ordered, layers, side="right") / load.size
    tops = np.concatenate(([0], np.ceil(load).astype(int)))
    rises = tops[1:] > tops[:-1]
    change = np.zeros(layers.size + 1)
    np.add.at(change, tops[:-1][rises], 1)
    np.add.at(change, tops[1:][rises], -1)
    return np.diff(up_to), held, np.cumsum(change)[:-1]


def _column(price: float | None, hours: Floats) -> Floats:
    return np.full(hours.shape, np.inf) if price is None else np.asarray(price * hours)


def _total(column: Floats) -> float | None:
    total = float(column.sum())
    return total if math.isfinite(total) else None

"""Carbon of the work: grams a token, tonnes a month, and what moving work in time or place saves.

Location based: what the grid emits where the work runs. Contracts (PPA) are shown beside it, never
instead of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from advisor.catalog.carbon import HOURS, Grid
from advisor.models.interval import Interval

VERSION = "carbon/2"
JOULES_PER_KWH = 3.6e6
_DAYS = 14  # the last evening has no night to wait for: a fourteenth of one day's share


def grams_per_million_tokens(joules_per_token: Interval, pue: float, grid: Grid) -> Interval:
    """CO2e of a million tokens, the building's overhead (PUE) included."""
    return joules_per_token.scaled(pue * grid.grams_per_kwh / JOULES_PER_KWH * 1e6)


def tonnes(kwh: float, grid: Grid) -> float:
    """Location-based emissions of energy at a grid's mean intensity."""
    return kwh * grid.grams_per_kwh / 1e6


def tonnes_by_hour(hourly_kwh: Sequence[float], grid: Grid, first_utc_hour: int = 0) -> float:
    """Location-based emissions of a series of hours; hours not measured (NaN) add nothing."""
    pairs = ((k, grid.at(first_utc_hour + i)) for i, k in enumerate(hourly_kwh))
    return sum(k * grams for k, grams in pairs if math.isfinite(k)) / 1e6


def after_contracts(
    location_tonnes: float, contracted_ratio: float, matched_ratio: float
) -> tuple[float, float]:
    """Emissions left after a PPA: by its yearly volume, and by the hours in which it delivers.

    A contract for 100 % of the year's energy covers the hours its wind blows: `matched_ratio` is
    the share of consumption that coincides with it (Google's CFE for its regions). The second
    figure is what the grid still emits for the work; the first is what may be reported.
    """
    contracted = min(1.0, max(0.0, contracted_ratio))
    matched = min(contracted, max(0.0, matched_ratio))
    return location_tonnes * (1 - contracted), location_tonnes * (1 - matched)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """What moving shiftable work to cleaner hours of the day brings."""

    moved_kwh: float
    saved_kg: float
    saved_ratio: float  # of the day's emissions
    longest_delay_hours: int
    extra_usd: float  # may be negative: clean hours are often cheap ones


def shift(
    hourly_kwh: Sequence[float],
    hourly_grams_per_kwh: Sequence[float],
    *,
    shiftable_ratio: float,
    capacity_kwh: float,
    longest_delay_hours: int = 24,
    hourly_usd_per_kwh: Sequence[float] = (),
) -> Shift | None:
    """Moves each hour's shiftable share later, to the cleanest hour with room, dirtiest first.

    Nothing runs before it arrives, nothing waits longer than `longest_delay_hours`, no hour takes
    more than `capacity_kwh`. None when the series do not match, or hold gaps.
    """
    load = np.asarray(hourly_kwh, dtype=np.float64)
    grams = np.asarray(hourly_grams_per_kwh, dtype=np.float64)
    price = np.asarray(hourly_usd_per_kwh or [0.0] * len(load), dtype=np.float64)
    series = (load, grams, price)
    if len({len(s) for s in series}) > 1 or len(load) == 0:
        return None
    if not all(np.isfinite(s).all() for s in series) or not 0 <= shiftable_ratio <= 1:
        return None
    room = np.maximum(0.0, capacity_kwh - load)
    moved = saved = extra = 0.0
    longest = 0
    for hour in np.argsort(-grams, kind="stable"):
        left = float(load[hour]) * shiftable_ratio
        later = np.arange(hour + 1, min(len(load), hour + longest_delay_hours + 1))
        for target in later[np.argsort(grams[later], kind="stable")]:
            take = min(left, float(room[target]))
            if grams[target] >= grams[hour] or take <= 0:
                continue
            left -= take
            room[target] -= take
            moved += take
            saved += take * float(grams[hour] - grams[target])
            extra += take * float(price[target] - price[hour])
            longest = max(longest, int(target - hour))
    before = float(load @ grams)
    return Shift(
        moved_kwh=moved,
        saved_kg=saved / 1000,
        saved_ratio=saved / before if before > 0 else 0.0,
        longest_delay_hours=longest,
        extra_usd=extra,
    )


def shift_a_day(
    daily_kwh: Sequence[float],
    grid: Grid,
    *,
    shiftable_ratio: float,
    capacity_kwh: float,
    longest_delay_hours: int,
) -> Shift | None:
    """What shifting brings on one of many days alike, so that evenings may wait for the night.

    None where the grid's hours are not known, or a value of the 24 hours is missing.
    """
    if not grid.hourly_grams_per_kwh or len(daily_kwh) != HOURS:
        return None
    found = shift(
        [*daily_kwh] * _DAYS,
        [*grid.hourly_grams_per_kwh] * _DAYS,
        shiftable_ratio=shiftable_ratio,
        capacity_kwh=capacity_kwh,
        longest_delay_hours=longest_delay_hours,
    )
    if found is None:
        return None
    return replace(
        found,
        moved_kwh=found.moved_kwh / _DAYS,
        saved_kg=found.saved_kg / _DAYS,
        extra_usd=found.extra_usd / _DAYS,
    )


def usd_per_tonne(extra_usd: float, saved_kg: float) -> float | None:
    """Price of a tonne avoided; None when nothing is saved."""
    return extra_usd / saved_kg * 1000 if saved_kg > 0 else None


def cleaner(today: Grid, grids: Iterable[Grid], least_ratio: float = 0.2) -> tuple[Grid, ...]:
    """Grids at least `least_ratio` below today's, cleanest first."""
    limit = today.grams_per_kwh * (1 - least_ratio)
    return tuple(
        sorted(
            (g for g in grids if g.grams_per_kwh <= limit and g.region != today.region),
            key=lambda g: (g.grams_per_kwh, g.region),
        )
    )

"""What an accelerator-hour costs, by provider. One H100 is sold at 2 to 12 USD: a setting wins.

The rows are data (`data/prices.yaml`) with source and date; the operator's file replaces a row by
provider, region and accelerator or adds one. A row whose spot price is not below its on-demand
price is bad data (seen: TPU v4 pods at 3.686 spot, 3.22 on demand) and is refused by `checked`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import structlog

from advisor.catalog.files import (
    OWN,
    OWN_SOURCE,
    Entry,
    FileHead,
    Positive,
    Source,
    parsed,
    shipped,
    together,
)

log = structlog.get_logger()
FILE = "prices.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """USD per accelerator-hour of one provider."""

    provider: str
    accelerator: str
    usd_per_hour: float
    region: str = ""  # empty: the provider's price, whichever its region
    spot_usd_per_hour: float | None = None
    launch_list: bool = False  # a list price of the launch, known to be above what is paid now
    source: Source = OWN_SOURCE


def checked(prices: Iterable[Price]) -> tuple[Price, ...]:
    """Prices that can be true; the others are logged and left out."""
    good = []
    for price in prices:
        spot = price.spot_usd_per_hour
        if price.usd_per_hour <= 0 or (spot is not None and not 0 < spot < price.usd_per_hour):
            log.warning("price refused", provider=price.provider, accelerator=price.accelerator)
        else:
            good.append(price)
    return tuple(good)


class _PriceEntry(Entry):
    provider: str
    accelerator: str
    usd_per_hour: Positive
    region: str = ""
    spot_usd_per_hour: Positive | None = None
    launch_list: bool = False
    source: str = OWN


class _PriceFile(FileHead):
    prices: tuple[_PriceEntry, ...] = ()


def load(own: Mapping[str, Any] | None = None) -> tuple[Price, ...]:
    """All prices that can be true: ours, corrected and extended by the operator's file content."""
    found: dict[tuple[str, str, str], Price] = {}
    for content, name in ((shipped(FILE), FILE), (own or {}, "the operator's catalogue")):
        picked = {k: v for k, v in content.items() if k in _PriceFile.model_fields}
        file = parsed(_PriceFile, picked, name)
        for entry in file.prices:
            found[entry.provider, entry.region, entry.accelerator] = Price(
                **entry.model_dump(exclude={"source"}), source=file.source(entry.source)
            )
    return checked(found.values())


PRICES = load()


def street(accelerator: str, prices: Iterable[Price] = PRICES) -> tuple[float, float, float] | None:
    """Low, median and high of the prices paid now (launch lists left out) in USD/h, or None."""
    found = sorted(p.usd_per_hour for p in _paid(accelerator, prices))
    return (found[0], median(found), found[-1]) if found else None


def street_source(accelerator: str, prices: Iterable[Price] = PRICES) -> Source | None:
    """Who says what `street` says; None where it says nothing."""
    found = [p.source for p in _paid(accelerator, prices)]
    return together(found) if found else None


def _paid(accelerator: str, prices: Iterable[Price]) -> list[Price]:
    return [p for p in prices if p.accelerator == accelerator and not p.launch_list]

"""What open models cost by the token at managed endpoints; a setting wins over every row.

The rows are data (`data/managed.yaml`) with source and date; the operator's file replaces a row by
provider and model or adds one. For a model without a row there is no price to cite: the answer is
None and the operator must give one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from advisor.catalog.files import OWN, Entry, FileHead, Positive, Source, parsed, shipped
from advisor.models.managed import TokenPrice

FILE = "managed.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One provider's price of one model."""

    provider: str
    model: str
    served_as: str
    price: TokenPrice
    source: Source


class _EndpointEntry(Entry):
    provider: str
    model: str
    served_as: str = ""
    usd_per_million_prompt: Positive
    usd_per_million_output: Positive
    usd_per_million_cached: Positive | None = None
    source: str = OWN


class _ManagedFile(FileHead):
    managed: tuple[_EndpointEntry, ...] = ()


def load(own: Mapping[str, Any] | None = None) -> tuple[Endpoint, ...]:
    """All endpoints: ours, corrected and extended by the operator's file content."""
    found: dict[tuple[str, str], Endpoint] = {}
    for content, name in ((shipped(FILE), FILE), (own or {}, "the operator's catalogue")):
        picked = {k: v for k, v in content.items() if k in _ManagedFile.model_fields}
        file = parsed(_ManagedFile, picked, name)
        for entry in file.managed:
            found[entry.provider, entry.model] = Endpoint(
                provider=entry.provider,
                model=entry.model,
                served_as=entry.served_as or entry.model,
                price=TokenPrice(
                    usd_per_million_prompt=entry.usd_per_million_prompt,
                    usd_per_million_output=entry.usd_per_million_output,
                    usd_per_million_cached=entry.usd_per_million_cached,
                ),
                source=file.source(entry.source),
            )
    return tuple(found.values())


ENDPOINTS = load()


def usd_per_query(
    model: str,
    prompt_tokens: float,
    output_tokens: float,
    endpoints: Iterable[Endpoint] = ENDPOINTS,
    cached_ratio: float = 0.0,
) -> tuple[float, float, float] | None:
    """Low, median and high price of such a query over the model's endpoints; None without one."""
    found = sorted(
        e.price.usd_per_query(prompt_tokens, output_tokens, cached_ratio)
        for e in endpoints
        if e.model == model
    )
    return (found[0], median(found), found[-1]) if found else None

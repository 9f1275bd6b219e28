"""What every rule needs: the price of a GPU-hour here, and advice put together in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from advisor.catalog import accelerators, carbon, files, managed, prices
from advisor.catalog.accelerators import ACCELERATORS, Accelerator, by_device_name
from advisor.catalog.carbon import GRIDS, Grid
from advisor.catalog.files import Source
from advisor.catalog.managed import ENDPOINTS, Endpoint
from advisor.catalog.prices import PRICES, Price, street, street_source
from advisor.facts import Facts, GpuActivity
from advisor.lifecycle import advice_id
from advisor.models.periods import HOURS_PER_MONTH
from ridgeline.errors import Misconfigured
from ridgeline.events import (
    Action,
    Advice,
    AdviceState,
    Confidence,
    Estimate,
    Evidence,
    Needs,
)
from ridgeline.settings import AdvisorSettings

USD_PER_MONTH = "USD/month"
SECTIONS = frozenset({"as_of", "sources", "accelerators", "prices", "grids", "managed"})
VERSIONS = {
    "accelerators": "2026-11/2",
    "prices": "2026-11",
    "grids": "2026-11",
    "managed": "2026-11",
}
ScopeKind = Literal["cluster", "pool", "rack", "cooling_loop", "node", "device"]
OWNING = Source(
    title="a server of 8 H100 at 250 to 400 thousand USD by vendor guides, 4 years of life and 5 % "
    "upkeep assumed",
    as_of="2025",
    confidence=Confidence.ASSUMED,
)
"""Of what `advisor.catalog.servers` holds."""
_ORDER = tuple(Confidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """The data that rules price by."""

    prices: tuple[Price, ...] = PRICES
    accelerators: tuple[Accelerator, ...] = ACCELERATORS
    grids: Mapping[str, Grid] = field(default_factory=lambda: GRIDS)
    endpoints: tuple[Endpoint, ...] = ENDPOINTS
    versions: Mapping[str, str] = field(default_factory=lambda: dict(VERSIONS))

    @classmethod
    def of(cls, settings: AdvisorSettings) -> Catalog:
        """Our data with the operator's corrections. Raises Misconfigured with field and value."""
        if not settings.catalog:
            return cls()
        own = files.operators(Path(settings.catalog))
        unknown = sorted(set(own) - SECTIONS)
        if unknown:
            raise Misconfigured(
                files.SETTING,
                f"{unknown[0]}: no such section (known: {', '.join(sorted(SECTIONS))})",
            )
        return cls(
            prices=prices.load(own),
            accelerators=accelerators.load(own),
            grids=carbon.load(own),
            endpoints=managed.load(own),
            versions=VERSIONS | {"operator's catalogue": str(own.get("as_of", "not stated"))},
        )


def estimate(  # noqa: PLR0917 - reads as one line of a table
    low: float, mid: float, high: float, unit: str, confidence: Confidence, source: str
) -> Estimate:
    """An estimate whose three values are put in order and rounded to what they can mean."""
    a, b, c = sorted((low, mid, high))
    return Estimate(low=a, mid=b, high=c, unit=unit, confidence=confidence, source=source)


def sourced(low: float, mid: float, high: float, unit: str, source: Source) -> Estimate:
    """A figure of the catalogue, as sure as its source."""
    return estimate(low, mid, high, unit, source.confidence, source.cited)


def weaker(one: Confidence, other: Confidence) -> Confidence:
    """The weaker of two confidences: a product is no surer than its factors."""
    return max(one, other, key=_ORDER.index)


def seen(  # noqa: PLR0917 - reads as one line of a table
    name: str,
    value: float | None,
    unit: str,
    threshold: float | None = None,
    note: str = "",
    confidence: Confidence = Confidence.MEASURED,
) -> tuple[Evidence, ...]:
    """One piece of evidence, or none when it was not measured."""
    if value is None:
        return ()
    return (
        Evidence(
            name=name,
            value=value,
            unit=unit,
            threshold=threshold,
            note=note,
            confidence=confidence,
        ),
    )


def gpu_hour(
    accelerator: Accelerator | None, catalog: Catalog, settings: AdvisorSettings
) -> Estimate | None:
    """USD per GPU-hour here: the operator's own figure, else what the street pays; else None."""
    own = settings.gpu_usd_per_hour
    if own > 0:
        setting = "setting RIDGELINE_ADVISOR_GPU_USD_PER_HOUR"
        return estimate(own, own, own, "USD/h", Confidence.MEASURED, setting)
    if accelerator is None:
        return None
    paid = street(accelerator.name, catalog.prices)
    source = street_source(accelerator.name, catalog.prices)
    return None if paid is None or source is None else sourced(*paid, "USD/h", source)


def accelerator_of(gpus: GpuActivity, catalog: Catalog | None = None) -> Accelerator | None:
    """The catalogue's entry of a pool's GPUs; None when unknown or mixed."""
    known = catalog.accelerators if catalog else ACCELERATORS
    return by_device_name(gpus.model, known) if gpus.model else None


def monthly(
    gpus: float,
    share: tuple[float, float, float],
    price: Estimate,
    confidence: Confidence,
    source: str,
) -> Estimate:
    """Money a month of `share` (low, mid, high) of `gpus` at `price`."""
    hours = gpus * HOURS_PER_MONTH
    low, mid, high = share
    return estimate(
        low * hours * price.low,
        mid * hours * price.mid,
        high * hours * price.high,
        USD_PER_MONTH,
        weaker(confidence, price.confidence),
        f"{source}; price: {price.source}",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a rule has to say about one scope; `advice` makes the event of it."""

    rule: str
    action: Action
    scope_kind: ScopeKind
    scope: str
    title: str
    reason: str
    evidence: tuple[Evidence, ...]
    confidence: Confidence
    verify: str
    model_version: str
    counter_evidence: tuple[Evidence, ...] = ()
    detections: tuple[str, ...] = ()
    cost_today: Estimate | None = None
    gain: Estimate | None = None
    effects: tuple[Estimate, ...] = ()
    needs: Needs = field(default_factory=Needs)

    def advice(self, facts: Facts, catalog: Catalog) -> Advice:
        """The advice, open, as of the facts' time."""
        said = {name: getattr(self, name) for name in self.__slots__}
        return Advice(
            id=advice_id(self.rule, self.scope_kind, self.scope),
            state=AdviceState.OPEN,
            data_versions=dict(catalog.versions),
            created_ms=facts.now_ms,
            updated_ms=facts.now_ms,
            **said,
        )

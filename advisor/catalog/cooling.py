"""How much heat a rack may give off by cooling technology, what changing it takes, and PUE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from advisor.catalog.files import Entry, FileHead, Positive, Source, parsed, shipped

FILE = "cooling.yaml"
Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Technology:
    """A way to cool racks. `high_kw_per_rack` is where it stops being practical."""

    name: str
    low_kw_per_rack: float
    high_kw_per_rack: float
    lead_time_months: tuple[float, float]
    source: Source
    lead_time_source: Source
    air_ratio: tuple[float, float] = (1.0, 1.0)  # of the heat, that air still carries
    water: str = ""  # warmest ASHRAE facility water class it takes; empty: needs none
    max_supply_celsius: float | None = None
    approach_kelvin: float | None = None  # coolant at the rack above facility water
    approach_source: Source | None = None
    usd_per_kw: tuple[float, float, float] | None = None  # of a retrofit: low, likely, high
    priced_by: Source | None = None

    @property
    def liquid(self) -> bool:
        """Whether facility water has to come to the row."""
        return bool(self.water)

    @property
    def at_chip(self) -> bool:
        """Whether coolant of its own loop reaches the chips: server fans have little left to do."""
        return self.approach_kelvin is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A ratio that somebody measured."""

    ratio: float
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class PueRow:
    """Median PUE of one cooling system."""

    system: str
    pue: float
    source: Source
    liquid: bool = False
    litres_per_kwh: float | None = None  # water use


class _TechnologyEntry(Entry):
    name: str
    low_kw_per_rack: Annotated[float, Field(ge=0)]
    high_kw_per_rack: Positive
    lead_time_months: tuple[tuple[float, float], str]
    air_ratio: tuple[Share, Share]
    source: str
    water: str = ""
    max_supply_celsius: Positive | None = None
    approach_kelvin: tuple[Positive, str] | None = None
    usd_per_kw: tuple[tuple[Positive, Positive, Positive], str] | None = None


class _PueEntry(Entry):
    system: str
    pue: Annotated[float, Field(ge=1)]
    source: str
    liquid: bool = False
    litres_per_kwh: Positive | None = None


class _CoolingFile(FileHead):
    technologies: tuple[_TechnologyEntry, ...]
    pue: tuple[_PueEntry, ...]


def _load() -> tuple[tuple[Technology, ...], tuple[PueRow, ...]]:
    file = parsed(_CoolingFile, shipped(FILE), FILE)
    technologies = tuple(_technology(file, e) for e in file.technologies)
    rows = tuple(
        PueRow(**e.model_dump(exclude={"source"}), source=file.source(e.source)) for e in file.pue
    )
    return technologies, rows


def _technology(file: _CoolingFile, entry: _TechnologyEntry) -> Technology:
    said = entry.model_dump()
    figures = {"lead_time_months", "approach_kelvin", "usd_per_kw"}  # each with its own source
    said |= {name: said[name][0] for name in figures if said[name] is not None}
    price = entry.usd_per_kw
    return Technology(
        **said | {"source": file.source(entry.source)},
        lead_time_source=file.source(entry.lead_time_months[1]),
        approach_source=(file.source(entry.approach_kelvin[1]) if entry.approach_kelvin else None),
        priced_by=file.source(price[1]) if price else None,
    )


TECHNOLOGIES, PUE = _load()
BY_NAME = {t.name: t for t in TECHNOLOGIES}
CONTAINED_AIR = BY_NAME["contained air, in-row"]
LIQUID_OVER_AIR = Measurement(
    ratio=1.003,
    source=Source(title="MLPerf Inference v5.1, 8x B200, llama2-70b", as_of="2025-09"),
)
"""Speed of GPUs that do not throttle, under liquid over under air."""
DIRECT_TO_CHIP = BY_NAME["direct-to-chip liquid"]

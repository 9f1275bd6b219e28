"""How much heat a rack may give off by cooling technology, what changing it takes, and PUE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from advisor.catalog.files import Entry, FileHead, Positive, parsed, shipped

FILE = "cooling.yaml"
Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Technology:
    """A way to cool racks. `high_kw_per_rack` is where it stops being practical."""

    name: str
    low_kw_per_rack: float
    high_kw_per_rack: float
    lead_time_months: tuple[float, float]  # assumed from project practice, 18 to 36 for a retrofit
    source: str
    air_ratio: tuple[float, float] = (1.0, 1.0)  # of the heat, that air still carries
    water: str = ""  # warmest ASHRAE facility water class it takes; empty: needs none
    max_supply_celsius: float | None = None
    approach_kelvin: float | None = None  # coolant at the rack above facility water
    usd_per_kw: tuple[float, float, float] | None = None  # of a retrofit: low, likely, high
    priced_by: str = ""  # who says so

    @property
    def liquid(self) -> bool:
        """Whether facility water has to come to the row."""
        return bool(self.water)


@dataclass(frozen=True, slots=True, kw_only=True)
class PueRow:
    """Median PUE of one cooling system."""

    system: str
    pue: float
    source: str
    liquid: bool = False
    litres_per_kwh: float | None = None  # water use


class _TechnologyEntry(Entry):
    name: str
    low_kw_per_rack: Annotated[float, Field(ge=0)]
    high_kw_per_rack: Positive
    lead_time_months: tuple[float, float]
    air_ratio: tuple[Share, Share]
    source: str
    water: str = ""
    max_supply_celsius: Positive | None = None
    approach_kelvin: Positive | None = None
    usd_per_kw: tuple[Positive, Positive, Positive] | None = None
    priced_by: str = ""


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
    technologies = tuple(
        Technology(
            **e.model_dump(exclude={"source", "priced_by"}),
            source=file.source(e.source).title,
            priced_by=file.source(e.priced_by).title if e.priced_by else "",
        )
        for e in file.technologies
    )
    rows = tuple(
        PueRow(**e.model_dump(exclude={"source"}), source=file.source(e.source).title)
        for e in file.pue
    )
    return technologies, rows


TECHNOLOGIES, PUE = _load()
BY_NAME = {t.name: t for t in TECHNOLOGIES}
CONTAINED_AIR = BY_NAME["contained air, in-row"]
DIRECT_TO_CHIP = BY_NAME["direct-to-chip liquid"]

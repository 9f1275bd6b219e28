"""Carbon intensity of the grids behind cloud regions, and of the operator's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from advisor.catalog.files import OWN, Entry, FileHead, Source, parsed, shipped

FILE = "carbon.yaml"
HOURS = 24
DIRTIEST_GRAMS_PER_KWH = 2000.0  # lignite alone is about 1,100; above it a decimal point is missing
Grams = Annotated[float, Field(ge=0, le=DIRTIEST_GRAMS_PER_KWH)]
Ratio = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """One region's grid. `hourly` holds 24 values by UTC hour where somebody gave them."""

    region: str
    place: str
    grams_per_kwh: float
    source: Source
    carbon_free_ratio: float | None = None
    hourly_grams_per_kwh: tuple[float, ...] = ()

    def at(self, utc_hour: int) -> float:
        """Intensity of an hour; the year's mean where no hours are known."""
        hourly = self.hourly_grams_per_kwh
        return hourly[utc_hour % HOURS] if hourly else self.grams_per_kwh


def _paired(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else (value, OWN)


class _GridEntry(Entry):
    region: str
    place: str = ""
    grams_per_kwh: Annotated[tuple[Grams, str], BeforeValidator(_paired)]
    carbon_free_ratio: Annotated[tuple[Ratio, str], BeforeValidator(_paired)] | None = None
    hourly_grams_per_kwh: Annotated[
        tuple[Grams, ...], Field(min_length=HOURS, max_length=HOURS)
    ] = Field(default=(), validate_default=False)


class _CarbonFile(FileHead):
    grids: tuple[_GridEntry, ...] = ()


def load(own: Mapping[str, Any] | None = None) -> dict[str, Grid]:
    """All grids by region: ours, replaced and extended by the operator's file content."""
    found: dict[str, Grid] = {}
    for content, name in ((shipped(FILE), FILE), (own or {}, "the operator's catalogue")):
        picked = {k: v for k, v in content.items() if k in _CarbonFile.model_fields}
        file = parsed(_CarbonFile, picked, name)
        for entry in file.grids:
            grams, key = entry.grams_per_kwh
            free = entry.carbon_free_ratio
            found[entry.region] = Grid(
                region=entry.region,
                place=entry.place,
                grams_per_kwh=grams,
                source=file.source(key),
                carbon_free_ratio=None if free is None else free[0],
                hourly_grams_per_kwh=entry.hourly_grams_per_kwh,
            )
    return found


GRIDS = load()

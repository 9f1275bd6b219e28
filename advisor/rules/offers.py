"""What the catalogue has for rent, as offers of a burst plan with the carbon of their grids."""

from __future__ import annotations

from advisor.models.burst_plan import Offer
from advisor.rules.pricing import Catalog


def offers(
    catalog: Catalog,
    egress_usd_per_gb: float | None = None,
    interruptions_per_hour: float | None = None,
) -> tuple[Offer, ...]:
    """Every price that is paid now; launch lists are left out."""
    found = (
        Offer(
            provider=price.provider,
            region=price.region,
            accelerator=price.accelerator,
            usd_per_gpu_hour=price.usd_per_hour,
            spot_usd_per_gpu_hour=price.spot_usd_per_hour,
            egress_usd_per_gb=egress_usd_per_gb,
            interruptions_per_hour=interruptions_per_hour,
            grid_gco2_per_kwh=_grid(catalog, f"{price.provider}/{price.region}"),
            source=price.source.cited,
        )
        for price in catalog.prices
        if not price.launch_list
    )
    return tuple(found)


def _grid(catalog: Catalog, place: str) -> float | None:
    grid = catalog.grids.get(place)
    return None if grid is None else grid.grams_per_kwh

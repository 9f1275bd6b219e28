"""How much heat a rack may give off by cooling technology, and what changing it takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Technology:
    """A way to cool racks. `high_kw_per_rack` is where it stops being practical."""

    name: str
    low_kw_per_rack: float
    high_kw_per_rack: float
    lead_time_months: tuple[float, float]  # assumed from project practice, 18 to 36 for a retrofit
    source: str


TECHNOLOGIES: tuple[Technology, ...] = (
    Technology(
        name="perimeter air",
        low_kw_per_rack=0,
        high_kw_per_rack=10,
        lead_time_months=(0, 0),
        source="vendor guides, secondary",
    ),
    Technology(
        name="contained air, in-row",
        low_kw_per_rack=10,
        high_kw_per_rack=30,
        lead_time_months=(3, 9),
        source="vendor guides, secondary",
    ),
    Technology(
        name="rear-door heat exchanger",
        low_kw_per_rack=20,
        high_kw_per_rack=80,
        lead_time_months=(6, 18),
        source="vendor guides, secondary",
    ),
    Technology(
        name="direct-to-chip liquid",
        low_kw_per_rack=50,
        high_kw_per_rack=150,
        lead_time_months=(18, 36),
        source="vendor guides, secondary; air still carries 20 to 30 % of the heat",
    ),
)

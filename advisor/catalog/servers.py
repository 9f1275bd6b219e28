"""What a server of accelerators costs to own; only where a price could be cited."""

from __future__ import annotations

from advisor.models.interval import of
from advisor.models.ownership import Server

SERVERS: dict[str, Server] = {
    # 300,000 USD over 4 years, 5 % of the price a year for upkeep: vendor guides 250 to 400
    # thousand, secondary. 10.2 kW: DGX H100 TDP, splitwise-sim@8f99e7d.
    "H100-SXM": Server(
        gpus=8,
        capex_usd=of(250_000.0, 300_000.0, 400_000.0),
        life_years=4.0,
        power_kw=10.2,
        upkeep_ratio_per_year=0.05,
    ),
}
"""By accelerator; what is not here has no price to cite, and owning it is not compared."""

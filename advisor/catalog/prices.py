"""What an accelerator-hour costs, by provider. One H100 is sold at 2 to 12 USD: a setting wins.

Rows seen in public catalogues: skypilot-org/skypilot-catalog v8 (index snapshots), gpuhunt,
the-full-stack cloud-gpus, Boavizta. A row whose spot price is not below its on-demand price is bad
data (seen: TPU v4 pods at 3.686 spot, 3.22 on demand) and is refused by `checked`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

import structlog

log = structlog.get_logger()
_SKYPILOT = "skypilot-org/skypilot-catalog v8"
_GPUHUNT = "dstackai/gpuhunt@35841515"
_BOAVIZTA = "Boavizta/boaviztapi@15878f0"
_CLOUD_GPUS = "the-full-stack/website@2bddc6d5"


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """USD per accelerator-hour of one provider. `kind`: neocloud, hyperscaler list, or tpu."""

    provider: str
    accelerator: str
    usd_per_hour: float
    spot_usd_per_hour: float | None = None
    launch_list: bool = False  # a list price of the launch, known to be above what is paid now
    source: str = _SKYPILOT
    as_of: str = "index snapshot 2026"


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


def _p(  # noqa: PLR0917 - a table row
    provider: str,
    accelerator: str,
    usd: float,
    spot: float | None = None,
    source: str = _SKYPILOT,
    as_of: str = "index snapshot 2026",
    *,
    launch_list: bool = False,
) -> Price:
    return Price(
        provider=provider,
        accelerator=accelerator,
        usd_per_hour=usd,
        spot_usd_per_hour=spot,
        source=source,
        as_of=as_of,
        launch_list=launch_list,
    )


PRICES = checked(
    (
        _p("nebius", "H100-SXM", 2.95, 1.25),
        _p("nebius", "H200-SXM", 3.50, 1.45),
        _p("nebius", "B200-SXM", 5.50),
        _p("nebius", "L40S", 1.5484),
        _p("hyperstack", "A100-PCIe-80G", 1.35),
        _p("hyperstack", "H100-PCIe", 1.90),
        _p("hyperstack", "H100-SXM", 2.40),
        _p("verda", "A100-SXM-80G", 1.29, 0.4515),
        _p("verda", "H100-SXM", 2.29, 0.8015),
        _p("verda", "H200-SXM", 3.39),
        _p("verda", "B200-SXM", 4.89, 1.712),
        _p("verda", "B300-SXM", 6.99, 2.447),
        _p("verda", "RTX-PRO-6000", 1.69),
        _p("runpod", "A100-PCIe-80G", 1.39),
        _p("aws", "H100-SXM", 12.29, None, _BOAVIZTA, "launch list", launch_list=True),
        _p("aws", "A100-SXM-80G", 5.1207, None, _BOAVIZTA, "launch list", launch_list=True),
        _p("aws", "Trainium1", 1.3438, None, _BOAVIZTA, "launch list", launch_list=True),
        _p("aws", "Inferentia2", 1.0818, None, _BOAVIZTA, "launch list", launch_list=True),
        _p("oracle", "H100-SXM", 10.00, None, _CLOUD_GPUS, "2025-04", launch_list=True),
        _p("oracle", "A100-SXM-80G", 4.00, None, _CLOUD_GPUS, "2025-04", launch_list=True),
        _p("azure", "A100-SXM-80G", 4.6475, None, _CLOUD_GPUS, "2025-04", launch_list=True),
        _p("lambda", "H100-PCIe", 1.99, None, _CLOUD_GPUS, "2025-04"),
        _p("gcp", "TPU-v5e", 1.20, 0.63, _GPUHUNT, "2026-08-19"),
        _p("gcp", "TPU-v5p", 4.20, 2.415, _GPUHUNT, "2026-08-19"),
        _p("gcp", "TPU-v6e", 2.70, 1.89, _GPUHUNT, "2026-08-19"),
    )
)


def street(accelerator: str, prices: Iterable[Price] = PRICES) -> tuple[float, float, float] | None:
    """Low, median and high of the prices paid now (launch lists left out) in USD/h, or None."""
    found = sorted(
        p.usd_per_hour for p in prices if p.accelerator == accelerator and not p.launch_list
    )
    return (found[0], median(found), found[-1]) if found else None

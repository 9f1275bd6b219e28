"""The terms of a burst plan: offers, need, policy, the line between sites, reasons for a no."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from advisor.models.interval import Interval, of
from advisor.models.kv import LEAST_NETWORK_GBPS, transfer_gbps
from advisor.models.peaks import Rented

PROVISION_SECONDS = of(150.0, 300.0, 600.0)  # Slurm's ResumeTimeout advice for cloud nodes
LOAD_GBIT_PER_SECOND = of(2.0, 8.0, 20.0)  # object store to GPU memory: assumed, measure yours


class Reason(StrEnum):
    """Why an offer, or the whole burst, is refused."""

    RESIDENCY = "the data may not go there"
    WRONG_GPU = "another accelerator"
    BAD_PRICE = "price cannot be true: not above 0, or spot not below on-demand"
    NO_OFFER = "nobody in the catalogue rents this accelerator"
    TOO_LATE = "the peak is over, or the queue drained, before the capacity serves"
    SPLIT_SITES = "prefill and decode on two sites need more network than there is"
    NOTHING_NEEDED = "no capacity is missing"
    IDLE_FIRST = "idle GPUs of the same kind would carry it"
    OWNING_CHEAPER = "the peak lasts so long that owning is cheaper"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Accelerators for rent at one place; what is not known is None and is said, not assumed."""

    provider: str
    region: str
    accelerator: str
    usd_per_gpu_hour: float
    spot_usd_per_gpu_hour: float | None = None
    gpus_per_node: int = 8
    egress_usd_per_gb: float | None = None
    grid_gco2_per_kwh: float | None = None
    interruptions_per_hour: float | None = None  # of spot nodes
    source: str = ""

    @property
    def place(self) -> str:
        """Provider and region, as SkyPilot's `infra` writes them."""
        return f"{self.provider}/{self.region}" if self.region else self.provider

    @property
    def believable(self) -> bool:
        """Whether the prices can be true (spot at or above on-demand was seen in public data)."""
        spot = self.spot_usd_per_gpu_hour
        fine = math.isfinite(self.usd_per_gpu_hour) and self.usd_per_gpu_hour > 0
        return fine and (spot is None or 0 < spot < self.usd_per_gpu_hour)


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What is missing in the peaks."""

    pool: str
    accelerator: str
    gpus: Interval
    hours_per_peak: Interval
    peaks_per_month: Interval
    model_gb: float
    gpu_kw: float
    idle_gpus: int = 0
    foreseeable: bool = False  # capacity can be started ahead of the peak
    interruptible: bool = False  # spot nodes may vanish without breaking an objective
    egress_gb_per_hour: float = 0.0
    drain_seconds: float | None = None  # until own capacity has worked off the queue; None: never
    lasting: bool = True  # hours are given, or of a day and more: buying may follow from them
    rented: Rented | None = None  # nodes that come and go; None: all of them for every peak

    @property
    def missing_gpus(self) -> Interval:
        """GPUs to rent: what idle ones of the kind do not carry."""
        return self.gpus.mapped(lambda gpus: max(0.0, gpus - self.idle_gpus))


@dataclass(frozen=True, slots=True, kw_only=True)
class Across:
    """Prefill here, decode there: what the line between would have to carry."""

    prompt_tokens: float
    kv_bytes_per_token: float
    requests_per_second: float
    network_gbps: float

    @property
    def needed_gbps(self) -> float:
        """Bandwidth of the KV hand-over, or Mooncake's floor."""
        handed = transfer_gbps(
            self.prompt_tokens, self.kv_bytes_per_token, self.requests_per_second
        )
        return max(handed, LEAST_NETWORK_GBPS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the operator allows and counts. Empty `allowed` is: anywhere."""

    allowed: tuple[str, ...] = ()  # "provider", "region", "provider/region", with * as wildcard
    usd_per_tonne_co2: float = 0.0
    pue: float = 1.3
    provision_seconds: Interval = PROVISION_SECONDS
    load_gbit_per_second: Interval = LOAD_GBIT_PER_SECOND
    owned_usd_per_gpu_hour: Interval | None = None


def allowed(place: Offer, entries: Sequence[str]) -> bool:
    """Whether data may go to an offer's place. An entry names a provider, a region or both.

    `gcp/europe-*` is a provider's regions of that name; an empty list allows everything. An offer
    without a region passes only by its provider: its region could be any.
    """
    if not entries:
        return True
    names = {place.provider, place.place} | ({place.region} if place.region else set())
    return any(
        fnmatchcase(name.lower(), entry.strip().lower()) for entry in entries for name in names
    )


def ready_seconds(model_gb: float, policy: Policy) -> Interval:
    """From the request to the first token: provisioning, then the weights."""
    loading = policy.load_gbit_per_second.mapped(lambda gbit: model_gb * 8 / gbit)
    return policy.provision_seconds.plus(loading)

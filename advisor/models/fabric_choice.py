"""InfiniBand or RoCE for a planned size: what slower collectives cost against what is saved."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from advisor.catalog.files import Source
from advisor.models.interval import Interval
from advisor.models.periods import HOURS_PER_YEAR
from ridgeline.events import Confidence

VERSION = "fabric_choice/2"


class Fabric(StrEnum):
    """What a criterion speaks for."""

    INFINIBAND = "InfiniBand"
    ROCE = "RoCE"
    EITHER = "either"


META = Source(title="Meta, RDMA over Ethernet at scale, SIGCOMM", as_of="2024-08")
# Collective throughput of tuned RoCE over InfiniBand. Low and middle: 85 to 95 % for 256 to 1,024
# GPUs (third-party guide of 2026, secondary); high: Meta trained Llama 3 405B on its RoCE cluster
# of 24k GPUs beside an InfiniBand one and found them equal once tuned (SIGCOMM 2024).
ROCE_RATIO = Interval(low=0.85, mid=0.95, high=1.0)
UNTUNED_ROCE_RATIO = Interval(low=0.6, mid=0.8, high=0.95)  # assumed: ECN, PFC and routing untuned


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One reason, what it speaks for, and how sure that is."""

    name: str
    favours: Fabric
    why: str
    confidence: Confidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Money a GPU over the fabric's life. `favours` EITHER: within the doubt, or no prices."""

    favours: Fabric
    slowdown_ratio: Interval  # of a step on RoCE against InfiniBand
    slowdown_usd_per_gpu: Interval
    premium_usd_per_gpu: float | None
    criteria: tuple[Criterion, ...]


def slowdown_ratio(communication_share: float, roce_ratio: Interval) -> Interval:
    """How much longer a step takes when its exposed communication runs at `roce_ratio`."""
    share = min(1.0, max(0.0, communication_share))
    return roce_ratio.mapped(lambda ratio: share * (1 / ratio - 1))


def decide(
    *,
    gpus: int,
    communication_share: float,
    usd_per_gpu_hour: float,
    life_years: float = 4.0,
    infiniband_usd_per_gpu: float | None = None,
    roce_usd_per_gpu: float | None = None,
    ethernet_team: bool = False,
    sharp: bool = False,
) -> Decision:
    """Compares the work RoCE may lose with what InfiniBand costs more; prices are yours.

    Without both prices the decision is EITHER: the criteria stand, the money does not.
    """
    ratio = ROCE_RATIO if ethernet_team else UNTUNED_ROCE_RATIO
    slower = slowdown_ratio(communication_share, ratio)
    lost = slower.scaled(usd_per_gpu_hour * HOURS_PER_YEAR * life_years)
    premium = (
        None
        if infiniband_usd_per_gpu is None or roce_usd_per_gpu is None
        else infiniband_usd_per_gpu - roce_usd_per_gpu
    )
    favours = Fabric.EITHER
    if premium is not None and lost.low > premium:
        favours = Fabric.INFINIBAND
    if premium is not None and lost.high < premium:
        favours = Fabric.ROCE
    return Decision(
        favours=favours,
        slowdown_ratio=slower,
        slowdown_usd_per_gpu=lost,
        premium_usd_per_gpu=premium,
        criteria=criteria(gpus, ethernet_team=ethernet_team, sharp=sharp),
    )


def criteria(gpus: int, *, ethernet_team: bool, sharp: bool) -> tuple[Criterion, ...]:
    """The reasons that are no money."""
    size = Criterion(
        name="size",
        favours=Fabric.EITHER,
        why=f"{gpus:,} GPUs: both are in production at 24,000 ({META.cited})",
        confidence=META.confidence,
    )
    team = Criterion(
        name="who tunes it",
        favours=Fabric.ROCE if ethernet_team else Fabric.INFINIBAND,
        why="RoCE needs ECN, PFC and load balancing tuned and watched; credits need no tuning",
        confidence=Confidence.ASSUMED,
    )
    rows = [size, team]
    if sharp:
        text = "switches that add halve the bytes of an all-reduce; Ethernet has no equal today"
        rows.append(
            Criterion(
                name="in-network reduction (SHARP)",
                favours=Fabric.INFINIBAND,
                why=text,
                confidence=Confidence.ASSUMED,
            )
        )
    rows.append(
        Criterion(
            name="one network for storage and tenants",
            favours=Fabric.ROCE,
            why="Ethernet routes, isolates and monitors with what a data centre already runs",
            confidence=Confidence.ASSUMED,
        )
    )
    return tuple(rows)

"""Small jobs of a pool and the slices of a GPU (MIG) that would hold them: a hint, never money."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from advisor.catalog.accelerators import Accelerator
from advisor.catalog.mig import MIG_GUIDE, PROFILES, Profile
from advisor.facts import IdleGpus, SmallJob
from advisor.models import slicing
from advisor.models.collectives import PCIE_GB_S
from advisor.rules.pricing import seen
from ridgeline.events import Evidence

LEAST_RATIO = 0.10  # of the pool that slices must leave over
QUIET_NVLINK_BYTES_PER_SECOND = 1e6  # health checks; a job over several GPUs moves gigabytes
ISOLATION = (
    Evidence(
        name="jobs that would share a GPU",
        value=0.0,
        unit="1",
        note="whether they bear it is not seen: a slice has no NVLink, its memory is fixed, and "
        f"MIG mode wants the GPU drained ({MIG_GUIDE.cited})",
        confidence=MIG_GUIDE.confidence,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slices:
    """Small jobs of a pool and the slices that would hold them."""

    pool_gpus: int
    small: int
    counts: dict[Profile, int]
    gpus: int

    @property
    def freed(self) -> int:
        """GPUs left over."""
        return self.small - self.gpus

    @property
    def words(self) -> str:
        """What would fit where."""
        sizes = ", ".join(f"{n} x {p.name} ({p.most} a GPU)" for p, n in self.counts.items())
        return (
            f"{self.small} GPUs hold jobs that never used more than a slice: {sizes} would fit on "
            f"{self.gpus} GPUs in MIG mode and leave {self.freed} to other work."
        )

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """Share of the pool, with the source of the profiles."""
        source = next(iter(self.counts)).source.cited
        share = self.small / self.pool_gpus
        return seen("GPUs with a job of a slice", share, "ratio", LEAST_RATIO, note=source)


def slices_of(pool: IdleGpus, accelerator: Accelerator | None) -> Slices | None:
    """None without MIG, or where slices would leave less than a tenth of the pool over."""
    profiles = PROFILES.get(accelerator.name, ()) if accelerator else ()
    if accelerator is None or not profiles:
        return None
    no_nvlink = (accelerator.link_gb_s or 0.0) <= PCIE_GB_S
    fitting = [
        found
        for job in pool.small
        if _alone(job, no_nvlink=no_nvlink)
        and (
            found := slicing.slice_for(
                profiles,
                memory_bytes=job.memory_bytes,
                sm_ratio=job.sm_ratio,
                dram_ratio=job.dram_ratio,
            )
        )
    ]
    slices = Slices(
        pool_gpus=pool.gpus,
        small=len(fitting),
        counts=dict(Counter(fitting)),
        gpus=slicing.gpus_needed(fitting),
    )
    return slices if slices.freed / pool.gpus >= LEAST_RATIO else None


def _alone(job: SmallJob, *, no_nvlink: bool) -> bool:
    """Whether a job seems to use one GPU; with links that are not read nobody knows."""
    if job.nvlink_bytes_per_second is None:
        return no_nvlink
    return job.nvlink_bytes_per_second < QUIET_NVLINK_BYTES_PER_SECOND

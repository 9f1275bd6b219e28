"""Small jobs on slices of a GPU (MIG): which slice holds a job, and how few GPUs hold all."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from advisor.catalog.mig import Profile

VERSION = "slicing/1"
ROOM_RATIO = 0.9  # of the memory in a profile's name; H200's 1g.18gb shows 16 GiB, 0.95 of it


def slice_for(
    profiles: Sequence[Profile], *, memory_bytes: float, sm_ratio: float, dram_ratio: float
) -> Profile | None:
    """The first slice with room for a job's peaks of memory, SMs and bandwidth; None: no slice."""
    for profile in profiles:
        enough = memory_bytes <= ROOM_RATIO * profile.memory_bytes
        if enough and sm_ratio <= profile.compute_ratio and dram_ratio <= bandwidth_ratio(profile):
            return profile
    return None


def bandwidth_ratio(profile: Profile) -> float:
    """Share of the GPU's bandwidth a slice is sure of: its memory slices of 8 (of 4 on others)."""
    return 1.0 / (1 << math.ceil(math.log2(profile.most)))


def gpus_needed(slices: Iterable[Profile]) -> int:
    """GPUs for these slices when a GPU is cut into one size only: an upper bound."""
    counts: Mapping[Profile, int] = Counter(slices)
    return sum(math.ceil(count / profile.most) for profile, count in counts.items())

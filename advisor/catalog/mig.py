"""Multi-Instance GPU: into which slices a GPU can be cut, by NVIDIA's user guide."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from advisor.catalog.files import Entry, FileHead, Source, parsed, shipped

FILE = "mig.yaml"
_NAME = re.compile(r"(?P<slices>\d)g\.(?P<gigabytes>\d+)gb")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One size of slice; `most` of them fit on a GPU."""

    name: str
    compute_ratio: float  # of the GPU's SMs
    memory_bytes: float
    most: int
    source: Source


class _GpuEntry(Entry):
    accelerators: tuple[str, ...]
    slices: int
    instances: dict[str, int]
    source: str


class _MigFile(FileHead):
    gpus: tuple[_GpuEntry, ...]


def _profile(name: str, most: int, slices: int, source: Source) -> Profile:
    found = _NAME.fullmatch(name)
    assert found is not None, name  # noqa: S101 - our own file
    return Profile(
        name=name,
        compute_ratio=int(found["slices"]) / slices,
        memory_bytes=int(found["gigabytes"]) * 1e9,
        most=most,
        source=source,
    )


def _load() -> tuple[Mapping[str, tuple[Profile, ...]], Source]:
    file = parsed(_MigFile, shipped(FILE), FILE)
    profiles = {
        accelerator: tuple(
            _profile(name, most, gpu.slices, file.source(gpu.source))
            for name, most in gpu.instances.items()
        )
        for gpu in file.gpus
        for accelerator in gpu.accelerators
    }
    return profiles, file.source("guide")


PROFILES, MIG_GUIDE = _load()
"""By accelerator, smallest slice first; an accelerator without MIG is not here."""

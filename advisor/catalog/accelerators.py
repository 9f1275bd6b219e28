"""Accelerators: dense peak rates, memory, links, power, and what of the peak was ever measured.

The figures are data (`data/accelerators.yaml`), each with its source and date; an operator's file
corrects or extends them. A figure nobody can cite is None, and then the advisor says "unverified"
instead of a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from pydantic import ConfigDict, Field

from advisor.catalog.files import Entry, FileHead, Source, SourcedPositive, parsed, shipped
from ridgeline.errors import Misconfigured

FILE = "accelerators.yaml"
SCALE_UP_DEVICES = 8  # a server of eight, unless the entry says otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """One model of accelerator. Rates are dense; bandwidth is of device memory; None: unknown."""

    name: str
    bf16_tflops: float | None
    memory_gb: float  # 1e9 bytes, as the driver reports them
    bandwidth_tb_s: float | None
    fp8_tflops: float | None = None
    fp4_tflops: float | None = None
    int8_tflops: float | None = None
    link_gb_s: float | None = None  # scale-up, one direction
    power_w: float | None = None
    measured_bf16_tflops: float | None = None
    measured_bandwidth_ratio: float | None = None  # of peak, streaming weights at batch 1
    serving_ratio: float | None = None  # speed of whole engines over what their kernels say
    serving_error_ratio: float | None = None  # of a rate computed with it
    vendor: str = ""
    stack: str = "CUDA"
    scale_up_devices: int = SCALE_UP_DEVICES
    match: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    sources: Mapping[str, Source] = field(default_factory=dict, repr=False, compare=False)

    @property
    def source(self) -> str:
        """All sources of its figures, as one line."""
        titles = dict.fromkeys(s.cited for s in self.sources.values())
        return "; ".join(titles) or "not stated"

    def tflops(self, bytes_per_weight: float) -> float | None:
        """Peak in TFLOP/s for weights of this width, or the next wider format it has."""
        by_width = ((0.5, self.fp4_tflops), (1.0, self.fp8_tflops), (2.0, self.bf16_tflops))
        fitting = (peak for width, peak in by_width if width >= bytes_per_weight and peak)
        return next(fitting, None)


class _AcceleratorEntry(Entry):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    vendor: str | None = None
    stack: str | None = None
    scale_up_devices: int | None = Field(None, gt=0)
    match: tuple[str, ...] | None = None
    unless: tuple[str, ...] | None = None
    bf16_tflops: SourcedPositive | None = None
    fp8_tflops: SourcedPositive | None = None
    fp4_tflops: SourcedPositive | None = None
    int8_tflops: SourcedPositive | None = None
    memory_gb: SourcedPositive | None = None
    bandwidth_tb_s: SourcedPositive | None = None
    link_gb_s: SourcedPositive | None = None
    power_w: SourcedPositive | None = None
    measured_bf16_tflops: SourcedPositive | None = None
    measured_bandwidth_ratio: SourcedPositive | None = None
    serving_ratio: SourcedPositive | None = None
    serving_error_ratio: SourcedPositive | None = None


class _AcceleratorFile(FileHead):
    accelerators: tuple[_AcceleratorEntry, ...] = ()


def _merged(known: Accelerator | None, entry: _AcceleratorEntry, file: FileHead) -> Accelerator:
    """The entry over what was known; a new accelerator needs its memory."""
    given = {f.name: getattr(entry, f.name, None) for f in fields(Accelerator)}
    figures = {k: v for k, v in given.items() if isinstance(v, tuple) and _is_figure(v)}
    plain = {k: v for k, v in given.items() if v is not None and k not in figures}
    values: dict[str, Any] = plain | {name: value for name, (value, _) in figures.items()}
    sources = {name: file.source(key) for name, (_, key) in figures.items()}
    if known is not None:
        return replace(known, **values, sources={**known.sources, **sources})
    if "memory_gb" not in values:
        raise Misconfigured(FILE, f"accelerator {entry.name!r}: memory_gb is missing")
    empty = {"bf16_tflops": None, "bandwidth_tb_s": None}
    return Accelerator(**(empty | values), sources=sources)


def _is_figure(value: tuple[Any, ...]) -> bool:
    return len(value) == 2 and isinstance(value[0], float)


def load(own: Mapping[str, Any] | None = None) -> tuple[Accelerator, ...]:
    """All accelerators: ours, corrected and extended by the operator's file content."""
    found: dict[str, Accelerator] = {}
    for content, name in ((shipped(FILE), FILE), (own or {}, "the operator's catalogue")):
        picked = {k: v for k, v in content.items() if k in _AcceleratorFile.model_fields}
        file = parsed(_AcceleratorFile, picked, name)
        for entry in file.accelerators:
            found[entry.name] = _merged(found.get(entry.name), entry, file)
    return tuple(found.values())


ACCELERATORS: tuple[Accelerator, ...] = load()
BY_NAME = {a.name: a for a in ACCELERATORS}


def by_device_name(
    name: str, accelerators: Iterable[Accelerator] = ACCELERATORS
) -> Accelerator | None:
    """The accelerator a driver calls `name` ("NVIDIA H100 80GB HBM3"); None when unknown.

    All of an entry's words must occur; the entry with most words wins, so that "H100 PCIe" is not
    taken for the SXM part.
    """
    words = set(re.split(r"[^A-Z0-9]+", name.upper()))
    best: Accelerator | None = None
    for candidate in accelerators:
        if candidate.name == name:
            return candidate
        fits = candidate.match and words.issuperset(candidate.match)
        if fits and words.isdisjoint(candidate.unless) and _more_words(candidate, best):
            best = candidate
    return best


def _more_words(candidate: Accelerator, best: Accelerator | None) -> bool:
    return best is None or len(candidate.match) > len(best.match)

"""Software maturity: what serves language models on a stack today, with evidence and date."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from advisor.catalog.files import Entry, FileHead, Source, parsed, shipped
from ridgeline.events import Confidence

FILE = "software.yaml"


class Support(StrEnum):
    """How an engine comes to a stack, most mature first."""

    IN_TREE = "in_tree"
    PLUGIN = "plugin"
    VENDOR = "vendor"
    INTERNAL = "internal"
    UNKNOWN = "unknown"


RUNNABLE = frozenset({Support.IN_TREE, Support.PLUGIN})
"""What an operator can install and serve an open model with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Maturity:
    """What runs on one stack."""

    stack: str
    support: Support
    engines: tuple[str, ...]
    mlperf: bool
    evidence: str
    source: Source

    @property
    def runnable(self) -> bool:
        """Whether an operator can install an engine for it."""
        return self.support in RUNNABLE


class _StackEntry(Entry):
    stack: str
    support: Support
    engines: tuple[str, ...]
    mlperf: bool
    evidence: str
    source: str


class _SoftwareFile(FileHead):
    stacks: tuple[_StackEntry, ...]


def _load() -> dict[str, Maturity]:
    file = parsed(_SoftwareFile, shipped(FILE), FILE)
    return {
        e.stack: Maturity(**e.model_dump(exclude={"source"}), source=file.source(e.source))
        for e in file.stacks
    }


STACKS = _load()


def maturity(stack: str) -> Maturity:
    """What runs on a stack; one nobody described is unknown, which is not runnable."""
    nothing = Source(title="no evidence found", as_of="2026-11", confidence=Confidence.ASSUMED)
    unknown = Maturity(
        stack=stack,
        support=Support.UNKNOWN,
        engines=(),
        mlperf=False,
        evidence="nobody described what runs here",
        source=nothing,
    )
    return STACKS.get(stack, unknown)

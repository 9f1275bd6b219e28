"""What a detector gets and what it returns: values for every device of a partition at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import Protocol

import numpy as np

from ridgeline.events import Severity


class Level(IntEnum):
    """Severity as a number, for arrays."""

    INFO = 0
    WARNING = 1
    CRITICAL = 2

    @property
    def severity(self) -> Severity:
        """The word for it."""
        return (Severity.INFO, Severity.WARNING, Severity.CRITICAL)[self]


class Devices(Protocol):
    """The detection window of every device of one family in one partition; arrays are by slot.

    Nothing is ever filled in: what is not known is NaN (or `MISSING_STATE`).
    """

    def now(self, name: str) -> np.ndarray:
        """Mean of a gauge, or increase a second of a counter, over the window."""

    def usual(self, name: str) -> np.ndarray:
        """The device's own slow baseline of the same; NaN while it is still being learned."""

    def peak(self, name: str) -> np.ndarray:
        """The device's own highest window mean so far."""

    def state(self, name: str) -> np.ndarray:
        """The newest state."""


class Around(Protocol):
    """What is known around the devices; arrays are by slot, NaN or "" unknown."""

    @property
    def pool(self) -> np.ndarray:
        """Pool names."""

    @property
    def rack(self) -> np.ndarray:
        """Rack names."""

    @property
    def rail(self) -> np.ndarray:
        """Rail names."""

    @property
    def loop(self) -> np.ndarray:
        """Cooling-loop names."""

    def serving(self, name: str) -> np.ndarray:
        """A number of the LLM servers on the device's node, summed over them."""

    def cooling(self, name: str) -> np.ndarray:
        """A number of the CDU of the device's cooling loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One number of every device that a claim rests on, or that speaks against it."""

    name: str
    value: np.ndarray
    unit: str
    threshold: np.ndarray | float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One condition, judged for every device.

    Args:
        condition: From the detector's closed list.
        hit: Where it holds. Never true where what it rests on is unknown.
        known: Where it could be judged; elsewhere nothing is said, not even that it is over.
        level: Severity where it holds (`Level` numbers).
        summary: What a person reads, with the measures' names in braces.
        cause: Numbers into `causes`, where one is named.
        alternatives: Other explanations that the numbers do not exclude.
    """

    condition: str
    hit: np.ndarray
    known: np.ndarray
    level: np.ndarray
    summary: str
    evidence: tuple[Measure, ...]
    counter_evidence: tuple[Measure, ...] = ()
    alternatives: tuple[str, ...] = ()
    cause: np.ndarray | None = None
    causes: tuple[str, ...] = ()


Finder = Callable[[Devices, Around], Sequence[Verdict]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """A named set of conditions: for each family it looks at, a pure function and its columns."""

    name: str
    conditions: tuple[str, ...]
    finders: Mapping[str, Finder]
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))


def over(value: np.ndarray, limit: np.ndarray | float) -> np.ndarray:
    """Where a value is known and at least the limit."""
    with np.errstate(invalid="ignore"):
        return np.asarray(value >= limit)


def levels(hit: np.ndarray, critical: np.ndarray | None = None) -> np.ndarray:
    """Warning, or critical where said so."""
    worst = np.zeros_like(hit) if critical is None else hit & critical
    return np.where(worst, Level.CRITICAL, Level.WARNING).astype(np.int8)


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Part / whole; NaN where the whole is unknown or 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, part / whole, np.nan)

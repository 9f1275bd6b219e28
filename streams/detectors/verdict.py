"""What a detector gets and what it returns: values for every device of a partition at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from ridgeline.events import Severity
from ridgeline.pools import Role, role_of
from ridgeline.schema import MISSING_STATE
from streams.detectors.words import HIT, counted


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


@dataclass(frozen=True, slots=True)
class Without:
    """Devices of which nothing is known of some.

    Args:
        devices: All of them.
        hidden: By slot, those of which nothing is known.
    """

    devices: Devices
    hidden: np.ndarray

    def now(self, name: str) -> np.ndarray:
        """As `Devices`."""
        return np.where(self.hidden, np.nan, self.devices.now(name))

    def usual(self, name: str) -> np.ndarray:
        """As `Devices`."""
        return np.where(self.hidden, np.nan, self.devices.usual(name))

    def peak(self, name: str) -> np.ndarray:
        """As `Devices`."""
        return np.where(self.hidden, np.nan, self.devices.peak(name))

    def state(self, name: str) -> np.ndarray:
        """As `Devices`."""
        return np.where(self.hidden, np.uint32(MISSING_STATE), self.devices.state(name))


@dataclass(frozen=True, slots=True)
class Groups:
    """Which group every device is in: `code[slot]` numbers `names`, -1 is in none that we know."""

    code: np.ndarray
    names: Sequence[str]

    @classmethod
    def of(cls, names: Sequence[str]) -> Groups:
        """Groups by the name of every device; "" is none."""
        numbers: dict[str, int] = {}
        code = [numbers.setdefault(n, len(numbers)) if n else -1 for n in names]
        return cls(np.array(code, dtype=np.int32), tuple(numbers))

    @property
    def known(self) -> np.ndarray:
        """Where the group is known."""
        return self.code >= 0

    def of_role(self, *roles: Role) -> np.ndarray:
        """Where the group is a pool of one of these roles, of whichever service."""
        wanted = np.array([*(role_of(name) in roles for name in self.names), False])
        return np.asarray(wanted[self.code])

    def count(self, yes: np.ndarray) -> np.ndarray:
        """For every device, how many of its group (itself included) say yes; 0 without group."""
        return counted(self.code, len(self.names), yes)

    def share(self, yes: np.ndarray, known: np.ndarray) -> np.ndarray:
        """For every known device, the share of its known group where yes; elsewhere NaN."""
        part = np.full(len(known), np.nan)
        whole = self.count(known)
        np.divide(self.count(yes & known), whole, out=part, where=known & (whole > 0))
        return part

    def value(self, by_name: Mapping[str, float]) -> np.ndarray:
        """A number of the group of every device; NaN where there is none."""
        numbers = [by_name.get(name, np.nan) for name in self.names]
        return np.asarray(np.array([*numbers, np.nan])[self.code])


class Around(Protocol):
    """What is known around the devices; arrays are by slot, NaN unknown."""

    @property
    def pool(self) -> Groups:
        """Pools."""

    @property
    def rack(self) -> Groups:
        """Racks."""

    @property
    def rail(self) -> Groups:
        """Rails."""

    @property
    def loop(self) -> Groups:
        """Cooling loops."""

    def serving(self, name: str) -> np.ndarray:
        """A number of the LLM servers on the device's node, summed over them."""

    def cooling(self, name: str) -> np.ndarray:
        """A number of the CDU of the device's cooling loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A number of a device that a claim rests on, or that speaks against it.

    Args:
        name: Of the field of the numbers, and what a person reads.
        unit: Its unit.
        threshold: Where the claim begins: a number, or the name of another field.
        note: Said beside it.
    """

    name: str
    unit: str
    threshold: float | str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What a detector can say, and how.

    Args:
        name: In the detector's closed list.
        summary: What a person reads, with fields of the numbers in braces.
        evidence: What it rests on.
        counter_evidence: What would speak against it.
        alternatives: Other explanations that the numbers do not exclude.
        causes: Named by the field `cause` of the numbers, where there is one; 0 is not named.
    """

    name: str
    summary: str
    evidence: tuple[Measure, ...]
    counter_evidence: tuple[Measure, ...] = ()
    alternatives: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """One condition, judged for every device.

    Args:
        condition: Which.
        said: By slot, `UNKNOWN`, `QUIET` or `HIT` plus a `Level`; uint8.
        numbers: A device's numbers: a named tuple with the fields that the condition's measures,
            thresholds and summary name. Asked for those only about whom something is told.
    """

    condition: Condition
    said: np.ndarray
    numbers: Callable[[int], Any]

    def level(self, slot: int) -> Level:
        """Severity where it holds."""
        return Level(int(self.said[slot]) - HIT)


def verdicts(
    conditions: Sequence[Condition], said: np.ndarray, numbers: Callable[[int], Any]
) -> Sequence[Verdict]:
    """A verdict for each condition, of words `[condition, slot]` and the numbers they share."""
    return [Verdict(c, words, numbers) for c, words in zip(conditions, said, strict=True)]


Finder = Callable[[Devices, Around], Sequence[Verdict]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """A named set of conditions: for each family it looks at, a pure function and its columns.

    Args:
        name: Also the module's.
        conditions: All that it can say.
        finders: The function by family.
        columns: What it asks `now` for, by family.
        baselines: Those it also asks `usual` for.
        peaks: Those it also asks `peak` for.
        needs: Families whose facts `around` has to have up to a window's end, by family judged.
    """

    name: str
    conditions: tuple[Condition, ...]
    finders: Mapping[str, Finder]
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    baselines: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    peaks: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))

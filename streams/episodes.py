"""Masks -> episodes: one generic machine that opens, updates and closes detections.

Opens after k hits of the last five hops, closes after m quiet ones, keeps its id all along. A hop
without knowledge about a device is neither a hit nor quiet.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from ridgeline.events import Detection, EpisodeState, Evidence
from ridgeline.pools import Role
from streams.detectors.verdict import Condition, Measure, Verdict
from streams.detectors.words import HIT, UNKNOWN
from streams.memory import Arrays, as_text, text_of
from streams.slots import Slots, grown

_IDS = uuid.UUID("3f0c5a52-7d8e-4a55-9f0e-8a1c6b5c0d11")
_LAST_FIVE = 0b11111
_CLOSED = -1
_SAID = TypeAdapter(tuple[Detection, ...])
_REMEMBERED = ("bits", "quiet", "silent", "opened", "updated", "windows")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """When episodes open, speak and close."""

    open_after: int = 3
    close_after: int = 10
    update_ms: int = 30_000
    silent_after: int = 120  # hops without knowledge after which an episode is closed


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """How a person calls a device."""

    subject: str
    pool: str = Role.UNKNOWN


def episode_id(detector: str, condition: str, device: int, opened_ms: int) -> str:
    """The same for the same episode, also after a replay."""
    return str(uuid.uuid5(_IDS, f"{detector}/{condition}/{device}/{opened_ms}"))


class Episodes:
    """All episodes of one condition in one partition; state is dense by slot.

    Args:
        detector: Name of the detector.
        condition: Its condition.
        slots: Devices of the partition.
        policy: Hysteresis.
        name: How a person calls a device.
    """

    def __init__(
        self,
        detector: str,
        condition: str,
        slots: Slots,
        policy: Policy,
        name: Callable[[int], Who],
    ) -> None:
        self.detector, self.condition = detector, condition
        self._slots, self._policy, self._name = slots, policy, name
        self._bits = np.zeros(0, dtype=np.uint8)
        self._stirring = np.zeros(0, dtype=bool)
        self._quiet = np.zeros(0, dtype=np.int32)
        self._silent = np.zeros(0, dtype=np.int32)
        self._opened = np.zeros(0, dtype=np.int64)
        self._updated = np.zeros(0, dtype=np.int64)
        self._windows = np.zeros(0, dtype=np.int64)
        self._last: dict[int, Detection] = {}
        self._stored: dict[int, Detection] = {}
        self._patience = 0

    def open(self, size: int) -> np.ndarray:
        """Which of the first `size` slots have an open episode."""
        self._grow(size)
        return np.asarray(self._opened[:size] != _CLOSED)

    @property
    def count(self) -> int:
        """Episodes open now."""
        return len(self._last)

    def hop(self, end_ms: int, verdict: Verdict) -> Iterator[Detection]:
        """Take one hop."""
        words = verdict.said
        size = len(words)
        self._grow(size)
        if self._stored:
            self._take_over(end_ms)
        # of most devices there is nothing to say: no hit now, none lately, no open episode
        at = np.flatnonzero((words >= HIT) | self._stirring[:size])
        if not len(at):
            return
        known, hit = words[at] != UNKNOWN, words[at] >= HIT
        bits = np.where(known, ((self._bits[at] << 1) & _LAST_FIVE) | hit, self._bits[at])
        self._bits[at] = bits
        judged = self._judge(end_ms, at, known, hit)
        for say, slots in zip((self._open, self._close, self._update), judged, strict=True):
            for slot in slots:
                yield say(int(slot), end_ms, verdict)
        self._stirring[at] = (self._bits[at] > 0) | (self._opened[at] != _CLOSED)

    def _judge(
        self, end_ms: int, at: np.ndarray, known: np.ndarray, hit: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which of the slots `at` open, close and are due for an update."""
        ours = end_ms > self._updated[at]
        is_open = self._opened[at] != _CLOSED
        self._windows[at] += hit & is_open & ours
        quiet = np.where(hit, 0, self._quiet[at] + (known & ours))
        silent = np.where(known, 0, self._silent[at] + 1)
        self._quiet[at], self._silent[at] = quiet, silent
        due = end_ms - self._updated[at] >= self._policy.update_ms
        opens = ~is_open & hit & (_ones(self._bits[at]) >= self._policy.open_after)
        over = (quiet >= self._policy.close_after) | (silent >= self._policy.silent_after)
        return at[opens], at[is_open & over & ours], at[is_open & ~over & hit & due]

    def memory(self, size: int) -> dict[str, np.ndarray]:
        """What happened to the first `size` slots so far."""
        self._grow(size)
        arrays = {name: getattr(self, f"_{name}")[:size] for name in _REMEMBERED}
        slots = np.array(sorted(self._last), dtype=np.int64)
        said = _SAID.dump_json(tuple(self._last[int(slot)] for slot in slots)).decode()
        return arrays | {"slots": slots, "said": as_text(said)}

    def restore(self, memory: Arrays) -> None:
        """Go on from a memory."""
        size = len(memory["bits"])
        self._grow(size)
        for name in _REMEMBERED:
            getattr(self, f"_{name}")[:size] = memory[name]
        self._stirring[:size] = (self._bits[:size] > 0) | (self._opened[:size] != _CLOSED)
        said = _SAID.validate_json(text_of(memory["said"]))
        self._last = {int(s): d for s, d in zip(memory["slots"], said, strict=True)}

    def keep(self, slots: np.ndarray) -> None:
        """Forget all but these slots, which become 0, 1, ... in their order."""
        for name in ("stirring", *_REMEMBERED):
            setattr(self, f"_{name}", getattr(self, f"_{name}")[slots])
        became = {int(old): new for new, old in enumerate(slots)}
        self._last = {became[slot]: said for slot, said in self._last.items()}

    def agree(self, stored: Mapping[int, Detection]) -> None:
        """Take the store's word for what is open, before anything new is said.

        A replay comes to the same by itself, but where what was remembered is lost or of another
        version. An episode that we do not have is taken over when its device and its time come.

        Args:
            stored: Episodes by device that are open, or were when progress was last saved.
        """
        for slot in list(self._last):
            if int(self._slots.device[slot]) not in stored:
                self._forget(slot)
        self._stored = {d: e for d, e in stored.items() if e.state is not EpisodeState.CLOSED}
        self._patience = self._policy.silent_after

    def _take_over(self, end_ms: int) -> None:
        devices = np.array(list(self._stored), dtype=np.uint64)
        slots = self._slots.find(devices)
        for device, slot in zip(devices[slots >= 0].tolist(), slots[slots >= 0], strict=True):
            if self._stored[device].opened_ms < end_ms:
                found = self._stored.pop(device)
                if self._opened[slot] == _CLOSED:
                    self._opened[slot], self._updated[slot] = found.opened_ms, found.updated_ms
                    self._windows[slot], self._last[int(slot)] = found.windows, found
                    self._quiet[slot] = self._silent[slot] = 0
                    self._stirring[slot] = True
        self._patience -= 1
        if not self._patience:
            self._stored = {}

    def _forget(self, slot: int) -> None:
        self._last.pop(slot, None)
        self._opened[slot], self._bits[slot] = _CLOSED, 0

    def _open(self, slot: int, end_ms: int, verdict: Verdict) -> Detection:
        self._opened[slot] = self._updated[slot] = end_ms
        self._windows[slot] = _ones(self._bits[slot : slot + 1])[0]
        self._quiet[slot] = 0
        return self._say(slot, end_ms, EpisodeState.OPEN, verdict)

    def _update(self, slot: int, end_ms: int, verdict: Verdict) -> Detection:
        self._updated[slot] = end_ms
        return self._say(slot, end_ms, EpisodeState.UPDATE, verdict)

    def _close(self, slot: int, end_ms: int, _: Verdict) -> Detection:
        last = self._last.pop(slot)
        windows = int(self._windows[slot])
        self._opened[slot], self._bits[slot] = _CLOSED, 0
        self._updated[slot] = end_ms
        changes = {"state": EpisodeState.CLOSED, "updated_ms": end_ms, "closed_ms": end_ms}
        return last.model_copy(update=changes | {"windows": windows})

    def _say(self, slot: int, end_ms: int, state: EpisodeState, verdict: Verdict) -> Detection:
        device, opened = int(self._slots.device[slot]), int(self._opened[slot])
        who, condition, numbers = self._name(device), verdict.condition, verdict.numbers(slot)
        detection = Detection(
            id=episode_id(self.detector, self.condition, device, opened),
            detector=self.detector,
            condition=self.condition,
            state=state,
            severity=verdict.level(slot).severity,
            node=int(self._slots.node[slot]),
            device=device,
            subject=who.subject,
            pool=who.pool,
            opened_ms=opened,
            updated_ms=end_ms,
            summary=f"{who.subject} {said(condition, numbers)}",
            evidence=tuple(_evidence(condition.evidence, numbers)),
            counter_evidence=tuple(_evidence(condition.counter_evidence, numbers)),
            alternatives=condition.alternatives,
            windows=int(self._windows[slot]),
        )
        self._last[slot] = detection
        return detection

    def _grow(self, size: int) -> None:
        self._bits, self._quiet = grown(self._bits, size, 0), grown(self._quiet, size, 0)
        self._silent = grown(self._silent, size, 0)
        self._stirring = grown(self._stirring, size, 0)
        self._opened = grown(self._opened, size, _CLOSED)
        self._updated, self._windows = grown(self._updated, size, 0), grown(self._windows, size, 0)


def _ones(bits: np.ndarray) -> np.ndarray:
    return np.asarray(np.unpackbits(bits[:, None], axis=1).sum(axis=1))


def said(condition: Condition, numbers: Any) -> str:
    """A condition's summary about a device with these numbers, with the cause where one is named.

    A clause (they are separated by commas) whose number is not known is left out.
    """
    values = numbers._asdict()
    unknown = {f"{{{name}:" for name, value in values.items() if math.isnan(value)}
    clauses = [c for c in condition.summary.split(", ") if not any(u in c for u in unknown)]
    text = ", ".join(clauses).format(**values)
    if condition.causes and numbers.cause > 0:
        text = f"{text}; {condition.causes[numbers.cause]}"
    return text


def _evidence(measures: tuple[Measure, ...], numbers: Any) -> Iterator[Evidence]:
    for measure in measures:
        value = float(getattr(numbers, measure.name))
        if math.isnan(value):
            continue
        limit = measure.threshold
        if isinstance(limit, str):
            limit = float(getattr(numbers, limit))
        yield Evidence(
            name=measure.name, value=value, unit=measure.unit, threshold=limit, note=measure.note
        )

"""What the detectors say about the devices of one partition, hop by hop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ridgeline import metrics
from ridgeline.events import DeadLetter, Detection
from ridgeline.schema import SCHEMAS, Schema
from streams.detectors import DETECTORS
from streams.detectors.verdict import Detector, Finder
from streams.episodes import Episodes, Policy
from streams.facts import Numbers
from streams.isolation import Isolation
from streams.memory import Arrays, Memory, array_bytes, named
from streams.ring import Ring
from streams.slots import BySlot, Slots
from streams.surroundings import (
    SERVING_COLUMNS,
    Board,
    Neighbourhood,
    cooling_facts,
    serving_facts,
)
from streams.timeline import Clock, Pane

Stored = dict[tuple[str, str], dict[int, Detection]]
"""Episodes the store knows that are open or young, by detector and condition, then by device."""
Finders = Sequence[tuple[Detector, Finder]]


def finders_of(schema: Schema) -> Finders:
    """The detectors that look at a family, and how."""
    return tuple((d, d.finders[schema.family]) for d in DETECTORS if schema.family in d.finders)


def ring_of(schema: Schema, clock: Clock, finders: Finders) -> Ring:
    """A ring of all that they look at."""
    columns = {c for d, _ in finders for c in d.columns.get(schema.family, ())}
    if schema.family == "serving":
        columns |= set(SERVING_COLUMNS)
    return Ring(
        schema,
        columns,
        clock.window // clock.hop,
        clock.hop,
        learned=[c for d, _ in finders for c in d.baselines.get(schema.family, ())],
        peaked=[c for d, _ in finders for c in d.peaks.get(schema.family, ())],
    )


class Judge:
    """Detectors of one partition, what they go by, and their episodes.

    Args:
        schema: Family of the rows.
        number: Of the partition.
        finders: Who judges.
        ring: Their view of the rows.
        slots: Devices of the partition.
        policy: When episodes open and close.
        board: What other partitions of this worker say, and the inventory.
        stored: Episodes that the store knows; None: leave them alone, and count nothing.
    """

    def __init__(  # noqa: PLR0917 - value-like
        self,
        schema: Schema,
        number: int,
        finders: Finders,
        ring: Ring,
        slots: Slots,
        policy: Policy,
        board: Board,
        stored: Stored | None,
    ) -> None:
        self._schema, self.finders, self._ring, self._slots = schema, finders, ring, slots
        self._stored, self._beside = stored, stored is None
        self._isolation = Isolation(schema, number, slots)
        self._around = Neighbourhood(board, number, slots)
        self._episodes: Mapping[tuple[str, str], Episodes] = {
            (d.name, c.name): Episodes(d.name, c.name, slots, policy, board.inventory.who)
            for d, _ in finders
            for c in d.conditions
        }

    @property
    def needs(self) -> tuple[str, ...]:
        """Topics without whose facts no verdict is given."""
        found = {f for d, _ in self.finders for f in d.needs.get(self._schema.family, ())}
        return tuple(SCHEMAS[family].topic for family in sorted(found))

    def slide(self, end_ms: int) -> None:
        """Have the detection window end then."""
        self._ring.slide(end_ms, self._slots.count)

    def at(self, pane: Pane) -> Iterator[Detection | DeadLetter]:
        """Judge a pane to whose end the detection window was slid."""
        count = self._slots.count
        if pane.fresh and self._stored is not None:
            for key, episodes in self._episodes.items():
                episodes.agree(self._stored.get(key, {}))
            self._stored = None
        self._around.at(pane.end_ms, count)
        frozen = np.zeros(count, dtype=bool)
        for detector, find in self.finders:
            verdicts, letters = self._isolation.ask(detector, find, self._ring, self._around)
            yield from letters
            for verdict in verdicts:
                episodes = self._episodes[detector.name, verdict.condition.name]
                said = [*episodes.hop(pane.end_ms, verdict)]
                if pane.fresh:  # otherwise a replay: said before
                    yield from self._counted(said)
        for episodes in self._episodes.values():
            if episodes.count:
                frozen |= episodes.open(count)
        self._ring.learn(frozen)

    def _counted(self, said: Sequence[Detection]) -> Sequence[Detection]:
        for one in () if self._beside else said:
            metrics.DETECTIONS.labels(one.detector, one.state.value).inc()
        return said

    def fact(self, newest: Numbers | None) -> Numbers:
        """What verdicts of other partitions need to know of these devices.

        Args:
            newest: What was said last.
        """
        if self._schema.family == "serving":
            return serving_facts(self._ring, self._slots)
        return cooling_facts(self._ring, self._around.loop, newest)

    def open(self) -> np.ndarray:
        """Which devices have an open episode, by slot."""
        count = self._slots.count
        out = np.zeros(count, dtype=bool)
        for episodes in self._episodes.values():
            out |= episodes.open(count)
        return out

    @property
    def open_episodes(self) -> dict[str, int]:
        """Episodes open now, by detector."""
        out: dict[str, int] = {}
        for (detector, _), episodes in self._episodes.items():
            out[detector] = out.get(detector, 0) + episodes.count
        return out

    @property
    def state_bytes(self) -> int:
        """Bytes of what is kept by device, the ring's aside."""
        return array_bytes(self._around, *self._episodes.values())

    def keep(self, slots: np.ndarray) -> None:
        """Forget all but these slots, which become 0, 1, ... in their order."""
        kept: tuple[BySlot, ...] = (self._ring, self._around, *self._episodes.values())
        for state in kept:
            state.keep(slots)

    def memory(self) -> Arrays:
        """All that a replay of the last seconds does not bring back."""
        count = self._slots.count
        arrays = {
            **named("ring", self._ring.memory(count)),
            **named("around", self._around.memory(count)),
        }
        for (detector, condition), episodes in self._episodes.items():
            arrays |= named(f"{detector}/{condition}", episodes.memory(count))
        return arrays

    def restore(self, memory: Memory) -> None:
        """Go on from it."""
        self._ring.restore(memory.part("ring"))
        self._around.restore(memory.part("around"))
        for (detector, condition), episodes in self._episodes.items():
            episodes.restore(memory.part(f"{detector}/{condition}"))

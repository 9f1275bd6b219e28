"""One partition of one telemetry topic: batches in; windows and detections out. Knows no Kafka."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ridgeline import metrics
from ridgeline.events import DeadLetter, Detection, Event
from ridgeline.frames import facts_of
from ridgeline.schema import Schema
from streams.batches import Batch, decoded
from streams.episodes import Policy
from streams.facts import Facts, Snapshot, Source, snapshots_memory, snapshots_of
from streams.judge import Judge, Stored, finders_of, ring_of
from streams.memory import Arrays, Memory, named, packed, unpacked
from streams.quarantine import Quarantine, taken
from streams.slots import NEVER
from streams.surroundings import Board
from streams.timeline import Clock, Pane, Timeline, Window

_SWEEPS = 8  # a vanished device is forgotten at most an eighth of the time late


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What must be durable, in this order, before `release` may be committed.

    `end_ms` is the progress to save after rows and events; `memory` is saved last.
    """

    topic: str
    partition: int
    events: tuple[Event, ...] = ()
    schema: Schema | None = None
    rows: np.ndarray | None = None
    end_ms: int | None = None
    memory: bytes | None = None
    release: int | None = None


class Partition:
    """State of one partition, made when it is assigned and dropped when it is revoked.

    Args:
        schema: Family of the rows.
        number: Of the partition.
        clock: Times of event time.
        policy: When episodes open and close.
        board: What other partitions of this worker say, and the inventory.
        stored: Episodes that the store knows; None: leave them alone.
        durable_ms: End of the last window that the store has.
        memory: What was saved, and at which time.
        suspect_ms: End of a pane that a worker died of.
        born: It was added to the topic later.
        facts: Where to say what other partitions' verdicts need.
    """

    def __init__(  # noqa: PLR0917 - value-like
        self,
        schema: Schema,
        number: int,
        clock: Clock,
        policy: Policy,
        board: Board,
        stored: Stored | None,
        durable_ms: int | None = None,
        memory: tuple[int, bytes] | None = None,
        suspect_ms: int | None = None,
        *,
        born: bool = False,
        facts: Facts | None = None,
    ) -> None:
        self.schema, self.number, self._board = schema, number, board
        self._clock, self.facts = clock, facts
        self._quarantine = Quarantine(schema, number, clock.hop, suspect_ms)
        self._unjudged_ms = NEVER
        finders = finders_of(schema)
        self._ring = ring_of(schema, clock, finders)
        self.timeline = Timeline(schema, clock, durable_ms, self._ring, born=born)
        slots = self.timeline.slots
        self._judge = Judge(schema, number, finders, self._ring, slots, policy, board, stored)
        self.needs = self._judge.needs
        self.rests = False  # at the end of its log, and nothing waits: others need not wait for it
        self.snapshots: dict[Source, Snapshot] = {}
        self._saved_ms = NEVER
        self._released: int | None = None
        self._remembered = None if memory is None else unpacked(*memory, self._layout)
        self._swept = self._sweep_number(NEVER)
        if self._remembered is not None:
            self._restore(self._remembered)

    @property
    def _layout(self) -> str:
        """What is remembered, so that another version's memory is told from ours."""
        return f"1 {self._ring.layout} {sorted(self._arrays())}"

    def _restore(self, memory: Memory) -> None:
        self._saved_ms = memory.at_ms
        self._swept = self._sweep_number(memory.at_ms)
        self.timeline.restore(memory.part("slots"))
        self._judge.restore(memory)
        self.snapshots = snapshots_of(memory.part("needs"))
        if self.facts is not None:
            self.facts.restore(memory.part("facts"), memory.at_ms)

    @property
    def remembered_ms(self) -> int:
        """Up to when everything had been judged before this began."""
        return NEVER if self._remembered is None else self._remembered.at_ms

    def _arrays(self) -> Arrays:
        needed = self._board.snapshots(self.needs, self.number, self._saved_ms)
        arrays = {
            **named("slots", self.timeline.memory()),
            **self._judge.memory(),
            **named("needs", snapshots_memory(needed)),
        }
        if self.facts is not None:
            arrays |= named("facts", self.facts.memory(self._saved_ms))
        return arrays

    def _memory(self) -> bytes:
        return packed(self._arrays(), self._layout)

    def take(self, batch: Batch, now_ms: int) -> Iterator[Output]:
        """Take a fetched batch; hand out what it completes."""
        self.rests = False
        if self._released is None:
            self._released = batch.messages[0].offset - 1
        for part, until_ms in self._parts(batch):
            if letters := tuple(taken(part, lambda some: self._add(some, now_ms))):
                yield self._output(events=letters)
            yield from self.proceed()
            if self.facts is not None and until_ms is not None:
                self.facts.reached(until_ms)

    def _parts(self, batch: Batch) -> Iterator[tuple[Batch, int | None]]:
        """The batch cut after each message that says how far verdicts no longer wait for us."""
        marks = [] if self.facts is None else [*_facts_marks(batch)]
        begin = 0
        for at, until_ms in marks:
            yield replace(batch, messages=batch.messages[begin : at + 1]), until_ms
            begin = at + 1
        if begin < len(batch.messages):
            yield replace(batch, messages=batch.messages[begin:]) if begin else batch, None

    @property
    def ready_ms(self) -> int:
        """How far panes can be judged: the watermark is past them, and what they need is known."""
        return min(self.timeline.complete_ms, self._board.complete_ms(self.needs, self.number))

    def proceed(self) -> Iterator[Output]:
        """Hand out what is complete and what needs to wait for no other topic any more."""
        until_ms = self.ready_ms
        if self._quarantine.doubts:
            yield from self._warily(until_ms)
        yield from self._outputs(self.timeline.advance(until_ms))
        if self.facts is not None:
            self.facts.reached(self.timeline.complete_ms)
        if self.needs:
            begun = self.timeline.newest_ms > NEVER
            self._board.judged(self.number, until_ms if begun and not self.rests else None)

    def _add(self, batch: Batch, now_ms: int) -> Sequence[DeadLetter]:
        """Have the rows of a batch wait; says which messages are none of ours."""
        rows = decoded(batch, self.schema)
        self.timeline.add(rows, batch.last_offset, batch.clocks_ms(now_ms))
        return rows.letters

    def _warily(self, until_ms: int) -> Iterator[Output]:
        """Pane after pane, those in doubt only after what they would kill us with is set aside."""
        for end_ms in self.timeline.ends_ms(until_ms):
            if self._quarantine.doubted(end_ms) and (
                letters := self._quarantine.save(self, end_ms)
            ):
                yield self._output(events=letters)
            yield from self._outputs(self.timeline.advance(end_ms))

    def do_without(self, end_ms: int, what: Sequence[str]) -> None:
        """Give up parts of the pane that ends then: `judge`, `window`, `rows`."""
        if "judge" in what:
            self._unjudged_ms = end_ms
        if "window" in what:
            self.timeline.drop_window()
        if "rows" in what:
            self.timeline.drop(end_ms)

    def dies_of(
        self, end_ms: int, rows: np.ndarray, without: Sequence[str] = ()
    ) -> Exception | None:
        """What it would die of in the pane that ends then, with these rows; tried on a copy."""
        shared = (self._board, self._board.inventory, self.schema, self._judge.finders, self.facts)
        twin = copy.deepcopy(self, {id(one): one for one in shared})
        twin.facts = None  # what it says is not meant
        twin.timeline.replace(end_ms, rows)
        twin.do_without(end_ms, without)
        try:
            for _ in twin._outputs(twin.timeline.advance(end_ms)):  # noqa: SLF001 - our twin
                pass
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what we look for
            return error
        return None

    @property
    def state_bytes(self) -> int:
        """Bytes of what is kept by device."""
        return self.timeline.state_bytes + self._judge.state_bytes

    @property
    def open_episodes(self) -> dict[str, int]:
        """Episodes open now, by detector."""
        return self._judge.open_episodes

    def _outputs(self, happened: Iterator[Pane | Window]) -> Iterator[Output]:
        events: list[Event] = []
        for event in happened:
            if isinstance(event, Window):
                yield self._output(tuple(events), event)
                events = []
            elif event.rows:
                events += self._hop(event)
        if events:
            yield self._output(tuple(events))

    def _output(self, events: tuple[Event, ...], window: Window | None = None) -> Output:
        out = Output(
            topic=self.schema.topic, partition=self.number, schema=self.schema, events=events
        )
        if window is None:
            return out
        out = replace(out, rows=window.rows, end_ms=window.end_ms)
        if window.end_ms - self._saved_ms < self._clock.remember:
            return out
        self._saved_ms = window.end_ms
        # a replay onto the memory starts where the ring that belongs to it does
        release = self.timeline.released(window.end_ms - self._clock.window)
        self._released = self._released if release is None else release
        memory = self._memory()
        if self.facts is not None and self._released is not None:
            self.facts.snapshots.append(
                Snapshot(at_ms=window.end_ms, offset=self._released, memory=memory)
            )
        return replace(out, memory=memory, release=release)

    def _hop(self, pane: Pane) -> Iterator[Detection | DeadLetter]:
        if pane.end_ms == self._unjudged_ms:
            return
        self._judge.slide(pane.end_ms)
        if pane.end_ms <= self.remembered_ms:
            return  # judged before: what follows from it is remembered
        yield from self._judge.at(pane)
        if self.facts is not None:
            self.facts.post(pane.end_ms, self._judge.fact(self.facts.newest))
        self._sweep(pane.end_ms)

    def _sweep_number(self, ms: int) -> int:
        return ms * _SWEEPS // self._clock.forget

    def _sweep(self, end_ms: int) -> None:
        """Now and then, by event time, forget devices that have long been silent."""
        if self._sweep_number(end_ms) <= self._swept:
            return
        self._swept = self._sweep_number(end_ms)
        keep = self.timeline.seen_ms() >= end_ms - self._clock.forget
        keep |= self._judge.open()
        if keep.all():
            return
        metrics.STREAM_FORGOTTEN.labels(self.schema.topic).inc(int((~keep).sum()))
        slots = np.flatnonzero(keep)
        self.timeline.keep(slots)
        self._judge.keep(slots)


def _facts_marks(batch: Batch) -> Iterator[tuple[int, int]]:
    """Messages, by number, that say up to when verdicts go on without this partition."""
    for number, message in enumerate(batch.messages):
        if not message.value and (until_ms := facts_of(message.headers)) is not None:
            yield number, until_ms

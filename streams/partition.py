"""One partition of one telemetry topic: batches in; windows and detections out. Knows no Kafka."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import structlog

from ridgeline import metrics
from ridgeline.events import DeadLetter, Detection, Event
from ridgeline.frames import facts_of
from ridgeline.schema import SCHEMAS, Schema
from streams.batches import Batch, dead_letter, decoded
from streams.detectors import DETECTORS
from streams.detectors.verdict import Detector, Finder, Verdict, Without
from streams.episodes import Episodes, Policy
from streams.facts import Facts, Snapshot, framed, unframed
from streams.memory import Arrays, Memory, array_bytes, as_text, named, packed, text_of, unpacked
from streams.ring import Ring
from streams.slots import NEVER, BySlot
from streams.surroundings import (
    SERVING_COLUMNS,
    Board,
    Neighbourhood,
    Source,
    cooling_facts,
    serving_facts,
)
from streams.suspects import bug, guilty, pane_letter, row_letter
from streams.timeline import Clock, Pane, Timeline, Window

log = structlog.get_logger()
Stored = dict[tuple[str, str], dict[int, Detection]]
"""Episodes the store knows that are open or young, by detector and condition, then by device."""

_WARY_MS = 60_000
"""For so long after a pane we died of each pane is tried on a copy first."""
_COMPLAIN_MS = 60_000
"""A detector that goes on failing is a dead letter so often."""
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
        self._clock, self._suspect_ms = clock, suspect_ms
        self._wary_ms = self._unjudged_ms = NEVER
        self._complained: dict[str, int] = {}
        self._stored, self._beside, self.facts = stored, stored is None, facts
        self._finders = [
            (d, d.finders[schema.family]) for d in DETECTORS if schema.family in d.finders
        ]
        needs = {f for d, _ in self._finders for f in d.needs.get(schema.family, ())}
        self.needs = tuple(SCHEMAS[family].topic for family in sorted(needs))
        columns = {c for d, _ in self._finders for c in d.columns.get(schema.family, ())}
        if schema.family == "serving":
            columns |= set(SERVING_COLUMNS)
        self._ring = Ring(
            schema,
            columns,
            clock.window // clock.hop,
            clock.hop,
            learned=[c for d, _ in self._finders for c in d.baselines.get(schema.family, ())],
            peaked=[c for d, _ in self._finders for c in d.peaks.get(schema.family, ())],
        )
        self.timeline = Timeline(schema, clock, durable_ms, self._ring, born=born)
        slots = self.timeline.slots
        self._around = Neighbourhood(board, number, slots)
        self._episodes: Mapping[tuple[str, str], Episodes] = {
            (d.name, condition): Episodes(
                d.name,
                condition,
                slots,
                policy,
                board.inventory.who,
            )
            for d, _ in self._finders
            for condition in d.conditions
        }

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
        self._ring.restore(memory.part("ring"))
        self._around.restore(memory.part("around"))
        self.snapshots = _snapshots_of(memory.part("needs"))
        if self.facts is not None:
            self.facts.restore(memory.part("facts"), memory.at_ms)
        for (detector, condition), episodes in self._episodes.items():
            episodes.restore(memory.part(f"{detector}/{condition}"))

    @property
    def remembered_ms(self) -> int:
        """Up to when everything had been judged before this began."""
        return NEVER if self._remembered is None else self._remembered.at_ms

    def _arrays(self) -> Arrays:
        slots = self.timeline.slots
        arrays = {
            **named("slots", self.timeline.memory()),
            **named("ring", self._ring.memory(slots.count)),
            **named("around", self._around.memory(slots.count)),
            **named("needs", _memory_of(self._around.snapshots(self.needs, self._saved_ms))),
        }
        if self.facts is not None:
            arrays |= named("facts", self.facts.memory(self._saved_ms))
        for (detector, condition), episodes in self._episodes.items():
            arrays |= named(f"{detector}/{condition}", episodes.memory(slots.count))
        return arrays

    def _memory(self) -> bytes:
        return packed(self._arrays(), self._layout)

    def take(self, batch: Batch, now_ms: int) -> Iterator[Output]:
        """Take a fetched batch; hand out what it completes."""
        if self._released is None:
            self._released = batch.messages[0].offset - 1
        for part, until_ms in self._parts(batch):
            if letters := tuple(self._add(part, now_ms)):
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
        return min(self.timeline.complete_ms, self._around.complete_ms(self.needs))

    def proceed(self) -> Iterator[Output]:
        """Hand out what is complete and what needs to wait for no other topic any more."""
        until_ms = self.ready_ms
        if self._suspect_ms is not None or self._wary_ms > NEVER:
            yield from self._warily(until_ms)
        yield from self._outputs(self.timeline.advance(until_ms))
        if self.facts is not None:
            self.facts.reached(self.timeline.complete_ms)
        if self.needs:
            idle = self.timeline.closing_ms is None
            self._board.judged(self.number, None if idle else until_ms)

    def _add(self, batch: Batch, now_ms: int) -> Iterator[DeadLetter]:
        """Have the rows of a batch wait; a message that no code of ours can take is set aside."""
        try:
            rows = decoded(batch, self.schema)
            self.timeline.add(rows, batch.last_offset, batch.clocks_ms(now_ms))
        except Exception as error:
            middle = len(batch.messages) // 2
            if not middle:
                log.exception("a message cannot be taken", topic=batch.topic)
                yield dead_letter(batch, batch.messages[0], bug(error))
            else:
                for part in (batch.messages[:middle], batch.messages[middle:]):
                    yield from self._add(replace(batch, messages=part), now_ms)
        else:
            yield from rows.letters

    def _warily(self, until_ms: int) -> Iterator[Output]:
        """Try the pane that a worker died of, and those after one that fails, on a copy first.

        And the one before: with it a window may end that cannot be written.
        """
        suspect_ms = NEVER if self._suspect_ms is None else self._suspect_ms
        for end_ms in self.timeline.ends_ms(until_ms):
            if 0 <= suspect_ms - end_ms <= self._clock.hop or end_ms <= self._wary_ms:
                yield from self._carefully(end_ms)
            yield from self._outputs(self.timeline.advance(end_ms))

    def _carefully(self, end_ms: int) -> Iterator[Output]:
        """Give up as little as has to be given up to survive a pane."""
        rows = self.timeline.waiting(end_ms)
        error = self._dies_of(end_ms, rows)
        if error is None:
            return
        self._wary_ms = end_ms + _WARY_MS
        found = guilty(rows, lambda some: self._dies_of(end_ms, some))
        if found is not None:
            good, bad = found
            self.timeline.replace(end_ms, good)
            self.timeline.shun(np.unique(bad["device"]))
            letters = tuple(row_letter(self.schema, self.number, row) for row in bad)
            yield self._output(events=letters)
        else:
            yield self._output(events=(self._give_up(end_ms, rows, error),))

    def _give_up(self, end_ms: int, rows: np.ndarray, error: Exception) -> DeadLetter:
        """No row is to blame: do without the least that helps."""
        ways = (("judge",), ("window",), ("rows",), ("rows", "window"))
        enough = (w for w in ways if self._dies_of(end_ms, rows, w) is None)
        way = next(enough, ways[-1])
        self._do_without(end_ms, way)
        words = {
            "judge": "no detector looked at the pane",
            "window": "the open window is lost",
            "rows": f"{len(rows)} rows of the pane are lost",
        }
        lost = ", ".join(words[one] for one in way)
        log.error("a pane is given up", topic=self.schema.topic, lost=lost, error=repr(error))
        return pane_letter(self.schema, self.number, end_ms, lost, error)

    def _do_without(self, end_ms: int, what: Sequence[str]) -> None:
        if "judge" in what:
            self._unjudged_ms = end_ms
        if "window" in what:
            self.timeline.drop_window()
        if "rows" in what:
            self.timeline.drop(end_ms)

    def _dies_of(
        self, end_ms: int, rows: np.ndarray, without: Sequence[str] = ()
    ) -> Exception | None:
        shared = (self._board, self._board.inventory, self.schema, self._finders, self.facts)
        twin = copy.deepcopy(self, {id(one): one for one in shared})
        twin.facts = None  # what it says is not meant
        twin.timeline.replace(end_ms, rows)
        twin._do_without(end_ms, without)  # noqa: SLF001 - our twin
        try:
            for _ in twin._outputs(twin.timeline.advance(end_ms)):  # noqa: SLF001 - our twin
                pass
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what we look for
            return error
        return None

    @property
    def state_bytes(self) -> int:
        """Bytes of what is kept by device."""
        return self.timeline.state_bytes + array_bytes(self._around, *self._episodes.values())

    @property
    def open_episodes(self) -> dict[str, int]:
        """Episodes open now, by detector."""
        out: dict[str, int] = {}
        for (detector, _), episodes in self._episodes.items():
            out[detector] = out.get(detector, 0) + episodes.count
        return out

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
        slots, ring = self.timeline.slots, self._ring
        ring.slide(pane.end_ms, slots.count)
        if self._remembered is not None and pane.end_ms <= self._remembered.at_ms:
            return  # judged before: what follows from it is remembered
        if pane.fresh and self._stored is not None:
            for key, episodes in self._episodes.items():
                episodes.agree(self._stored.get(key, {}))
            self._stored = None
        self._around.at(pane.end_ms, slots.count)
        frozen = np.zeros(slots.count, dtype=bool)
        for detector, find in self._finders:
            verdicts, letters = self._judge(detector, find, pane.end_ms)
            yield from letters
            for verdict in verdicts:
                episodes = self._episodes[detector.name, verdict.condition]
                said = [*episodes.hop(pane.end_ms, verdict)]
                if pane.fresh:  # otherwise a replay: said before
                    yield from self._counted(said)
            for condition in detector.conditions:
                frozen |= self._episodes[detector.name, condition].open(slots.count)
        ring.learn(frozen)
        self._post(pane.end_ms)
        self._sweep(pane.end_ms)

    def _counted(self, said: Sequence[Detection]) -> Sequence[Detection]:
        for one in () if self._beside else said:
            metrics.DETECTIONS.labels(one.detector, one.state.value).inc()
        return said

    def _judge(
        self, detector: Detector, find: Finder, end_ms: int
    ) -> tuple[Sequence[Verdict], Sequence[DeadLetter]]:
        """What a detector says. Where it fails, what it says without the devices it fails on."""
        ring, around = self._ring, self._around
        try:
            return find(ring, around), ()
        except Exception as error:  # noqa: BLE001 - a bug of one detector costs its verdict alone
            failed = error

        def fails_on(slots: np.ndarray) -> Exception | None:
            hidden = np.ones(ring.size, dtype=bool)
            hidden[slots] = False
            try:
                find(Without(ring, hidden), around)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is what we look for
                return error
            return None

        metrics.DETECTOR_ERRORS.labels(detector.name).inc()
        found = guilty(np.arange(ring.size), fails_on)
        if found is None:
            verdicts: Sequence[Verdict] = ()
            lost = f"{detector.name} did not judge the window"
        else:
            hidden = np.zeros(ring.size, dtype=bool)
            hidden[found[1]] = True
            verdicts = find(Without(ring, hidden), around)
            devices = ", ".join(map(str, self.timeline.slots.device[found[1]][:8].tolist()))
            lost = f"{detector.name} did not judge devices {devices}"
        if end_ms - self._complained.get(detector.name, NEVER) < _COMPLAIN_MS:
            return verdicts, ()
        self._complained[detector.name] = end_ms
        log.error("a detector fails", lost=lost, error=repr(failed))
        return verdicts, (pane_letter(self.schema, self.number, end_ms, lost, failed),)

    def _post(self, end_ms: int) -> None:
        if self.facts is None:
            return
        if self.schema.family == "serving":
            said = serving_facts(self._ring, self.timeline.slots)
        else:
            said = cooling_facts(self._ring, self._around.loop, self.facts.newest)
        self.facts.post(end_ms, said)

    def _sweep_number(self, ms: int) -> int:
        return ms * _SWEEPS // self._clock.forget

    def _sweep(self, end_ms: int) -> None:
        """Now and then, by event time, forget devices that have long been silent."""
        if self._sweep_number(end_ms) <= self._swept:
            return
        self._swept = self._sweep_number(end_ms)
        count = self.timeline.slots.count
        keep = self.timeline.seen_ms() >= end_ms - self._clock.forget
        for episodes in self._episodes.values():
            keep |= episodes.open(count)
        if keep.all():
            return
        metrics.STREAM_FORGOTTEN.labels(self.schema.topic).inc(int((~keep).sum()))
        slots = np.flatnonzero(keep)
        kept: tuple[BySlot, ...] = (
            self.timeline,
            self._ring,
            self._around,
            *self._episodes.values(),
        )
        for state in kept:
            state.keep(slots)


def _facts_marks(batch: Batch) -> Iterator[tuple[int, int]]:
    """Messages, by number, that say up to when verdicts go on without this partition."""
    for number, message in enumerate(batch.messages):
        if not message.value and (until_ms := facts_of(message.headers)) is not None:
            yield number, until_ms


def _memory_of(snapshots: Iterator[tuple[Source, Snapshot]]) -> dict[str, np.ndarray]:
    found = [*snapshots]
    where = [f"{topic} {number} {s.at_ms} {s.offset}" for (topic, number), s in found]
    return {
        "where": as_text("\n".join(where)),
        "memory": framed([snapshot.memory for _, snapshot in found]),
    }


def _snapshots_of(memory: Arrays) -> dict[Source, Snapshot]:
    out: dict[Source, Snapshot] = {}
    lines = text_of(memory["where"]).splitlines()
    for line, body in zip(lines, unframed(memory["memory"]), strict=True):
        topic, number, at_ms, offset = line.split()
        out[topic, int(number)] = Snapshot(at_ms=int(at_ms), offset=int(offset), memory=body)
    return out

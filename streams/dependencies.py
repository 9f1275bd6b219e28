"""Verdicts of this worker that wait for other topics: what is read for them, how long they wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import structlog
from aiokafka.errors import KafkaError

from ridgeline import metrics
from ridgeline.frames import facts_headers
from ridgeline.schema import FACILITY, GPU, SERVING
from streams.batches import Batch
from streams.episodes import Policy
from streams.facts import Facts, Source
from streams.followed import Followed, Patience
from streams.partition import Output, Partition
from streams.silence import AppendMark, Silence
from streams.slots import NEVER
from streams.surroundings import Board
from streams.timeline import Clock

log = structlog.get_logger()
AHEAD_MS = 60_000
"""How much more event time is read of a topic than of one it waits for or that waits for it."""
REST_SECONDS = 5.0
"""A partition with nothing open from which nothing has come for so long is read to its end."""
Hold = Callable[[str, int, bool], None]
"""Whether to read no more of a topic's partition for now."""


class Dependencies:
    """What the partitions of one worker need of each other and of partitions beside them.

    Args:
        partitions: Those of this worker, as they come and go.
        board: Where they tell each other what they need.
        clock: Times of event time.
        policy: When episodes open and close.
        silence: Since when each partition has been silent.
        counted: How many partitions a topic has.
        put: Where outputs go.
        append_mark: Appends to a partition up to when verdicts go on without it.
        hold: Told which partitions are far ahead of what they wait for or is waiting for them.
    """

    def __init__(  # noqa: PLR0917 - wiring
        self,
        partitions: Mapping[Source, Partition],
        board: Board,
        clock: Clock,
        policy: Policy,
        silence: Silence,
        counted: Callable[[str], int],
        put: Callable[[Sequence[Output]], None],
        append_mark: AppendMark,
        hold: Hold,
    ) -> None:
        self._partitions, self._board = partitions, board
        self._clock, self._policy, self._silence = clock, policy, silence
        self._counted, self._put = counted, put
        self._append_mark, self._hold = append_mark, hold
        self.held = set[Source]()
        """Those of our partitions that are not read for now."""
        self.paused = set[Source]()
        """The same of what is read beside."""
        self._idle: dict[Source, tuple[int, float]] = {}
        self._patience: dict[Source, Patience] = {}
        self.followed: dict[Source, Followed] = {}
        """What is to be read beside what the group gave us."""

    def forget(self, tp: Source) -> None:
        """Drop what is known of a partition that is not ours any more."""
        if tp[0] == SERVING.topic:
            for known in (self.followed, self._patience, self._board.facts):
                known.pop(tp, None)
        if tp[0] == GPU.topic:
            self._board.judged(tp[1], None)
        self._idle.pop(tp, None)
        self.held.discard(tp)
        self.paused &= self.followed.keys()
        self._hold(*tp, False)
        self._hold_back()

    def follow(self, partition: Partition) -> None:
        """See to it that what the partition needs is known from where it goes on."""
        if not partition.needs:
            return
        for source, facts in self._coolers():
            if facts is None or facts.from_ms > partition.remembered_ms:
                self._board.facts[source] = self._start(source, partition)
        source = (SERVING.topic, partition.number)
        mine = self._partitions.get(source)
        if mine is None or mine.facts is None or mine.facts.from_ms <= partition.remembered_ms:
            return
        mine.facts.since_ms = mine.facts.from_ms
        mine.facts.before = self._start(source, partition)

    def _coolers(self) -> Iterator[tuple[Source, Facts | None]]:
        for number in range(self._counted(FACILITY.topic)):
            source = (FACILITY.topic, number)
            yield source, self._board.facts.get(source)

    def _start(self, source: Source, reader: Partition) -> Facts:
        """Read a source from where the reader needs it."""
        topic, number = source
        followed = Followed(
            SERVING if topic == SERVING.topic else FACILITY,
            number,
            self._clock,
            self._policy,
            self._board,
            Facts(),
            reader.snapshots.get(source),
        )
        self.followed[source] = followed
        return followed.facts

    def hear(self, batch: Batch) -> None:
        """Take a batch of what is read beside."""
        source = (batch.topic, batch.partition)
        followed = self.followed.get(source)
        if followed is None or (rest := batch.after(followed.offset - 1)) is None:
            return
        followed.take(rest, int(time.time() * 1000))
        self._silence.heard(rest)
        mine = self._board.facts.get(source)
        taken_over = mine is not None and mine.before is followed.facts
        if taken_over and mine is not None and followed.facts.until_ms >= mine.since_ms:
            del self.followed[source]  # from here on our own partition says it
            self.paused.discard(source)
        self._go_on_all()

    def _go_on_all(self) -> None:
        for partition in [*self._partitions.values()]:
            if partition.needs:
                self._put(list(partition.proceed()))
        self._hold_back()

    def go_on(self, tp: Source, partition: Partition) -> None:
        """Judge what waited for this partition; read nothing further ahead than memory allows."""
        if partition.facts is not None:
            for other, waiting in [*self._partitions.items()]:
                if tp[0] in waiting.needs and other[1] == tp[1]:
                    self._put(list(waiting.proceed()))
        self._hold_back()

    def _hold_back(self) -> None:
        """See who is to be read no further for now, and who again.

        Of a partition, what it waits for and what waits for it, the hindmost is never held.
        """
        for tp, partition in self._partitions.items():
            waits = partition.timeline.complete_ms - partition.ready_ms > AHEAD_MS
            ahead = waits or self._is_ahead(tp, partition.facts)
            if ahead != (tp in self.held):
                (self.held.add if ahead else self.held.discard)(tp)
                self._hold(*tp, ahead)
                self._silence.resume(tp)
        for source, followed in self.followed.items():
            ahead = self._is_ahead(source, followed.facts)
            if ahead != (source in self.paused):
                (self.paused.add if ahead else self.paused.discard)(source)
                self._silence.resume(source)

    def _is_ahead(self, source: Source, facts: Facts | None) -> bool:
        """Whether facts pile up that nobody can use yet."""
        needed_ms = None if facts is None else self._board.needed_ms(source)
        return needed_ms is not None and facts is not None and facts.until_ms - needed_ms > AHEAD_MS

    def _rest(self, now: float) -> None:
        """Let nobody wait for readers that have come to the end of their log."""
        for tp, partition in self._partitions.items():
            newest_ms = partition.timeline.newest_ms
            if not partition.needs or partition.timeline.closing_ms is not None:
                self._idle.pop(tp, None)
            elif self._idle.get(tp, (None,))[0] != newest_ms:
                self._idle[tp] = (newest_ms, now)
            elif now - self._idle[tp][1] > REST_SECONDS and not partition.rests:
                partition.rests = True
                self._put(list(partition.proceed()))

    async def mark_missing(self, now: float) -> None:
        """See which verdicts have waited long enough for another topic.

        Args:
            now: Seconds of a monotonic clock.
        """
        readers = [p for p in self._partitions.values() if p.needs]
        self._board.trim({p.number for p in readers})
        reader = next(iter(readers), None)
        for source, known in self._coolers():
            if known is None and reader is not None:  # a partition was added
                self._board.facts[source] = self._start(source, reader)
        self._rest(now)
        self._hold_back()
        for source, wanted_ms in self._wanted().items():
            facts = self._board.facts.get(source)
            if facts is None:  # it went while we appended a mark for another
                continue
            if source in self.held or source in self.paused:
                continue  # it is not silent, it is not read
            patience = self._patience.setdefault(source, Patience(now))
            silent = self._silence.seconds(source, now, patience.since)
            if patience.is_over(now, silent):
                log.warning("verdicts go on without another topic", topic=source[0])
                metrics.STREAM_FACTS_MISSED.labels(source[0]).inc()
                facts.give_up(wanted_ms)
                self._go_on_all()
            until_ms = patience.mark(now, silent, wanted_ms, facts.complete_ms)
            if until_ms is None:
                continue
            try:
                await self._append_mark(*source, facts_headers(until_ms))
            except (KafkaError, OSError) as error:
                log.warning("cannot say who is silent", topic=source[0], error=str(error))
            else:
                metrics.STREAM_FACTS_MISSED.labels(source[0]).inc()

    def _wanted(self) -> dict[Source, int]:
        """Up to when the facts of each source are wanted by what has been read."""
        out: dict[Source, int] = {}
        for partition in self._partitions.values():
            if partition.timeline.closing_ms is None:
                continue
            for source, _ in self._board.sources(partition.needs, partition.number):
                out[source] = max(out.get(source, NEVER), partition.timeline.complete_ms)
        return out

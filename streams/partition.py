"""One partition of one telemetry topic: batches in; windows and detections out. Knows no Kafka."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ridgeline import metrics
from ridgeline.events import Detection, Event
from ridgeline.schema import Schema
from streams.batches import Batch, decoded
from streams.detectors import DETECTORS
from streams.episodes import Episodes, Policy
from streams.ring import Ring
from streams.surroundings import SERVING_COLUMNS, Board, Neighbourhood
from streams.timeline import Clock, Pane, Timeline, Window

Recovered = dict[tuple[str, str], dict[int, Detection]]
"""Open episodes the store knows, by detector and condition, then by device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What must be durable, in this order, before `release` may be committed.

    `end_ms` is the progress to save afterwards; None: rows and events alone.
    """

    topic: str
    partition: int
    events: tuple[Event, ...] = ()
    schema: Schema | None = None
    rows: np.ndarray | None = None
    end_ms: int | None = None
    release: int | None = None


class Partition:
    """State of one partition, made when it is assigned and dropped when it is revoked."""

    def __init__(  # noqa: PLR0917 - value-like
        self,
        schema: Schema,
        number: int,
        clock: Clock,
        policy: Policy,
        board: Board,
        recovered: Recovered,
        durable_ms: int | None = None,
    ) -> None:
        self.schema, self.number, self._board = schema, number, board
        self._finders = [
            (d, d.finders[schema.family]) for d in DETECTORS if schema.family in d.finders
        ]
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
        self.timeline = Timeline(schema, clock, durable_ms, self._ring)
        slots = self.timeline.slots
        self._around = Neighbourhood(board, number, slots)
        self._episodes: Mapping[tuple[str, str], Episodes] = {
            (d.name, condition): Episodes(
                d.name,
                condition,
                slots,
                policy,
                recovered.get((d.name, condition), {}),
                board.inventory.who,
            )
            for d, _ in self._finders
            for condition in d.conditions
        }

    def take(self, batch: Batch, now_ms: int) -> Iterator[Output]:
        """Take a fetched batch; hand out what it completes."""
        rows = decoded(batch, self.schema)
        if rows.letters:
            yield self._output(events=rows.letters)
        self.timeline.add(rows, batch.last_offset, batch.clocks_ms(now_ms))
        yield from self._outputs(self.timeline.advance())

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
        return Output(
            topic=self.schema.topic,
            partition=self.number,
            schema=self.schema,
            rows=None if window is None else window.rows,
            events=events,
            end_ms=None if window is None else window.end_ms,
            release=None if window is None else window.release,
        )

    def _hop(self, pane: Pane) -> Iterator[Detection]:
        slots, ring = self.timeline.slots, self._ring
        ring.sum_up(pane.end_ms, slots.count)
        if self.schema.family == "serving":
            self._board.post_serving(self.number, ring, slots)
        around = self._around.at(pane.end_ms, slots.count)
        frozen = np.zeros(slots.count, dtype=bool)
        for detector, find in self._finders:
            for verdict in find(ring, around):
                episodes = self._episodes[detector.name, verdict.condition]
                for detection in episodes.hop(pane.end_ms, verdict, fresh=pane.fresh):
                    metrics.DETECTIONS.labels(detector.name, detection.state.value).inc()
                    yield detection
                frozen |= episodes.open(slots.count)
        ring.learn(frozen)
        if self.schema.family == "facility":
            self._board.post_facility(ring, slots)

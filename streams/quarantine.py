"""What our own code dies of is set aside: a message, rows, else as little of a pane as helps.

A pane that a worker died of, and those after one that fails, are tried on a copy of the partition
before they are processed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import structlog

from ridgeline.events import DeadLetter
from ridgeline.schema import Schema
from streams.batches import Batch, dead_letter
from streams.slots import NEVER
from streams.suspects import bug, guilty, pane_letter, row_letter
from streams.timeline import Timeline

log = structlog.get_logger()
_WARY_MS = 60_000
"""For so long after a pane we died of each pane is tried on a copy first."""
_WAYS = (("judge",), ("window",), ("rows",), ("rows", "window"))
"""What a pane in which no row is to blame may have to do without, the least first."""


class Patient(Protocol):
    """A partition, as far as it is operated on."""

    @property
    def timeline(self) -> Timeline:
        """Its rows."""

    def dies_of(
        self, end_ms: int, rows: np.ndarray, without: Sequence[str] = ()
    ) -> Exception | None:
        """What it would die of in the pane that ends then, with these rows; tried on a copy."""

    def do_without(self, end_ms: int, what: Sequence[str]) -> None:
        """Give up parts of that pane: `judge`, `window`, `rows`."""


class Quarantine:
    """Knows which panes of one partition to try first, and what of them to give up.

    Args:
        schema: Family of the rows.
        number: Of the partition.
        hop_ms: Length of a pane.
        suspect_ms: End of the pane that a worker died of.
    """

    def __init__(self, schema: Schema, number: int, hop_ms: int, suspect_ms: int | None) -> None:
        self._schema, self._number, self._hop = schema, number, hop_ms
        self._suspect_ms, self._wary_ms = suspect_ms, NEVER

    @property
    def doubts(self) -> bool:
        """Whether there is any pane to try first."""
        return self._suspect_ms is not None or self._wary_ms > NEVER

    def doubted(self, end_ms: int) -> bool:
        """Whether to try this one: the pane a worker died of, or one soon after one that fails.

        And the one before: with it a window may end that cannot be written.
        """
        suspect_ms = NEVER if self._suspect_ms is None else self._suspect_ms
        return 0 <= suspect_ms - end_ms <= self._hop or end_ms <= self._wary_ms

    def save(self, patient: Patient, end_ms: int) -> tuple[DeadLetter, ...]:
        """Give up as little as has to be given up to survive a pane; says what."""
        rows = patient.timeline.waiting(end_ms)
        error = patient.dies_of(end_ms, rows)
        if error is None:
            return ()
        self._wary_ms = end_ms + _WARY_MS
        found = guilty(rows, lambda some: patient.dies_of(end_ms, some))
        if found is None:
            return (self._give_up(patient, end_ms, rows, error),)
        good, bad = found
        patient.timeline.replace(end_ms, good)
        patient.timeline.shun(np.unique(bad["device"]))
        return tuple(row_letter(self._schema, self._number, row) for row in bad)

    def _give_up(
        self, patient: Patient, end_ms: int, rows: np.ndarray, error: Exception
    ) -> DeadLetter:
        """No row is to blame: do without the least that helps."""
        enough = (w for w in _WAYS if patient.dies_of(end_ms, rows, w) is None)
        way = next(enough, _WAYS[-1])
        patient.do_without(end_ms, way)
        words = {
            "judge": "no detector looked at the pane",
            "window": "the open window is lost",
            "rows": f"{len(rows)} rows of the pane are lost",
        }
        lost = ", ".join(words[one] for one in way)
        log.error("a pane is given up", topic=self._schema.topic, lost=lost, error=repr(error))
        return pane_letter(self._schema, self._number, end_ms, lost, error)


def taken(batch: Batch, take: Callable[[Batch], Sequence[DeadLetter]]) -> Iterator[DeadLetter]:
    """Take a batch; a message that no code of ours can take is found by halving and set aside."""
    try:
        letters = take(batch)
    except Exception as error:
        middle = len(batch.messages) // 2
        if not middle:
            log.exception("a message cannot be taken", topic=batch.topic)
            yield dead_letter(batch, batch.messages[0], bug(error))
        else:
            for part in (batch.messages[:middle], batch.messages[middle:]):
                yield from taken(replace(batch, messages=part), take)
    else:
        yield from letters

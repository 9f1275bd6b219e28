"""Rows that a bug of ours dies of: found by halving, set aside, so that the rest goes on.

A worker that dies while it processes a pane leaves a note in the store. Whoever gets the partition
next tries that pane on a copy of the state before it processes it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable

import numpy as np

from ridgeline import metrics
from ridgeline.errors import Reject
from ridgeline.events import DeadLetter
from ridgeline.schema import Schema

Tried = Callable[[np.ndarray], Exception | None]
"""What our code dies of when it is given these rows, if it does."""
SUSPECT = "suspect/"
"""Before a topic's name in the progress table: end of the pane that a worker died of."""
BUG = "bug"


def bug(error: Exception) -> Reject:
    """Why a message is set aside that is well-formed."""
    return Reject(BUG, type(error).__name__, f"our code fails on it: {error}")


class TooMany(Exception):
    """More tries than a search for guilty rows is worth."""


MOST_TRIES = 64


def bounded(dies_of: Tried, tries: int = MOST_TRIES) -> Tried:
    """The same for so many calls.

    Raises:
        TooMany: afterwards; nobody in particular is guilty then.
    """
    left = [tries]

    def tried(rows: np.ndarray) -> Exception | None:
        left[0] -= 1
        if left[0] < 0:
            raise TooMany
        return dies_of(rows)

    return tried


def guilty(rows: np.ndarray, dies_of: Tried) -> tuple[np.ndarray, np.ndarray] | None:
    """As `without`; None where it is not some of the rows that are to blame."""
    try:
        tried = bounded(dies_of)
        if tried(rows[:0]) is not None:
            return None
        good, bad = without(rows, tried)
    except TooMany:
        return None
    return (good, bad) if len(good) or len(bad) == 1 else None


def pane_letter(
    schema: Schema, partition: int, end_ms: int, lost: str, error: Exception
) -> DeadLetter:
    """The letter for what a failure of our own code cost where no row is to blame; counted."""
    metrics.DEAD_LETTERS.labels(schema.topic, BUG).inc()
    return DeadLetter(
        topic=schema.topic,
        partition=partition,
        offset=0,
        field=BUG,
        reason=f"{lost} at {end_ms}: our code fails: {error!r}"[:2000],
        headers={"schema": schema.id},
        value_base64="",
        value_bytes=0,
        ts=end_ms,
    )


def without(rows: np.ndarray, dies_of: Tried) -> tuple[np.ndarray, np.ndarray]:
    """Rows that are survived together, and those that are not.

    Halves down to single rows. Rows that only together are deadly are all given up.
    """
    if not len(rows) or dies_of(rows) is None:
        return rows, rows[:0]
    if len(rows) == 1:
        return rows[:0], rows
    middle = len(rows) // 2
    parts = [without(part, dies_of) for part in (rows[:middle], rows[middle:])]
    good, bad = (np.concatenate([part[side] for part in parts]) for side in (0, 1))
    return (rows[:0], rows) if dies_of(good) is not None else (good, bad)


def row_letter(schema: Schema, partition: int, row: np.void) -> DeadLetter:
    """The letter for a row that our code dies of; counted. Its offset is not known any more."""
    metrics.DEAD_LETTERS.labels(schema.topic, BUG).inc()
    value = row.tobytes()
    return DeadLetter(
        topic=schema.topic,
        partition=partition,
        offset=0,
        field=BUG,
        reason=f"our code fails on this row of device {int(row['device'])}",
        headers={"schema": schema.id},
        value_base64=base64.b64encode(value).decode(),
        value_bytes=len(value),
        ts=int(row["ts"]),
    )

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

SUSPECT = "suspect/"
"""Before a topic's name in the progress table: end of the pane that a worker died of."""
BUG = "bug"


def bug(error: Exception) -> Reject:
    """Why a message is set aside that is well-formed."""
    return Reject(BUG, type(error).__name__, f"our code fails on it: {error}")


def without(
    rows: np.ndarray, dies_of: Callable[[np.ndarray], Exception | None]
) -> tuple[np.ndarray, np.ndarray]:
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

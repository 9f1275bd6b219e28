"""A detector that fails costs its own verdict on the devices that it fails on, and no more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import structlog

from ridgeline import metrics
from ridgeline.events import DeadLetter
from ridgeline.schema import Schema
from streams.detectors.verdict import Around, Detector, Finder, Verdict, Without
from streams.ring import Ring
from streams.slots import NEVER, Slots
from streams.suspects import guilty, pane_letter

log = structlog.get_logger()
_COMPLAIN_MS = 60_000
"""A detector that goes on failing is a dead letter so often."""


class Isolation:
    """Asks the detectors of one partition; a failure of one reaches nobody else.

    Args:
        schema: Family of the rows.
        number: Of the partition.
        slots: Its devices.
    """

    def __init__(self, schema: Schema, number: int, slots: Slots) -> None:
        self._schema, self._number, self._slots = schema, number, slots
        self._complained: dict[str, int] = {}

    def ask(
        self, detector: Detector, find: Finder, ring: Ring, around: Around
    ) -> tuple[Sequence[Verdict], Sequence[DeadLetter]]:
        """What a detector says. Where it fails, what it says without the devices it fails on."""
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
            devices = ", ".join(map(str, self._slots.device[found[1]][:8].tolist()))
            lost = f"{detector.name} did not judge devices {devices}"
        return verdicts, self._letters(detector.name, ring.end_ms, lost, failed)

    def _letters(
        self, detector: str, end_ms: int, lost: str, failed: Exception
    ) -> Sequence[DeadLetter]:
        if end_ms - self._complained.get(detector, NEVER) < _COMPLAIN_MS:
            return ()
        self._complained[detector] = end_ms
        log.error("a detector fails", lost=lost, error=repr(failed))
        return (pane_letter(self._schema, self._number, end_ms, lost, failed),)

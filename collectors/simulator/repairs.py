"""What was put right in the simulated cluster, read from a file that others append to.

A line is the kind of an event and a place, `cooling loop-b`: events of that kind that go on there
are over, until their round of the timeline comes again.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import structlog

from collectors.simulator.conditions import targets
from collectors.simulator.scenario import TimelineEvent
from collectors.simulator.topology import Topology
from ridgeline.errors import Misconfigured

log = structlog.get_logger()
KINDS = ("demand", "incast", "cooling", "power_cap", "lossy_link")
_MOST_BYTES = 1_000_000


class Repairs:
    """Repairs of a file; None or a file that is not there: nothing was ever put right."""

    def __init__(self, path: Path | None, topology: Topology) -> None:
        self._path = path
        self._topology = topology
        self._read_bytes = 0
        self._over: set[tuple[TimelineEvent, int]] = set()

    def read(self, active: list[tuple[TimelineEvent, int]]) -> None:
        """Take up new lines: what of `active` they name is over."""
        for line in filter(str.strip, self._new_lines()):
            kind, _, place = line.strip().partition(" ")
            try:
                nodes = targets(self._topology, (place,))
            except Misconfigured:
                nodes = np.zeros(0, dtype=np.int64)
            if kind not in KINDS or not nodes.size:
                known = ", ".join(KINDS)
                log.warning("repair ignored: need KIND PLACE", line=line.strip(), kinds=known)
                continue
            self._over |= {
                (event, round_)
                for event, round_ in active
                if event.kind == kind
                and np.isin(nodes, targets(self._topology, event.target)).any()
            }

    def left(self, active: list[tuple[TimelineEvent, int]]) -> list[tuple[TimelineEvent, int]]:
        """Events that nobody has put right."""
        return [one for one in active if one not in self._over] if self._over else active

    def _new_lines(self) -> list[str]:
        """Whole lines since the last time; a file that became shorter is read anew."""
        if self._path is None:
            return []
        try:
            if self._path.stat().st_size == self._read_bytes:
                return []
            text = self._path.read_bytes()[:_MOST_BYTES]
        except OSError:
            return []
        start = self._read_bytes if len(text) >= self._read_bytes else 0
        end = text.rfind(b"\n") + 1
        self._read_bytes = max(start, end)
        return text[start:end].decode(errors="replace").splitlines()

"""Fakes for tests: a store that keeps everything in memory and can be away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ridgeline.errors import Retry
from ridgeline.events import Detection, EpisodeState, Event
from ridgeline.schema import Schema


class MemoryStore:
    """What `streams.sink.WindowStore` asks for; rows and events replace their like.

    Args:
        away_calls: How many of the next writes raise Retry.
    """

    def __init__(self, away_calls: int = 0) -> None:
        self.away_calls = away_calls
        self.windows: dict[tuple[str, int, int], np.void] = {}
        self.writes = 0
        self.events: list[Event] = []
        self.rolled: list[tuple[str, int, int]] = []
        self._progress: dict[str, dict[int, int]] = {}
        self.states: dict[tuple[str, int], tuple[int, bytes]] = {}

    def _write(self) -> None:
        self.writes += 1
        if self.away_calls:
            self.away_calls -= 1
            raise Retry("store is away")

    def insert_windows(self, schema: Schema, rows: np.ndarray) -> None:
        """Insert or replace window rows."""
        self._write()
        for row in rows:
            key = (schema.family, int(row["device"]), int(row["window_start"]))
            self.windows[key] = row

    def insert_events(self, events: Sequence[Event]) -> None:
        """Insert events."""
        self._write()
        self.events += events

    def roll_up(self, schema: Schema, start_ms: int, end_ms: int, window_ms: int) -> None:
        """Remember the span."""
        del window_ms
        self._write()
        self.rolled.append((schema.family, start_ms, end_ms))

    def roll_up_reports(self, start_ms: int, end_ms: int) -> None:
        """Remember the span."""
        self._write()
        self.rolled.append(("collectors", start_ms, end_ms))

    def query(self, sql: str, parameters: Any = None) -> list[dict[str, Any]]:
        """Bodies of open or young detections, or of the inventory: all that streams asks."""
        if "detections" not in sql:
            return []
        newest = {e.id: e for e in self.events if isinstance(e, Detection)}
        durable = parameters["durable"]
        asked = (e for e in newest.values() if _is_open(e) or e.updated_ms > durable)
        return [{"body": e.model_dump_json()} for e in asked]

    def progress(self, topic: str) -> dict[int, int]:
        """End of the last durable window by partition."""
        return dict(self._progress.get(topic, {}))

    def save_progress(self, topic: str, partition: int, window_end_ms: int) -> None:
        """Remember; it never goes back."""
        self._write()
        known = self._progress.setdefault(topic, {})
        known[partition] = max(known.get(partition, 0), window_end_ms)

    def state(self, topic: str, partition: int) -> tuple[int, bytes] | None:
        """The newest saved state."""
        return self.states.get((topic, partition))

    def save_state(self, topic: str, partition: int, at_ms: int, body: bytes) -> None:
        """Remember; an older one does not replace a newer one."""
        self._write()
        known = self.states.get((topic, partition))
        if known is None or known[0] <= at_ms:
            self.states[topic, partition] = (at_ms, body)


def _is_open(detection: Detection) -> bool:
    return detection.state is not EpisodeState.CLOSED

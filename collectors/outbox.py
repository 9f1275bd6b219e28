"""Messages that wait for Kafka: bounded in bytes, the oldest go first when it is full."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from ridgeline.metrics import PUBLISH_BUFFER_BYTES, PUBLISH_DROPPED

_OVERHEAD_BYTES = 200  # of the Python objects around a message, so that small ones count too


@dataclass(frozen=True, slots=True)
class Message:
    """One Kafka message to be."""

    topic: str
    key: bytes
    value: bytes
    ts_ms: int
    headers: list[tuple[str, bytes]] = field(default_factory=list)

    @property
    def cost_bytes(self) -> int:
        """Memory it takes, about."""
        return len(self.value) + len(self.key) + _OVERHEAD_BYTES


class Outbox:
    """A queue of messages, of which some are on their way."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._waiting: deque[Message] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def bytes(self) -> int:
        """Memory of the waiting messages, about."""
        return self._bytes

    def put(self, messages: Iterable[Message]) -> None:
        """Append; what is over the limit is dropped from the old end and counted."""
        for message in messages:
            self._waiting.append(message)
            self._bytes += message.cost_bytes
        self._trim()

    def take(self, most: int) -> list[Message]:
        """Remove up to `most` of the oldest; give back what could not be sent."""
        taken = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
        self._bytes -= sum(m.cost_bytes for m in taken)
        PUBLISH_BUFFER_BYTES.set(self._bytes)
        return taken

    def give_back(self, messages: list[Message]) -> None:
        """Put messages back at the old end, in their order."""
        self._waiting.extendleft(reversed(messages))
        self._bytes += sum(m.cost_bytes for m in messages)
        self._trim()

    def _trim(self) -> None:
        while self._bytes > self._limit and self._waiting:
            oldest = self._waiting.popleft()
            self._bytes -= oldest.cost_bytes
            PUBLISH_DROPPED.labels(oldest.topic).inc()
        PUBLISH_BUFFER_BYTES.set(self._bytes)

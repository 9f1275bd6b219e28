"""A simulated cluster through the streams' own code into the store; only Kafka is left out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from collectors.simulator import Simulator
from ridgeline.events import Event
from ridgeline.frames import Headers, encode, headers_of
from ridgeline.schema import FABRIC, FACILITY, GPU, SERVING, Schema
from ridgeline.settings import StreamsSettings
from ridgeline.store import Store
from streams.batches import Batch, Message
from streams.processor import Processor
from streams.sink import Sink

BATCH_SECONDS = 10
FAMILIES = (FACILITY, SERVING, GPU, FABRIC)


async def _publish(_: Sequence[Event]) -> None:
    """Detections go to Kafka."""


async def _mark(_topic: str, _partition: int, _headers: Headers) -> None:
    """So do marks of partitions without rows."""


class Pipeline:
    """Collector's rows in, windows and minutes out, at the speed of the machine.

    Args:
        simulator: The cluster.
        store: Where windows go.
        ahead_seconds: How far ahead of the wall clock telemetry may be.
        step_seconds: Time between two samples.
    """

    def __init__(
        self, simulator: Simulator, store: Store, ahead_seconds: float = 0.0, step_seconds: int = 1
    ) -> None:
        self.simulator = simulator
        self._step_seconds = step_seconds
        self._sink = Sink(store, _publish, lambda *_: None, pause_seconds=0)
        settings = StreamsSettings(future_seconds=5 + 2 * ahead_seconds)
        self._processor = Processor(settings, store, self._sink, _mark)
        self._known = False
        self._offset = 0

    async def run(self, start_ms: int, seconds: int) -> list[dict[Schema, np.ndarray]]:
        """Samples of so many seconds from `start_ms` on; returns the rows of each."""
        read = []
        for first in range(0, seconds, BATCH_SECONDS):
            sent: dict[Schema, list[Message]] = {schema: [] for schema in FAMILIES}
            for second in range(first, min(first + BATCH_SECONDS, seconds), self._step_seconds):
                found = self.simulator.collect(start_ms + second * 1000)
                if not self._known:
                    await self._take(
                        "inventory", [_message(0, i.to_bytes()) for i in found.inventory]
                    )
                    self._known = True
                frames = dict(found.frames)
                read.append(frames)
                for schema in FAMILIES:
                    value, headers = encode(frames[schema], schema), headers_of(schema)
                    sent[schema].append(Message(self._offset, headers, None, value))
                self._offset += 1
            for schema in FAMILIES:
                await self._take(schema.topic, sent[schema])
        await self._sink.flush()
        await self._sink.roll_up()
        return read

    async def _take(self, topic: str, messages: list[Message]) -> None:
        await self._processor.take(Batch(topic=topic, partition=0, messages=messages))


def _message(offset: int, value: bytes) -> Message:
    return Message(offset, (), None, value)

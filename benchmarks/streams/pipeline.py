"""CPU time of the pipeline alone: frames in memory -> windows and detections, no Kafka, no store.

Usage: `python -m benchmarks.streams.pipeline [gpus] [seconds]`. Prints, for each family,
microseconds of CPU time a frame and samples per CPU-second, next to `numpy.frombuffer(...).sum()`
over the same bytes, the least that reading them can cost.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import numpy as np

from benchmarks.streams.fleet import PER_NODE, SCHEMAS, START_MS, Fleet
from ridgeline.frames import headers_of
from ridgeline.schema import Schema
from ridgeline.settings import StreamsSettings
from streams.batches import Batch, Message
from streams.episodes import Policy
from streams.partition import Partition
from streams.processor import clock_of
from streams.surroundings import Board

FRAMES_A_BATCH = 1000


def batches(schema: Schema, frames: list[bytes], first: int) -> Iterator[Batch]:
    """Frames as a fetch would bring them."""
    headers = tuple(headers_of(schema))
    messages = [Message(first + i, headers, b"", f) for i, f in enumerate(frames)]
    for at in range(0, len(messages), FRAMES_A_BATCH):
        yield Batch(topic=schema.topic, partition=0, messages=messages[at : at + FRAMES_A_BATCH])


def measure(schema: Schema, gpus: int, seconds: int, warm_up: int = 26) -> None:
    """Run one family and print."""
    fleet = Fleet(gpus, (schema,))
    settings = StreamsSettings()
    partition = Partition(schema, 0, clock_of(settings), Policy(), Board(), {})
    spent = floor = 0.0
    windows = events = 0
    for second in range(warm_up + seconds):
        frames = fleet.frames(schema.family)
        work = list(batches(schema, frames, second * len(frames)))
        start = time.process_time()
        for batch in work:
            for output in partition.take(batch, START_MS + second * 1000):
                windows += 0 if output.rows is None else len(output.rows)
                events += len(output.events)
        middle = time.process_time()
        whole = b"".join(m.value or b"" for b in work for m in b.messages)
        np.frombuffer(whole, dtype="<u4").sum()
        if second >= warm_up:
            spent += middle - start
            floor += time.process_time() - middle
        fleet.advance()
    frames_seen = fleet.nodes * seconds
    samples = frames_seen * PER_NODE[schema.family] * len(schema.columns)
    print(
        f"{schema.family:8} {spent / frames_seen * 1e6:7.2f} us/frame"
        f" {samples / spent / 1e6:8.2f} M samples/CPU-s  {spent / floor:6.1f} x the floor"
        f"  ({windows} window rows, {events} events)"
    )


def main() -> None:
    """Measure and print."""
    gpus, seconds = (int(a) for a in (*sys.argv[1:3], *("10000", "20")[len(sys.argv) - 1 :]))
    for schema in SCHEMAS:
        measure(schema, gpus, seconds)


if __name__ == "__main__":
    main()

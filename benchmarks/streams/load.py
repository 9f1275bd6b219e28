"""Sends a fleet's telemetry to Kafka, as fast as it goes or in step with the clock.

Usage: `python -m benchmarks.streams.load SERVERS GPUS SECONDS [--live] [--families gpu,fabric]`. In
its own process, so that its CPU time is nobody else's; prints frames, bytes and CPU seconds. Record
batches are made once; each second only the values in them change, so that loading takes little of
the machine that it shares with what is measured. With `--tape FOLDER` all of them are made before
the first is sent, in one file a second, stamped with the times at which they will be sent. With
`--pace 4` a second of telemetry is sent every four, for a fleet that is more than a machine holds.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import struct
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from aiokafka import AIOKafkaProducer
from aiokafka.codec import zstd_encode
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from benchmarks.streams.fleet import START_MS, Fleet
from ridgeline.frames import headers_of
from ridgeline.ids import node_key
from ridgeline.kafka import producer
from ridgeline.schema import SCHEMAS, Schema
from ridgeline.settings import KafkaSettings

BATCH_BYTES = 512 * 1024


HEADER = struct.Struct(">qiibIhiqqqhii")
"""Of a record batch: offset, length, epoch, magic, CRC, attributes, last offset, first and last
timestamp, producer, its epoch, sequence, records (Kafka's protocol guide, record batch)."""
ZSTD, CHECKED_FROM = 4, 21  # compression type; the CRC is of everything from the attributes on


class Ready(BatchBuilder):  # type: ignore[misc]  # aiokafka's class is untyped
    """A record batch that is already bytes."""

    def __init__(self, body: bytes | memoryview, count: int) -> None:
        self._buffer, self._closed, self._relative_offset = body, True, count

    @property
    def body(self) -> bytes | memoryview:
        """The batch."""
        return self._buffer


class Prepared:
    """One record batch of some nodes' frames, made once; each second only its values change.

    Args:
        keys: Of the nodes.
        frames: As bytes, one row a node, all of one length.
        schema: What they are.
    """

    def __init__(self, keys: list[bytes], frames: np.ndarray, schema: Schema) -> None:
        builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 2**30)
        for number, (key, frame) in enumerate(zip(keys, frames, strict=True)):
            builder.append(number, 0, key, frame.tobytes(), headers_of(schema))
        self._batch = np.frombuffer(bytearray(builder.build()), dtype=np.uint8)
        self._count, body = len(keys), self._batch.tobytes()
        at: list[int] = []
        size = frames.shape[1]
        for frame in frames:
            at.append(body.index(frame.tobytes(), at[-1] + size if at else 0))
        cuts = [0, *(np.flatnonzero(np.diff(np.diff(at))) + 2), len(at)]  # numbers get longer
        self._values = [
            (slice(a, b), self._seen(at[a], b - a, at[a + 1] - at[a] if b - a > 1 else size, size))
            for a, b in itertools.pairwise(cuts)
        ]

    def _seen(self, start: int, count: int, stride: int, size: int) -> np.ndarray:
        return np.lib.stride_tricks.as_strided(self._batch[start:], (count, size), (stride, 1))

    def ready(self, frames: np.ndarray) -> Ready:
        """The batch with these frames, compressed."""
        for which, values in self._values:
            values[:] = frames[which]
        head = list(HEADER.unpack_from(self._batch.data))
        body = bytes(zstd_encode(self._batch[HEADER.size :].tobytes(), level=1))
        head[1], head[4], head[5] = HEADER.size + len(body) - 12, 0, ZSTD
        head[7] = head[8] = int(time.time() * 1000)
        checked = HEADER.pack(*head)[CHECKED_FROM:] + body
        head[4] = calc_crc32c(checked)
        return Ready(HEADER.pack(*head)[:CHECKED_FROM] + checked, self._count)


class Loader:
    """A fleet's frames as record batches; node n is in partition n modulo the partitions.

    Args:
        fleet: Whose.
        partitions: How many a topic has.
        frames: In a record batch; 0: as many as make half a megabyte.
    """

    def __init__(self, fleet: Fleet, partitions: int, frames: int = 0) -> None:
        self._fleet = fleet
        keys = [node_key(int(node)) for node in fleet.node_ids]
        self._batches: list[tuple[str, int, np.ndarray, Prepared]] = []
        for name, one in fleet.families.items():
            every = self._frames(name)
            nodes = frames or max(1, BATCH_BYTES // (every.shape[1] + 64))
            for partition in range(partitions):
                mine = np.arange(partition, len(every), partitions)
                for start in range(0, len(mine), nodes):
                    some = mine[start : start + nodes]
                    made = Prepared([keys[n] for n in some], every[some], one.schema)
                    self._batches.append((name, partition, some, made))

    def _frames(self, name: str) -> np.ndarray:
        rows = self._fleet.families[name].rows
        return rows.view(np.uint8).reshape(self._fleet.nodes, -1)

    def second(self) -> Iterator[tuple[str, int, Ready]]:
        """Topic, partition and record batch of what the fleet says this second."""
        frames = {name: self._frames(name) for name in self._fleet.families}
        for name, partition, nodes, batch in self._batches:
            topic = self._fleet.families[name].schema.topic
            yield topic, partition, batch.ready(frames[name][nodes])

    @property
    def frames(self) -> int:
        """Frames a second."""
        return self._fleet.nodes * len(self._fleet.families)

    @property
    def bytes(self) -> int:
        """Their bytes, not compressed."""
        return sum(self._frames(name).nbytes for name in self._fleet.families)


class Live:
    """Batches made when they are sent."""

    def __init__(self, loader: Loader, fleet: Fleet) -> None:
        self._loader, self._fleet = loader, fleet

    def second(self, _: int) -> Iterator[tuple[str, int, Ready]]:
        """The batches of the next second."""
        yield from self._loader.second()
        self._fleet.advance()


class Tape:
    """Batches made before, in one file a second; a file goes when it has been read.

    Args:
        folder: Where.
        loader: Makes them.
        fleet: Its fleet, of which nothing has been sent.
        seconds: How many.
    """

    def __init__(self, folder: Path, loader: Loader, fleet: Fleet, seconds: int) -> None:
        self._folder = folder
        self._batches: list[list[tuple[str, int, int, int]]] = []
        begin = time.time()
        made = sum(ready.size() for *_, ready in loader.second())
        each = time.time() - begin
        self.first = int(time.time() + 1.5 * each * seconds) + 10
        print(f"tape: {made * seconds / 1e9:.1f} GB from {self.first}", file=sys.stderr)
        _shift(fleet, self.first * 1000)
        for number in range(seconds):
            with (folder / str(number)).open("wb") as file:
                self._batches.append(
                    [
                        (topic, partition, ready.record_count(), file.write(ready.body))
                        for topic, partition, ready in loader.second()
                    ]
                )
            fleet.advance()
        if time.time() > self.first:
            raise SystemExit(f"making the tape took longer than {self.first - begin:.0f} s")

    def second(self, number: int) -> Iterator[tuple[str, int, Ready]]:
        """The batches of a second."""
        path = self._folder / str(number)
        body = memoryview(path.read_bytes())
        path.unlink()
        at = 0
        for topic, partition, count, size in self._batches[number]:
            yield topic, partition, Ready(body[at : at + size], count)
            at += size


async def send_batches(to: AIOKafkaProducer, batches: Iterable[tuple[str, int, Ready]]) -> None:
    """Send batches; returns when the broker has them."""
    sent = [await to.send_batch(ready, topic, partition=number) for topic, number, ready in batches]
    await asyncio.gather(*sent)


def _shift(fleet: Fleet, start_ms: int) -> None:
    for one in fleet.families.values():
        one.rows["ts"] += start_ms - START_MS


async def run(arguments: argparse.Namespace) -> dict[str, float]:
    """Send, and say what it took."""
    families = tuple(SCHEMAS[name] for name in arguments.families.split(","))
    fleet = Fleet(arguments.gpus, families)
    settings = KafkaSettings(servers=arguments.servers, idempotent=False)
    loader = Loader(fleet, arguments.partitions, arguments.batch_frames)
    source: Live | Tape
    if arguments.tape:
        source = Tape(arguments.tape, loader, fleet, arguments.seconds)
        first = source.first
    else:
        source, first = Live(loader, fleet), int(time.time()) + 1
        _shift(fleet, first * 1000 if arguments.live else arguments.start_ms)
    by_clock = arguments.live or arguments.tape
    late: list[float] = []
    async with producer(settings, max_batch_size=BATCH_BYTES, acks=1) as to:
        spent = time.process_time()
        for number in range(arguments.seconds):
            if by_clock:
                await asyncio.sleep(max(0.0, first + number * arguments.pace - time.time()))
            await send_batches(to, source.second(number))
            late.append(time.time() - first - number * arguments.pace)
    return {
        "frames": loader.frames * arguments.seconds,
        "bytes": loader.bytes * arguments.seconds,
        "cpu_seconds": time.process_time() - spent,
        "late_p99_seconds": float(np.quantile(late, 0.99)) if by_clock else 0.0,
    }


def main() -> None:
    """Send and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("servers")
    parser.add_argument("gpus", type=int)
    parser.add_argument("seconds", type=int)
    parser.add_argument("--live", action="store_true", help="one second a second, stamped now")
    parser.add_argument("--tape", type=Path, metavar="FOLDER", help="the same, all made before")
    parser.add_argument("--pace", type=float, default=1.0, metavar="S", help="s for each second")
    parser.add_argument("--families", default="gpu,fabric,serving")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--batch-frames", type=int, default=0, help="1: as agents of nodes send")
    parser.add_argument("--start-ms", type=int, default=START_MS)
    print(json.dumps(asyncio.run(run(parser.parse_args()))))


if __name__ == "__main__":
    main()

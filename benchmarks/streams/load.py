"""Sends a fleet's telemetry to Kafka, as fast as it goes or in step with the clock.

Usage: `python -m benchmarks.streams.load SERVERS GPUS SECONDS [--live] [--families gpu,fabric]`. In
its own process, so that its CPU time is nobody else's; prints frames, bytes and CPU seconds. Record
batches are made once; each second only the values in them change, so that loading takes little of
the machine that it shares with what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import struct
import time

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

    def __init__(self, body: bytes, count: int) -> None:
        self._buffer, self._closed, self._relative_offset = body, True, count


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
    """Puts a fleet's frames on its topics; node n is in partition n modulo the partitions."""

    def __init__(self, to: AIOKafkaProducer, fleet: Fleet, partitions: int) -> None:
        self._to, self._fleet = to, fleet
        self.frames = self.bytes = 0
        keys = [node_key(int(node)) for node in fleet.node_ids]
        self._batches: list[tuple[str, int, np.ndarray, Prepared]] = []
        for name, one in fleet.families.items():
            frames = self._frames(name)
            nodes = max(1, BATCH_BYTES // (frames.shape[1] + 64))
            for partition in range(partitions):
                mine = np.arange(partition, len(frames), partitions)
                for start in range(0, len(mine), nodes):
                    some = mine[start : start + nodes]
                    made = Prepared([keys[n] for n in some], frames[some], one.schema)
                    self._batches.append((name, partition, some, made))

    def _frames(self, name: str) -> np.ndarray:
        rows = self._fleet.families[name].rows
        return rows.view(np.uint8).reshape(self._fleet.nodes, -1)

    async def second(self) -> None:
        """Send what the fleet says this second; returns when the broker has it."""
        frames = {name: self._frames(name) for name in self._fleet.families}
        waiting = []
        for name, partition, nodes, batch in self._batches:
            topic = self._fleet.families[name].schema.topic
            ready = batch.ready(frames[name][nodes])
            waiting.append(await self._to.send_batch(ready, topic, partition=partition))
        self.frames += self._fleet.nodes * len(frames)
        self.bytes += sum(one.nbytes for one in frames.values())
        await asyncio.gather(*waiting)


async def run(arguments: argparse.Namespace) -> dict[str, float]:
    """Send, and say what it took."""
    families = tuple(SCHEMAS[name] for name in arguments.families.split(","))
    fleet = Fleet(arguments.gpus, families)
    settings = KafkaSettings(servers=arguments.servers, idempotent=False)
    first = int(time.time()) + 1
    shift = first * 1000 - START_MS if arguments.live else arguments.start_ms - START_MS
    for one in fleet.families.values():
        one.rows["ts"] += shift
    spent, late = time.process_time(), []
    async with producer(settings, max_batch_size=BATCH_BYTES, acks=1) as to:
        loader = Loader(to, fleet, arguments.partitions)
        for number in range(arguments.seconds):
            if arguments.live:
                await asyncio.sleep(max(0.0, first + number - time.time()))
            await loader.second()
            late.append(time.time() - first - number)
            fleet.advance()
    return {
        "frames": loader.frames,
        "bytes": loader.bytes,
        "cpu_seconds": time.process_time() - spent,
        "late_p99_seconds": float(np.quantile(late, 0.99)) if arguments.live else 0.0,
    }


def main() -> None:
    """Send and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("servers")
    parser.add_argument("gpus", type=int)
    parser.add_argument("seconds", type=int)
    parser.add_argument("--live", action="store_true", help="one second a second, stamped now")
    parser.add_argument("--families", default="gpu,fabric,serving")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--start-ms", type=int, default=START_MS)
    print(json.dumps(asyncio.run(run(parser.parse_args()))))


if __name__ == "__main__":
    main()

"""Sends a fleet's telemetry to Kafka, as fast as it goes or in step with the clock.

Usage: `python -m benchmarks.streams.load SERVERS GPUS SECONDS [--live] [--families gpu,fabric]`. In
its own process, so that its CPU time is nobody else's; prints frames, bytes and CPU seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time

import numpy as np
from aiokafka import AIOKafkaProducer

from benchmarks.streams.fleet import START_MS, Fleet
from ridgeline.frames import headers_of
from ridgeline.ids import node_key
from ridgeline.kafka import producer
from ridgeline.schema import SCHEMAS
from ridgeline.settings import KafkaSettings

BATCH_BYTES = 512 * 1024


class Loader:
    """Puts a fleet's frames on its topics; node n is in partition n modulo the partitions."""

    def __init__(self, to: AIOKafkaProducer, fleet: Fleet, partitions: int) -> None:
        self._to, self._fleet, self._partitions = to, fleet, partitions
        self._keys = [node_key(int(node)) for node in fleet.node_ids]
        self.frames = self.bytes = 0

    async def second(self) -> None:
        """Send what the fleet says this second; returns when the broker has it."""
        waiting = []
        for name, one in self._fleet.families.items():
            frames, headers = self._fleet.frames(name), headers_of(one.schema)
            for partition in range(self._partitions):
                batch = self._to.create_batch()
                for node in range(partition, len(frames), self._partitions):
                    key, value = self._keys[node], frames[node]
                    full = batch.append(key=key, value=value, timestamp=None, headers=headers)
                    if full is None:
                        waiting.append(await self._send(batch, one.schema.topic, partition))
                        batch = self._to.create_batch()
                        batch.append(key=key, value=value, timestamp=None, headers=headers)
                if batch.record_count():
                    waiting.append(await self._send(batch, one.schema.topic, partition))
            self.frames += len(frames)
            self.bytes += sum(map(len, frames))
        await asyncio.gather(*waiting)

    async def _send(self, batch: object, topic: str, partition: int) -> asyncio.Future[object]:
        future: asyncio.Future[object] = await self._to.send_batch(
            batch, topic, partition=partition
        )
        return future


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

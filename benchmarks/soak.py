"""A simulated week with devices that come and go: what a worker's memory does.

Usage: `python -m benchmarks.soak [--hours 168] [--devices 200] [--turnover 0.05] [--step 30]`.
Rows of the gpu
family go through the real processor with an in-memory store, event time accelerated; every hour a
share of the devices is replaced by new ones. Prints resident memory and the sizes of what could
grow, over simulated time, and at the end bytes a device for every family.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import psutil

from ridgeline.events import DeviceKind, InventoryItem
from ridgeline.frames import encode, headers_of
from ridgeline.schema import GPU, SCHEMAS, Kind, Schema
from ridgeline.settings import StreamsSettings
from streams.batches import Batch, Message
from streams.processor import Processor
from streams.sink import Sink
from streams.testing import MemoryStore

START_MS = 1_790_000_000_000
HOUR_MS = 3_600_000
A_NODE = 8
TROUBLED = 0.01  # of the devices, at any time


class ForgetfulStore(MemoryStore):
    """A store that keeps only what a worker asks for again."""

    def insert_windows(self, *_: object) -> None:
        """Count a write."""
        self._write()

    def insert_events(self, *_: object) -> None:
        """Count a write."""
        self._write()

    def roll_up(self, *_: object) -> None:
        """Count a write."""
        self._write()

    def roll_up_reports(self, *_: object) -> None:
        """Count a write."""
        self._write()


@dataclass(slots=True)
class Soak:
    """A worker and a fleet.

    Args:
        devices: How many there are at any time.
        turnover: Share of them that is replaced every hour.
        forget_seconds: The worker's setting.
        step_seconds: Time between rows.
    """

    devices: int
    turnover: float
    forget_seconds: float = 3600
    step_seconds: int = 10
    schema: Schema = GPU
    offset: int = 0
    now_ms: int = START_MS
    made: int = 0
    ids: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))
    processor: Processor = field(init=False)
    sink: Sink = field(init=False)

    def __post_init__(self) -> None:
        """Make the worker and the first fleet."""

        async def nothing(*_: object) -> None:
            return

        self.sink = Sink(ForgetfulStore(), nothing, lambda *_: None, pause_seconds=0)
        settings = StreamsSettings(forget_seconds=self.forget_seconds)
        self.processor = Processor(settings, self.sink._store, self.sink, nothing)  # noqa: SLF001
        self.ids = self._new(self.devices)

    def _new(self, count: int) -> np.ndarray:
        ids = np.arange(self.made + 1, self.made + count + 1, dtype=np.uint64)
        self.made += count
        items = (
            InventoryItem(
                device=int(i),
                node=int(i) // A_NODE,
                kind=DeviceKind.GPU,
                host=f"n{i}",
                name=f"g{i}",
                rack=f"r{int(i) // 64}",
                seen_ms=self.now_ms,
            )
            for i in ids
        )
        self.processor.board.inventory.load(items)
        return ids

    def rows(self) -> np.ndarray:
        """One row of every device."""
        rows = self.schema.empty(len(self.ids))
        rows["ts"] = self.now_ms
        rows["device"], rows["node"] = self.ids, self.ids // np.uint64(A_NODE)
        for name in self.schema.of_kind(Kind.GAUGE):
            rows[name] = self.rng.random(len(self.ids), dtype=np.float32)
        for name in self.schema.of_kind(Kind.COUNTER):
            rows[name] = self.now_ms - START_MS
        if self.schema is GPU:
            ill = self.rng.random(len(self.ids)) < TROUBLED
            rows["throttle_thermal_ns"] = (self.now_ms - START_MS) * np.where(ill, 500_000, 0)
        return rows

    async def run(self, hours: float) -> None:
        """So much event time."""
        for step in range(int(hours * 3600 / self.step_seconds)):
            rows = self.rows()
            messages = [
                Message(self.offset + n, headers_of(self.schema), None, encode(part, self.schema))
                for n, part in enumerate(np.array_split(rows, max(1, len(rows) // 512)))
            ]
            self.offset += len(messages)
            batch = Batch(topic=self.schema.topic, partition=0, messages=messages)
            await self.processor.take(batch)
            if not step % 20:
                await self.sink.flush()
            self.now_ms += self.step_seconds * 1000
            if self.now_ms % HOUR_MS < self.step_seconds * 1000:
                await self.sink.roll_up()
                leaving = int(self.turnover * len(self.ids))
                self.ids = np.concatenate((self.ids[leaving:], self._new(leaving)))

    def sizes(self) -> dict[str, int]:
        """How much there is of everything that could grow."""
        (partition,) = self.processor._partitions.values()  # noqa: SLF001 - it is what we measure
        inventory = self.processor.board.inventory
        return {
            "devices": partition.timeline.slots.count,
            "state_bytes": partition.state_bytes,
            "open_episodes": sum(partition.open_episodes.values()),
            "inventory": len(inventory.items),
            "moves": len(inventory.moved),
            "facts": sum(map(len, self.processor.board.facts.values())),
            "unreleased": len(partition.timeline._batches),  # noqa: SLF001
            "waiting": len(partition.timeline._waiting),  # noqa: SLF001
        }


async def bytes_a_device(schema: Schema, devices: int = 4096) -> float:
    """Bytes of state a device of a family takes."""
    soak = Soak(devices, 0.0, schema=schema)
    await soak.run(0.1)
    return soak.sizes()["state_bytes"] / devices


def hours_of(total: float, steps: int = 24) -> Iterator[float]:
    """Parts of a span."""
    yield from (total / steps for _ in range(steps))


async def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=168)
    parser.add_argument("--devices", type=int, default=200)
    parser.add_argument("--turnover", type=float, default=0.05, help="of the devices, an hour")
    parser.add_argument("--step", type=int, default=30, help="seconds between rows")
    options = parser.parse_args()
    soak = Soak(options.devices, options.turnover, step_seconds=options.step)
    process, done = psutil.Process(), 0.0
    for part in hours_of(options.hours):
        await soak.run(part)
        done += part
        gc.collect()
        sizes = ", ".join(f"{name} {value:,}" for name, value in soak.sizes().items())
        print(f"{done:6.1f} h  {process.memory_info().rss / 2**20:6.0f} MiB  {sizes}", flush=True)
    for schema in SCHEMAS.values():
        print(f"{schema.family}: {await bytes_a_device(schema):,.0f} bytes a device")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

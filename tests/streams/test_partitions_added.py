"""Partitions are added while everything runs, and nodes move to them: nothing lost or twice."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from ridgeline.frames import encode, headers_of, watermark_headers
from ridgeline.schema import GPU
from ridgeline.settings import StreamsSettings
from streams.batches import Batch, Message
from streams.processor import Processor
from streams.sink import Sink
from streams.testing import MemoryStore

START_MS = 1_790_000_040_000
SECONDS, MOVED_AT = 60, 34


def messages(node: int, seconds: Sequence[int], first: int = 0) -> list[Message]:
    """One row a second of the node's only device, whose counter grows by 10 a second."""
    out = []
    for number, second in enumerate(seconds):
        row = GPU.empty(1)
        row["ts"], row["node"], row["device"] = START_MS + second * 1000, node, node * 10
        row["power_watts"], row["energy_mj"] = 100, 1000 + 10 * second
        out.append(Message(first + number, headers_of(GPU), None, encode(row, GPU)))
    return out


def mark(offset: int) -> Message:
    """The end of a partition that has gone silent."""
    return Message(offset, watermark_headers(START_MS + (SECONDS + 30) * 1000), None, b"")


async def played(store: MemoryStore, logs: dict[int, list[Message]], count: int) -> None:
    """A worker reads these partitions to their ends."""

    async def nothing(*_: object) -> None:
        return

    sink = Sink(store, nothing, lambda *_: None, pause_seconds=0)
    processor = Processor(StreamsSettings(), store, sink, nothing, {GPU.topic: count}.get)
    for number, log in logs.items():
        await processor.take(Batch(topic=GPU.topic, partition=number, messages=log))
    await sink.flush()


@pytest.mark.parametrize("lives", [1, 2])
async def test_a_node_that_moves_in_the_middle_of_a_window_loses_no_sample(lives: int) -> None:
    """Its window is in two rows, of the old and of the new partition; each counted once."""
    store = MemoryStore()
    stays, goes = range(SECONDS), range(MOVED_AT)
    old = sorted(messages(1, stays) + messages(2, goes), key=lambda m: m.offset)
    old = [Message(n, m.headers, None, m.value) for n, m in enumerate(old)]
    await played(store, {0: [*old[: MOVED_AT * 2]]}, count=1)
    new = messages(2, range(MOVED_AT, SECONDS))
    for _ in range(lives):  # the second one reads everything again: nothing was committed
        await played(store, {0: [*old, mark(len(old))], 1: [*new, mark(len(new))]}, count=2)

    moved = {s - START_MS: row for (_, d, s), row in store.windows.items() if d == 20}
    assert [0, 10_000, 20_000, 30_000, 34_000, 40_000, 50_000] == sorted(moved)
    assert SECONDS == sum(row["samples"] for row in moved.values())
    # all but the first reading and the first after the move have one before them
    assert 10 * (SECONDS - 2) == np.nansum([row["energy_mj_inc"] for row in moved.values()])
    stayed = {s - START_MS: row for (_, d, s), row in store.windows.items() if d == 10}
    assert [10] * 6 == [stayed[s]["samples"] for s in sorted(stayed)]
    assert all(b - a == 10_000 for a, b in pairwise(sorted(stayed)))


async def test_a_partition_that_was_there_from_the_beginning_starts_at_a_whole_window() -> None:
    """Also when its first row comes long after the others were written."""
    store = MemoryStore()
    await played(store, {0: [*messages(1, range(30)), mark(30)]}, count=2)
    await played(store, {1: [*messages(2, range(44, 60)), mark(16)]}, count=2)

    assert [40_000, 50_000] == sorted(
        s - START_MS for (_, d, s), _ in store.windows.items() if d == 20
    )

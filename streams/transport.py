"""Faust's aiokafka transport, with a few differences that the processor rests on.

A partition's fetched messages reach the agent as one event (Faust's cost is per event), and what
is committed is what `release` said is durable, not what agents have finished with. Private hooks
of faust-streaming 0.15.3 and aiokafka 0.14; `tests/streams/test_transport_hooks.py` pins them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.transport.drivers.aiokafka import Consumer as AiokafkaConsumer
from faust.transport.drivers.aiokafka import Transport as AiokafkaTransport
from faust.types import TP

from streams.batches import Batch, Fetched
from streams.records import records_of, whole_batches

FETCH_WAIT_MS = 50
"""How long the broker may hold a fetch that finds nothing.

aiokafka has one fetch under way to a broker. While a batch is worked on it asks for the partitions
that have nothing, and until that comes back nobody else is asked for: with Faust's 1500 ms a worker
stood still half of the time.
"""

ANSWER_BYTES = 16 * 1024 * 1024
"""The most that a broker answers with to one fetch, of all partitions.

aiokafka copies an answer as a whole several times. Of the 50 MB that it asks for by itself every
copy is new memory, which the kernel has to clear.
"""


@dataclass(slots=True)
class BatchRecord:
    """A batch in the shape of one aiokafka record."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    timestamp_type: int
    value: Batch
    headers: tuple[tuple[str, bytes], ...] = ()
    key: bytes | None = None
    checksum: int | None = None
    serialized_key_size: int = 0
    serialized_value_size: int = field(default=0)


def as_one(tp: TP, records: Sequence[Fetched]) -> BatchRecord:
    """Records of one partition as one record with the last one's offset."""
    last = records[-1]
    return BatchRecord(
        topic=tp.topic,
        partition=tp.partition,
        offset=last.offset,
        timestamp=last.timestamp,
        timestamp_type=last.timestamp_type,
        value=Batch(topic=tp.topic, partition=tp.partition, messages=records),
    )


class ConsumerThread(AIOKafkaConsumerThread):
    """Faust's consumer thread; a fetch that finds nothing gives way to the next one soon."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        whole_batches()
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # noqa: SLF001 - Faust has no setting for it
        consumer._fetch_max_bytes = ANSWER_BYTES  # noqa: SLF001 - nor for this
        return consumer

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek to the last committed offsets, and to the beginning where there is none yet."""
        found: Mapping[TP, int] = await self.call_thread(rewind, self._ensure_consumer())
        return found


async def rewind(consumer: AIOKafkaConsumer) -> Mapping[TP, int]:
    """Go back to what is committed; the committed offsets.

    Faust drops what a rebalance overtakes and relies on reading it again from there. aiokafka
    leaves a partition of which nothing was ever committed where it is: its first batch was lost.
    """
    committed: Mapping[TP, int] = await consumer.seek_to_committed()
    never = {tp for tp, offset in committed.items() if not offset} & consumer.assignment()
    if never:
        await consumer.seek_to_beginning(*never)
    return committed


class BatchConsumer(AiokafkaConsumer):
    """Hands over batches; commits what was released."""

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._released: dict[TP, int] = {}
        self._held: set[TP] = set()

    def hold(self, tp: TP, *, yes: bool) -> None:
        """Hand over no more of a partition for now, or again."""
        (self._held.add if yes else self._held.discard)(tp)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Mapping[TP, Any]:  # noqa: ASYNC109 - Faust's signature
        if self._held and active_partitions:
            active_partitions = active_partitions - self._held
            if not active_partitions:  # to aiokafka none means all
                await asyncio.sleep(FETCH_WAIT_MS / 1000)
                return {}
        records = await super()._getmany(active_partitions, timeout)
        return {tp: [as_one(tp, records_of(some))] for tp, some in records.items() if some}

    def release(self, tp: TP, offset: int) -> None:
        """Everything up to and including `offset` is durable and may be committed."""
        self._released[tp] = max(self._released.get(tp, 0), offset + 1)

    def committed(self, tp: TP) -> int:
        """Where reading went on at the last assignment, or what was committed since; 0 nowhere."""
        return max(0, self._committed_offset.get(tp) or 0)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Forget what was released: the next owner decides."""
        await super().on_partitions_revoked(revoked)
        for tp in revoked:
            self._released.pop(tp, None)

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        tps = list(self._released)
        return (tp for tp in tps if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int | None:
        self._acked.pop(tp, None)
        self._acked_index.pop(tp, None)
        return self._released.get(tp)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Batches leave gaps between the offsets Faust sees; they mean nothing here."""


class BatchTransport(AiokafkaTransport):
    """Transport whose consumer hands over batches."""

    Consumer = BatchConsumer

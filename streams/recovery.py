"""What a worker finds in the store about partitions it is given, and leaves there for others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from ridgeline.errors import Reject, Retry
from ridgeline.events import Detection, InventoryItem
from ridgeline.kafka import with_backoff
from ridgeline.schema import SERVING
from ridgeline.topics import BY_NAME
from streams.batches import Batch
from streams.episodes import Policy
from streams.facts import Facts, Source
from streams.judge import Stored
from streams.partition import Partition
from streams.sink import MINUTE_MS, ROLLED, Sink, WindowStore
from streams.surroundings import Board
from streams.suspects import SUSPECT
from streams.timeline import Clock

T = TypeVar("T")
CATCH_UP_MS = 600_000
FIRST = "first/"
"""Before a topic's name in the progress table: its partitions when it was first read."""


class Recovery:
    """Makes partitions as their last owner left them.

    Args:
        store: Where progress, memory, open episodes and the inventory are.
        sink: Told which minutes and hours the last owner may not have rolled up.
        clock: Times of event time.
        policy: When episodes open and close.
        board: Where the partitions of this worker tell each other what they need.
        counted: How many partitions a topic has.
    """

    def __init__(  # noqa: PLR0917 - wiring
        self,
        store: WindowStore,
        sink: Sink,
        clock: Clock,
        policy: Policy,
        board: Board,
        counted: Callable[[str], int],
    ) -> None:
        self._store, self._sink, self._clock, self._policy = store, sink, clock, policy
        self._board, self._counted = board, counted
        self._introduced = False

    def forget(self) -> None:
        """Partitions come or go: the inventory is read again before the next one is made."""
        self._introduced = False

    async def partition(self, tp: Source) -> Partition:
        """A partition of telemetry, to be read on from its committed offset.

        Raises:
            Reject: the topic carries no frames.
        """
        topic, number = tp
        schema = BY_NAME[topic].schema
        if schema is None:
            raise Reject("topic", topic, "carries no frames")
        progress = await self._ask(lambda: self._store.progress(topic))
        durable_ms = progress.get(number)
        born = await self._born(topic, number)
        # episodes of nodes that moved here end in their old partition, by silence
        stored = {} if born else await self._ask(lambda: self._episodes(durable_ms or 0))
        if not self._introduced:
            await self.introduce()
            self._introduced = True
        if durable_ms is not None:  # whoever wrote these may have died before rolling them up
            rolled = await self._ask(lambda: self._store.progress(ROLLED + topic))
            start_ms = rolled.get(number, durable_ms - CATCH_UP_MS)
            self._sink.touch(schema, min(start_ms, durable_ms - MINUTE_MS), durable_ms)
        facts = None
        if schema is SERVING:
            facts = self._board.facts[tp] = Facts()
        return Partition(
            schema,
            number,
            self._clock,
            self._policy,
            self._board,
            stored,
            durable_ms,
            await self._ask(lambda: self._store.state(topic, number)),
            (await self._ask(lambda: self._store.progress(SUSPECT + topic))).get(number),
            born=born,
            facts=facts,
        )

    async def _born(self, topic: str, number: int) -> bool:
        """Whether the partition was added to its topic after the others had been written to."""
        name = FIRST + topic
        first = await self._ask(lambda: self._store.progress(name))
        if first:
            return number >= max(len(first), *first.values())
        # one row: of a count written in pieces a death would leave the rest to be born later
        count = max(number + 1, self._counted(topic))
        await self._ask(lambda: self._store.save_progress(name, 0, count))
        return False

    def _episodes(self, durable_ms: int) -> Stored:
        """Open ones, and those that were said after progress had last been saved."""
        out: Stored = {}
        sql = (
            "SELECT body FROM detections WHERE state != 'closed'"
            " OR updated > fromUnixTimestamp64Milli({durable:Int64}, 'UTC')"
        )
        for row in self._store.query(sql, {"durable": durable_ms}):
            found = Detection.model_validate_json(row["body"])
            out.setdefault((found.detector, found.condition), {})[found.device] = found
        return out

    async def introduce(self) -> None:
        """Put the inventory on the board as the store has it."""
        self._board.inventory.load(await self._ask(self._inventory))

    def _inventory(self) -> list[InventoryItem]:
        rows = self._store.query(
            "SELECT body FROM inventory"
            " WHERE seen >= (SELECT max(seen) FROM inventory) - INTERVAL 1 DAY"
        )
        return [InventoryItem.model_validate_json(row["body"]) for row in rows]

    async def suspect(self, batch: Batch, end_ms: int) -> None:
        """Note for the next owner in which pane of this batch's partition we die."""
        name = SUSPECT + batch.topic
        await self._ask(lambda: self._store.save_progress(name, batch.partition, end_ms))

    async def _ask(self, call: Callable[[], T]) -> T:
        return await with_backoff("store", lambda: asyncio.to_thread(call), (Retry, OSError))

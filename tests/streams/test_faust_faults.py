"""Faust's known faults, each guarded: what would bring one back fails here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ridgeline.settings import KafkaSettings, StreamsSettings
from streams.app import CONSUMED, _reader, attach, instance_of, make_app
from streams.batches import Batch, Message
from streams.processor import Processor


@pytest.fixture(scope="module")
def app() -> Any:
    """The app as the worker makes it."""
    made = make_app(StreamsSettings(instance="w7"), KafkaSettings())
    attach(made, cast("Processor", None), lambda _: None)
    return made


def test_delivery_is_at_least_once_and_state_is_ours(app: Any) -> None:
    """Its exactly_once crashes, fences and duplicates (issues 440, 323, 136)."""
    assert "at_least_once" == app.conf.processing_guarantee.value
    assert not app.in_transaction


def test_there_are_no_tables(app: Any) -> None:
    """Windowed tables lose callbacks across partitions, and their TTL heap grows with writes."""
    assert [] == [*app.tables.keys()]
    assert [] == [*app.tables.changelog_topics]


def test_a_stall_is_not_hidden_for_a_quarter_of_an_hour(app: Any) -> None:
    """Faust's own `broker_max_poll_interval` is 1000 s; our watchdog is slower than Kafka's."""
    assert app.conf.broker_max_poll_interval < StreamsSettings().stall_seconds
    assert app.conf.broker_session_timeout <= 30
    assert app.conf.broker_heartbeat_interval * 3 <= app.conf.broker_session_timeout


def test_membership_is_static_and_rebalances_do_not_wait(app: Any) -> None:
    """A worker that comes back within the session has its partitions again."""
    assert "w7" == app.conf.consumer_group_instance_id
    assert instance_of(StreamsSettings(instance="a")) != instance_of(StreamsSettings(instance="b"))
    assert not app.conf.stream_wait_empty
    assert 0 == app.conf.stream_recovery_delay


def test_one_agent_a_topic_reads_alone(app: Any) -> None:
    """With more, offsets were committed wrongly (its issues 312, 606)."""
    assert {f"read.{name}" for name in CONSUMED} == {
        name.removeprefix("streams.app.") for name in app.agents if "read." in name
    }
    assert {1} == {agent.concurrency for n, agent in app.agents.items() if "read." in n}


def event(offset: int, generation: int) -> SimpleNamespace:
    """What Faust hands to an agent."""
    batch = Batch(topic="t", partition=0, messages=[Message(offset, (), None, b"")])
    return SimpleNamespace(value=batch, message=SimpleNamespace(generation_id=generation))


class Failing:
    """A processor that fails on offset 2."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.suspected: list[int] = []

    async def take(self, batch: Batch) -> None:
        """Take or fail."""
        if batch.last_offset == 2:
            raise ZeroDivisionError
        self.taken.append(batch.last_offset)

    async def suspect(self, batch: Batch) -> None:
        """Remember."""
        self.suspected.append(batch.last_offset)


async def test_an_error_ends_the_worker_and_nothing_after_it_is_taken() -> None:
    """Faust would ack it and go on (its issue 315); what a rebalance overtook is not ours."""

    async def events() -> AsyncIterator[SimpleNamespace]:
        for offset, generation in ((0, 4), (1, 5), (2, 5), (3, 5)):
            yield event(offset, generation)

    processor, faults = Failing(), list[str]()
    read = _reader(
        SimpleNamespace(consumer_generation_id=5), cast("Processor", processor), faults.append
    )
    await read(SimpleNamespace(events=events))

    assert [1] == processor.taken
    assert [2] == processor.suspected
    assert "ZeroDivisionError" in faults[0]

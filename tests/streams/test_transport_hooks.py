"""Pins the private hooks of faust-streaming that the batch transport rests on."""

from __future__ import annotations

import inspect
from importlib.metadata import version
from types import SimpleNamespace

from faust.transport.consumer import Consumer
from faust.transport.drivers.aiokafka import Consumer as AiokafkaConsumer

from streams.transport import BatchConsumer, as_one

HOOKS = {
    "_getmany": ["self", "active_partitions", "timeout"],
    "_filter_tps_with_pending_acks": ["self", "topics"],
    "_new_offset": ["self", "tp"],
    "_add_gap": ["self", "tp", "offset_from", "offset_to"],
}


def test_faust_is_the_version_the_hooks_were_read_in() -> None:
    """Another version: look again at what the message says, then change the number here."""
    found = version("faust-streaming")

    assert found == "0.15.3", (
        f"faust-streaming {found}: in faust/transport/consumer.py read again who calls _getmany,"
        " _filter_tps_with_pending_acks, _new_offset and _add_gap, that a message's generation_id"
        " is that of its assignment, and that commits go through _filter_committable_offsets; then"
        " run python -m benchmarks.chaos --runs 10"
    )


def test_the_hooks_have_the_signatures_we_override() -> None:
    """Names and parameters are Faust's, and ours."""
    for name, parameters in HOOKS.items():
        assert parameters == list(inspect.signature(getattr(AiokafkaConsumer, name)).parameters)
        assert parameters == list(inspect.signature(getattr(BatchConsumer, name)).parameters)
    assert "_new_offset" in inspect.getsource(Consumer._filter_committable_offsets)
    assert "_getmany" in inspect.getsource(Consumer._wait_next_records)


def test_a_batch_carries_the_last_offset() -> None:
    """So that Faust's read position is right."""
    records = [
        SimpleNamespace(
            topic="t",
            partition=1,
            offset=n,
            timestamp=5,
            timestamp_type=kind,
            headers=(),
            key=b"k",
            value=b"v",
        )
        for n, kind in ((7, 0), (9, 1))
    ]

    one = as_one(records)

    assert (9, 1, 2) == (one.offset, one.partition, len(one.value.messages))
    assert [1000, 5] == one.value.clocks_ms(1000).tolist()

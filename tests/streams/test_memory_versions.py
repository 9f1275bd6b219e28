"""A worker of a new version finds what one of an older version remembered."""

from __future__ import annotations

from ridgeline.schema import GPU
from ridgeline.settings import StreamsSettings
from streams.episodes import Policy
from streams.memory import packed, unpacked
from streams.partition import Partition
from streams.processor import clock_of
from streams.surroundings import Board


def partition(memory: tuple[int, bytes] | None = None) -> Partition:
    """A partition of GPU telemetry that starts with this memory."""
    settings = StreamsSettings()
    policy = Policy(open_after=settings.open_after, close_after=settings.close_after)
    return Partition(GPU, 0, clock_of(settings), policy, Board(), {}, None, memory)


def test_its_own_memory_is_taken_up() -> None:
    """The other test could not fail if nothing ever were."""
    one = partition()
    body = packed(one._arrays(), one._layout)

    assert unpacked(1, body, partition()._layout) is not None
    assert partition((5, body))._saved_ms == 5


def test_memory_that_lacks_an_array_is_left_alone() -> None:
    """An older version kept less: the worker starts afresh instead of dying over and over."""
    one = partition()
    older = {name: array for name, array in one._arrays().items() if not name.endswith("seen")}
    assert len(older) < len(one._arrays())
    layout = f"1 {one._ring.layout} {sorted(older)}"

    assert partition((5, packed(older, layout)))._saved_ms < 0

"""Poison: what cannot be read, and what our own code dies of, costs nothing but itself."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np
import pytest

from ridgeline.events import DeadLetter, Event
from ridgeline.frames import encode, headers_of
from ridgeline.schema import GPU
from ridgeline.settings import StreamsSettings
from streams.batches import Batch, Message
from streams.detectors.verdict import Around, Detector, Devices, Verdict
from streams.processor import Processor
from streams.sink import Sink
from streams.suspects import without
from streams.testing import MemoryStore

START_MS = 1_790_000_040_000
DEADLY, HARMLESS = 666.0, 100.0


def deadly(gpus: Devices, _: Around) -> Sequence[Verdict]:
    """A finder with a bug."""
    if (gpus.now("power_watts") > HARMLESS + 1).any():
        raise ZeroDivisionError
    return ()


@pytest.fixture(autouse=True)
def buggy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker has one detector, and that has a bug."""
    columns = {"gpu": ("power_watts",)}
    detector = Detector(name="buggy", conditions=(), finders={"gpu": deadly}, columns=columns)
    monkeypatch.setattr("streams.partition.DETECTORS", (detector,))


def log(poison_at: Sequence[int] = (), unreadable: Sequence[int] = ()) -> list[Message]:
    """A minute of five devices, one message a second; device 3 sends what the detector dies of."""
    out = []
    for second in range(60):
        rows = GPU.empty(5)
        rows["ts"], rows["node"], rows["device"] = START_MS + second * 1000, 1, np.arange(1, 6)
        rows["power_watts"] = HARMLESS
        if second in poison_at:
            rows["power_watts"][2] = DEADLY
        value = b"junk" if second in unreadable else encode(rows, GPU)
        out.append(Message(second, headers_of(GPU), None, value))
    return out


class Life:
    """One worker over a store."""

    def __init__(self, store: MemoryStore) -> None:
        async def nothing(*_: object) -> None:
            return

        self.sink = Sink(store, nothing, lambda *_: None, pause_seconds=0)
        self.processor = Processor(StreamsSettings(), store, self.sink, nothing)

    async def run(self, messages: Sequence[Message], size: int = 20) -> bool:
        """Whether it got through, as the agent would have it."""
        for at in range(0, len(messages), size):
            batch = Batch(topic=GPU.topic, partition=0, messages=messages[at : at + size])
            try:
                await self.processor.take(batch)
            except ZeroDivisionError:
                await self.processor.suspect(batch)
                return False
            await self.sink.flush()
        return True


def letters(events: Sequence[Event]) -> list[DeadLetter]:
    """The dead letters among them."""
    return [e for e in events if isinstance(e, DeadLetter)]


async def test_an_unreadable_message_in_the_middle_costs_only_itself() -> None:
    """Its neighbours in the batch and in the window count."""
    store = MemoryStore()
    assert await Life(store).run(log(unreadable=[25]))

    assert [25] == [letter.offset for letter in letters(store.events)]
    samples = {(d, s - START_MS): row["samples"] for (_, d, s), row in store.windows.items()}
    assert {10: 10, 20: 9, 30: 10} == {s // 1000: samples[1, s] for s in (10_000, 20_000, 30_000)}


async def test_a_row_our_code_dies_of_is_set_aside_and_the_worker_goes_on() -> None:
    """One death, one letter; the next life gets through, all other devices are whole."""
    store, lives = MemoryStore(), 1
    while not await Life(store).run(log(poison_at=[25, 26, 40])):
        lives += 1
        assert lives < 5

    assert 2 == lives
    (letter,) = letters(store.events)
    row = np.frombuffer(base64.b64decode(letter.value_base64), dtype=GPU.dtype)[0]
    assert (3, DEADLY, "bug") == (row["device"], row["power_watts"], letter.field)
    whole = [row["samples"] for (_, device, _), row in store.windows.items() if device != 3]
    assert [10] * 20 == whole


async def test_a_message_that_breaks_the_taking_is_found_by_halving(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A bug before the rows wait needs no death at all."""
    monkeypatch.setattr("streams.timeline.as_words", _bug_in(20))
    store = MemoryStore()
    assert await Life(store).run(log())

    assert [20] == [letter.offset for letter in letters(store.events)]
    samples = [row["samples"] for (_, d, s), row in store.windows.items() if d == 1]
    assert [10, 10, 9, 10, 10] == samples


def _bug_in(second: int) -> object:
    from streams.columns import as_words  # noqa: PLC0415 - the one before it was replaced

    def broken(rows: np.ndarray) -> np.ndarray:
        if (rows["ts"] == START_MS + second * 1000).any():
            raise IndexError
        return as_words(rows)

    return broken


def test_rows_that_are_only_together_deadly_are_all_given_up() -> None:
    """Otherwise the worker would die of them again."""
    rows = np.arange(8)
    pair = lambda some: ValueError() if {2, 6} <= {*some.tolist()} else None  # noqa: E731
    one = lambda some: ValueError() if 5 in some else None  # noqa: E731

    assert ([], 8) == (without(rows, pair)[0].tolist(), len(without(rows, pair)[1]))
    assert ([0, 1, 2, 3, 4, 6, 7], [5]) == tuple(part.tolist() for part in without(rows, one))

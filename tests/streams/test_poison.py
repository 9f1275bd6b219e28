"""Poison: what cannot be read, and what our own code dies of, costs nothing but itself."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest

from ridgeline import metrics
from ridgeline.events import DeadLetter, Detection, Event
from ridgeline.frames import encode, headers_of
from ridgeline.schema import GPU
from ridgeline.settings import StreamsSettings
from streams import kernels
from streams.batches import Batch, Message
from streams.detectors.verdict import Around, Condition, Detector, Devices, Level, Verdict
from streams.detectors.words import HIT, QUIET, UNKNOWN
from streams.episodes import Episodes
from streams.processor import Processor
from streams.sink import Sink
from streams.slots import Slots
from streams.suspects import without
from streams.testing import MemoryStore
from streams.windows import OpenWindow

START_MS = 1_790_000_040_000
DEADLY, HARMLESS, COLD = 666.0, 100.0, 30.0
FAILS = {"always": False}
BURNING = Condition(name="burning", summary="burns", evidence=())


class Nothing(NamedTuple):
    """No numbers."""


def deadly(gpus: Devices, _: Around) -> Sequence[Verdict]:
    """A finder with a bug."""
    watts = gpus.now("power_watts")
    if FAILS["always"] or (watts > HARMLESS + 1).any():
        raise ZeroDivisionError
    hot = np.where(gpus.now("temperature_celsius") >= COLD + 3, HIT + Level.WARNING, QUIET)
    said = np.where(np.isnan(watts), UNKNOWN, hot).astype(np.uint8)
    return (Verdict(BURNING, said, lambda _: Nothing()),)


@pytest.fixture(autouse=True)
def buggy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker has one detector, and that has a bug."""
    columns = {"gpu": ("power_watts", "temperature_celsius")}
    detector = Detector(
        name="buggy", conditions=(BURNING,), finders={"gpu": deadly}, columns=columns
    )
    monkeypatch.setattr("streams.judge.DETECTORS", (detector,))


def log(poison_at: Sequence[int] = (), unreadable: Sequence[int] = ()) -> list[Message]:
    """A minute of five devices, one message a second, warm from the half on; 3 sends poison."""
    out = []
    for second in range(60):
        rows = GPU.empty(5)
        rows["ts"], rows["node"], rows["device"] = START_MS + second * 1000, 1, np.arange(1, 6)
        rows["power_watts"], rows["temperature_celsius"] = HARMLESS, COLD + 30 * (second > 26)
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
    assert {10: 10, 20: 9, 30: 10} == {s: samples(store)[1, s] for s in (10, 20, 30)}


async def lived(store: MemoryStore, messages: Sequence[Message], most: int = 5) -> int:
    """Lives until one gets to the end."""
    lives = 1
    while not await Life(store).run(messages):
        lives += 1
        assert lives <= most
    return lives


def samples(store: MemoryStore) -> dict[tuple[int, int], int]:
    """Samples by device and second of the window."""
    return {
        (device, (start - START_MS) // 1000): int(row["samples"])
        for (_, device, start), row in store.windows.items()
    }


def broken_fold(breaks: Callable[[np.ndarray], bool]) -> Callable[..., object]:
    """`fold` with a bug: it dies of some rows."""

    def fold(words: np.ndarray, floats: np.ndarray, index: np.ndarray, *rest: Any) -> object:
        rows = words[index].view(GPU.dtype)[:, 0]
        if breaks(rows):
            raise ZeroDivisionError
        return kernels.fold(words, floats, index, *rest)

    return fold


async def test_a_row_our_code_dies_of_is_set_aside_and_the_worker_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One death, one letter; the next life gets through, all other devices are whole."""
    broken = broken_fold(lambda rows: bool((rows["power_watts"] == DEADLY).any()))
    monkeypatch.setattr("streams.timeline.fold", broken)
    store = MemoryStore()

    assert 2 == await lived(store, log(poison_at=[25, 26, 40]))
    (letter,) = letters(store.events)
    row = np.frombuffer(base64.b64decode(letter.value_base64), dtype=GPU.dtype)[0]
    assert (3, DEADLY, "bug") == (row["device"], row["power_watts"], letter.field)
    whole = [count for (device, _), count in samples(store).items() if device != 3]
    assert [10] * 20 == whole


async def test_a_pane_without_a_guilty_row_is_given_up_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What fails whatever the rows costs that pane, and one death; the next ones are tried."""
    seconds = [START_MS + 1000 * s for s in (25, 26, 41)]
    broken = broken_fold(lambda rows: bool(np.isin(rows["ts"], seconds).any()))
    monkeypatch.setattr("streams.timeline.fold", broken)
    store = MemoryStore()

    assert 2 == await lived(store, log())
    found = letters(store.events)
    assert ["bug"] * 3 == [letter.field for letter in found]
    assert all("5 rows of the pane are lost" in letter.reason for letter in found)
    assert [s + 1000 for s in seconds] == [letter.ts for letter in found]
    counts = {0: 10, 10: 10, 20: 8, 30: 10, 40: 9}
    assert {(d, s): n for d in range(1, 6) for s, n in counts.items()} == samples(store)


async def test_a_window_that_cannot_be_written_is_given_up_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The windows before and after it are whole, and so are the panes after its end."""

    class Broken(OpenWindow):
        def take(self, start_ms: int, slots: Slots, value: np.ndarray) -> np.ndarray:
            if start_ms == START_MS + 20_000:
                raise ZeroDivisionError
            return super().take(start_ms, slots, value)

    monkeypatch.setattr("streams.timeline.OpenWindow", Broken)
    store = MemoryStore()

    assert 2 == await lived(store, log())
    (letter,) = letters(store.events)
    assert "the open window is lost" in letter.reason
    assert {0: 10, 10: 10, 30: 10, 40: 10} == {
        s: n for (device, s), n in samples(store).items() if device == 1
    }


async def test_what_is_said_about_a_pane_may_fail_and_its_rows_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A bug in the episodes: nobody looks at that pane, nothing else is lost."""
    hop = Episodes.hop

    def broken(self: Episodes, end_ms: int, verdict: Verdict) -> Iterator[Detection]:
        if end_ms == START_MS + 26_000:
            raise ZeroDivisionError
        return hop(self, end_ms, verdict)

    monkeypatch.setattr(Episodes, "hop", broken)
    store = MemoryStore()

    assert 2 == await lived(store, log())
    (letter,) = letters(store.events)
    assert "no detector looked at the pane" in letter.reason
    assert {10} == set(samples(store).values())


async def test_a_detector_that_fails_on_a_device_judges_all_others() -> None:
    """No death; one letter that names detector and device; every row counts; the other goes on."""
    before = metrics.DETECTOR_ERRORS.labels("buggy")._value.get()
    store = MemoryStore()

    assert 1 == await lived(store, log(poison_at=[25, 26]))
    (letter,) = letters(store.events)
    assert "buggy did not judge devices 3" in letter.reason
    assert {10} == set(samples(store).values())
    found = [e for e in store.events if isinstance(e, Detection)]
    opened = {e.device: (e.opened_ms - START_MS) // 1000 for e in found}
    assert opened.pop(3) > 36  # when its poison has left the window
    assert dict.fromkeys((1, 2, 4, 5), 30) == opened
    assert before < metrics.DETECTOR_ERRORS.labels("buggy")._value.get()


async def test_a_detector_that_fails_on_no_device_in_particular_says_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its verdict is missing, for as long as it fails; nothing else is."""
    monkeypatch.setitem(FAILS, "always", True)
    store = MemoryStore()

    assert 1 == await lived(store, log())
    (letter,) = letters(store.events)
    assert "buggy did not judge the window" in letter.reason
    assert {10} == set(samples(store).values())


async def test_a_message_that_breaks_the_taking_is_found_by_halving(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A bug before the rows wait needs no death at all."""
    monkeypatch.setattr("streams.timeline.as_words", _bug_in(20))
    store = MemoryStore()
    assert await Life(store).run(log())

    assert [20] == [letter.offset for letter in letters(store.events)]
    assert [10, 10, 9, 10, 10] == [n for (d, _), n in samples(store).items() if d == 1]


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

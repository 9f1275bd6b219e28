"""Episodes: hysteresis, one id for life, recovery without opening twice."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ridgeline.events import Detection, EpisodeState
from ridgeline.schema import GPU
from streams.columns import as_words
from streams.detectors.verdict import Condition, Level, Measure, Verdict
from streams.detectors.words import HIT, QUIET, UNKNOWN
from streams.episodes import Episodes, Policy, Who
from streams.slots import Slots

CONDITION = Condition(
    name="c",
    summary="is at {v:.0f}, or {w:.0f}",
    evidence=(Measure(name="v", unit="1"), Measure(name="w", unit="1")),
)


class Numbers(NamedTuple):
    """Of one device."""

    v: float
    w: float


POLICY = Policy(open_after=3, close_after=4, update_ms=5000, silent_after=6)


def machine(stored: dict[int, Detection] | None = None) -> Episodes:
    """Episodes of one device."""
    slots = Slots(10)
    row = GPU.empty(1)
    row["node"], row["device"] = 1, 42
    slots.of(as_words(row), np.zeros(1, dtype=np.int64))
    episodes = Episodes("d", "c", slots, POLICY, lambda _: Who(subject="node gpu"))
    episodes.agree(stored or {})
    return episodes


def play(episodes: Episodes, script: str, first: int = 1) -> list[Detection]:
    """One hop a letter: x hit, - quiet, ? unknown."""
    out: list[Detection] = []
    for number, letter in enumerate(script, start=first):
        word = {"x": HIT + Level.WARNING, "-": QUIET, "?": UNKNOWN}[letter]
        numbers = {0: Numbers(v=float(number), w=np.nan)}
        verdict = Verdict(CONDITION, np.array([word], dtype=np.uint8), numbers.__getitem__)
        out += episodes.hop(number * 1000, verdict)
    return out


def test_opens_after_three_of_five_and_closes_after_four_quiet() -> None:
    """The same id all along; a flicker neither opens nor closes."""
    said = play(machine(), "x--x-" + "xx-x" + "---x" + "----")

    assert [EpisodeState.OPEN, EpisodeState.UPDATE, EpisodeState.CLOSED] == [d.state for d in said]
    assert 1 == len({d.id for d in said})
    assert "node gpu is at 7" == said[0].summary
    assert (7000, 17000) == (said[0].opened_ms, said[-1].closed_ms)


def test_a_flicker_opens_nothing() -> None:
    """Two of five are not enough."""
    assert [] == play(machine(), "x---x----xx---")


def test_no_data_is_not_quiet() -> None:
    """Unknown hops do not close an episode until it has been silent for long."""
    episodes = machine()
    opened = play(episodes, "xxx?????")

    assert [EpisodeState.OPEN] == [d.state for d in opened]
    assert [EpisodeState.CLOSED] == [d.state for d in play(episodes, "?", 9)]


def test_a_successor_with_the_memory_goes_on_exactly() -> None:
    """Saved and restored in any hop, it says what one that never died says."""
    script = "x-xx-xx--x----xxx----"
    want = play(machine(), script)
    for cut in range(1, len(script)):
        first, second = machine(), machine()
        said = play(first, script[:cut])
        second.restore(first.memory(1))
        second.agree({d.device: d for d in said})
        assert want == said + play(second, script[cut:], cut + 1)


def test_the_store_has_the_last_word_about_what_is_open() -> None:
    """A replay that comes to another result neither leaves an episode open nor opens a second."""
    opened = play(machine(), "xxx")[0]
    dreamer = machine()
    play(dreamer, "xxx")
    dreamer.agree({})
    assert [] == play(dreamer, "-------", 4)
    sleeper = machine()
    play(sleeper, "---")
    sleeper.agree({42: opened})
    assert [opened.id] == [d.id for d in play(sleeper, "x----", 4)]


def test_an_episode_from_after_the_progress_waits_for_its_time() -> None:
    """Said, then killed before progress was saved: the replay opens it itself, with the same id."""
    opened = play(machine(), "--xxx")[0]
    episodes = machine({42: opened})

    assert not play(episodes, "--xx")
    assert not episodes.open(1).any()
    assert [opened] == play(episodes, "x", 5)


def test_a_recovered_episode_is_not_opened_twice() -> None:
    """A successor goes on with the episode the store knows, and closes that one."""
    opened = play(machine(), "xxx")[0]
    successor = machine({42: opened})

    said = play(successor, "xxxx----", 2)

    assert [EpisodeState.CLOSED] == [d.state for d in said]
    assert opened.id == said[0].id


def test_the_same_episode_has_the_same_id_after_a_replay() -> None:
    """Ids come from what happened, not from chance."""
    assert play(machine(), "xxx")[0].id == play(machine(), "xxx")[0].id

"""Facts take effect by event time and by their place in the log; nobody waits long for them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.facts import Facts, Numbers
from streams.followed import GIVE_UP_SECONDS, SLEEPS_SECONDS, STRIDE_MS, Patience

STEPS = st.lists(
    st.tuples(st.booleans(), st.integers(1, 3000), st.integers(0, 9000)), min_size=1, max_size=30
)


def numbers(end_ms: int) -> Numbers:
    """A fact that says when it ended."""
    ends = np.array([end_ms], dtype=np.int64)
    return Numbers(keys=np.array([1], dtype=np.uint64), ends_ms=ends, values=np.ones((1, 1)))


def end_of(said: Numbers | None) -> int | None:
    """Which fact it is."""
    return None if said is None else int(said.ends_ms[0])


def test_what_a_mark_went_on_without_takes_effect_after_it() -> None:
    """Also for those who read the log much later."""
    facts = Facts()
    facts.post(1000, numbers(1000))
    facts.reached(4000)
    facts.post(2000, numbers(2000))
    facts.post(5000, numbers(5000))

    assert [None, 1000, 1000, 2000, 5000] == [
        end_of(facts.at(ms)) for ms in (999, 1000, 4000, 4001, 5000)
    ]


def played(facts: Facts, steps: list[tuple[bool, int, int]], end_ms: int) -> int:
    """Facts and marks, in the order of their log; returns how far it came."""
    for is_mark, pause, ahead in steps:
        if is_mark:
            facts.reached(end_ms + ahead)
        else:
            end_ms += pause
            facts.post(end_ms, numbers(end_ms))
    return end_ms


@given(STEPS, STEPS)
def test_a_reader_that_goes_on_from_a_memory_hears_the_same(
    first: list[tuple[bool, int, int]], then: list[tuple[bool, int, int]]
) -> None:
    """About every moment after the memory, marks before and after it included."""
    whole, heir = Facts(), Facts()
    at_ms = played(whole, first, 0)
    heir.restore(whole.memory(at_ms), at_ms)
    for facts in (whole, heir):
        played(facts, then, at_ms)

    moments = range(at_ms, at_ms + 90_000, 500)
    assert [end_of(whole.at(ms)) for ms in moments] == [end_of(heir.at(ms)) for ms in moments]
    assert whole.until_ms == heir.until_ms


def test_what_no_verdict_uses_any_more_is_dropped() -> None:
    """All but the newest in effect."""
    facts = Facts()
    played(facts, [(False, 1000, 0)] * 100, 0)
    facts.forget(90_500)

    assert 11 == len(facts)
    assert 90_000 == end_of(facts.at(90_999))
    assert 90_000 == facts.from_ms


def test_a_source_that_speaks_is_waited_for_and_one_that_sleeps_is_not() -> None:
    """One mark for what is wanted; for a sleeper marks run ahead, so that nobody waits at all."""
    patience = Patience(0.0)

    assert patience.mark(10.0, 1.0, 5000, 4000) is None
    assert 5000 == patience.mark(10.0, 2.0, 5000, 4000)
    assert patience.mark(10.5, 2.5, 5000, 4000) is None  # already written
    assert 6000 == patience.mark(11.0, 3.0, 6000, 5000)
    late = SLEEPS_SECONDS + 20
    assert 7000 + STRIDE_MS == patience.mark(late, late, 7000, 6000)
    assert patience.mark(late, late, 9000, 7000 + STRIDE_MS) is None
    assert 13_000 + STRIDE_MS == patience.mark(late, late, 13_000, 7000 + STRIDE_MS)


def test_a_mark_that_nobody_reads_back_ends_the_waiting() -> None:
    """Not while its log is being read, however long that takes."""
    patience = Patience(0.0)
    patience.mark(2.0, 2.0, 5000, 0)
    much_later = 3.0 + GIVE_UP_SECONDS

    assert not patience.is_over(much_later - 2, 100.0)
    assert not patience.is_over(much_later, 1.0)
    assert patience.is_over(much_later, much_later)
    patience.mark(much_later, 2.0, 5000, 5000)
    assert not patience.is_over(much_later, much_later)

"""Loops over rows that numpy can only say in many passes, compiled by numba; arrays in and out.

Rows come as 32-bit words, `[row, word]`, since a packed row is a whole number of them but not of
64-bit ones. Words 0-1 are the time in ms, 2-3 the node, 4-5 the device. `float_words` is the same
memory seen as float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np

F = TypeVar("F", bound=Callable[..., Any])
MISSING_WORD = np.uint32(2**32 - 1)
MISSING_LONG = np.uint64(2**64 - 1)
SATURATED_32 = np.uint64(2**32 - 1)
"""A 32-bit port counter at its stop: no reading (telegraf infiniband test data shows it)."""
FUTURE, LATE = -1, -2
_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: spreads ids that are not hashes


def compiled(function: F) -> F:
    """Compile at the first call; kept on disk where numba finds a folder it may write to."""
    try:
        return cast("F", numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:  # a read-only installation without NUMBA_CACHE_DIR
        return cast("F", numba.njit(nogil=True)(function))


@compiled
def long_at(words: np.ndarray, row: int, word: int) -> np.uint64:
    """The 64-bit value that starts at a word."""
    low, high = np.uint64(words[row, word]), np.uint64(words[row, word + 1])
    return low | (high << np.uint64(32))


@compiled
def judged(
    words: np.ndarray,
    rows_of_frame: np.ndarray,
    mark_of_frame: np.ndarray,
    newest: Any,
    lateness: int,
    latest: np.ndarray,
    hop: int,
) -> Any:
    """Start of the pane of every row, or FUTURE or LATE; the newest time after, and of those kept.

    A row is late when the frames *before* its own have closed its pane. A frame may be a mark: no
    rows, but a time. What is after its frame's `latest` counts for nothing.
    """
    pane = np.empty(len(words), dtype=np.int64)
    kept = np.int64(-(2**62))
    row = 0
    for frame in range(len(rows_of_frame)):
        closed = newest - lateness
        if mark_of_frame[frame] <= latest[frame]:
            newest = max(newest, mark_of_frame[frame])
            kept = max(kept, mark_of_frame[frame])
        for _ in range(rows_of_frame[frame]):
            ts = np.int64(long_at(words, row, 0))
            start = ts - ts % hop
            pane[row] = FUTURE if ts > latest[frame] else LATE if start + hop <= closed else start
            if ts <= latest[frame]:
                newest = max(newest, ts)
            if pane[row] == start:
                kept = max(kept, ts)
            row += 1
    return pane, newest, kept


@compiled
def found(words: np.ndarray, index: np.ndarray, table: np.ndarray, device: np.ndarray) -> Any:
    """Slot of each indexed row's device, -1 unknown, and how many are unknown."""
    slots = np.empty(len(index), dtype=np.int64)
    mask = np.uint64(len(table) - 1)
    unknown = 0
    for i in range(len(index)):
        key = long_at(words, index[i], 4)
        at = (key * _MIX) & mask
        while table[at] >= 0 and device[table[at]] != key:
            at = (at + np.uint64(1)) & mask
        slots[i] = table[at]
        unknown += table[at] < 0
    return slots, unknown


@compiled
def settle(words: np.ndarray, index: np.ndarray, slots: np.ndarray, node: np.ndarray) -> None:
    """Take each indexed row's node as that of its slot: devices are moved now and then."""
    for i in range(len(index)):
        if slots[i] >= 0:
            node[slots[i]] = long_at(words, index[i], 2)


@compiled
def place(table: np.ndarray, device: np.ndarray, slot: int) -> None:
    """Enter a slot into the table."""
    mask = np.uint64(len(table) - 1)
    at = (device[slot] * _MIX) & mask
    while table[at] >= 0:
        at = (at + np.uint64(1)) & mask
    table[at] = slot


@compiled
def rebuild(table: np.ndarray, device: np.ndarray, count: int) -> None:
    """Enter the first `count` slots into an empty table."""
    for slot in range(count):
        place(table, device, slot)


@compiled
def in_order(words: np.ndarray, index: np.ndarray, slots: np.ndarray, newest: np.ndarray) -> bool:
    """Whether every device's rows come in time order, going on from `newest` (by slot; updated)."""
    for i in range(len(index)):
        ts = np.int64(long_at(words, index[i], 0))
        if slots[i] >= 0:
            if ts < newest[slots[i]]:
                return False
            newest[slots[i]] = ts
    return True


@compiled
def add_gauges(
    reading: np.ndarray, total: np.ndarray, known: np.ndarray, least: np.ndarray, most: np.ndarray
) -> None:
    """Add a row's readings to a device's sums; without branches, so that it becomes vector code."""
    for j in range(len(reading)):
        one = reading[j]
        there = one == one  # noqa: PLR0124 - NaN is not itself
        total[j] += one if there else np.float32(0.0)
        known[j] += np.uint16(there)
        least[j] = min(least[j], one)
        most[j] = max(most[j], one)


@compiled
def difference(
    words: np.ndarray,
    row: int,
    counters: np.ndarray,
    ts: np.int64,
    gap: int,
    value: np.ndarray,
    value_ts: np.ndarray,
    increase: np.ndarray,
    took: np.ndarray,
) -> int:
    """Increase of every counter since its last valid reading, and the seconds that took.

    Both are 0 where there is no pair. Remembers the new readings; returns how many were reset.
    """
    resets = 0
    for j in range(len(counters)):
        new = long_at(words, row, counters[j])
        increase[j] = took[j] = 0.0
        if new == MISSING_LONG or new == SATURATED_32:  # noqa: PLR1714, SIM109 - numba knows no `in`
            continue
        apart = ts - value_ts[j]
        if apart <= gap:
            if new < value[j]:  # it was reset: what it shows now is the increase
                increase[j] = np.float64(new)
                resets += 1
            else:
                increase[j] = np.float64(new - value[j])
            took[j] = apart * 0.001
        value[j], value_ts[j] = new, ts
    return resets


@compiled
def add_increases(increase: np.ndarray, took: np.ndarray, total: np.ndarray) -> None:
    """Add a row's increases to a device's; NaN until there is one."""
    for j in range(len(increase)):
        if took[j] > 0.0:
            total[j] = increase[j] if np.isnan(total[j]) else total[j] + increase[j]


@compiled
def add_words(
    words: np.ndarray,
    row: int,
    states: np.ndarray,
    flags: np.ndarray,
    newest: np.ndarray,
    union: np.ndarray,
) -> None:
    """Take a row's states as the newest and unite its flag sets with a device's."""
    for j in range(len(states)):
        if words[row, states[j]] != MISSING_WORD:
            newest[j] = words[row, states[j]]
    for j in range(len(flags)):
        bits = words[row, flags[j]]
        if bits != MISSING_WORD:
            union[j] = bits if union[j] == MISSING_WORD else union[j] | bits


@compiled
def add_to_pane(
    reading: np.ndarray,
    increase: np.ndarray,
    took: np.ndarray,
    gauges: np.ndarray,
    counters: np.ndarray,
    pane: np.ndarray,
) -> None:
    """Add a row to a device's pane: numerators first, then denominators."""
    width = len(gauges) + len(counters)
    for j in range(len(gauges)):
        one = reading[gauges[j]]
        if not np.isnan(one):
            pane[j] += one
            pane[width + j] += np.float32(1.0)
    for j in range(len(counters)):
        to = len(gauges) + j
        pane[to] += np.float32(increase[counters[j]])
        pane[width + to] += np.float32(took[counters[j]])


@compiled
def fold(
    words: np.ndarray,
    float_words: np.ndarray,
    index: np.ndarray,
    slots: np.ndarray,
    at: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    last: np.ndarray,
    before: tuple[np.ndarray, np.ndarray],
    gap: int,
    write: bool,
    window: tuple[np.ndarray, ...],
    ring: tuple[np.ndarray, ...],
    end_ms: int,
    bucket: int,
) -> tuple[int, int]:
    """Add rows of one pane, each device's in time order; returns rows used and counter resets.

    Args:
        words: Rows as words.
        float_words: The same memory as float32.
        index: Which rows.
        slots: Their devices; -1 is left out.
        at: First words of the gauges, counters, states and flag sets.
        last: Time of the newest row used, by slot: one at that time again is a repetition.
        before: Last valid reading of every counter and its time, `[slot, counter]`.
        gap: Readings further apart (ms) are no pair.
        write: Whether the rows count for the base window.
        window: `OpenWindow.arrays`.
        ring: `Ring.arrays`.
        end_ms: End of the pane.
        bucket: Its place in the ring.
    """
    gauges, counters, states, flags = at
    samples, total, known, least, most, increases, newest, union = window
    sums, ends, ring_gauges, ring_counters, ring_states = ring
    reading = np.empty(len(gauges), dtype=np.float32)
    increase, took = np.empty(len(counters)), np.empty(len(counters))
    used = resets = 0
    for i in range(len(index)):
        row, slot = index[i], slots[i]
        ts = np.int64(long_at(words, row, 0))
        if slot < 0 or ts == last[slot]:
            continue
        last[slot] = ts
        used += 1
        reset = difference(
            words, row, counters, ts, gap, before[0][slot], before[1][slot], increase, took
        )
        for j in range(len(gauges)):
            reading[j] = float_words[row, gauges[j]]
        if write:
            resets += reset
            samples[slot] += 1
            add_gauges(reading, total[slot], known[slot], least[slot], most[slot])
            add_increases(increase, took, increases[slot])
            add_words(words, row, states, flags, newest[slot], union[slot])
        pane = sums[slot, bucket]
        if ends[slot, bucket] != end_ms:
            ends[slot, bucket] = end_ms
            pane[:] = 0.0
        add_to_pane(reading, increase, took, ring_gauges, ring_counters, pane)
        for j in range(len(states)):
            if words[row, states[j]] != MISSING_WORD:
                ring_states[j, slot] = words[row, states[j]]
    return used, resets


@compiled
def sum_up(
    sums: np.ndarray,
    ends: np.ndarray,
    size: int,
    oldest: int,
    end_ms: int,
    bucket: int,
    mean: np.ndarray,
) -> np.ndarray:
    """Means over the live panes of every slot into `mean` `[column, slot]`.

    Returns who has a row in the newest pane.
    """
    hops, width = sums.shape[1], sums.shape[2] // 2
    present = np.empty(size, dtype=np.bool_)
    both = np.empty(2 * width)
    for slot in range(size):
        both[:] = 0.0
        for hop in range(hops):
            if ends[slot, hop] > oldest:
                for j in range(2 * width):
                    both[j] += sums[slot, hop, j]
        for j in range(width):
            mean[j, slot] = both[j] / both[width + j] if both[width + j] > 0.0 else np.nan
        present[slot] = ends[slot, bucket] == end_ms
    return present


@compiled
def learn(
    mean: np.ndarray,
    use: np.ndarray,
    columns: np.ndarray,
    tau: int,
    usual: np.ndarray,
    seen: np.ndarray,
) -> None:
    """Move baselines `[column, slot]` towards the means of the slots in use."""
    for k in range(len(columns)):
        for slot in range(len(use)):
            value = mean[columns[k], slot]
            if use[slot] and not np.isnan(value):
                seen[k, slot] += 1
                usual[k, slot] += (value - usual[k, slot]) / min(seen[k, slot], tau)


@compiled
def write_windows(
    out: np.ndarray,
    at: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    start_ms: int,
    slots: np.ndarray,
    ids: tuple[np.ndarray, np.ndarray],
    window: tuple[np.ndarray, ...],
) -> None:
    """Rows of the window table as words `[row, word]`; the window of these slots empties."""
    samples, total, known, least, most, increase, newest_state, union = window
    average_at, least_at, most_at, increase_at, state_at, flags_at = at
    device, node = ids
    floats = out.view(np.float32)
    increases = increase.view(np.uint32)
    for i in range(len(slots)):
        slot = slots[i]
        out[i, 0], out[i, 1] = np.uint32(start_ms & 0xFFFFFFFF), np.uint32(start_ms >> 32)
        out[i, 2] = np.uint32(node[slot] & np.uint64(0xFFFFFFFF))
        out[i, 3] = np.uint32(node[slot] >> np.uint64(32))
        out[i, 4] = np.uint32(device[slot] & np.uint64(0xFFFFFFFF))
        out[i, 5] = np.uint32(device[slot] >> np.uint64(32))
        out[i, 6] = samples[slot]
        samples[slot] = 0
        for j in range(len(average_at)):
            if known[slot, j] > 0:
                floats[i, average_at[j]] = total[slot, j] / known[slot, j]
                floats[i, least_at[j]] = least[slot, j]
                floats[i, most_at[j]] = most[slot, j]
            else:
                floats[i, average_at[j]] = np.nan
                floats[i, least_at[j]] = np.nan
                floats[i, most_at[j]] = np.nan
            total[slot, j] = 0.0
            known[slot, j] = 0
            least[slot, j] = np.inf
            most[slot, j] = -np.inf
        for j in range(len(increase_at)):
            out[i, increase_at[j]] = increases[slot, 2 * j]
            out[i, increase_at[j] + 1] = increases[slot, 2 * j + 1]
            increase[slot, j] = np.nan
        for j in range(len(state_at)):
            out[i, state_at[j]] = newest_state[slot, j]
            newest_state[slot, j] = MISSING_WORD
        for j in range(len(flags_at)):
            out[i, flags_at[j]] = union[slot, j]
            union[slot, j] = MISSING_WORD

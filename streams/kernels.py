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

from streams.prefetch import prefetch

F = TypeVar("F", bound=Callable[..., Any])
MISSING_WORD = np.uint32(2**32 - 1)
MISSING_LONG = np.uint64(2**64 - 1)
SATURATED_32 = np.uint64(2**32 - 1)
"""A 32-bit port counter at its stop: no reading (telegraf infiniband test data shows it)."""
FUTURE, LATE = -1, -2
_AHEAD = 4  # rows: less and memory is not there in time, more and it is pushed out again
_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: spreads ids that are not hashes


def compiled(function: F) -> F:
    """Compile at the first call; kept on disk where numba finds a folder it may write to."""
    return _compiled(function)


def inlined(function: F) -> F:
    """The same for what a loop calls for every row: a call there costs more than it does."""
    return _compiled(function, forceinline=True)


def _compiled(function: F, **how: Any) -> F:
    # Python's check of every division for zero would keep loops from becoming vector code
    how |= {"nogil": True, "error_model": "numpy"}
    try:
        return cast("F", numba.njit(cache=True, **how)(function))
    except RuntimeError:  # a read-only installation without NUMBA_CACHE_DIR
        return cast("F", numba.njit(**how)(function))


@inlined
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


@inlined
def probe(key: np.uint64, table: np.ndarray, device: np.ndarray) -> Any:
    """Slot of a device, -1 unknown."""
    mask = np.uint64(len(table) - 1)
    at = (key * _MIX) & mask
    while table[at] >= 0 and device[table[at]] != key:
        at = (at + np.uint64(1)) & mask
    return np.int64(table[at])


@compiled
def found(keys: np.ndarray, table: np.ndarray, device: np.ndarray) -> np.ndarray:
    """Slot of each device, -1 unknown."""
    slots = np.empty(len(keys), dtype=np.int64)
    for i in range(len(keys)):
        slots[i] = probe(keys[i], table, device)
    return slots


@compiled
def located(
    words: np.ndarray,
    index: np.ndarray,
    table: np.ndarray,
    device: np.ndarray,
    node: np.ndarray,
    newest: np.ndarray,
    count: int,
) -> Any:
    """Slot of each indexed row's device, -1 unknown; how many are; whether rows are in time order.

    Nodes mostly report the same devices in the same order, so the next slot is tried first. Takes
    each row's node as that of its slot, since devices are moved now and then. In order means that
    every device's rows go on from `newest` (by slot; updated). `count` slots are in use.
    """
    slots = np.empty(len(index), dtype=np.int64)
    unknown, ordered, guess = 0, True, np.int64(0)
    for i in range(len(index)):
        key = long_at(words, index[i], 4)
        slot = guess
        if slot >= count or device[slot] != key:
            slot = probe(key, table, device)
        slots[i] = slot
        if slot < 0:
            unknown += 1
            continue
        guess = slot + 1
        of = long_at(words, index[i], 2)
        if node[slot] != of:
            node[slot] = of
        ts = np.int64(long_at(words, index[i], 0))
        ordered = ordered and ts >= newest[slot]
        newest[slot] = max(newest[slot], ts)
    return slots, unknown, ordered


@compiled
def enter(table: np.ndarray, device: np.ndarray, start: int, end: int) -> None:
    """Enter the slots from `start` up to `end` into the table."""
    mask = np.uint64(len(table) - 1)
    for slot in range(start, end):
        at = (device[slot] * _MIX) & mask
        while table[at] >= 0:
            at = (at + np.uint64(1)) & mask
        table[at] = slot


@inlined
def prefetch_row(array: np.ndarray, row: int) -> None:
    """Have a row of `[row, column]` come."""
    for j in range(0, array.shape[1], 64 // array.itemsize):
        # numba gives the first argument by itself
        prefetch(array, row * array.shape[1] + j)  # type: ignore[call-arg]


@inlined
def load(
    words: np.ndarray,
    floats: np.ndarray,
    row: int,
    gauges: np.ndarray,
    counters: np.ndarray,
    reading: np.ndarray,
    count: np.ndarray,
) -> None:
    """A row's gauges and counters side by side: columns of later versions lie at its end."""
    for j in range(len(gauges)):
        reading[j] = floats[row, gauges[j]]
    for j in range(len(counters)):
        count[j] = long_at(words, row, counters[j])


@inlined
def goes_on(count: np.ndarray, value: np.ndarray, slot: int) -> bool:
    """Whether a row's counters all go on from their last readings: none came, went or was reset."""
    strange = np.uint64(0)
    for j in range(len(count)):
        new, old = count[j], value[slot, j]
        gone = (new == MISSING_LONG) | (new == SATURATED_32)
        never = old == MISSING_LONG
        strange |= np.uint64((gone != never) | ((new < old) & (not never)))
    return bool(strange == 0)


@compiled
def take_readings(
    count: np.ndarray,
    slot: int,
    ts: np.int64,
    gap: int,
    before: tuple[np.ndarray, ...],
    counts: tuple[np.ndarray, ...],
    write: bool,
    increase: np.ndarray,
    took: np.ndarray,
) -> int:
    """The same as in `fold`, counter by counter, where `goes_on` says no or a reading is too old.

    Sets the increase of every counter since its last reading and the seconds that took, both 0
    where there is no pair; returns how many were reset.
    """
    last, even, value, value_ts = before
    paired, counted, base, extra = counts
    width = value.shape[1]
    if even[slot]:
        value_ts[slot, :] = last[slot]
    if paired[slot]:
        paired[slot] = False
        for j in range(width):
            counted[slot, j] |= value[slot, j] != MISSING_LONG
    resets = 0
    together = True
    for j in range(width):
        new, old = count[j], value[slot, j]
        never = old == MISSING_LONG
        increase[j] = took[j] = 0.0
        if new == MISSING_LONG or new == SATURATED_32:  # noqa: PLR1714, SIM109 - numba knows no `in`
            together = together and never
            continue
        apart = ts - value_ts[slot, j]
        if not never:
            extra[slot, j] += np.float64(old - base[slot, j])
        if not never and apart <= gap:
            grown = new if new < old else new - old  # reset: what it shows now is the increase
            resets += new < old
            counted[slot, j] |= write
            increase[j], took[j] = np.float64(grown), apart * 0.001
            extra[slot, j] += increase[j]
        base[slot, j] = value[slot, j] = new
        value_ts[slot, j] = ts
    even[slot] = together
    return resets


@inlined
def add_gauges(reading: np.ndarray, slot: int, sums: tuple[np.ndarray, ...]) -> None:
    """Add a row's readings to a device's sums; without branches, so that it becomes vector code."""
    samples, total, missing, least, most = sums
    samples[slot] += 1
    gone = np.uint32(0)
    for j in range(len(reading)):
        one = reading[j]
        there = one == one  # noqa: PLR0124 - NaN is not itself
        gone |= np.uint32(not there)
        total[slot, j] += one if there else np.float32(0.0)
    for j in range(len(reading)):
        one = reading[j]
        least[slot, j] = min(least[slot, j], one)
        most[slot, j] = max(most[slot, j], one)
    if gone:
        for j in range(len(reading)):
            one = reading[j]
            missing[slot, j] += np.uint32(one != one)  # noqa: PLR0124


@inlined
def ask_ahead(
    row: int,
    slot: int,
    words: np.ndarray,
    value: np.ndarray,
    pane: np.ndarray,
    write: bool,
    sums: tuple[np.ndarray, ...],
) -> None:
    """Have what a row and its device need come."""
    prefetch_row(words, row)
    prefetch_row(value, slot)
    prefetch_row(pane, slot)
    if write:
        _, total, _, least, most = sums
        prefetch_row(total, slot)
        prefetch_row(least, slot)
        prefetch_row(most, slot)


@inlined
def go_on(
    count: np.ndarray,
    slot: int,
    seconds: np.float32,
    value: np.ndarray,
    columns: np.ndarray,
    pane: np.ndarray,
    first: int,
) -> None:
    """Take readings of which `goes_on` says yes; increases and seconds of `columns` to the pane."""
    apart = pane.shape[1] // 2
    for k in range(len(columns)):
        old = value[slot, columns[k]]
        if old != MISSING_LONG:
            pane[slot, first + k] += np.float32(count[columns[k]] - old)
            pane[slot, first + k + apart] += seconds
    for j in range(len(count)):
        value[slot, j] = MISSING_LONG if value[slot, j] == MISSING_LONG else count[j]


@inlined
def add_to_pane(reading: np.ndarray, slot: int, columns: np.ndarray, pane: np.ndarray) -> None:
    """Add a row's readings of some columns to a device's pane, and how many there are."""
    apart = pane.shape[1] // 2
    for k in range(len(columns)):
        one = reading[columns[k]]
        there = one == one  # noqa: PLR0124 - NaN is not itself
        pane[slot, k] += one if there else np.float32(0.0)
        pane[slot, k + apart] += np.float32(there)


@inlined
def add_bits(
    words: np.ndarray,
    row: int,
    slot: int,
    states: np.ndarray,
    flags: np.ndarray,
    write: bool,
    bits: tuple[np.ndarray, ...],
    ring_states: np.ndarray,
) -> None:
    """Take a row's states as the newest and unite its flag sets with a device's."""
    newest, union = bits
    for j in range(len(states)):
        state = words[row, states[j]]
        if state != MISSING_WORD:
            ring_states[j, slot] = state
            if write:
                newest[slot, j] = state
    if write:
        for j in range(len(flags)):
            found, had = words[row, flags[j]], union[slot, j]
            if found != MISSING_WORD:
                union[slot, j] = found if had == MISSING_WORD else had | found


@compiled
def fold(
    words: np.ndarray,
    floats: np.ndarray,
    index: np.ndarray,
    slots: np.ndarray,
    at: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    before: tuple[np.ndarray, ...],
    gap: int,
    write: bool,
    sums: tuple[np.ndarray, ...],
    counts: tuple[np.ndarray, ...],
    bits: tuple[np.ndarray, ...],
    ring: tuple[np.ndarray, ...],
    end_ms: int,
    bucket: int,
) -> tuple[int, int]:
    """Add rows of one pane, each device's in time order; returns rows used and counter resets.

    Args:
        words: Rows as words.
        floats: The same memory as float32.
        index: Which rows.
        slots: Their devices; -1 is left out.
        at: First words of the gauges, counters, states and flag sets.
        before: `Predecessors.arrays`.
        gap: Readings further apart (ms) are no pair.
        write: Whether the rows count for the base window.
        sums: `OpenWindow.sums`.
        counts: `OpenWindow.counts`.
        bits: `OpenWindow.bits`.
        ring: `Ring.arrays`.
        end_ms: End of the pane.
        bucket: Its place in the ring.
    """
    gauge_at, counter_at, state_at, flags_at = at
    last, even, value, _ = before
    paired = counts[0]
    panes, ends, gauges, counters, ring_states = ring
    pane = panes[bucket]
    first, apart = len(gauges), len(gauges) + len(counters)
    reading = np.empty(len(gauge_at), dtype=np.float32)
    count = np.empty(len(counter_at), dtype=np.uint64)
    increase, took = np.empty(len(count)), np.empty(len(count))
    used = resets = 0
    for i in range(len(index)):
        if i + _AHEAD < len(index) and slots[i + _AHEAD] >= 0:
            ask_ahead(index[i + _AHEAD], slots[i + _AHEAD], words, value, pane, write, sums)
        row, slot = index[i], slots[i]
        ts = np.int64(long_at(words, row, 0))
        if slot < 0 or ts == last[slot]:  # one at the time of the newest row is a repetition
            continue
        used += 1
        load(words, floats, row, gauge_at, counter_at, reading, count)
        if ends[slot] != end_ms:
            ends[slot] = end_ms
            for j in range(2 * apart):
                pane[slot, j] = 0.0
        since = ts - last[slot]
        if even[slot] and since <= gap and goes_on(count, value, slot):
            go_on(count, slot, np.float32(since * 0.001), value, counters, pane, first)
            paired[slot] |= write
        else:
            reset = take_readings(count, slot, ts, gap, before, counts, write, increase, took)
            resets += reset if write else 0
            for k in range(len(counters)):
                pane[slot, first + k] += np.float32(increase[counters[k]])
                pane[slot, first + k + apart] += np.float32(took[counters[k]])
        last[slot] = ts
        add_to_pane(reading, slot, gauges, pane)
        if write:
            add_gauges(reading, slot, sums)
        add_bits(words, row, slot, state_at, flags_at, write, bits, ring_states)
    return used, resets


@compiled
def add_suffixes(panes: np.ndarray, slot: int) -> None:
    """Make a device's panes the sums of each and all after it."""
    for hop in range(panes.shape[0] - 2, -1, -1):
        for j in range(panes.shape[2]):
            panes[hop, slot, j] += panes[hop + 1, slot, j]


@compiled
def slide(
    panes: np.ndarray,
    front: np.ndarray,
    ends: np.ndarray,
    size: int,
    end_ms: int,
    bucket: int,
    mean: np.ndarray,
) -> np.ndarray:
    """Means over the last panes of every slot into `mean` `[column, slot]`; who has a newest row.

    Sums without subtracting: `front` is the sum of this turn's panes, and what the last turn left
    in each place is the sum of its pane and of all after it. Each pane of each turn comes here
    once, in order; `bucket` is its place. `[place, slot, column]`, so that a turn reads forward.
    """
    hops, width = panes.shape[0], panes.shape[2] // 2
    pane, rest = panes[bucket], panes[(bucket + 1) % hops]
    first, last = bucket == 0, bucket == hops - 1
    present = np.empty(size, dtype=np.bool_)
    both = np.empty(2 * width, dtype=np.float32)
    for slot in range(size):
        present[slot] = ends[slot] == end_ms
        if not present[slot]:
            pane[slot, :] = 0.0
        for j in range(2 * width):
            total = pane[slot, j] if first else front[slot, j] + pane[slot, j]
            front[slot, j] = total
            both[j] = total if last else total + rest[slot, j]
        for j in range(width):
            mean[j, slot] = both[j] / both[width + j] if both[width + j] > 0.0 else np.nan
        if last:
            add_suffixes(panes, slot)
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
def round_gauges(values: np.ndarray, words: np.ndarray, rounding: tuple[np.ndarray, ...]) -> None:
    """Round values in place as `schema.Resolution` says; `words` is the same memory.

    Args:
        values: float32.
        words: uint32.
        rounding: `columns.rounding_of` their resolutions.
    """
    limit, drop, scale, whole = rounding
    for j in range(len(words)):
        word = words[j]
        even = (word >> drop[j]) & np.uint32(1)
        near = (word + (np.uint32(1) << drop[j] >> np.uint32(1)) - np.uint32(1) + even) >> drop[j]
        words[j] = near << drop[j] if word & np.uint32(0x7FFFFFFF) < limit[j] else word
    for j in range(len(values)):
        one = values[j]
        near_one = np.rint(one * scale[j]) / scale[j]
        values[j] = (near_one if abs(one) < whole[j] else one) + np.float32(0.0)


@compiled
def write_windows(
    out: np.ndarray,
    at: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    rounding: tuple[np.ndarray, ...],
    start_ms: int,
    slots: np.ndarray,
    ids: tuple[np.ndarray, np.ndarray],
    value: np.ndarray,
    sums: tuple[np.ndarray, ...],
    counts: tuple[np.ndarray, ...],
    bits: tuple[np.ndarray, ...],
) -> None:
    """Rows of the window table as words `[row, word]`; the window of these slots empties."""
    samples, total, missing, least, most = sums
    paired, counted, base, extra = counts
    newest, union = bits
    gauge_at, increase_at, state_at, flags_at = at
    device, node = ids
    floats = out.view(np.float32)
    gauges = total.shape[1]
    values = np.empty(3 * gauges, dtype=np.float32)
    words = values.view(np.uint32)
    one = np.empty(1)
    halves = one.view(np.uint32)
    for i in range(len(slots)):
        slot = slots[i]
        out[i, 0], out[i, 1] = np.uint32(start_ms & 0xFFFFFFFF), np.uint32(start_ms >> 32)
        out[i, 2] = np.uint32(node[slot] & np.uint64(0xFFFFFFFF))
        out[i, 3] = np.uint32(node[slot] >> np.uint64(32))
        out[i, 4] = np.uint32(device[slot] & np.uint64(0xFFFFFFFF))
        out[i, 5] = np.uint32(device[slot] >> np.uint64(32))
        out[i, 6] = samples[slot]
        for j in range(gauges):
            known = samples[slot] - missing[slot, j]
            values[j] = total[slot, j] / known if known > 0 else np.nan
            values[gauges + j] = least[slot, j] if known > 0 else np.nan
            values[2 * gauges + j] = most[slot, j] if known > 0 else np.nan
            total[slot, j] = 0.0
            missing[slot, j] = 0
            least[slot, j] = np.inf
            most[slot, j] = -np.inf
        round_gauges(values, words, rounding)
        for j in range(3 * gauges):
            floats[i, gauge_at[j]] = values[j]
        samples[slot] = 0
        for j in range(value.shape[1]):
            known_both = (paired[slot] and value[slot, j] != MISSING_LONG) or counted[slot, j]
            increased = extra[slot, j] + np.float64(value[slot, j] - base[slot, j])
            one[0] = increased if known_both else np.nan
            out[i, increase_at[j]], out[i, increase_at[j] + 1] = halves[0], halves[1]
            counted[slot, j] = False
            extra[slot, j] = 0.0
        paired[slot] = False
        for j in range(newest.shape[1]):
            out[i, state_at[j]] = newest[slot, j]
            newest[slot, j] = MISSING_WORD
        for j in range(union.shape[1]):
            out[i, flags_at[j]] = union[slot, j]
            union[slot, j] = MISSING_WORD

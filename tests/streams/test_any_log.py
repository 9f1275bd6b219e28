"""Whatever is in a partition's log, however it is cut and from wherever it is read again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.chaos import offline
from ridgeline.frames import resolve, watermark_headers
from ridgeline.schema import GPU, MISSING_COUNTER, SCHEMAS, Column, Kind
from streams.batches import APPEND_TIME, Batch, Message, decoded
from streams.kernels import SATURATED_32
from streams.timeline import Clock, Timeline, Window

CLOCK = Clock(window=10_000, hop=1000, lateness=3000, gap=8000, future=5000)
NEWER = dataclasses.replace(
    GPU,
    version=2,
    columns=(
        *GPU.columns,
        Column(name="new_watts", kind=Kind.GAUGE, unit="W", doc="later", since=2),
        Column(name="new_count", kind=Kind.COUNTER, unit="1", doc="later", since=2),
    ),
    _dtypes={},
)
NAMES = ("node", "samples", *(f.name for f in NEWER.window_fields))
EDGES = (0, 5, 2**32 - 2, int(SATURATED_32), 2**32, 2**63, 2**64 - 2, MISSING_COUNTER)
_MOVED_MS = 33_000  # device 2 is put into another node then
_END_MS = 10**6


@pytest.fixture(autouse=True)
def newer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our release knows version 2; some collectors still send version 1."""
    known = partial(resolve, schemas={**SCHEMAS, "gpu": NEWER})
    monkeypatch.setattr("streams.batches.resolve", known)


@dataclasses.dataclass(frozen=True)
class Reading:
    """One row to be."""

    ms: int
    device: int
    watts: float
    count: int


reading = st.builds(
    Reading,
    st.integers(0, 60_000),
    st.integers(1, 3),
    st.sampled_from((1.0, 2.0, 350.5, float("nan"))),
    st.one_of(st.integers(0, 1000), st.sampled_from(EDGES)),
)
entry: st.SearchStrategy[tuple[object, list[Reading]]] = st.one_of(
    st.tuples(st.sampled_from((1, 2)), st.lists(reading, min_size=1, max_size=3)),
    st.tuples(st.sampled_from(("twice", "junk", "unknown version", "tombstone")), st.just([])),
    st.tuples(st.just("mark"), st.lists(reading, min_size=1, max_size=1)),
    st.tuples(st.just("skewed clock"), st.lists(reading, min_size=1, max_size=2)),
)
logs = st.lists(st.tuples(entry, st.integers(-4000, 4000)), min_size=1, max_size=40)
cuts = st.lists(st.integers(1, 12), min_size=1, max_size=4)


def frame(version: int, readings: Sequence[Reading], ahead_ms: int = 0) -> bytes:
    """Rows as a frame of that version."""
    rows = np.zeros(len(readings), dtype=NEWER.dtype_of(version))
    for row, one in zip(rows, readings, strict=True):
        row["ts"], row["device"] = one.ms + ahead_ms, one.device
        row["node"] = 8 if one.device == 2 and one.ms >= _MOVED_MS else 7
        row["power_watts"], row["energy_mj"] = one.watts, one.count
        if version > 1:
            row["new_watts"], row["new_count"] = one.watts, one.count
    return rows.tobytes()


def log_of(entries: Sequence[tuple[tuple[object, list[Reading]], int]]) -> list[Message]:
    """The log: entries roughly in time order, each appended about when it was taken."""
    out: list[Message] = []
    order = sorted(entries, key=lambda e: (e[0][1][0].ms if e[0][1] else 30_000) + e[1])
    for (kind, readings), _ in order:
        headers, value, at = [("schema", b"gpu/2")], b"junk", 70_000
        if kind in (1, 2) and isinstance(kind, int):
            headers, value = [("schema", f"gpu/{kind}".encode())], frame(kind, readings)
        elif kind == "twice" and out:
            headers, value = list(out[-1].headers), out[-1].value or b""
        elif kind == "unknown version":
            headers = [("schema", b"gpu/3")]
        elif kind == "tombstone":
            headers, value = [], b""
        elif kind == "mark":
            headers, value = watermark_headers(readings[0].ms), b""
        elif kind == "skewed clock":
            value = frame(2, readings, ahead_ms=_END_MS)
        out.append(Message(len(out), headers, None, value, at, APPEND_TIME))
    end = Message(len(out), watermark_headers(_END_MS), None, b"", _END_MS, APPEND_TIME)
    return [*out, end]


def batches(log: Sequence[Message], sizes: Sequence[int]) -> Iterator[Batch]:
    """The log in pieces of these sizes, repeated."""
    at, turn = 0, 0
    while at < len(log):
        size = sizes[turn % len(sizes)]
        yield Batch(topic=GPU.topic, partition=0, messages=log[at : at + size])
        at, turn = at + size, turn + 1


def run(timeline: Timeline, feed: Iterator[Batch]) -> list[tuple[Window, int | None]]:
    """Every window, and what may be committed once it is durable."""
    out = []
    for batch in feed:
        timeline.add(decoded(batch, NEWER), batch.last_offset, batch.clocks_ms(0))
        closed = (event for event in timeline.advance() if isinstance(event, Window))
        out += [(window, timeline.released(window.end_ms)) for window in closed]
    return out


def rows(windows: Sequence[Window]) -> offline.Rows:
    """What the store would have: a later row replaces an earlier one."""
    return {
        (int(r["device"]), int(r["window_start"])): {name: float(r[name]) for name in NAMES}
        for window in windows
        for r in window.rows
    }


slow = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@slow
@given(logs, cuts)
def test_windows_are_what_the_log_says(
    entries: list[tuple[tuple[object, list[Reading]], int]], sizes: list[int]
) -> None:
    """Versions mixed, resent, junk, marks, clocks ahead, counters at every edge, a device moved."""
    log = log_of(entries)
    found = run(Timeline(NEWER, CLOCK), batches(log, sizes))

    want = offline.windows(NEWER, [log], CLOCK)
    assert [] == offline.differences(want, rows([window for window, _ in found]))


@slow
@given(logs, cuts, cuts, st.integers(0, 40), st.integers(0, 3), st.integers(0, 50))
def test_a_replay_from_any_earlier_offset_changes_nothing(  # noqa: PLR0917 - drawn values
    entries: list[tuple[tuple[object, list[Reading]], int]],
    sizes: list[int],
    other: list[int],
    died_at: int,
    lost: int,
    earlier: int,
) -> None:
    """Also when the last windows were written, but their progress was not saved."""
    log = log_of(entries)
    first = run(Timeline(NEWER, CLOCK), batches(log[:died_at], sizes))
    saved = first[: max(0, len(first) - lost)]
    durable = saved[-1][0].end_ms if saved else None
    committed = max((offset + 1 for _, offset in saved if offset is not None), default=0)
    start = max(0, committed - earlier)

    second = run(Timeline(NEWER, CLOCK, durable), batches(log[start:], other))

    want = offline.windows(NEWER, [log], CLOCK)
    assert [] == offline.differences(want, rows([window for window, _ in first + second]))


def test_after_ten_minutes_of_nothing_it_goes_on() -> None:
    """No difference across the gap, nothing late, nothing lost."""
    seconds = [*range(20), *range(620, 640)]
    entries = [((2, [Reading(s * 1000, 1, 1.0, s)]), 0) for s in seconds]
    log = log_of(entries)
    log = [dataclasses.replace(m, timestamp=10**9) for m in log]
    found = rows([window for window, _ in run(Timeline(NEWER, CLOCK), batches(log, [7]))])

    assert [10] * 4 == [found[key]["samples"] for key in sorted(found)]
    assert [9, 10, 9, 10] == [found[key]["energy_mj_inc"] for key in sorted(found)]

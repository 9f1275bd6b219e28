"""Windows against a slow obvious reference, whatever the batches, the order and the crashes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.chaos.offline import rounded
from ridgeline import metrics
from ridgeline.frames import encode, headers_of
from ridgeline.schema import GPU, MISSING_COUNTER, MISSING_STATE
from streams.batches import APPEND_TIME, Batch, Message, decoded
from streams.kernels import SATURATED_32
from streams.timeline import Clock, Timeline, Window

CLOCK = Clock(window=10_000, hop=1000, lateness=3000, gap=8000)
NOW = 10**12
FIELDS = (
    "samples",
    "power_watts_avg",
    "power_watts_min",
    "power_watts_max",
    "energy_mj_inc",
    "pstate_last",
    "clock_event_reasons_or",
)
Sample = tuple[int, int, float, int, int, int]  # ms, device, power, energy, pstate, reasons


def frame(sample: Sample) -> bytes:
    """One row as a frame."""
    row = GPU.empty(1)
    row["ts"], row["device"], row["node"] = sample[0], sample[1], 7
    row["power_watts"], row["energy_mj"] = sample[2], sample[3]
    row["pstate"], row["clock_event_reasons"] = sample[4], sample[5]
    return encode(row, GPU)


def batches(samples: Sequence[Sample], sizes: Sequence[int], first: int = 0) -> Iterator[Batch]:
    """The samples as messages of one row each, cut into batches of the given sizes, repeated."""
    messages = [Message(first + i, headers_of(GPU), None, frame(s)) for i, s in enumerate(samples)]
    at, turn = 0, 0
    while at < len(messages):
        size = sizes[turn % len(sizes)]
        yield Batch(topic=GPU.topic, partition=0, messages=messages[at : at + size])
        at, turn = at + size, turn + 1


def run(
    timeline: Timeline, feed: Iterator[Batch], released: list[int | None] | None = None
) -> list[Window]:
    """Every window that a feed completes; `released` gets what may be committed with each."""
    out: list[Window] = []
    for batch in feed:
        timeline.add(decoded(batch, GPU), batch.last_offset, batch.clocks_ms(NOW))
        for event in timeline.advance():
            if isinstance(event, Window):
                out.append(event)
                if released is not None:
                    released.append(timeline.released(event.end_ms))
    return out


def rows(windows: Sequence[Window]) -> dict[tuple[int, int], dict[str, float]]:
    """(device, window) -> the fields compared; a later row replaces an earlier one."""
    return {
        (int(r["device"]), int(r["window_start"])): {f: float(r[f]) for f in FIELDS}
        for w in windows
        for r in w.rows
    }


def reference(  # noqa: C901 - one obvious loop on purpose
    samples: Sequence[Sample],
) -> dict[tuple[int, int], dict[str, float]]:
    """One sample at a time, in plain Python."""
    newest = -(10**15)
    kept: dict[tuple[int, int], Sample] = {}
    for s in samples:
        if s[0] // 1000 * 1000 + 1000 > newest - CLOCK.lateness:
            kept.setdefault((s[1], s[0]), s)
        newest = max(newest, s[0])
    before: dict[int, Sample] = {}
    out: dict[tuple[int, int], dict[str, float]] = {}
    powers: dict[tuple[int, int], list[float]] = {}
    for (device, ts), s in sorted(kept.items(), key=lambda item: item[0][1]):
        key = (device, ts // 10_000 * 10_000)
        row = out.setdefault(key, dict.fromkeys(FIELDS, math.nan) | {"samples": 0.0})
        row["samples"] += 1
        powers.setdefault(key, [])
        if not math.isnan(s[2]):
            powers[key].append(float(np.float32(s[2])))
        if s[3] not in {MISSING_COUNTER, int(SATURATED_32)}:
            last = before.get(device)
            if last is not None and ts - last[0] <= CLOCK.gap:
                change = s[3] - last[3] if s[3] >= last[3] else s[3]
                old = row["energy_mj_inc"]
                row["energy_mj_inc"] = change + (0 if math.isnan(old) else old)
            before[device] = s
        for name, value in (("pstate_last", s[4]), ("clock_event_reasons_or", s[5])):
            if value == MISSING_STATE:
                continue
            union = int(row[name]) if name.endswith("_or") and not math.isnan(row[name]) else 0
            row[name] = float(value | union)
    resolution = GPU.by_name["power_watts"].resolution
    for key, row in out.items():
        if powers[key]:
            total = 0.0
            for power in powers[key]:  # sum() of later Pythons makes up for what rounding loses
                total += power
            row["power_watts_avg"] = rounded(total / len(powers[key]), resolution)
            row["power_watts_min"] = rounded(min(powers[key]), resolution)
            row["power_watts_max"] = rounded(max(powers[key]), resolution)
        for name in ("pstate_last", "clock_event_reasons_or"):
            row[name] = float(MISSING_STATE) if math.isnan(row[name]) else row[name]
    return out


def same(
    a: dict[tuple[int, int], dict[str, float]], b: dict[tuple[int, int], dict[str, float]]
) -> None:
    """Equal to the last bit, but for increases above 2^53."""
    assert a.keys() == b.keys()
    for key, fields in a.items():
        for name, value in fields.items():
            other = b[key][name]
            close = math.isclose(value, other, rel_tol=1e-12 * name.endswith("_inc"))
            assert close or (math.isnan(value) and math.isnan(other)), (key, name, value, other)


missing_state = st.just(MISSING_STATE)
sample = st.tuples(
    st.integers(0, 60_000),
    st.integers(1, 3),
    st.one_of(st.floats(0, 700, width=32), st.just(math.nan)),
    st.one_of(st.integers(0, 1000), st.integers(0, 2**63), st.just(MISSING_COUNTER)),
    st.one_of(st.integers(0, 15), missing_state),
    st.one_of(st.integers(0, 255), missing_state),
)
disorder = st.lists(sample, min_size=1, max_size=60).flatmap(
    lambda samples: st.tuples(
        st.just(samples), st.lists(st.integers(-4000, 4000), min_size=60, max_size=60)
    ).map(
        lambda p: [
            s for _, s in sorted(zip(p[1], p[0], strict=False), key=lambda t: t[0] + t[1][0])
        ]
    )
)
sizes = st.lists(st.integers(1, 20), min_size=1, max_size=5)


def ended(samples: list[Sample]) -> list[Sample]:
    """The samples and one far later, so that every window closes."""
    return [*samples, (200_000, 99, 1.0, 1, 0, 0)]


@settings(max_examples=150, deadline=None)
@given(disorder, sizes)
def test_windows_equal_the_reference(samples: list[Sample], cut: list[int]) -> None:
    """Out of order, late, twice, missing, reset: as the plain loop says, however it was cut."""
    samples = ended(samples)

    found = rows(run(Timeline(GPU, CLOCK), batches(samples, cut)))

    want = {k: v for k, v in reference(samples).items() if k[0] != 99}
    same(want, found)


@settings(max_examples=100, deadline=None)
@given(disorder, sizes, sizes, st.integers(0, 60), st.integers(0, 3))
def test_a_crash_changes_nothing(
    samples: list[Sample], cut: list[int], other: list[int], died_at: int, lost: int
) -> None:
    """Replayed from what was released, with the progress saved: the same rows as without a crash.

    The last `lost` windows were written, or not, but their progress was not saved.
    """
    samples = ended(samples)
    offsets: list[int | None] = []
    first = run(Timeline(GPU, CLOCK), batches(samples[:died_at], cut), offsets)
    saved = first[: max(0, len(first) - lost)]
    durable = saved[-1].end_ms if saved else None
    released = [offset for offset in offsets[: len(saved)] if offset is not None]
    start = released[-1] + 1 if released else 0
    replay = Timeline(GPU, CLOCK, durable)

    second = run(replay, batches(samples[start:], other, start))

    want = {k: v for k, v in reference(samples).items() if k[0] != 99}
    same(want, rows([*first, *second]))
    if durable is not None:
        assert all(int(s) >= durable for w in second for s in w.rows["window_start"])


def test_late_and_future_rows_are_counted() -> None:
    """What is not used is never silently dropped."""
    late = metrics.STREAM_LATE.labels(GPU.topic)._value.get()
    future = metrics.STREAM_FUTURE.labels(GPU.topic)._value.get()
    line: list[Sample] = [(t, 1, 1.0, 1, 0, 0) for t in (50_000, 60_000, 51_000, NOW + 61_000)]

    run(Timeline(GPU, CLOCK), batches(line, [1]))

    assert late + 1 == metrics.STREAM_LATE.labels(GPU.topic)._value.get()
    assert future + 1 == metrics.STREAM_FUTURE.labels(GPU.topic)._value.get()


def test_the_future_is_judged_by_when_a_message_was_appended() -> None:
    """A replay an hour later drops the same rows, whatever they are batched with."""
    messages = [
        Message(n, headers_of(GPU), None, frame((t, 1, 1.0, 1, 0, 0)), at, APPEND_TIME)
        for n, (t, at) in enumerate(((1000, 2000), (70_000, 2000), (70_000, 20_000)))
    ]

    def used(now: int, cuts: Sequence[slice]) -> int:
        timeline = Timeline(GPU, CLOCK)
        for cut in cuts:
            batch = Batch(topic=GPU.topic, partition=0, messages=messages[cut])
            timeline.add(decoded(batch, GPU), batch.last_offset, batch.clocks_ms(now))
        return sum(len(index) for parts in timeline._waiting.values() for _, index in parts)

    assert 2 == used(3000, [slice(0, 3)])
    assert 2 == used(3_600_000, [slice(0, 1), slice(1, 2), slice(2, 3)])

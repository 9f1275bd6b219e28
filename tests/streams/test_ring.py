"""The detection window against a slow obvious reference, whatever is missing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ridgeline.frames import encode, headers_of
from ridgeline.schema import GPU, MISSING_COUNTER
from streams.batches import Batch, Message, decoded
from streams.kernels import SATURATED_32
from streams.ring import Ring
from streams.timeline import Clock, Pane, Timeline

CLOCK = Clock(window=5000, hop=1000, lateness=1000, gap=3000)
GAUGES, COUNTERS = ("power_watts", "temperature_celsius"), ("energy_mj", "throttle_power_ns")
Sample = tuple[int, int, tuple[float, float], tuple[int, int]]  # ms, device, gauges, counters

value = st.one_of(st.floats(0, 700, width=32), st.just(math.nan))
count = st.one_of(st.integers(0, 100), st.integers(0, 2**40), st.just(MISSING_COUNTER))
sample = st.tuples(
    st.integers(0, 30_000),
    st.integers(1, 3),
    st.tuples(value, value),
    st.tuples(count, count),
)


def batch(samples: Sequence[Sample]) -> Batch:
    """One message for each sample, and a last one that lets every pane end."""
    messages = []
    for number, (ms, device, gauges, counters) in enumerate(
        [*samples, (99_000, 9, (1, 1), (1, 1))]
    ):
        row = GPU.empty(1)
        row["ts"], row["device"], row["node"] = ms, device, 1
        for name, one in zip(GAUGES + COUNTERS, gauges + counters, strict=True):
            row[name] = one
        messages.append(Message(number, headers_of(GPU), None, encode(row, GPU)))
    return Batch(topic=GPU.topic, partition=0, messages=messages)


def reference(samples: Sequence[Sample], end_ms: int) -> dict[tuple[int, str], float]:
    """(device, column) -> mean of a gauge, increase a second of a counter, in plain Python."""
    top: dict[tuple[int, str], float] = {}
    bottom: dict[tuple[int, str], float] = {}
    before: dict[tuple[int, str], tuple[int, int]] = {}
    for ms, device, gauges, counters in samples:
        counts = end_ms - CLOCK.window <= ms < end_ms
        for name, one in zip(GAUGES, gauges, strict=True):
            if counts and not math.isnan(one):
                key = device, name
                top[key] = top.get(key, 0.0) + one
                bottom[key] = bottom.get(key, 0.0) + 1
        for name, new in zip(COUNTERS, counters, strict=True):
            if new in {MISSING_COUNTER, int(SATURATED_32)} or ms >= end_ms:
                continue
            key = device, name
            if key in before and ms - before[key][0] <= CLOCK.gap and counts:
                old = before[key][1]
                top[key] = top.get(key, 0.0) + (new - old if new >= old else new)
                bottom[key] = bottom.get(key, 0.0) + (ms - before[key][0]) / 1000
            before[key] = ms, new
    return {key: top[key] / bottom[key] for key in top}


@settings(max_examples=200, deadline=None)
@given(st.lists(sample, min_size=1, max_size=60))
def test_every_window_has_the_means_of_its_samples(drawn: list[Sample]) -> None:
    """Devices that come and go, panes without rows, readings that are missing, counters reset."""
    by_time = {(s[0], s[1]): s for s in drawn}
    samples = [by_time[key] for key in sorted(by_time)]
    ring = Ring(GPU, GAUGES + COUNTERS, CLOCK.window // CLOCK.hop, CLOCK.hop)
    timeline = Timeline(GPU, CLOCK, ring=ring)
    work = batch(samples)
    timeline.add(decoded(work, GPU), work.last_offset, work.clocks_ms(10**6))

    for event in timeline.advance():
        if not isinstance(event, Pane):
            continue
        ring.slide(event.end_ms, timeline.slots.count)
        want = reference(samples, event.end_ms)
        for slot, device in enumerate(timeline.slots.device.tolist()):
            for name in GAUGES + COUNTERS:
                found, right = float(ring.now(name)[slot]), want.get((device, name), math.nan)
                assert found == pytest.approx(right, rel=1e-4, abs=1e-3, nan_ok=True), (
                    event.end_ms,
                    device,
                    name,
                )
        there = {s[1] for s in samples if event.end_ms - CLOCK.hop <= s[0] < event.end_ms}
        assert there == set(timeline.slots.device[ring.present].tolist())


def test_nothing_is_left_of_a_burst() -> None:
    """Sums are never subtracted from: what was large a window ago leaves no rounding behind."""
    ring = Ring(GPU, GAUGES + COUNTERS, CLOCK.window // CLOCK.hop, CLOCK.hop)
    timeline = Timeline(GPU, CLOCK, ring=ring)
    samples: list[Sample] = [
        (s * 1000, 1, (1e30 if s == 7 else 0.1, 1.0), (0, 0)) for s in range(40)
    ]
    work = batch(samples)
    timeline.add(decoded(work, GPU), work.last_offset, work.clocks_ms(10**6))
    means = {}
    for event in timeline.advance():
        if isinstance(event, Pane):
            ring.slide(event.end_ms, timeline.slots.count)
            means[event.end_ms] = float(ring.now("power_watts")[0])

    assert means[8000] == pytest.approx(2e29)
    assert [means[e] for e in range(13_000, 41_000, 1000)] == [pytest.approx(0.1, rel=1e-6)] * 28

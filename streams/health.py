"""The worker's own numbers, every ten seconds into the store: what `/metrics` says, kept.

Console and Grafana read them there, so neither needs a way to every worker. It is also where more
dead letters than the limit become a warning.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence

import structlog
from prometheus_client import CollectorRegistry

from ridgeline import metrics
from ridgeline.errors import Reject, Retry
from ridgeline.events import Event, PipelineHealth
from streams.followed import BESIDE

log = structlog.get_logger()
REPORT_SECONDS = 10.0
_MOST_WAITING = 360  # reports of an hour, kept while the store is away
_MINUTE_MS = 60_000

Readings = Mapping[tuple[str, str], float]
"""A metric's value by its name and topic; over partitions the sum, of a delay the largest."""

_COUNTS = {
    "frames": "ridgeline_stream_frames_total",
    "samples": "ridgeline_stream_samples_total",
    "late": "ridgeline_stream_late_samples_total",
    "future": "ridgeline_stream_future_samples_total",
    "resets": "ridgeline_stream_counter_resets_total",
    "dead_letters": "ridgeline_dead_letters_total",
    "rebalances": "ridgeline_stream_rebalances_total",
}
_STATES = {"partitions": "ridgeline_stream_partitions", "devices": "ridgeline_stream_devices"}
_LAG = "ridgeline_stream_lag_frames"
_DELAY = "ridgeline_stream_watermark_delay_seconds"
_REPORTED = {*_COUNTS.values(), *_STATES.values(), _LAG}


def readings(registry: CollectorRegistry = metrics.REGISTRY) -> Readings:
    """Every metric of ours that has a topic."""
    out: dict[tuple[str, str], float] = defaultdict(float)
    for family in registry.collect():
        for sample in family.samples:
            topic = sample.labels.get("topic")
            if topic is None or topic.endswith(BESIDE):
                continue
            place = (sample.name, topic)
            if sample.name == _DELAY:
                out[place] = max(out.get(place, sample.value), sample.value)
            else:
                out[place] += sample.value
    return dict(out)


class Reporter:
    """Turns successive readings into reports.

    Args:
        worker: This worker's name.
        limit: Dead letters a minute past which a warning is raised.
        read: The readings now.
    """

    def __init__(self, worker: str, limit: int, read: Callable[[], Readings] = readings) -> None:
        self._worker, self._limit, self._read = worker, limit, read
        self._before: Readings = {}
        self._before_ms: int | None = None
        self._letters: dict[str, deque[tuple[int, int]]] = defaultdict(deque)
        self._over: set[str] = set()

    def report(self, now_ms: int) -> list[PipelineHealth]:
        """One report a topic of what happened since the last call; the first covers everything."""
        now, before = self._read(), self._before
        seconds = 0.0 if self._before_ms is None else (now_ms - self._before_ms) / 1000
        self._before, self._before_ms = now, now_ms
        topics = sorted({topic for name, topic in now if name in _REPORTED})
        out = [self._one(topic, now, before, now_ms, seconds) for topic in topics]
        for one in out:
            self._judge(one)
        return out

    def _one(
        self, topic: str, now: Readings, before: Readings, now_ms: int, seconds: float
    ) -> PipelineHealth:
        def count(metric: str) -> int:
            return int(now.get((metric, topic), 0) - before.get((metric, topic), 0))

        lag = now.get((_LAG, topic))
        return PipelineHealth(
            worker=self._worker,
            topic=topic,
            ts=now_ms,
            seconds=seconds,
            lag_frames=None if lag is None else int(lag),
            watermark_delay_seconds=now.get((_DELAY, topic)),
            **{field: int(now.get((metric, topic), 0)) for field, metric in _STATES.items()},
            **{field: count(metric) for field, metric in _COUNTS.items()},
        )

    def _judge(self, one: PipelineHealth) -> None:
        """Say once when a minute brought more dead letters than the limit, and once when over."""
        letters = self._letters[one.topic]
        letters.append((one.ts, one.dead_letters))
        while letters[0][0] <= one.ts - _MINUTE_MS:
            letters.popleft()
        minute = sum(count for _, count in letters)
        over, was = minute > self._limit, one.topic in self._over
        metrics.DEAD_LETTERS_OVER.labels(one.topic).set(over)
        if over and not was:
            self._over.add(one.topic)
            log.error("too many dead letters", topic=one.topic, minute=minute, limit=self._limit)
        elif was and not over:
            self._over.discard(one.topic)
            log.info("dead letters are few again", topic=one.topic, minute=minute)


async def report_for_ever(
    reporter: Reporter,
    keep: Callable[[Sequence[Event]], None],
    refresh: Callable[[], None],
    pause_seconds: float = REPORT_SECONDS,
) -> None:
    """Report and keep; while the store is away reports wait, a bounded number of them.

    Args:
        reporter: What makes the reports.
        keep: Puts events into the store; called from a thread.
        refresh: Brings the metrics up to date that follow the clock.
        pause_seconds: Time between reports.
    """
    waiting: deque[PipelineHealth] = deque(maxlen=_MOST_WAITING)
    while True:
        refresh()
        waiting.extend(reporter.report(int(time.time() * 1000)))
        try:
            await asyncio.to_thread(keep, tuple(waiting))
            waiting.clear()
        except (Retry, OSError) as error:
            log.debug("pipeline health waits for the store", error=str(error))
        except Reject as error:
            waiting.clear()
            log.error("the store refuses pipeline health", error=str(error))  # noqa: TRY400 - no trace
        await asyncio.sleep(pause_seconds)

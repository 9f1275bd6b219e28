"""The health of Ridgeline itself: how workers keep up with topics, how collectors do."""

from __future__ import annotations

from typing import Any

from advisor.facts import Reader, Span
from advisor.source import CollectorState, TopicState
from ridgeline.topics import HOUR_MS

ALIVE_MS = 60_000
"""A worker reports every ten seconds: one silent for so long is gone."""
_COLLECTORS_MS = 300_000


def topics(store: Reader, span: Span, dead_letter_limit: int) -> list[TopicState]:
    """Every topic that a worker reported on in the last hour.

    Lag, delay, devices and rate are of the workers that live; counts are of all of the hour.

    Args:
        store: Where the workers' reports are.
        span: Now.
        dead_letter_limit: Dead letters a minute past which it is an alarm.
    """
    sql = """
        SELECT topic, countIf(alive) AS workers, sumIf(devices, alive) AS devices,
            sumIf(lag, alive AND isFinite(lag))
                + if(countIf(alive AND isFinite(lag)) = 0, nan, 0) AS lag_frames,
            maxIf(delay, alive AND isFinite(delay))
                + if(countIf(alive AND isFinite(delay)) = 0, nan, 0) AS delay_seconds,
            sumIf(rate, alive AND isFinite(rate))
                + if(countIf(alive AND isFinite(rate)) = 0, nan, 0) AS samples_per_second,
            sum(late) AS late, sum(future) AS future, sum(resets) AS resets,
            sum(letters) AS letters, sum(letters_minute) AS letters_minute,
            sum(rebalances) AS rebalances
        FROM (
            SELECT topic, worker, max(ts) >= fromUnixTimestamp64Milli({alive:Int64}) AS alive,
                argMax(p.devices, ts) AS devices, argMax(lag_frames, ts) AS lag,
                argMax(watermark_delay_seconds, ts) AS delay,
                argMax(p.samples, ts) / argMax(p.seconds, ts) AS rate,
                sum(p.late) AS late, sum(p.future) AS future, sum(p.resets) AS resets,
                sum(p.dead_letters) AS letters,
                sumIf(p.dead_letters, ts > fromUnixTimestamp64Milli({minute:Int64}))
                    AS letters_minute,
                sum(p.rebalances) AS rebalances
            FROM pipeline_health AS p
            WHERE ts >= fromUnixTimestamp64Milli({since:Int64})
            GROUP BY topic, worker
        )
        GROUP BY topic ORDER BY startsWith(topic, 'telemetry.') DESC, topic
    """
    parameters = {
        "since": span.now_ms - HOUR_MS,
        "alive": span.now_ms - ALIVE_MS,
        "minute": span.now_ms - 60_000,
    }
    return [_topic(row, dead_letter_limit) for row in store.query(sql, parameters)]


def _topic(row: dict[str, Any], limit: int) -> TopicState:
    return TopicState(
        name=row["topic"],
        workers=row["workers"],
        devices=row["devices"],
        samples_per_second=_known(row["samples_per_second"]),
        lag_frames=_known(row["lag_frames"]),
        watermark_delay_seconds=_known(row["delay_seconds"]),
        late=row["late"],
        future=row["future"],
        resets=row["resets"],
        dead_letters=row["letters"],
        dead_letters_minute=row["letters_minute"],
        dead_letters_over=row["letters_minute"] > limit,
        rebalances=row["rebalances"],
    )


def collectors(store: Reader, span: Span) -> list[CollectorState]:
    """Every collector by the newest reports of the last five minutes."""
    sql = """
        SELECT collector, countIf(success) AS well,
            countIf(NOT success AND NOT no_data) AS failing, countIf(no_data) AS absent,
            anyIf(error, NOT success AND NOT no_data) AS failure,
            anyIf(error, no_data) AS reason, toUnixTimestamp64Milli(max(ts)) AS reported_ms
        FROM collectors
        WHERE ts >= fromUnixTimestamp64Milli({since:Int64})
        GROUP BY collector ORDER BY collector
    """
    return [
        CollectorState(
            name=row["collector"],
            well=row["well"],
            failing=row["failing"],
            absent=row["absent"],
            error=row["failure"] or row["reason"],
            reported_ms=row["reported_ms"],
        )
        for row in store.query(sql, {"since": span.now_ms - _COLLECTORS_MS})
    ]


def _known(value: float | None) -> float | None:
    return None if value is None or value != value else value  # noqa: PLR0124 - NaN

"""Ridgeline itself: how the stream workers keep up with each topic, how the collectors do."""

from __future__ import annotations

from collections.abc import Sequence

from advisor.console.parts import KeyedRows, box, heading, section, text
from advisor.format import UNKNOWN, known, number, scaled, seconds
from advisor.source import ClusterState, CollectorState, TopicState

_TELEMETRY = "telemetry."
SLOW_SECONDS = 60.0
"""A watermark this far behind the clock holds findings back long enough for a person to notice."""
_COLUMNS = (
    ("Topic", "Kafka topic"),
    ("Samples", "rows read a second"),
    ("Lag", "frames the workers have not read yet"),
    ("Delay", "wall clock minus watermark, slowest partition"),
    ("Devices", "devices in the workers' memory"),
    ("Late", "rows too late for their window, last hour"),
    ("Future", "rows from too far in the future, last hour"),
    ("Dead", "messages sent to the dead letter, last hour"),
    ("Rebal.", "times partitions were taken from a worker, last hour"),
)


def shown(topics: Sequence[TopicState]) -> list[TopicState]:
    """Telemetry always; the topics of events only when something is wrong with them."""
    return [
        topic
        for topic in topics
        if topic.name.startswith(_TELEMETRY) or topic.dead_letters or topic.lag_frames
    ]


def alarm(topics: Sequence[TopicState]) -> str:
    """One sentence when dead letters are past the limit, else nothing."""
    over = [topic for topic in topics if topic.dead_letters_over]
    if not over:
        return ""
    many = ", ".join(f"{topic.dead_letters_minute:,} on {topic.name}" for topic in over)
    return (
        f"Dead letters in the last minute: {many}, more than RIDGELINE_STREAMS_DEAD_LETTER_LIMIT."
        " `ridgeline tail dead.letter` says why."
    )


class PipelineView:
    """The section about Ridgeline's own health."""

    def __init__(self) -> None:
        with section("Pipeline", "pipeline"):
            self._note = heading("Pipeline")
            with box("rl-table"):
                with box("rl-pipe rl-row-head"):
                    for name, about in _COLUMNS:
                        text(name, "rl-key").props["title"] = about
                rows = box("rl-rows")
            chips = box("rl-legend rl-collectors")
        self._topics: KeyedRows[TopicState] = KeyedRows(
            rows, lambda t: t.name, _draw_topic, css="rl-pipe", mark="topic"
        )
        self._collectors: KeyedRows[CollectorState] = KeyedRows(
            chips,
            lambda c: c.name,
            _draw_collector,
            content=lambda c: (c.well, c.failing, c.absent, c.error),
            mark="collector",
        )

    def show(self, state: ClusterState) -> None:
        """Bring the section up to date."""
        workers = max((topic.workers for topic in state.topics), default=0)
        none = "no stream worker has reported in the last minute"
        if not workers and state.updated_ms is None:
            none = ""
        self._note.set_text(f"{workers} stream worker{'s' * (workers != 1)}" if workers else none)
        self._topics.show(shown(state.topics))
        self._collectors.show(state.collectors)


def _draw_topic(topic: TopicState) -> None:
    name = text(topic.name.removeprefix(_TELEMETRY), "rl-subject")
    name.props["title"] = topic.name
    lag = topic.lag_frames
    slow = known(topic.watermark_delay_seconds) and topic.watermark_delay_seconds > SLOW_SECONDS
    _cell(scaled(topic.samples_per_second, "/s") if topic.workers else UNKNOWN)
    _cell(scaled(lag, "") if known(lag) else UNKNOWN)
    _cell(seconds(topic.watermark_delay_seconds), bad=slow)
    _cell(number(topic.devices, digits=9) if topic.workers else UNKNOWN)
    _cell(number(topic.late, digits=9))
    _cell(number(topic.future, digits=9))
    _cell(number(topic.dead_letters, digits=9), bad=topic.dead_letters_over)
    _cell(number(topic.rebalances, digits=9))


def _cell(value: str, *, bad: bool = False) -> None:
    text(value, "rl-number rl-alarm" if bad else "rl-number")


def _draw_collector(one: CollectorState) -> None:
    counts = ((one.well, "ok"), (one.failing, "failing"), (one.absent, "absent"))
    words = ", ".join(f"{count} {word}" for count, word in counts if count)
    css = "rl-assumed" if one.failing else "rl-measured" if one.well else ""
    chip = text(f"{one.name}: {words or UNKNOWN}", f"rl-chip {css}")
    chip.props["title"] = one.error or "works"

"""What the views decide, without a browser."""

from __future__ import annotations

import asyncio
import math

from advisor.console.advice_view import open_total, ranked
from advisor.console.cluster_view import heat, racks
from advisor.console.detections_view import grouped
from advisor.console.detections_view import ranked as ranked_detections
from advisor.console.feed import Feed
from advisor.console.header_view import health
from advisor.console.roofline import points
from advisor.source import ClusterState, NodeState, TopicState
from ridgeline.events import AdviceState, Confidence, Detection, Severity
from tests.console.console_fake import (
    FakeSource,
    dollars,
    make_advice,
    make_detection,
    make_nodes,
)

NOW_MS = 10_000_000


def test_total_counts_open_priced_advice_only() -> None:
    """Snoozed, resolved, unpriced and NaN gains add nothing."""
    one = make_advice("1", "a", dollars(1, 2, 3, Confidence.MEASURED))
    snoozed = one.model_copy(update={"id": "2", "state": AdviceState.SNOOZED})
    unknown = make_advice("3", "c", dollars(math.nan, math.nan, math.nan, Confidence.ASSUMED))

    assert (1, 2, 3) == open_total([one, snoozed, unknown, make_advice("4", "d", None)])
    assert open_total([snoozed, unknown]) is None


def test_rank_puts_unpriced_last() -> None:
    """Also when the gain is NaN."""
    rich = make_advice("rich", "a", dollars(1, 20, 30, Confidence.MEASURED))
    poor = make_advice("poor", "a", dollars(1, 2, 3, Confidence.MEASURED))
    unknown = make_advice("unknown", "c", dollars(math.nan, math.nan, 1, Confidence.ASSUMED))

    assert ["rich", "poor", "unknown"] == [a.id for a in ranked([unknown, poor, rich])]


def test_detections_open_first_worst_first() -> None:
    """A closed critical one comes after an open warning."""
    found = [
        make_detection("closed", "a", Severity.CRITICAL, closed=True),
        make_detection("warning", "b"),
        make_detection("critical", "c", Severity.CRITICAL),
    ]

    assert ["critical", "warning", "closed"] == [d.id for d in ranked_detections(found)]


def test_many_of_one_condition_share_a_row() -> None:
    """Open and closed apart; up to three stay apart; the worst leads its group."""
    many = [make_detection(f"m{n}", f"node{n:02d} gpu0") for n in range(5)]
    many[3] = many[3].model_copy(update={"severity": Severity.CRITICAL})
    over = [make_detection(f"o{n}", f"node{n:02d} gpu0", closed=True) for n in range(4)]
    few = [make_detection(f"f{n}", "node01", condition="power_cap") for n in range(3)]

    found = grouped([*over, *few, *many])

    assert [5, 1, 1, 1, 4] == [len(group) for group in found]
    assert "m3" == found[0][0].id
    assert {"o0", "o1", "o2", "o3"} == {d.id for d in found[-1]}


def test_health_needs_fresh_data() -> None:
    """No data and old data are unknown, never healthy."""
    fresh = ClusterState(updated_ms=NOW_MS - 5_000, collectors_ok=3)
    quiet: list[Detection] = [make_detection("1", "a", Severity.CRITICAL, closed=True)]

    assert ("no data yet", "unknown") == health(ClusterState(), quiet, NOW_MS)
    stale = fresh.model_copy(update={"updated_ms": NOW_MS - 61_000})
    assert ("unknown: data is stale", "unknown") == health(stale, quiet, NOW_MS)
    assert ("healthy", "quiet") == health(fresh, quiet, NOW_MS)
    assert ("1 warning", "warning") == health(fresh, [make_detection("2", "b")], NOW_MS)
    failing = fresh.model_copy(update={"collectors_failing": 2})
    assert ("2 collectors failing", "warning") == health(failing, quiet, NOW_MS)
    letters = TopicState(name="telemetry.gpu", dead_letters_over=True, dead_letters_minute=1001)
    refused = fresh.model_copy(update={"topics": [letters]})
    assert ("dead letters", "warning") == health(refused, quiet, NOW_MS)


def test_heat_of_a_node() -> None:
    """Unmeasured is unknown, silent is lost, the rest goes by temperature."""

    def level(celsius: float | None, seen_ms: int | None = NOW_MS) -> str:
        return heat(NodeState(host="n", hottest_celsius=celsius, last_seen_ms=seen_ms), NOW_MS)

    assert ["cool", "mild", "warm", "hot"] == [level(c) for c in (59.9, 60.0, 75.0, 85.0)]
    assert ["unknown", "unknown"] == [level(None), level(math.nan)]
    assert "lost" == level(50.0, NOW_MS - 60_001)


def test_racks_group_nodes_in_order() -> None:
    """Each rack once, nodes without one last."""
    nodes = [*make_nodes()[::-1], NodeState(host="stray")]

    found = racks(nodes)

    assert [f"rack{i:02d}" for i in range(8)] + ["no rack"] == [name for name, _ in found]
    assert ["node00", "node01", "node02", "node03"] == [n.host for n in found[0][1]]


def test_roofline_leaves_out_what_was_not_measured() -> None:
    """31 of 32 nodes have both readings; pools come in their own order."""
    found = points(make_nodes())

    assert ["prefill", "decode", "training"] == list(found)
    assert 31 == sum(map(len, found.values()))


async def test_feed_keeps_the_last_good_answer_of_each_part() -> None:
    """One part that fails leaves the others alone."""

    class Lame(FakeSource):
        async def detections(self) -> list[Detection]:
            if self.step > 1:
                raise ValueError("no such column")
            return await super().detections()

    feed = Feed(Lame())
    await feed.load()
    assert [] == list(feed.latest.problems)
    await feed.load()
    await feed.load()

    assert ["detections: no such column"] == list(feed.latest.problems)
    assert 3 == len(feed.latest.detections)
    assert 3 == len(feed.latest.advice)


async def test_feed_outlives_a_source_that_hangs() -> None:
    """A part that does not answer in time is a problem with its name."""

    class Hanging(FakeSource):
        async def cluster(self) -> ClusterState:
            await asyncio.Event().wait()
            raise AssertionError

    feed = Feed(Hanging(), timeout_seconds=0.01)
    await feed.load()

    assert ("cluster state: no answer in 0.01 s",) == feed.latest.problems
    assert 3 == len(feed.latest.advice)


async def test_feed_reads_once_for_many_pages() -> None:
    """Pages that ask at the same time share one reading."""
    source = FakeSource()
    feed = Feed(source, every_seconds=60)
    for _ in range(20):
        feed.poke()
        await asyncio.sleep(0)
    await feed.load()

    assert source.step in (1, 2)
    assert feed.latest.loaded

"""Exactly-once effect with everything in memory: killed between any two writes, replayed, equal."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from functools import cache
from itertools import permutations

import pytest

from benchmarks.chaos import offline, scenario
from ridgeline.events import Detection, Event
from ridgeline.frames import Headers, facts_headers, watermark_headers
from ridgeline.schema import FACILITY, GPU, SCHEMAS, SERVING
from ridgeline.settings import StreamsSettings
from streams.batches import APPEND_TIME, Batch, Message
from streams.episodes import Policy
from streams.processor import Processor, clock_of
from streams.sink import Sink
from streams.testing import MemoryStore

START_MS = 1_790_000_040_000
SECONDS, PARTITIONS, SCENARIOS = 130, 2, 2
SETTINGS = StreamsSettings(remember_seconds=30)
Tp = tuple[str, int]


class Killed(BaseException):
    """The worker is dead; nothing after this line happened."""


class MortalStore(MemoryStore):
    """A store whose writer dies before or after some of its writes."""

    def __init__(self, chance: random.Random, share: float) -> None:
        super().__init__()
        self.chance, self.share = chance, share

    def maybe_die(self) -> None:
        """Perhaps die."""
        if self.chance.random() < self.share:
            raise Killed

    def _write(self) -> None:
        self.maybe_die()
        super()._write()


@cache
def logs(seed: int) -> dict[Tp, list[Message]]:
    """The log of every partition; some say that verdicts did not wait for them."""
    chance = random.Random(seed)
    out: dict[Tp, list[Message]] = {
        (s.topic, p): [] for s in SCHEMAS.values() for p in range(PARTITIONS)
    }
    for sent in scenario.messages(seed, START_MS, SECONDS):
        log = out[sent.schema.topic, sent.node % PARTITIONS]
        log.append(
            Message(len(log), sent.headers, None, sent.value, sent.taken_ms + 30_000, APPEND_TIME)
        )
        if sent.schema in (SERVING, FACILITY) and chance.random() < 0.05:
            until = facts_headers(sent.taken_ms + chance.randint(-8000, 4000))
            log.append(Message(len(log), until, None, b"", sent.taken_ms + 30_000, APPEND_TIME))
    end = watermark_headers(START_MS + (SECONDS + 30) * 1000)
    for log in out.values():
        log.append(Message(len(log), end, None, b""))
    return out


class Life:
    """One worker from its start to its death or to the end of the log."""

    def __init__(
        self,
        store: MortalStore,
        committed: dict[Tp, int],
        said: list[Detection],
        choose: Callable[[list[Tp]], Tp],
        *,
        obeys: bool = False,
        sizes: Sequence[int] = (1, 7, 60, 300),
    ) -> None:
        self.obeys, self.sizes, self.held = obeys, sizes, set[Tp]()
        self.most: dict[Tp, int] = {}
        self.store, self.committed, self.choose = store, committed, choose

        async def publish(events: Sequence[Event]) -> None:
            store.maybe_die()
            said.extend(e for e in events if isinstance(e, Detection))

        async def append_mark(topic: str, partition: int, headers: Headers) -> None:
            raise AssertionError

        def release(topic: str, partition: int, offset: int) -> None:
            committed[topic, partition] = offset + 1

        self.sink = Sink(store, publish, release, pause_seconds=0)

        def hold(topic: str, partition: int, yes: bool) -> None:  # noqa: FBT001 - as it is called
            (self.held.add if yes else self.held.discard)((topic, partition))

        self.processor = Processor(
            SETTINGS, store, self.sink, append_mark, lambda _: PARTITIONS, hold
        )
        self.processor.board.inventory.load(scenario.inventory(START_MS))

    def beside(self, log: dict[Tp, list[Message]]) -> list[Tp]:
        """What is read beside and has not been read to its end."""
        followed = self.processor.dependencies.followed.items()
        paused = self.processor.dependencies.paused if self.obeys else set[Tp]()
        return [tp for tp, one in followed if one.offset < len(log[tp]) and tp not in paused]

    def open(self, at: dict[Tp, int], log: dict[Tp, list[Message]]) -> list[Tp]:
        """What the group gave it, has not been read to its end and may be read."""
        return [tp for tp in log if at[tp] < len(log[tp]) and not (self.obeys and tp in self.held)]

    async def run(self, chance: random.Random, log: dict[Tp, list[Message]]) -> None:
        """Read every partition from where it is committed, in pieces, in any order."""
        at = {tp: self.committed.get(tp, 0) for tp in log}
        while open_ := self.open(at, log) + self.beside(log):
            for source, facts in self.processor.board.facts.items():
                self.most[source] = max(self.most.get(source, 0), len(facts))
            tp, size = self.choose(open_), chance.choice(self.sizes)
            own, beside = tp in self.open(at, log), self.beside(log)
            followed = self.processor.dependencies.followed.get(tp)
            if followed is not None and tp in beside and (not own or chance.random() < 0.5):
                some = log[tp][followed.offset : followed.offset + size]
                if some:
                    self.processor.dependencies.hear(
                        Batch(topic=tp[0], partition=tp[1], messages=some)
                    )
                continue
            if not own:
                continue
            batch = Batch(topic=tp[0], partition=tp[1], messages=log[tp][at[tp] : at[tp] + size])
            at[tp] += size
            await self.processor.take(batch)
            if chance.random() < 0.3:
                await self.sink.flush()
        await self.sink.flush()
        assert all(at[tp] >= len(log[tp]) for tp in log), "somebody is held for ever"


def lives(
    seed: int, share: float, first: Sequence[str] = ()
) -> tuple[MortalStore, list[Detection], int]:
    """Workers one after the other until one sees the end; the store, what was said, the deaths.

    Topics are read in any order, or those of `first` one after the other as far as they go.
    """
    chance = random.Random(seed)

    def choose(tps: list[Tp]) -> Tp:
        for topic in first:
            if mine := [tp for tp in tps if tp[0] == topic]:
                return chance.choice(mine)
        return chance.choice(tps)

    store, committed, said = MortalStore(chance, share), dict[Tp, int](), list[Detection]()
    deaths = 0
    while True:
        try:
            life = Life(store, committed, said, choose)
            asyncio.run(life.run(chance, logs(seed % SCENARIOS)))
        except Killed:
            deaths += 1
        else:
            return store, said, deaths


def finals(events: Sequence[Event]) -> dict[str, tuple[object, ...]]:
    """The last word about every episode."""
    out: dict[str, tuple[object, ...]] = {}
    for e in sorted((e for e in events if isinstance(e, Detection)), key=lambda e: e.updated_ms):
        times = (e.opened_ms, e.closed_ms, e.windows)
        told = (e.severity, e.summary, e.evidence, e.counter_evidence)
        out[e.id] = (e.detector, e.condition, e.state, *times, *told)
    return out


@cache
def plain(seed: int) -> list[Detection]:
    """What is said when nobody dies."""
    by_topic: dict[str, dict[int, list[Message]]] = {}
    for (topic, partition), log in logs(seed).items():
        by_topic.setdefault(topic, {})[partition] = log
    items = scenario.inventory(START_MS)
    return offline.detections(by_topic, items, clock_of(SETTINGS), Policy())


@pytest.mark.parametrize("seed", range(4))
def test_killed_anywhere_and_replayed_the_result_is_the_same(seed: int) -> None:
    """Every window row and every episode; what is said twice is said with the same words."""
    store, said, deaths = lives(seed, share=0.03 * (seed % 4))
    want = plain(seed % SCENARIOS)

    assert (seed % 4 > 0) == (deaths > 0)
    assert finals(want) == finals(store.events)
    assert {(d.id, d.state, d.updated_ms) for d in want} == {
        (d.id, d.state, d.updated_ms) for d in said
    }
    assert len({d.condition for d in want}) > 3


@pytest.mark.parametrize("seed", [1, 2])  # without deaths, and with some
@pytest.mark.parametrize("first", list(permutations((GPU.topic, SERVING.topic, FACILITY.topic))))
def test_verdicts_do_not_depend_on_which_topic_was_read_first(
    seed: int, first: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """GPUs judged by servers and cooling units of other topics: the same words in any order.

    Also where what they said was forgotten before their GPUs were read at all.
    """
    monkeypatch.setattr("streams.surroundings.NOT_PRUNED_MS", 5000)
    store, _, _ = lives(seed, share=0.02 * (seed // 2), first=first)

    assert finals(plain(seed % SCENARIOS)) == finals(store.events)


@pytest.mark.parametrize("first", list(permutations((GPU.topic, SERVING.topic, FACILITY.topic))))
def test_nothing_is_read_far_ahead_of_who_needs_it(
    first: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backlog, read topic after topic as far as allowed: few facts pile up, all is as it was."""
    ahead = 10_000
    monkeypatch.setattr("streams.dependencies.AHEAD_MS", ahead)
    most: dict[bool, int] = {}
    for obeys in (True, False):
        chance, store, begun = random.Random(1), MortalStore(random.Random(1), 0), list[Tp]()

        def choose(tps: list[Tp], chance: random.Random = chance, begun: list[Tp] = begun) -> Tp:
            for tp in tps:
                if tp[0] == GPU.topic and tp not in begun:  # whose need is known from then on
                    begun.append(tp)
                    return tp
            at = min(first.index(topic) if topic in first else 3 for topic, _ in tps)
            return chance.choice([t for t in tps if [*first, t[0]].index(t[0]) == at])

        life = Life(store, {}, [], choose, obeys=obeys, sizes=(1, 4))
        asyncio.run(life.run(chance, logs(1)))

        most[obeys] = max(life.most.values())
        assert finals(plain(1)) == finals(store.events)
    assert (
        most[True] <= 3 * ahead / 1000
    )  # with what a batch brings, and windows that take effect late
    assert first[0] == GPU.topic or most[False] > SECONDS / 2


def test_the_scenarios_have_verdicts_that_hang_on_other_topics() -> None:
    """Some GPUs are bound only because their server decodes; some are hot as their loop is."""
    said = [d for seed in range(SCENARIOS) for d in plain(seed)]
    served = {e.name for d in said for e in d.evidence if d.condition == "bandwidth_bound"}
    causes = {d.summary.split("; ")[-1] for d in said if d.condition == "near_thermal_limit"}

    assert "requests_running" in served
    assert "the coolant of its loop is hot" in causes


def test_the_windows_of_a_memory_store_equal_the_plain_computation() -> None:
    """One sample at a time, in plain Python, over the same log."""
    store, _, deaths = lives(7, share=0.06)
    clock = clock_of(SETTINGS)

    assert deaths > 0
    for schema in SCHEMAS.values():
        mine = [log for (topic, _), log in logs(1).items() if topic == schema.topic]
        found = {
            (device, start): {
                f: float(row[f])
                for f in ("node", "samples", *(w.name for w in schema.window_fields))
            }
            for (family, device, start), row in store.windows.items()
            if family == schema.family
        }
        want = offline.windows(schema, mine, clock)
        assert [] == offline.differences(want, found)

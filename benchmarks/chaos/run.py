"""One seeded run: known samples through real parts that are killed, then compared."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from benchmarks.chaos import offline, scenario
from benchmarks.chaos.parts import PARTITIONS, SETTINGS, Part, Parts
from ridgeline.errors import Retry
from ridgeline.events import Detection, InventoryItem
from ridgeline.frames import watermark_headers
from ridgeline.ids import node_key
from ridgeline.kafka import ensure_topics, producer
from ridgeline.schema import SCHEMAS, Schema
from ridgeline.store import Store
from ridgeline.store.derived import DERIVED
from ridgeline.topics import BY_NAME, DETECTIONS, INVENTORY
from streams.batches import Fetched
from streams.episodes import Policy
from streams.processor import clock_of

SECONDS, SPEED = 150, 8
SETTLE_SECONDS = 150.0
HANG = "freeze broker"
"""For longer than the session, so that all members are thrown out when it wakes up."""
CLOCK = clock_of(SETTINGS)
Logs = dict[str, dict[int, list[Fetched]]]


@dataclass(slots=True)
class Result:
    """What happened in a run, and how it differs from the plain computation."""

    seed: int
    faults: list[str] = field(default_factory=list)
    inside: dict[str, int] = field(default_factory=dict)
    lives: int = 0
    rows: int = 0
    episodes: int = 0
    replayed: int = 0
    seconds: float = 0.0
    differences: list[str] = field(default_factory=list)


@contextmanager
def running(folder: Path) -> Iterator[Parts]:
    """Broker and store for any number of runs; dead at the end."""
    parts = Parts(folder)
    try:
        parts.start()
        yield parts
    finally:
        parts.stop()


def run(seed: int, parts: Parts, seconds: int = SECONDS, outage_seconds: float = 0.0) -> Result:
    """Do it all, on topics and in a database that are new.

    Args:
        seed: Of samples, moments and faults.
        parts: Broker and store; what one run leaves of them is what the next one begins with.
        seconds: Event time of the samples.
        outage_seconds: How long the broker is away in the middle; 0: only as the seed says.
    """
    began = time.monotonic()
    result = Result(seed)
    parts.begin(seed)
    try:
        asyncio.run(_play(parts, seed, seconds, outage_seconds, result))
    finally:
        parts.end()
    if parts.struck.exists():
        lines = parts.struck.read_text(encoding="utf-8").splitlines()
        result.inside = dict(Counter(line.split()[0] for line in lines))
    result.seconds = round(time.monotonic() - began, 1)
    return result


async def _play(
    parts: Parts, seed: int, seconds: int, outage_seconds: float, result: Result
) -> None:
    chance = random.Random(seed)
    await _renew_topics(parts)
    start_ms = int(time.time() - 7200) // 60 * 60_000
    items = scenario.inventory(start_ms)
    await _introduce(parts, items)
    for _ in range(2):
        parts.add_worker()
    sent = scenario.messages(seed, start_ms, seconds)
    await asyncio.to_thread(parts.await_workers)
    parts.calm.unlink()
    fed = asyncio.create_task(_feed(parts, sent))
    nurse = asyncio.create_task(_nurse(parts))
    try:
        await _strike(parts, chance, result, seconds / SPEED)
        if outage_seconds:
            result.faults.append(f"broker away for {outage_seconds:.0f} s")
            await _restart(parts.broker, outage_seconds)
            await asyncio.to_thread(parts.await_broker)
        await fed
        parts.calm.touch()
        if seed % 4:  # otherwise the workers themselves find that it is silent
            await _mark(parts, start_ms + (seconds + 30) * 1000)
        logs = await _read(parts, [s.topic for s in SCHEMAS.values()])
        if not seed % 4:
            logs = await _read_marked(parts)
        await _compare(parts, logs, items, result)
    finally:
        nurse.cancel()
        await asyncio.gather(nurse, return_exceptions=True)
        fed.cancel()
    result.lives = sum(worker.lives for worker in parts.workers)


async def _renew_topics(parts: Parts) -> None:
    """Topics with nothing in them."""
    admin = AIOKafkaAdminClient(bootstrap_servers=parts.kafka.servers)
    await admin.start()
    try:
        if old := [topic for topic in await admin.list_topics() if topic in BY_NAME]:
            await admin.delete_topics(old)
        for _ in range(100):
            if not any(topic in BY_NAME for topic in await admin.list_topics()):
                break
            await asyncio.sleep(0.2)
    finally:
        await admin.close()
    await ensure_topics(parts.kafka)


async def _introduce(parts: Parts, items: Sequence[InventoryItem]) -> None:
    """Have the store know the devices before their first sample; workers hear of them as well."""

    def insert() -> None:
        with contextlib.closing(Store.connect(parts.store)) as store:
            store.migrate()
            store.insert_events(items)

    await asyncio.to_thread(insert)
    async with producer(parts.kafka) as to:
        for item in items:
            await to.send(INVENTORY.name, item.to_bytes(), key=item.device.to_bytes(8, "little"))
        await to.flush()


async def _feed(parts: Parts, sent: Sequence[scenario.Sent]) -> None:
    began, first = time.monotonic(), sent[0].taken_ms
    async with producer(parts.kafka, request_timeout_ms=120_000, linger_ms=5) as to:
        for message in sent:
            ahead = (message.taken_ms - first) / 1000 / SPEED - (time.monotonic() - began)
            if ahead > 0.05:
                await asyncio.sleep(ahead)
            key, headers = node_key(message.node), list(message.headers)
            await to.send(message.schema.topic, message.value, key=key, headers=headers)
        await to.flush()


async def _mark(parts: Parts, ms: int) -> None:
    async with producer(parts.kafka) as to:
        for schema in SCHEMAS.values():
            for number in range(PARTITIONS):
                headers = watermark_headers(ms)
                await to.send_and_wait(schema.topic, b"", partition=number, headers=headers)


async def _nurse(parts: Parts) -> None:
    """Start again what died, as a supervisor would."""
    while True:
        for worker in parts.workers:
            if worker.wanted and not worker.alive:
                worker.start()
        await asyncio.sleep(0.3)


async def _strike(parts: Parts, chance: random.Random, result: Result, seconds: float) -> None:
    at = sorted(chance.uniform(0, seconds) for _ in range(chance.randint(4, 8)))
    began = time.monotonic()
    frozen: list[asyncio.Task[None]] = []
    for moment in at:
        await asyncio.sleep(max(0.0, moment - (time.monotonic() - began)))
        alive = [w for w in parts.workers if w.wanted]
        what = chance.choices(
            ("kill worker", "freeze worker", "kill broker", "kill store", "add", "remove", HANG),
            (5, 3, 2, 2, 2, 2, 1),
        )[0]
        victim, pause = chance.choice(alive), chance.uniform(0, 4)
        result.faults.append(f"{moment:.1f} s {what}")
        if what == "kill worker":
            victim.kill()
        elif what == "freeze worker":
            frozen.append(asyncio.create_task(_freeze(victim, chance.uniform(1, 15))))
        elif what == "kill broker":
            await _restart(parts.broker, pause)
            await asyncio.to_thread(parts.await_broker)
        elif what == HANG:
            await _freeze(parts.broker, SETTINGS.session_seconds + chance.uniform(1, 5))
            await asyncio.to_thread(parts.await_broker)
        elif what == "kill store":
            await _restart(parts.gateway, pause)
            await asyncio.to_thread(parts.await_gateway)
        elif what == "add" and len(alive) < 3:
            parts.add_worker()
        elif what == "remove" and len(alive) > 1:
            victim.wanted = False
            victim.signal(signal.SIGTERM)
    for task in frozen:
        await task


async def _freeze(part: Part, seconds: float) -> None:
    part.signal(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    part.signal(signal.SIGCONT)


async def _restart(part: Part, pause: float) -> None:
    part.kill()
    await asyncio.sleep(pause)
    part.start()


async def _read_marked(parts: Parts) -> Logs:
    """The logs once the workers have marked every partition that anything is in."""
    for _ in range(60):
        await asyncio.sleep(2)
        logs = await _read(parts, [s.topic for s in SCHEMAS.values()])
        if all(not log[-1].value for topic in logs.values() for log in topic.values() if log):
            return logs
    raise RuntimeError("the workers have not marked the silent partitions")


async def _read(parts: Parts, topics: Sequence[str]) -> Logs:
    """Everything in some topics, by partition."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=parts.kafka.servers,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    out: Logs = {}
    async with consumer:
        tps = [
            TopicPartition(topic, number)
            for topic in topics
            for number in range(BY_NAME[topic].partitions or PARTITIONS)
        ]
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        for tp in tps:
            log: list[Fetched] = []
            out.setdefault(tp.topic, {})[tp.partition] = log
        behind = {tp for tp in tps if ends[tp]}
        while behind:
            for tp, records in (await consumer.getmany(timeout_ms=500)).items():
                out[tp.topic][tp.partition] += records
                if records[-1].offset + 1 >= ends[tp]:
                    behind.discard(tp)
    return out


Rows = dict[str, Mapping[Any, offline.Row]]
"""By table."""
Letters = set[tuple[str, int, int]]
"""Topic, partition and offset."""


def _wanted(logs: Logs, items: Sequence[InventoryItem]) -> tuple[Rows, list[Detection], Letters]:
    want: Rows = {}
    said = offline.detections(logs, items, CLOCK, Policy())
    for schema in SCHEMAS.values():
        mine = logs[schema.topic]
        rows = offline.windows(schema, mine.values(), CLOCK)
        minutes = offline.rolled(schema, rows, 60_000)
        want |= {
            f"{schema.family}_windows": rows,
            f"{schema.family}_1m": minutes,
            f"{schema.family}_1h": offline.rolled(schema, minutes, 3_600_000),
        }
        places = offline.placed(schema, minutes, items, CLOCK.window)
        want |= {f"{schema.family}_{level}_1m": summed for level, summed in places.items()}
    letters = {
        (topic, number, m.offset)
        for topic, log in logs.items()
        for number, messages in log.items()
        for m in messages
        if m.value == scenario.BROKEN
    }
    return want, said, letters


async def _compare(
    parts: Parts, logs: Logs, items: Sequence[InventoryItem], result: Result
) -> None:
    """Wait until everything is as it has to be, or for long enough; then look again at the end."""
    want, said, letters = await asyncio.to_thread(_wanted, logs, items)
    result.rows, result.episodes = sum(map(len, want.values())), len({d.id for d in said})
    end = time.monotonic() + SETTLE_SECONDS

    def differences(most: int | None) -> list[str]:
        with contextlib.closing(Store.connect(parts.store)) as store:
            return [*islice(_differences(store, want, said, letters), most)]

    while time.monotonic() < end:
        with contextlib.suppress(Retry):
            if not await asyncio.to_thread(differences, 1):
                break
        await asyncio.sleep(1)
    for worker in parts.workers:  # nobody may spoil it afterwards, not even on the way out
        worker.wanted = False
        worker.signal(signal.SIGTERM)
    for worker in parts.workers:
        if worker.process is not None:
            await asyncio.to_thread(worker.process.wait, 20)
    result.differences = await asyncio.to_thread(differences, None)
    events = await _read(parts, [DETECTIONS.name])
    found = [
        Detection.model_validate_json(m.value or b"")
        for log in events[DETECTIONS.name].values()
        for m in log
    ]
    result.replayed = len(found) - len(said)
    result.differences += _spoken(said, found)


def _spoken(said: Sequence[Detection], found: Sequence[Detection]) -> list[str]:
    want, got = ({(d.id, d.state.value, d.updated_ms) for d in side} for side in (said, found))
    return [f"never said on Kafka: {one}" for one in sorted(want - got)] + [
        f"wrongly said on Kafka: {one}" for one in sorted(got - want)
    ]


def _differences(
    store: Store, want: Rows, said: Sequence[Detection], letters: Letters
) -> Iterator[str]:
    for table, rows in want.items():
        found = stored(store, table, SCHEMAS[table.split("_")[0]])
        yield from (f"{table}: {line}" for line in offline.differences(rows, found))
    bodies = store.query("SELECT body FROM detections")
    yield from _episodes(said, [Detection.model_validate_json(row["body"]) for row in bodies])
    kept = store.query("SELECT topic, partition, offset FROM dead_letters")
    found_letters = [(row["topic"], row["partition"], row["offset"]) for row in kept]
    if sorted(found_letters) != sorted(letters):
        yield f"dead letters: want {sorted(letters)}, found {sorted(found_letters)}"


def stored(store: Store, table: str, schema: Schema) -> Mapping[Any, offline.Row]:
    """Rows by device, or by the names of a place, and start in ms."""
    fields = ("samples", "windows", *(f.name for f in schema.window_fields))
    if table.count("_") == 1:
        key: tuple[str, ...] = ("w.device",)
        names = (*fields, "node")
        source = f"{table} AS w"
    else:  # of places, by what they are called
        key = tuple(f"toString(i.{n})" for n in ("pool", "rack", "cooling_loop", "rail", "model"))
        derived = (d.field.name for d in DERIVED[schema.family])
        names = (*fields, *derived, "devices", "nodes", "device_windows")
        source = f"{table} AS w INNER JOIN places AS i ON w.device = i.device WHERE w.devices > 0"
    rows = store.query(
        f"SELECT ({', '.join(key)}) AS key, toUnixTimestamp64Milli(w.window_start) AS at,"
        f" {', '.join(f'w.{name} AS {name}' for name in names)} FROM {source}"
    )
    return {
        (row["key"] if len(key) == 1 else tuple(row["key"]), row["at"]): {
            name: float(row[name]) for name in names
        }
        for row in rows
    }


def _episodes(said: Sequence[Detection], found: Sequence[Detection]) -> list[str]:
    last = {d.id: d for d in sorted(said, key=lambda d: d.updated_ms)}
    want, got = ({d.id: _facts(d) for d in side} for side in (last.values(), found))
    out = []
    for one in sorted(want.keys() | got.keys()):
        pairs = zip_longest(want.get(one, ()), got.get(one, ()), fillvalue="nothing")
        differ = [f"want {w}, found {g}" for w, g in pairs if w != g]
        if differ:
            out.append(f"episode {one} {(want.get(one) or got[one])[:2]}: {'; '.join(differ)}")
    return out


def _facts(d: Detection) -> tuple[Any, ...]:
    told = (d.summary, *(f"{e.name} {e.value}" for e in (*d.evidence, *d.counter_evidence)))
    closed = (d.state.value, d.opened_ms, d.closed_ms, d.windows)
    return d.condition, d.device, d.severity, *closed, *told

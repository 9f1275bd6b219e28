"""A store with the rows of a large fleet, made by the engine itself, for timing queries.

The newest steps are inserted one by one, so that a query meets parts that are not merged yet. The
values are uniform noise, which compresses worse than telemetry.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ridgeline import events, ids
from ridgeline.schema import MISSING_STATE, SCHEMAS, Schema
from ridgeline.store import Store, rollup, tables
from ridgeline.store.derived import DERIVED
from ridgeline.store.tables import KIND, LEVELS

HOUR_S, DAY_S = 3600, 86_400
GPUS_PER_NODE = 8
NODES_PER_RACK = 4
RACKS_PER_LOOP = 8
POOLS = ("decode", "prefill", "decode", "training")
RECENT_STEPS = {10: 30, 60: 15, HOUR_S: 24}
"""Newest steps of a table, by its step in s, that are inserted one by one, as a worker does."""
COLLECTORS = ("infiniband", "netdev", "nvml", "serving", "sensors")
TOPICS = tuple(f"telemetry.{family}.v1" for family in SCHEMAS)
WORKERS = 8
_OF_LEVEL = {
    tables.PLACES: "NOT (rack = '' AND (cooling_loop = '' OR pool = ''))",
    tables.POOLS: "rack = '' AND cooling_loop = '' AND pool != ''",
    tables.LOOPS: "rack = '' AND cooling_loop != '' AND pool = ''",
}
"""SQL: which places a table of this fleet has rows of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """How many GPUs, and until when, in s since the epoch, their rows go."""

    gpus: int
    now_s: int

    def inventory(self) -> Iterator[events.InventoryItem]:
        """Nodes of 8 GPUs and 8 ports on 8 rails, one engine each; racks and coolant units."""
        for node in range(self.gpus // GPUS_PER_NODE):
            host, rack = f"node{node:05d}", f"rack{node // NODES_PER_RACK:04d}"
            loop = f"loop{node // NODES_PER_RACK // RACKS_PER_LOOP:03d}"
            parts = [("gpu", f"gpu{i}", "") for i in range(GPUS_PER_NODE)]
            parts += [("port", f"port{i}", f"rail{i}") for i in range(GPUS_PER_NODE)]
            parts += [("serving", "engine", "")]
            for kind, name, rail in parts:
                yield self._item(kind, host, name, rack=rack, cooling_loop=loop, rail=rail)
            if node % NODES_PER_RACK == 0:
                yield self._item("facility", "facility", rack, rack=rack, cooling_loop=loop)
            if node % (NODES_PER_RACK * RACKS_PER_LOOP) == 0:
                yield self._item("facility", "facility", f"cdu-{loop}", cooling_loop=loop)

    def _item(self, kind: str, host: str, name: str, **where: str) -> events.InventoryItem:
        return events.InventoryItem.model_validate(
            {
                "device": ids.device_id(host, kind, name),
                "node": ids.node_id(host),
                "kind": kind,
                "host": host,
                "name": name,
                "model": kind,
                "pool": POOLS[ids.node_id(host) // 7 % len(POOLS)],
                "seen_ms": self.now_s * 1000,
                **where,
            }
        )


def fill(store: Store, fleet: Fleet, spans: Mapping[str, int], used: frozenset[str]) -> None:
    """Insert inventory, rows of every family, and what Ridgeline says of itself.

    Args:
        store: Migrated and empty.
        fleet: What stands there.
        spans: Seconds of rows by table suffix, before `fleet.now_s`.
        used: Columns that statements read; the others stay constant, which costs a query nothing.
    """
    store.insert_events(list(fleet.inventory()))
    reports(store, fleet)
    for schema in SCHEMAS.values():
        store._connection.command(rollup.places_sql(schema), "places")  # noqa: SLF001 - a benchmark
        for suffix, span in spans.items():
            if "_" in suffix and suffix.split("_")[0] not in LEVELS[schema.family]:
                continue
            start = time.perf_counter()
            _fill(store, schema, suffix, fleet.now_s, span, used)
            print(f"  {schema.family}_{suffix}: {time.perf_counter() - start:.1f} s", flush=True)


def reports(store: Store, fleet: Fleet) -> None:
    """A day of the workers' and collectors' reports, two thousand detections.

    Collectors' minutes go 30 days back. A run in a thousand fails.
    """
    last, nodes = fleet.now_s, fleet.gpus // GPUS_PER_NODE
    topics, collectors = (
        ", ".join(f"'{name}'" for name in names) for names in (TOPICS, COLLECTORS)
    )
    at = f"toDateTime64({last} - 10 * t.number, 3, 'UTC')"
    for table, columns, sql in (
        (
            "pipeline_health",
            "topic, worker, ts, seconds, partitions, devices, lag_frames, frames, samples",
            (
                f"SELECT arrayJoin([{topics}]), concat('worker', toString(w.number)), {at}, 10, 8,"
                f" 1000, rand32() % 100, 1000, 10000 FROM numbers({DAY_S // 10}) AS t"
                f" CROSS JOIN numbers({WORKERS}) AS w"
            ),
        ),
        (
            "collector_health",
            "node, host, collector, ts, success, duration_seconds, rows, runs",
            (
                f"SELECT n.node, n.host, arrayJoin([{collectors}]),"
                f" toDateTime64({last} - 60 * t.number, 3, 'UTC') - n.node % 60,"
                " rand32() % 1000 > 0, rand32() / 4294967296, 64, 60"
                f" FROM numbers({DAY_S // 60}) AS t"
                " CROSS JOIN (SELECT DISTINCT node, host FROM inventory FINAL) AS n"
            ),
        ),
        (
            "collectors",
            "node, host, collector, ts, success, duration_seconds, rows, runs",
            (
                "SELECT node, host, collector, ts, success, duration_seconds, rows, runs"
                f" FROM collector_health WHERE ts > toDateTime64({last - 60}, 3, 'UTC')"
            ),
        ),
        (
            "collector_minutes",
            "ts, collector, nodes, reports, runs, failed, duration_p95_seconds",
            (
                f"SELECT toDateTime64({last} - 60 * number, 3, 'UTC'),"
                f" arrayJoin([{collectors}]), {nodes}, {nodes}, {60 * nodes}, rand32() % 10,"
                f" rand32() / 4294967296 FROM numbers({30 * DAY_S // 60})"
            ),
        ),
    ):
        sql = f"INSERT INTO {table} ({columns}) {sql}"  # noqa: PLW2901 - the whole statement
        store._connection.command(sql, table)  # noqa: SLF001 - a benchmark
    gpus = (item for item in fleet.inventory() if item.kind == "gpu")
    found = [_found(item, number, last) for number, item in zip(range(2000), gpus, strict=False)]
    store.insert_events(found)


def _found(item: events.InventoryItem, number: int, now_s: int) -> events.Detection:
    return events.Detection(
        id=f"{number:016x}",
        detector="roofline",
        condition="bandwidth_bound",
        state=events.EpisodeState.OPEN if number % 4 == 0 else events.EpisodeState.CLOSED,
        severity=events.Severity.INFO,
        node=item.node,
        device=item.device,
        subject=f"{item.host} {item.name}",
        opened_ms=(now_s - 3600) * 1000,
        updated_ms=(now_s - number) * 1000,
        summary="HBM is busy and the tensor cores are not",
    )


def cuts(step: int, last: int, span: int) -> Iterator[tuple[int, int]]:
    """Inserts (start, seconds) of a table: long ones, then the newest steps each for itself."""
    recent = last - min(span, RECENT_STEPS[step] * step)
    part = {10: 600, 60: HOUR_S * 6, HOUR_S: DAY_S * 10}[step]
    for start in range(last - span, recent, part):
        yield start, min(part, recent - start)
    for start in range(recent, last, step):
        yield start, step


def _fill(  # noqa: PLR0917 - private
    store: Store, schema: Schema, suffix: str, now_s: int, span: int, used: frozenset[str]
) -> None:
    *level, rows_of = suffix.split("_")
    step, place = {"windows": 10, "1m": 60, "1h": HOUR_S}[rows_of], bool(level)
    devices = f"SELECT device, node FROM inventory FINAL WHERE kind = '{KIND[schema.family]}'"
    fields, counted = [*schema.window_fields], {}
    if place:
        devices = (
            "SELECT device, 0 AS node FROM places FINAL"
            f" WHERE kind = '{KIND[schema.family]}' AND {_OF_LEVEL[level[0]]}"
        )
        counted = {"devices": 8}
        if rows_of == "1m":
            fields += [d.field for d in DERIVED[schema.family]]
            counted |= {"nodes": 1, "windows": 6, "device_windows": 48}
    values = []
    for number, f in enumerate(fields):
        if f.numpy == "<u4":
            values.append(str(MISSING_STATE) if f.how == "last" else "0")
        elif f.name in used:
            values.append(f"rand32({number}) / 4294967296")
        else:
            values.append("0")
    values += [str(number) for number in counted.values()]
    names = ["window_start", "node", "device", "samples", *(f.name for f in fields), *counted]
    last = now_s // step * step
    for start, length in cuts(step, last, span):
        store._connection.command(  # noqa: SLF001 - a benchmark
            f"INSERT INTO {schema.family}_{suffix} ({', '.join(names)})\n"
            f"SELECT toDateTime64({start} + {step} * t.number, 3, 'UTC'), node, device,"
            f" {step}, {', '.join(values)}\n"
            f"FROM numbers({length // step}) AS t CROSS JOIN ({devices}) AS d\n"
            "SETTINGS max_partitions_per_insert_block = 0",
            suffix,
        )

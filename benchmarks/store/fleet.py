"""A store with the rows of a large fleet, made by the engine itself, for timing queries.

Columns that no dashboard and no fact reads stay constant: a column that is not read costs a query
nothing. The values are uniform noise, which compresses worse than telemetry.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ridgeline import events, ids
from ridgeline.schema import MISSING_STATE, SCHEMAS, Schema
from ridgeline.store import Store, rollup
from ridgeline.store.tables import KIND

HOUR_S, DAY_S = 3600, 86_400
GPUS_PER_NODE = 8
NODES_PER_RACK = 4
RACKS_PER_LOOP = 8
POOLS = ("decode", "prefill", "decode", "training")
USED: Mapping[str, tuple[str, ...]] = {
    "gpu": (
        *(f"{n}_util_ratio_avg" for n in ("dram", "tensor", "sm")),
        *("power_watts_avg", "power_limit_watts_avg", "sm_clock_mhz_avg", "sm_clock_max_mhz_avg"),
        *("temperature_celsius_max", "memory_temperature_celsius_max"),
        "tlimit_margin_celsius_min",
        *(f"throttle_{n}_ns_inc" for n in ("power", "thermal", "sw_thermal", "hw_thermal")),
        "throttle_power_brake_ns_inc",
    ),
    "fabric": (
        "link_rate_bits_per_second_avg",
        *(f"{n}_inc" for n in ("tx_bytes", "rx_bytes", "ecn_marked_packets", "cnp_sent")),
        *(f"{n}_inc" for n in ("cnp_handled", "rx_discards", "tx_discards", "out_of_sequence")),
        *(f"{n}_inc" for n in ("out_of_buffer", "tx_wait_ticks", "pfc_rx_pause_us")),
    ),
}


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


def fill(store: Store, fleet: Fleet, spans: Mapping[str, int]) -> None:
    """Insert inventory, and rows of every family.

    Args:
        store: Migrated and empty.
        fleet: What stands there.
        spans: Seconds of rows by table suffix, before `fleet.now_s`.
    """
    store.insert_events(list(fleet.inventory()))
    for schema in SCHEMAS.values():
        store._connection.command(rollup.places_sql(schema), "places")  # noqa: SLF001 - a benchmark
        for suffix, span in spans.items():
            start = time.perf_counter()
            _fill(store, schema, suffix, fleet.now_s, span)
            print(f"  {schema.family}_{suffix}: {time.perf_counter() - start:.1f} s", flush=True)


def _fill(store: Store, schema: Schema, suffix: str, now_s: int, span: int) -> None:
    *level, rows_of = suffix.split("_")
    step, place = {"windows": 10, "1m": 60, "1h": HOUR_S}[rows_of], bool(level)
    devices = f"SELECT device, node FROM inventory FINAL WHERE kind = '{KIND[schema.family]}'"
    if place:
        of_pool = f"(rack = '' AND cooling_loop = '') = {level == ['pools']}"
        devices = (
            "SELECT device, 0 AS node FROM places FINAL"
            f" WHERE kind = '{KIND[schema.family]}' AND {of_pool}"
        )
    fields = [f.name for f in schema.window_fields]
    used = set(USED.get(schema.family, fields))
    values = []
    for number, f in enumerate(schema.window_fields):
        if f.numpy == "<u4":
            values.append(str(MISSING_STATE) if f.how == "last" else "0")
        elif f.name in used:
            values.append(f"rand32({number}) / 4294967296")
        else:
            values.append("0")
    names = ["window_start", "node", "device", "samples", *fields, *(["devices"] if place else [])]
    last = now_s // step * step
    part = min(span, {10: 600, 60: HOUR_S * 6, HOUR_S: DAY_S * 10}[step])  # inserts that overlap
    for start in range(last - span, last, part):
        store._connection.command(  # noqa: SLF001 - a benchmark
            f"INSERT INTO {schema.family}_{suffix} ({', '.join(names)})\n"
            f"SELECT toDateTime64({start} + {step} * t.number, 3, 'UTC'), node, device,"
            f" {step}, {', '.join(values)}{', 8' if place else ''}\n"
            f"FROM numbers({part // step}) AS t CROSS JOIN ({devices}) AS d\n"
            "SETTINGS max_partitions_per_insert_block = 0",
            suffix,
        )

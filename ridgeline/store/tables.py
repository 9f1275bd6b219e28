"""The telemetry tables of today, from the schema: columns, codecs, sort keys, shards.

A new database is made from these; an older one is brought here by the numbered migrations, and a
test compares the two. A cluster's tables are written from the same definitions.

Rows lie by a stretch of time, then by node and device: a question about the last minutes opens the
last stretch, and within a stretch each device's values still lie side by side, which is what makes
them small (docs/decisions/004-codecs-and-sort-order.md), and those of a node too, which are asked
for together. Hours lie by node and device. Minutes, hours and places, of which a few devices are
picked out of many, have small granules. Pools and loops are few and always read whole:
theirs lie by time, so that a new hour never has to be merged with the old ones to be read.

A device's id is made of its host's name (`ridgeline.ids`), so it never changes its node, and rows
of one device and minute replace each other though the node is in the key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ridgeline.schema import SCHEMAS, Schema, WindowField
from ridgeline.store.derived import DERIVED

KIND: Mapping[str, str] = MappingProxyType(
    {"gpu": "gpu", "fabric": "port", "facility": "facility", "serving": "serving"}
)
"""Inventory kind of the devices of each family."""
PLACES = "places"
MERGE_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        # column statistics, which newer servers make anew with each part, are 40 % of a merge
        "auto_statistics_types": "''",
        # each row is merged once more for every fivefold growth of its part
        "max_bytes_to_merge_at_max_space_in_pool": str(2**30),
    }
)
"""Settings of every telemetry table, as the server prints them; an older server may lack some."""
POOLS = "pools"
LOOPS = "loops"
LEVELS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "gpu": (PLACES, POOLS, LOOPS),
        "fabric": (PLACES, POOLS),
        "facility": (PLACES, POOLS, LOOPS),
        "serving": (PLACES, POOLS),
    }
)
"""By family, tables of summed-up devices, the finest first, of which the others are made: a pool is
a place whose rack and loop are empty, a loop one of which only loop and model are named."""
_DAY, _MONTH = "toDate({t})", "toYYYYMM({t})"
_STRETCH = "toStartOfInterval(window_start, toIntervalSecond({}))"
# the primary index takes a condition on the time for its last column and leaves nothing out
_BY_TIME = ("INDEX by_time window_start TYPE minmax GRANULARITY 1",)
_PICKED_FROM = ("1m", "1h", "places_1m", "places_1h")
_DEVICE_COUNT = "devices UInt32 ALIAS 1"  # so that a device is read like a place of one
_FOLDED = "windows UInt32 DEFAULT {} CODEC(T64, ZSTD(1))"
# of the device that has most of them, and of all together; 0: folded before they were counted
_COUNTED = (
    "nodes UInt32 DEFAULT 0 CODEC(T64, ZSTD(1))",
    "windows UInt32 DEFAULT 0 CODEC(T64, ZSTD(1))",
    "device_windows UInt64 DEFAULT 0 CODEC(T64, ZSTD(1))",
)
_PLACE_COLUMNS = (
    "devices UInt32 DEFAULT 0 CODEC(T64, ZSTD(1))",
    "rebuilt DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC') CODEC(Delta(8), ZSTD(1))",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table: `shard` is the expression that keeps rows which replace each other together."""

    name: str
    columns: tuple[str, ...]
    engine: str
    partition: str
    order: tuple[str, ...]
    shard: str = "cityHash64(device)"
    indices: tuple[str, ...] = ()
    small: bool = False
    """Whether a few devices are picked out of many: small granules and compressed blocks."""

    def create(self) -> str:
        """CREATE TABLE statement."""
        columns = ",\n    ".join((*self.columns, *self.indices))
        partition = f"PARTITION BY {self.partition}\n" if self.partition else ""
        settings = "\nSETTINGS ttl_only_drop_parts = 1" if self.partition else ""
        if self.small:
            settings += ", index_granularity = 1024, min_compress_block_size = 16384"
        return (
            f"CREATE TABLE IF NOT EXISTS {self.name} (\n    {columns}\n)\nENGINE = {self.engine}\n"
            f"{partition}ORDER BY ({', '.join(self.order)}){settings}"
        )


def telemetry(schemas: Mapping[str, Schema] = SCHEMAS) -> tuple[Table, ...]:
    """Tables of every family, and the places that devices are summed up by."""
    return (*(t for s in schemas.values() for t in _family(s)), _PLACES)


def _family(schema: Schema) -> tuple[Table, ...]:
    window, raw = (_lines(sql) for sql in (schema.window_columns_sql(), schema.raw_columns_sql()))
    place = (*window, *_PLACE_COLUMNS)
    place_minute = (*place, *(_derived(d.field) for d in DERIVED[schema.family]), *_COUNTED)
    base = (*window, _DEVICE_COUNT, "windows UInt32 ALIAS 1")
    # how many windows of 10 s were folded: the time that an increase was counted over
    minute, hour = ((*window, _DEVICE_COUNT, _FOLDED.format(n)) for n in (6, 360))
    more, newer = "ReplacingMergeTree(samples)", "ReplacingMergeTree(rebuilt)"
    start = "window_start"
    ten_minutes, six_hours = (_STRETCH.format(n) for n in (600, 21_600))

    def table(
        suffix: str, columns: tuple[str, ...], engine: str, partition: str, *order: str
    ) -> Table:
        return Table(
            name=f"{schema.family}_{suffix}",
            columns=columns,
            engine=engine,
            partition=partition,
            order=order,
            indices=_BY_TIME if order[0].startswith("toStartOf") else (),
            small=suffix in _PICKED_FROM,
        )

    day, month = _DAY.format(t=start), _MONTH.format(t=start)
    coarse = (
        one
        for level in LEVELS[schema.family][1:]
        for one in (
            table(f"{level}_1m", place_minute, newer, day, start, "device"),
            table(f"{level}_1h", place, newer, month, start, "device"),
        )
    )
    return (
        table("windows", base, "ReplacingMergeTree", day, ten_minutes, "node", "device", start),
        table("1m", minute, more, day, ten_minutes, "node", "device", start),
        table("1h", hour, more, month, "node", "device", start),
        table("places_1m", place_minute, newer, day, six_hours, "device", start),
        table("places_1h", place, newer, month, "device", start),
        *coarse,
        table("raw", raw, "MergeTree", _DAY.format(t="ts"), "device", "ts"),
    )


def _derived(field: WindowField) -> str:
    kind = "Float64" if field.numpy == "<f8" else "Float32"
    return f"{field.name} {kind} DEFAULT nan {field.codec} COMMENT '{field.doc} [{field.unit}]'"


def reports() -> tuple[Table, ...]:
    """Tables of collectors' reports: all of them, the newest of each, all nodes' by minute."""
    stretch = "toStartOfInterval(ts, toIntervalSecond(3600))"
    return (
        Table(
            name="collector_health",
            columns=_REPORT_COLUMNS,
            engine="ReplacingMergeTree",
            partition=_DAY.format(t="ts"),
            order=(stretch, "host", "collector", "ts"),
            shard="cityHash64(host)",
            indices=("INDEX by_time ts TYPE minmax GRANULARITY 1",),
            small=True,
        ),
        Table(
            name="collectors",
            columns=_REPORT_COLUMNS,
            engine="ReplacingMergeTree(ts)",
            partition="",
            order=("host", "collector"),
            shard="cityHash64(host)",
        ),
        Table(
            name="collector_minutes",
            columns=(
                "ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))",
                "collector LowCardinality(String)",
                "nodes UInt64 COMMENT 'that reported'",
                "reports UInt64 COMMENT 'that were folded: more of them replace fewer'",
                "runs UInt64",
                "failed UInt64 COMMENT 'of the runs'",
                "duration_p95_seconds Float64 COMMENT 'over nodes'",
            ),
            engine="ReplacingMergeTree(reports)",
            partition=_MONTH.format(t="ts"),
            order=("ts", "collector"),
            shard="cityHash64(collector)",
        ),
    )


def _lines(columns_sql: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in columns_sql.split(",\n"))


_REPORT_COLUMNS = (
    "node UInt64",
    "host LowCardinality(String)",
    "collector LowCardinality(String)",
    "ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))",
    "success Bool COMMENT 'of the newest run since the report before'",
    "duration_seconds Float64 COMMENT 'of the longest run'",
    "rows UInt64",
    "no_data Bool",
    "error String",
    "body String CODEC(ZSTD(3))",
    "runs UInt64 DEFAULT 1",
    "failed UInt64 DEFAULT NOT success AND NOT no_data COMMENT 'of the runs'",
)
_PLACES = Table(
    name=PLACES,
    columns=(
        "device UInt64 COMMENT 'stands for the devices of one model that share the columns below'",
        "kind LowCardinality(String)",
        "pool LowCardinality(String)",
        "rack LowCardinality(String)",
        "cooling_loop LowCardinality(String)",
        "rail LowCardinality(String)",
        "model LowCardinality(String)",
    ),
    engine="ReplacingMergeTree",
    partition="",
    order=("device",),
)

"""The store as services use it. Synchronous: from asyncio call it through `asyncio.to_thread`."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ridgeline import metrics
from ridgeline.errors import Reject, Retry
from ridgeline.events import Event
from ridgeline.schema import Schema
from ridgeline.settings import StoreSettings
from ridgeline.store import event_rows, migrations, rollup
from ridgeline.store.connection import Connection
from ridgeline.store.tables import LEVELS

MIGRATION_SECONDS = 6 * 3600.0
"""Longest a statement of a migration may take: moving the rows of a large table."""
WINDOW_MS = 10_000
"""Length of base windows unless another is named."""
# rows that replace each other always share a partition: merging within one is enough
# and subqueries of Distributed tables are asked once, not by every shard
_FINAL = {
    "final": 1,
    "do_not_merge_across_partitions_select_final": 1,
    "distributed_product_mode": "global",
}
# a rollup that has returned is durable on every shard; several threads would each have states of
# every device and column, to be added up in the end: more than twice the CPU time of one
_FOLD = {
    "distributed_foreground_insert": 1,
    "distributed_product_mode": "global",
    "max_threads": 1,
    "optimize_on_insert": 0,
}


class Store:
    """Reads and writes one ClickHouse database.

    Every method raises `Retry` while the server is away (try the same call again: every insert but
    that of raw rows replaces itself), `Reject` when the server will never take it, and
    `Misconfigured` when it refuses the user. Safe to call from several threads.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    def connect(cls, settings: StoreSettings) -> Store:
        """Connect; the database and its tables need not exist yet (see `migrate`)."""
        return cls(Connection.open(settings))

    def migrate(self) -> list[str]:
        """Create or update the tables; names of the migrations applied by this call.

        Any number of processes may call it at once: each returns with the tables in place.
        """
        patient = Connection.open(self._connection.settings, MIGRATION_SECONDS)
        try:
            return migrations.migrate(patient)
        finally:
            patient.close()

    def insert_windows(self, schema: Schema, rows: np.ndarray) -> None:
        """Insert rows of `schema.window_dtype`; rows of the same device and window are replaced."""
        self._insert_rows(f"{schema.family}_windows", rows, schema.window_dtype)

    def insert_raw(self, schema: Schema, rows: np.ndarray) -> None:
        """Insert rows of `schema.dtype`. Inserting twice stores twice."""
        self._insert_rows(f"{schema.family}_raw", rows, schema.dtype)

    def roll_up(
        self, schema: Schema, start_ms: int, end_ms: int, window_ms: int = WINDOW_MS
    ) -> None:
        """Rebuild what has not seen all of its rows in [start, end), in ms since the epoch.

        Base windows are `window_ms` long.

        That is minutes, and hours that have ended: one that ended unseen is made up for by the next
        call. The hour that goes on is rebuilt too while it is small (`rollup.RUNNING_ROWS`). Any
        number of workers may call it for the same span at once, and as often as they like: what is
        complete is not read again.
        """
        self._fold(schema, rollup.MINUTE, *rollup.MINUTE.span(start_ms, end_ms), window_ms)
        now_ms, next_ms = self._hours(schema)
        start, end = rollup.HOUR.span(start_ms, end_ms)
        self._fold(schema, rollup.HOUR, start, min(end, now_ms))
        self._fold(schema, rollup.HOUR, next_ms, now_ms)
        if self._minutes(schema, now_ms) <= rollup.RUNNING_ROWS:
            self._fold(schema, rollup.HOUR, now_ms, now_ms + rollup.HOUR_MS)

    def _hours(self, schema: Schema) -> tuple[int, int]:
        """Start of the hour that goes on, by the newest window; end of the newest hour rolled up.

        Only the limits of parts are read.
        """
        limits = {"newest": "max {}_windows", "first": "min {}_1m", "last": "max {}_1h"}
        columns = []
        for name, limit in limits.items():
            which, table = limit.format(schema.family).split()
            limit_sql = f"(SELECT {which}(window_start) FROM {table})"
            columns.append(f"toUnixTimestamp64Milli({limit_sql}) AS {name}")
        (row,) = self._connection.rows(f"SELECT {', '.join(columns)}")
        hour = rollup.HOUR_MS
        done = row["last"] + hour if row["last"] else row["first"]
        return row["newest"] // hour * hour, done // hour * hour

    def _minutes(self, schema: Schema, since_ms: int) -> int:
        """Rows of the minute table from a time on; the index knows nearly all of it."""
        (row,) = self._connection.rows(
            f"SELECT count() AS rows FROM {schema.family}_1m"
            " WHERE window_start >= fromUnixTimestamp64Milli({since:Int64}, 'UTC')",
            {"since": since_ms},
        )
        return int(row["rows"])

    def _fold(
        self,
        schema: Schema,
        step: rollup.Step,
        start_ms: int,
        end_ms: int,
        window_ms: int = WINDOW_MS,
    ) -> None:
        if start_ms >= end_ms:
            return
        span = {"start": start_ms, "end": end_ms}
        subject = f"{schema.family}_{step.target}"
        stale = self._connection.rows(rollup.stale_sql(schema, step), span, subject=subject)
        if stale:
            self._connection.command(rollup.places_sql(schema), subject, settings=_FOLD)
        for start, end in rollup.runs([(r["start_ms"], r["rows"]) for r in stale], step):
            one = {"start": start, "end": end, "window_s": window_ms / 1000}
            levels = LEVELS[schema.family]
            for sql in (
                rollup.fold_sql(schema, step),
                *(rollup.fold_places_sql(schema, level, step.target) for level in levels),
            ):
                self._connection.command(sql, subject, one, _FOLD)

    def insert_events(self, events: Sequence[Event]) -> None:
        """Insert events into their tables; an event of the same identity is replaced."""
        by_table: dict[str, list[dict[str, Any]]] = {}
        for event in events:
            table, row = event_rows.row_of(event)
            for name in filter(None, (table, event_rows.NEWEST.get(table))):
                by_table.setdefault(name, []).append(row)
        for table, rows in by_table.items():
            self._insert_json(table, rows)

    def roll_up_reports(self, start_ms: int, end_ms: int) -> None:
        """Fold collectors' reports of [start, end), in ms since the epoch, into whole minutes.

        The minutes since the last that was folded before are folded too, up to a day: whoever was
        to do that may have died. Folding again gives the same rows.
        """
        start, end = rollup.MINUTE.span(start_ms, end_ms)
        (row,) = self._connection.rows(rollup.LAST_REPORTS, {"before": start})
        one = {"start": row["last_ms"] or start, "end": end}
        self._connection.command(rollup.REPORTS, "collector_minutes", one, _FOLD)

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Rows of a SELECT by column name; `{name:Type}` in the SQL takes a parameter.

        Replaced rows are never seen: FINAL is on for every table. DateTime64 columns come back as
        aware datetimes; `toUnixTimestamp64Milli(column)` gives ms.
        """
        return self._connection.rows(sql, parameters, _FINAL)

    def progress(self, topic: str) -> dict[int, int]:
        """Per partition, the end of the last durable window in ms since the epoch."""
        rows = self.query(
            "SELECT partition, window_end FROM stream_progress WHERE topic = {topic:String}",
            {"topic": topic},
        )
        return {row["partition"]: row["window_end"] for row in rows}

    def save_progress(self, topic: str, partition: int, window_end_ms: int) -> None:
        """Remember that every window up to `window_end_ms` is durable; it never goes back."""
        row = {"topic": topic, "partition": partition, "window_end": window_end_ms}
        self._insert_json("stream_progress", [row])

    def state(self, topic: str, partition: int) -> tuple[int, bytes] | None:
        """The newest saved state of a partition and the event time it is of, in ms."""
        rows = self.query(
            "SELECT at, body FROM stream_state"
            " WHERE topic = {topic:String} AND partition = {partition:UInt32}",
            {"topic": topic, "partition": partition},
        )
        return next(((row["at"], base64.b64decode(row["body"])) for row in rows), None)

    def save_state(self, topic: str, partition: int, at_ms: int, body: bytes) -> None:
        """Replace the state of a partition by that of a later event time."""
        text = base64.b64encode(body).decode()
        row = {"topic": topic, "partition": partition, "at": at_ms, "body": text}
        self._insert_json("stream_state", [row])

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _insert_rows(self, table: str, rows: np.ndarray, dtype: np.dtype[np.void]) -> None:
        if rows.dtype != dtype:
            raise Reject(table, rows.dtype.names, f"expected the layout of {table}")
        if len(rows):
            body = np.ascontiguousarray(rows).tobytes()
            self._insert(table, dtype.names or (), body, "RowBinary", len(rows))

    def _insert_json(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        columns = tuple(dict.fromkeys(name for row in rows for name in row))
        body = "\n".join(json.dumps(row) for row in rows).encode()
        self._insert(table, columns, body, "JSONEachRow", len(rows))

    def _insert(
        self, table: str, columns: Sequence[str], body: bytes, data_format: str, rows: int
    ) -> None:
        try:
            with metrics.STORE_SECONDS.labels(table).time():
                self._connection.insert(table, columns, body, data_format)
        except Retry:
            metrics.STORE_RETRIES.labels(table).inc()
            raise
        metrics.STORE_ROWS.labels(table).inc(rows)

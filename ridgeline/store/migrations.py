"""Numbered SQL migrations: applied once, in order, by one process at a time.

`sql/NNNN_name.sql` files are frozen when released. What may change afterwards is brought in line
by `align`: columns that the schema gained, and the days rows are kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files

import structlog

from ridgeline.schema import SCHEMAS
from ridgeline.settings import StoreSettings
from ridgeline.store.connection import Connection
from ridgeline.store.lock import locked

log = structlog.get_logger()

_FILE = re.compile(r"(\d{4})_(\w+)\.sql")
_COMMENT = re.compile(r"^\s*--.*$", re.MULTILINE)
_HISTORY = """
CREATE TABLE IF NOT EXISTS migrations (
    name String,
    digest String,
    applied DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY name
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One file of statements."""

    name: str
    statements: tuple[str, ...]
    digest: str


def load() -> tuple[Migration, ...]:
    """Every migration, in order.

    Raises:
        ValueError: a file is misnamed or a number is missing or taken twice.
    """
    out: list[Migration] = []
    entries = (e for e in files("ridgeline.store").joinpath("sql").iterdir() if e.is_file())
    for number, entry in enumerate(sorted(entries, key=lambda e: e.name), start=1):
        found = _FILE.fullmatch(entry.name)
        if found is None or int(found.group(1)) != number:
            raise ValueError(f"migration {entry.name}: expected {number:04d}_<name>.sql")
        text = entry.read_text(encoding="utf-8")
        parts = (part.strip() for part in _COMMENT.sub("", text).split(";\n"))
        out.append(
            Migration(
                name=entry.name.removesuffix(".sql"),
                statements=tuple(part.rstrip(";").strip() for part in parts if part),
                digest=sha256(text.encode()).hexdigest(),
            )
        )
    return tuple(out)


def migrate(connection: Connection) -> list[str]:
    """Bring the database up to date; returns the names of the migrations applied now.

    Raises:
        Retry: the server is away, or another migrator has held the lock for too long.
    """
    database = connection.settings.database
    connection.command(
        f"CREATE DATABASE IF NOT EXISTS `{database}`", "migrations", in_database=False
    )
    with locked(connection):
        connection.command(_HISTORY, "migrations")
        done = {
            row["name"]: row["digest"]
            for row in connection.rows("SELECT name, digest FROM migrations FINAL")
        }
        applied = [m.name for m in load() if _apply(connection, m, done)]
        align(connection)
    return applied


def _apply(connection: Connection, migration: Migration, done: Mapping[str, str]) -> bool:
    if migration.name in done:
        if done[migration.name] != migration.digest:
            log.warning("an applied migration has changed since", migration=migration.name)
        return False
    for statement in migration.statements:
        connection.command(statement, f"migration {migration.name}")
    row = f'{{"name":"{migration.name}","digest":"{migration.digest}"}}'
    connection.insert("migrations", ("name", "digest"), row.encode(), "JSONEachRow")
    log.info("migration applied", migration=migration.name)
    return True


def kept(settings: StoreSettings) -> dict[str, tuple[str, int]]:
    """Tables whose rows are forgotten: time column and days."""
    out: dict[str, tuple[str, int]] = {}
    for family in SCHEMAS:
        out[f"{family}_raw"] = ("ts", settings.raw_days)
        out[f"{family}_windows"] = ("window_start", settings.window_days)
        out[f"{family}_1m"] = ("window_start", settings.minute_days)
        out[f"{family}_1h"] = ("window_start", settings.hour_days)
    out["collector_health"] = ("ts", settings.window_days)
    out["pipeline_health"] = ("ts", settings.window_days)
    out["dead_letters"] = ("ts", settings.window_days)
    out["device_events"] = ("ts", settings.minute_days)
    return out


def ttl_sql(column: str, days: int) -> str:
    """A TTL expression the way the server prints it back."""
    return f"toDateTime({column}) + toIntervalDay({days})"


def align(connection: Connection) -> None:
    """Add the columns that the schema gained; keep rows for as long as the settings say.

    A column is added with the missing value as its default, so old rows read as missing. Tables of
    a cluster are left to the cluster's own statements (`python -m ridgeline.store ddl`).
    """
    where = {"database": connection.settings.database}
    have: dict[str, set[str]] = {}
    for row in connection.rows(
        "SELECT table, name FROM system.columns WHERE database = {database:String}", where
    ):
        have.setdefault(row["table"], set()).add(row["name"])
    engines = {
        row["name"]: row["engine_full"]
        for row in connection.rows(
            "SELECT name, engine_full FROM system.tables WHERE database = {database:String}"
            " AND engine != 'Distributed'",
            where,
        )
    }
    for table, columns in telemetry_columns().items():
        for name, definition in columns.items():
            if table in engines and name not in have[table]:
                connection.command(
                    f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {definition}", table
                )
                log.info("column added", table=table, column=name)
    for table, (column, days) in kept(connection.settings).items():
        ttl = ttl_sql(column, days)
        if table in engines and f"TTL {ttl} " not in engines[table] + " ":
            connection.command(f"ALTER TABLE {table} MODIFY TTL {ttl}", table)


def telemetry_columns() -> dict[str, dict[str, str]]:
    """Per telemetry table, the definition of each column of the schema, by name."""
    out: dict[str, dict[str, str]] = {}
    for family, schema in SCHEMAS.items():
        windows = _definitions(schema.window_columns_sql())
        out |= {f"{family}_{suffix}": windows for suffix in ("windows", "1m", "1h")}
        out[f"{family}_raw"] = _definitions(schema.raw_columns_sql())
    return out


def _definitions(columns_sql: str) -> dict[str, str]:
    out: dict[str, str] = {}
    for line in columns_sql.split(",\n"):
        name, kind, *rest = line.strip().split(" ", 2)
        missing = {"UInt32": "4294967295", "UInt64": "18446744073709551615"}.get(kind, "nan")
        out[name] = " ".join((name, kind, f"DEFAULT {missing}", *rest))
    return out

"""Numbered SQL migrations: applied once, in order, by one process at a time.

`sql/NNNN_name.sql` files are frozen when released. What may change afterwards is brought in line
by `align`: columns that the schema gained, codecs, and the days rows are kept. The tables of a
cluster are made and changed by its operator (`ridgeline.store.cluster`): there it is only looked
whether they are those of this version.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files

import structlog

from ridgeline.errors import Misconfigured
from ridgeline.schema import SCHEMAS
from ridgeline.settings import StoreSettings
from ridgeline.store import tables
from ridgeline.store.connection import Connection
from ridgeline.store.lock import locked

log = structlog.get_logger()

_FILE = re.compile(r"(\d{4})_(\w+)\.sql")
_STATEMENT = re.compile(
    r"(?:CREATE TABLE IF NOT EXISTS|ALTER TABLE|INSERT INTO|(?:RENAME|DROP) TABLE IF EXISTS)"
    r" (\w+?)(?:_before_\d{4})?\b"
)
_COMMENT = re.compile(r"^\s*--.*$", re.MULTILINE)
HISTORY = """
CREATE TABLE IF NOT EXISTS migrations (
    name String,
    digest String,
    applied DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY name
"""
# a statement may be run once more after a crash, but none before it
_STEPS = """
CREATE TABLE IF NOT EXISTS migration_steps (
    name String,
    step UInt32
)
ENGINE = ReplacingMergeTree
ORDER BY (name, step)
"""
_MISSING = {
    "Float32": "nan",
    "Float64": "nan",
    "UInt32": "4294967295",
    "UInt64": "18446744073709551615",
}
_CODEC = re.compile(r"CODEC\(.*\)(?= COMMENT|$)")
_OWN = {"migrations", "migration_steps", "migrations_lock"}


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

    A new database gets the tables of today at once; the result is the same.

    Raises:
        Retry: the server is away, or another migrator has held the lock for too long.
        Misconfigured: a newer Ridgeline has migrated the database, or it is a cluster's and older.
    """
    database = connection.settings.database
    connection.command(
        f"CREATE DATABASE IF NOT EXISTS `{database}`", "migrations", in_database=False
    )
    if spread := tables_of(connection, "Distributed"):
        _look(connection, spread)
        return []
    with locked(connection):
        connection.command(HISTORY, "migrations")
        connection.command(_STEPS, "migration_steps")
        known = load()
        done = _done(connection, known)
        fresh = not done and not tables_of(connection) - _OWN
        if fresh:
            kept_for, merging = retention(connection.settings), _merging(connection)
            for statement in create_all():
                connection.command(complete(statement, kept_for, merging), "tables")
        applied = [m.name for m in known if _apply(connection, m, done, fresh=fresh)]
        align(connection)
    return applied


def create_all() -> tuple[str, ...]:
    """Statements that make every table of a new database.

    Those of `tables` are made as they are today, the others as their migrations say.
    """
    today = (*tables.telemetry(SCHEMAS), *tables.reports())
    made = {table.name for table in today}
    others = (
        statement
        for migration in load()
        for statement in migration.statements
        if _subject(statement) not in made
    )
    return (*(table.create() for table in today), *others)


def _look(connection: Connection, spread: Collection[str]) -> None:
    """Refuse the tables of a cluster that are not those of this version.

    Raises:
        Misconfigured: with what is missing, and the command that prints it.
    """
    wanted, have = {_subject(statement) for statement in create_all()}, _columns(connection)
    missing = [
        *unnoted(connection),
        *(f"table {name}" for name in sorted(wanted.difference(spread))),
    ]
    for table, columns in telemetry_columns().items():
        missing += [f"column {table}.{name}" for name in columns if name not in have.get(table, {})]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise Misconfigured(
            "RIDGELINE_STORE_DATABASE",
            f"{connection.settings.database!r} is spread over a cluster and lacks"
            f" {', '.join(missing[:3])}{more}: run what `python -m ridgeline.store ddl --cluster"
            " NAME --update` prints",
        )


def unnoted(connection: Connection) -> list[str]:
    """Migrations that the database has not had, by name.

    Raises:
        Misconfigured: it has had some that this version does not know.
    """
    known = load()
    done = _done(connection, known) if "migrations" in tables_of(connection) else {}
    return [m.name for m in known if m.name not in done]


def complete(
    statement: str, kept_for: Mapping[str, str], merging: Mapping[str, Sequence[str]]
) -> str:
    """A statement with what `align` would alter in its table: most of the time of a first start."""
    if not statement.startswith("CREATE TABLE"):
        return statement
    table = _subject(statement)
    body, _, settings = statement.partition("\nSETTINGS ")
    ttl = f"\nTTL {kept_for[table]}" if table in kept_for else ""
    every = ", ".join(filter(None, (settings, *merging.get(table, ()))))
    return body + ttl + (f"\nSETTINGS {every}" if every else "")


def _subject(statement: str) -> str:
    """The table that a statement of a migration is about.

    Raises:
        ValueError: it begins in no known way.
    """
    found = _STATEMENT.match(statement)
    if found is None:
        raise ValueError(f"cannot tell the table of: {statement[:80]}")
    return found.group(1)


def _done(connection: Connection, known: Sequence[Migration]) -> dict[str, str]:
    """Digest by name of what was applied before."""
    rows = connection.rows("SELECT name, digest FROM migrations FINAL ORDER BY name")
    done = {row["name"]: row["digest"] for row in rows}
    if newer := sorted(set(done) - {m.name for m in known}):
        raise Misconfigured(
            "RIDGELINE_STORE_DATABASE",
            f"{connection.settings.database!r} has {', '.join(newer)}, which this version of"
            " Ridgeline does not know: run the newer version, or name another database",
        )
    return done


def tables_of(connection: Connection, *engines: str) -> set[str]:
    """Names of the tables there are; of these engines only where some are named."""
    rows = connection.rows(
        "SELECT name, engine FROM system.tables WHERE database = {database:String}",
        {"database": connection.settings.database},
    )
    return {row["name"] for row in rows if not engines or row["engine"] in engines}


def _columns(connection: Connection) -> dict[str, dict[str, str]]:
    """Codec by column, by table."""
    out: dict[str, dict[str, str]] = {}
    for row in connection.rows(
        "SELECT table, name, compression_codec AS codec FROM system.columns"
        " WHERE database = {database:String}",
        {"database": connection.settings.database},
    ):
        out.setdefault(row["table"], {})[row["name"]] = row["codec"]
    return out


def _apply(
    connection: Connection, migration: Migration, done: Mapping[str, str], *, fresh: bool
) -> bool:
    name = migration.name
    if name in done:
        if done[name] != migration.digest:
            log.warning("an applied migration has changed since", migration=name)
        return False
    if not fresh:
        _run(connection, migration)
    row = {"name": name, "digest": migration.digest}
    connection.insert("migrations", tuple(row), json.dumps(row).encode(), "JSONEachRow")
    log.info("migration applied", migration=name)
    return True


def _run(connection: Connection, migration: Migration) -> None:
    """Run the statements that no earlier attempt has finished."""
    (row,) = connection.rows(
        "SELECT max(step) AS step FROM migration_steps WHERE name = {name:String}",
        {"name": migration.name},
    )
    for step, statement in enumerate(migration.statements, start=1):
        if step <= row["step"]:
            continue
        connection.command(statement, f"migration {migration.name}, statement {step}")
        body = json.dumps({"name": migration.name, "step": step}).encode()
        connection.insert("migration_steps", ("name", "step"), body, "JSONEachRow")


def kept(settings: StoreSettings) -> dict[str, tuple[str, int]]:
    """Tables whose rows are forgotten: time column and days."""
    out: dict[str, tuple[str, int]] = {}
    for family in SCHEMAS:
        out[f"{family}_raw"] = ("ts", settings.raw_days)
        out[f"{family}_windows"] = ("window_start", settings.window_days)
        for prefix in (family, *(f"{family}_{level}" for level in tables.LEVELS[family])):
            out[f"{prefix}_1m"] = ("window_start", settings.minute_days)
            out[f"{prefix}_1h"] = ("window_start", settings.hour_days)
    out["collector_health"] = ("ts", settings.window_days)
    out["collectors"] = ("ts", settings.window_days)
    out["collector_minutes"] = ("ts", settings.minute_days)
    out["pipeline_health"] = ("ts", settings.window_days)
    out["dead_letters"] = ("ts", settings.window_days)
    out["device_events"] = ("ts", settings.minute_days)
    return out


def ttl_sql(column: str, days: int) -> str:
    """A TTL expression the way the server prints it back."""
    return f"toDateTime({column}) + toIntervalDay({days})"


def retention(settings: StoreSettings) -> dict[str, str]:
    """TTL expression by table."""
    return {table: ttl_sql(column, days) for table, (column, days) in kept(settings).items()}


def _merging(connection: Connection) -> dict[str, list[str]]:
    """By telemetry table, those of `MERGE_SETTINGS` that the server knows, as it prints them."""
    known = {row["name"] for row in connection.rows("SELECT name FROM system.merge_tree_settings")}
    wanted = [f"{name} = {value}" for name, value in tables.MERGE_SETTINGS.items() if name in known]
    return dict.fromkeys(telemetry_columns(), wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What `ALTER TABLE` of one table is to be told; `added` are the columns it adds."""

    table: str
    clause: str
    added: tuple[str, ...] = ()


def align(connection: Connection) -> None:
    """Add the columns that the schema gained; keep rows for as long as the settings say.

    What is written from now on has the codecs of today; older parts get them as they are merged.
    Merges are told what they need not do, as far as the server knows such a setting.

    A column is added with the missing value as its default, so old rows read as missing.
    """
    for change in changes(connection):
        connection.command(f"ALTER TABLE {change.table} {change.clause}", change.table)
        log.info("table changed", table=change.table, columns=list(change.added))


def changes(connection: Connection, suffix: str = "") -> Iterator[Change]:
    """How the tables differ from those of today, one by one.

    Args:
        connection: Of their database.
        suffix: Of the names of the tables that hold rows; the changes name them without it.
    """
    have = _columns(connection)
    engines = {
        row["name"]: row["engine_full"]
        for row in connection.rows(
            "SELECT name, engine_full FROM system.tables WHERE database = {database:String}",
            {"database": connection.settings.database},
        )
    }
    for table, columns in telemetry_columns().items():
        now = have.get(table + suffix, {})
        if not now:
            continue
        places = zip(columns, ("FIRST", *(f"AFTER {name}" for name in columns)), strict=False)
        added = {name: place for name, place in places if name not in now}
        if added:
            parts = (f"ADD COLUMN IF NOT EXISTS {columns[n]} {p}" for n, p in added.items())
            yield Change(table=table, clause=", ".join(parts), added=tuple(added))
        old = {n: codec for n, codec in codecs(columns).items() if now.get(n, codec) != codec}
        if old:
            parts = (f"MODIFY COLUMN {name} {codec}" for name, codec in old.items())
            yield Change(table=table, clause=", ".join(parts))
    for table, ttl in retention(connection.settings).items():
        engine = engines.get(table + suffix)
        if engine is not None and f"TTL {ttl} " not in engine + " ":
            yield Change(table=table, clause=f"MODIFY TTL {ttl}")
    for table, wanted in _merging(connection).items():
        engine = engines.get(table + suffix)
        lacks = [one for one in wanted if engine is not None and one not in engine]
        if lacks:
            yield Change(table=table, clause=f"MODIFY SETTING {', '.join(lacks)}")


def codecs(columns: Mapping[str, str]) -> dict[str, str]:
    """By name, the codec of each column that has one, as the server prints it."""
    found = ((name, _CODEC.search(line)) for name, line in columns.items())
    return {name: match.group() for name, match in found if match is not None}


def telemetry_columns() -> dict[str, dict[str, str]]:
    """Per telemetry table, the definition of each column, by name; missing by default."""
    return {
        table.name: dict(_definition(line) for line in table.columns)
        for table in tables.telemetry(SCHEMAS)
    }


def _definition(line: str) -> tuple[str, str]:
    name, kind, *rest = line.split(" ", 2)
    if re.search(r"\b(?:DEFAULT|ALIAS)\b", line):
        return name, line
    missing = _MISSING.get(kind)
    return name, line if missing is None else f"{name} {kind} DEFAULT {missing} {' '.join(rest)}"

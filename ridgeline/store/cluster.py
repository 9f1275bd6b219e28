"""The same tables for a ClickHouse cluster, as text for whoever runs it.

Every table becomes a `Replicated...MergeTree` named `<table>_local` on every node and a
`Distributed` table of the old name over them, sharded so that all rows which replace each other
meet on one shard. The statements come from those of a single server, so there is one source. Which
migrations they stand for is in a table that every node has whole: services look there, and change
nothing by themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ridgeline.errors import Misconfigured
from ridgeline.settings import StoreSettings
from ridgeline.store import migrations, tables
from ridgeline.store.connection import Connection

_TABLE = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+) \(")
_ENGINE = re.compile(r"ENGINE = (\w*MergeTree)(?:\((\w*)\))?")
_SHARED = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'"
_EVERYWHERE = "'/clickhouse/tables/all/{database}/{table}', '{shard}-{replica}'"
# rows that replace each other share the first column of an event table's sorting key
_ORDER = re.compile(r"ORDER BY \(?(\w+)")
_MERGE_SIZE = "max_bytes_to_merge_at_max_space_in_pool"
"""Of the merge settings, the one that every server knows."""


def text(statements: Iterable[str]) -> str:
    """Statements ready for `clickhouse-client --multiquery`; nothing where there are none."""
    return "\n".join(f"{statement};\n" for statement in statements)


def statements(settings: StoreSettings, cluster: str) -> list[str]:
    """What makes the tables of a new cluster.

    Raises:
        ValueError: `cluster` is no cluster name, or a table has no cluster form.
    """
    on, database = _on(cluster), f"`{settings.database}`"
    kept_for = migrations.retention(settings)
    size = [f"{_MERGE_SIZE} = {tables.MERGE_SETTINGS[_MERGE_SIZE]}"]
    merging = dict.fromkeys(migrations.telemetry_columns(), size)
    shards = {table.name: table.shard for table in (*tables.telemetry(), *tables.reports())}
    history = _replicated(migrations.HISTORY.strip(), _EVERYWHERE)
    out = [
        f"CREATE DATABASE IF NOT EXISTS {database} {on}",
        _renamed(history, f"{database}.migrations {on}"),
    ]
    for statement in migrations.create_all():
        whole = migrations.complete(statement, kept_for, merging)
        table, order = _TABLE.match(whole), _ORDER.search(whole)
        if table is None or order is None:
            raise ValueError(f"no cluster form for: {statement[:80]}")
        name = table.group(1)
        shard = shards.get(name, f"cityHash64({order.group(1)})")
        out.append(_renamed(_replicated(whole, _SHARED), f"{database}.{name}_local {on}"))
        out.append(
            f"CREATE TABLE IF NOT EXISTS {database}.{name} {on} AS {database}.{name}_local\n"
            f"ENGINE = Distributed('{cluster}', '{settings.database}', '{name}_local', {shard})"
        )
    return [*out, _note(database)]


def updates(connection: Connection, cluster: str) -> list[str]:
    """What makes an older cluster's tables those of this version; empty: they are.

    Args:
        connection: To any node; all have the same tables.
        cluster: Its name.

    Raises:
        ValueError: `cluster` is no cluster name.
        Misconfigured: the tables are a single server's, or of a newer Ridgeline.
    """
    on, database = _on(cluster), f"`{connection.settings.database}`"
    there = migrations.tables_of(connection)
    if there and not migrations.tables_of(connection, "Distributed"):
        raise Misconfigured(
            "RIDGELINE_STORE_DATABASE",
            f"{connection.settings.database!r} holds the tables of a single server: name a new"
            " database for the cluster's",
        )
    noted = migrations.unnoted(connection)
    out = [
        statement
        for statement in statements(connection.settings, cluster)
        if (table := re.match(r"CREATE TABLE IF NOT EXISTS `\w+`\.(\w+)", statement))
        and table.group(1) not in there
    ]
    for change in migrations.changes(connection, "_local"):
        out.append(f"ALTER TABLE {database}.{change.table}_local {on} {change.clause}")
        if change.added:
            out.append(f"ALTER TABLE {database}.{change.table} {on} {change.clause}")
    return [*out, _note(database)] if out or noted else []


def _on(cluster: str) -> str:
    if not re.fullmatch(r"[\w.-]+", cluster):
        raise ValueError(f"cluster name {cluster!r}: expected letters, digits, '_', '-' and '.'")
    return f"ON CLUSTER '{cluster}'"


def _replicated(statement: str, where: str) -> str:
    """The statement with a replicated engine, whose place in Keeper is `where`."""

    def engine(found: re.Match[str]) -> str:
        arguments = ", ".join(part for part in (where, found.group(2)) if part)
        return f"ENGINE = Replicated{found.group(1)}({arguments})"

    if _ENGINE.search(statement) is None:
        raise ValueError(f"no cluster form for: {statement[:80]}")
    return _ENGINE.sub(engine, statement)


def _renamed(statement: str, name: str) -> str:
    return _TABLE.sub(f"CREATE TABLE IF NOT EXISTS {name} (", statement, count=1)


def _note(database: str) -> str:
    """INSERT that says which migrations the tables stand for."""
    rows = ",\n".join(f"('{m.name}', '{m.digest}')" for m in migrations.load())
    return f"INSERT INTO {database}.migrations (name, digest) VALUES\n{rows}"

"""The same tables for a ClickHouse cluster, as text for whoever runs it.

Every table becomes a `Replicated...MergeTree` named `<table>_local` on every node and a
`Distributed` table of the old name over them, sharded so that all rows which replace each other
meet on one shard. The statements come from the migrations, so there is one source.
"""

from __future__ import annotations

import re

from ridgeline.settings import StoreSettings
from ridgeline.store import migrations

_TABLE = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+) \(")
_ENGINE = re.compile(r"ENGINE = (\w*MergeTree)(?:\((\w*)\))?")
_PATH = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'"
# rows that replace each other share the first column of the sorting key
_ORDER = re.compile(r"ORDER BY \(?(\w+)")


def ddl(settings: StoreSettings, cluster: str) -> str:
    """Every statement, ready for `clickhouse-client --multiquery`.

    Raises:
        ValueError: `cluster` is no cluster name, or a migration holds what has no cluster form.
    """
    if not re.fullmatch(r"[\w.-]+", cluster):
        raise ValueError(f"cluster name {cluster!r}: expected letters, digits, '_', '-' and '.'")
    on = f"ON CLUSTER '{cluster}'"
    statements = [f"CREATE DATABASE IF NOT EXISTS `{settings.database}` {on}"]
    for migration in migrations.load():
        for statement in migration.statements:
            statements += _cluster_form(statement, settings.database, cluster, on)
    text = "\n".join(statements)
    for table, columns in migrations.telemetry_columns().items():
        created = text.partition(f".{table}_local {on} (")[2].partition("ENGINE")[0]
        for name, definition in columns.items():
            if not re.search(rf"^\s*{name} ", created, re.MULTILINE):
                add = f"{on} ADD COLUMN IF NOT EXISTS {definition}"
                statements += [
                    f"ALTER TABLE `{settings.database}`.{t} {add}"
                    for t in (f"{table}_local", table)
                ]
    for table, (column, days) in migrations.kept(settings).items():
        ttl = migrations.ttl_sql(column, days)
        statements.append(f"ALTER TABLE `{settings.database}`.{table}_local {on} MODIFY TTL {ttl}")
    return ";\n\n".join(statements) + ";\n"


def _cluster_form(statement: str, database: str, cluster: str, on: str) -> list[str]:
    table, engine, order = (p.search(statement) for p in (_TABLE, _ENGINE, _ORDER))
    if table is None or engine is None or order is None:
        raise ValueError(f"no cluster form for: {statement[:80]}")
    name = table.group(1)
    arguments = ", ".join(part for part in (_PATH, engine.group(2)) if part)
    local = _ENGINE.sub(lambda _: f"ENGINE = Replicated{engine.group(1)}({arguments})", statement)
    local = local.replace(
        table.group(0), f"CREATE TABLE IF NOT EXISTS `{database}`.{name}_local {on} (", 1
    )
    spread = (
        f"CREATE TABLE IF NOT EXISTS `{database}`.{name} {on} AS `{database}`.{name}_local\n"
        f"ENGINE = Distributed('{cluster}', '{database}', '{name}_local',"
        f" cityHash64({order.group(1)}))"
    )
    return [local, spread]

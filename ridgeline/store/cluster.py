"""The same tables for a ClickHouse cluster, as text for whoever runs it.

Every table becomes a `Replicated...MergeTree` named `<table>_local` on every node and a
`Distributed` table of the old name over them, sharded so that all rows which replace each other
meet on one shard. The statements come from those of a single server, so there is one source.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ridgeline.settings import StoreSettings
from ridgeline.store import migrations, tables

_TABLE = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+) \(")
_ENGINE = re.compile(r"ENGINE = (\w*MergeTree)(?:\((\w*)\))?")
_PATH = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'"
# rows that replace each other share the first column of an event table's sorting key
_ORDER = re.compile(r"ORDER BY \(?(\w+)")


def ddl(settings: StoreSettings, cluster: str) -> str:
    """Every statement, ready for `clickhouse-client --multiquery`."""
    return ";\n\n".join(statements(settings, cluster)) + ";\n"


def statements(settings: StoreSettings, cluster: str) -> list[str]:
    """The statements one by one.

    Raises:
        ValueError: `cluster` is no cluster name, or a table has no cluster form.
    """
    if not re.fullmatch(r"[\w.-]+", cluster):
        raise ValueError(f"cluster name {cluster!r}: expected letters, digits, '_', '-' and '.'")
    on = f"ON CLUSTER '{cluster}'"
    telemetry = tables.telemetry()
    shards = {table.name: table.shard for table in (*telemetry, *tables.reports())}
    out = [f"CREATE DATABASE IF NOT EXISTS `{settings.database}` {on}"]
    for statement in migrations.create_all():
        out += _cluster_form(statement, settings.database, cluster, shards)
    for table, (column, days) in migrations.kept(settings).items():
        ttl = migrations.ttl_sql(column, days)
        out.append(f"ALTER TABLE `{settings.database}`.{table}_local {on} MODIFY TTL {ttl}")
    for table, columns in migrations.telemetry_columns().items():  # of tables made earlier
        parts = ", ".join(f"ADD COLUMN IF NOT EXISTS {line}" for line in columns.values())
        for name in (f"{table}_local", table):
            out.append(f"ALTER TABLE `{settings.database}`.{name} {on} {parts}")
        if changed := migrations.codecs(columns):
            local = f"`{settings.database}`.{table}_local"
            out.append(migrations.codecs_sql(local, changed, f" {on}"))
    size = "max_bytes_to_merge_at_max_space_in_pool"  # every server knows it
    setting = f"{size} = {tables.MERGE_SETTINGS[size]}"
    for one in telemetry:
        local = f"`{settings.database}`.{one.name}_local"
        out.append(f"ALTER TABLE {local} {on} MODIFY SETTING {setting}")
    return out


def _cluster_form(
    statement: str, database: str, cluster: str, shards: Mapping[str, str]
) -> list[str]:
    table, engine, order = (p.search(statement) for p in (_TABLE, _ENGINE, _ORDER))
    if table is None or engine is None or order is None:
        raise ValueError(f"no cluster form for: {statement[:80]}")
    name, on = table.group(1), f"ON CLUSTER '{cluster}'"
    shard = shards.get(name, f"cityHash64({order.group(1)})")
    arguments = ", ".join(part for part in (_PATH, engine.group(2)) if part)
    local = _ENGINE.sub(lambda _: f"ENGINE = Replicated{engine.group(1)}({arguments})", statement)
    local = local.replace(
        table.group(0), f"CREATE TABLE IF NOT EXISTS `{database}`.{name}_local {on} (", 1
    )
    spread = (
        f"CREATE TABLE IF NOT EXISTS `{database}`.{name} {on} AS `{database}`.{name}_local\n"
        f"ENGINE = Distributed('{cluster}', '{database}', '{name}_local', {shard})"
    )
    return [local, spread]

"""The tables of a cluster: the same ones, replicated and spread, in words the engine knows."""

from __future__ import annotations

import re
import uuid

import pytest

from ridgeline.settings import StoreSettings
from ridgeline.store import Store, cluster, migrations
from ridgeline.store.connection import Connection

OWN = {"migrations", "migration_steps"}


@pytest.fixture
def settings(store_url: str) -> StoreSettings:
    """A database of one's own."""
    return StoreSettings(url=store_url, database=f"c_{uuid.uuid4().hex[:12]}")


def test_every_table_is_there(settings: StoreSettings) -> None:
    """Each table of a single server twice: replicated on every node, distributed over them."""
    Store.connect(settings).migrate()
    tables = {row["name"] for row in Connection.open(settings).rows("SHOW TABLES")} - OWN
    text = cluster.text(cluster.statements(settings, "main"))

    for table in tables:
        assert 1 == text.count(f".{table} ON CLUSTER 'main' AS "), table
        assert 1 == text.count(f".{table}_local ON CLUSTER 'main' ("), table
    assert text.count("ENGINE = Distributed") == len(tables)
    assert text.count("ENGINE = Replicated") == len(tables) + 1  # and one of what was applied


def test_every_statement_is_understood(settings: StoreSettings) -> None:
    """The engine parses each, and each is for the whole cluster; the last notes the migrations."""
    connection = Connection.open(settings)
    connection.command(f"CREATE DATABASE {settings.database}", "test", in_database=False)
    *tables, noted = cluster.statements(settings, "main")
    assert all(f"'{m.name}', '{m.digest}'" in noted for m in migrations.load())
    for statement in tables:
        assert "ON CLUSTER 'main'" in statement
        (row,) = connection.rows("SELECT formatQuery({q:String}) AS text", {"q": statement})
        assert "ON CLUSTER main" in row["text"].replace("`", "").replace("'", "")


def test_local_tables_can_be_made_and_hold_the_same_columns(settings: StoreSettings) -> None:
    """All but what needs Keeper and a second server is run: columns, codecs, keys, TTLs."""
    connection = Connection.open(settings)
    for statement in cluster.statements(settings, "main"):
        if "ENGINE = Distributed" in statement:
            continue
        alone = statement.replace(" ON CLUSTER 'main'", "")
        alone = re.sub(r"Replicated(\w*)\('[^']*', '[^']*'(?:, )?", r"\1(", alone)
        connection.command(alone, "test", in_database=False)
    got = {row["name"] for row in connection.rows("SHOW TABLES")}
    for table, columns in migrations.telemetry_columns().items():
        assert f"{table}_local" in got
        described = connection.rows(f"DESCRIBE TABLE {table}_local")
        assert list(columns) == [row["name"] for row in described]


def test_rows_that_replace_each_other_share_a_shard(settings: StoreSettings) -> None:
    """The sharding key is a column of the sorting key, so it is the same in both rows."""
    statements = cluster.statements(settings, "main")
    keys = {
        found.group(1): found.group(2)
        for s in statements
        if (found := re.search(r"\.(\w+) ON CLUSTER .*_local', (.+)\)$", s, re.DOTALL))
    }
    orders = {
        found.group(1): found.group(2)
        for s in statements
        if (found := re.search(r"\.(\w+)_local ON .*ORDER BY ([^\n]+)", s, re.DOTALL))
    }
    assert keys.keys() == orders.keys()
    for table, key in keys.items():
        column = re.fullmatch(r"cityHash64\((\w+)\)", key)
        assert column, table
        assert re.search(rf"\b{column.group(1)}\b", orders[table]), table


def test_replica_paths_are_unique(settings: StoreSettings) -> None:
    """The path names the table by macro, and no table is made twice; all share the history."""
    made = [s for s in cluster.statements(settings, "main") if "ENGINE = Replicated" in s]
    names = [re.findall(r"`\.(\w+) ON", s)[0] for s in made]
    history, *rest = made

    assert len(names) == len(set(names))
    assert "'/clickhouse/tables/all/{database}/{table}', '{shard}-{replica}'" in history
    assert all("'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'" in s for s in rest)


def test_a_wrong_cluster_name_is_refused(settings: StoreSettings) -> None:
    """It would end up in the SQL as it stands."""
    with pytest.raises(ValueError, match="cluster name"):
        cluster.statements(settings, "a'b")

"""A cluster's tables on the engine: what services and dashboards ask, through `Distributed`.

The engine stands for every server of the cluster at once: two things of a real one are not here,
Keeper (so `Replicated` is left out of the engines' names) and `ON CLUSTER`. A cluster of one shard
must answer like a single server. In the other two shards are this one server twice: its counts
are double, but a statement that no cluster would take is refused.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import pytest

from benchmarks.store import statements
from benchmarks.store.fleet import HOUR_S, Fleet, fill
from ridgeline.errors import Misconfigured
from ridgeline.schema import GPU, SERVING
from ridgeline.settings import StoreSettings
from ridgeline.store import Store, cluster
from ridgeline.store.__main__ import main
from ridgeline.store.connection import Connection
from tests.conftest import store_gateway

SHARD = "<shard><replica><host>localhost</host><port>9000</port></replica></shard>"
CONFIG = (
    f"<clickhouse><tcp_port>9000</tcp_port><remote_servers><alone>{SHARD}</alone>"
    f"<twice>{SHARD}{SHARD}</twice></remote_servers></clickhouse>"
)
NOW_S = int(time.time()) // HOUR_S * HOUR_S
SPANS = {
    "1h": 2 * HOUR_S,
    "places_1h": 2 * HOUR_S,
    "pools_1h": 2 * HOUR_S,
    "loops_1h": 2 * HOUR_S,
    "1m": 1200,
    "places_1m": 1200,
    "pools_1m": 1200,
    "loops_1m": 1200,
    "windows": 1200,
}
PASSING = ("age", "applied")
"""Columns that depend on when something was done or asked."""
GRAFANA = {"distributed_product_mode": "global"}
"""What `docs/operations.md` asks for Grafana's user."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A store that knows the two clusters."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "config.xml").write_text(CONFIG, encoding="ascii")
    with store_gateway(folder, f"--config={folder / 'config.xml'}") as address:
        yield address


def run(connection: Connection, statement: str) -> None:
    """A statement of a cluster, without what needs Keeper."""
    alone = re.sub(r" ON CLUSTER '\w+'", "", statement)
    alone = re.sub(r"Replicated(\w*)\('[^']*', '[^']*'(?:, )?", r"\1(", alone)
    connection.command(alone, "test", in_database=False)


def spread(url: str, name: str) -> Connection:
    """A new database that is spread over a cluster."""
    settings = StoreSettings(url=url, database=f"{name}_{uuid.uuid4().hex[:12]}")
    connection = Connection.open(settings)
    for statement in cluster.statements(settings, name):
        run(connection, statement)
    for statement in cluster.updates(connection, name):  # settings that this server knows
        run(connection, statement)
    return connection


def tables(connection: Connection) -> dict[str, str]:
    """Definition of every table."""
    rows = connection.rows(
        "SELECT name, create_table_query AS made FROM system.tables WHERE database = {d:String}",
        {"d": connection.settings.database},
    )
    return {row["name"]: row["made"] for row in rows}


@pytest.fixture(scope="module")
def alone(url: str) -> Connection:
    """A cluster of one shard."""
    return spread(url, "alone")


@pytest.fixture(scope="module")
def single(url: str) -> Connection:
    """A single server with the rows of a small fleet."""
    settings = StoreSettings(url=url, database=f"single_{uuid.uuid4().hex[:12]}")
    store = Store.connect(settings)
    store.migrate()
    fill(store, Fleet(gpus=64, now_s=NOW_S), SPANS, statements.words(NOW_S))
    return Connection.open(settings)


@pytest.fixture(scope="module")
def copied(alone: Connection, single: Connection) -> Connection:
    """The cluster of one shard with the same rows, inserted through `Distributed`."""
    copy(single, alone)
    return alone


def copy(source: Connection, target: Connection) -> None:
    """Insert every row of one database into the other."""
    for name in tables(source).keys() - {"migrations", "migration_steps"}:
        target.command(
            f"INSERT INTO {name} SELECT * FROM `{source.settings.database}`.{name}",
            "test",
            settings={"distributed_foreground_insert": 1, "max_partitions_per_insert_block": 0},
        )


def test_services_take_the_tables_as_they_are(url: str) -> None:
    """Nothing is applied, nothing changed."""
    connection = spread(url, "alone")
    before = tables(connection)

    assert [] == Store(connection).migrate()
    assert before == tables(connection)
    assert [] == cluster.updates(connection, "alone")


@pytest.mark.parametrize(
    ("lacking", "said"),
    [
        (("ALTER TABLE migrations DELETE WHERE startsWith(name, '0002')",), "lacks 0002_events"),
        (("DROP TABLE collectors SYNC", "DROP TABLE collectors_local SYNC"), "table collectors"),
        (
            (
                "ALTER TABLE gpu_1m DROP COLUMN devices",
                "ALTER TABLE gpu_1m_local DROP COLUMN devices",
            ),
            "column gpu_1m.devices",
        ),
    ],
)
def test_an_older_cluster_is_refused_and_can_be_updated(
    url: str, lacking: tuple[str, ...], said: str
) -> None:
    """A service says what is missing and what to run; that is enough, and leaves nothing to do."""
    connection = spread(url, "alone")
    for statement in lacking:
        connection.command(statement, "test", settings={"mutations_sync": 2})
    store = Store(connection)
    with pytest.raises(Misconfigured, match=said) as caught:
        store.migrate()
    assert "ddl --cluster NAME --update" in str(caught.value)

    for statement in cluster.updates(connection, "alone"):
        run(connection, statement)

    assert [] == store.migrate()
    assert [] == cluster.updates(connection, "alone")


def test_the_command_line_prints_what_is_missing(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A whole cluster, then nothing, then one table; a single server's tables are refused."""
    # loggers keep the stream they first see, and pytest closes this test's
    monkeypatch.setattr("ridgeline.logs.configure", lambda _: None)
    monkeypatch.setenv("RIDGELINE_STORE_URL", url)

    def printed(database: str, *more: str) -> str:
        monkeypatch.setenv("RIDGELINE_STORE_DATABASE", database)
        main(["ddl", "--cluster", "alone", *more])
        return capsys.readouterr().out

    connection = spread(url, "alone")
    database = connection.settings.database
    assert printed(database).startswith(f"CREATE DATABASE IF NOT EXISTS `{database}` ON CLUSTER")
    assert "" == printed(database, "--update")
    connection.command("DROP TABLE collectors SYNC", "test")
    first, noted, end = printed(database, "--update").split(";\n")
    assert first.startswith(f"CREATE TABLE IF NOT EXISTS `{database}`.collectors ON CLUSTER")
    assert noted.strip().startswith(f"INSERT INTO `{database}`.migrations")
    assert "" == end
    alone = f"single_{uuid.uuid4().hex[:12]}"
    Store.connect(StoreSettings(url=url, database=alone)).migrate()
    with pytest.raises(SystemExit) as caught:
        printed(alone, "--update")
    assert 2 == caught.value.code
    assert "tables of a single server" in capsys.readouterr().err


def test_retention_of_a_cluster_follows_the_settings(url: str) -> None:
    """By statements for its tables of rows, on all of its servers."""
    connection = spread(url, "alone")
    changed = connection.settings.model_copy(update={"window_days": 3})

    *altered, noted = cluster.updates(Connection.open(changed), "alone")

    on = f"ALTER TABLE `{changed.database}`.gpu_windows_local ON CLUSTER 'alone' MODIFY TTL"
    assert sum(s.startswith(on) and "toIntervalDay(3)" in s for s in altered) == 1
    assert all("_local ON CLUSTER 'alone' MODIFY TTL" in s for s in altered)
    assert noted.startswith("INSERT INTO")


def asked(connection: Connection, *spans_s: int) -> list[tuple[str, Any]]:
    """Every statement of dashboards over these times, and of the advisor, with its answer."""
    ask = partial(connection.rows, settings=GRAFANA)
    out = [
        (title, ask(sql))
        for span_s in spans_s
        for title, sql in statements.rendered(ask, NOW_S, span_s, {})
    ]
    return out + [(name, call()) for name, call in statements.advisor(Store(connection), NOW_S)]


def plain(answer: Any) -> Any:
    """An answer without what depends on when it is asked or in which order rows are added up."""
    if isinstance(answer, float):
        return f"{answer:.9g}"
    if isinstance(answer, Mapping):
        return {str(key): plain(value) for key, value in answer.items() if key not in PASSING}
    if isinstance(answer, list | tuple | set | frozenset):
        return sorted((plain(one) for one in answer), key=str)
    if hasattr(answer, "tolist"):
        return plain(answer.tolist())
    return str(answer)


def test_every_statement_answers_as_on_a_single_server(
    copied: Connection, single: Connection
) -> None:
    """Panels, variables, facts, what the console shows, and what verifies a change."""
    pairs = list(zip(asked(single, 900, 86_400), asked(copied, 900, 86_400), strict=True))

    assert sum(bool(plain(answer)) for (_, answer), _ in pairs) > 100
    for (name, wanted), (_, got) in pairs:
        if not name.endswith("operations: Tables"):  # disk of this server's
            assert plain(wanted) == plain(got), name


def test_no_statement_is_refused_by_two_shards(url: str, single: Connection) -> None:
    """Subqueries and joins of distributed tables are asked once and sent to all."""
    connection = spread(url, "twice")
    copy(single, connection)

    assert len(asked(connection, 900)) > 90


def test_workers_write_and_roll_up(url: str) -> None:
    """A window inserted twice counts once, a fold covers all shards, memory is read back."""
    store = Store(spread(url, "alone"))
    rows = np.zeros(60, dtype=GPU.window_dtype)
    rows["window_start"] = NOW_S * 1000 - 7_200_000 + 10_000 * np.repeat(np.arange(6), 10)
    rows["device"], rows["samples"] = np.tile(np.arange(1, 11), 6), 10
    rows["power_watts_avg"] = 100
    start = int(rows["window_start"].min())
    for _ in range(2):
        store.insert_windows(GPU, rows)
        store.roll_up(GPU, start, start + 60_000)

    got = store.query("SELECT device, samples, power_watts_avg AS watts FROM gpu_1m FINAL")
    store.save_progress(SERVING.topic, 3, 12_345)
    store.save_state(SERVING.topic, 3, 12_345, b"abc")

    assert sorted((r["device"], r["samples"], r["watts"]) for r in got) == [
        (n, 60, 100.0) for n in range(1, 11)
    ]
    assert {3: 12_345} == store.progress(SERVING.topic)
    assert (12_345, b"abc") == store.state(SERVING.topic, 3)

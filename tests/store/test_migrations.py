"""What may change after a release, what may not, and who may change it at once."""

from __future__ import annotations

import dataclasses
import http.server
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ridgeline import schema
from ridgeline.errors import Misconfigured, Reject, Retry
from ridgeline.schema import GPU, SCHEMAS, Column, Kind
from ridgeline.settings import StoreSettings
from ridgeline.store import Store, lock, migrations
from ridgeline.store.__main__ import main
from ridgeline.store.connection import Connection

# sha256 of released files. A change here means a change of history: add a migration instead.
RELEASED = {
    "0001_telemetry": "9669a6dea1c0841c7b5bd009950a49c2fe5331f8bbfb64780fbc47b6c349b150",
    "0002_events": "e79fea6a066f105c9682746b4061fe34865b341d1d380fe10394f966ca58a1ef",
    "0003_stream_state": "a5f1fb954c9b8e58b0bd8a7455b74a312c66c03a2c26e9212752ce1ad9e6aa0f",
    "0004_pipeline_health": "c38e67e12743c85444a7b1ecafadd5ae965d3de4fa855c1ed7ffe35cb5724328",
    "0005_order_codecs_places": "beea69c1f18e144ae1be4cb236ec9b40d6d95de98dcd11489eb31a6b8b7dffdc",
    "0006_pools_and_time_index": "c1100a6c28becb52f2a4a58a676d1bae196853250f8dd2dbe7f5ce1184b0ad2c",
    "0007_minutes_by_node": "1ab855af879e47371b244a0865f3cc34fa1d8f42556c0c2ca70e4655ca483b88",
    "0008_nodes_and_reports": "3b457a1771b8da2c0763fb6dae1fc113a7b2e47161775ce345257cbd19443482",
}

IN_2030_MS = 1_900_000_000_000


@pytest.fixture
def settings(store_url: str) -> StoreSettings:
    """A database of one's own."""
    return StoreSettings(url=store_url, database=f"m_{uuid.uuid4().hex[:12]}")


def test_released_migrations_are_frozen() -> None:
    """Their text is what databases in the field have applied."""
    loaded = {m.name: m.digest for m in migrations.load()}

    assert RELEASED == {name: loaded.get(name) for name in RELEASED}


def test_migrated_tables_have_the_schemas_columns(settings: StoreSettings) -> None:
    """In the order of the layouts, so that SELECT * reads like a frame."""
    Store.connect(settings).migrate()
    connection = Connection.open(settings)
    for one in SCHEMAS.values():
        for suffix, dtype in (("windows", one.window_dtype), ("raw", one.dtype)):
            got = connection.rows(f"DESCRIBE TABLE {one.family}_{suffix}")
            names = [row["name"] for row in got if row["default_type"] != "ALIAS"]
            assert list(dtype.names or ()) == names


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> schema.Schema:
    """The gpu schema of a later release: one column of each kind more."""
    more = tuple(Column(name=f"new_{k}", kind=k, unit="1", doc="new", since=2) for k in Kind)
    newer = dataclasses.replace(GPU, version=2, columns=GPU.columns + more, _dtypes={})
    monkeypatch.setattr(migrations, "SCHEMAS", {**SCHEMAS, "gpu": newer})
    return newer


def test_a_new_column_is_added_and_old_rows_read_as_missing(
    settings: StoreSettings, newer: schema.Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database of the older release takes frames of the newer one."""
    with monkeypatch.context() as older:
        older.setattr(migrations, "SCHEMAS", SCHEMAS)
        store = Store.connect(settings)
        store.migrate()
        old = GPU.empty(1)
        old["ts"] = IN_2030_MS  # not yet forgotten
        store.insert_raw(GPU, old)
    store.migrate()
    rows = newer.empty(1)
    rows["ts"] = IN_2030_MS
    rows["new_gauge"] = 5
    store.insert_raw(newer, rows)

    got = store.query("SELECT new_gauge, new_counter, new_state FROM gpu_raw ORDER BY new_gauge")

    assert [5.0, schema.MISSING_COUNTER, schema.MISSING_STATE] == list(got[0].values())
    assert got[1]["new_gauge"] != got[1]["new_gauge"]
    assert (schema.MISSING_COUNTER, schema.MISSING_STATE) == tuple(got[1].values())[1:]


def test_a_new_database_is_made_as_it_stays(
    settings: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With retention and merge settings: altering them took most of the time of a first start."""
    altered: list[str] = []
    command = Connection.command

    def noted(self: Connection, sql: str, subject: str, *args: Any, **kwargs: Any) -> None:
        if sql.startswith("ALTER") and subject != "migrations_lock":
            altered.append(sql)
        command(self, sql, subject, *args, **kwargs)

    monkeypatch.setattr(Connection, "command", noted)
    Store.connect(settings).migrate()
    assert [] == altered
    Store.connect(settings.model_copy(update={"window_days": 3})).migrate()

    assert {table for table, (_, days) in migrations.kept(settings).items() if days == 14} == {
        sql.split()[2] for sql in altered
    }


def test_retention_follows_the_settings(settings: StoreSettings) -> None:
    """Changed days reach existing tables at the next migration."""
    Store.connect(settings).migrate()
    Store.connect(settings.model_copy(update={"window_days": 3})).migrate()
    (row,) = Connection.open(settings).rows(
        "SELECT engine_full FROM system.tables"
        " WHERE name = 'gpu_windows' AND database = {d:String}",
        {"d": settings.database},
    )

    assert "toIntervalDay(3)" in row["engine_full"]


def test_the_lock_of_a_dead_migrator_is_taken_over(
    settings: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no lock is left behind."""
    connection = Connection.open(settings)
    connection.command(f"CREATE DATABASE {settings.database}", "test", in_database=False)
    connection.command("CREATE TABLE migrations_lock (x UInt8) ENGINE = Memory COMMENT 'x'", "t")
    monkeypatch.setattr(lock, "LOCK_SECONDS", 1)

    assert set(RELEASED) <= set(Store.connect(settings).migrate())
    assert [] == connection.rows("SHOW TABLES LIKE 'migrations_lock%'")


def test_the_command_line(
    settings: StoreSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Migrate twice; a wrong cluster name exits 2."""
    # loggers keep the stream they first see, and pytest closes this test's
    monkeypatch.setattr("ridgeline.logs.configure", lambda _: None)
    monkeypatch.setenv("RIDGELINE_STORE_URL", settings.url)
    monkeypatch.setenv("RIDGELINE_STORE_DATABASE", settings.database)
    main(["migrate"])
    first = capsys.readouterr().out
    main(["migrate"])
    second = capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        main(["ddl", "--cluster", "a'b"])

    assert first.endswith("".join(f"applied {m.name}\n" for m in migrations.load()))
    assert "nothing to apply\n" == second
    assert 2 == caught.value.code


Fault = tuple[int, str, str]


@pytest.fixture
def faulty() -> Iterator[Callable[[Fault], str]]:
    """Start a server that answers every request with one fault; returns its address."""
    servers: list[http.server.ThreadingHTTPServer] = []

    def start(fault: Fault) -> str:
        status, code, text = fault

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(status)
                if code:
                    self.send_header("X-ClickHouse-Exception-Code", code)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_POST  # noqa: N815 - the name http.server looks for

            def log_message(self, *_: object) -> None:
                """Quiet."""

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ((403, "516", "Code: 516. default: Authentication failed"), Misconfigured, "PASSWORD"),
        ((403, "497", "Code: 497. Not enough privileges"), Misconfigured, "RIDGELINE_STORE_USER"),
        ((500, "252", "Code: 252. Too many parts"), Retry, "Too many parts"),
        ((500, "241", "Code: 241. Memory limit exceeded"), Retry, "Memory limit"),
        ((503, "", "upstream is away"), Retry, "503"),
        ((500, "53", "Code: 53. Type mismatch"), Reject, "Type mismatch"),
    ],
    ids=lambda value: str(value[1]) if isinstance(value, tuple) else None,
)
def test_a_fault_says_what_to_do_next(
    faulty: Callable[[Fault], str], fault: Fault, kind: type[Exception], words: str
) -> None:
    """Wait, call a person, or give the rows up."""
    with pytest.raises(kind, match=words):
        Store.connect(StoreSettings(url=faulty(fault)))


@pytest.mark.parametrize(
    ("host", "said"),
    [("127.0.0.1:1", "connection refused"), ("nowhere.invalid:8123", "no host of that name")],
)
def test_a_store_that_is_away_is_said_in_a_few_words(
    caplog: pytest.LogCaptureFixture, host: str, said: str
) -> None:
    """Where, what of, and why; the driver's own text is for the debug log."""
    caplog.set_level("DEBUG", "ridgeline")
    url = f"http://{host}"
    with pytest.raises(Retry) as raised:
        Store.connect(StoreSettings(url=url))

    assert f"store {url} (connect): {said}" == str(raised.value)
    assert "HTTPConnectionPool" in caplog.text


def test_a_store_that_does_not_answer_is_said_so() -> None:
    """It listens and says nothing: the wait ends, and no driver's text is shown."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Retry, match=r"\(connect\): no answer in time$"):
            Connection.open(StoreSettings(url=url), timeout_seconds=1.0)

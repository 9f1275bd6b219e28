"""From the tables of every earlier release, with rows in them, to those of today."""

from __future__ import annotations

import json
import math
import random
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from benchmarks.chaos import offline
from ridgeline.errors import Misconfigured, Retry
from ridgeline.schema import FACILITY, SCHEMAS, Schema
from ridgeline.settings import StoreSettings
from ridgeline.store import Store, lock, migrations
from ridgeline.store.connection import Connection

T0 = 1_900_000_000_000 // 3_600_000 * 3_600_000
EVERY = migrations.load()
EARLIER = range(1, len(EVERY))


@pytest.fixture
def connection(store_url: str) -> Iterator[Connection]:
    """Of a database of one's own, which does not exist yet."""
    settings = StoreSettings(url=store_url, database=f"u_{uuid.uuid4().hex[:12]}")
    connection = Connection.open(settings)
    yield connection
    connection.command(f"DROP DATABASE IF EXISTS {settings.database}", "test")
    connection.close()


def release(connection: Connection, number: int) -> None:
    """Make the database as the release with the first `number` migrations did."""
    name = connection.settings.database
    connection.command(f"CREATE DATABASE {name}", "test", in_database=False)
    connection.command(migrations.HISTORY, "test")
    for migration in EVERY[:number]:
        for statement in migration.statements:
            connection.command(statement, "test")
        row = {"name": migration.name, "digest": migration.digest}
        connection.insert("migrations", tuple(row), json.dumps(row).encode(), "JSONEachRow")


def dtype_of(one: Schema, suffix: str) -> np.dtype[np.void]:
    """Layout of a table's rows in the first release."""
    if suffix == "raw":
        return one.dtype_of(1)
    later = {f.name for f in one.window_fields if one.by_name[f.column].since > 1}
    names = [name for name in one.window_dtype.names or () if name not in later]
    return np.dtype([(name, one.window_dtype[name]) for name in names])


def fill(connection: Connection) -> None:
    """Rows in every telemetry table, missing values among them."""
    for one in SCHEMAS.values():
        for suffix in ("windows", "1m", "1h", "raw"):
            dtype = dtype_of(one, suffix)
            body = rows_of(one, suffix).tobytes()
            connection.insert(f"{one.family}_{suffix}", dtype.names or (), body, "RowBinary")


def rows_of(one: Schema, suffix: str) -> np.ndarray:
    """Twenty rows over two days."""
    dtype = dtype_of(one, suffix)
    rng = np.random.default_rng(3)
    rows = np.zeros(20, dtype=dtype)
    for name in dtype.names or ():
        values = rng.integers(0, 1000, 20).astype(dtype[name])
        if dtype[name].kind == "f":
            values[::3] = math.nan
        rows[name] = values
    rows["ts" if suffix == "raw" else "window_start"] = T0 + 2 * 3_600_000 * np.arange(20)
    rows["device"] = np.arange(20) % 3
    return rows


def contents(connection: Connection) -> Mapping[str, str]:
    """Every telemetry table that a release of 0001 has, as text."""
    out = {}
    for one in SCHEMAS.values():
        for suffix in ("windows", "1m", "1h", "raw"):
            table = f"{one.family}_{suffix}"
            columns = ", ".join(dtype_of(one, suffix).names or ())
            final = "" if suffix == "raw" else " FINAL"
            out[table] = repr(connection.rows(f"SELECT {columns} FROM {table}{final} ORDER BY ALL"))
    return out


def engine(full: str) -> tuple[str, frozenset[str]]:
    """An engine as the server prints it, and its settings, whose order says when they were set."""
    keys, _, settings = full.partition(" SETTINGS ")
    return keys, frozenset(settings.split(", "))


def layout(connection: Connection) -> dict[str, Any]:
    """Engine, keys and columns of every table."""
    where = {"database": connection.settings.database}
    tables = connection.rows(
        "SELECT name, engine_full FROM system.tables WHERE database = {database:String}", where
    )
    columns = connection.rows(
        "SELECT table, name, type, compression_codec, default_kind, default_expression"
        " FROM system.columns WHERE database = {database:String} ORDER BY table, position",
        where,
    )
    indices = connection.rows(
        "SELECT table, name, type_full, expr, granularity FROM system.data_skipping_indices"
        " WHERE database = {database:String}",
        where,
    )
    return {
        row["name"]: (
            engine(row["engine_full"]),
            [
                (c["name"], c["type"], c["compression_codec"], c["default_kind"])
                for c in columns
                if c["table"] == row["name"]
            ],
            [tuple(i.values()) for i in indices if i["table"] == row["name"]],
        )
        for row in tables
    }


@pytest.mark.parametrize("number", EARLIER)
def test_an_earlier_database_reads_the_same(connection: Connection, number: int) -> None:
    """And has the tables that a new database gets, nothing left over."""
    release(connection, number)
    fill(connection)
    before = contents(connection)
    store = Store(connection)
    new = StoreSettings(url=connection.settings.url, database=f"n_{uuid.uuid4().hex[:12]}")
    Store.connect(new).migrate()

    assert [m.name for m in EVERY[number:]] == store.migrate()
    assert before == contents(connection)
    assert layout(Connection.open(new)) == layout(connection)
    assert [] == store.migrate()
    (got,) = connection.rows("SELECT sum(devices) AS n FROM facility_1m FINAL")
    assert 20 == got["n"]
    later = "SELECT count() AS n FROM serving_windows WHERE NOT isNaN(output_length_count_inc)"
    assert [{"n": 0}] == connection.rows(later)  # what came later is missing, not 0


def test_pools_of_the_places_of_an_earlier_database(connection: Connection) -> None:
    """Hours of places that were rolled up by 0005 have their pools, as if rolled up today."""
    release(connection, 5)
    pool = "'decode', {}, {}, '', 'm'"
    places = [(1, pool.format("'a'", "'x'")), (2, pool.format("'b'", "'x'"))]
    for device, names in places:
        connection.command(
            "INSERT INTO places (device, kind, pool, rack, cooling_loop, rail, model)"
            f" VALUES ({device}, 'facility', {names})",
            "test",
        )
    for device, samples, devices, watts, joules in ((1, 30, 1, 100, 10), (2, 10, 3, 500, 50)):
        connection.command(
            "INSERT INTO facility_places_1h (window_start, device, samples, devices,"
            " power_watts_avg, energy_joules_inc)"
            f" VALUES ({T0 / 1000:.3f}, {device}, {samples}, {devices}, {watts}, {joules})",
            "test",
        )
    store = Store(connection)
    store.migrate()

    (got,) = store.query(
        "SELECT p.pool AS pool, p.rack AS rack, w.samples AS samples, w.devices AS devices,"
        " w.power_watts_avg AS watts, w.energy_joules_inc AS joules"
        " FROM facility_pools_1h AS w INNER JOIN places AS p ON w.device = p.device"
    )
    assert {"pool": "decode", "rack": "", "samples": 40, "devices": 4} == {
        k: got[k] for k in ("pool", "rack", "samples", "devices")
    }
    assert (200, 40) == (got["watts"], got["joules"])  # weighted by samples, by devices


@pytest.mark.parametrize("step", ["1m", "1h"])
def test_loops_of_the_places_of_an_earlier_database(connection: Connection, step: str) -> None:
    """Two pools' racks on one loop make one row of it, which facts do not take for one of today."""
    release(connection, 8)
    for device, names in ((1, "'decode', 'a', 'x', '', 'm'"), (2, "'prefill', 'b', 'x', '', 'm'")):
        connection.command(
            "INSERT INTO places (device, kind, pool, rack, cooling_loop, rail, model)"
            f" VALUES ({device}, 'facility', {names})",
            "test",
        )
    for device, samples, devices, watts, joules in ((1, 30, 1, 100, 10), (2, 10, 3, 500, 50)):
        connection.command(
            f"INSERT INTO facility_places_{step} (window_start, device, samples, devices,"
            " power_watts_avg, energy_joules_inc)"
            f" VALUES ({T0 / 1000:.3f}, {device}, {samples}, {devices}, {watts}, {joules})",
            "test",
        )
    store = Store(connection)
    store.migrate()

    asked = (
        "SELECT p.pool AS pool, p.rack AS rack, p.cooling_loop AS loop, w.samples AS samples,"
        " w.devices AS devices, w.power_watts_avg AS watts, w.energy_joules_inc AS joules"
        f" FROM facility_loops_{step} AS w INNER JOIN places AS p ON w.device = p.device"
    )
    (got,) = store.query(asked)
    assert ("", "", "x", 40, 4, 200, 40) == tuple(got.values())
    if step == "1m":
        assert [{"n": 0}] == store.query("SELECT sum(device_windows) AS n FROM facility_loops_1m")
    for statement in EVERY[8].statements:  # whoever died after one of them runs it again
        connection.command(statement, "test")
    assert [got] == store.query(asked)


def test_reports_of_an_earlier_database(connection: Connection) -> None:
    """All of them are there, the newest of each collector, and their minutes."""
    release(connection, 7)
    for _ in range(2):  # as after a replay
        connection.command(
            "INSERT INTO collector_health (node, host, collector, ts, success, no_data,"
            " duration_seconds, rows, error, body) SELECT number % 3, concat('n',"
            " toString(number % 3)), 'nvml', toDateTime64("
            f"{T0 // 1000} + number, 3, 'UTC'), number % 2, number % 4 = 0, number, 8, '',"
            " toString(number) FROM numbers(120)",
            "test",
        )
    store = Store(connection)
    store.migrate()

    (all_,) = store.query(
        "SELECT count() AS n, sum(runs) AS runs, sum(failed) AS failed FROM collector_health"
    )
    newest = store.query("SELECT host, body, success, no_data FROM collectors ORDER BY host")
    minutes = store.query("SELECT * EXCEPT (ts, collector) FROM collector_minutes ORDER BY ts")

    assert {"n": 120, "runs": 120, "failed": 30} == all_
    assert [("n0", "117"), ("n1", "118"), ("n2", "119")] == [(r["host"], r["body"]) for r in newest]
    assert [(True, False), (False, False), (True, False)] == [
        (r["success"], r["no_data"]) for r in newest
    ]
    assert [(3, 60, 60, 15, 57.0), (3, 60, 60, 15, 117.0)] == [tuple(r.values()) for r in minutes]
    store.roll_up_reports(T0, T0 + 120_000)
    assert minutes == store.query("SELECT * EXCEPT (ts, collector) FROM collector_minutes")


def test_what_a_later_column_is_in_old_rows() -> None:
    """Missing, by its default."""
    default = {"<f4": "nan", "<f8": "nan", "<u4": "4294967295", "<u8": "18446744073709551615"}
    for one in SCHEMAS.values():
        for suffix, dtype in (("windows", one.window_dtype), ("raw", one.dtype)):
            columns = migrations.telemetry_columns()[f"{one.family}_{suffix}"]
            for name in (dtype.names or ())[4:]:
                assert f" DEFAULT {default[dtype[name].str]} " in columns[name]


class Crashing:
    """A connection whose process dies right after a statement, before anyone has noted it.

    Args:
        connection: The real one.
        after: Number of the statement.
    """

    def __init__(self, connection: Connection, after: int) -> None:
        self._connection, self._left = connection, after
        self.settings = connection.settings

    def command(self, sql: str, subject: str, *args: Any, **kwargs: Any) -> None:
        """Run it; die if it was the one."""
        self._connection.command(sql, subject, *args, **kwargs)
        if subject.startswith("migration 0"):
            self._left -= 1
            if self._left == 0:
                raise Retry("killed")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def test_an_interrupted_migration_goes_on(connection: Connection) -> None:
    """Killed again and again, each time a few statements further, it ends with the same rows."""
    release(connection, 1)
    fill(connection)
    before = contents(connection)
    rng = random.Random(5)
    deaths = 0
    while True:
        crashing: Any = Crashing(connection, rng.choice((1, 2, 7, 13, 21)))
        try:
            migrations.migrate(crashing)
        except Retry:
            deaths += 1
            continue
        break

    assert deaths > 5
    assert before == contents(connection)
    assert set(migrations.telemetry_columns()) <= set(layout(connection))
    assert not [name for name in layout(connection) if "before" in name]


def test_two_migrators_of_an_old_database(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One migrates, the others wait, and each finds everything in place."""
    monkeypatch.setattr(lock, "LOCK_SECONDS", 300.0)  # on a busy machine one takes a minute
    release(connection, 1)
    fill(connection)
    before = contents(connection)
    applied: list[str] = []
    failures: list[BaseException] = []

    def one() -> None:
        try:
            applied.extend(Store.connect(connection.settings).migrate())
        except BaseException as error:  # noqa: BLE001 - handed to the test
            failures.append(error)

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [] == failures
    assert [m.name for m in EVERY[1:]] == applied
    assert before == contents(connection)


def test_writers_of_the_release_before_go_on(connection: Connection) -> None:
    """Windows inserted by name of column reach the new tables too."""
    release(connection, 2)
    store = Store(connection)
    store.migrate()
    store.insert_windows(FACILITY, rows_of(FACILITY, "windows"))

    assert 20 == len(store.query("SELECT device FROM facility_windows"))


def test_windows_of_before_they_were_rounded(connection: Connection) -> None:
    """They stay as they are until they are replayed; then the rounded row replaces the other."""
    release(connection, len(EVERY))
    store = Store(connection)
    store.migrate()
    row = np.zeros(1, dtype=FACILITY.window_dtype)
    row["window_start"], row["samples"] = T0, 10
    before, after = row.copy(), row.copy()
    resolution = FACILITY.by_name["power_watts"].resolution
    before["power_watts_avg"] = 12_345.678
    after["power_watts_avg"] = offline.rounded(float(before["power_watts_avg"][0]), resolution)

    def watts(table: str) -> list[float]:
        rows = store.query(f"SELECT power_watts_avg AS watts FROM {table}")
        return [row["watts"] for row in rows]

    store.insert_windows(FACILITY, before)
    old = watts("facility_windows")
    store.roll_up(FACILITY, T0, T0 + 10_000)
    store.insert_windows(FACILITY, after)
    store.roll_up(FACILITY, T0, T0 + 10_000)

    assert [12_345.678] == pytest.approx(old, rel=1e-7)
    assert [float(after["power_watts_avg"][0])] == watts("facility_windows") != old
    assert watts("facility_windows") == watts("facility_1m") == watts("facility_1h")


def test_a_newer_database_is_refused(connection: Connection) -> None:
    """The error names the migration that is not known, and what to do."""
    store = Store(connection)
    store.migrate()
    row = {"name": "0999_from_the_future", "digest": "x"}
    connection.insert("migrations", tuple(row), json.dumps(row).encode(), "JSONEachRow")

    with pytest.raises(Misconfigured, match=r"0999_from_the_future.*run the newer version"):
        store.migrate()


def test_the_lock_of_a_slow_migrator_is_not_taken_over(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While its holder lives it is written anew, so it never looks stale."""
    name = connection.settings.database
    connection.command(f"CREATE DATABASE {name}", "test", in_database=False)
    monkeypatch.setattr(lock, "LOCK_SECONDS", 2.0)
    written: set[str] = set()
    with lock.locked(connection):
        owner = lock._owner(connection)
        while len(written) < 3:  # three instants of writing
            (row,) = connection.rows(
                "SELECT toString(metadata_modification_time) AS at FROM system.tables"
                " WHERE database = {d:String} AND name = 'migrations_lock'",
                {"d": name},
            )
            written.add(row["at"])
            time.sleep(0.05)
        assert owner == lock._owner(connection)


def test_schemas_and_tables_agree() -> None:
    """Every table of `kept` exists, every telemetry table is kept for a while."""
    kept = migrations.kept(StoreSettings(url="http://x"))
    telemetry = set(migrations.telemetry_columns()) - {"places"}

    assert telemetry <= set(kept)

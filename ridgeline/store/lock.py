"""One migrator at a time: of several who CREATE TABLE the same name, only one succeeds."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import structlog

from ridgeline.errors import Reject, Retry
from ridgeline.store.connection import Connection

log = structlog.get_logger()

LOCK_SECONDS = 30.0
_POLL_SECONDS = 0.1
_TABLE_ALREADY_EXISTS = 57  # ClickHouse's code


@contextmanager
def locked(connection: Connection) -> Iterator[None]:
    """Hold the migration lock of the connection's database.

    The holder renews it for as long as it lives; the lock of one that died is taken over after
    `LOCK_SECONDS`.

    Raises:
        Retry: others held it for twice that long.
    """
    owner = uuid.uuid4().hex
    give_up = time.monotonic() + 2 * LOCK_SECONDS
    while not _take(connection, owner):
        if time.monotonic() > give_up:
            raise Retry(f"another process migrates {connection.settings.database!r} for too long")
        _break_stale(connection)
        time.sleep(_POLL_SECONDS)
    done = threading.Event()
    renewal = threading.Thread(target=_renew, args=(connection, owner, done), daemon=True)
    renewal.start()
    try:
        yield
    finally:
        done.set()
        renewal.join()
        if _owner(connection) == owner:
            connection.command("DROP TABLE IF EXISTS migrations_lock SYNC", "migrations_lock")


def _renew(connection: Connection, owner: str, done: threading.Event) -> None:
    """Write the lock anew every now and then: a copy of much data may take longer than the lock."""
    while not done.wait(LOCK_SECONDS / 5):
        with suppress(Retry):  # the holder's own statements say when the server is away
            if _owner(connection) == owner:
                connection.command(
                    f"ALTER TABLE migrations_lock MODIFY COMMENT '{owner}'", "migrations_lock"
                )


def _take(connection: Connection, owner: str) -> bool:
    try:
        connection.command(
            f"CREATE TABLE migrations_lock (x UInt8) ENGINE = Memory COMMENT '{owner}'",
            "migrations_lock",
        )
    except Reject as error:
        if error.value != _TABLE_ALREADY_EXISTS:
            raise
    return _owner(connection) == owner


def _owner(connection: Connection, older_than_seconds: float = 0.0) -> str | None:
    rows = connection.rows(
        "SELECT comment FROM system.tables WHERE database = {database:String}"
        " AND name = 'migrations_lock'"
        " AND metadata_modification_time <= now() - {age:Int64}",
        {"database": connection.settings.database, "age": int(older_than_seconds)},
    )
    return rows[0]["comment"] if rows else None


def _break_stale(connection: Connection) -> None:
    owner = _owner(connection, LOCK_SECONDS)
    if owner is None:
        return
    aside = f"migrations_lock_{owner}"
    # of several waiters one renames; for the others there is nothing left to rename
    with suppress(Reject, Retry):
        connection.command(f"RENAME TABLE migrations_lock TO {aside}", "migrations_lock")
        connection.command(f"DROP TABLE IF EXISTS {aside} SYNC", aside)
        log.warning("took over the migration lock of a process that died", owner=owner)

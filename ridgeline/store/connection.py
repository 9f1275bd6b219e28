"""One ClickHouse connection that speaks our errors.

What the server or the network says becomes Retry (the same call may work later), Misconfigured (a
person must act) or Reject (this statement will never work), by one table of ClickHouse's codes.
"""

from __future__ import annotations

import builtins
import logging
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import (
    ClickHouseError,
    DatabaseError,
    DataError,
    NotSupportedError,
    ProgrammingError,
)
from urllib3.exceptions import HTTPError, TimeoutError  # noqa: A004 - urllib3's own

from ridgeline.errors import Misconfigured, Reject, Retry, RidgelineError
from ridgeline.settings import StoreSettings

log = logging.getLogger(__name__)
# it logs what it raises; without a handler that would be a line on standard error of any program
logging.getLogger("clickhouse_connect").addHandler(logging.NullHandler())
_LONGEST = 200  # characters of a server's text
_SAID = re.compile(r"DB::Exception: (?P<text>.*?)\.? *\((?P<name>[A-Z][A-Z0-9_]+)\)")
# Numbers: ClickHouse src/Common/ErrorCodes.cpp. These pass by themselves or when someone has
# finished what is under way (a migration, a restart, a merge, a full disk).
RETRY_CODES = frozenset(
    (
        60,  # UNKNOWN_TABLE: not migrated yet
        81,  # UNKNOWN_DATABASE: likewise
        159,  # TIMEOUT_EXCEEDED
        160,  # TOO_SLOW
        202,  # TOO_MANY_SIMULTANEOUS_QUERIES
        209,  # SOCKET_TIMEOUT
        210,  # NETWORK_ERROR
        236,  # ABORTED: the server is shutting down
        241,  # MEMORY_LIMIT_EXCEEDED
        242,  # TABLE_IS_READ_ONLY: Keeper is away
        243,  # NOT_ENOUGH_SPACE
        252,  # TOO_MANY_PARTS: merges are behind
        279,  # ALL_CONNECTION_TRIES_FAILED
        285,  # TOO_FEW_LIVE_REPLICAS
        319,  # UNKNOWN_STATUS_OF_INSERT
        394,  # QUERY_WAS_CANCELLED
        425,  # SYSTEM_ERROR
        439,  # CANNOT_SCHEDULE_TASK
        473,  # DEADLOCK_AVOIDED
        999,  # KEEPER_EXCEPTION
    )
)
# without a server's code: the client refused before sending, and will refuse again
_CLIENT_SIDE = (ProgrammingError, DataError, NotSupportedError)
PERSON_CODES = frozenset((192, 193, 194, 497, 516))  # unknown user, wrong password, access denied
# durable on return, on one server and through Distributed tables; a block may span many days
# after an outage; rows that replace each other are left to merges and FINAL, not sought at once
_INSERT = {
    "async_insert": 0,
    "optimize_on_insert": 0,
    "distributed_foreground_insert": 1,
    "max_partitions_per_insert_block": 0,
}


def explain(error: Exception, subject: str, settings: StoreSettings) -> RidgelineError:
    """The error of ours that says what to do about `error`; `subject` names table or statement."""
    log.debug("store %s (%s): %s", settings.url, subject, error, exc_info=error)
    text = _cause(error)
    code = getattr(error, "code", None)
    if code in PERSON_CODES:
        problem = f"ClickHouse refuses user {settings.user!r}: {text}"
        return Misconfigured("RIDGELINE_STORE_USER / RIDGELINE_STORE_PASSWORD", problem)
    if code is None or code in RETRY_CODES:
        return Retry(f"store {settings.url} ({subject}): {text}")
    return Reject(subject, code, text)


def _cause(error: BaseException) -> str:
    """What went wrong in a few words; the driver's own text holds addresses and attempts."""
    first, deepest = error, error
    while (within := deepest.__cause__ or deepest.__context__) is not None:
        deepest = within
    match deepest:
        case socket.gaierror():
            return "no host of that name"
        case _ if isinstance(deepest, TimeoutError | builtins.TimeoutError):
            return "no answer in time"
        case OSError(strerror=str(why)):
            return why.lower()
    text = " ".join(str(first).split())
    if said := _SAID.search(text):  # the name first: what is searched for and acted on
        text = f"{said['name']}: {said['text']}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


class Connection:
    """A client of one server and one database; safe to call from several threads.

    Args:
        client: A client without a session.
        settings: Names the database that unqualified tables live in.
    """

    def __init__(self, client: Client, settings: StoreSettings) -> None:
        self._client = client
        self.settings = settings

    @classmethod
    def open(cls, settings: StoreSettings, timeout_seconds: float = 60.0) -> Connection:
        """Connect and greet the server; the database need not exist yet.

        Args:
            settings: Where the server is.
            timeout_seconds: Longest wait for one answer.

        Raises:
            Retry: the server is away.
            Misconfigured: the URL is no HTTP URL, or the server refuses the user.
        """
        url = urlsplit(settings.url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise Misconfigured(
                "RIDGELINE_STORE_URL", f"expected http(s)://host:port, found {settings.url!r}"
            )
        with _explained("connect", settings):
            client = clickhouse_connect.get_client(
                interface=url.scheme,
                host=url.hostname,
                port=url.port or (8443 if url.scheme == "https" else 8123),
                username=settings.user,
                password=settings.password.get_secret_value(),
                proxy_path=url.path.strip("/"),
                compress=False,
                connect_timeout=5,
                send_receive_timeout=timeout_seconds,
                query_limit=0,
                query_retries=1,
                autogenerate_session_id=False,
                tz_mode="aware",
                client_name="ridgeline",
            )
        client.database = settings.database
        return cls(client, settings)

    def command(
        self,
        sql: str,
        subject: str,
        parameters: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        *,
        in_database: bool = True,
    ) -> None:
        """Run a statement that returns nothing.

        Raises:
            Retry, Reject, Misconfigured: by the error table.
        """
        with _explained(subject, self.settings):
            self._client.command(
                sql,
                parameters=dict(parameters or {}),
                settings=dict(settings or {}),
                use_database=in_database,
            )

    def rows(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        subject: str = "query",
    ) -> list[dict[str, Any]]:
        """Rows of a SELECT, by column name. Parameters are bound by the server (`{name:Type}`).

        Raises:
            Retry, Reject, Misconfigured: by the error table.
        """
        with _explained(subject, self.settings):
            result = self._client.query(
                sql, parameters=dict(parameters or {}), settings=dict(settings or {})
            )
            return list(result.named_results())

    def insert(self, table: str, columns: Sequence[str], body: bytes, data_format: str) -> None:
        """Insert already encoded rows; returns when the server has them.

        Raises:
            Retry, Reject, Misconfigured: by the error table, naming the table.
        """
        with _explained(table, self.settings):
            self._client.raw_insert(
                f"`{self.settings.database}`.`{table}`",
                column_names=columns,
                insert_block=body,
                fmt=data_format,
                settings=_INSERT,
            )

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


@contextmanager
def _explained(subject: str, settings: StoreSettings) -> Iterator[None]:
    try:
        yield
    except (DatabaseError, HTTPError, OSError) as error:
        if isinstance(error, _CLIENT_SIDE) and error.code is None:
            raise Reject(subject, type(error).__name__, str(error)) from error
        raise explain(error, subject, settings) from error
    except ClickHouseError as error:
        raise Reject(subject, type(error).__name__, str(error)) from error

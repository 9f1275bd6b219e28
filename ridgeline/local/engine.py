"""ClickHouse's engine in this process (chDB) behind one handle per worker thread.

Inserted data always goes through a file: the engine ends inline data at the first empty line,
which binary rows may contain.
"""

from __future__ import annotations

import json
import re
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import chdb

_INSERT = re.compile(
    rb"\s*INSERT\s+INTO\s+(?:(?!\bSELECT\b|\bWITH\b).)*?"
    rb"(?:\bFORMAT\s+(?P<format>\w+)(?:[ \t]*;)?(?:[ \t]*\r?\n|[ \t]+|$)"
    rb"|\b(?P<values>VALUES)\b\s*)",
    re.IGNORECASE | re.DOTALL,
)
_SETTINGS = re.compile(rb"(\bSETTINGS\b|$)", re.IGNORECASE)
_HEAD_BYTES = 64 * 1024
_NAME = re.compile(r"[A-Za-z_]\w*")
_FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*;?\s*$", re.IGNORECASE)
_CODE = re.compile(r"Code: (\d+)")
_SHM = Path("/dev/shm")  # noqa: S108 - private temporary files, made by tempfile
_MEMORY_DIR = str(_SHM) if _SHM.is_dir() else None

# ClickHouse's own table of HTTP statuses by exception code, the ones a client looks at
_STATUS = dict.fromkeys((60, 81, 36, 47, 16, 20, 46), 404) | dict.fromkeys((62, 53, 27, 26), 400)


class EngineError(Exception):
    """The engine refused the query.

    Args:
        text: ClickHouse's message.
    """

    def __init__(self, text: str) -> None:
        start = text.find("Code: ")
        self.text = text[max(start, 0) :].strip()
        found = _CODE.search(self.text)
        self.code = int(found.group(1)) if found else 1002  # UNKNOWN_EXCEPTION
        self.status = _STATUS.get(self.code, 500)
        super().__init__(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a query gave."""

    body: bytes
    format: str
    rows: int
    bytes: int
    elapsed_seconds: float
    inserted: bool

    def summary(self) -> str:
        """Value of the `X-ClickHouse-Summary` header."""
        read, written = (0, self.rows) if self.inserted else (self.rows, 0)
        return json.dumps(
            {
                "read_rows": str(read),
                "read_bytes": str(0 if self.inserted else self.bytes),
                "written_rows": str(written),
                "written_bytes": str(self.bytes if self.inserted else 0),
                "result_rows": str(read),
                "elapsed_ns": str(int(self.elapsed_seconds * 1e9)),
            }
        )


class Engine:
    """ClickHouse; call it from any thread.

    Args:
        path: A folder, or ":memory:".
        config: File of further server settings, such as `remote_servers` and `macros`.
    """

    def __init__(self, path: str, config: Path | None = None) -> None:
        self._path = path if path == ":memory:" else str(Path(path).resolve())
        if config is not None:
            self._path += f"?config-file={config.resolve()}"
        self._local = threading.local()
        self._root = chdb.connect(self._path)  # keeps an in-memory engine alive

    def run(
        self,
        sql: bytes,
        *,
        database: str = "default",
        default_format: str = "TabSeparated",
        parameters: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> Answer:
        """Run one statement.

        Raises:
            EngineError: with ClickHouse's code and text.
        """
        connection = self._connection()
        _query(connection, f"USE `{database.replace('`', '')}`")
        with _applied(connection, settings or {}):
            insert = _INSERT.match(sql[:_HEAD_BYTES])
            if insert is not None:
                return _insert(connection, sql, insert)
            text = sql.decode(errors="surrogateescape")
            found = _FORMAT.search(text)
            result = _query(connection, text, default_format, parameters)
            return Answer(
                body=bytes(result.bytes() or b""),
                format=found.group(1) if found else default_format,
                rows=result.rows_read(),
                bytes=result.bytes_read(),
                elapsed_seconds=result.elapsed(),
                inserted=False,
            )

    def close(self) -> None:
        """Close the engine."""
        self._root.close()

    def _connection(self) -> Any:
        if not hasattr(self._local, "connection"):
            self._local.connection = chdb.connect(self._path)
        return self._local.connection


def _query(
    connection: Any,
    sql: str,
    output_format: str = "TabSeparated",
    parameters: Mapping[str, str] | None = None,
) -> Any:
    try:
        return connection.query(sql, output_format, params=dict(parameters or {}))
    except RuntimeError as error:
        raise EngineError(str(error)) from error


def _insert(connection: Any, sql: bytes, insert: re.Match[bytes]) -> Answer:
    if insert.group("values"):
        head, data_format = sql[: insert.start("values")], "Values"
    else:
        head = sql[: insert.start("format")].rstrip()
        head, data_format = head[: -len("FORMAT")], insert.group("format").decode()
    with tempfile.NamedTemporaryFile(dir=_MEMORY_DIR, prefix="ridgeline-", suffix=".bin") as data:
        data.write(memoryview(sql)[insert.end() :])
        data.flush()
        # the file stands where ClickHouse wants it: after the columns, before SETTINGS
        before, word, after = _SETTINGS.split(head, maxsplit=1)
        statement = (
            f"{before.decode()} FROM INFILE '{data.name}' "
            f"{(word + after).decode()} FORMAT {data_format}"
        )
        result = _query(connection, statement)
    return Answer(
        body=b"",
        format=data_format,
        rows=result.rows_read(),
        bytes=result.bytes_read(),
        elapsed_seconds=result.elapsed(),
        inserted=True,
    )


@contextmanager
def _applied(connection: Any, settings: Mapping[str, str]) -> Iterator[None]:
    """Per-query settings: set for this statement, back to the default afterwards."""
    done: list[str] = []
    try:
        for name, value in settings.items():
            if not _NAME.fullmatch(name):
                raise EngineError(f"Code: 115. DB::Exception: Unknown setting {name!r}")
            quoted = value.replace("\\", "\\\\").replace("'", "\\'")
            _query(connection, f"SET {name} = '{quoted}'")
            done.append(name)
        yield
    finally:
        for name in done:
            with suppress(EngineError):
                _query(connection, f"SET {name} = DEFAULT")

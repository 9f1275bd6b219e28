"""The store gateway against clickhouse-connect and plain HTTP."""

from __future__ import annotations

import struct
from urllib.parse import urlsplit

import clickhouse_connect
import cramjam
import httpx
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

BLANK_LINES = struct.pack("<3I", 0x0A0A0A0A, 0x0D0A0D0A, 7)
"""Rows that read as empty lines: an engine that looks for them would lose the rest."""


@pytest.fixture(scope="module")
def client(store_url: str) -> Client:
    """A clickhouse-connect client in a database of its own."""
    port = urlsplit(store_url).port or 0
    clickhouse_connect.get_client(host="127.0.0.1", port=port).command("CREATE DATABASE gw")
    return clickhouse_connect.get_client(host="127.0.0.1", port=port, database="gw")


def test_ping_and_version(store_url: str) -> None:
    """Health and version answer as a server's do."""
    assert httpx.get(f"{store_url}/ping").text == "Ok.\n"
    assert httpx.post(store_url, content="SELECT version()").text.count(".") >= 3


def test_insert_and_query(client: Client) -> None:
    """Native inserts and typed parameters work through clickhouse-connect."""
    client.command("CREATE TABLE a (id UInt64, name String) ENGINE = MergeTree ORDER BY id")
    client.insert("a", [[1, "one"], [2, "two\n\nlines"]], column_names=["id", "name"])
    rows = client.query(
        "SELECT name FROM a WHERE id = {id:UInt64}", parameters={"id": 2}
    ).result_rows
    assert [("two\n\nlines",)] == list(rows)


@pytest.mark.parametrize("encoding", [None, "gzip", "zstd", "lz4"])
def test_row_binary(client: Client, encoding: str | None) -> None:
    """RowBinary arrives whole whatever its bytes and compression, and says how many rows."""
    table = f"raw_{encoding or 'plain'}"
    client.command(f"CREATE TABLE {table} (x UInt32) ENGINE = MergeTree ORDER BY x")
    body = BLANK_LINES + struct.pack("<20000I", *range(20000))
    if encoding:
        body = bytes(getattr(cramjam, encoding).compress(body))
    summary = client.raw_insert(
        table, ["x"], insert_block=body, fmt="RowBinary", compression=encoding
    )

    assert summary.written_rows == 20003
    expected = [(20003, sum(range(20000)) + 0x0A0A0A0A + 0x0D0A0D0A + 7)]
    assert expected == list(client.query(f"SELECT count(), sum(x) FROM {table}").result_rows)


def test_values_insert(client: Client) -> None:
    """INSERT ... VALUES keeps empty lines inside strings."""
    client.command("CREATE TABLE v (s String) ENGINE = MergeTree ORDER BY s")
    client.command("INSERT INTO v (s) VALUES ('a\n\nb'), ('c')")
    assert [("a\n\nb",), ("c",)] == list(client.query("SELECT s FROM v ORDER BY s").result_rows)


def test_insert_select(client: Client) -> None:
    """INSERT ... SELECT is a query, not data."""
    client.command("CREATE TABLE s (x UInt64) ENGINE = MergeTree ORDER BY x")
    client.command("INSERT INTO s SELECT number FROM numbers(5) SETTINGS max_threads = 1")
    assert client.command("SELECT count() FROM s") == 5


def test_error_has_code_and_text(client: Client, store_url: str) -> None:
    """An engine error keeps ClickHouse's code, and its text reaches the caller."""
    with pytest.raises(DatabaseError, match="UNKNOWN_TABLE"):
        client.query("SELECT * FROM nowhere")
    reply = httpx.post(store_url, content="SELECT * FROM nowhere")
    assert (reply.status_code, reply.headers["X-ClickHouse-Exception-Code"]) == (404, "60")
    reply = httpx.post(store_url, content=b"xx", headers={"Content-Encoding": "zstd"})
    assert reply.headers["X-ClickHouse-Exception-Code"] == "432"


def test_settings_hold_for_one_query(client: Client) -> None:
    """A setting of one query is gone in the next ones, whichever worker runs them."""
    ask = "SELECT getSetting('max_result_rows')"
    assert client.query(ask, settings={"max_result_rows": 7}).result_rows[0][0] == 7
    assert {client.query(ask).result_rows[0][0] for _ in range(8)} == {0}


def test_formats(store_url: str) -> None:
    """FORMAT in the text wins, then default_format; GET with query= works."""
    get = httpx.get(store_url, params={"query": "SELECT 1 AS x", "default_format": "JSONEachRow"})
    assert get.json() == {"x": 1}
    assert get.headers["X-ClickHouse-Format"] == "JSONEachRow"
    assert (
        httpx.post(store_url, content="SELECT 1 FORMAT CSV").headers["X-ClickHouse-Format"] == "CSV"
    )


def test_web_pages_are_refused(store_url: str) -> None:
    """A web page in a browser on this machine cannot run SQL."""
    reply = httpx.post(store_url, content="SELECT 1", headers={"Origin": "http://evil.example"})
    assert reply.status_code == 403


async def test_async_client(store_url: str) -> None:
    """The asynchronous client works too."""
    client = await clickhouse_connect.get_async_client(
        host="127.0.0.1", port=urlsplit(store_url).port or 0
    )
    assert [(3,)] == list((await client.query("SELECT 1 + 2")).result_rows)
    await client.close()

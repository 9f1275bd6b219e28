"""ClickHouse's HTTP protocol on loopback, answered by chDB in this process.

`python -m ridgeline.local.gateway --port 8123 --path DIR`: what clickhouse-connect, Grafana and
curl ask of a ClickHouse server, for one machine. It has no users: it listens on loopback only and
refuses browsers of other origins.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cramjam
import structlog
from aiohttp import web

from ridgeline import logs
from ridgeline.local.engine import Answer, Engine, EngineError

log = structlog.get_logger()

_BODY_BYTES = 1024**3
_WORKERS = 4
# settings of the HTTP transport itself; the engine knows none of them
_TRANSPORT = frozenset(
    (
        "query",
        "database",
        "default_format",
        "user",
        "password",
        "buffer_size",
        "session_id",
        "session_timeout",
        "session_check",
        "query_id",
        "quota_key",
        "compress",
        "decompress",
        "wait_end_of_query",
        "client_protocol_version",
        "role",
        "send_progress_in_http_headers",
        "http_headers_progress_interval_ms",
        "enable_http_compression",
        "cancel_http_readonly_queries_on_client_close",
    )
)
_ENGINE = web.AppKey("engine", Engine)
_POOL = web.AppKey("pool", ThreadPoolExecutor)


def _decoded(body: bytes, encoding: str) -> bytes:
    match encoding:
        case "" | "identity":
            return body
        case "gzip" | "x-gzip":
            return bytes(cramjam.gzip.decompress(body))
        case "deflate":
            return bytes(cramjam.zlib.decompress(body))
        case "zstd":
            return bytes(cramjam.zstd.decompress(body))
        case "lz4":
            return bytes(cramjam.lz4.decompress(body))
        case "br":
            return bytes(cramjam.brotli.decompress(body))
    raise EngineError(f"Code: 89. DB::Exception: Unknown compression method: {encoding}")


async def _statement(request: web.Request) -> tuple[bytes, dict[str, str]]:
    """The whole SQL (with inserted data behind it) and every parameter of the request."""
    given = dict(request.query)
    if request.content_type == "multipart/form-data":
        for name, value in (await request.post()).items():
            if isinstance(value, web.FileField):
                raise EngineError("Code: 48. DB::Exception: External tables are not supported")
            given[name] = value.decode() if isinstance(value, bytes | bytearray) else value
        return given.get("query", "").encode(), given
    encoding = request.headers.get("Content-Encoding", "").lower()
    try:
        body = _decoded(await request.read(), encoding)
    except cramjam.DecompressionError as error:
        text = f"Code: 432. DB::Exception: Cannot decompress {encoding} body: {error}"
        raise EngineError(text) from error
    query = given.get("query", "").rstrip().encode()
    return (query + b"\n" + body if query and body else query or body), given


def _failed(error: EngineError) -> web.Response:
    return web.Response(
        status=error.status,
        text=error.text + "\n",
        headers={"X-ClickHouse-Exception-Code": str(error.code)},
    )


async def _run(request: web.Request) -> Answer:
    sql, given = await _statement(request)
    if not sql.strip():
        raise EngineError("Code: 62. DB::Exception: Syntax error: Empty query. (SYNTAX_ERROR)")
    call = functools.partial(
        request.app[_ENGINE].run,
        sql,
        database=given.get("database") or request.headers.get("X-ClickHouse-Database") or "default",
        default_format=given.get("default_format")
        or request.headers.get("X-ClickHouse-Format")
        or "TabSeparated",
        parameters={k[len("param_") :]: v for k, v in given.items() if k.startswith("param_")},
        settings={
            k: v for k, v in given.items() if k not in _TRANSPORT and not k.startswith("param_")
        },
    )
    return await asyncio.get_running_loop().run_in_executor(request.app[_POOL], call)


async def _query(request: web.Request) -> web.Response:
    if "Origin" in request.headers:
        return web.Response(status=403, text="requests from web pages are refused\n")
    try:
        answer = await _run(request)
    except EngineError as error:
        log.info("query failed", code=error.code, error=error.text[:500])
        return _failed(error)
    return web.Response(
        body=answer.body,
        headers={
            "Content-Type": "text/plain; charset=UTF-8",
            "X-ClickHouse-Summary": answer.summary(),
            "X-ClickHouse-Format": answer.format,
            "X-ClickHouse-Query-Id": request.query.get("query_id", ""),
            "X-ClickHouse-Server-Display-Name": "ridgeline",
            "X-ClickHouse-Timezone": "UTC",
        },
    )


async def _ping(request: web.Request) -> web.Response:
    if request.query.get("query"):
        return await _query(request)
    return web.Response(text="Ok.\n")


def application(engine: Engine) -> web.Application:
    """The gateway as an aiohttp application."""
    app = web.Application(client_max_size=_BODY_BYTES)
    app[_ENGINE] = engine
    app[_POOL] = ThreadPoolExecutor(_WORKERS, thread_name_prefix="chdb")
    app.router.add_get("/ping", _ping)
    app.router.add_get("/", _ping)
    app.router.add_post("/", _query)
    return app


async def serve(port: int, path: str, config: Path | None = None) -> None:
    """Serve until SIGTERM or SIGINT; port 0 takes a free one and logs it."""
    engine = Engine(path, config)
    app = application(engine)
    runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=3.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    log.info("store gateway ready", addresses=str(runner.addresses), path=path)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    await runner.cleanup()
    app[_POOL].shutdown(wait=False, cancel_futures=True)
    engine.close()


def main() -> None:
    """Command line of the gateway."""
    parser = argparse.ArgumentParser(description="ClickHouse HTTP on loopback, served by chDB")
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--path", default=":memory:", help="data folder, or :memory:")
    parser.add_argument("--config", type=Path, help="file of further server settings")
    options = parser.parse_args()
    logs.configure("gateway")
    if options.path != ":memory:":
        Path(options.path).mkdir(parents=True, exist_ok=True)
    asyncio.run(serve(options.port, options.path, options.config))


if __name__ == "__main__":
    main()

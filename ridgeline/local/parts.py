"""The parts of the local stack: what to run, with which variables, and when each is ready."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import IO

import httpx

from ridgeline.errors import Misconfigured
from ridgeline.local import apache, broker
from ridgeline.settings import KafkaSettings, LocalSettings, StoreSettings

COLLECTORS, STREAMS, ADVISOR = "collectors", "streams", "advisor"
PYTHON = (sys.executable, "-P")
"""`-P`: a folder called `streams` where the operator happens to stand is not our service."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One process of the stack.

    Args:
        name: What people and logs call it; its log is `<home>/logs/<name>.log`.
        command: Makes the command line; may prepare files, may raise Misconfigured.
        ready: Whether it serves now; called from a thread.
        env: Variables on top of ours.
        after_restart: Run once it is ready again after it died.
    """

    name: str
    command: Callable[[], Sequence[str]]
    ready: Callable[[], bool]
    env: Mapping[str, str] = field(default_factory=dict)
    after_restart: Callable[[], Awaitable[None]] | None = None


def http_ok(url: str) -> bool:
    """Whether something at `url` answers without a server error."""
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(url, timeout=2, trust_env=False).status_code < 500
    return False


def kafka_settings(local: LocalSettings) -> KafkaSettings:
    """Where the local broker is."""
    return KafkaSettings(
        servers=f"127.0.0.1:{local.kafka_port}", idempotent=local.kafka == "apache"
    )


def store_settings(local: LocalSettings) -> StoreSettings:
    """Where the local store is."""
    return StoreSettings(url=f"http://127.0.0.1:{local.store_port}")


_ROLLUP = "RIDGELINE_STREAMS_ROLLUP_SECONDS"


def hold_file(local: LocalSettings) -> Path:
    """While this file exists the collectors keep their frames."""
    return local.home.resolve() / "hold"


def repairs_file(local: LocalSettings) -> Path:
    """In this file the simulator reads which of its faults were put right."""
    return local.home.resolve() / "repairs"


def environment(local: LocalSettings) -> dict[str, str]:
    """Variables that make every service meet the local stack."""
    kafka, home = kafka_settings(local), local.home.resolve()
    return {
        "RIDGELINE_KAFKA_SERVERS": kafka.servers,
        "RIDGELINE_KAFKA_IDEMPOTENT": str(kafka.idempotent).lower(),
        "RIDGELINE_KAFKA_REPLICATION": "1",
        "RIDGELINE_STORE_URL": store_settings(local).url,
        "RIDGELINE_COLLECT_METRICS_PORT": str(local.metrics_port + 1),
        "RIDGELINE_COLLECT_HOLD_FILE": str(hold_file(local)),
        "RIDGELINE_COLLECT_REPAIRS_FILE": str(repairs_file(local)),
        "RIDGELINE_STREAMS_METRICS_PORT": str(local.metrics_port + 2),
        "RIDGELINE_STREAMS_DATA_DIR": str(home / "streams"),
        _ROLLUP: os.environ.get(_ROLLUP, "20"),  # small enough that advice need not wait longer
        "RIDGELINE_ADVISOR_METRICS_PORT": str(local.metrics_port + 3),
        "RIDGELINE_ADVISOR_HOST": "127.0.0.1",
        "RIDGELINE_ADVISOR_PORT": str(local.console_port),
        "PYTHONUNBUFFERED": "1",
    }


def broker_part(
    local: LocalSettings, after_restart: Callable[[], Awaitable[None]] | None = None
) -> Part:
    """The Kafka broker: embedded or Apache's."""
    servers = kafka_settings(local).servers

    def command() -> Sequence[str]:
        if local.kafka == "apache":
            return apache.command(local.kafka_port, local.home.resolve() / "kafka")
        return broker.command(local.kafka_port)

    return Part(
        name="broker",
        command=command,
        ready=lambda: broker.answers(servers),
        env={"RUST_LOG": "warn"},
        after_restart=after_restart,
    )


def store_part(local: LocalSettings) -> Part:
    """ClickHouse's engine behind the gateway."""
    url = store_settings(local).url
    path = local.home.resolve() / "store"
    module = [*PYTHON, "-m", "ridgeline.local.gateway"]
    return Part(
        name="store",
        command=lambda: [*module, f"--port={local.store_port}", f"--path={path}"],
        ready=lambda: http_ok(f"{url}/ping"),
    )


def service_parts(
    local: LocalSettings, extra: Mapping[str, str] = MappingProxyType({})
) -> tuple[Part, ...]:
    """Collectors, streams and advisor, in the order they start."""
    env = environment(local) | dict(extra)
    metrics = [f"http://127.0.0.1:{local.metrics_port + i}/metrics" for i in (1, 2)]
    urls = {
        COLLECTORS: metrics[0],
        STREAMS: metrics[1],
        ADVISOR: f"http://127.0.0.1:{local.console_port}/",
    }

    def part(name: str, url: str) -> Part:
        return Part(
            name=name,
            command=lambda: [*PYTHON, "-m", name],
            ready=lambda: http_ok(url),
            env=env,
        )

    return tuple(part(name, url) for name, url in urls.items())


def check_ports(local: LocalSettings) -> None:
    """Make sure every port is free before anything starts.

    Raises:
        Misconfigured: naming the setting, the port and what to do.
    """
    wanted = [
        ("RIDGELINE_LOCAL_KAFKA_PORT", local.kafka_port),
        ("RIDGELINE_LOCAL_STORE_PORT", local.store_port),
        ("RIDGELINE_LOCAL_CONSOLE_PORT", local.console_port),
        *(("RIDGELINE_LOCAL_METRICS_PORT", local.metrics_port + i) for i in range(4)),
    ]
    seen: dict[int, str] = {}
    for setting, port in wanted:
        if port in seen:
            raise Misconfigured(setting, f"port {port} is also {seen[port]}'s; set another port")
        seen[port] = setting
        if not broker.bindable(port):
            problem = f"port {port} is in use by another program; set another port"
            raise Misconfigured(setting, problem)


def in_use(local: LocalSettings) -> bool:
    """Whether a stack runs in the home folder."""
    try:
        with (local.home / "lock").open("r", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def lock_home(local: LocalSettings) -> IO[str]:
    """Take the home folder for this process; keep the returned file open.

    Raises:
        Misconfigured: another `ridgeline` runs there, or the folder cannot be written.
    """
    path = local.home / "lock"
    try:
        local.home.mkdir(parents=True, exist_ok=True)
        lock = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise Misconfigured("RIDGELINE_LOCAL_HOME", f"cannot write {path}: {error}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.seek(0)
        owner = lock.read().strip() or "unknown"
        lock.close()
        problem = f"{local.home} is in use by ridgeline process {owner}; stop it or set another"
        raise Misconfigured("RIDGELINE_LOCAL_HOME", problem) from error
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock

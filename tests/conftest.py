"""Real parts that tests share: one store, one broker, one Apache Kafka a session."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, settings

from ridgeline.local import apache, broker
from ridgeline.local.process import Process, wait_until
from tests.needs import missing, need_program

# a test says what is right, never how fast: machines are shared
settings.register_profile("any-speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-speed")


def answers_http(url: str) -> bool:
    """Whether an HTTP GET works."""
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url, timeout=2).status_code == 200
    return False


@contextlib.contextmanager
def store_gateway(folder: Path, *options: str) -> Iterator[str]:
    """Address of a store gateway in its own process, with its data in `folder`."""
    port = broker.free_port()
    command = [sys.executable, "-m", "ridgeline.local.gateway", f"--port={port}"]
    command += [f"--path={folder / 'data'}", *options]
    process = Process("gateway", command, folder / "gateway.log")
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: answers_http(f"{url}/ping"), process, 60)
        yield url
    finally:
        process.stop()


@pytest.fixture(scope="session")
def store_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a store that tests share; use own names."""
    with store_gateway(tmp_path_factory.mktemp("store")) as url:
        yield url


@contextlib.contextmanager
def embedded_broker(folder: Path) -> Iterator[str]:
    """Bootstrap servers of an embedded broker in its own process.

    It has no idempotent producers, so `RIDGELINE_KAFKA_IDEMPOTENT` is off meanwhile.
    """
    port = broker.free_port()
    process = Process("broker", broker.command(port), folder / "broker.log", {"RUST_LOG": "warn"})
    try:
        servers = f"127.0.0.1:{port}"
        wait_until(lambda: broker.answers(servers), process, 60)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RIDGELINE_KAFKA_IDEMPOTENT", "false")
            yield servers
    finally:
        process.stop()


@pytest.fixture(scope="session")
def kafka_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An embedded broker that tests share; use own topics and groups."""
    with embedded_broker(tmp_path_factory.mktemp("kafka")) as servers:
        yield servers


@pytest.fixture
def own_kafka_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An embedded broker that nobody has written to: for who reads Ridgeline's own topics."""
    with embedded_broker(tmp_path_factory.mktemp("own-kafka")) as servers:
        yield servers


@pytest.fixture(scope="session")
def apache_kafka_home() -> Path:
    """Folder of Apache Kafka's jars; the test is skipped, or fails in CI, without them."""
    need_program("java", "install a Java 17 runtime")
    if not apache.fetched():
        missing("Apache Kafka", "run ridgeline kafka fetch")
    return apache.home()


@pytest.fixture(scope="session")
def apache_kafka_servers(
    tmp_path_factory: pytest.TempPathFactory, apache_kafka_home: Path
) -> Iterator[str]:
    """Bootstrap servers of a real Apache Kafka in its own process."""
    folder = tmp_path_factory.mktemp("apache-kafka")
    port = broker.free_port()
    process = Process("kafka", apache.command(port, folder), folder / "kafka.log")
    try:
        servers = f"127.0.0.1:{port}"
        wait_until(lambda: broker.answers(servers), process, 120)
        yield servers
    finally:
        process.stop()

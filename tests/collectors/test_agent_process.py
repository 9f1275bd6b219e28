"""The node agent as a process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer

from ridgeline import frames
from ridgeline.ids import device_id
from ridgeline.local import broker
from ridgeline.schema import FABRIC
from tests.collectors.sysfs_tree import add_interface

pytestmark = pytest.mark.e2e


def start(root: Path, **settings: str) -> subprocess.Popen[str]:
    """Start the agent on a fake sysfs, without a metrics port."""
    env = {
        "RIDGELINE_COLLECT_METRICS_PORT": "0",
        "RIDGELINE_COLLECT_HOST": "agent-test",
        "RIDGELINE_COLLECT_SYSFS": str(root / "sys"),
        "RIDGELINE_COLLECT_COLLECTORS": "infiniband,netdev",
        "RIDGELINE_COLLECT_INTERVAL_SECONDS": "0.1",
    }
    given: Mapping[str, str] = os.environ | env | settings
    command = [sys.executable, "-m", "collectors"]
    return subprocess.Popen(command, env=dict(given), stderr=subprocess.PIPE, text=True)


async def first_row_of(servers: str, device: int) -> int:
    """`tx_bytes` of the device's first row in Kafka."""
    consumer = AIOKafkaConsumer(
        FABRIC.topic, bootstrap_servers=servers, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        async for record in consumer:
            rows = frames.decode(record.value, *frames.resolve(record.headers))
            ours = rows[rows["device"] == device]
            if len(ours):
                return int(ours["tx_bytes"][0])
    finally:
        await consumer.stop()
    raise AssertionError


async def test_rows_reach_kafka_and_sigterm_ends_it(kafka_servers: str, tmp_path: Path) -> None:
    """Rows of the machine arrive; what is absent is said; SIGTERM ends it with 0."""
    add_interface(tmp_path, "eth0", {"statistics/tx_bytes": "4242"}, virtual=False)
    agent = start(tmp_path, RIDGELINE_KAFKA_SERVERS=kafka_servers)
    try:
        device = device_id("agent-test", "port", "eth0")
        found = await asyncio.wait_for(first_row_of(kafka_servers, device), 60)
    finally:
        agent.send_signal(signal.SIGTERM)
        _, said = await asyncio.to_thread(agent.communicate, timeout=120)

    assert found == 4242
    assert agent.returncode == 0
    assert said.count('event="collector is off" collector=infiniband') == 1


def test_sigterm_without_a_broker(tmp_path: Path) -> None:
    """With Kafka away it still ends with 0."""
    add_interface(tmp_path, "eth0", {}, virtual=False)
    agent = start(tmp_path, RIDGELINE_KAFKA_SERVERS=f"127.0.0.1:{broker.free_port()}")
    assert agent.stderr is not None
    next(line for line in agent.stderr if "event=collecting" in line)
    drain = threading.Thread(target=agent.stderr.read)
    drain.start()
    agent.send_signal(signal.SIGTERM)

    assert agent.wait(120) == 0
    drain.join()
    agent.stderr.close()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"RIDGELINE_COLLECT_COLLECTORS": "netdev,dcgm"},
            "ridgeline: RIDGELINE_COLLECT_COLLECTORS: unknown collector 'dcgm'",
        ),
        (
            {"RIDGELINE_COLLECT_INTERVAL_SECONDS": "0"},
            "ridgeline: RIDGELINE_COLLECT_INTERVAL_SECONDS: ",
        ),
        (
            {
                "RIDGELINE_COLLECT_COLLECTORS": "serving",
                "RIDGELINE_COLLECT_SERVING": "localhost:8000",
            },
            "ridgeline: RIDGELINE_COLLECT_SERVING: 'localhost:8000' is not",
        ),
    ],
    ids=["collector", "value", "address"],
)
def test_a_wrong_setting_ends_it(tmp_path: Path, settings: dict[str, str], said: str) -> None:
    """A wrong setting is one line with its name, and exit code 2."""
    agent = start(tmp_path, RIDGELINE_KAFKA_SERVERS="127.0.0.1:1", **settings)
    _, stderr = agent.communicate(timeout=120)

    assert agent.returncode == 2
    assert stderr.splitlines()[-1].startswith(said)

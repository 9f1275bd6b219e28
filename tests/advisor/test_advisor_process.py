"""`python -m advisor` as a process: real store, real broker, real signals."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx
from aiokafka import AIOKafkaConsumer

from ridgeline.events import Advice, DeviceKind
from ridgeline.local.broker import free_port
from ridgeline.schema import GPU
from ridgeline.settings import StoreSettings
from ridgeline.store import Store
from tests.advisor.test_advisor_facts import item, windows, write

BROKEN = """
from advisor.__main__ import main
from advisor.notify.chat import Chat

def tell(*_):
    raise ZeroDivisionError("while telling")

Chat.tell = tell
main()
"""


def start(
    folder: Path, program: Sequence[str] = ("-m", "advisor"), **settings: str
) -> subprocess.Popen[bytes]:
    """The advisor with these settings (without their prefix)."""
    environment = os.environ | {f"RIDGELINE_{name}": value for name, value in settings.items()}
    with (folder / "advisor.log").open("wb") as log:
        return subprocess.Popen([sys.executable, *program], env=environment, stderr=log, cwd=folder)


def until(works: Callable[[], bool], process: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait up to a minute; a process that ended shows its log."""
    for _ in range(600):
        if works():
            return
        log = (folder / "advisor.log").read_text()
        assert process.poll() is None, log
        time.sleep(0.1)
    raise AssertionError((folder / "advisor.log").read_text())


def test_advice_reaches_store_kafka_and_api(
    store_url: str, kafka_servers: str, tmp_path: Path
) -> None:
    """Idle GPUs in the store become advice on the API and on Kafka; SIGTERM ends with 0."""
    store = Store.connect(StoreSettings(url=store_url, database="adv_process"))
    store.migrate()
    gpu = item("n0", DeviceKind.GPU, "GPU-0", pool="training", model="NVIDIA H100 80GB HBM3")
    store.insert_events([gpu])
    port = free_port()
    process = start(
        tmp_path,
        STORE_URL=store_url,
        STORE_DATABASE="adv_process",
        KAFKA_SERVERS=kafka_servers,
        ADVISOR_PORT=str(port),
        ADVISOR_METRICS_PORT="0",
    )
    try:
        found: list[Advice] = []

        def listed() -> bool:
            now = time.time_ns() // 1_000_000 // 10_000 * 10_000  # fresh, however slow the start
            rows = windows(GPU, gpu.device, gpu.node, 10, end_ms=now, sm_util_ratio_avg=0.0)
            write(store, GPU, rows)
            try:
                answer = httpx.get(f"http://127.0.0.1:{port}/api/advice", timeout=2)
            except httpx.TransportError:
                return False
            found[:] = [Advice.model_validate(a) for a in answer.json()]
            return bool(found)

        until(listed, process, tmp_path)

        assert ["capacity.consolidate"] == [a.rule for a in found]
        assert found == [asyncio.run(first_advice(kafka_servers, found[0].id))]
        stored = store.query("SELECT id FROM advice")
        assert [a.id for a in found] == [row["id"] for row in stored]
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0, (tmp_path / "advisor.log").read_text()
    finally:
        process.kill()
        process.wait()
        store.close()


async def first_advice(servers: str, advice_id: str) -> Advice:
    """The first advice of that id on the topic."""
    consumer = AIOKafkaConsumer(
        "advice", bootstrap_servers=servers, auto_offset_reset="earliest", metadata_max_age_ms=500
    )
    await consumer.start()
    try:
        async with asyncio.timeout(60):
            async for message in consumer:
                if message.key == advice_id.encode():
                    return Advice.model_validate_json(message.value)
    finally:
        await consumer.stop()
    raise AssertionError("the consumer ended")


def test_an_advisor_that_no_longer_evaluates_ends(
    store_url: str, kafka_servers: str, tmp_path: Path
) -> None:
    """With the reason, so that a fresh process goes on; before, its console stood still."""
    process = start(
        tmp_path,
        ("-c", BROKEN),
        STORE_URL=store_url,
        STORE_DATABASE="adv_broken",
        KAFKA_SERVERS=kafka_servers,
        ADVISOR_PORT=str(free_port()),
        ADVISOR_METRICS_PORT="0",
    )

    assert process.wait(timeout=120) == 1
    assert "ZeroDivisionError: while telling" in (tmp_path / "advisor.log").read_text()


def test_a_wrong_setting_is_one_line_and_exit_2(tmp_path: Path) -> None:
    """The line names the variable."""
    process = start(tmp_path, ADVISOR_PUE="0.5", ADVISOR_METRICS_PORT="0")

    assert process.wait(timeout=120) == 2
    log = (tmp_path / "advisor.log").read_text()
    assert "ridgeline: RIDGELINE_ADVISOR_PUE" in log
    assert "Traceback" not in log


def test_a_wrong_chat_url_stops_the_start(tmp_path: Path) -> None:
    """Before anything else is started, and without showing the URL."""
    process = start(tmp_path, ADVISOR_NOTIFY="nosuch://secret", ADVISOR_METRICS_PORT="0")

    assert process.wait(timeout=120) == 2
    log = (tmp_path / "advisor.log").read_text()
    assert "RIDGELINE_ADVISOR_NOTIFY" in log
    assert "secret" not in log

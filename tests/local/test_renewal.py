"""Renewal of the embedded broker with real processes: nothing sent is lost."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from ridgeline.kafka import ensure_topics
from ridgeline.local import parts
from ridgeline.local.broker import free_port
from ridgeline.local.parts import STREAMS, Part
from ridgeline.local.renewal import keep_within, renew, resident_mb
from ridgeline.local.supervisor import Supervisor
from ridgeline.settings import LocalSettings
from tests.local.test_supervisor import Notes, until

TOPIC = "telemetry.gpu"
PRODUCE = """
import asyncio, pathlib, sys
from ridgeline.kafka import producer
from ridgeline.settings import KafkaSettings
hold, count = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
async def main():
    number = 0
    async with producer(KafkaSettings.load()) as out:
        while True:
            if not hold.exists():
                await out.send_and_wait("telemetry.gpu", b"%d" % number, partition=number % 4)
                number += 1
                count.write_text(str(number))
            await asyncio.sleep(0.005)
asyncio.run(main())
"""
CONSUME = """
import asyncio, pathlib, signal, sys
from aiokafka import AIOKafkaConsumer
from ridgeline.settings import KafkaSettings
seen = pathlib.Path(sys.argv[1]).open("a")
async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    consumer = AIOKafkaConsumer("telemetry.gpu", bootstrap_servers=KafkaSettings.load().servers,
        group_id="g", enable_auto_commit=False, auto_offset_reset="earliest")
    async with consumer:
        while not stop.is_set():
            batch = await consumer.getmany(timeout_ms=200)
            for messages in batch.values():
                seen.writelines(m.value.decode() + "\\n" for m in messages)
            seen.flush()
            if batch:
                await consumer.commit()
asyncio.run(main())
"""


@pytest.fixture
def local(tmp_path: Path) -> LocalSettings:
    """An embedded broker on a free port."""
    return LocalSettings(home=tmp_path, kafka="embedded", kafka_port=free_port())


async def test_no_message_is_lost_by_renewals(local: LocalSettings, tmp_path: Path) -> None:
    """Through two renewals under a tiny budget every message sent is read exactly once."""
    settings = parts.kafka_settings(local)
    sent, seen, notes = tmp_path / "sent", tmp_path / "seen", Notes()
    supervisor = Supervisor(tmp_path / "logs", notes)

    def service(name: str, code: str, *arguments: Path) -> Part:
        command = [sys.executable, "-c", code, *map(str, arguments)]
        return Part(
            name=name,
            command=lambda: command,
            ready=lambda: True,
            env=parts.environment(local),
        )

    renewals: list[int] = []
    hold = parts.hold_file(local)

    async def renew_broker() -> None:
        if len(renewals) == 2:
            return
        renewals.append(supervisor.process("broker").pid)
        await renew(supervisor, settings, hold=hold, group="g", report=notes)

    async def wait_for_more(number: int) -> None:
        target = number + (int(sent.read_text()) if sent.exists() else 0)
        await until(lambda: sent.exists() and int(sent.read_text() or 0) >= target)

    try:
        await supervisor.start(parts.broker_part(local))
        await ensure_topics(settings)
        await supervisor.start(service(STREAMS, CONSUME, seen))
        await supervisor.start(service("collectors", PRODUCE, hold, sent))
        await wait_for_more(50)
        budget = asyncio.create_task(
            keep_within(1.0, lambda: supervisor.process("broker").pid, renew_broker, 0.5)
        )
        await until(lambda: sum("broker renewed" in line for line in notes.lines) >= 2, 200)
        budget.cancel()
        await wait_for_more(50)
        await supervisor.stop_part("collectors")
        total = int(sent.read_text())
        await until(lambda: len(seen.read_text().split()) >= total)
    finally:
        await supervisor.stop([("collectors",), (STREAMS,)])

    assert len(set(renewals)) == 2
    assert sorted(map(int, seen.read_text().split()))[:total] == list(range(total))


def test_a_gone_process_has_no_memory() -> None:
    """A broker that just died is no reason for renewal; the watch restarts it."""
    assert resident_mb(2**22 + 1) == 0.0

"""How soon a detection is on its topic after the first sample that shows the condition.

Usage: `python -m benchmarks.streams.latency [gpus,gpus,...] [troubled]`. A fleet sends once a
second by the clock; one after the other, GPUs begin to be slowed down by heat. Measured from the
first slowed sample to the arrival of the `Detection`, and from the end of the window that opened
the episode. Then the same through Prometheus and Alertmanager as commonly set up: scrape and
evaluate every 15 s, `for: 1m`, `group_wait: 30s`.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml
from aiohttp import web
from aiokafka import AIOKafkaConsumer

from benchmarks.streams.fleet import PER_NODE, START_MS, Fleet
from benchmarks.streams.load import BATCH_BYTES, Loader, send_batches
from benchmarks.streams.parts import Parts, parts
from benchmarks.streams.peer import Targets, answers, lines, looping, prometheus, started
from ridgeline.events import Detection, EpisodeState
from ridgeline.kafka import producer
from ridgeline.local.broker import free_port
from ridgeline.local.process import Process, wait_until
from ridgeline.schema import GPU
from ridgeline.settings import KafkaSettings

HEAT = "throttle_thermal_ns"
SLOWED_NS = 400_000_000  # of each second
WARM_SECONDS, SETTLE_SECONDS = 25, 20


async def send(servers: str, fleet: Fleet, troubled: np.ndarray, onset: dict[int, int]) -> None:
    """Send by the clock; from the warm-up on one more GPU a second is in trouble."""
    rows, rates = fleet.families["gpu"].rows, fleet.families["gpu"].rates
    rates[HEAT][:] = 0
    first = int(time.time()) + 1
    rows["ts"] += first * 1000 - START_MS
    settings, loader = KafkaSettings(servers=servers, idempotent=False), Loader(fleet, 4)
    async with producer(settings, max_batch_size=BATCH_BYTES, acks=1) as to:
        for number in range(WARM_SECONDS + len(troubled) + SETTLE_SECONDS):
            await asyncio.sleep(max(0.0, first + number - time.time()))
            await send_batches(to, loader.second())
            turn = number - WARM_SECONDS
            if 0 <= turn < len(troubled):
                at = troubled[turn]
                rates[HEAT][at] = SLOWED_NS
                onset[int(rows["device"][at])] = (first + number + 1) * 1000
            fleet.advance()


async def watch(servers: str, found: dict[int, tuple[int, float]], expected: int) -> None:
    """Note when each device's episode opened and when we heard of it."""
    async with AIOKafkaConsumer("detections", bootstrap_servers=servers) as consumer:
        while len(found) < expected:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                now = time.time() * 1000
                for record in records:
                    event = Detection.model_validate_json(record.value)
                    heat = event.condition == "thermal_throttle"
                    if heat and event.state is EpisodeState.OPEN:
                        found.setdefault(event.device, (event.opened_ms, now))


async def both(running: Parts, gpus: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Seconds from the first slowed sample, and from the end of the window that opened."""
    fleet = Fleet(gpus, (GPU,))
    troubled = np.random.default_rng(3).choice(gpus, count, replace=False)
    onset: dict[int, int] = {}
    found: dict[int, tuple[int, float]] = {}
    watching = asyncio.create_task(watch(running.servers, found, count))
    await send(running.servers, fleet, troubled, onset)
    watching.cancel()
    missing = set(onset) - set(found)
    if missing:
        sys.exit(f"{len(missing)} of {count} were not detected")
    since = [(found[d][1] - onset[d]) / 1000 for d in onset]
    after = [(found[d][1] - found[d][0]) / 1000 for d in onset]
    return np.array(since), np.array(after)


def alerted_seconds(folder: Path, gpus: int = 1000, count: int = 50) -> np.ndarray:
    """Seconds from the first slowed sample to Alertmanager's webhook; one GPU a node."""
    fleet = Fleet(gpus, (GPU,))
    nodes = fleet.nodes
    one = fleet.families["gpu"]
    one.rates[HEAT][:] = 0
    heard: dict[str, float] = {}
    targets = Targets([[b""] for _ in range(nodes)])

    async def hook(request: web.Request) -> web.Response:
        for alert in (await request.json())["alerts"]:
            if alert["labels"]["alertname"] == "ThermalLimit":
                heard.setdefault(alert["labels"]["instance"], time.time())
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", hook)
    hook_port, port = free_port(), free_port()
    # by instance alone, an alert joins the group of another one of its node and waits for the
    # group's next turn (`group_interval`, 5 minutes) instead of `group_wait`
    route = {"receiver": "us", "group_by": ["alertname", "instance"], "group_wait": "30s"}
    config = {
        "route": route,
        "receivers": [
            {"name": "us", "webhook_configs": [{"url": f"http://127.0.0.1:{hook_port}/hook"}]}
        ],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    command = [
        str(shutil.which("prometheus-alertmanager")),
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'alerts'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    onset: dict[str, float] = {}
    manager = Process("alertmanager", command, folder / "alertmanager.log")
    asked = prometheus(folder, targets, interval="15s", window="1m", wait="1m", alerts=port)
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/-/ready"), manager, 60)
        with looping() as loop:
            runner = web.AppRunner(app, access_log=None)
            asyncio.run_coroutine_threadsafe(started(runner, hook_port), loop).result()
            with targets.serving(), asked:
                for second in range(90 + count + 180):
                    turn = second - 90
                    if 0 <= turn < count:
                        one.rates[HEAT][turn * PER_NODE["gpu"]] = SLOWED_NS
                        onset[f"node{turn}"] = time.time() + 1
                    fleet.advance()
                    for node in range(nodes):
                        targets.pages[node] = [("\n".join(lines(one, node)) + "\n").encode()]
                    time.sleep(1)
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
    finally:
        manager.stop()
    return np.array([heard[node] - at for node, at in onset.items() if node in heard])


def told(what: str, seconds: np.ndarray) -> None:
    """Print two quantiles, or that nothing was heard."""
    if not len(seconds):
        print(f"{what:56} nothing heard", flush=True)
        return
    p50, p99 = np.quantile(seconds, (0.5, 0.99))
    print(f"{what:56} p50 {p50:6.1f} s   p99 {p99:6.1f} s   ({len(seconds)})", flush=True)


def main() -> None:
    """Measure and print."""
    sizes, count = (*sys.argv[1:], *("1000,10000,100000", "50")[len(sys.argv) - 1 :])
    for gpus in (int(size) for size in sizes.split(",")):
        with parts() as running:
            running.start_worker(RIDGELINE_STREAMS_APP_ID="latency")
            time.sleep(10)
            since, after = asyncio.run(both(running, gpus, int(count)))
        told(f"{gpus:,} GPUs, from the first slowed sample", since)
        told(f"{gpus:,} GPUs, from the end of the opening window", after)
    if shutil.which("prometheus") and shutil.which("prometheus-alertmanager"):
        with tempfile.TemporaryDirectory() as folder:
            heard = alerted_seconds(Path(folder), count=int(count))
        told("1,000 GPUs, Prometheus + Alertmanager, 15 s / 15 s / 1 m", heard)


if __name__ == "__main__":
    main()

"""Debian's Prometheus and Alertmanager on the same values: what a sample costs, how soon it alerts.

Three rules say what our detectors say, as well as PromQL can without look-alikes.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import yaml
from aiohttp import web

from benchmarks.streams.fleet import Family, Fleet
from benchmarks.streams.parts import cpu_seconds
from ridgeline.local.broker import free_port
from ridgeline.local.process import Process, wait_until
from ridgeline.schema import Kind

RULES = {
    "BandwidthBoundDecode": "avg_over_time(gpu_dram_util_ratio[{w}]) > 0.72"
    " and avg_over_time(gpu_tensor_util_ratio[{w}]) < 0.36"
    " and rate(gpu_throttle_power_ns[{w}]) < 1e8 and rate(gpu_throttle_thermal_ns[{w}]) < 1e8",
    "FabricCongestion": "rate(fabric_ecn_marked_packets[{w}])"
    " / rate(fabric_rx_packets[{w}]) > 0.01 and rate(fabric_cnp_sent[{w}]) > 100",
    "ThermalLimit": "rate(gpu_throttle_thermal_ns[{w}]) > 5e7",
}


def installed() -> str | None:
    """Where Prometheus is, or None."""
    return shutil.which("prometheus")


def lines(one: Family, node: int) -> list[str]:
    """A node's rows of one family in the text format, missing values left out."""
    each = len(one.rows) // len(np.unique(one.rows["node"]))
    out = []
    for i, row in enumerate(one.rows[node * each : (node + 1) * each]):
        for column in one.schema.columns:
            value = row[column.name]
            if column.kind is Kind.STATE and int(value) == 2**32 - 1:
                continue
            out.append(f'{one.schema.family}_{column.name}{{device="{i}"}} {value}')
    return out


@dataclass(slots=True)
class Targets:
    """Exporters of many nodes behind one port; `/N` says what node N says now."""

    pages: list[list[bytes]]
    port: int = 0

    async def _page(self, request: web.Request) -> web.Response:
        mine = self.pages[int(request.match_info["node"])]
        body = mine[int(time.time()) % len(mine)]
        return web.Response(body=body, content_type="text/plain")

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Serve them, from a thread with a loop of its own."""
        app = web.Application()
        app.router.add_get("/{node}", self._page)
        with looping() as loop:
            runner = web.AppRunner(app, access_log=None)
            self.port = free_port()
            asyncio.run_coroutine_threadsafe(started(runner, self.port), loop).result()
            yield
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()


async def started(runner: web.AppRunner, port: int) -> None:
    """Serve an application on loopback."""
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()


@contextlib.contextmanager
def looping() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that runs in a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


@contextlib.contextmanager
def prometheus(
    folder: Path, targets: Targets, *, interval: str, window: str, wait: str, alerts: int = 0
) -> Iterator[tuple[Process, str]]:
    """Prometheus over the targets, alerting to a port of Alertmanager."""
    rules = [
        {"alert": name, "expr": rule.replace("{w}", window), "for": wait}
        for name, rule in RULES.items()
    ]
    nodes = range(len(targets.pages))
    config = {
        "global": {"scrape_interval": interval, "evaluation_interval": interval},
        "rule_files": ["rules.yml"],
        "scrape_configs": [
            {
                "job_name": "fleet",
                "static_configs": [
                    {
                        "targets": [f"127.0.0.1:{targets.port}"],
                        "labels": {"__metrics_path__": f"/{n}", "instance": f"node{n}"},
                    }
                    for n in nodes
                ],
            }
        ],
    }
    if alerts:
        managers = [{"static_configs": [{"targets": [f"127.0.0.1:{alerts}"]}]}]
        config["alerting"] = {"alertmanagers": managers}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rules.yml").write_text(
        yaml.safe_dump({"groups": [{"name": "ours", "rules": rules}]}), encoding="utf-8"
    )
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    port = free_port()
    command = [
        str(installed()),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    process = Process("prometheus", command, folder / "prometheus.log")
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: answers(f"{url}/-/ready"), process, 60)
        yield process, url
    finally:
        process.stop()


def answers(url: str) -> bool:
    """Whether an HTTP GET works."""
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url, timeout=2).status_code == 200
    return False


def samples_per_cpu_second(folder: Path, nodes: int = 100, seconds: int = 60) -> float:
    """What Prometheus takes in, scraping every second with the three rules, per CPU-second."""
    fleet = Fleet(nodes * 8)
    targets = Targets([[] for _ in range(nodes)])
    for _ in range(5):
        for node in range(nodes):
            text = [line for one in fleet.families.values() for line in lines(one, node)]
            targets.pages[node].append(("\n".join(text) + "\n").encode())
        fleet.advance()
    asked = prometheus(folder, targets, interval="1s", window="10s", wait="3s")
    with targets.serving(), asked as (process, url):
        time.sleep(15)
        spent, first = cpu_seconds(process), _appended(url)
        time.sleep(seconds)
        spent, last = cpu_seconds(process) - spent, _appended(url)
    return (last - first) / spent


def _appended(url: str) -> float:
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    name = "prometheus_tsdb_head_samples_appended_total"
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))

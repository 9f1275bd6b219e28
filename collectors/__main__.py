"""The node agent: `python -m collectors`."""

from __future__ import annotations

import asyncio
import signal
import sys

import structlog

from collectors.publisher import Publisher
from collectors.registry import factory_of
from collectors.runner import Runner
from ridgeline import logs, metrics
from ridgeline.errors import Misconfigured
from ridgeline.settings import CollectSettings, KafkaSettings

log = structlog.get_logger()
_FLUSH_SECONDS = 3.0


async def serve(settings: CollectSettings, kafka: KafkaSettings) -> None:
    """Collect and publish until SIGTERM or SIGINT.

    Raises:
        Misconfigured: an unknown collector, or one that refuses its settings.
    """
    factories = {name: factory_of(name) for name in settings.collectors}
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    publisher = Publisher(settings, kafka)
    sending = asyncio.create_task(publisher.run())
    tasks = [
        asyncio.create_task(Runner(name, factory, settings, publisher).run())
        for name, factory in factories.items()
    ]
    stopping = asyncio.create_task(stop.wait())
    log.info("collecting", collectors=",".join(factories), host=settings.host or "this machine")
    try:
        done, _ = await asyncio.wait(
            {*tasks, sending, stopping}, return_when=asyncio.FIRST_COMPLETED
        )
        for task in done:
            task.result()  # a collector's Misconfigured, or a bug: either ends the process
    finally:
        for task in (*tasks, stopping):
            task.cancel()
        await asyncio.gather(*tasks, stopping, return_exceptions=True)
        publisher.stop()
        await asyncio.wait({sending}, timeout=_FLUSH_SECONDS if publisher.connected else 0)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


def main() -> None:
    """Run the agent; exit 2 with one line when a setting is wrong."""
    logs.configure("collectors")
    try:
        settings, kafka = CollectSettings.load(), KafkaSettings.load()
        _serve_metrics(settings.metrics_port)
        asyncio.run(serve(settings, kafka))
    except Misconfigured as error:
        print(f"ridgeline: {error}", file=sys.stderr)  # noqa: T201 - the process's last word
        sys.exit(2)


def _serve_metrics(port: int) -> None:
    try:
        metrics.serve(port)
    except OSError as error:
        problem = f"cannot serve on port {port}: {error.strerror}"
        raise Misconfigured("RIDGELINE_COLLECT_METRICS_PORT", problem) from error


if __name__ == "__main__":
    main()

"""The `ridgeline` command. Each service's own code is imported only when its command runs."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from typing import Annotated, NoReturn

import typer
from pydantic import SecretStr

import ridgeline
from ridgeline.errors import Misconfigured, Retry
from ridgeline.settings import SETTINGS, KafkaSettings, LocalSettings, StoreSettings

app = typer.Typer(
    help="Watches an AI cluster and says what to change.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
kafka_app = typer.Typer(help="Apache Kafka for the local stack.", no_args_is_help=True)
store_app = typer.Typer(help="The ClickHouse store.", no_args_is_help=True)
dashboards_app = typer.Typer(help="The Grafana dashboards.", no_args_is_help=True)
app.add_typer(kafka_app, name="kafka")
app.add_typer(store_app, name="store")
app.add_typer(dashboards_app, name="dashboards")

Broker = Annotated[str | None, typer.Option("--kafka", help="broker: embedded or apache")]


def _stop(text: str, code: int) -> NoReturn:
    sys.stderr.write(f"ridgeline: {text}\n")
    raise SystemExit(code)


def _service(module: str, *arguments: str) -> None:
    sys.argv = [module, *arguments]
    importlib.import_module(f"{module}.__main__").main()


def _look_at_local(wanted: bool | None) -> None:  # noqa: FBT001 - what the command line said
    """Take the local stack's addresses when asked to, or when it runs and nothing else is named."""
    if wanted is None and "RIDGELINE_KAFKA_SERVERS" not in os.environ:
        from ridgeline.local.parts import in_use  # noqa: PLC0415 - needs the `local` extra

        wanted = in_use(LocalSettings.load())
    if wanted:
        from ridgeline.local.parts import environment  # noqa: PLC0415 - needs the `local` extra

        os.environ.update(environment(LocalSettings.load()))


def _run_stack(kafka: str | None, extra: dict[str, str], *, operator: bool = False) -> None:
    from ridgeline.local.stack import Stack  # noqa: PLC0415 - needs the `local` extra
    from ridgeline.local.supervisor import PartFailed  # noqa: PLC0415 - likewise

    if kafka is not None:
        os.environ["RIDGELINE_LOCAL_KAFKA"] = kafka
    try:
        asyncio.run(Stack(LocalSettings.load(), extra, operator=operator).run())
    except PartFailed as error:
        _stop(str(error), 1)


@app.command()
def demo(kafka: Broker = None) -> None:
    """Run the whole product on a simulated cluster until Ctrl-C.

    A simulated operator follows the advice about cooling, so that its effect is measured.
    """
    from ridgeline.local.stack import DEMO  # noqa: PLC0415 - needs the `local` extra

    _run_stack(kafka, dict(DEMO), operator=True)


@app.command()
def up(
    serving: Annotated[
        list[str] | None, typer.Option(help="metrics URL of an LLM server; may be repeated")
    ] = None,
    kafka: Broker = None,
    interval: Annotated[float | None, typer.Option(help="seconds between samples")] = None,
) -> None:
    """Run the whole product on this machine's real input until Ctrl-C."""
    extra: dict[str, str] = {}
    if serving:
        given = os.environ.get("RIDGELINE_COLLECT_COLLECTORS", "nvml,infiniband,netdev")
        names = given if "serving" in given.split(",") else f"{given},serving"
        extra["RIDGELINE_COLLECT_COLLECTORS"] = names
        extra["RIDGELINE_COLLECT_SERVING"] = ",".join(serving)
    if interval is not None:
        extra["RIDGELINE_COLLECT_INTERVAL_SECONDS"] = str(interval)
    _run_stack(kafka, extra)


@app.command()
def collect() -> None:
    """Run the node agent."""
    _service("collectors")


@app.command()
def streams() -> None:
    """Run a stream processor."""
    _service("streams")


@app.command()
def advise() -> None:
    """Run the advisor with its API and console."""
    _service("advisor")


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def plan(context: typer.Context) -> None:
    """Answer a what-if offline: disaggregate, capacity, accelerator, cooling, network, burst."""
    _service("advisor.plan", *context.args)


@app.command()
def doctor(
    *,
    local: Annotated[
        bool | None, typer.Option(help="look at the stack that `up` runs here; asked of its lock")
    ] = None,
) -> None:
    """Say of each part whether it is there; exit 1 when something needed is down."""
    from ridgeline.local.doctor import examine  # noqa: PLC0415 - needs httpx

    _look_at_local(local)

    async def report() -> bool:
        healthy = True
        async for finding in examine():
            healthy = healthy and finding.ok
            typer.echo(f"{'ok  ' if finding.ok else 'DOWN'}  {finding.part}: {finding.text}")
        return healthy

    if not asyncio.run(report()):
        raise SystemExit(1)


@app.command()
def tail(
    topics: Annotated[
        list[str] | None, typer.Argument(help="topics; detections and advice when none is given")
    ] = None,
    *,
    beginning: Annotated[bool, typer.Option(help="start with the oldest kept")] = False,
    local: Annotated[
        bool | None, typer.Option(help="follow the stack that `up` runs here; asked of its lock")
    ] = None,
) -> None:
    """Print events as they happen."""
    from ridgeline.local.follow import print_events  # noqa: PLC0415 - aiokafka is slow to import
    from ridgeline.topics import BY_NAME  # noqa: PLC0415 - likewise

    names = topics or ["detections", "advice"]
    for name in names:
        if name not in BY_NAME:
            raise Misconfigured("TOPICS", f"no topic {name!r}; there are: {', '.join(BY_NAME)}")
    _look_at_local(local)
    follow = print_events(KafkaSettings.load(), names, typer.echo, from_beginning=beginning)
    asyncio.run(follow)


@kafka_app.command("fetch")
def kafka_fetch() -> None:
    """Get Apache Kafka's jars through Maven, once."""
    from ridgeline.local import apache  # noqa: PLC0415 - needs the `local` extra

    typer.echo(f"Apache Kafka {apache.KAFKA_VERSION} in {apache.fetch()}")


@store_app.command("migrate")
def store_migrate() -> None:
    """Bring the store's tables up to date."""
    from ridgeline.store import Store  # noqa: PLC0415 - needs clickhouse-connect

    try:
        store = Store.connect(StoreSettings.load())
        applied = store.migrate()
        store.close()
    except Retry as error:
        _stop(f"RIDGELINE_STORE_URL: {error}", 1)
    typer.echo("\n".join(applied) if applied else "nothing to do")


@dashboards_app.command("build")
def dashboards_build() -> None:
    """Write the dashboards as JSON."""
    _service("dashboards", "build")


@dashboards_app.command("push")
def dashboards_push() -> None:
    """Push the dashboards to Grafana."""
    _service("dashboards", "push")


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(ridgeline.__version__)


@app.command()
def settings() -> None:
    """Print every setting: its variable, default and meaning."""
    for cls in SETTINGS:
        prefix = cls.model_config.get("env_prefix", "")
        for name, field in cls.model_fields.items():
            value = field.default
            if isinstance(value, SecretStr):
                value = value.get_secret_value()
            shown = ",".join(value) if isinstance(value, tuple) else value
            typer.echo(f"{prefix}{name.upper()}={shown}\n    {field.description}")


def main() -> None:
    """Entry point; a wrong setting is one line and exit 2."""
    try:
        app()
    except Misconfigured as error:
        _stop(str(error), 2)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()

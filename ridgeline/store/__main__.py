"""`python -m ridgeline.store migrate | ddl --cluster NAME [--update]`."""

from __future__ import annotations

import argparse
import sys

from ridgeline import logs
from ridgeline.errors import Misconfigured, RidgelineError
from ridgeline.settings import StoreSettings
from ridgeline.store import Store, cluster
from ridgeline.store.connection import Connection


def _run(options: argparse.Namespace) -> str:
    settings = StoreSettings.load()
    if options.command == "ddl":
        return _ddl(settings, options)
    store = Store.connect(settings)
    try:
        applied = store.migrate()
    finally:
        store.close()
    return "".join(f"applied {name}\n" for name in applied) or "nothing to apply\n"


def _ddl(settings: StoreSettings, options: argparse.Namespace) -> str:
    try:
        if not options.update:
            return cluster.text(cluster.statements(settings, options.cluster))
        connection = Connection.open(settings)
        try:
            return cluster.text(cluster.updates(connection, options.cluster))
        finally:
            connection.close()
    except ValueError as error:
        raise Misconfigured("--cluster", str(error)) from error


def main(arguments: list[str] | None = None) -> None:
    """Command line; exits 2 when a setting is wrong, 1 when the store is away."""
    parser = argparse.ArgumentParser(prog="ridgeline.store", description="the ClickHouse store")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("migrate", help="create or update the tables")
    ddl = commands.add_parser("ddl", help="print the tables for a cluster")
    ddl.add_argument("--cluster", required=True, help="name in remote_servers")
    ddl.add_argument(
        "--update", action="store_true", help="only what a cluster that is there lacks"
    )
    options = parser.parse_args(arguments)
    logs.configure("store")
    try:
        text = _run(options)
    except RidgelineError as error:
        sys.stderr.write(f"ridgeline: {error}\n")
        raise SystemExit(2 if isinstance(error, Misconfigured) else 1) from error
    sys.stdout.write(text)


if __name__ == "__main__":
    main()

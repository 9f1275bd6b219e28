"""`python -m dashboards build --out DIR` writes the JSON; `push` sends it to Grafana."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dashboards.build import write
from dashboards.push import push
from ridgeline import logs
from ridgeline.errors import Misconfigured, RidgelineError
from ridgeline.settings import GrafanaSettings, StoreSettings


def main(arguments: list[str] | None = None) -> None:
    """Command line; exits 2 when a setting is wrong, 1 when Grafana did not take it."""
    parser = argparse.ArgumentParser(prog="dashboards", description="Ridgeline's dashboards")
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="write the dashboards' JSON")
    build.add_argument("--out", type=Path, default=Path("dashboards/json"), help="folder")
    commands.add_parser("push", help="send folder, data source and dashboards to Grafana")
    options = parser.parse_args(arguments)
    logs.configure("dashboards")
    try:
        if options.command == "build":
            lines = [str(path) for path in write(options.out)]
        else:
            lines = push(GrafanaSettings.load(), StoreSettings.load())
    except RidgelineError as error:
        sys.stderr.write(f"ridgeline: {error}\n")
        raise SystemExit(2 if isinstance(error, Misconfigured) else 1) from error
    sys.stdout.write("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    main()

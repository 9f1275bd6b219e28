"""`python -m advisor`: evaluates, advises, tells; serves the API and the console."""

from __future__ import annotations

import asyncio
import sys

from advisor import service
from ridgeline import logs, metrics
from ridgeline.errors import Misconfigured
from ridgeline.settings import AdvisorSettings


def main() -> None:
    """Run until SIGTERM or SIGINT; a wrong setting is one line on stderr and exit 2."""
    logs.configure("advisor")
    try:
        settings = AdvisorSettings.load()
        metrics.serve(settings.metrics_port)
        asyncio.run(service.run(settings))
    except Misconfigured as error:
        print(f"ridgeline: {error}", file=sys.stderr)  # noqa: T201 - the operator's line
        sys.exit(2)


if __name__ == "__main__":
    main()

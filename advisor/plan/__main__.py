"""`python -m advisor.plan`, which `ridgeline plan` runs."""

import logging
from typing import NoReturn

from advisor.plan import command
from ridgeline import logs


def main() -> NoReturn:
    """As `command.main`, with warnings on standard error."""
    logs.configure("plan", logging.WARNING)
    command.main()


if __name__ == "__main__":
    main()

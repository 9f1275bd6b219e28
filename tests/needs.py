"""What a test needs and pip cannot give: skip on a laptop with the remedy, fail in CI."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def missing(what: str, remedy: str) -> NoReturn:
    """Skip with the remedy; under `CI=true` fail, so that no test is skipped everywhere."""
    message = f"needs {what}: {remedy}"
    if os.environ.get("CI") == "true":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def need_program(name: str, remedy: str) -> str:
    """Path of a program on PATH, or `missing`."""
    return shutil.which(name) or missing(name, remedy)

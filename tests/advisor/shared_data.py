"""Other people's measurements beside the repository: never committed, skipped when absent."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2].parent / "shared" / "data"


def shared(*parts: str) -> Path:
    """Path of a file under `../shared/data`, or a skip that says so."""
    path = FOLDER.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"comparison data is not beside the repository: {path}")
    return path

"""The reference pages say what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from ridgeline.reference import PAGES

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", PAGES)
def test_the_committed_page_is_up_to_date(name: str) -> None:
    """`make docs` rewrites it."""
    assert PAGES[name]() == (DOCS / name).read_text(encoding="utf-8")

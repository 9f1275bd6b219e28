"""The table of collectors."""

from __future__ import annotations

from pathlib import Path

import pytest

import collectors
from collectors.registry import COLLECTORS, factory_of
from ridgeline.errors import Misconfigured


def test_the_table_lists_every_collector_there_is() -> None:
    """A module (or package) with a `create` is in the table under its own name."""
    folder = Path(collectors.__file__).parent
    modules = {p.stem: p for p in folder.glob("*.py")}
    modules |= {p.parent.name: p for p in folder.glob("*/__init__.py")}
    makers = {n for n, p in modules.items() if "def create(" in p.read_text() or _exports(p)}

    assert set(COLLECTORS) == makers


def _exports(path: Path) -> bool:
    return path.name == "__init__.py" and "import create" in path.read_text()


def test_unknown_name() -> None:
    """An unknown name is refused with the variable and the names there are."""
    with pytest.raises(Misconfigured, match=r"RIDGELINE_COLLECT_COLLECTORS.*'dcgm'.*netdev"):
        factory_of("dcgm")

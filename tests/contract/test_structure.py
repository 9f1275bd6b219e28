"""The structure of the code is a rule that a test enforces."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = ("collectors", "streams", "advisor", "dashboards")
PACKAGES = ("ridgeline", *SERVICES)


def _imports(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("package", PACKAGES)
def test_services_meet_on_kafka_and_in_the_store_only(package: str) -> None:
    """A service imports the contract and itself; the contract imports no service."""
    foreign = set(PACKAGES) - {package, "ridgeline"}
    found = {
        f"{module.relative_to(ROOT)} imports {name}"
        for module in (ROOT / package).rglob("*.py")
        for name in _imports(module)
        if name in foreign
    }

    assert set() == found


def test_the_root_holds_what_was_asked_for() -> None:
    """The user asked for these names."""
    asked = {
        "docker-compose.yml",
        "pyproject.toml",
        "README.md",
        "collectors",
        "streams",
        "advisor",
        "dashboards",
        "tests",
    }

    assert asked <= {path.name for path in ROOT.iterdir()}

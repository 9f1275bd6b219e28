"""A plan as an operator asks it, in this process: what it says, and its JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from advisor.plan.command import main


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    said = capsys.readouterr()
    return int(stopped.value.code or 0), said.out, said.err


def answered(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """The JSON of a plan."""
    code, out, err = run(capsys, *arguments, "--json")
    assert (0, "") == (code, err)
    document: dict[str, Any] = json.loads(out)
    return document


def table(document: dict[str, Any], title: str) -> list[dict[str, Any]]:
    """Rows of the table whose title begins so, by column name."""
    found = next(t for t in document["tables"] if t["title"].startswith(title))
    return [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]

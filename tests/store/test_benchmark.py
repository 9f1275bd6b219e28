"""The benchmark of the store asks everything that dashboards and the advisor ask."""

from __future__ import annotations

import ast
import itertools
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import advisor
from advisor import outcome
from advisor.facts.history import Measure
from benchmarks.store import statements
from benchmarks.store.fleet import cuts
from dashboards.build import documents

NOW_S = 1_800_000_000
ADVISOR = Path(advisor.__file__).parent


class Places(statements.Noting):
    """Keeps where it was asked from."""

    def __init__(self) -> None:
        super().__init__()
        self.places: set[tuple[str, int]] = set()

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Nothing."""
        caller = sys._getframe(1)
        name = Path(caller.f_code.co_filename).relative_to(ADVISOR).as_posix()
        self.places.add((name, caller.f_lineno))
        return super().query(sql, parameters)


def written() -> Iterator[tuple[str, int, int]]:
    """File, first and last line of every `.query(...)` of the advisor."""
    for path in sorted(ADVISOR.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "query"
            ):
                name = path.relative_to(ADVISOR).as_posix()
                yield name, node.lineno, node.end_lineno or node.lineno


def raw_sql(document: Any) -> Iterator[str]:
    """Every `rawSql` in a document, wherever it is."""
    if isinstance(document, dict):
        yield from (v for k, v in document.items() if k == "rawSql")
    children = document.values() if isinstance(document, dict) else document
    if not isinstance(document, str) and isinstance(document, dict | list):
        for child in children:
            yield from raw_sql(child)


def test_every_query_of_the_advisor_is_measured() -> None:
    """Each place in the code that asks the store is reached."""
    places = Places()
    for _, call in statements.advisor(places, NOW_S):
        with suppress(ValueError, IndexError):
            call()

    missing = [
        f"{name}:{first}"
        for name, first, last in written()
        if not any((name, line) in places.places for line in range(first, last + 1))
    ]
    assert places.places
    assert [] == missing


def test_every_measure_is_measured() -> None:
    """All that the module defines, and those by where heat is."""
    defined = {m for m in vars(outcome).values() if isinstance(m, Measure)}

    assert defined <= set(outcome.MEASURES)
    assert {m.by for m in outcome.MEASURES} == set(statements.SCOPES)


def test_every_statement_of_the_dashboards_is_measured() -> None:
    """As many as the documents hold, each of them without a macro or a variable left."""
    wanted = list(raw_sql(list(documents().values())))

    got = list(statements.rendered(lambda _: [dict.fromkeys(TABLES, "1m")], NOW_S, 900, {}))

    assert len(wanted) == len(got) > 50
    assert not [sql for _, sql in got if "$" in sql]


TABLES = ("resolution", "detail", "fleet", "loops")


def test_columns_that_are_read_hold_something() -> None:
    """Names come from the statements themselves."""
    words = statements.words(NOW_S)

    assert {"memory_used_bytes_max", "nvlink_tx_bytes_per_second_avg", "tx_bytes_inc"} <= words
    assert "xid_events_inc" not in words


def test_inserts_cover_the_span_once() -> None:
    """Long ones first, the newest steps one by one."""
    got = list(cuts(60, 1_000_000_020, 86_400))

    assert all(a + length == b for (a, length), (b, _) in itertools.pairwise(got))
    assert got[0][0] == 1_000_000_020 - 86_400
    assert got[-1] == (1_000_000_020 - 60, 60)
    assert 86_400 == sum(length for _, length in got)

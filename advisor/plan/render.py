"""A report as text for a terminal and as JSON; plots and pages are in `plots` and `page`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter
from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from advisor.plan.report import SCHEMA, Cell, Report, Table


def terminal(report: Report, console: Console) -> None:
    """Print the answer in one line first, then why, numbers, tables, and where it comes from."""
    console.print(Group(*_parts(report)))


def _parts(report: Report) -> Iterator[RenderableType]:
    yield Text(report.answer, style="bold")
    yield from (Text(f"  against: {refusal}", style="yellow") for refusal in report.refusals)
    yield from (Text(f"  note: {warning}", style="yellow") for warning in report.warnings)
    if report.numbers:
        yield from _table(numbers(report))
    for table in report.tables:
        yield from _table(table)
    yield Text()
    yield from (Text(f"source: {source}", style="dim") for source in sources(report))
    if report.versions:
        said = ", ".join(f"{name} {version}" for name, version in report.versions.items())
        yield Text(f"versions: {said}", style="dim")


def numbers(report: Report) -> Table:
    """The report's estimates as a table: every number with its interval and how sure it is."""
    rows = tuple(
        (name, n.low, n.mid, n.high, n.unit, n.confidence.value)
        for name, n in report.numbers.items()
    )
    columns = ("number", "low", "likely", "high", "unit", "confidence")
    return Table(title="Numbers", columns=columns, rows=rows)


def sources(report: Report) -> tuple[str, ...]:
    """Where the report and each of its numbers come from, every source once."""
    return tuple(dict.fromkeys((*report.sources, *(n.source for n in report.numbers.values()))))


def _table(table: Table) -> Iterator[RenderableType]:
    shown = RichTable(
        title=table.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD
    )
    for i, column in enumerate(table.columns):
        numeric = all(not isinstance(row[i], str) for row in table.rows)
        shown.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in table.rows:
        shown.add_row(*(cell(value) for value in row))
    yield Text()
    yield shown
    if table.note:
        yield Padding(Text(table.note, style="dim"), (0, 0, 0, 1))


def cell(value: Cell) -> str:
    """A cell as a person reads it: three digits that matter, thousands apart, a dash for none."""
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return "-"
    if isinstance(value, str):
        return value
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.3g}"


_REPORT = TypeAdapter(Report)


def as_json(report: Report) -> str:
    """The report as JSON, its schema's name first; a number that is not finite is null."""
    # a numpy float is a float to JSON; pydantic would warn of each
    body = json.loads(_REPORT.dump_json(report, warnings=False))
    return json.dumps({"schema": SCHEMA, **body}, indent=2, ensure_ascii=False)


def json_schema() -> dict[str, Any]:
    """The JSON schema of what `as_json` writes."""
    schema = _REPORT.json_schema(mode="serialization")
    schema["properties"] = {"schema": {"const": SCHEMA}, **schema["properties"]}
    return schema

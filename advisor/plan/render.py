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

_BETWEEN_COLUMNS = 3  # characters


def terminal(report: Report, console: Console) -> None:
    """Print the answer in one line first, then why, numbers, tables, and where it comes from."""
    console.print(Group(*_parts(report, console.width)))


def _parts(report: Report, width: int) -> Iterator[RenderableType]:
    yield Text(report.answer, style="bold")
    yield from (Text(f"  against: {refusal}", style="yellow") for refusal in report.refusals)
    yield from (Text(f"  note: {warning}", style="yellow") for warning in report.warnings)
    if report.numbers:
        yield from _table(numbers(report), width)
    for table in report.tables:
        yield from _table(table, width)
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


def _table(table: Table, width: int) -> Iterator[RenderableType]:
    """The table; where words would be broken for want of room, as several below one another."""
    for part in _parts_of(table, width):
        yield from _one_table(part, width)


def _parts_of(table: Table, width: int) -> Iterator[Table]:
    """The table by columns, each part with the first column and as many more as have room."""
    least = [_least(table, i) + _BETWEEN_COLUMNS for i in range(len(table.columns))]
    if sum(least) <= width:
        yield table
        return
    parts: list[list[int]] = [[]]
    for i in range(1, len(least)):
        if parts[-1] and least[0] + sum(least[k] for k in parts[-1]) + least[i] > width:
            parts.append([])
        parts[-1].append(i)
    for n, part in enumerate(parts):
        columns = (0, *part)
        yield Table(
            title=table.title if n == 0 else f"{table.title}, continued",
            columns=tuple(table.columns[i] for i in columns),
            rows=tuple(tuple(row[i] for i in columns) for row in table.rows),
            note=table.note if n == len(parts) - 1 else "",
        )


def _least(table: Table, column: int) -> int:
    """Characters of the longest word of a column."""
    texts = (table.columns[column], *(cell(row[column]) for row in table.rows))
    return max(map(len, " ".join(texts).split()), default=1)


def _one_table(table: Table, width: int) -> Iterator[RenderableType]:
    shown = RichTable(
        title=table.title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    widths = _widths(table, width)
    for i, column in enumerate(table.columns):
        numeric = all(not isinstance(row[i], str) for row in table.rows)
        shown.add_column(
            column, justify="right" if numeric else "left", overflow="fold", width=widths[i]
        )
    for row in table.rows:
        shown.add_row(*(cell(value) for value in row))
    yield Text()
    yield shown
    if table.note:
        yield Padding(Text(table.note, style="dim"), (0, 0, 0, 1))


def _widths(table: Table, width: int) -> list[int | None]:
    """Column widths that break no word where there is room for that; None leaves it to rich."""
    texts = [(name, *(cell(row[i]) for row in table.rows)) for i, name in enumerate(table.columns)]
    full = [max(map(len, column)) for column in texts]
    least = [_least(table, i) for i in range(len(texts))]
    room = width - _BETWEEN_COLUMNS * len(texts)
    wanted = sum(full) - sum(least)
    if sum(full) <= room or sum(least) > room or not wanted:
        return [None] * len(texts)
    share = (room - sum(least)) / wanted
    return [low + int((high - low) * share) for low, high in zip(least, full, strict=True)]


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

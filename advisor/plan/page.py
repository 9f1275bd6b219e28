"""A report as one HTML file that needs nothing else: its plots are SVG inside it."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from advisor.plan import plots
from advisor.plan.render import cell, numbers, sources
from advisor.plan.report import Report


def html(report: Report) -> str:
    """The page."""
    environment = Environment(
        loader=PackageLoader("advisor.plan", "."), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["cell"] = cell
    tables = (*((numbers(report),) if report.numbers else ()), *report.tables)
    drawings = [plots.svg(plot) for plot in report.plots]
    return environment.get_template("page.html.j2").render(
        report=report, tables=tables, drawings=drawings, sources=sources(report)
    )


def write(report: Report, path: Path) -> None:
    """Write the page to a file."""
    path.write_text(html(report), encoding="utf-8")

"""A report's plots drawn by matplotlib, as one picture or as SVG. Needs the extra `plots`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from advisor.plan.report import Mark, Plot, PlotKind, Report, Series

_WIDTH_INCHES, _HEIGHT_INCHES, _DPI = 8.0, 4.6, 144
_LABEL_CHARACTERS = 60  # fit side by side below the axis
_MARK_COLOUR = "#555555"
_BEHIND_TEXT: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1}
_STYLE: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
    "svg.hashsalt": "ridgeline",  # the same report gives the same bytes
    "font.size": 10,
}


def png(report: Report, path: Path) -> None:
    """Write all plots of the report below one another as one PNG picture."""
    with mpl.rc_context(_STYLE):
        height = _HEIGHT_INCHES * len(report.plots)
        figure = Figure(figsize=(_WIDTH_INCHES, height), layout="constrained")
        axes = figure.subplots(len(report.plots), 1, squeeze=False)
        for plot, axis in zip(report.plots, axes[:, 0], strict=True):
            draw(plot, axis)
        figure.savefig(path, format="png", dpi=_DPI)


def svg(plot: Plot) -> str:
    """One plot as an SVG element, to stand inside a page."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH_INCHES, _HEIGHT_INCHES), layout="constrained")
        draw(plot, figure.subplots())
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]  # without XML declaration and DTD


def draw(plot: Plot, axes: Axes) -> None:
    """One plot on the axes given."""
    axes.set_title(plot.title, loc="left", fontweight="bold")
    axes.set_xlabel(plot.x_label)
    axes.set_ylabel(plot.y_label)
    if plot.kind is PlotKind.LOGLOG:
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _at: _number(value)))
    for n, series in enumerate(plot.series):
        _DRAWN[plot.kind](axes, series, n, len(plot.series))
    _limits(plot, axes)
    for mark in plot.marks:
        _mark(axes, mark)
    if len(plot.series) > 1:
        axes.legend(frameon=False)


def _limits(plot: Plot, axes: Axes) -> None:
    """From zero, so that heights compare; under two decades a logarithmic axis has 2 and 5."""
    if plot.kind is PlotKind.LOGLOG:
        for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            if high < 100 * low:
                axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    elif plot.kind is not PlotKind.SCATTER and axes.get_ylim()[0] > 0:
        axes.set_ylim(bottom=0)


def _number(value: float) -> str:
    """As people write it; powers of ten only past a million and below a thousandth."""
    return f"{value:,.15g}" if 1e-3 <= abs(value) < 1e7 else f"{value:.0e}"


def _steps(axes: Axes, series: Series, _n: int, _of: int) -> None:
    (drawn,) = axes.step(series.x, series.y, where="post", label=series.name)
    if series.low:
        colour = drawn.get_color()
        axes.fill_between(series.x, series.low, series.high, step="post", alpha=0.2, color=colour)


def _line(axes: Axes, series: Series, _n: int, _of: int) -> None:
    (drawn,) = axes.plot(series.x, series.y, label=series.name)
    if series.low:
        axes.fill_between(series.x, series.low, series.high, alpha=0.2, color=drawn.get_color())


def _points(axes: Axes, series: Series, _n: int, _of: int) -> None:
    if series.low:
        axes.errorbar(series.x, series.y, yerr=_whiskers(series), fmt="o", label=series.name)
    else:
        axes.scatter(series.x, series.y, label=series.name, s=28)
    for x, y, label in zip(series.x, series.y, series.labels, strict=False):
        axes.annotate(label, (x, y), xytext=(5, 4), textcoords="offset points", fontsize=8)


def _bars(axes: Axes, series: Series, n: int, of: int) -> None:
    width = 0.8 / of
    places = [x + (n - (of - 1) / 2) * width for x in _places(series)]
    whiskers = _whiskers(series) if series.low else None
    axes.bar(places, series.y, width, label=series.name, yerr=whiskers, capsize=3)
    if series.labels:
        crowded = sum(map(len, series.labels)) > _LABEL_CHARACTERS
        turn: dict[str, Any] = {"rotation": 30, "ha": "right"} if crowded else {}
        axes.set_xticks(_places(series), series.labels, **turn)


def _places(series: Series) -> tuple[float, ...]:
    return tuple(map(float, range(len(series.x)))) if series.labels else series.x


def _whiskers(series: Series) -> tuple[list[float], list[float]]:
    down = [max(0.0, y - low) for y, low in zip(series.y, series.low, strict=True)]
    up = [max(0.0, high - y) for y, high in zip(series.y, series.high, strict=True)]
    return down, up


_DRAWN = {
    PlotKind.LINE: _line,
    PlotKind.STEP: _steps,
    PlotKind.SCATTER: _points,
    PlotKind.BAR: _bars,
    PlotKind.LOGLOG: _line,
}


def _mark(axes: Axes, mark: Mark) -> None:
    turn = 0.0
    if mark.x is not None and mark.y is not None:
        axes.plot([mark.x], [mark.y], marker="D", color=_MARK_COLOUR, linestyle="none")
        where, offset = (mark.x, mark.y), (6, 6)
    elif mark.x is not None:
        axes.axvline(mark.x, color=_MARK_COLOUR, linestyle="--", linewidth=1)
        where, offset, turn = (mark.x, axes.get_ylim()[0]), (3, 6), 90.0
    elif mark.y is not None:
        axes.axhline(mark.y, color=_MARK_COLOUR, linestyle="--", linewidth=1)
        where, offset = (axes.get_xlim()[0], mark.y), (4, 4)
    else:
        return
    right = mark.y is not None and mark.x is not None and _far_right(axes, mark.x)
    axes.annotate(
        mark.label,
        where,
        xytext=(-offset[0], offset[1]) if right else offset,
        textcoords="offset points",
        fontsize=8,
        rotation=turn,
        ha="right" if right else "left",
        bbox=_BEHIND_TEXT,
    )


def _far_right(axes: Axes, x: float) -> bool:
    """Where a label to the right of a point might leave the picture."""
    return float(axes.transAxes.inverted().transform(axes.transData.transform((x, 1.0)))[0]) > 0.7

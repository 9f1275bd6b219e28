"""What a plan answers, as values: every rendering (terminal, JSON, PNG, HTML) reads only these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ridgeline.events import Action, Estimate

SCHEMA = "ridgeline.plan/1"
"""Name and version of the JSON; a field that goes away or changes its meaning raises it."""

Cell = str | int | float | None
"""One cell of a table; None is "not known", shown as a dash and written as null."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under column names; a column of numbers carries its unit in its name."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def __post_init__(self) -> None:
        wrong = next((row for row in self.rows if len(row) != len(self.columns)), None)
        if wrong is not None:
            raise ValueError(f"{self.title}: {len(self.columns)} columns, row {wrong!r}")


class PlotKind(StrEnum):
    """How the points of a plot are drawn."""

    LINE = "line"
    STEP = "step"  # a value holds from its x to the next
    SCATTER = "scatter"
    BAR = "bar"
    LOGLOG = "loglog"


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Points of one name; a bar plot may give `labels` for its places instead of meaningful x.

    `low` and `high`, where given, are the interval of y and are drawn as a band or whisker.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        others = (self.y, *(part for part in (self.low, self.high, self.labels) if part))
        if any(len(part) != len(self.x) for part in others) or bool(self.low) != bool(self.high):
            raise ValueError(f"{self.name}: x, y, low, high and labels must have one length")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A named place: a point (x and y), a vertical line (x only) or a horizontal one (y only)."""

    label: str
    x: float | None = None
    y: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One diagram; the axes' labels carry the units."""

    title: str
    kind: PlotKind
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The answer to one `ridgeline plan` command.

    `answer` is one sentence with the number that matters; `action` is None where a plan only
    computes; `refusals` say why the answer is "no"; `sources` say where the figures come from.
    """

    command: str
    answer: str
    action: Action | None
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()
    numbers: Mapping[str, Estimate] = field(default_factory=dict)
    refusals: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

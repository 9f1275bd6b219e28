"""A report on the terminal, as JSON, as a picture and as a page: the same answer four times."""

from __future__ import annotations

import io
import json
import math
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console

from advisor.plan import page, plots, render
from advisor.plan.report import Mark, Plot, PlotKind, Report, Series, Table
from ridgeline.events import Action, Confidence, Estimate

LINE = Series(name="owned", x=(1.0, 2.0), y=(3.0, 4.0), low=(2.0, 3.0), high=(5.0, 6.0))
REPORT = Report(
    command="burst",
    answer="Rent 2 nodes.",
    action=Action.BURST_TO_CLOUD,
    tables=(
        Table(
            title="Offers",
            columns=("place", "USD/h", "nodes"),
            rows=(("nebius <eu>", 2.4, 2), ("verda", None, 1200), ("gcp", math.nan, 0.123456)),
            note="a dash: not known",
        ),
    ),
    plots=tuple(
        Plot(
            title=f"{kind}",
            kind=kind,
            x_label="x",
            y_label="y",
            series=(LINE, Series(name="b", x=(1.0, 2.0), y=(1.0, 2.0), labels=("p", "q"))),
            marks=(
                Mark(label="here", x=1.5, y=2.0),
                Mark(label="v", x=1.2),
                Mark(label="h", y=3.0),
            ),
        )
        for kind in PlotKind
    ),
    numbers={
        "rent": Estimate(
            low=900,
            mid=1000,
            high=1500,
            unit="USD/month",
            confidence=Confidence.PUBLISHED,
            source="price lists",
        )
    },
    refusals=("a peak is over first",),
    warnings=("the region is not known",),
    sources=("Slurm's advice", "price lists"),
    versions={"burst": "burst/1"},
)
GOLDEN = """\
Rent 2 nodes.
  against: a peak is over first
  note: the region is not known

Numbers

 number   low   likely    high   unit        confidence
 ──────────────────────────────────────────────────────
 rent     900    1,000   1,500   USD/month   published


Offers

 place         USD/h   nodes
 ───────────────────────────
 nebius <eu>     2.4       2
 verda             -   1,200
 gcp               -   0.123

 a dash: not known

source: Slurm's advice
source: price lists
versions: burst burst/1
"""


def printed(report: Report, width: int = 80) -> str:
    """What a terminal of that width shows, without blanks at the ends of lines."""
    out = io.StringIO()
    render.terminal(report, Console(file=out, width=width, color_system=None))
    return "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())


def test_the_terminal_shows_answer_doubts_numbers_tables_and_sources() -> None:
    """In that order; unknown is a dash, thousands are apart, each source is named once."""
    assert GOLDEN == printed(REPORT)


@given(width=st.integers(30, 200))
def test_no_cell_is_lost_on_a_narrow_terminal(width: int) -> None:
    """Words may be broken, never dropped."""
    shown = "".join(printed(REPORT, width).split())

    for text in ("1,200", "0.123", "2.4"):
        assert text in shown


def test_words_are_whole_where_there_is_room() -> None:
    """Long notes give way before names do."""
    long = Table(
        title="t",
        columns=("accelerator", "why it is not ranked"),
        rows=(("RTX-PRO-6000", "nobody published what an engine reaches on it " * 2),),
    )

    assert "RTX-PRO-6000" in printed(
        Report(command="c", answer="a", action=None, tables=(long,)), 50
    )


def test_a_table_too_wide_is_told_in_parts() -> None:
    """Each with the first column, so that no word is broken where two columns have room."""
    columns = ("accelerator", *(f"measurement{n}" for n in range(8)))
    wide = Table(title="t", columns=columns, rows=(("RTX-PRO-6000", *(1.5,) * 8),), note="n")
    shown = printed(Report(command="c", answer="a", action=None, tables=(wide,)), 60)

    assert all(name in shown for name in columns)
    assert 3 == shown.count("RTX-PRO-6000")
    assert 2 == shown.count("t, continued")
    assert 1 == shown.count("\n n\n")


def axes_of(kind: PlotKind, series: Series) -> Axes:
    """A plot as it is drawn."""
    axes = Figure().subplots()
    plots.draw(Plot(title="t", kind=kind, x_label="x", y_label="y", series=(series,)), axes)
    return axes


def test_steps_stay_until_the_next_and_heights_begin_at_zero() -> None:
    """No slope where the answer is whole engines, no axis that makes a tenth look like a half."""
    series = Series(name="GPUs", x=(1.0, 2.0, 3.0), y=(8.0, 8.0, 16.0))
    axes = axes_of(PlotKind.STEP, series)

    assert "steps-post" == axes.lines[0].get_drawstyle()
    assert 0 == axes.get_ylim()[0] == axes_of(PlotKind.LINE, series).get_ylim()[0]
    below = Series(name="saved", x=(1.0, 2.0), y=(-1.0, 2.0))
    assert axes_of(PlotKind.LINE, below).get_ylim()[0] < -1


def test_logarithmic_axes_have_numbers_that_people_read() -> None:
    """Also between powers of ten, where there are fewer than two."""
    axes = axes_of(PlotKind.LOGLOG, Series(name="n", x=(25.0, 900.0), y=(0.001, 1.0)))
    shown = [
        {text.get_text() for text in axis.get_ticklabels()} for axis in (axes.xaxis, axes.yaxis)
    ]

    assert {"50", "100", "200", "500"} <= shown[0]
    assert {"0.001", "0.1", "1"} <= shown[1]


def test_json_is_the_report_with_null_for_what_is_not_finite() -> None:
    """The schema's name first; markup and numbers as they are."""
    document = json.loads(render.as_json(REPORT))

    assert ["schema", "command", "answer"] == list(document)[:3]
    assert "ridgeline.plan/1" == document["schema"]
    assert [None, None] == [row[1] for row in document["tables"][0]["rows"][1:]]
    assert {"low": 900.0, "mid": 1000.0, "high": 1500.0} == {
        k: document["numbers"]["rent"][k] for k in ("low", "mid", "high")
    }
    assert {"label": "v", "x": 1.2, "y": None} == document["plots"][0]["marks"][1]


def test_the_page_holds_everything_and_escapes_it() -> None:
    """Data is text there; each plot is an SVG that parses."""
    text = page.html(REPORT)
    drawn = text.split("<svg")[1:]

    assert "nebius &lt;eu&gt;" in text
    assert "Against: a peak is over first" in text
    assert len(PlotKind) == len(drawn)
    for one in drawn:
        ET.fromstring("<svg" + one.partition("</svg>")[0] + "</svg>")  # noqa: S314 - our own


def test_the_same_report_draws_the_same_bytes(tmp_path: Path) -> None:
    """A page in version control changes only when its numbers do."""
    plots.png(REPORT, tmp_path / "a.png")
    plots.png(REPORT, tmp_path / "b.png")

    assert plots.svg(REPORT.plots[0]) == plots.svg(REPORT.plots[0])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_table_or_series_that_does_not_fit_is_refused() -> None:
    """A row of another length, a band without an end: mistakes of the plan, found at once."""
    with pytest.raises(ValueError, match="2 columns"):
        Table(title="t", columns=("a", "b"), rows=(("1",),))
    with pytest.raises(ValueError, match="one length"):
        Series(name="s", x=(1.0,), y=(1.0,), low=(1.0,))

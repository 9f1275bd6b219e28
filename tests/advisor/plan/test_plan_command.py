"""`ridgeline plan` as an operator types it."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from advisor.plan import render
from advisor.plan.plans import PLANS
from tests.advisor.plan.asked import answered, run

FLAGS = ("--requests-per-second=4", "--prompt-tokens=2000", "--output-tokens=300")
CASES: dict[str, tuple[str, ...]] = {
    "disaggregate": FLAGS,
    "capacity": FLAGS,
    "accelerator": FLAGS,
    "cooling": ("--throttled-ratio=0.2", "--gpus=64"),
    "network": ("--nodes=16",),
    "burst": ("--gpus=24", "--hours-per-peak=3", "--peaks-per-month=20"),
    "serving": ("--prompt-tokens=2000", "--output-tokens=300"),
}
"""Arguments that every plan must answer without a store; a new plan adds its line."""


def test_every_plan_has_a_case() -> None:
    """The tests below run each plan there is."""
    assert [plan.name for plan in PLANS] == list(CASES)


@pytest.mark.parametrize("name", CASES)
def test_the_answer_comes_first_on_the_terminal(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first line is the answer that the JSON holds, and every source is named."""
    monkeypatch.setenv("COLUMNS", "400")
    document = answered(capsys, name, *CASES[name])
    code, out, _ = run(capsys, name, *CASES[name])

    assert code == 0
    assert document["answer"] == out.splitlines()[0].strip()
    assert all(f"source: {source}" in out for source in document["sources"])


@pytest.mark.parametrize("name", CASES)
def test_json_has_the_documented_fields(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Fields and their order are those of the schema; numbers carry interval and confidence."""
    document = answered(capsys, name, *CASES[name])
    schema = render.json_schema()

    assert list(schema["properties"]) == list(document)
    assert "ridgeline.plan/1" == document["schema"]
    assert document["numbers"]
    for number in document["numbers"].values():
        assert number["low"] <= number["mid"] <= number["high"]
        assert number["confidence"] in {"measured", "modelled", "published", "assumed"}
        assert number["source"]
    assert document["versions"]
    assert document["sources"]


@pytest.mark.parametrize("name", CASES)
def test_help_names_every_option_with_its_meaning(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--help` works and no option is without a word."""
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = run(capsys, name, "--help")
    plan = next(plan for plan in PLANS if plan.name == name)

    assert code == 0
    for field, about in plan.options.model_fields.items():
        assert f"--{field.replace('_', '-')}" in out
        assert about.description


@pytest.mark.parametrize("name", CASES)
def test_png_and_html_are_written(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The picture is a PNG of some size; the page holds each plot as SVG and refers to no host."""
    png, html = tmp_path / "plan.png", tmp_path / "plan.html"
    document = answered(capsys, name, *CASES[name], f"--png={png}", f"--html={html}")
    page = html.read_text(encoding="utf-8")
    drawn = page.split("<svg")[1:]

    assert png.read_bytes().startswith(b"\x89PNG")
    assert png.stat().st_size > 10_000
    assert len(document["plots"]) == len(drawn) > 0
    for text in drawn:
        ET.fromstring("<svg" + text.partition("</svg>")[0] + "</svg>")  # noqa: S314 - our own
    assert "<script" not in page
    assert 'src="http' not in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("disaggregate",), "--requests-per-second: is needed, or --trace FILE, or --live"),
        (("disaggregate", *FLAGS, "--model=llama3-70"), "did you mean llama3-70b"),
        (("disaggregate", *FLAGS, "--accelerator=H1000"), "--accelerator: no accelerator of that"),
        (("disaggregate", *FLAGS, "--engines=0"), "--engines: Input should be greater than or"),
        (
            ("disaggregate", *FLAGS, "--engines=many"),
            "valid integer, without a unit (found 'many')",
        ),
        (("cooling", "--rack-kw", "80kW"), "without a unit (found '80kW'): heat of one rack"),
        (("cooling", "--rack-kw=nan"), "--rack-kw: Input should be a finite number (found nan)"),
        (("cooling", "--usd-per-gpu-hour=inf"), "finite number (found inf)"),
        (("cooling", "--phase=both"), "'both' is not one of 'prefill', 'decode'"),
        (
            ("cooling", "--catalog=/nowhere.yaml", "--grid=x"),
            "--catalog: cannot read /nowhere.yaml",
        ),
        (("cooling", "--png=x.pdf"), "--png: x.pdf does not end in .png"),
        (
            ("burst", "--gpus=8", "--hours-per-peak=40", "--peaks-per-month=30"),
            "--hours-per-peak: times --peaks-per-month is 1,200 h; allowed: a month's 730 h",
        ),
        (("disaggregate", *FLAGS, "--trace=x", "--live"), "--trace: not together with --live"),
        (("disaggregate", *FLAGS, "--png=/nonexistent/x.png"), "--png: /nonexistent/x.png is no"),
        (("disaggregate", "--nonsense"), "No such option"),
        (("disagregate",), "There are: disaggregate, capacity, accelerator"),
    ],
)
def test_wrong_input_is_one_line_and_exit_2(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line names the option and what is allowed."""
    code, out, err = run(capsys, *arguments)

    assert (2, "") == (code, out)
    assert 1 == len(err.splitlines())
    assert err.startswith("ridgeline plan: ")
    assert said in err


def test_a_store_that_is_away_is_exit_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--live` without a store names the setting that says where it is."""
    monkeypatch.setenv("RIDGELINE_STORE_URL", "http://127.0.0.1:9")
    code, _, err = run(capsys, "disaggregate", "--live")

    assert code == 1
    assert 1 == len(err.splitlines())
    assert err.startswith(
        "ridgeline plan: RIDGELINE_STORE_URL: the store is away: "
        "store http://127.0.0.1:9 (connect): connection refused; start it"
    )
    assert len(err) < 250


def test_a_driver_name_is_an_accelerator(capsys: pytest.CaptureFixture[str]) -> None:
    """What the driver calls a GPU, and any letter case, name the catalogue's entry."""
    by_name = [
        answered(capsys, "disaggregate", *FLAGS, f"--accelerator={name}")["numbers"]
        for name in ("H100-SXM", "h100-sxm", "NVIDIA H100 80GB HBM3")
    ]

    assert by_name[0] == by_name[1] == by_name[2]


def test_a_trace_is_replayed_at_the_rate_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Flags win over the file, and the report says that they changed it."""
    trace = tmp_path / "trace.csv"
    trace.write_text("timestamp,input_tokens,output_tokens\n0,100,10\n1,100,10\n2,100,10\n")
    plain = answered(capsys, "disaggregate", f"--trace={trace}")
    faster = answered(capsys, "disaggregate", f"--trace={trace}", "--requests-per-second=7")

    assert 1.0 == plain["numbers"]["demand"]["mid"]
    assert "measured" == plain["numbers"]["demand"]["confidence"]
    assert 7.0 == faster["numbers"]["demand"]["mid"]
    assert "assumed" == faster["numbers"]["demand"]["confidence"]
    assert "changed by options" in faster["numbers"]["demand"]["source"]


def test_a_plan_checks_itself_by_simulation(capsys: pytest.CaptureFixture[str]) -> None:
    """`--simulate` adds what requests got, at eight rates of each arrangement."""
    document = answered(
        capsys,
        "disaggregate",
        "--requests-per-second=4",
        "--prompt-tokens=4000",
        "--output-tokens=60",
        "--tpot-seconds=0.02",
        "--simulate",
    )
    (table,) = [t for t in document["tables"] if t["title"].startswith("Simulated")]
    attained = [row[2] for row in table["rows"]]

    assert 8 <= len(attained) <= 16
    assert all(0 <= share <= 1 for share in attained)
    assert max(attained) > 0.9


def test_an_older_accelerator_may_decode(capsys: pytest.CaptureFixture[str]) -> None:
    """A heterogeneous pair is compared with engines of the first accelerator alone."""
    document = answered(
        capsys, "disaggregate", *FLAGS, "--decode-accelerator=A100-SXM-80G", "--engines=8"
    )

    assert {"together", "apart"} == {row[0] for row in document["tables"][0]["rows"]}


@pytest.mark.parametrize("command", ["capacity", "burst", "disaggregate", "serving"])
@pytest.mark.parametrize("accelerator", ["Groq-LPU", "SN40L", "WSE-3"])
def test_an_accelerator_without_a_peak_is_refused_by_name(
    command: str, accelerator: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its latency cannot be modelled: a line that says so, not a traceback."""
    load = ("--requests-per-second", "5", "--prompt-tokens", "1000", "--output-tokens", "100")
    peaks = ("--gpus", "8", "--hours-per-peak", "3", "--peaks-per-month", "9")
    more = {"capacity": ("--gpu-usd-per-hour", "1"), "burst": peaks}.get(command, ())
    given = load[2:] if command == "serving" else load
    code, _, err = run(capsys, command, *given, *more, "--accelerator", accelerator)

    assert 2 == code
    assert f"--accelerator: {accelerator}: peak or memory bandwidth unknown" in err

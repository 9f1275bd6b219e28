"""`ridgeline plan accelerator`, `cooling` and `network` as an operator types them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from advisor.plan.cooling import CoolingOptions, cooling
from advisor.plan.network import NetworkOptions, plan_network
from ridgeline.events import Confidence
from tests.advisor import rule_cases as cases
from tests.advisor.plan.asked import answered, run, table

WORK = ("--requests-per-second=20", "--prompt-tokens=2000", "--output-tokens=300")


def test_near_prices_keep_todays_accelerator(capsys: pytest.CaptureFixture[str]) -> None:
    """At street prices B200 saves less than a tenth against H100: keep, with the reason."""
    document = answered(capsys, "accelerator", *WORK)

    assert document["action"] == "keep"
    assert document["refusals"]
    ranking = table(document, "Measured")
    costs = [row["USD/M tok"] for row in ranking if row["USD/M tok"] is not None]
    assert costs == sorted(costs)
    assert all(row["software"] in {"in_tree", "plugin"} for row in ranking)
    refused = {row["accelerator"]: row["why"] for row in table(document, "Not ranked")}
    assert "unverified" in refused["TPU-v5p"]
    assert "no engine" in refused["Groq-LPU"]


def test_a_dear_accelerator_of_today_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    """At 12.29 USD an hour for H100 (a launch list price) the move pays."""
    document = answered(capsys, "accelerator", *WORK, "--usd-per-hour=12.29")

    assert document["action"] == "change_accelerator"
    assert "costs" in document["answer"]


def test_four_bit_weights_favour_blackwell(capsys: pytest.CaptureFixture[str]) -> None:
    """With FP4 weights a Blackwell part is cheapest by more than the margin."""
    document = answered(capsys, "accelerator", *WORK, "--weights=fp4")

    assert document["action"] == "change_accelerator"
    assert table(document, "Measured")[0]["accelerator"] in {"B200-SXM", "B300-SXM"}


def test_own_catalogue_changes_the_ranking(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """An own measurement and price lift Gaudi 3 from unverified to first."""
    own = tmp_path / "own.yaml"
    own.write_text(
        "accelerators: [{name: Gaudi3, serving_ratio: 0.9}]\n"
        "prices: [{provider: own, accelerator: Gaudi3, usd_per_hour: 0.1}]\n"
    )
    document = answered(capsys, "accelerator", *WORK, f"--catalog={own}")

    assert table(document, "Measured")[0]["accelerator"] == "Gaudi3"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("accelerator", *WORK, "--grid=mars"), "no grid 'mars'"),
        (("accelerator", *WORK, "--today=H100-SMX"), "did you mean H100-SXM"),
        (("accelerator", *WORK, "--catalog=/nowhere.yaml"), "cannot read"),
        (("cooling", "--technology=ice"), "contained air"),
        (("cooling", "--throttled-ratio=2"), "less than or equal to 1"),
        (("cooling", "--power-history=/nowhere.csv", "--feed-kw=1"), "/nowhere.csv"),
        (("network", "--accelerator=TPU-v5e"), "measured: A100"),
    ],
)
def test_wrong_input_says_what_is_allowed(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, exit 2, with the value and what would be right."""
    code, out, err = run(capsys, *arguments)

    assert (2, "") == (code, out)
    assert message in err


def test_nothing_throttles_nothing_is_promised(capsys: pytest.CaptureFixture[str]) -> None:
    """Healthy racks: keep, no speed, and MLPerf's air against liquid as the reason."""
    document = answered(capsys, "cooling", "--rack-kw=25")

    assert document["action"] == "keep"
    assert document["numbers"]["speed from better cooling"]["high"] == 0
    assert any("1.003" in reason for reason in document["refusals"])


def test_the_cheapest_remedy_leads_even_past_the_density(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """60 kW in air that throttles: cap first, a retrofit is named last, with months and water."""
    document = answered(
        capsys,
        "cooling",
        "--rack-kw=60",
        "--throttled-ratio=0.2",
        "--gpus=64",
        "--water-celsius=42",
    )

    assert document["action"] == "cap_power"
    assert [1, 2] == [row["order"] for row in table(document, "Remedies")]
    chip = next(r for r in table(document, "Other") if r["technology"].startswith("direct"))
    assert (chip["months"], chip["water class"], chip["water cold enough"]) == (
        "18 to 36",
        "W40",
        "no",
    )
    first = table(document, "Power caps")[0]
    assert first["phase"] == "decode"


def test_a_history_gives_a_date(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Ninety days growing by 0.5 kW a day: months with interval, order now; too little: no date."""
    hours = [900e3 + 20e3 * math.sin(h / 24 * 2 * math.pi) + 500 * h / 24 for h in range(90 * 24)]
    history = tmp_path / "watts.csv"
    history.write_text("\n".join(f"{w:.0f}" for w in hours))
    document = answered(capsys, "cooling", f"--power-history={history}", "--feed-kw=1200")

    full = document["numbers"]["power is full in"]
    assert 0 < full["low"] <= full["mid"] <= full["high"] < 36
    assert "order now" in document["answer"]
    history.write_text("\n".join("900000" for _ in range(24 * 7)))
    short = answered(capsys, "cooling", f"--power-history={history}", "--feed-kw=1200")
    assert "power is full in" not in short["numbers"]
    assert any("no forecast" in warning for warning in short["warnings"])


def test_carbon_of_a_hall(capsys: pytest.CaptureFixture[str]) -> None:
    """Frankfurt, 80 % under contract of which 68 % of the hours are covered."""
    document = answered(capsys, "cooling", "--grid=gcp/europe-west3", "--carbon-free-ratio=0.8")
    by_place, by_volume, by_hour = (r["t CO2e/month"] for r in table(document, "Carbon"))

    assert by_volume == pytest.approx(0.2 * by_place)
    assert by_hour == pytest.approx(0.32 * by_place)


def test_a_slow_all_reduce_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    """Ten times the best known asks for a look at settings; as expected does not."""
    slow = answered(capsys, "network", "--nodes=1", "--message-mb=512", "--measured-ms=20")
    fine = answered(capsys, "network", "--nodes=1", "--message-mb=512", "--measured-ms=2.2")

    assert slow["action"] == "fix_fabric"
    assert any(t["title"].startswith("Settings") for t in slow["tables"])
    assert fine["action"] == "keep"
    assert fine["refusals"]


def test_fabric_decision_needs_both_offers_and_a_clear_difference(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No offers: no decision. A premium below the least loss: InfiniBand. Above the most: RoCE."""
    none = answered(capsys, "network")
    dear = answered(capsys, "network", "--infiniband-usd-per-gpu=20000", "--roce-usd-per-gpu=1000")
    cheap = answered(capsys, "network", "--infiniband-usd-per-gpu=1100", "--roce-usd-per-gpu=1000")

    assert any("without both offers" in reason for reason in none["refusals"])
    assert "RoCE pays" in dear["answer"]
    assert "InfiniBand pays" in cheap["answer"]


def test_tensor_parallelism_over_pcie_is_nearly_all_waiting(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Over 95 % of the step beside a third over NVLink."""
    rows = {r["link"]: r for r in table(answered(capsys, "network"), "Tensor")}

    through_host, peers = (
        rows[f"PCIe 4, {how}"]["all-reduce ms"]
        for how in ("through the host's memory", "peer access")
    )
    assert rows["PCIe 4, through the host's memory"]["share of the step"] > 0.95
    assert 5 < through_host / peers < 10
    assert rows["H100-SXM"]["share of the step"] < 0.5


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", "holds no reading; allowed: one number of watts a line"),
        ("1000\n\nabc\n", "line 3: 'abc'; allowed: one number of watts a line"),
        ("1000\n-5\n", "line 2: '-5'"),
        ("inf\n", "line 1: 'inf'"),
    ],
)
def test_a_wrong_power_history_is_named(
    lines: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Line and value; no reading is taken for a missing one because it is no number."""
    (tmp_path / "watts.csv").write_text(lines, encoding="utf-8")
    asked = ("cooling", f"--power-history={tmp_path / 'watts.csv'}", "--feed-kw=1200")
    code, out, err = run(capsys, *asked)

    assert (2, "") == (code, out)
    assert said in err


def test_the_network_plot_is_of_the_gpus_asked_about(capsys: pytest.CaptureFixture[str]) -> None:
    """One node and all of them; what was measured lies at its size."""
    document = answered(capsys, "network", "--nodes=16", "--measured-ms=20")
    (plot,) = document["plots"]

    assert ["8 GPUs of one node", "all 128"] == [s["name"] for s in plot["series"]]
    assert [("measured: 20 ms", 512.0, 20.0)] == [
        (m["label"], m["x"], m["y"]) for m in plot["marks"]
    ]
    inside, every = (s["y"] for s in plot["series"])
    assert all(a < b for a, b in zip(inside, every, strict=True))


def test_retrofits_have_the_price_of_the_study_or_the_quoted_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Direct to chip, 60 kW x 10 racks: 1.2 million by a study, its range assumed."""
    free = answered(capsys, "cooling", "--rack-kw=60", "--racks=10")
    quoted = answered(capsys, "cooling", "--rack-kw=60", "--racks=10", "--retrofit-usd-per-kw=3000")

    price = free["numbers"]["price of direct-to-chip liquid"]
    assert (6e5, 12e5, 24e5) == (price["low"], price["mid"], price["high"])
    assert "assumed" == price["confidence"]
    assert "STL Partners" in price["source"]
    assert any("no price of rear-door heat exchanger" in said for said in free["warnings"])
    usd = {row["technology"]: row["USD"] for row in table(quoted, "Other technologies")}
    assert {18e5} == set(usd.values())
    assert not any("no price" in said for said in quoted["warnings"])


def test_a_time_that_cannot_be_is_not_as_it_should_be(capsys: pytest.CaptureFixture[str]) -> None:
    """512 MB over 128 GPUs in a microsecond: milliseconds were meant, or another message."""
    said = answered(capsys, "network", "--measured-ms", "0.001")

    assert "was it this size, over these GPUs?" in said["answer"]
    assert not any("nothing to fix" in r for r in said["refusals"])


def test_one_node_has_no_network_between_nodes(capsys: pytest.CaptureFixture[str]) -> None:
    """RoCE cannot slow down what never leaves NVLink: the cheaper offer pays."""
    offers = ("--infiniband-usd-per-gpu", "3000", "--roce-usd-per-gpu", "1000")
    said = answered(capsys, "network", "--nodes", "1", *offers)

    assert 0 == said["numbers"]["step on RoCE against InfiniBand"]["high"]
    assert "RoCE pays" in said["answer"]


def test_a_near_grid_is_suggested(capsys: pytest.CaptureFixture[str]) -> None:
    """A region without its provider is no grid, but it is nearly one."""
    code, _, err = run(capsys, "cooling", "--grid", "europe-west1")

    assert 2 == code
    assert "did you mean gcp/europe-west1" in err


def test_prefill_racks_are_not_told_to_cap_decode(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing decodes there is no decode GPU to cap."""
    hot = ("--throttled-ratio", "0.1", "--clock-ratio", "0.8", "--gpus", "64")
    said = answered(capsys, "cooling", *hot, "--phase", "prefill", "--rack-kw", "20")

    assert "First: measure flow, supply and fans" in said["answer"]
    assert "fix_cooling" == said["action"]


@pytest.mark.parametrize("plan", ["cooling", "network", "serving"])
def test_a_number_made_of_typed_numbers_is_assumed(
    capsys: pytest.CaptureFixture[str], plan: str
) -> None:
    """However good the model: nothing it was given was measured."""
    heat = ("--throttled-ratio=0.1", "--gpus=64", "--usd-per-gpu-hour=3")
    numbers = answered(capsys, plan, *(heat if plan == "cooling" else ()))["numbers"]
    cited = {name: n for name, n in numbers.items() if name.startswith("price of ")}

    assert len(numbers) > len(cited)
    assert {"assumed"} == {n["confidence"] for name, n in numbers.items() if name not in cited}


def test_a_number_made_of_measured_ones_is_modelled() -> None:
    """Under `--live`, until one of what it is made of is typed."""
    hot = cases.facts(gpu_loops=(cases.HOT,))
    live = cooling(CoolingOptions(live=True, usd_per_gpu_hour=3.0), hot).numbers
    typed = cooling(CoolingOptions(live=True, throttled_ratio=0.3), hot).numbers
    rails = cases.facts(pools=(cases.gpus("mixed"),), rails=(cases.rail(),))
    net = plan_network(NetworkOptions(live=True), rails).numbers

    assert Confidence.MODELLED is live["work lost to heat"].confidence
    assert Confidence.ASSUMED is live["worth of it"].confidence  # by a price that was typed
    assert Confidence.ASSUMED is typed["work lost to heat"].confidence
    assert Confidence.MODELLED is net["step on RoCE against InfiniBand"].confidence
    assert Confidence.ASSUMED is net["all-reduce"].confidence  # nobody measures its size


def test_racks_on_liquid_save_no_fans_again(capsys: pytest.CaptureFixture[str]) -> None:
    """From PUE 1.2 to 1.093 of dry coolers: 8.9 % of 320 kW x 1.2 at 0.12 USD; doors: more."""
    name, month = "energy saved by liquid with dry coolers", 40 * 8 * 1.2 * 730 * 0.12
    saved = {
        technology: answered(capsys, "cooling", "--technology", technology, "--pue", "1.2")
        for technology in ("direct-to-chip liquid", "rear-door heat exchanger")
    }
    chips, doors = (said["numbers"][name] for said in saved.values())

    assert (1 - 1.093 / 1.2) * month == pytest.approx(chips["low"]) == pytest.approx(chips["high"])
    assert doors["low"] > chips["high"]

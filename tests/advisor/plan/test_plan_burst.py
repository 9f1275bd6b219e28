"""`ridgeline plan burst`: from numbers, histories and traces; the SkyPilot file; reasoned noes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from advisor.models import burst_plan as bp
from advisor.models.interval import exactly, of
from advisor.plan import gpu_demand, skypilot
from advisor.plan.burst import burst
from advisor.plan.burst_case import BurstOptions
from advisor.plan.report import Report
from ridgeline.errors import Misconfigured
from ridgeline.events import Action, Confidence
from tests import published
from tests.advisor import rule_cases as cases

PEAKS = {"gpus": 24.0, "hours_per_peak": 3.0, "peaks_per_month": 20.0}
LOAD = {"requests_per_second": 20.0, "prompt_tokens": 1000.0, "output_tokens": 400.0}


def answered(**options: object) -> Report:
    """The report of some options."""
    return burst(BurstOptions.checked(options))


def history(path: Path, days: int = 8) -> Path:
    """40 GPUs always and 24 more from 10 to 16 o'clock, in steps of ten minutes."""
    rows = ["timestamp,gpus"]
    for n in range(days * 144):
        hour = n % 144 / 6
        rows.append(f"{n * 600},{64 if 10 <= hour < 16 else 40}")
    path.write_text("\n".join(rows))
    return path


def rows(report: Report, word: str) -> dict[str, tuple[Any, ...]]:
    """Rows of the table whose title holds a word, by their first cell."""
    found = next(t for t in report.tables if word in t.title)
    return {str(row[0]): row[1:] for row in found.rows}


def test_numbers_alone_give_a_plan() -> None:
    """24 GPUs for 3 hours 20 times a month: 3 nodes where it is cheapest, the rest listed."""
    report = answered(**PEAKS)

    assert report.action is Action.BURST_TO_CLOUD
    assert "3 nodes of 8 x H100-SXM at verda" in report.answer
    assert report.numbers["rent"].confidence is Confidence.ASSUMED
    assert ["verda", "hyperstack", "nebius"] == list(rows(report, "Where to rent"))
    assert 0.618 == pytest.approx(report.numbers["break-even"].mid, abs=0.01)


def test_a_history_says_what_to_own_and_what_to_rent(tmp_path: Path) -> None:
    """The base is owned, the six hours are rented, and the layers say the same."""
    report = answered(demand=history(tmp_path / "d.csv"), **LOAD)

    assert report.answer.startswith("Own 40 GPUs and rent up to 3 nodes")
    assert report.numbers["rent"].confidence is Confidence.MODELLED
    layers = rows(report, "cheapest way")
    assert (40, 24) == (layers["own"][0], layers["rent"][0])
    assert float(layers["together"][1]) < float(layers["all owned"][1])
    assert "yes" == rows(report, "like")["peaks at usual hours"][0]
    assert not any("whole day" in w for w in report.warnings)
    assert any("two weeks" in w for w in report.warnings)
    assert 2 == len(report.plots)


def test_less_than_a_day_has_no_layers_and_says_so(tmp_path: Path) -> None:
    """Azure's hour: peaks above what is owned are planned, owning is not advised."""
    path = published.data("azure-llm-2023/AzureLLMInferenceTrace_conv.csv")
    report = answered(trace=path, own_gpus=3)

    assert any("a whole day (1.0 h seen)" in w for w in report.warnings)
    assert not any("cheapest way" in t.title for t in report.tables)
    assert report.numbers["rent"].confidence is Confidence.ASSUMED


@pytest.mark.parametrize(
    ("options", "action", "reason"),
    [
        ({"allowed": "on-site"}, Action.KEEP, bp.Reason.RESIDENCY),
        ({"idle_gpus": 24}, Action.CONSOLIDATE, bp.Reason.IDLE_FIRST),
        ({"hours_per_peak": 0.05}, Action.KEEP, bp.Reason.TOO_LATE),
        ({"queue_wait_seconds": 120.0}, Action.KEEP, bp.Reason.TOO_LATE),
        (
            {"hours_per_peak": 36.0, "own_usd_per_hour": 0.8},
            Action.ADD_CAPACITY,
            bp.Reason.OWNING_CHEAPER,
        ),
        (
            {"split_network_gbps": 50.0, "requests_per_second": 20.0, "prompt_tokens": 8000.0}
            | {"output_tokens": 200.0},
            Action.KEEP,
            bp.Reason.SPLIT_SITES,
        ),
    ],
)
def test_a_no_has_its_reason(options: dict[str, object], action: Action, reason: bp.Reason) -> None:
    """Residency, idle GPUs, short peaks, long ones and a thin line: each is said."""
    report = answered(**(PEAKS | options))

    assert report.action is action
    assert reason.value in report.refusals
    assert report.answer.startswith("Rent nothing")


def test_owning_that_is_likely_cheaper_is_said() -> None:
    """In use for 0.69 of the time, owning breaks even between 0.43 and 0.83: both are said."""
    report = answered(**(PEAKS | {"hours_per_peak": 25.2}))

    assert report.action is Action.BURST_TO_CLOUD
    assert any("owning the same likely costs less" in w for w in report.warnings)


def test_what_is_needed_all_month_is_owned() -> None:
    """720 of 730 hours are above every break-even (0.83 at most), however many GPUs that is."""
    for gpus in (8.0, 24.0, 800.0):
        report = answered(**(PEAKS | {"hours_per_peak": 36.0, "gpus": gpus}))

        assert Action.ADD_CAPACITY is report.action
        assert (bp.Reason.OWNING_CHEAPER.value,) == report.refusals


def test_constant_demand_is_owned_and_nothing_rented(tmp_path: Path) -> None:
    """32 GPUs day and night for two weeks: own 32."""
    flat = tmp_path / "d.csv"
    flat.write_text("timestamp,gpus\n" + "\n".join(f"{n * 600},32" for n in range(14 * 144)))

    assert answered(demand=flat).answer.startswith("Own 32 GPUs and rent nothing")


@pytest.mark.parametrize("step", [300, 600, 900, 3600])
def test_rented_hours_do_not_depend_on_the_step(step: int, tmp_path: Path) -> None:
    """Six nodes for six hours a day and a quarter of an hour's holding: 6 x 6.25 x 365 / 12."""
    steps = 86_400 // step
    at = [(n * step, 64 if 10 <= n % steps * step / 3600 < 16 else 16) for n in range(14 * steps)]
    path = tmp_path / "d.csv"
    path.write_text("timestamp,gpus\n" + "\n".join(f"{t},{gpus}" for t, gpus in at))

    assert "1,141 node-hours a month" in answered(demand=path, own_gpus=16).answer


def test_rows_in_any_order_or_twice_change_nothing(tmp_path: Path) -> None:
    """A history that was appended to twice, or shuffled, gives the plan of the clean one."""
    clean = history(tmp_path / "d.csv")
    lines = clean.read_text().splitlines()
    other = tmp_path / "e.csv"
    other.write_text("\n".join([lines[0], *reversed(lines[1:]), *lines[1:]]))

    assert answered(demand=clean).answer == answered(demand=other).answer


def test_a_warm_prefix_cache_takes_fewer_gpus(tmp_path: Path) -> None:
    """Nine tenths of long prompts cached: less GPU demand of the same trace, a lower peak."""
    path = tmp_path / "t.csv"
    lines = (f"{n / 20},8000,100" for n in range(24_000))
    path.write_text("timestamp,input_tokens,output_tokens\n" + "\n".join(lines))
    cold = rows(answered(trace=path, own_gpus=0), "like")["GPUs, mean"][0]
    warm = rows(answered(trace=path, own_gpus=0, prefix_hit_ratio=0.9), "like")["GPUs, mean"][0]

    assert float(warm) < 0.6 * float(cold)


def test_nothing_above_what_is_owned(tmp_path: Path) -> None:
    """With 100 GPUs there already nothing is missing."""
    report = answered(demand=history(tmp_path / "d.csv"), own_gpus=100)

    assert report.refusals == (bp.Reason.NOTHING_NEEDED.value,)


def test_an_own_offer_and_its_carbon() -> None:
    """A given price is compared with the catalogue; with a grid its carbon is shown."""
    report = answered(
        **PEAKS, rent_usd_per_hour=1.5, grid_gco2_per_kwh=100.0, usd_per_tonne_co2=50.0
    )

    assert "at given" in report.answer
    assert float(rows(report, "Where to rent")["given"][-1]) > 0


def test_own_catalogue_has_regions_grids_and_endpoints(tmp_path: Path) -> None:
    """Prices by region pass an allow-list by region and carry the carbon of their grid."""
    path = tmp_path / "own.yaml"
    path.write_text(
        "prices:\n"
        "- {provider: gcp, region: europe-north1, accelerator: H100-SXM, usd_per_hour: 2.0}\n"
        "- {provider: gcp, region: us-east1, accelerator: H100-SXM, usd_per_hour: 1.0}\n"
        "managed:\n"
        "- {provider: ours, model: llama3-70b, usd_per_million_prompt: 0.01,"
        " usd_per_million_output: 0.01}\n"
    )
    report = answered(**PEAKS, **LOAD, allowed="europe-*", catalog=path)

    assert "at gcp/europe-north1" in report.answer
    assert float(rows(report, "Where to rent")["gcp/europe-north1"][-1]) > 0
    assert bp.Reason.RESIDENCY.value == rows(report, "fell out")["gcp/us-east1"][0]
    managed = report.numbers["managed, a busy GPU"]
    assert managed.low < 0.2 * managed.mid


# Field names of SkyPilot 0.14.1's task and resources schemas (sky/utils/schemas.py); the whole file
# was read by `sky.Task.from_yaml_config` of that version.
TASK_FIELDS = {"name", "num_nodes", "resources", "envs", "setup", "run"}
RESOURCE_FIELDS = {"accelerators", "ports", "autostop", "labels", "ordered"}
INFRA = re.compile(r"^(aws|azure|gcp|lambda|oci|runpod|nebius|verda)(/[^/]+){0,2}$")


def plan_of(*offers: bp.Offer) -> bp.BurstPlan:
    """A plan over some offers."""
    need = bp.Need(
        pool="decode",
        accelerator="H100-SXM",
        gpus=exactly(24),
        hours_per_peak=of(1, 2, 3),
        peaks_per_month=exactly(30),
        model_gb=140,
        gpu_kw=1,
    )
    found = bp.plan(need, offers, bp.Policy())
    assert isinstance(found, bp.BurstPlan)
    return found


def offer(provider: str, region: str = "", usd: float = 2.0) -> bp.Offer:
    """H100 somewhere."""
    return bp.Offer(provider=provider, region=region, accelerator="H100-SXM", usd_per_gpu_hour=usd)


def test_a_skypilot_file_has_the_documented_fields(tmp_path: Path) -> None:
    """Nodes, accelerators, places in order of cost, an end after the peak, MODEL to be given."""
    path = tmp_path / "task.yaml"
    answered(**PEAKS, skypilot=path)
    text = path.read_text()
    task = yaml.safe_load(text)

    assert set(task) == TASK_FIELDS
    assert set(task["resources"]) == RESOURCE_FIELDS
    assert {"H100": 8} == task["resources"]["accelerators"]
    assert 3 == task["num_nodes"]
    assert ["verda", "nebius"] == [place["infra"] for place in task["resources"]["ordered"]]
    assert all(INFRA.match(place["infra"]) for place in task["resources"]["ordered"])
    assert task["resources"]["autostop"]["down"] is True
    assert task["envs"] == {"MODEL": None}
    assert re.match(r"timeout \d+m vllm serve", task["run"])
    assert "# Not known: the region" in text


def test_the_file_is_the_one_that_skypilot_read() -> None:
    """Byte for byte the task that `sky.Task.from_yaml_config` of SkyPilot 0.14.1 took.

    Where this changes, read the new file with SkyPilot before it is committed (docs/plan.md).
    """
    made = skypilot.task(plan_of(offer("nebius"), offer("oracle", "eu-frankfurt-1", usd=3.0)))

    assert (Path(__file__).parent / "skypilot_0.14.1.yaml").read_text() == made


def test_a_pool_of_a_service_names_a_cluster() -> None:
    """What SkyPilot calls a cluster, and clouds a label, has no slash."""
    plan = plan_of(offer("nebius"))
    task = yaml.safe_load(skypilot.task(replace(plan, need=replace(plan.need, pool="chat/decode"))))

    assert "ridgeline-burst-chat-decode" == task["name"]
    assert {"ridgeline-pool": "chat-decode"} == task["resources"]["labels"]


def test_skypilot_places_have_their_region() -> None:
    """Provider and region are written as SkyPilot's infra, Oracle as oci."""
    task = yaml.safe_load(skypilot.task(plan_of(offer("oracle", "eu-frankfurt-1"))))

    assert "oci/eu-frankfurt-1" == task["resources"]["ordered"][0]["infra"]


def test_skypilot_cannot_launch_everywhere(tmp_path: Path) -> None:
    """A cheapest place SkyPilot does not know is passed over; with no other the file is refused."""
    task = yaml.safe_load(skypilot.task(plan_of(offer("hyperstack"), offer("nebius", usd=3.0))))

    assert ["nebius"] == [place["infra"] for place in task["resources"]["ordered"]]
    with pytest.raises(Misconfigured, match="cannot launch at hyperstack"):
        skypilot.task(plan_of(offer("hyperstack")))
    with pytest.raises(Misconfigured, match="nothing to rent"):
        answered(**PEAKS, allowed="on-site", skypilot=tmp_path / "no.yaml")
    with pytest.raises(Misconfigured, match="cannot write"):
        answered(**PEAKS, skypilot=tmp_path / "no" / "task.yaml")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "--gpus: is needed, or --demand FILE"),
        ({"gpus": 8.0}, "--hours-per-peak: is needed"),
        ({"gpus": -1.0}, "--gpus: Input should be greater"),
        ({"split_network_gbps": 100.0, **PEAKS}, "--requests-per-second: is needed with"),
        ({"demand": Path("/nonexistent.csv")}, "--demand: cannot read"),
        ({"accelerator": "H200-SXM", "demand": Path("d.csv")}, "--own-gpus: is needed"),
    ],
)
def test_wrong_input_says_what_is_allowed(
    options: dict[str, object], said: str, tmp_path: Path
) -> None:
    """Each mistake names its option."""
    if options.get("demand") == Path("d.csv"):
        options = options | {"demand": history(tmp_path / "d.csv")}
    with pytest.raises(Misconfigured, match=said):
        answered(**options)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("timestamp,gpus\n0,4\n60,x\n", "line 3: could not convert"),
        ("timestamp,gpus\n0,4\n60,-1\n", "line 3: gpus='-1'"),
        ("timestamp,gpus\n0,4\n60,nan\n", "line 3: gpus='nan'"),
        ("timestamp,gpus\n0,4\nyesterday,4\n", "line 3: Invalid isoformat"),
        ("time,gpus\n0,4\n60,4\n", "line 2: 'timestamp'"),
        ("timestamp,gpus\n0,4\n", "has 1 rows"),
        ("timestamp,gpus\n0,4\n0,4\n", "rise by even steps"),
    ],
)
def test_a_wrong_history_names_its_line(text: str, said: str, tmp_path: Path) -> None:
    """Line, value and what is allowed."""
    path = tmp_path / "d.csv"
    path.write_text(text)
    with pytest.raises(Misconfigured, match=re.escape(said)):
        gpu_demand.of_file(path)


def test_a_history_with_gaps_and_dates(tmp_path: Path) -> None:
    """ISO times in any order; a step that is not there is not seen, the time of day is kept."""
    path = tmp_path / "d.csv"
    path.write_text(
        "timestamp,gpus\n2026-11-02T06:20:00Z,3\n2026-11-02T06:00:00Z,1\n"
        "2026-11-02T06:10:00,2\n2026-11-02T06:40:00Z,5\n"
    )
    found = gpu_demand.of_file(path)

    assert (600, 6 * 3600) == (found.step_seconds, found.first_second_of_day)
    assert [1, 2, 3, 5] == list(found.gpus[np.isfinite(found.gpus)])
    assert np.isnan(found.gpus[3])


def test_a_live_pool_by_what_its_gpus_carry() -> None:
    """160 concurrent requests on 64 GPUs: 400 are 160 GPUs; an unknown pool is named."""
    facts = cases.facts(
        serving=(cases.serving("decode"),),
        pools=(cases.gpus("decode"),),
        demand={"decode": (160.0, 400.0)},
    )

    assert [64, 160] == list(gpu_demand.of_facts(facts, "decode").gpus)
    with pytest.raises(Misconfigured, match="no history of mixed; pools with one: decode"):
        gpu_demand.of_facts(facts, "mixed")


def test_live_peaks_are_above_the_gpus_there_are() -> None:
    """A pool of 64 GPUs at 160 requests, 400 for two hours a day: 96 more, not a new base."""
    day = (100.0,) * 600 + (400.0,) * 120 + (100.0,) * 720
    facts = cases.facts(
        serving=(cases.serving("decode"), cases.serving("prefill")),
        pools=(cases.gpus("decode"),),
        demand={"decode": day * 3},
    )
    report = burst(BurstOptions.checked({"live": True}), facts)

    assert report.answer.startswith("Rent up to 12 nodes of 8 x H100-SXM")
    assert 64 == rows(report, "like")["level that peaks are counted above"][0]
    assert report.numbers["GPUs to own"].mid < 64


def test_offers_that_are_not_allowed_are_named() -> None:
    """A place nobody rents at may be a slip of the pen: those there are stand beside the "no"."""
    report = answered(gpus=8, hours_per_peak=3, peaks_per_month=20, allowed="mars")

    assert "Rent nothing: the data may not go there." == report.answer
    (said,) = (w for w in report.warnings if w.startswith("offers where the data may not go"))
    assert "nebius" in said


def test_owning_breaks_even_against_what_may_be_rented() -> None:
    """Where only nebius is allowed its 2.95 USD an hour count, not the street's 2.40."""
    anywhere, one = answered(**PEAKS), answered(**PEAKS, allowed="nebius")
    own = one.numbers["own, a busy GPU"].mid

    assert 2.4 == anywhere.numbers["rent, a busy GPU"].mid
    assert 2.95 == one.numbers["rent, a busy GPU"].mid
    assert one.numbers["break-even"].mid == pytest.approx(own / 2.95)

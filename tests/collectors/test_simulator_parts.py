"""Parts of the simulated cluster by themselves: lengths, arrivals, links, scripts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.simulator import Simulator, load, names
from collectors.simulator.fabric import LINK_BYTES_PER_SECOND, Fabric, Flows
from collectors.simulator.groups import quantiles, running_sum
from collectors.simulator.meters import Meters
from collectors.simulator.requests import REQUEST
from collectors.simulator.roofline import MODELS
from collectors.simulator.scenario import Scenario, Script
from collectors.simulator.workload import TRAFFIC, Arrivals, diurnal_factor
from ridgeline.errors import Misconfigured
from ridgeline.schema import SERVING, length_columns

START_MS = 1_790_000_000_000
# Azure LLM inference traces 2023, computed from the traces themselves: mean and median tokens.
AZURE_2023 = {
    "azure-code": {"prompt": (2047.8, 1469), "output": (27.9, 13)},
    "azure-conv": {"prompt": (1154.7, 1020), "output": (211.1, 129)},
}


@pytest.mark.parametrize("trace", AZURE_2023)
@pytest.mark.parametrize("what", ["prompt", "output"])
def test_lengths_match_the_published_trace(trace: str, what: str) -> None:
    """Mean and median of the fitted mixture lie within 10 % of the trace's."""
    tokens = getattr(TRAFFIC[trace], what).draw(np.random.default_rng(1), 100_000)
    mean, median = AZURE_2023[trace][what]

    assert tokens.mean() == pytest.approx(mean, rel=0.10)
    assert np.median(tokens) == pytest.approx(median, rel=0.10)
    assert tokens.min() >= 1


@pytest.mark.parametrize("cv", [0.5, 1.09, 3.0])
def test_arrivals_have_the_rate_and_the_burstiness(cv: float) -> None:
    """Gaps over many small steps have the mean and the coefficient of variation asked for."""
    arrivals = Arrivals(np.random.default_rng(2), cv)
    times = np.concatenate([n * 0.5 + arrivals.draw(50.0, 0.5) for n in range(4000)])
    gaps = np.diff(times)

    assert (gaps >= 0).all()
    assert len(times) == pytest.approx(100_000, rel=0.05)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.05)


def test_no_rate_no_arrivals() -> None:
    """Nobody comes when nobody is asked."""
    assert len(Arrivals(np.random.default_rng(0), 1.0).draw(0.0, 10.0)) == 0


def test_diurnal_factor_has_mean_1() -> None:
    """A day's load is its mean, lowest at night."""
    day = [diurnal_factor(3600.0 * hour, 0.4) for hour in range(24)]
    assert np.mean(day) == pytest.approx(1.0)
    assert day.index(min(day)) == 3
    assert day.index(max(day)) == 15


def test_roofline_figures() -> None:
    """KV bytes a token of Llama-3 70B (Mooncake, FAST'25); step times grow with the context."""
    roofline = MODELS["llama3-70b"]

    assert roofline.kv_bytes_per_token == 2 * 80 * 8 * 128 * 2
    one = np.array([1.0])
    short, long = (
        roofline.decode_seconds(64 * one, 64 * tokens * one, one)[0] for tokens in (500, 8000)
    )
    assert 0.007 < short < 0.012
    assert long > 1.5 * short
    half = roofline.decode_seconds(64 * one, 64 * 500 * one, 0.5 * one)[0]
    assert half > short  # below 0.6 of the clock the bandwidth goes too


@given(
    st.lists(st.tuples(st.integers(0, 4), st.floats(0, 100)), min_size=1, max_size=40),
    st.floats(0.01, 1.0),
)
def test_group_functions_match_a_loop(pairs: list[tuple[int, float]], level: float) -> None:
    """Running sums and nearest-rank quantiles of groups are those of each group alone."""
    pairs.sort(key=lambda pair: pair[0])
    group, value = np.array([g for g, _ in pairs]), np.array([v for _, v in pairs])
    found, sums = quantiles(group, value, 5, level)[0], running_sum(group, value)

    for one in range(5):
        mine = value[group == one]
        np.testing.assert_allclose(sums[group == one], np.cumsum(mine), atol=1e-9)
        expected = np.sort(mine)[int(np.ceil(level * len(mine))) - 1] if len(mine) else np.nan
        np.testing.assert_equal(found[one], expected)


def flows(nodes: int, **given: object) -> Flows:
    """No traffic but what is given."""
    values: dict[str, object] = {
        "transfers_bytes": np.zeros((nodes, nodes)),
        "streams_bytes_per_second": np.zeros((2, nodes, nodes)),
        "loss_ratio": np.zeros((nodes, 2)),
        "link_up": np.ones((nodes, 2), dtype=bool),
    }
    return Flows(**{**values, **given})  # type: ignore[arg-type] # a test's shorthand


def incast(load: float, senders: int = 4) -> np.ndarray:
    """`senders` nodes offer `load` of a link to node 0 on rail 0."""
    streams = np.zeros((2, senders + 1, senders + 1))
    streams[0, 1:, 0] = load * LINK_BYTES_PER_SECOND / senders
    return streams


@settings(max_examples=60)
@given(st.floats(0.05, 3.0))
def test_marks_only_where_a_queue_stands(load: float) -> None:
    """ECN at the receiver and CNPs at the senders come with a queue, and match each other."""
    fabric = Fabric(5)
    fabric.step(1.0, flows(5, streams_bytes_per_second=incast(load)))
    totals = fabric.totals
    marks = totals["ecn_marked_packets"]

    assert (marks[0, 0] > 0) == (fabric.queue_bytes[0, 0] > 0) == (load > 0.92)
    assert marks[1:].sum() == marks[:, 1].sum() == 0
    assert totals["cnp_sent"].sum() == pytest.approx(0.75 * marks.sum())
    assert totals["cnp_sent"].sum() == pytest.approx(totals["cnp_handled"].sum())
    assert totals["cnp_handled"][0].sum() == 0
    assert totals["rx_bytes"][0, 0] <= LINK_BYTES_PER_SECOND
    assert totals["tx_bytes"].sum() == pytest.approx(totals["rx_bytes"].sum())
    assert totals["pfc_rx_pause_us"].sum() == 0


def test_without_congestion_control_senders_are_paused() -> None:
    """CNPs are ignored, the queue is full, and priority flow control stops the senders."""
    fabric = Fabric(5)
    asked = flows(5, streams_bytes_per_second=incast(2.0), congestion_control=False)
    fabric.step(1.0, asked)

    assert fabric.totals["cnp_ignored"][1:, 0].min() > 0
    assert fabric.totals["cnp_handled"].sum() == 0
    np.testing.assert_allclose(fabric.totals["pfc_rx_pause_us"][1:, 0], 0.5e6)
    assert fabric.totals["pfc_rx_pause_us"][0].sum() == 0


def test_a_lossy_link_repeats_without_marks() -> None:
    """Gaps at the receiver, repeats at the senders, symbol errors at the bad end, no ECN."""
    loss = np.zeros((5, 2))
    loss[0, 0] = 0.01
    fabric = Fabric(5)
    fabric.step(1.0, flows(5, streams_bytes_per_second=incast(0.5), loss_ratio=loss))

    assert fabric.totals["out_of_sequence"][0, 0] > 0
    assert fabric.totals["adaptive_retransmits"][1:, 0].min() > 0
    assert fabric.totals["symbol_errors"][0, 0] > 0
    assert fabric.totals["symbol_errors"][1:].sum() == 0
    assert fabric.totals["ecn_marked_packets"].sum() == 0
    assert fabric.kv_rate[0] < 0.5 * fabric.kv_rate[1]


def test_a_dead_rail_moves_its_share_to_the_other() -> None:
    """A transfer still arrives whole when one rail is down; the fall is counted once."""
    transfers, up = np.zeros((5, 5)), np.ones((5, 2), dtype=bool)
    transfers[1, 0] = 20e9
    up[0, 0] = False
    fabric = Fabric(5)
    fabric.step(0.5, flows(5, transfers_bytes=transfers, link_up=up))
    for _ in range(30):
        fabric.step(0.5, flows(5, link_up=up))

    assert fabric.totals["rx_bytes"][0, 1] == pytest.approx(20e9, rel=1e-3)
    assert fabric.totals["rx_bytes"][0, 0] == 0
    assert fabric.totals["link_downs"].tolist() == [[1, 0]] + [[0, 0]] * 4


def test_every_scenario_of_ours_loads_and_starts() -> None:
    """All files of the package are valid and speak of nodes their cluster has."""
    assert {"demo", "idle", "mixed", "pause", "steady"} <= set(names())
    for name in names():
        assert Simulator(load(name)).collect(START_MS).frames


def test_demo_shows_its_first_finding_early_and_leaves_time_to_compare() -> None:
    """At speed 5 trouble starts within 10 s; the cooling fault stays for over six minutes."""
    timeline = load("demo").timeline
    first = min(timeline, key=lambda event: event.at)

    assert first.label == "bandwidth_bound"
    assert first.at / 5 <= 10
    (cooling,) = (event for event in timeline if event.kind == "cooling")
    assert cooling.for_ / 5 > 360
    assert max(event.at + event.for_ for event in timeline) == 2400


def test_a_repair_ends_its_fault_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line ends the events of its kind at its place, once whole; nonsense is said and ignored."""
    file = tmp_path / "repairs"
    simulator = Simulator(load("demo"), 5.0, repairs=file)
    simulator.collect(START_MS)
    now = START_MS + 105_000  # an incast and the failing loop go on

    def true_now() -> set[str]:
        simulator.collect(now)
        return {label.name for label in simulator.labels(now)}

    assert {"cdu-b loses flow", "incast on rail0"} == true_now()
    file.write_text("cooling loop-a\nmelt loop-b\ncooling nowhere\nincast\n\ncooling loop-b")
    assert {"cdu-b loses flow", "incast on rail0"} == true_now()
    assert 3 == capsys.readouterr().out.count("repair ignored")
    with file.open("a") as more:
        more.write("\n")
    assert {"incast on rail0"} == true_now()

    again = START_MS + round(load("demo").round_seconds / 5 * 1e3) + 105_000
    simulator.collect(again)
    assert "cdu-b loses flow" in {label.name for label in simulator.labels(again)}


def test_labels_say_what_is_true_and_of_whom() -> None:
    """Ground truth follows the clock, the speed and the rounds, and names the devices."""
    simulator = Simulator(load("demo"), speed=5.0)
    assert simulator.labels(START_MS) == []
    simulator.collect(START_MS)
    round_ms = round(load("demo").round_seconds / 5 * 1e3)

    assert simulator.labels(START_MS + 1000) == []
    for round_ in (0, 1):
        base = START_MS + round_ * round_ms
        (bound,) = simulator.labels(base + 20_000)
        assert (bound.condition, len(bound.devices)) == ("bandwidth_bound", 128)
        assert (bound.start_ms, bound.end_ms) == (base + 5_000, base + 48_000)
        (alike,) = simulator.labels(base + 65_000)
        assert (alike.condition, alike.name) == ("", "under-batched decode")
        found = {label.condition: label for label in simulator.labels(base + 110_000)}
        ports = {i.device: i for i in simulator.topology.inventory(0) if i.kind == "port"}
        receivers = [ports[d] for d in found["incast_receiver"].devices]
        assert [(p.host, p.rail) for p in receivers] == [
            (f"node{n:02d}", "rail0") for n in (8, 9, 10, 11)
        ]
        assert len(found["victim_sender"].devices) == 8
        assert len(found["thermal_throttle"].devices) == 64
        assert found["coolant_supply_hot"].devices == found["coolant_flow_low"].devices
        assert len(found["coolant_supply_hot"].devices) == 1


def test_a_script_without_a_timeline_never_repeats() -> None:
    """No event, no round."""
    script = Script(Scenario(), START_MS, 5.0)
    assert script.active(START_MS / 1e3 + 1e6) == []
    assert script.started(START_MS / 1e3, START_MS / 1e3 + 1e6) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("timeline: [{at: 1, for: 2, kind: dance, target: [decode]}]", "dance"),
        ("timeline: [{at: -1, for: 2, kind: demand}]", r"timeline\.0\.demand\.at.*-1"),
        ("timeline: [{at: 1, for: 2, kind: cooling, target: [loop-z]}]", "'loop-z'"),
        ("timeline: [{at: 1, for: 2, kind: demand, speed_of_light: 3}]", "speed_of_light"),
        ("traffic: {trace: other}", r"traffic\.trace.*other"),
        ("cluster: {prefill: 4, decode: 0}", "need each other"),
        ("cluster: {services: [{name: chat}]}", "a service needs nodes"),
        ("cluster: {services: [{name: A B, mixed: 1}]}", "small letters"),
        ("cluster: {services: [{name: a, mixed: 1}, {name: a, mixed: 1}]}", "of their own"),
        ("cluster: {services: [{name: a, mixed: 1, model: gpt}]}", "'llama3-70b' or 'qwen3-32b'"),
        ("timeline: [{at: 1, for: 2, kind: demand, target: [training]}]", "no service runs on"),
        ("- a list", "must be a mapping, found list"),
        ("{unclosed: [", "not YAML"),
    ],
)
def test_a_wrong_scenario_says_where(tmp_path: Path, text: str, problem: str) -> None:
    """The error names the setting, the file and the field, and shows what was found."""
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(Misconfigured, match=problem) as caught:
        Simulator(load(str(path)))
    assert caught.value.setting == "RIDGELINE_COLLECT_SCENARIO"


def test_a_missing_scenario_file_says_so(tmp_path: Path) -> None:
    """The path is in the message."""
    with pytest.raises(Misconfigured, match=r"cannot read .*gone\.yaml"):
        load(str(tmp_path / "gone.yaml"))


def test_lengths_of_requests_are_counted_by_engine() -> None:
    """Cumulative in the bound; the last counter holds every request."""
    meters, requests = Meters(2), np.zeros(3, dtype=REQUEST)
    requests["output"] = [40, 100, 500_000]
    meters.finished(np.array([0, 1, 1]), requests, np.ones(3))

    counts = np.array([meters.totals[name] for name in length_columns("output")]).T

    assert [1] * 12 == counts[0].tolist()
    assert [0] + [1] * 10 + [2] == counts[1].tolist()


def two_services(**changed: object) -> Scenario:
    """A service that is split and another one whose engines do both, with what else is said."""
    services = [
        {"name": "chat", "prefill": 1, "decode": 1, "traffic": {"requests_per_second": 10}},
        {"name": "code", "model": "qwen3-32b", "mixed": 2, "traffic": {"requests_per_second": 20}},
    ]
    cluster = {"prefill": 0, "decode": 0, "training": 1, "services": services}
    return Scenario.model_validate({"cluster": cluster} | changed)


def test_services_stand_apart() -> None:
    """Pools and models of services are in the inventory; no request crosses from one to another."""
    simulator = Simulator(two_services())
    for second in range(0, 60, 5):
        batch = simulator.collect(START_MS + second * 1000)
    rows, engines = dict(batch.frames)[SERVING], simulator.topology.inventory(0)
    served = [(i.pool, i.model) for i in engines if i.kind == "serving"]
    done = rows["requests_finished"].astype(float)

    assert [
        ("chat/prefill", "llama3-70b"),
        ("chat/decode", "llama3-70b"),
        ("code/mixed", "qwen3-32b"),
        ("code/mixed", "qwen3-32b"),
    ] == served
    assert "training" == simulator.topology.pools[4]
    # the warm-up's half minute counts too
    assert 10 * 85 == pytest.approx(done[0], rel=0.15)
    assert done[0] == pytest.approx(done[1], rel=0.05)
    assert 20 * 85 == pytest.approx(done[2:].sum(), rel=0.15)
    assert (rows["kv_transfer_bytes"] > 0).tolist() == [True, True, False, False]


def test_demand_on_one_service_leaves_the_other() -> None:
    """Three times the users of one service; the other one does what it did without them."""
    event = {"at": 0, "for": 60, "kind": "demand", "target": ["code"], "rate_factor": 3}
    done = []
    for timeline in ([], [event]):
        simulator = Simulator(two_services(timeline=timeline))
        for second in range(0, 60, 5):
            batch = simulator.collect(START_MS + second * 1000)
        done.append(dict(batch.frames)[SERVING]["requests_finished"].astype(float))
    calm, busy = done

    assert calm[:2] == pytest.approx(busy[:2], rel=0.15)
    assert busy[2:].sum() > 2 * calm[2:].sum()

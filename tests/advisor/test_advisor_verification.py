"""What a change brought, from windows whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from advisor import facts, verification
from advisor.facts import history
from advisor.facts.history import DeviceMean, Measure, Sample, Scope, device_means, samples
from advisor.notify import message
from advisor.outcome import IDLE, MEASURES, PAUSED, QUEUE, Verifier, measures
from advisor.verification import NotComparable, compared, verdict_of
from ridgeline.events import (
    Action,
    Advice,
    Confidence,
    DeviceKind,
    MetricChange,
    Verdict,
)
from ridgeline.schema import FABRIC, GPU, SCHEMAS, SERVING, Kind
from ridgeline.store import Store
from ridgeline.store.derived import HEAT_SHARE
from ridgeline.store.tables import KIND
from tests.advisor.test_advisor_engine import piece
from tests.advisor.test_advisor_facts import NOW_MS, item, store, windows  # noqa: F401 - a fixture

RNG = np.random.default_rng(11)
MINUTE_MS = 60_000
LOADED = Measure(
    name="queue",
    unit="1",
    family="t",
    by="pool",
    value="v",
    load="l",
    load_name="requests/s",
    worse_with_load=True,
    money_follows=True,
)


def drawn(values: np.ndarray, loads: np.ndarray) -> list[Sample]:
    """Samples, one a window."""
    pairs = zip(values, loads, strict=True)
    return [Sample(at_ms=n, value=float(v), load=float(x)) for n, (v, x) in enumerate(pairs)]


def side(level: float, load: float, count: int = 180, slope: float = 0.5) -> list[Sample]:
    """Windows whose metric is `level` at load 10 and grows with load."""
    loads = RNG.normal(load, 1.0, count)
    return drawn(level + slope * (loads - 10) + RNG.normal(0, 0.3, count), loads)


def test_a_shift_is_found_with_its_interval() -> None:
    """From 8 to 5 at one load: the interval holds -3 and not 0."""
    change = compared(LOADED, side(8, 10), side(5, 10))

    assert isinstance(change, MetricChange)
    assert change.change.low < -3 < change.change.high < 0
    assert change.change.mid == pytest.approx(-3, abs=0.3)
    assert change.before.confidence is Confidence.MEASURED


def test_what_load_explains_is_no_change() -> None:
    """The metric fell because load did: at the loads both sides saw nothing changed."""
    change = compared(LOADED, side(8, 11), side(8, 9))

    assert isinstance(change, MetricChange)
    assert change.change.low < 0 < change.change.high
    naive = np.mean([s.value for s in side(8, 9)]) - np.mean([s.value for s in side(8, 11)])
    assert abs(change.change.mid) < 0.4 * abs(naive)


def test_loads_that_never_met_cannot_be_compared() -> None:
    """Half the load after the change: an improvement may be all load's."""
    found = compared(LOADED, side(8, 20), side(5, 10))

    assert isinstance(found, NotComparable)
    assert "requests/s was" in found.text


def test_an_improvement_at_more_load_counts_a_worsening_does_not() -> None:
    """More load can only hide an improvement; it would explain a worsening."""
    better = compared(LOADED, side(8, 10), side(1, 20, slope=0))
    worse = compared(LOADED, side(8, 10), side(12, 20, slope=0))

    assert isinstance(better, MetricChange)
    assert "at least this" in better.change.source
    assert isinstance(worse, NotComparable)


def test_too_few_windows_say_so() -> None:
    """Two minutes are needed on each side."""
    found = compared(LOADED, side(8, 10, 11), side(5, 10))

    assert found == NotComparable("queue: 11 windows before the change", final=True)


@pytest.mark.parametrize("shift", [0.0, -2.0])
def test_the_interval_holds_the_truth_though_windows_resemble_their_neighbours(
    shift: float,
) -> None:
    """Autocorrelated noise: nine of ten intervals hold the true change (seeds are fixed)."""
    held = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        change = compared(LOADED, walk(rng, 8), walk(rng, 8 + shift))
        assert isinstance(change, MetricChange)
        held += change.change.low < shift < change.change.high

    assert held >= 88


def walk(rng: np.random.Generator, level: float) -> list[Sample]:
    """Half an hour whose noise remembers four fifths of the window before."""
    noise = np.zeros(180)
    for n in range(1, 180):
        noise[n] = 0.8 * noise[n - 1] + rng.normal(0, 0.3)
    loads = rng.normal(10, 1, 180)
    return drawn(level + noise + 0.5 * (loads - 10), loads)


@dataclass(frozen=True)
class Fleet:
    """Devices in racks, each with a level and a change of its own, read in windows with noise."""

    racks: np.ndarray
    levels: np.ndarray
    changes: np.ndarray

    @classmethod
    def drawn(cls, rng: np.random.Generator, devices: int, between: float, within: float) -> Fleet:
        """Racks differ in what the change does by `between`, devices of one by `within`."""
        racks = np.sort(rng.integers(0, 30, devices))
        changes = -3 + between * rng.normal(size=30)[racks] + within * rng.normal(size=devices)
        return cls(racks, 8 + rng.normal(size=devices), changes)

    def chosen(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Of each rack its share, as the store chooses."""
        order = rng.permutation(len(self.racks))
        place = np.empty(len(order))
        for rack in np.unique(self.racks):
            its = order[self.racks[order] == rack]
            place[its] = (np.arange(len(its)) + 0.5) / len(its)
        return np.sort(np.argsort(place, kind="stable")[:count])

    def change(self, rng: np.random.Generator, count: int) -> tuple[MetricChange, MetricChange]:
        """As read of so many devices: through time alone, and as a sample of all."""
        ids = self.chosen(rng, count)
        both, devices = [], []
        for level in (self.levels[ids], self.levels[ids] + self.changes[ids]):
            noise = rng.normal(0, 1, (180, count)) + rng.normal(0, 0.05, (180, 1))
            windows_ = level + noise
            both.append(drawn(windows_.mean(axis=1), np.full(180, 10.0)))
            means = zip(ids, self.racks[ids], windows_.mean(axis=0), strict=True)
            devices.append([DeviceMean(device=i, rack=f"r{r}", value=v) for i, r, v in means])
        found = compared(LOADED, *both)
        assert isinstance(found, MetricChange)
        sampled = verification.of_sample(found, len(self.racks), *devices)
        assert isinstance(sampled, MetricChange)
        return found, sampled


@pytest.mark.parametrize(
    ("devices", "count", "between", "within"),
    [
        pytest.param(3000, 300, 0.0, 2.0, id="a tenth"),
        pytest.param(600, 400, 0.0, 2.0, id="two thirds"),
        pytest.param(3000, 300, 3.0, 0.5, id="racks that differ"),
        pytest.param(2000, 40, 1.0, 2.0, id="hardly more than racks"),
    ],
)
def test_the_interval_holds_the_choice_of_devices(
    devices: int, count: int, between: float, within: float
) -> None:
    """Of a sample: 19 of 20 intervals hold the mean change of all devices, chosen or not.

    Three standard deviations of 200 draws around 95.4 %. Through time alone far fewer do.
    """
    held = [0, 0]
    for seed in range(200):
        rng = np.random.default_rng(seed)
        fleet = Fleet.drawn(rng, devices, between, within)
        truth = float(fleet.changes.mean())
        for n, change in enumerate(fleet.change(rng, count)):
            held[n] += change.change.low <= truth <= change.change.high

    alone, sampled = held
    assert sampled >= 182
    assert alone < (190 if between > within else 150)
    if count / 30 > 2:  # racks are regarded, so that the interval is not too wide either
        assert sampled < 200


def test_a_scope_read_whole_has_no_choice_in_it() -> None:
    """Nor does a sample of one device claim to know what the others did."""
    rng = np.random.default_rng(1)
    alone, whole = Fleet.drawn(rng, 60, 0.0, 2.0).change(rng, 60)
    one = (DeviceMean(device=1, rack="r0", value=4.0),)

    assert alone == whole
    assert verification.of_sample(alone, 60, one, one) == NotComparable(
        "queue: 1 devices known on both sides"
    )


def test_without_load_all_windows_count() -> None:
    """Idle GPUs depend on nothing: a constant share has an interval of no width."""
    before = [Sample(at_ms=n, value=0.5, load=None) for n in range(20)]
    after = [Sample(at_ms=n, value=0.25, load=None) for n in range(20)]

    change = compared(IDLE, before, after)

    assert isinstance(change, MetricChange)
    assert (-0.25, -0.25) == (change.change.low, change.change.high)


@pytest.mark.parametrize(
    ("after", "verdict", "share"),
    [
        (0.5, Verdict.KEPT, 15 / 16),
        (6.5, Verdict.PARTLY, 0.19),
        (8.0, Verdict.NOT_KEPT, 0.0),
        (11.0, Verdict.WORSE, -0.375),
    ],
)
def test_the_verdict_sets_what_was_brought_beside_what_was_promised(
    after: float, verdict: Verdict, share: float
) -> None:
    """Promised 500 to 2,000; brought by the share of the metric that went away."""
    advice = piece(1000)
    change = compared(LOADED, side(8, 10, slope=0), side(after, 10, slope=0))

    result = verdict_of(advice, [LOADED], [change], NOW_MS)

    assert verdict is result.verdict
    assert result.promised == advice.gain
    assert result.brought is not None
    assert result.brought.mid == pytest.approx(1000 * share, abs=60)
    assert result.brought.low <= result.brought.mid <= result.brought.high
    assert "promised 500 to 2,000 USD/month" in result.text


def test_money_that_cannot_be_measured_is_said() -> None:
    """A latency that fell is a kept promise without a sum."""
    latency = Measure(name="TPOT p99", unit="s", family="t", by="pool", value="v", load="l")
    change = compared(latency, side(8, 10), side(5, 10))

    result = verdict_of(piece(1000), [latency], [change], NOW_MS)

    assert (Verdict.KEPT, None) == (result.verdict, result.brought)
    assert "not measurable in money" in result.text


def test_every_action_that_changes_something_has_a_metric_or_says_that_none_is_kept() -> None:
    """Inspecting, ordering power, and what shows only over days are the changes without one."""
    without = {a for a in Action if not measures(piece(action=a))}

    expected = {Action.KEEP, Action.INSPECT_HARDWARE, Action.ADD_POWER, Action.SHIFT_LOAD}
    assert expected == without
    rail = piece(action=Action.FIX_FABRIC, scope="rail0")
    assert (PAUSED,) == measures(rail.model_copy(update={"scope_kind": "cluster"}))
    assert "throttle_thermal" in HEAT_SHARE


def changed(advice: Advice, at_ms: int, outcome: str = "resolved by kim, done") -> Advice:
    """The advice after the change."""
    return advice.model_copy(
        update={"changed_ms": at_ms, "outcome": outcome, "created_ms": at_ms - 20 * MINUTE_MS}
    )


def cooled(store: Store, hot_until_ms: int, busy_after: float) -> Advice:  # noqa: F811 - a fixture
    """A loop that throttled 30 % of the time until a moment and never after it."""
    gpu = item("n0", DeviceKind.GPU, "GPU-0", cooling_loop="loop-a", pool="decode")
    store.insert_events([gpu])
    rows = windows(GPU, gpu.device, gpu.node, 60)
    hot = rows["window_start"] < hot_until_ms
    rows["throttle_thermal_ns_inc"] = np.where(hot, 3e9, 0) + RNG.normal(0, 1e8, len(rows))
    rows["sm_util_ratio_avg"] = np.where(hot, 0.8, busy_after) + RNG.normal(0, 0.02, len(rows))
    store.insert_windows(GPU, rows)
    made = piece(1000, scope="loop-a", action=Action.FIX_COOLING)
    return changed(made.model_copy(update={"scope_kind": "cooling_loop"}), hot_until_ms)


def verifier(store: Store) -> Verifier:  # noqa: F811 - a fixture
    """Compares ten minutes."""
    return Verifier(store, facts.Span(now_ms=0, history_ms=900_000), 10)


def test_a_loop_that_was_put_right_is_measured_in_the_real_store(store: Store) -> None:  # noqa: F811
    """30 % throttled before, none after, at the same load: what was promised came."""
    advice = cooled(store, NOW_MS - 20 * MINUTE_MS, busy_after=0.8)

    result = verifier(store)(advice, NOW_MS)

    assert result is not None
    assert Verdict.KEPT is result.verdict
    (change,) = result.changes
    assert change.before.mid == pytest.approx(0.3, abs=0.01)
    assert change.after.mid == pytest.approx(0, abs=0.01)
    assert result.brought is not None
    assert result.brought.mid == pytest.approx(1000, abs=40)
    assert change.windows_after == 60


def test_a_condition_that_went_by_itself_is_compared_with_while_it_was_there(
    store: Store,  # noqa: F811 - a fixture
) -> None:
    """Heat is judged over three minutes: what came later than that before the end is left out."""
    noticed = NOW_MS - 17 * MINUTE_MS
    advice = cooled(store, NOW_MS - 20 * MINUTE_MS, busy_after=0.8).model_copy(
        update={"outcome": "the condition is gone", "changed_ms": noticed}
    )

    result = verifier(store)(advice, NOW_MS)

    assert result is not None
    assert Verdict.KEPT is result.verdict
    assert result.changes[0].before.mid == pytest.approx(0.3, abs=0.01)


def test_a_condition_too_short_to_measure_is_said_at_once(store: Store) -> None:  # noqa: F811
    """There a minute, judged over three: before and after cannot be told apart."""
    advice = cooled(store, NOW_MS - 20 * MINUTE_MS, busy_after=0.8).model_copy(
        update={
            "outcome": "the condition is gone",
            "created_ms": NOW_MS - 21 * MINUTE_MS,
            "changed_ms": NOW_MS - 20 * MINUTE_MS,
        }
    )

    result = verifier(store)(advice, NOW_MS)

    assert result is not None
    assert Verdict.NOT_MEASURABLE is result.verdict
    assert "0 windows before" in result.text


def test_it_waits_for_enough_to_measure(store: Store) -> None:  # noqa: F811
    """Two minutes after the change there is nothing to say yet."""
    assert verifier(store)(cooled(store, NOW_MS - 2 * MINUTE_MS, 0.8), NOW_MS) is None


def test_an_idle_machine_is_no_proof_of_cooling(store: Store) -> None:  # noqa: F811
    """Throttling stopped because work did: tried again for a day, then said to be unmeasurable."""
    advice = cooled(store, NOW_MS - 20 * MINUTE_MS, busy_after=0.1)
    verify = verifier(store)
    later = NOW_MS + 25 * 60 * MINUTE_MS

    assert verify(advice, NOW_MS) is None
    result = verify(advice, later)

    assert result is not None
    assert Verdict.NOT_MEASURABLE is result.verdict
    assert result.brought is None
    assert result.text.startswith("Not measurable: GPU time throttled by heat")


def test_what_no_telemetry_shows_is_said_at_once(store: Store) -> None:  # noqa: F811
    """Inspecting a node promises nothing that a sensor reads."""
    advice = changed(piece(action=Action.INSPECT_HARDWARE), NOW_MS - 1000)

    result = verifier(store)(advice, NOW_MS)

    assert result is not None
    assert Verdict.NOT_MEASURABLE is result.verdict


def test_queue_and_pause_queries_run_in_the_real_store(store: Store) -> None:  # noqa: F811
    """A queue that ended under more load, and a rail whose pauses stopped."""
    engine = item("n0", DeviceKind.SERVING, "http://a", pool="decode")
    port = item("n0", DeviceKind.PORT, "mlx5_0/1", rail="rail0")
    store.insert_events([engine, port])
    cut = NOW_MS - 20 * MINUTE_MS
    rows = windows(SERVING, engine.device, engine.node, 60, generation_tokens_inc=5e3)
    old = rows["window_start"] < cut
    rows["requests_waiting_avg"] = np.where(old, 40, 0) + RNG.normal(2, 0.2, len(rows))
    rows["prompt_tokens_inc"] = np.where(old, 1e5, 1.5e5) + RNG.normal(0, 100, len(rows))
    store.insert_windows(SERVING, rows)
    traffic = windows(FABRIC, port.device, port.node, 60, tx_bytes_inc=1e11)
    traffic["pfc_rx_pause_us_inc"] = np.where(traffic["window_start"] < cut, 2e6, 0)
    store.insert_windows(FABRIC, traffic)
    rent = changed(piece(scope="decode", action=Action.BURST_TO_CLOUD), cut)
    rail = changed(piece(scope="rail0", action=Action.FIX_FABRIC), cut)
    results = [
        verifier(store)(advice, NOW_MS)
        for advice in (rent, rail.model_copy(update={"scope_kind": "cluster"}))
    ]

    assert [Verdict.KEPT, Verdict.KEPT] == [r.verdict for r in results if r is not None]
    assert QUEUE.name in (results[0].text if results[0] else "")


RACKS = {"r0": 4, "r1": 2, "r2": 2}  # nodes of two GPUs each


def pool_of_racks(store: Store, cut_ms: int) -> dict[int, str]:  # noqa: F811 - a fixture
    """Sixteen GPUs of three racks, cooler by a rack's own number of watts after `cut_ms`."""
    racks: dict[int, str] = {}
    for rack, nodes in RACKS.items():
        for host in (f"{rack}n{n}" for n in range(nodes)):
            port = item(host, DeviceKind.PORT, "p0", pool="decode", rack=rack)
            store.insert_events([port])  # of another kind: takes no place of a GPU
            for g in range(2):
                gpu = item(host, DeviceKind.GPU, f"GPU-{g}", pool="decode", rack=rack)
                store.insert_events([gpu])
                rows = windows(GPU, gpu.device, gpu.node, 60, sm_util_ratio_avg=0.5)
                less = 100.0 * (1 + int(rack[1])) * (rows["window_start"] >= cut_ms)
                rows["power_watts_avg"] = 500 - less
                store.insert_windows(GPU, rows)
                store.insert_windows(GPU, rows)  # as after a replay
                racks[gpu.device] = rack
    return racks


def test_of_a_large_scope_each_rack_gives_its_share_and_the_sample_is_said(
    store: Store,  # noqa: F811 - a fixture
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Four of sixteen, two of the rack that has half: the mean is that of all, all words say it."""
    cut = NOW_MS - 20 * MINUTE_MS
    racks = pool_of_racks(store, cut)
    advice = changed(piece(scope="decode", action=Action.CAP_POWER), cut)
    advice = advice.model_copy(update={"scope_kind": "pool"})
    whole = verifier(store)(advice, NOW_MS)
    for module in (history, verification):
        monkeypatch.setattr(module, "MOST_COMPARED", 4)
    sample = verifier(store)(advice, NOW_MS)

    assert whole is not None
    assert sample is not None
    (all_of_it,), (some_of_it,) = whole.changes, sample.changes
    assert (16, 16) == (all_of_it.devices, all_of_it.devices_in_scope) == (len(racks),) * 2
    assert "devices" not in whole.text
    assert (4, 16) == (some_of_it.devices, some_of_it.devices_in_scope)
    assert "on 4 of 16 devices" in sample.text
    assert sample.changes[0].change.source.endswith("on 4 of 16 devices")
    assert '"devices":4,"devices_in_scope":16' in sample.model_dump_json()
    assert message.of_verification(advice, sample)[1].count("on 4 of 16 devices") == 2
    assert some_of_it.change.mid == pytest.approx(-175)  # (2 x 100 + 200 + 300) / 4
    # devices hold still, but 12 of 16 were not looked at: 2 sqrt(9167 / 4 * (1 - 4 / 16))
    half = some_of_it.change.high - some_of_it.change.mid
    assert half == pytest.approx(82.9, abs=0.1)
    assert all_of_it.change.mid == pytest.approx(-175)


def test_a_large_scope_is_read_from_minutes_where_there_are_enough(
    store: Store,  # noqa: F811 - a fixture
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of half an hour a side; of less, windows are read."""
    cut = NOW_MS - 30 * MINUTE_MS
    pool_of_racks(store, cut)
    store.roll_up(GPU, NOW_MS - 60 * MINUTE_MS, NOW_MS)
    monkeypatch.setattr(history, "MOST_COMPARED", 4)
    advice = changed(piece(scope="decode", action=Action.CAP_POWER), cut)
    advice = advice.model_copy(update={"scope_kind": "pool"})
    span = facts.Span(now_ms=0, history_ms=900_000)

    long, short = (Verifier(store, span, minutes)(advice, NOW_MS) for minutes in (25, 20))

    assert long is not None
    assert short is not None
    assert [24, 120] == [result.changes[0].windows_after for result in (long, short)]
    assert long.changes[0].windows_before == 25
    for result in (long, short):
        assert result.changes[0].change.mid == pytest.approx(-175)


@pytest.mark.parametrize("measure", MEASURES, ids=lambda m: f"{m.name} by {m.by}")
def test_minutes_say_what_their_windows_say(store: Store, measure: Measure) -> None:  # noqa: F811
    """Each metric and its load, of two devices that hold still; a minute that goes on is no one."""
    schema = SCHEMAS[measure.family]
    kind = DeviceKind(KIND[measure.family])
    where = {"pool": "decode", "host": "host"}.get(measure.by, "x")
    start, end = NOW_MS - 5 * MINUTE_MS, NOW_MS - 10_000
    for number in (1, 2):
        at = {} if measure.by == "host" else {measure.by: where}
        one = item("host", kind, f"d{number}", **at)
        store.insert_events([one])
        rows = windows(schema, one.device, one.node, 5)
        for f in schema.window_fields:
            if f.kind in {Kind.GAUGE, Kind.COUNTER}:
                rows[f.name] = 2.0**30 * number if f.how == "inc" else 0.25 * number
        store.insert_windows(schema, rows)
    store.roll_up(schema, start, NOW_MS)
    scope = Scope(names=frozenset((where,)), seen_ms=0)
    by_window, by_minute = (
        samples(store, measure, scope, start, end, 10_000, minutes=minutes)
        for minutes in (False, True)
    )

    assert [29, 4] == [len(by_window), len(by_minute)]
    assert by_minute[-1].at_ms == NOW_MS - 2 * MINUTE_MS
    assert {(s.value, s.load) for s in by_minute} == {(s.value, s.load) for s in by_window}
    each, minutely = (
        {
            d.device: d.value
            for d in device_means(store, measure, scope, start, end, 10_000, minutes=m)
        }
        for m in (False, True)
    )
    assert 2 == len(each)
    assert each == pytest.approx(minutely)
    assert by_window[0].value == pytest.approx(sum(each.values()) / 2)


def test_devices_that_are_long_gone_take_no_place_in_a_sample(store: Store) -> None:  # noqa: F811
    """A GPU that was last seen a week before the change is not of the scope any more."""
    cut = NOW_MS - 20 * MINUTE_MS
    pool_of_racks(store, cut)
    gone = item("old", DeviceKind.GPU, "GPU-0", pool="decode", rack="r0")
    store.insert_events([gone.model_copy(update={"seen_ms": cut - 7 * 24 * 60 * MINUTE_MS})])
    advice = changed(piece(scope="decode", action=Action.CAP_POWER), cut)
    result = verifier(store)(advice.model_copy(update={"scope_kind": "pool"}), NOW_MS)

    assert result is not None
    assert result.changes[0].devices_in_scope == 16

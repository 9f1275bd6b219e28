"""The simulated cluster as a whole: what must hold between its parts, whatever happens."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from collectors.protocol import Batch
from collectors.simulator import Scenario, Simulator, create, load
from ridgeline.errors import Misconfigured
from ridgeline.pools import Role
from ridgeline.schema import FABRIC, FACILITY, GPU, SCHEMAS, SERVING, Kind, Schema
from ridgeline.settings import CollectSettings

START_MS = 1_790_000_000_000
PREFILL, DECODE, TRAINING = slice(0, 64), slice(64, 192), slice(192, 256)


def run(simulator: Simulator, seconds: int, begin: int = 0) -> list[Batch]:
    """One batch a second."""
    times = range(begin, begin + seconds)
    return [simulator.collect(START_MS + 1000 * second) for second in times]


def rows_of(batch: Batch, schema: Schema) -> np.ndarray:
    """Rows of one family."""
    return next(rows for found, rows in batch.frames if found is schema)


def scenario(*events: dict[str, object], **parts: object) -> Scenario:
    """The steady cluster with a timeline."""
    return Scenario.model_validate({"timeline": list(events), "seed": 3, **parts})


def mean(batches: list[Batch], schema: Schema, column: str, which: slice) -> float:
    """Mean of a column over batches and devices, missing readings left out."""
    return float(np.nanmean([rows_of(batch, schema)[column][which] for batch in batches]))


def increase(batches: list[Batch], schema: Schema, column: str) -> np.ndarray:
    """Increase of a counter from the first batch to the last, of every device."""
    first, last = (rows_of(b, schema)[column].astype(np.float64) for b in (batches[0], batches[-1]))
    return np.asarray(last - first)


@pytest.fixture(scope="module")
def demo() -> list[Batch]:
    """One whole round of the demo at the demo's speed."""
    return run(Simulator(load("demo"), speed=5.0), 180)


@pytest.fixture(scope="module")
def steady() -> list[Batch]:
    """A minute of the healthy cluster."""
    return run(Simulator(load("steady")), 60)


def test_counters_never_decrease(demo: list[Batch]) -> None:
    """No counter of any family goes back, in a whole round of trouble."""
    for schema in SCHEMAS.values():
        for name in schema.of_kind(Kind.COUNTER):
            values = np.array([rows_of(b, schema)[name] for b in demo])
            assert (values[1:] >= values[:-1]).all(), name


def test_ratios_stay_between_0_and_1(demo: list[Batch]) -> None:
    """A ratio beyond 1 is a bug of ours."""
    for schema in SCHEMAS.values():
        for column in schema.columns:
            if column.unit == "ratio":
                values = np.array([rows_of(b, schema)[column.name] for b in demo])
                present = values[~np.isnan(values)]
                assert (present >= 0).all(), column.name
                assert (present <= 1).all(), column.name


def test_energy_is_the_integral_of_power(demo: list[Batch]) -> None:
    """Each second's energy is that second's average power, of every GPU."""
    for before, after in pairwise(demo):
        pair = [before, after]
        joules = increase(pair, GPU, "energy_mj") / 1e3
        np.testing.assert_allclose(joules, rows_of(after, GPU)["power_watts"], rtol=1e-3)


def test_rack_power_is_its_gpus_and_hosts(steady: list[Batch]) -> None:
    """Rack energy less the hosts' own 1.8 kW a node is the energy of the rack's GPUs."""
    racks = increase(steady, FACILITY, "energy_joules")[:8]
    gpus = increase(steady, GPU, "energy_mj").reshape(8, 32).sum(axis=1) / 1e3

    np.testing.assert_allclose(racks - 4 * 1800.0 * 59, gpus, rtol=1e-3)


def test_heat_removed_is_most_of_the_rack_power(steady: list[Batch]) -> None:
    """In steady state the coolant carries 85 % of the loop's power: flow x heat capacity x dT."""
    racks = np.mean([rows_of(b, FACILITY)["power_watts"][:8] for b in steady], axis=0)
    cdus = np.mean([rows_of(b, FACILITY)["heat_removed_watts"][8:] for b in steady], axis=0)
    last = rows_of(steady[-1], FACILITY)[8:]
    rise = last["return_celsius"] - last["supply_celsius"]
    by_formula = 0.994 * 4180 * last["flow_liters_per_minute"] / 60 * rise

    np.testing.assert_allclose(cdus, 0.85 * racks.reshape(2, 4).sum(axis=1), rtol=0.05)
    np.testing.assert_allclose(last["heat_removed_watts"], by_formula, rtol=1e-4)


def test_prefill_works_the_tensor_cores_and_decode_the_memory(steady: list[Batch]) -> None:
    """Decode reads memory far more than it multiplies; prefill the other way round."""
    decode_dram = mean(steady, GPU, "dram_util_ratio", DECODE)
    assert decode_dram > 5 * mean(steady, GPU, "tensor_util_ratio", DECODE)
    assert mean(steady, GPU, "tensor_util_ratio", PREFILL) > 1.5 * mean(
        steady, GPU, "dram_util_ratio", PREFILL
    )
    assert mean(steady, GPU, "sm_util_ratio", DECODE) > 0.8


def test_steady_cluster_has_no_trouble(steady: list[Batch]) -> None:
    """The negative scenario: no throttling, marks, losses, preemptions, refusals or queues."""
    for schema, column in (
        (GPU, "throttle_power_ns"),
        (GPU, "throttle_thermal_ns"),
        (FABRIC, "ecn_marked_packets"),
        (FABRIC, "cnp_handled"),
        (FABRIC, "out_of_sequence"),
        (FABRIC, "pfc_rx_pause_us"),
        (SERVING, "preemptions"),
        (SERVING, "requests_failed"),
    ):
        # a few prompts in a row may lift the best GPUs of the fleet to their power limit
        allowed = 0.01 * 59e9 if column == "throttle_power_ns" else 0.0
        assert increase(steady, schema, column).max() <= allowed, column
    assert mean(steady, SERVING, "requests_waiting", slice(0, 24)) < 2
    assert mean(steady, GPU, "dram_util_ratio", DECODE) < 0.62


def test_idle_cluster_draws_idle_power_and_serves_nothing() -> None:
    """Without requests there are no latencies (missing, not 0) and the GPUs idle."""
    last = run(Simulator(load("idle")), 5)[-1]

    assert np.allclose(rows_of(last, GPU)["power_watts"], 75.0)
    assert np.isnan(rows_of(last, SERVING)["ttft_p50_seconds"]).all()
    assert np.isnan(rows_of(last, SERVING)["tpot_p99_seconds"]).all()
    assert (rows_of(last, SERVING)["generation_tokens"] == 0).all()


def test_littles_law(steady: list[Batch]) -> None:
    """Requests in the system = rate of finished ones x mean time in it."""
    inside = sum(
        mean(steady[1:], SERVING, column, slice(0, 24)) * 24
        for column in ("requests_running", "requests_waiting")
    )
    seconds = increase(steady, SERVING, "e2e_us")[8:].sum() / 1e6

    assert inside == pytest.approx(seconds / 59, rel=0.1)


def test_tokens_generated_are_tokens_counted(steady: list[Batch]) -> None:
    """Each request's first token comes from prefill and the rest from decode."""
    generated = increase(steady, SERVING, "generation_tokens")
    assert generated[:8].sum() == increase(steady, SERVING, "ttft_count")[:8].sum()
    assert generated[8:].sum() == pytest.approx(increase(steady, SERVING, "tpot_count")[8:].sum())


def test_kv_cache_leaves_prefill_and_reaches_decode(steady: list[Batch]) -> None:
    """What engines hand over crosses the ports: 327,680 B a prompt token, sent = received."""
    serving = increase(steady, SERVING, "kv_transfer_bytes")
    prompt = increase(steady, SERVING, "prompt_tokens")[:8].sum()
    sent = increase(steady, FABRIC, "tx_bytes").reshape(32, 2)
    received = increase(steady, FABRIC, "rx_bytes").reshape(32, 2)

    assert serving[:8].sum() == pytest.approx(prompt * 327_680, rel=1e-6)
    assert serving[:8].sum() == pytest.approx(serving[8:].sum(), rel=1e-6)
    assert sent[:8].sum() == pytest.approx(serving[:8].sum(), rel=0.05)
    assert sent.sum() == pytest.approx(received.sum(), rel=1e-6)


def test_long_contexts_make_decode_bandwidth_bound() -> None:
    """More KV to read a step: memory busier, tokens slower, tensor cores still idle."""
    long = {"at": 5, "for": 500, "kind": "demand", "prompt_scale": 6, "prefix_hit_ratio": 0.9}
    batches = run(Simulator(scenario({**long, "output_scale": 3})), 50)
    before, during = batches[:5], batches[-10:]

    assert mean(during, GPU, "dram_util_ratio", DECODE) > 0.72
    assert mean(during, GPU, "tensor_util_ratio", DECODE) < 0.2
    assert mean(during, SERVING, "tpot_p50_seconds", slice(8, 24)) > 1.5 * mean(
        before, SERVING, "tpot_p50_seconds", slice(8, 24)
    )
    assert increase(batches, SERVING, "preemptions").sum() == 0
    assert 350 < mean(during, GPU, "power_watts", DECODE) < 450  # Splitwise: decode draws less


def test_little_load_is_not_bandwidth_bound() -> None:
    """The look-alike: hardly any request, low tensor activity, and memory half idle."""
    quiet = {"at": 1, "for": 500, "kind": "demand", "rate_factor": 0.02}
    last = run(Simulator(scenario(quiet)), 30)[-10:]

    assert mean(last, GPU, "dram_util_ratio", DECODE) < 0.45
    assert mean(last, SERVING, "requests_running", slice(8, 24)) < 2


def test_heat_throttles_clocks_and_work() -> None:
    """Warm and slow coolant: margins vanish on that loop only, clocks fall, power follows."""
    hot = {"at": 5, "for": 500, "kind": "cooling", "target": ["loop-b"]}
    simulator = Simulator(scenario({**hot, "supply_rise_celsius": 18, "flow_ratio": 0.4}), 10.0)
    batches = run(simulator, 60)
    before, after = batches[:1], batches[-10:]
    held = increase(batches[-11:], GPU, "throttle_thermal_ns") / 10e9

    assert held[TRAINING].min() > 0.5
    assert held[:128].max() == 0.0
    assert mean(after, GPU, "sm_clock_mhz", TRAINING) < 1950
    assert mean(after, GPU, "power_watts", TRAINING) < mean(before, GPU, "power_watts", TRAINING)
    assert mean(after, GPU, "tlimit_margin_celsius", TRAINING) < 2
    reasons = rows_of(batches[-1], GPU)["clock_event_reasons"][TRAINING]
    assert (reasons & 0x60 > 0).all()
    split = ("throttle_sw_thermal_ns", "throttle_hw_thermal_ns")
    whole = sum(increase(batches, GPU, name) for name in split)
    np.testing.assert_allclose(whole, increase(batches, GPU, "throttle_thermal_ns"), atol=1e3)


def test_power_cap_slows_prefill_but_not_decode() -> None:
    """At 350 W prompts take longer and decode loses little (Splitwise section 3.5)."""
    cap = {"kind": "power_cap", "target": ["prefill", "decode"], "limit_watts": 350}
    capped = run(Simulator(scenario({"at": 0, "for": 500, **cap})), 30)[10:]
    free = run(Simulator(scenario()), 30)[10:]
    busy = [mean(b, GPU, "sm_util_ratio", PREFILL) for b in (free, capped)]
    tpot = [mean(b, SERVING, "tpot_p50_seconds", slice(8, 24)) for b in (free, capped)]

    assert increase(capped, GPU, "throttle_power_ns")[PREFILL].min() > 0
    assert increase(capped, GPU, "throttle_power_brake_ns").max() == 0
    assert mean(capped, GPU, "sm_clock_mhz", PREFILL) < 1700
    assert busy[1] > 1.15 * busy[0]  # the same prompts need more of the time
    assert tpot[1] == pytest.approx(tpot[0], rel=0.05)
    assert max(rows_of(b, GPU)["power_watts"].max() for b in capped[1:]) > 350  # training is free
    assert max(rows_of(b, GPU)["power_watts"][:192].max() for b in capped) <= 350.5


def test_power_brake_is_told_apart() -> None:
    """A brake from the feed has its own counter and reason bit."""
    brake = {"kind": "power_cap", "target": ["rack06"], "limit_watts": 300, "brake": True}
    batches = run(Simulator(scenario({"at": 0, "for": 99, **brake})), 5)

    assert increase(batches, GPU, "throttle_power_brake_ns")[192:224].min() > 0
    assert (rows_of(batches[-1], GPU)["clock_event_reasons"][192:224] & 0x84 == 0x80).all()


def test_xid_strikes_once_however_fast_the_script() -> None:
    """One event and one count a round, also when the event is shorter than a step."""
    xid = {"at": 20, "kind": "xid", "target": ["node13"], "gpu": 3, "code": 94, "for": 1}
    batches = run(Simulator(scenario(xid), speed=7.0), 10)
    events = [event for batch in batches for event in batch.events]

    # rounds are 21 s long and repeat every 3 real seconds
    assert [(e.kind, e.code) for e in events] == [("xid", 94)] * 3
    counted = rows_of(batches[-1], GPU)["xid_events"]
    assert counted[13 * 8 + 3] == 3
    assert counted.sum() == 3
    assert rows_of(batches[-1], GPU)["last_xid"][13 * 8 + 3] == 94
    assert events[0].device == rows_of(batches[-1], GPU)["device"][13 * 8 + 3]


def test_more_users_than_capacity_queue_and_are_refused() -> None:
    """Queues grow to their bound, first tokens come late, the rest is refused and counted."""
    burst = {"at": 1, "for": 500, "kind": "demand", "rate_factor": 4}
    batches = run(Simulator(scenario(burst)), 25)
    waiting = rows_of(batches[-1], SERVING)["requests_waiting"][:8]

    assert 80 < waiting.mean() <= 128
    assert mean(batches[-1:], SERVING, "ttft_p99_seconds", slice(0, 8)) > 2
    assert increase(batches, SERVING, "requests_failed").sum() > 100


def test_prompts_hold_up_tokens_on_mixed_engines() -> None:
    """With both phases on one GPU the slowest tokens are several times the median."""
    last = run(Simulator(load("mixed")), 20)[-10:]

    assert mean(last, SERVING, "tpot_p99_seconds", slice(0, 24)) > 2 * mean(
        last, SERVING, "tpot_p50_seconds", slice(0, 24)
    )
    assert (rows_of(last[0], SERVING)["role"] == 1).all()
    assert increase(last, SERVING, "kv_transfer_bytes").sum() == 0


def test_same_seed_and_times_give_the_same_bytes() -> None:
    """Telemetry is a function of scenario, speed and times; another seed gives other telemetry."""
    one, two = (run(Simulator(load("demo"), 5.0), 8) for _ in range(2))
    other = run(Simulator(load("demo").model_copy(update={"seed": 8}), 5.0), 8)

    for left, right in zip(one, two, strict=True):
        assert [r.tobytes() for _, r in left.frames] == [r.tobytes() for _, r in right.frames]
    assert rows_of(one[-1], GPU).tobytes() != rows_of(other[-1], GPU).tobytes()


def test_samples_carry_the_time_of_the_call_and_idle_clocks_do_not_break_it() -> None:
    """The same instant twice gives counters again and missing averages, never zeros."""
    simulator = Simulator(load("steady"))
    simulator.collect(START_MS)
    again = simulator.collect(START_MS)

    assert (rows_of(again, GPU)["ts"] == START_MS).all()
    assert np.isnan(rows_of(again, GPU)["power_watts"]).all()
    assert (rows_of(again, GPU)["energy_mj"] > 0).all()


def test_inventory_is_the_demo_cluster() -> None:
    """256 GPUs, 64 ports on two rails, 24 engines, 8 racks and 2 CDUs, each in its place."""
    items = Simulator(load("demo")).collect(START_MS).inventory
    count = {kind: sum(i.kind == kind for i in items) for kind in {i.kind for i in items}}
    gpus = [i for i in items if i.kind == "gpu"]
    engine = next(i for i in items if i.kind == "serving")
    hosts = {pool: sorted({i.host for i in gpus if i.pool == pool}) for pool in Role}

    assert count == {"node": 32, "gpu": 256, "port": 64, "serving": 24, "facility": 10}
    assert hosts[Role.PREFILL] == [f"node{n:02d}" for n in range(8)]
    assert hosts[Role.DECODE] == [f"node{n:02d}" for n in range(8, 24)]
    assert {i.cooling_loop for i in gpus if i.rack in ("rack03", "rack04")} == {"loop-a", "loop-b"}
    assert {i.rail for i in items if i.name == "mlx5_1/1"} == {"rail1"}
    assert engine.name == "engine"
    assert engine.attributes["model"] == "llama3-70b"
    assert {i.host for i in items if i.kind == "facility"} == {"facility"}
    assert len({i.device for i in items}) == len(items)


def test_create_reads_the_settings() -> None:
    """Scenario and speed come from the settings; a wrong name says which there are."""
    simulator = create(CollectSettings(scenario="idle", speed=3.0))
    assert simulator.speed == 3.0
    with pytest.raises(Misconfigured, match=r"RIDGELINE_COLLECT_SCENARIO.*demo, idle"):
        create(CollectSettings(scenario="nonsense"))


def test_a_full_kv_cache_preempts_the_newest() -> None:
    """Contexts beyond the cache: it is full, never overfull, and requests are put back."""
    huge = {"at": 0, "for": 500, "kind": "demand", "prompt_scale": 4, "output_scale": 60}
    batches = run(Simulator(scenario({**huge, "prefix_hit_ratio": 0.9})), 60)
    usage = rows_of(batches[-1], SERVING)["kv_cache_usage_ratio"][8:]

    assert 0.9 < usage.mean()
    assert usage.max() <= 1.0
    assert increase(batches, SERVING, "preemptions")[8:].sum() > 0
    assert increase(batches, SERVING, "preemptions")[:8].sum() == 0

"""Facts read from the real engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from advisor import facts
from ridgeline.events import (
    Detection,
    DeviceKind,
    EpisodeState,
    InventoryItem,
    Severity,
)
from ridgeline.ids import device_id, node_id
from ridgeline.schema import FABRIC, FACILITY, GPU, SERVING, Kind, Schema, length_columns
from ridgeline.settings import StoreSettings
from ridgeline.store import Store

NOW_MS = 1_800_000_000_000
SPAN = facts.Span(now_ms=NOW_MS, history_ms=900_000)


@pytest.fixture
def store(store_url: str, request: pytest.FixtureRequest) -> Iterator[Store]:
    """A store with a database of this test alone."""
    name = "".join(c if c.isalnum() else "_" for c in request.node.name)
    made = Store.connect(StoreSettings(url=store_url, database=f"adv_{name}"[:60]))
    made.migrate()
    yield made
    made.close()


def windows(
    schema: Schema,
    device: int,
    node: int,
    minutes: float = 2,
    end_ms: float = NOW_MS,
    **values: float,
) -> np.ndarray:
    """Windows of 10 s up to `end_ms` with the given aggregates, everything else missing."""
    count = int(minutes * 6)
    out = np.zeros(count, dtype=schema.window_dtype)
    for f in schema.window_fields:
        out[f.name] = np.nan if f.kind in (Kind.GAUGE, Kind.COUNTER) else 2**32 - 1
    out["window_start"] = end_ms - 10_000 * np.arange(1, count + 1)
    out["device"], out["node"], out["samples"] = device, node, 10
    for name, value in values.items():
        out[name] = value
    return out


def rounded(value: float | list[float]) -> Any:
    """A fact that minutes of pools hold to one and a half resolutions (docs/telemetry.md)."""
    return pytest.approx(value, rel=3 * 2**-10, abs=3 * 2**-11)


def write(store: Store, schema: Schema, rows: np.ndarray) -> None:
    """Windows and what they are rolled up to."""
    store.insert_windows(schema, rows)
    start, end = int(rows["window_start"].min()), int(rows["window_start"].max()) + 1
    store.roll_up(schema, start, end)


def item(host: str, kind: DeviceKind, name: str, **more: str) -> InventoryItem:
    """An inventory item of the demo's shape."""
    fields = {"pool": more.pop("pool", "unknown"), "seen_ms": NOW_MS} | more
    device = device_id(host, kind, name)
    return InventoryItem.model_validate(
        {"device": device, "node": node_id(host), "kind": kind, "host": host, "name": name} | fields
    )


def test_pool_serving_load_sums_engines_and_gaps_are_no_dips(store: Store) -> None:
    """Two decode engines, one with half of its windows: the rate is that of two."""
    a = item("n0", DeviceKind.SERVING, "http://a", pool="decode")
    b = item("n1", DeviceKind.SERVING, "http://b", pool="decode")
    store.insert_events([a, b])
    load = {
        "generation_tokens_inc": 10_000.0,
        "requests_finished_inc": 50.0,
        "requests_running_avg": 60.0,
        "requests_waiting_avg": 20.0,
        "tpot_p99_seconds_avg": 0.05,
    }
    write(store, SERVING, windows(SERVING, a.device, a.node, 2, **load))
    write(store, SERVING, windows(SERVING, b.device, b.node, 1, **load))

    (pool,) = facts.serving_load(store, SPAN)

    assert (pool.pool, pool.engines) == ("decode", 2)
    assert pool.generation_tokens_per_second == pytest.approx(2000)
    assert pool.requests_per_second == pytest.approx(10)
    assert pool.running == pytest.approx(120)
    assert pool.tpot_p99_seconds == rounded(0.05)
    assert pool.ttft_p99_seconds is None
    assert pool.prompt_tokens_per_second is None
    assert pool.overload_ratio == 1.0


def test_burstiness_memory_and_energy_a_token(store: Store) -> None:
    """Arrivals that alternate 0 and 40 a window over two engines, one with a gap: no lull."""
    engines = [item(f"n{i}", DeviceKind.SERVING, "http://a", pool="mixed") for i in range(2)]
    gpu = item("n0", DeviceKind.GPU, "GPU-0", pool="mixed")
    store.insert_events([*engines, gpu])
    for engine, minutes in zip(engines, (10, 5), strict=True):
        rows = windows(SERVING, engine.device, engine.node, minutes, generation_tokens_inc=500)
        rows["ttft_count_inc"] = 40.0 * (rows["window_start"] // 10_000 % 2)
        write(store, SERVING, rows)
    memory = {"memory_used_bytes_avg": 60e9, "memory_total_bytes_avg": 80e9}
    write(store, GPU, windows(GPU, gpu.device, gpu.node, power_watts_avg=500, **memory))

    read = facts.read(store, SPAN)

    (load,) = read.serving
    assert load.arrival_dispersion == pytest.approx(40 * 60 / 59)  # mean 40, variance 40^2
    assert read.pools[0].memory_used_ratio == pytest.approx(0.75)
    assert read.joules_per_token("mixed") == pytest.approx(500 / 100)
    assert read.joules_per_token("decode") is None


def test_gpu_activity_by_pool_and_loop(store: Store) -> None:
    """Means over GPUs, throttled share of the window, model named when all agree."""
    gpus = [
        item("n0", DeviceKind.GPU, f"GPU-{i}", pool="decode", cooling_loop="loop-a", model="H100")
        for i in range(2)
    ]
    store.insert_events(gpus)
    for gpu, dram in zip(gpus, (0.6, 0.8), strict=True):
        rows = windows(
            GPU,
            gpu.device,
            gpu.node,
            dram_util_ratio_avg=dram,
            sm_util_ratio_avg=0.9,
            throttle_thermal_ns_inc=1e9,
            sm_clock_mhz_avg=990,
            sm_clock_max_mhz_avg=1980,
            temperature_celsius_max=88,
            pcie_tx_bytes_per_second_avg=1e9,
            pcie_rx_bytes_per_second_avg=2e9,
        )
        write(store, GPU, rows)

    (pool,) = facts.gpu_activity(store, SPAN, "pool")
    (loop,) = facts.gpu_activity(store, SPAN, "cooling_loop")

    assert (pool.group, pool.gpus, pool.nodes, pool.model) == ("decode", 2, 1, "H100")
    assert pool.dram_ratio == rounded(0.7)
    assert pool.thermal_ratio == pytest.approx(0.1, rel=1e-5)
    assert pool.clock_ratio == pytest.approx(0.5)
    assert pool.hottest_celsius == 88
    assert pool.pcie_bytes_per_second == rounded(2e9)
    assert pool.nvlink_bytes_per_second is None
    assert pool.tensor_ratio is None
    assert pool.least_margin_celsius is None
    assert loop.group == "loop-a"


def test_old_data_is_no_fact(store: Store) -> None:
    """A pool that stopped reporting a minute ago is left out, whatever its history says."""
    gpu = item("n0", DeviceKind.GPU, "GPU-0", pool="decode")
    store.insert_events([gpu])
    stopped = NOW_MS - 60_000
    rows = windows(GPU, gpu.device, gpu.node, end_ms=stopped, sm_util_ratio_avg=0.0)
    write(store, GPU, rows)

    read = facts.read(store, SPAN)

    assert read.stale
    assert () == read.idle
    assert read.newest_ms is None


def test_idle_gpus_need_a_reading(store: Store) -> None:
    """A GPU without SM readings is not idle, it is unknown."""
    idle = item("n0", DeviceKind.GPU, "GPU-0", pool="training")
    unknown = item("n0", DeviceKind.GPU, "GPU-1", pool="training")
    store.insert_events([idle, unknown])
    rows = windows(GPU, idle.device, idle.node, sm_util_ratio_avg=0.0, power_watts_avg=75)
    write(store, GPU, rows)
    write(store, GPU, windows(GPU, unknown.device, unknown.node))

    (pool,) = facts.idle_gpus(store, SPAN)

    assert (pool.pool, pool.gpus, pool.idle) == ("training", 1, 1)
    assert (1, 0) == (pool.nodes, pool.busy_nodes)
    assert pool.idle_power_watts == pytest.approx(75)


def test_small_jobs_are_those_whose_peaks_are_known_and_small(store: Store) -> None:
    """One minute of work on all SMs, or memory that nobody read, and a GPU holds no small job."""
    names = ("small", "bursty", "large", "blind")
    gpus = {n: item("n0", DeviceKind.GPU, n, pool="training") for n in names}
    store.insert_events(list(gpus.values()))
    light = {
        "sm_util_ratio_avg": 0.1,
        "dram_util_ratio_avg": 0.05,
        "memory_used_bytes_max": 8e9,
        "memory_total_bytes_avg": 80e9,
        "nvlink_tx_bytes_per_second_avg": 3.0,
        "nvlink_rx_bytes_per_second_avg": 2.0,
    }
    changes: dict[str, dict[str, float]] = {
        "small": {},
        "bursty": {},
        "large": {"memory_used_bytes_max": 70e9},
        "blind": {"memory_used_bytes_max": np.nan},
    }
    for name, gpu in gpus.items():
        rows = windows(GPU, gpu.device, gpu.node, 5, **(light | changes[name]))
        if name == "bursty":
            rows["sm_util_ratio_avg"][:6] = 0.9
        write(store, GPU, rows)

    (pool,) = facts.idle_gpus(store, SPAN)

    assert (4, 0) == (pool.gpus, pool.idle)
    (job,) = pool.small
    assert job.memory_bytes == pytest.approx(8e9)
    assert [0.1, 0.05] == rounded([job.sm_ratio, job.dram_ratio])
    assert job.nvlink_bytes_per_second == pytest.approx(3)


def test_loops_racks_rails_and_detections(store: Store) -> None:
    """Cooling, fabric and open episodes come with their place."""
    cdu = item("cdu-a", DeviceKind.FACILITY, "cdu-a", cooling_loop="loop-a")
    rack = item("rack00", DeviceKind.FACILITY, "rack00", rack="rack00", cooling_loop="loop-a")
    port = item("n0", DeviceKind.PORT, "mlx5_0/1", rail="rail0", rack="rack00")
    store.insert_events([cdu, rack, port])
    normal = windows(
        FACILITY, cdu.device, cdu.node, 60, supply_celsius_avg=32, flow_liters_per_minute_avg=400
    )
    normal["flow_liters_per_minute_avg"][:12] = 200
    write(store, FACILITY, normal)
    write(store, FACILITY, windows(FACILITY, rack.device, rack.node, power_watts_avg=42e3))
    traffic = windows(
        FABRIC,
        port.device,
        port.node,
        link_rate_bits_per_second_avg=4e11,
        tx_bytes_inc=2.5e11,
        rx_bytes_inc=1e9,
        ecn_marked_packets_inc=500,
    )
    write(store, FABRIC, traffic)
    episode = Detection(
        id="d1",
        detector="fabric_congestion",
        condition="incast_receiver",
        state=EpisodeState.OPEN,
        severity=Severity.WARNING,
        node=port.node,
        device=port.device,
        subject="n0 mlx5_0/1",
        opened_ms=NOW_MS - 60_000,
        updated_ms=NOW_MS - 5_000,
        summary="incast",
    )
    closed = episode.model_copy(update={"id": "d2", "state": EpisodeState.CLOSED})
    store.insert_events([episode, closed])

    read = facts.read(store, SPAN)

    (loop,) = read.loops
    assert (loop.loop, loop.flow_liters_per_minute) == ("loop-a", 200)
    assert loop.normal_flow_liters_per_minute == pytest.approx(400)
    assert [r.power_watts for r in read.racks] == [rounded(42e3)]
    (rail,) = read.rails
    assert rail.utilisation_ratio == pytest.approx(0.5)
    assert rail.link_bits_per_second == pytest.approx(4e11)
    assert rail.bytes_per_second == pytest.approx(2.5e10)
    assert rail.ecn_marked_per_second == pytest.approx(50)
    assert rail.pause_ratio is None
    assert [(f.detection.id, f.rail, f.rack) for f in read.found] == [("d1", "rail0", "rack00")]
    assert not read.stale


def test_demand_by_minute_counts_running_and_waiting(store: Store) -> None:
    """The demand curve is read from the one-minute rollup."""
    engine = item("n0", DeviceKind.SERVING, "http://a", pool="mixed")
    store.insert_events([engine])
    rows = windows(
        SERVING, engine.device, engine.node, 3, requests_running_avg=30, requests_waiting_avg=5
    )
    write(store, SERVING, rows)
    store.roll_up(SERVING, NOW_MS - 180_000, NOW_MS)

    demand = facts.demand_per_minute(store, SPAN)

    assert len(demand["mixed"]) >= 3
    assert set(demand["mixed"]) == {35.0}


def test_hall_power_by_hour_has_gaps_where_racks_were_silent(store: Store) -> None:
    """Two racks of 40 kW over three hours; an hour with one rack only is not read, not a dip."""
    racks = [item("facility", DeviceKind.FACILITY, f"rack{i}", rack=f"rack{i}") for i in range(2)]
    store.insert_events(racks)
    hour_ms = 3_600_000
    end_ms = NOW_MS // hour_ms * hour_ms
    rows = [
        windows(FACILITY, rack.device, rack.node, 60, end_ms - back * hour_ms, power_watts_avg=40e3)
        for i, rack in enumerate(racks)
        for back in range(4)
        if (i, back) != (1, 1)  # silent in the second hour from the end
    ]
    store.insert_windows(FACILITY, np.concatenate(rows))
    store.roll_up(FACILITY, end_ms - 5 * hour_ms, end_ms)

    found = facts.hall_watts_hourly(store, SPAN)

    assert [80e3, 80e3, 80e3] == pytest.approx([found[0], found[1], found[3]])
    assert np.isnan(found[2])
    assert len(found) == 4


def test_no_hall_power_is_no_history(store: Store) -> None:
    """Nothing rolled up: an empty history, which forecasts nothing."""
    assert () == facts.hall_watts_hourly(store, SPAN)


def test_power_of_a_pool_by_hour_of_the_day_needs_whole_days(store: Store) -> None:
    """Places of one model, times their devices; an hour that was read once leaves the pool out."""
    store.insert_events(
        [item("n0", DeviceKind.GPU, f"GPU-{pool}", pool=pool) for pool in ("training", "decode")]
    )
    hour, day = 3_600_000, NOW_MS // 86_400_000 * 86_400_000
    for pool, days in (("training", 2), ("decode", 1)):
        device = device_id("n0", DeviceKind.GPU, f"GPU-{pool}")
        rows = windows(GPU, device, node_id("n0"), minutes=days * 4)  # 24 rows a day
        back = np.arange(1, len(rows) + 1)
        # the first window of one hour beside the last of the hour before: folded by one statement
        rows["window_start"] = day - hour * back + np.where(back % 2, 0, hour - 10_000)
        rows["power_watts_avg"] = 100.0 + (rows["window_start"] // hour) % 24
        store.insert_windows(GPU, rows)
    store.roll_up(GPU, day - 4 * 86_400_000, day)

    found = facts.pool_watts_by_hour(store, SPAN)

    assert {"training": tuple(100.0 + hour for hour in range(24))} == found


def counts(what: str) -> dict[str, float]:
    """Increases of the counters by length: 0, 1, 2 and so on."""
    return {f"{name}_inc": float(n) for n, name in enumerate(length_columns(what))}


def test_requests_by_length_are_summed_over_engines(store: Store) -> None:
    """Counters of two engines of a pool; an engine of an older version counts nothing."""
    engines = [item("n0", DeviceKind.SERVING, f"http://{i}", pool="decode") for i in range(2)]
    silent = item("n1", DeviceKind.SERVING, "http://old", pool="mixed")
    store.insert_events([*engines, silent])
    for engine in engines:
        write(store, SERVING, windows(SERVING, engine.device, engine.node, 2, **counts("output")))
    write(store, SERVING, windows(SERVING, silent.device, silent.node, 2))

    found = facts.lengths(store, SPAN)

    assert {"decode": facts.Lengths(answers=tuple(2 * 12.0 * n for n in range(12)))} == found


def test_lengths_are_compared_at_the_same_hours_of_each_day(store: Store) -> None:
    """The last three whole hours, and the same three of each of seven days: no other hour."""
    engine = item("n0", DeviceKind.SERVING, "http://a", pool="prefill")
    store.insert_events([engine])
    hour, day = 3_600_000, 86_400_000
    end = NOW_MS // hour * hour
    rows = np.concatenate(
        [
            windows(SERVING, engine.device, engine.node, 1 / 6, at - days * day, **counts("prompt"))
            for days in range(9)
            # the first and the last window that count, and their neighbours that do not
            for at in (end + 10_000, end, end - 3 * hour + 10_000, end - 3 * hour)
        ]
    )
    store.insert_windows(SERVING, rows)
    store.roll_up(SERVING, end - 10 * day, end + hour)

    found = facts.lengths_by_day(store, SPAN)

    two = facts.Lengths(prompts=tuple(2.0 * n for n in range(12)))
    assert {"prefill": (two,) * 8} == found


def test_software_is_what_servers_say_they_are(store: Store) -> None:
    """By pool, what most engines run first; a server that was renewed counts once, as it is now."""

    def engine(host: str, seen_ms: int, **said: str) -> InventoryItem:
        found = item(host, DeviceKind.SERVING, "http://a", pool="mixed", model=f"of {host}")
        return found.model_copy(update={"attributes": said, "seen_ms": seen_ms})

    old = {"engine": "vLLM", "version": "0.11.0"}
    new = {"engine": "vLLM", "version": "0.12.0"}
    before_ms, day_before_ms = NOW_MS - 60_000, NOW_MS - 86_400_000
    store.insert_events([engine(host, before_ms, **old) for host in ("n0", "n1")])
    store.insert_events([engine(host, NOW_MS, **new) for host in ("n1", "n2")])
    store.insert_events([engine("n3", day_before_ms, **old), engine("n4", NOW_MS)])

    found = facts.software(store, SPAN)

    told = [(one.name, one.version, one.engines, one.model) for one in found["mixed"]]
    assert [
        ("", "", 1, "of n4"),
        ("vLLM", "0.12.0", 1, "of n1"),
        ("vLLM", "0.12.0", 1, "of n2"),
        ("vLLM", "0.11.0", 1, "of n0"),
    ] == told

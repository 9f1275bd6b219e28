"""Facts from minutes of pools and loops against the same facts worked out device by device."""

from __future__ import annotations

import math
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from advisor import facts
from ridgeline.events import DeviceKind, InventoryItem
from ridgeline.ids import device_id, node_id
from ridgeline.pools import Role
from ridgeline.schema import FABRIC, GPU, SERVING, Kind, Schema
from ridgeline.settings import StoreSettings
from ridgeline.store import Store

NOW_MS = 1_800_000_000_000
SPAN = facts.Span(now_ms=NOW_MS, history_ms=900_000)
MINUTES = 3
Row = Mapping[str, Any]
Value = Callable[[Row], float]
EXACT = {"rel": 1e-9}
SHARE = {"rel": 1e-5, "abs": 1e-6}  # a millionth, of a 32-bit float
ROUNDED = {"rel": 2**-9, "abs": 2**-10}  # half a resolution in places and half one in pools


@pytest.fixture(scope="module")
def store(store_url: str) -> Iterator[Store]:
    """Eight nodes in two pools, four racks and two loops, their devices of two models."""
    made = Store.connect(StoreSettings(url=store_url, database=f"s_{uuid.uuid4().hex[:12]}"))
    made.migrate()
    items = list(inventory())
    made.insert_events(items)
    for schema, kind in ((GPU, "gpu"), (FABRIC, "port"), (SERVING, "serving")):
        devices = [item for item in items if item.kind == kind]
        made.insert_windows(schema, windows(schema, devices))
        made.roll_up(schema, NOW_MS - MINUTES * 60_000, NOW_MS)
    yield made
    made.close()


def inventory() -> Iterator[InventoryItem]:
    """Two GPUs, two ports and an engine a node."""
    for node in range(8):
        host = f"n{node}"
        where = {
            "rack": f"r{node // 2}",
            "cooling_loop": f"loop{node // 4}",
            "model": f"m{node % 3 % 2}",
            "pool": Role("decode" if node % 4 < 3 else "prefill"),
        }
        for kind, name, rail in (
            *((DeviceKind.GPU, f"gpu{i}", "") for i in range(2)),
            *((DeviceKind.PORT, f"port{i}", f"rail{i}") for i in range(2)),
            (DeviceKind.SERVING, "engine", ""),
        ):
            yield InventoryItem.model_validate(
                {
                    "device": device_id(host, kind, name),
                    "node": node_id(host),
                    "kind": kind,
                    "host": host,
                    "name": name,
                    "rail": rail,
                    "seen_ms": NOW_MS,
                    **where,
                }
            )


def windows(schema: Schema, devices: list[InventoryItem]) -> np.ndarray:
    """Windows of random readings, each of its own size; throttled and queueing now and then.

    What a model does not report is missing in all of its rows.
    """
    rng = np.random.default_rng(7)
    count = 6 * MINUTES
    rows = np.zeros(count * len(devices), dtype=schema.window_dtype)
    rows["window_start"] = NOW_MS - 10_000 * np.tile(np.arange(1, count + 1), len(devices))
    for name in ("device", "node"):
        ids = np.array([getattr(item, name) for item in devices], dtype=np.uint64)
        rows[name] = np.repeat(ids, count)
    rows["samples"] = 10
    models = np.repeat([item.model for item in devices], count)
    for number, f in enumerate(schema.window_fields):
        if f.kind in (Kind.GAUGE, Kind.COUNTER):
            rows[f.name] = rng.random(len(rows)) * 10.0 ** (number % 3)
            if number % 7 == 5:
                rows[f.name][models == "m1"] = np.nan
    throttled = rng.random((5, len(rows))) ** 8 * 2e10  # now and then longer than the window
    for name, values in zip(
        (n for n in rows.dtype.names or () if n.startswith("throttle_")), throttled, strict=False
    ):
        rows[name] = values
    specific(schema, rows, models, rng)
    return rows


def specific(
    schema: Schema, rows: np.ndarray, models: np.ndarray, rng: np.random.Generator
) -> None:
    """Readings that belong together."""
    if schema is GPU:
        rows["sm_clock_max_mhz_avg"] = 1980
        rows["sm_clock_mhz_avg"] = rng.integers(900, 1980, len(rows))
        rows["memory_total_bytes_avg"] = 80e9
        rows["memory_used_bytes_avg"] = rng.random(len(rows)) * 80e9
        rows["nvlink_tx_bytes_per_second_avg"][::3] = np.nan
        rows["nvlink_rx_bytes_per_second_avg"][::4] = np.nan
    if schema is FABRIC:
        rows["link_rate_bits_per_second_avg"] = np.where(models == "m0", 4e11, 2e11)
        for name in ("tx_bytes_inc", "rx_bytes_inc"):
            rows[name] = rng.integers(0, 10**11, len(rows))
    if schema is SERVING:
        rows["max_batch_requests_avg"] = rows["max_batch_requests_max"] = 64
        for name in ("requests_finished_inc", "prefill_us_inc", "queue_us_inc"):
            rows[name] = rng.integers(1, 1000, len(rows))


def devices_of(store: Store, family: str, by: str) -> dict[str, dict[int, list[Row]]]:
    """Minutes of every device, by group and device."""
    rows = store.query(
        f"SELECT w.*, w.windows AS windows, toString(i.{by}) AS group_name"
        f" FROM {family}_1m AS w INNER JOIN inventory AS i ON w.device = i.device"
    )
    out: dict[str, dict[int, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        out[row["group_name"]][row["device"]].append(row)
    return out


def over_time(rows: list[Row], value: Value) -> float:
    """A device's mean over its windows where it is known; NaN where nothing is."""
    known = [(value(r), r["windows"]) for r in rows if math.isfinite(value(r))]
    return sum(v * n for v, n in known) / sum(n for _, n in known) if known else math.nan


def mean(group: Mapping[int, list[Row]], value: Value) -> float | None:
    """Mean over devices of which something is known."""
    found = [v for v in (over_time(r, value) for r in group.values()) if math.isfinite(v)]
    return sum(found) / len(found) if found else None


def total(group: Mapping[int, list[Row]], value: Value) -> float | None:
    """Sum over them."""
    found = [v for v in (over_time(r, value) for r in group.values()) if math.isfinite(v)]
    return sum(found) if found else None


def per(group: Mapping[int, list[Row]], counter: str, events: str) -> float:
    """Sum of one counter over that of another."""
    sums = (
        sum(row[name] for rows in group.values() for row in rows if math.isfinite(row[name]))
        for name in (counter, events)
    )
    counted, of = sums
    return float(counted / of)


def column(name: str) -> Value:
    """A column as it is."""
    return lambda row: float(row[name])


def a_second(name: str) -> Value:
    """A counter's increase a second."""
    return lambda row: float(row[name]) / (10 * row["windows"])


def held(*names: str) -> Value:
    """Share of time in the worst of several throttle counters."""

    def share(row: Row) -> float:
        known = [row[name] for name in names if math.isfinite(row[name])]
        return min(1.0, max(known) / (10e9 * row["windows"])) if known else math.nan

    return share


def busier(first: str, second: str) -> Value:
    """The larger of two that are known."""
    return lambda row: float(np.fmax(row[first], row[second]))


heat = held("throttle_thermal_ns_inc", "throttle_sw_thermal_ns_inc", "throttle_hw_thermal_ns_inc")


def hot_clock(row: Row) -> float:
    """Clock over its highest where heat holds it down."""
    return row["sm_clock_mhz_avg"] / row["sm_clock_max_mhz_avg"] if heat(row) > 0.01 else math.nan


def same(found: Any, want: Mapping[str, tuple[Any, Mapping[str, float]]]) -> None:
    """Every field, each as closely as is said."""
    for name, (value, how) in want.items():
        got = getattr(found, name)
        if value is None:
            assert got is None, name
        else:
            assert got == pytest.approx(value, rel=how["rel"], abs=how.get("abs", 0)), name


@pytest.mark.parametrize("by", ["pool", "cooling_loop"])
def test_gpus(store: Store, by: str) -> None:
    """Shares of time, clocks, memory and links are those of the devices, not of the mean."""
    groups = devices_of(store, "gpu", by)
    found = facts.gpu_activity(store, SPAN, by)

    assert sorted(groups) == [activity.group for activity in found]
    for activity in found:
        group = groups[activity.group]
        rows = [row for minutes in group.values() for row in minutes]
        hot = [(hot_clock(r), r["windows"]) for r in rows if math.isfinite(hot_clock(r))]
        power = held("throttle_power_ns_inc", "throttle_power_brake_ns_inc")
        links = {
            f"{link}_bytes_per_second": busier(
                f"{link}_tx_bytes_per_second_avg", f"{link}_rx_bytes_per_second_avg"
            )
            for link in ("pcie", "nvlink")
        }
        averages = ("dram_util", "tensor_util", "sm_util")
        assert (len(group), len({r["node"] for r in rows})) == (activity.gpus, activity.nodes)
        assert (180, "") == (activity.seconds, activity.model)
        assert 0.02 < (activity.thermal_ratio or 0) < 0.9
        assert NOW_MS - 10_000 == activity.newest_ms
        same(
            activity,
            {
                "thermal_ratio": (mean(group, heat), SHARE),
                "power_throttled_ratio": (mean(group, power), SHARE),
                # of all hot windows, each counts the same
                "clock_ratio": (sum(v * n for v, n in hot) / sum(n for _, n in hot), SHARE),
                "memory_used_ratio": (
                    mean(group, lambda r: r["memory_used_bytes_avg"] / r["memory_total_bytes_avg"]),
                    SHARE,
                ),
                "hottest_celsius": (largest(rows, "temperature_celsius_max", 1), EXACT),
                "least_margin_celsius": (largest(rows, "tlimit_margin_celsius_min", -1), EXACT),
                "power_watts": (mean(group, column("power_watts_avg")), ROUNDED),
                "power_limit_watts": (mean(group, column("power_limit_watts_avg")), SHARE),
                **{name: (mean(group, value), ROUNDED) for name, value in links.items()},
                **{
                    f"{n.split('_')[0]}_ratio": (mean(group, column(f"{n}_ratio_avg")), ROUNDED)
                    for n in averages
                },
            },
        )


def largest(rows: list[Row], name: str, sign: int) -> float | None:
    """Largest known value, or the smallest."""
    return max((sign * r[name] for r in rows if math.isfinite(r[name])), default=math.nan) * sign


def test_rails(store: Store) -> None:
    """Links of two speeds on each rail, each direction busier in turn."""
    groups = devices_of(store, "fabric", "rail")
    found = facts.rail_traffic(store, SPAN)
    carried = busier("tx_bytes_inc", "rx_bytes_inc")

    assert ["rail0", "rail1"] == [rail.rail for rail in found]
    for rail in found:
        group = groups[rail.rail]
        assert (8, 8) == (rail.ports, rail.nodes)
        same(
            rail,
            {
                "utilisation_ratio": (
                    mean(
                        group,
                        lambda r: (
                            carried(r)
                            * 8
                            / r["link_rate_bits_per_second_avg"]
                            / (10 * r["windows"])
                        ),
                    ),
                    EXACT,
                ),
                "bytes_per_second": (
                    mean(group, lambda r: carried(r) / (10 * r["windows"])),
                    EXACT,
                ),
                "ecn_marked_per_second": (total(group, a_second("ecn_marked_packets_inc")), EXACT),
                "cnp_per_second": (total(group, a_second("cnp_sent_inc")), EXACT),
                "discards_per_second": (total(group, a_second("tx_discards_inc")), EXACT),
                "pause_ratio": (
                    mean(group, lambda r: a_second("pfc_rx_pause_us_inc")(r) / 1e6),
                    EXACT,
                ),
                "link_bits_per_second": (
                    mean(group, column("link_rate_bits_per_second_avg")),
                    SHARE,
                ),
            },
        )


def test_engines(store: Store) -> None:
    """Sums and means over engines, and how many have a queue."""
    groups = devices_of(store, "serving", "pool")
    found = facts.serving_load(store, SPAN)

    def overloaded(row: Row) -> float:
        waiting, running = row["requests_waiting_avg"], row["requests_running_avg"]
        known = math.isfinite(waiting + running)
        return float(waiting > max(1, 0.1 * running)) if known else math.nan

    assert ["decode", "prefill"] == [load.pool for load in found]
    for load in found:
        group = groups[load.pool]
        rates = {
            "prompt_tokens_per_second": "prompt_tokens_inc",
            "generation_tokens_per_second": "generation_tokens_inc",
            "requests_per_second": "requests_finished_inc",
            "preemptions_per_second": "preemptions_inc",
            "kv_transfer_bytes_per_second": "kv_transfer_bytes_inc",
        }
        sums = {"running": "requests_running_avg", "waiting": "requests_waiting_avg"}
        means = ("ttft_p99_seconds", "tpot_p50_seconds", "prompt_tokens_p50", "output_tokens_p99")
        of_requests = {
            "prefill_seconds_mean": "prefill_us_inc",
            "queue_seconds_mean": "queue_us_inc",
        }
        assert (len(group), 180) == (load.engines, load.seconds)
        same(
            load,
            {
                "max_batch": (total(group, column("max_batch_requests_max")), EXACT),
                "overload_ratio": (mean(group, overloaded), SHARE),
                "kv_usage_ratio": (mean(group, column("kv_cache_usage_ratio_avg")), ROUNDED),
                "prefix_hit_ratio": (
                    per(group, "prefix_cache_hits_inc", "prefix_cache_queries_inc"),
                    EXACT,
                ),
                **{n: (total(group, a_second(c)), EXACT) for n, c in rates.items()},
                **{n: (total(group, column(c)), ROUNDED) for n, c in sums.items()},
                **{n: (mean(group, column(f"{n}_avg")), ROUNDED) for n in means},
                **{
                    n: (per(group, c, "requests_finished_inc") / 1e6, EXACT)
                    for n, c in of_requests.items()
                },
            },
        )


def test_minutes_of_an_earlier_release_are_left_out(store: Store) -> None:
    """They lack what facts need: the stretch that facts speak of gets shorter, no value changes."""
    before = facts.gpu_activity(store, SPAN, "pool")
    store._connection.command(
        "INSERT INTO gpu_pools_1m (window_start, device, samples, devices, dram_util_ratio_avg)"
        " SELECT window_start - 600, device, 960, 16, 0.5 FROM gpu_pools_1m",
        "test",
    )

    assert before == facts.gpu_activity(store, SPAN, "pool")

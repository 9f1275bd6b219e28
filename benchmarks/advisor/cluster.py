"""Windows of a large made-up cluster, written into a store: what an evaluation then reads.

Nodes of 8 GPUs and 8 ports, one LLM engine a node, racks of 4 nodes, a cooling loop per 16 racks; a
third of the nodes each prefill, decode and mixed. Values are drawn around a working point of each
pool; one loop throttles, one rail is marked, one node in 20 is idle, and for three hours answers
have been twice as long as in the week before, so that every rule has work.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from advisor.facts.token_lengths import COMPARED_DAYS, COMPARED_HOURS
from advisor.models.normal import cdf
from ridgeline.events import (
    Detection,
    DeviceKind,
    EpisodeState,
    InventoryItem,
    Severity,
)
from ridgeline.ids import device_id, node_id
from ridgeline.pools import Role
from ridgeline.schema import (
    FABRIC,
    FACILITY,
    GPU,
    LENGTH_BOUNDS,
    SERVING,
    Kind,
    Schema,
    length_columns,
)
from ridgeline.store import Store, rollup
from ridgeline.store.tables import LEVELS

WINDOW_MS, MINUTE_MS, HOUR_MS = 10_000, 60_000, 3_600_000
GPUS_PER_NODE, NODES_PER_RACK, RACKS_PER_LOOP = 8, 4, 16
MODEL = "meta-llama/Llama-3.1-70B-Instruct"
_POOLS = (Role.PREFILL, Role.DECODE, Role.MIXED)
_CHUNK_ROWS = 100_000
_REQUESTS = 40.0  # a window of an engine
_PROMPT_TOKENS, _ANSWER_TOKENS, _LENGTHS_SIGMA = 2000.0, 300.0, 0.9
_LONGER = 2.0  # answers of late

Value = float | tuple[float, float]
"""A constant, or mean and standard deviation."""


def _node_of(host: str) -> int:
    return int(host.removeprefix("node"))


def _item(host: str, kind: DeviceKind, name: str, now_ms: int, **more: str) -> InventoryItem:
    place = {} if kind is DeviceKind.FACILITY else _place(_node_of(host))
    return InventoryItem.model_validate(
        {"device": device_id(host, kind, name), "node": node_id(host), "kind": kind}
        | {"host": host, "name": name, "seen_ms": now_ms}
        | place
        | more
    )


def _place(node: int) -> dict[str, str]:
    rack = node // NODES_PER_RACK
    loop = f"loop{rack // RACKS_PER_LOOP:02}"
    return {"rack": f"rack{rack:03}", "cooling_loop": loop, "pool": _POOLS[node % 3].value}


def inventory(gpus: int, now_ms: int) -> dict[str, list[InventoryItem]]:
    """Every device of a cluster of that many GPUs, by family."""
    out: dict[str, list[InventoryItem]] = {"gpu": [], "fabric": [], "facility": [], "serving": []}
    nodes = gpus // GPUS_PER_NODE
    for node in range(nodes):
        host = f"node{node:04}"
        for i in range(GPUS_PER_NODE):
            name = f"GPU-{node:04}-{i}"
            out["gpu"].append(
                _item(host, DeviceKind.GPU, name, now_ms, model="NVIDIA H100 80GB HBM3")
            )
            out["fabric"].append(
                _item(host, DeviceKind.PORT, f"mlx5_{i}/1", now_ms, rail=f"rail{i}")
            )
        out["serving"].append(
            _item(host, DeviceKind.SERVING, f"http://{host}:8000", now_ms, model=MODEL)
        )
    racks = -(-nodes // NODES_PER_RACK)
    for number in range(racks):
        rack, loop = f"rack{number:03}", f"loop{number // RACKS_PER_LOOP:02}"
        out["facility"].append(
            _item(rack, DeviceKind.FACILITY, rack, now_ms, rack=rack, cooling_loop=loop)
        )
    for number in range(-(-racks // RACKS_PER_LOOP)):
        unit, loop = f"cdu{number:02}", f"loop{number:02}"
        out["facility"].append(_item(unit, DeviceKind.FACILITY, unit, now_ms, cooling_loop=loop))
    return out


def _values(item: InventoryItem, longer: float) -> Mapping[str, Value]:
    match item.kind:
        case DeviceKind.GPU:
            return _gpu(item)
        case DeviceKind.PORT:
            marked = 50.0 if item.rail == "rail0" else 0.0
            return {
                "link_rate_bits_per_second_avg": 4e11,
                "tx_bytes_inc": (2e11, 2e10),
                "rx_bytes_inc": (2e11, 2e10),
                "ecn_marked_packets_inc": marked,
                "cnp_sent_inc": marked,
                "pfc_rx_pause_us_inc": marked * 1000,
            }
        case DeviceKind.SERVING:
            return _serving(item, longer)
    if item.name.startswith("cdu"):
        return {
            "supply_celsius_avg": (32.0, 0.2),
            "return_celsius_avg": (42.0, 0.3),
            "flow_liters_per_minute_avg": (900.0, 5.0),
            "heat_removed_watts_avg": (6.2e5, 5e3),
        }
    return {"power_watts_avg": (3.6e4, 500.0), "inlet_celsius_avg": (24.0, 0.5)}


def _gpu(item: InventoryItem) -> Mapping[str, Value]:
    idle = _node_of(item.host) % 20 == 0
    hot = item.cooling_loop == "loop00"
    return {
        "sm_util_ratio_avg": 0.0 if idle else (0.85, 0.05),
        "dram_util_ratio_avg": (0.65, 0.05) if item.pool == Role.DECODE else (0.3, 0.05),
        "tensor_util_ratio_avg": (0.1, 0.02) if item.pool == Role.DECODE else (0.5, 0.05),
        "power_watts_avg": 80.0 if idle else (520.0, 30.0),
        "power_limit_watts_avg": 700.0,
        "sm_clock_mhz_avg": 1500.0 if hot else 1980.0,
        "sm_clock_max_mhz_avg": 1980.0,
        "throttle_thermal_ns_inc": 3e9 if hot else 0.0,
        "temperature_celsius_max": (84.0, 1.0) if hot else (62.0, 2.0),
        "tlimit_margin_celsius_min": (5.0, 1.0) if hot else (25.0, 2.0),
    }


def _counted(what: str, mean: float) -> dict[str, Value]:
    """Requests of a window by log-normal length, cumulative in the bounds."""
    below = (np.log(np.array(LENGTH_BOUNDS) / mean) + _LENGTHS_SIGMA**2 / 2) / _LENGTHS_SIGMA
    shares = (*cdf(below).tolist(), 1.0)
    names = length_columns(what)
    return {f"{n}_inc": _REQUESTS * share for n, share in zip(names, shares, strict=True)}


def _serving(item: InventoryItem, longer: float) -> Mapping[str, Value]:
    decode = item.pool != Role.PREFILL
    return {
        "requests_running_avg": (48.0, 6.0),
        "requests_waiting_avg": (6.0, 4.0),
        "kv_cache_usage_ratio_avg": (0.7, 0.05),
        "max_batch_requests_avg": 64.0,
        "ttft_p99_seconds_avg": (1.2, 0.2),
        "tpot_p50_seconds_avg": (0.03, 0.002),
        "tpot_p99_seconds_avg": (0.06, 0.005),
        "prompt_tokens_inc": 8e4,
        "generation_tokens_inc": 1.2e4 if decode else 40.0,
        "requests_finished_inc": _REQUESTS,
        "prefill_us_inc": 8e6,
        "queue_us_inc": 4e6,
        **_counted("prompt", _PROMPT_TOKENS),
        **(_counted("output", _ANSWER_TOKENS * longer) if decode else {}),
    }


def rows(  # noqa: PLR0917 - what, whose, when
    schema: Schema,
    items: Sequence[InventoryItem],
    end_ms: int,
    count: int,
    step_ms: int,
    longer: float = _LONGER,
) -> Iterator[np.ndarray]:
    """`count` windows of each device that end at `end_ms`, in chunks; what is unset is missing."""
    rng = np.random.default_rng(7)
    per_chunk = max(1, _CHUNK_ROWS // count)
    for first in range(0, len(items), per_chunk):
        chunk = items[first : first + per_chunk]
        out = np.zeros((len(chunk), count), dtype=schema.window_dtype)
        for f in schema.window_fields:
            out[f.name] = np.nan if f.kind in (Kind.GAUGE, Kind.COUNTER) else 2**32 - 1
        out["window_start"] = end_ms - step_ms * np.arange(count, 0, -1)
        out["samples"] = step_ms // 1000
        for item, line in zip(chunk, out, strict=True):
            line["device"], line["node"] = item.device, item.node
            for name, value in _values(item, longer).items():
                line[name] = rng.normal(*value, count) if isinstance(value, tuple) else value
        yield out.reshape(-1)


def detections(items: Sequence[InventoryItem], now_ms: int) -> list[Detection]:
    """Open episodes on the given ports."""
    return [
        Detection(
            id=f"bench-{item.device}",
            detector="fabric_congestion",
            condition="incast_receiver",
            state=EpisodeState.OPEN,
            severity=Severity.WARNING,
            node=item.node,
            device=item.device,
            subject=f"{item.host} {item.name}",
            opened_ms=now_ms - 300_000,
            updated_ms=now_ms - 5_000,
            summary="is the target of an incast",
        )
        for item in items
    ]


def fill(store: Store, gpus: int, now_ms: int, hours: float) -> int:
    """Write the cluster: `hours` of windows, a day of engines' minutes, a week of their hours.

    Returns rows.
    """
    end_ms = now_ms // WINDOW_MS * WINDOW_MS
    found = inventory(gpus, now_ms)
    for items in found.values():
        for first in range(0, len(items), 5_000):
            store.insert_events(items[first : first + 5_000])
    written = 0
    windows = int(hours * 3_600_000 / WINDOW_MS)
    for schema in (GPU, FABRIC, FACILITY, SERVING):
        count = max(windows, 2_160) if schema is FACILITY else windows  # heat looks back 6 h
        for chunk in rows(schema, found[schema.family], end_ms, count, WINDOW_MS):
            store.insert_windows(schema, chunk)
            written += len(chunk)
    day = end_ms // MINUTE_MS * MINUTE_MS
    for schema in (GPU, FABRIC, FACILITY, SERVING):
        minutes = 1_440 if schema in (SERVING, FACILITY) else 60
        for chunk in rows(schema, found[schema.family], day, minutes, MINUTE_MS):
            store._insert_rows(f"{schema.family}_1m", chunk, schema.window_dtype)  # noqa: SLF001 - a rollup of a day of windows would take an hour here
            written += len(chunk)
        span = {"start": day - minutes * MINUTE_MS, "end": day, "window_s": WINDOW_MS / 1000}
        for text, asked in (
            (rollup.places_sql(schema), {}),
            *(
                (rollup.fold_places_sql(schema, level, "1m"), span)
                for level in LEVELS[schema.family]
            ),
        ):
            store._connection.command(text, "places", asked)  # noqa: SLF001 - as above
    week = (
        (end_ms // HOUR_MS * HOUR_MS, COMPARED_HOURS, _LONGER),
        (end_ms // HOUR_MS * HOUR_MS - COMPARED_HOURS * HOUR_MS, 24 * COMPARED_DAYS, 1.0),
    )
    for until, count, longer in week:
        for chunk in rows(SERVING, found["serving"], until, count, HOUR_MS, longer):
            store._insert_rows("serving_1h", chunk, SERVING.window_dtype)  # noqa: SLF001 - as above
            written += len(chunk)
    store.insert_events(detections(found["fabric"][: gpus // 50], now_ms))
    return written

"""Known samples: some nodes, every family, episodes, resets, disorder, duplicates; by seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ridgeline.events import DeviceKind, InventoryItem
from ridgeline.frames import encode, headers_of
from ridgeline.ids import DeviceId, NodeId, device_id, node_id
from ridgeline.pools import Role
from ridgeline.schema import FABRIC, FACILITY, GPU, MISSING_COUNTER, SERVING, Kind, Schema

NODES, GPUS, COOLERS = 6, 2, 2
DISORDER_MS = 3000  # less than the allowed lateness
LATE_SHARE, TWICE_SHARE, MISSING_SHARE, RESET_SHARE = 0.004, 0.02, 0.05, 0.01
BROKEN = b"poison"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One message of the log to be: when it was taken, of which node, headers and value."""

    taken_ms: int
    schema: Schema
    node: int
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


def devices() -> list[tuple[Schema, NodeId, list[DeviceId]]]:
    """Every node's devices, by family."""
    out: list[tuple[Schema, NodeId, list[DeviceId]]] = []
    for n in range(NODES):
        node = node_id(f"n{n}")
        out.append((GPU, node, [device_id(f"n{n}", "gpu", str(g)) for g in range(GPUS)]))
        out.append((FABRIC, node, [device_id(f"n{n}", "port", "mlx5_0")]))
        if n % 2:
            out.append((SERVING, node, [device_id(f"n{n}", "serving", "llm")]))
    for c in range(COOLERS):
        cooler = f"cdu{c}"
        out.append((FACILITY, node_id(cooler), [device_id(cooler, "facility", cooler)]))
    return out


def inventory(seen_ms: int) -> list[InventoryItem]:
    """Who they are. Nodes without an LLM server belong to the decode pool."""
    kinds = {"gpu": DeviceKind.GPU, "fabric": DeviceKind.PORT, "serving": DeviceKind.SERVING}
    loops = {node_id(f"n{n}"): f"loop{n % COOLERS}" for n in range(NODES)}
    loops |= {node_id(f"cdu{c}"): f"loop{c}" for c in range(COOLERS)}
    decoding = {node for n in range(0, NODES, 2) if (node := node_id(f"n{n}"))}
    return [
        InventoryItem(
            device=device,
            node=node,
            kind=kinds.get(schema.family, DeviceKind.FACILITY),
            host=f"{node:016x}",
            name=f"{schema.family}{number}",
            pool=Role.DECODE if node in decoding else Role.PREFILL,
            rack="r1",
            cooling_loop=loops[node],
            seen_ms=seen_ms,
        )
        for schema, node, found in devices()
        for number, device in enumerate(found)
    ]


def messages(seed: int, start_ms: int, seconds: int) -> list[Sent]:
    """Everything that is sent, in the order it is sent."""
    rng = np.random.default_rng(seed)
    out: list[tuple[float, Sent]] = []
    for schema, node, found in devices():
        for sent in _of(rng, schema, node, found, start_ms, seconds):
            delay = rng.uniform(0, DISORDER_MS)
            if rng.random() < LATE_SHARE:
                delay += rng.uniform(5000, 20_000)
            out.append((sent.taken_ms + delay, sent))
            if rng.random() < TWICE_SHARE:
                out.append((sent.taken_ms + delay + rng.uniform(0, 4000), sent))
    out.sort(key=lambda pair: pair[0])
    return [sent for _, sent in out]


def _of(  # noqa: PLR0917 - one obvious loop
    rng: np.random.Generator,
    schema: Schema,
    node: int,
    found: list[DeviceId],
    start_ms: int,
    seconds: int,
) -> Iterator[Sent]:
    gauges, counters = schema.of_kind(Kind.GAUGE), schema.of_kind(Kind.COUNTER)
    totals = rng.integers(0, 2**40, (len(counters), len(found))).astype(np.uint64)
    rates = 10.0 ** rng.uniform(0, 5, len(counters))
    trouble = [_trouble(rng, seconds) for _ in found]
    away = _trouble(rng, seconds) if rng.random() < 0.3 else (seconds, seconds)
    for second in range(seconds):
        rows = schema.empty(len(found))
        rows["ts"] = start_ms + second * 1000 + int(rng.integers(0, 1000))
        rows["node"], rows["device"] = node, found
        for name in gauges:
            value = rng.uniform(0, 1 if name.endswith("ratio") else 100, len(found))
            rows[name] = np.where(rng.random(len(found)) < MISSING_SHARE, np.nan, value)
        for i, name in enumerate(counters):
            grown = rng.poisson(rates[i], len(found)).astype(np.uint64)
            reset = rng.random(len(found)) < RESET_SHARE / len(counters)
            totals[i] = np.where(reset, grown, totals[i] + grown)
            hidden = rng.random(len(found)) < MISSING_SHARE
            rows[name] = np.where(hidden, np.uint64(MISSING_COUNTER), totals[i])
        for name in (*schema.of_kind(Kind.STATE), *schema.of_kind(Kind.FLAGS)):
            rows[name] = rng.integers(0, 4, len(found))
        for number, (begin, end) in enumerate(trouble):
            _SYMPTOMS[schema.family](rows[number : number + 1], begin <= second < end, totals)
        if away[0] <= second < away[1]:
            continue
        taken = int(rows["ts"][0])
        sent = Sent(
            taken_ms=taken,
            schema=schema,
            node=node,
            value=encode(rows, schema),
            headers=tuple(headers_of(schema)),
        )
        yield sent
        if rng.random() < 0.002:
            yield Sent(taken_ms=taken, schema=schema, node=node, value=BROKEN, headers=sent.headers)


def _trouble(rng: np.random.Generator, seconds: int) -> tuple[int, int]:
    begin = int(rng.integers(seconds // 5, seconds * 2 // 3))
    return begin, begin + int(rng.integers(8, seconds // 3))


def _gpu(rows: np.ndarray, ill: bool, _: np.ndarray) -> None:  # noqa: FBT001 - a symptom table
    rows["dram_util_ratio"], rows["tensor_util_ratio"] = (0.9, 0.1) if ill else (0.3, 0.3)
    for name in ("throttle_power_ns", "throttle_thermal_ns", "throttle_power_brake_ns"):
        rows[name] = 0
    for name in ("pcie_tx_bytes_per_second", "pcie_rx_bytes_per_second"):
        rows[name] = 1e9
    rows["tlimit_margin_celsius"] = 2.0 if ill else 30.0
    rows["slowdown_margin_celsius"] = 0.0


def _fabric(rows: np.ndarray, ill: bool, _: np.ndarray) -> None:  # noqa: FBT001 - likewise
    second = int(rows["ts"][0]) // 1000 % 1_000_000
    rows["link_rate_bits_per_second"] = 4e11
    rows["pfc_rx_pause_us"] = second * 1_000_000 if ill else second
    rows["pfc_storm_events"] = 0


def _facility(rows: np.ndarray, ill: bool, _: np.ndarray) -> None:  # noqa: FBT001 - likewise
    rows["supply_celsius"] = (38.0 if ill else 30.0) + rows["supply_celsius"] % 1
    rows["flow_liters_per_minute"] = 100.0
    rows["return_celsius"] = rows["supply_celsius"] + 10


def _serving(rows: np.ndarray, ill: bool, _: np.ndarray) -> None:  # noqa: FBT001 - likewise
    second = int(rows["ts"][0]) // 1000 % 1_000_000
    rows["requests_running"] = 0.0 if ill else 10.0  # its GPUs' verdicts hang on it
    rows["generation_tokens"], rows["prompt_tokens"] = 1000 * second, second
    rows["preemptions"] = 0


_SYMPTOMS: dict[str, Callable[[np.ndarray, bool, np.ndarray], None]] = {
    "gpu": _gpu,
    "fabric": _fabric,
    "facility": _facility,
    "serving": _serving,
}

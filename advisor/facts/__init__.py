"""What the advisor knows: every query named, one function each, and the values they return.

`QUERIES` is the whole list: name of the field of `Facts`, and the function that reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from advisor.facts.detections import open_detections
from advisor.facts.fabric import rail_traffic
from advisor.facts.facility import hall_watts_hourly, loop_heat, rack_load
from advisor.facts.gpus import gpu_activity, idle_gpus, pool_watts_by_hour
from advisor.facts.places import gpu_places
from advisor.facts.serving import (
    demand_per_hour,
    demand_per_minute,
    serving_load,
    software,
)
from advisor.facts.span import HEAT_MS, Reader, Span, span_of
from advisor.facts.token_lengths import lengths, lengths_by_day
from advisor.facts.values import (
    Facts,
    Found,
    GpuActivity,
    IdleGpus,
    Lengths,
    LoopHeat,
    RackLoad,
    RailTraffic,
    ServingLoad,
    SmallJob,
    Software,
)
from ridgeline import metrics

QUERIES: tuple[tuple[str, Callable[[Reader, Span], Any]], ...] = (
    ("serving", serving_load),
    ("software", software),
    ("pools", partial(gpu_activity, by="pool")),
    ("gpu_loops", lambda store, span: gpu_activity(store, span.newest(HEAT_MS), "cooling_loop")),
    ("idle", idle_gpus),
    ("loops", loop_heat),
    ("racks", rack_load),
    ("rails", rail_traffic),
    ("found", open_detections),
    ("places", gpu_places),
    ("lengths", lengths),
    ("lengths_by_day", lengths_by_day),
    ("demand", demand_per_minute),
    ("demand_hourly", demand_per_hour),
    ("hall_watts_hourly", hall_watts_hourly),
    ("pool_watts_by_hour", pool_watts_by_hour),
)


def read(store: Reader, span: Span) -> Facts:
    """All facts of a span. Raises Retry while the store is away."""
    return Facts(
        now_ms=span.now_ms, **{name: _timed(name, query, store, span) for name, query in QUERIES}
    )


def _timed(name: str, query: Callable[[Reader, Span], Any], store: Reader, span: Span) -> Any:
    with metrics.FACT_SECONDS.labels(name).time():
        return query(store, span)


__all__ = [
    "QUERIES",
    "Facts",
    "Found",
    "GpuActivity",
    "IdleGpus",
    "Lengths",
    "LoopHeat",
    "RackLoad",
    "RailTraffic",
    "Reader",
    "ServingLoad",
    "SmallJob",
    "Software",
    "Span",
    "demand_per_hour",
    "demand_per_minute",
    "gpu_activity",
    "hall_watts_hourly",
    "idle_gpus",
    "lengths",
    "lengths_by_day",
    "loop_heat",
    "open_detections",
    "pool_watts_by_hour",
    "rack_load",
    "rail_traffic",
    "read",
    "serving_load",
    "software",
    "span_of",
]

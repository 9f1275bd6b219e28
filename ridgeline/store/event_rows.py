"""Events as rows of their tables: the useful fields as columns, the whole event in `body`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from ridgeline.events import (
    Advice,
    CollectorHealth,
    DeadLetter,
    Detection,
    DeviceEvent,
    Event,
    InventoryItem,
    PipelineHealth,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOURS_A_MONTH = 730.0


def utc(ms: int) -> str:
    """A time in ms since the epoch as ClickHouse reads it into a DateTime64(3, 'UTC')."""
    at = _EPOCH + timedelta(milliseconds=ms)
    return at.strftime("%Y-%m-%d %H:%M:%S.") + f"{ms % 1000:03d}"


def _pick(event: Event, *names: str) -> dict[str, Any]:
    return {name: getattr(event, name) for name in names}


def _detection(e: Detection) -> dict[str, Any]:
    names = ("id", "detector", "condition", "state", "severity", "node", "device", "subject")
    return _pick(e, *names, "pool", "summary", "windows") | {
        "opened": utc(e.opened_ms),
        "updated": utc(e.updated_ms),
        "closed": None if e.closed_ms is None else utc(e.closed_ms),
    }


def _advice(e: Advice) -> dict[str, Any]:
    names = ("id", "rule", "action", "state", "scope_kind", "scope", "title", "confidence")
    row = _pick(e, *names) | {"created": utc(e.created_ms), "updated": utc(e.updated_ms)}
    gain = monthly_usd(e)
    # JSON has no NaN: the column's default says that no price is known
    return row if math.isnan(gain) else row | {"gain_usd_month": gain}


def monthly_usd(advice: Advice) -> float:
    """Money the advice gains a month, from its middle estimate; NaN when no price is known."""
    if advice.gain is None:
        return math.nan
    unit = advice.gain.unit.lower().replace(" ", "")
    if unit in ("usd/month", "$/month"):
        return advice.gain.mid
    if unit in ("usd/hour", "usd/h", "$/hour"):
        return advice.gain.mid * _HOURS_A_MONTH
    return math.nan


def _inventory(e: InventoryItem) -> dict[str, Any]:
    names = ("device", "node", "kind", "host", "name", "model", "pool", "rack", "row")
    return _pick(e, *names, "cooling_loop", "pdu", "rail", "job") | {"seen": utc(e.seen_ms)}


def _health(e: CollectorHealth) -> dict[str, Any]:
    names = ("node", "host", "collector", "success", "duration_seconds", "rows", "no_data")
    row = _pick(e, *names, "error", "runs") | {"ts": utc(e.ts)}
    return row if e.failed is None else row | {"failed": e.failed}


def _pipeline(e: PipelineHealth) -> dict[str, Any]:
    fields = e.model_dump(exclude={"ts"}) | {"ts": utc(e.ts)}
    return {name: value for name, value in fields.items() if value is not None}


def _device_event(e: DeviceEvent) -> dict[str, Any]:
    return _pick(e, "device", "node", "kind", "code", "message") | {"ts": utc(e.ts)}


def _dead_letter(e: DeadLetter) -> dict[str, Any]:
    names = ("topic", "partition", "offset", "field", "reason", "value_bytes")
    return _pick(e, *names) | {"ts": utc(e.ts)}


EVENT_TABLES: Mapping[type[Event], tuple[str, Callable[[Any], dict[str, Any]]]] = MappingProxyType(
    {
        Detection: ("detections", _detection),
        Advice: ("advice", _advice),
        InventoryItem: ("inventory", _inventory),
        CollectorHealth: ("collector_health", _health),
        PipelineHealth: ("pipeline_health", _pipeline),
        DeviceEvent: ("device_events", _device_event),
        DeadLetter: ("dead_letters", _dead_letter),
    }
)


NEWEST: Mapping[str, str] = MappingProxyType({"collector_health": "collectors"})
"""Tables of the newest row of each, by the table of all rows."""


def row_of(event: Event) -> tuple[str, dict[str, Any]]:
    """Table of an event and its row, ready for JSON; a column left out takes its default.

    Raises:
        KeyError: the event has no table; every type that has one is in `EVENT_TABLES`.
    """
    table, fields_of = EVENT_TABLES[type(event)]
    return table, fields_of(event) | {"body": event.model_dump_json()}

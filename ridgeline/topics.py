"""Every topic: name, key, value, retention, partitions. One table, read by every service."""

from __future__ import annotations

from dataclasses import dataclass

from ridgeline.events import (
    Advice,
    CollectorHealth,
    DeadLetter,
    Detection,
    DeviceEvent,
    Event,
    InventoryItem,
)
from ridgeline.schema import FABRIC, FACILITY, GPU, SERVING, Schema

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One Kafka topic. Exactly one of `schema` (frames) and `model` (JSON) is set."""

    name: str
    key: str
    retention_ms: int
    partitions: int | None  # None: the deployment's telemetry partition count
    schema: Schema | None = None
    model: type[Event] | None = None
    compacted: bool = False

    def config(self) -> dict[str, str]:
        """Topic configuration as Kafka takes it."""
        policy = "compact" if self.compacted else "delete"
        config = {"cleanup.policy": policy, "compression.type": "producer"}
        if self.schema is not None:  # the broker's clock says what is from the future: see streams
            config["message.timestamp.type"] = "LogAppendTime"
        return config if self.compacted else config | {"retention.ms": str(self.retention_ms)}


def _frames(schema: Schema) -> Topic:
    return Topic(
        name=schema.topic, key="node", retention_ms=6 * HOUR_MS, partitions=None, schema=schema
    )


def _events(
    name: str, model: type[Event], key: str, days: int, *, compacted: bool = False
) -> Topic:
    return Topic(
        name=name,
        key=key,
        retention_ms=days * DAY_MS,
        partitions=1,
        model=model,
        compacted=compacted,
    )


TOPICS: tuple[Topic, ...] = (
    _frames(GPU),
    _frames(FABRIC),
    _frames(FACILITY),
    _frames(SERVING),
    _events("inventory", InventoryItem, "device", 0, compacted=True),
    _events("device.events", DeviceEvent, "node", 7),
    _events("collector.health", CollectorHealth, "node", 1),
    _events("detections", Detection, "device", 7),
    _events("advice", Advice, "id", 30),
    _events("dead.letter", DeadLetter, "topic", 7),
)
BY_NAME = {t.name: t for t in TOPICS}
INVENTORY, DEVICE_EVENTS, HEALTH, DETECTIONS, ADVICE, DEAD_LETTER = (
    BY_NAME[n]
    for n in (
        "inventory",
        "device.events",
        "collector.health",
        "detections",
        "advice",
        "dead.letter",
    )
)

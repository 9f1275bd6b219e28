"""What the console and the HTTP API read: one protocol and the values it hands out.

Times are int milliseconds since the epoch, ratios 0..1; `None` is "not measured", never 0.
"""

from __future__ import annotations

from typing import Protocol

from pydantic import BaseModel, ConfigDict

from ridgeline.events import Advice, Detection


class _State(BaseModel):
    model_config = ConfigDict(frozen=True, protected_namespaces=())


class PoolState(_State):
    """One serving or training pool now."""

    name: str
    nodes: int = 0
    gpus: int = 0
    dram_ratio: float | None = None
    tensor_ratio: float | None = None
    power_watts: float | None = None
    throttled_ratio: float | None = None
    ttft_p99_seconds: float | None = None
    tpot_p99_seconds: float | None = None
    running: float | None = None
    waiting: float | None = None
    kv_usage_ratio: float | None = None
    tokens_per_second: float | None = None


class LoopState(_State):
    """One cooling loop now."""

    name: str
    supply_celsius: float | None = None
    return_celsius: float | None = None
    flow_liters_per_minute: float | None = None
    heat_kw: float | None = None


class RailState(_State):
    """One network rail now."""

    name: str
    ports: int = 0
    utilisation_ratio: float | None = None
    ecn_marked_per_second: float | None = None
    cnp_per_second: float | None = None


class NodeState(_State):
    """One node now."""

    host: str
    rack: str = ""
    pool: str = ""
    gpus: int = 0
    dram_ratio: float | None = None
    tensor_ratio: float | None = None
    hottest_celsius: float | None = None
    open_detections: int = 0
    last_seen_ms: int | None = None


class TopicState(_State):
    """How the stream workers keep up with one topic; counts are of the last hour."""

    name: str
    workers: int = 0
    devices: int = 0
    samples_per_second: float | None = None
    lag_frames: float | None = None
    watermark_delay_seconds: float | None = None
    late: int = 0
    future: int = 0
    resets: int = 0
    dead_letters: int = 0
    dead_letters_minute: int = 0
    dead_letters_over: bool = False
    rebalances: int = 0


class CollectorState(_State):
    """One collector over all nodes, by its newest report; `absent`: nothing there to read."""

    name: str
    well: int = 0
    failing: int = 0
    absent: int = 0
    error: str = ""
    reported_ms: int | None = None


class ClusterState(_State):
    """The whole cluster now; `updated_ms` is the newest window read, None before the first."""

    updated_ms: int | None = None
    pools: list[PoolState] = []
    loops: list[LoopState] = []
    rails: list[RailState] = []
    collectors_ok: int = 0
    collectors_failing: int = 0
    nodes: list[NodeState] = []
    topics: list[TopicState] = []
    collectors: list[CollectorState] = []


class ConsoleSource(Protocol):
    """State, findings and advice, and the three things a person may do to a piece of advice.

    The three raise `KeyError` when no advice has that id.
    """

    async def cluster(self) -> ClusterState:
        """State of the cluster now."""
        ...

    async def detections(self) -> list[Detection]:
        """Open detections and those of the last hour, newest first."""
        ...

    async def advice(self) -> list[Advice]:
        """All advice, best first, resolved last."""
        ...

    async def acknowledge(self, id: str, by: str) -> None:  # noqa: A002 - the event's own field name
        """Say that a person has seen it."""
        ...

    async def snooze(self, id: str, by: str, hours: float) -> None:  # noqa: A002 - likewise
        """Hide it for `hours`."""
        ...

    async def resolve(
        self,
        id: str,  # noqa: A002 - likewise
        by: str,
        note: str,
        *,
        done: bool = False,
    ) -> None:
        """Say that it was done (then it is measured) or will not be."""
        ...

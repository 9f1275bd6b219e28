"""The events on the wire: pydantic models, one JSON object a message.

Times are int milliseconds since the epoch; ids are the 64-bit integers of `ridgeline.ids`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ridgeline.pools import PoolName, Role


class Event(BaseModel):
    """Immutable, closed to unknown fields going out, tolerant of newer fields coming in."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    def to_bytes(self) -> bytes:
        """JSON for the wire."""
        return self.model_dump_json().encode()


class DeviceKind(StrEnum):
    """What an inventory item is."""

    NODE = "node"
    GPU = "gpu"
    PORT = "port"
    SERVING = "serving"
    FACILITY = "facility"


class InventoryItem(Event):
    """What a 64-bit device id stands for. Compacted by `device`."""

    device: int
    node: int
    kind: DeviceKind
    host: str
    name: str  # unique on the host: GPU UUID, "mlx5_0/1", "eth0", URL, "cdu-1"
    model: str = ""
    index: int | None = None
    pool: PoolName = Role.UNKNOWN
    rack: str = ""
    row: str = ""
    cooling_loop: str = ""
    pdu: str = ""
    rail: str = ""
    job: str = ""
    attributes: dict[str, str] = Field(default_factory=dict)
    seen_ms: int


class DeviceEvent(Event):
    """Something that happened once: an XID, a link flap, a GPU lost."""

    device: int
    node: int
    kind: Literal["xid", "link", "lost"]
    code: int
    message: str
    ts: int


class CollectorHealth(Event):
    """One collector's runs since the last report: the newest, and counts of all."""

    node: int
    host: str
    collector: str
    ts: int
    success: bool  # of the newest run
    duration_seconds: float  # of the longest run
    rows: int
    no_data: bool = False
    error: str = ""
    runs: int = 1
    failed: int | None = None  # of the runs; None: an agent that does not count them


class PipelineHealth(Event):
    """What one stream worker did with one topic since its last report."""

    worker: str
    topic: str
    ts: int
    seconds: float  # that the counts below cover
    partitions: int = 0  # of the topic that the worker has
    devices: int = 0
    lag_frames: int | None = None  # sum over the worker's partitions; None: not known
    watermark_delay_seconds: float | None = None  # of the slowest partition; None: no row waits
    frames: int = 0
    samples: int = 0
    late: int = 0
    future: int = 0
    resets: int = 0
    dead_letters: int = 0
    rebalances: int = 0


class Severity(StrEnum):
    """How soon a person should look."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class EpisodeState(StrEnum):
    """Life of a detection."""

    OPEN = "open"
    UPDATE = "update"
    CLOSED = "closed"


class Confidence(StrEnum):
    """Where a number comes from, strongest first."""

    MEASURED = "measured"
    MODELLED = "modelled"
    PUBLISHED = "published"
    ASSUMED = "assumed"


class Evidence(Event):
    """One number a claim rests on (or that speaks against it)."""

    name: str
    value: float
    unit: str
    threshold: float | None = None
    note: str = ""
    confidence: Confidence = Confidence.MEASURED


class Detection(Event):
    """One episode of one condition on one device.

    `id` is the same through the episode and is derived from detector, device and opening window,
    so that a replay gives the same id.
    """

    id: str
    detector: str
    condition: str  # the verdict: e.g. "bandwidth_bound", "incast_receiver", "coolant_supply_hot"
    state: EpisodeState
    severity: Severity
    node: int
    device: int
    subject: str  # as a person reads it: "node07 gpu3"
    pool: PoolName = Role.UNKNOWN
    opened_ms: int
    updated_ms: int
    closed_ms: int | None = None
    summary: str
    evidence: tuple[Evidence, ...] = ()
    counter_evidence: tuple[Evidence, ...] = ()
    alternatives: tuple[str, ...] = ()
    windows: int = 1  # windows the condition held so far


class Action(StrEnum):
    """Everything Ridgeline may ever advise. Words are a rendering of it, never the source."""

    DISAGGREGATE = "disaggregate"
    AGGREGATE = "aggregate"
    REBALANCE_POOLS = "rebalance_pools"
    CHANGE_ACCELERATOR = "change_accelerator"
    FIX_COOLING = "fix_cooling"
    RETROFIT_COOLING = "retrofit_cooling"
    CAP_POWER = "cap_power"
    FIX_FABRIC = "fix_fabric"
    ADD_CAPACITY = "add_capacity"
    ADD_POWER = "add_power"  # order a feed, before the hall is full
    CONSOLIDATE = "consolidate"
    SHIFT_LOAD = "shift_load"  # work that may wait runs in cleaner hours
    BURST_TO_CLOUD = "burst_to_cloud"
    INSPECT_HARDWARE = "inspect_hardware"
    KEEP = "keep"  # looked at, and the right answer is to change nothing


class Estimate(Event):
    """A number with its interval; `low <= mid <= high`."""

    low: float
    mid: float
    high: float
    unit: str
    confidence: Confidence
    source: str


class AdviceState(StrEnum):
    """Life of a piece of advice."""

    OPEN = "open"
    UPDATED = "updated"
    ACKNOWLEDGED = "acknowledged"
    SNOOZED = "snoozed"
    RESOLVED = "resolved"


class Needs(Event):
    """What following the advice takes."""

    lead_time_days: Annotated[float, Field(ge=0)] = 0.0
    capex_usd: Annotated[float, Field(ge=0)] = 0.0
    power_kw: Annotated[float, Field(ge=0)] = 0.0  # more than today, of the hall's feed
    note: str = ""
    confidence: Confidence = Confidence.ASSUMED


class Rank(Event):
    """Where a piece of advice stands among others: its gain after what counsels caution.

    `steps` begin with the likely gain and each factor that follows says why; their product is the
    value (`advisor/ranking.py` has the formula).
    """

    usd_per_month: float
    steps: tuple[Evidence, ...]
    confidence: Confidence


class Verdict(StrEnum):
    """What became of a promise once the change was made."""

    KEPT = "kept"
    PARTLY = "partly"  # better, by less than the low end of what was promised
    NOT_KEPT = "not_kept"  # no change that could be told from noise
    WORSE = "worse"
    NOT_MEASURABLE = "not_measurable"


class MetricChange(Event):
    """One metric before and after a change, over windows of comparable load."""

    metric: str
    before: Estimate
    after: Estimate
    change: Estimate  # after minus before
    lower_is_better: bool
    windows_before: int
    windows_after: int
    devices: int | None = None  # that were compared; fewer than in the scope: a sample
    devices_in_scope: int | None = None


class Verification(Event):
    """What a change brought, next to what was promised; `text` says it in one sentence."""

    verdict: Verdict
    text: str
    changes: tuple[MetricChange, ...] = ()
    promised: Estimate | None = None
    brought: Estimate | None = None  # None where the promise is not measurable in its own unit
    measured_ms: int


class Advice(Event):
    """One priced, explained recommendation. `id` is stable for rule + scope."""

    id: str
    rule: str
    action: Action
    state: AdviceState
    scope_kind: Literal["cluster", "pool", "rack", "cooling_loop", "node", "device"]
    scope: str
    title: str
    reason: str
    evidence: tuple[Evidence, ...] = ()
    counter_evidence: tuple[Evidence, ...] = ()
    detections: tuple[str, ...] = ()  # ids of the detections it rests on
    cost_today: Estimate | None = None
    gain: Estimate | None = None  # always money per month where a price is known
    effects: tuple[Estimate, ...] = ()
    needs: Needs = Needs()
    confidence: Confidence
    verify: str
    model_version: str
    data_versions: dict[str, str] = Field(default_factory=dict)
    created_ms: int
    updated_ms: int
    snoozed_until_ms: int | None = None
    resolved_ms: int | None = None
    outcome: str = ""
    rank: Rank | None = None
    changed_ms: int | None = None  # when the change was made or the condition went away
    verification: Verification | None = None


class DeadLetter(Event):
    """A message that could not be read, with enough to find and replay it."""

    topic: str
    partition: int
    offset: int
    field: str
    reason: str
    headers: dict[str, str] = Field(default_factory=dict)
    value_base64: str
    value_bytes: int
    ts: int

"""A console source whose data a test changes while the page is open."""

from __future__ import annotations

import math
import time

from advisor.source import (
    ClusterState,
    CollectorState,
    LoopState,
    NodeState,
    PoolState,
    RailState,
    TopicState,
)
from ridgeline.errors import Retry
from ridgeline.events import (
    Action,
    Advice,
    AdviceState,
    Confidence,
    Detection,
    EpisodeState,
    Estimate,
    Evidence,
    MetricChange,
    Needs,
    Rank,
    Severity,
    Verdict,
    Verification,
)
from ridgeline.pools import Role

MINUTE_MS = 60_000
XSS = "<img src=x onerror=\"document.title='owned'\">"


def now_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000


def dollars(low: float, mid: float, high: float, confidence: Confidence) -> Estimate:
    """A monthly gain."""
    return Estimate(
        low=low, mid=mid, high=high, unit="USD/month", confidence=confidence, source="roofline"
    )


def make_detection(
    id: str,  # noqa: A002 - the event's own field name
    subject: str,
    severity: Severity = Severity.WARNING,
    *,
    closed: bool = False,
    condition: str = "bandwidth_bound",
) -> Detection:
    """A detection with evidence on both sides."""
    opened = now_ms() - 7 * MINUTE_MS
    return Detection(
        id=id,
        detector="bandwidth_bound_decode",
        condition=condition,
        state=EpisodeState.CLOSED if closed else EpisodeState.OPEN,
        severity=severity,
        node=1,
        device=2,
        subject=subject,
        pool=Role.DECODE,
        opened_ms=opened,
        updated_ms=opened,
        closed_ms=now_ms() - MINUTE_MS if closed else None,
        summary="HBM is busy 84 % of the time while the tensor cores wait.",
        evidence=(
            Evidence(name="dram_active", value=0.84, unit="ratio", threshold=0.6),
            Evidence(name="tensor_active", value=0.11, unit="ratio", threshold=0.25),
        ),
        counter_evidence=(
            Evidence(name="power_draw", value=512.0, unit="watts", note="below the 700 W limit"),
        ),
        alternatives=("power_cap",),
        windows=37,
    )


def make_advice(
    id: str,  # noqa: A002 - likewise
    title: str,
    gain: Estimate | None,
    action: Action = Action.DISAGGREGATE,
) -> Advice:
    """A piece of advice with everything filled in."""
    created = now_ms() - 4 * MINUTE_MS
    return Advice(
        id=id,
        rule="disaggregate",
        action=action,
        state=AdviceState.OPEN,
        scope_kind="pool",
        scope="decode",
        title=title,
        reason=(
            "Decode keeps memory busy and tensor cores idle, while prefill does the opposite. "
            "On their own GPUs each can be sized for what it needs."
        ),
        evidence=(
            Evidence(name="dram_active", value=0.84, unit="ratio", threshold=0.6),
            Evidence(name="tpot_p99", value=0.142, unit="seconds", threshold=0.1),
        ),
        counter_evidence=(
            Evidence(
                name="kv_transfer",
                value=0.021,
                unit="seconds",
                note="moving the KV cache costs this much per request",
                confidence=Confidence.PUBLISHED,
            ),
        ),
        cost_today=dollars(270_000, 281_000, 290_000, Confidence.MEASURED),
        gain=gain,
        needs=Needs(lead_time_days=3, note="a second deployment of the server"),
        confidence=gain.confidence if gain else Confidence.ASSUMED,
        verify="TPOT p99 of the decode pool falls below 100 ms within an hour of the change.",
        model_version="1",
        data_versions={"prices": "2025-11"},
        created_ms=created,
        updated_ms=created,
    )


def make_rank(value: float, likely: float) -> Rank:
    """A rank with one factor."""
    steps = (
        Evidence(name="likely gain", value=likely, unit="USD/month"),
        Evidence(name="confidence", value=value / likely, unit="x", note="modelled"),
    )
    return Rank(usd_per_month=value, steps=steps, confidence=Confidence.MODELLED)


def make_verification() -> Verification:
    """A promise that was kept, measured on one metric."""

    def heat(low: float, mid: float, high: float) -> Estimate:
        return Estimate(
            low=low,
            mid=mid,
            high=high,
            unit="ratio",
            confidence=Confidence.MEASURED,
            source="180 before, 180 after, at the same SM activity, on 1,000 of 4,096 devices",
        )

    return Verification(
        verdict=Verdict.KEPT,
        text="It brought what was promised: throttled time 0.31 -> 0.02 ratio.",
        changes=(
            MetricChange(
                metric="throttled time",
                before=heat(0.29, 0.31, 0.33),
                after=heat(0.01, 0.02, 0.03),
                change=heat(-0.31, -0.29, -0.27),
                lower_is_better=True,
                windows_before=180,
                windows_after=180,
                devices=1000,
                devices_in_scope=4096,
            ),
        ),
        promised=dollars(5_200, 6_100, 7_400, Confidence.MODELLED),
        brought=dollars(5_300, 5_700, 6_000, Confidence.MODELLED),
        measured_ms=now_ms(),
    )


def make_nodes(step: int = 0) -> list[NodeState]:
    """32 nodes as in the demo: prefill, decode, training; one never measured."""
    found = []
    for i in range(32):
        pool = "prefill" if i < 8 else "decode" if i < 24 else "training"
        dram = {"prefill": 0.35, "decode": 0.8, "training": 0.55}[pool]
        tensor = {"prefill": 0.62, "decode": 0.12, "training": 0.48}[pool]
        wobble = 0.05 * math.sin(i * 1.7 + step / 3)
        silent = i == 30
        found.append(
            NodeState(
                host=f"node{i:02d}",
                rack=f"rack{i // 4:02d}",
                pool=pool,
                gpus=8,
                dram_ratio=None if silent else dram + wobble,
                tensor_ratio=None if silent else tensor + 1.4 * wobble * math.cos(i),
                hottest_celsius=None if silent else 58 + (i * 7) % 20 + (14 if i // 4 == 4 else 0),
                open_detections=1 if i in (9, 17) else 0,
                last_seen_ms=now_ms(),
            )
        )
    return found


class FakeSource:
    """Keeps what it is given; with `failing` set every reading raises."""

    def __init__(self, generation: int = 1) -> None:
        self.generation = generation
        self.failing = ""
        self.refusing = ""
        self.calls: list[tuple[str, ...]] = []
        self.step = 0
        self.age_ms = 3000
        self.topics = [
            TopicState(
                name="telemetry.gpu",
                workers=2,
                devices=256,
                samples_per_second=1280,
                lag_frames=12,
                watermark_delay_seconds=6.4,
                late=3,
                rebalances=1,
            ),
            TopicState(name="telemetry.fabric", workers=2, devices=64),
            TopicState(name="inventory", workers=2),
        ]
        self.found = [
            make_detection("d1", "node09 gpu3"),
            make_detection("d2", "node17 gpu0", Severity.CRITICAL, condition="coolant_supply_hot"),
            make_detection("d3", "node04 mlx5_0/1", closed=True, condition="incast_receiver"),
        ]
        modelled = dollars(31_000, 42_000, 51_000, Confidence.MODELLED)
        measured = dollars(5_200, 6_100, 7_400, Confidence.MEASURED)
        self.pieces = [
            make_advice("a2", "Lower the supply temperature of loop-b", measured),
            make_advice("a1", "Serve prefill and decode from separate pools", modelled),
            make_advice("a3", f"Inspect node09: row remaps grow, report {generation}", None),
        ]

    def _check(self) -> None:
        if self.failing:
            raise Retry(self.failing)

    async def cluster(self) -> ClusterState:
        """State of the cluster now."""
        self._check()
        self.step += 1
        return ClusterState(
            updated_ms=now_ms() - self.age_ms,
            pools=[
                PoolState(
                    name="prefill",
                    nodes=8,
                    gpus=64,
                    dram_ratio=0.35,
                    tensor_ratio=0.62,
                    power_watts=38_400,
                    throttled_ratio=0.0,
                    ttft_p99_seconds=0.84,
                    running=31,
                    waiting=4,
                    kv_usage_ratio=0.22,
                    tokens_per_second=1210,
                ),
                PoolState(
                    name="decode",
                    nodes=16,
                    gpus=128,
                    dram_ratio=0.81,
                    tensor_ratio=0.12,
                    power_watts=61_200 + self.step,
                    throttled_ratio=0.07,
                    tpot_p99_seconds=0.142,
                    running=1804,
                    waiting=61,
                    kv_usage_ratio=0.88,
                    tokens_per_second=41_300,
                ),
                PoolState(
                    name="training",
                    nodes=8,
                    gpus=64,
                    dram_ratio=0.55,
                    tensor_ratio=0.48,
                    power_watts=41_000,
                    throttled_ratio=0.004,
                ),
            ],
            loops=[
                LoopState(
                    name="loop-a",
                    supply_celsius=27.4,
                    return_celsius=35.1,
                    flow_liters_per_minute=410,
                    heat_kw=212,
                ),
                LoopState(
                    name="loop-b",
                    supply_celsius=33.9,
                    return_celsius=None,
                    flow_liters_per_minute=388,
                    heat_kw=None,
                ),
            ],
            rails=[
                RailState(
                    name="rail0",
                    ports=32,
                    utilisation_ratio=0.44,
                    ecn_marked_per_second=1830,
                    cnp_per_second=412,
                ),
                RailState(name="rail1", ports=32, utilisation_ratio=None),
            ],
            collectors_ok=127,
            collectors_failing=1,
            nodes=make_nodes(self.step),
            topics=self.topics,
            collectors=[
                CollectorState(name="netdev", well=31, failing=1, error="no answer within 5 s"),
                CollectorState(name="nvml", well=32),
                CollectorState(name="infiniband", absent=32, error="no RDMA port"),
            ],
        )

    async def detections(self) -> list[Detection]:
        """Detections."""
        self._check()
        return list(self.found)

    async def advice(self) -> list[Advice]:
        """Advice."""
        self._check()
        return list(self.pieces)

    def _move(self, id: str, **changes: object) -> None:  # noqa: A002 - likewise
        if self.refusing:
            raise Retry(self.refusing)
        if id not in {piece.id for piece in self.pieces}:
            raise KeyError(id)
        self.pieces = [
            piece.model_copy(update={**changes, "updated_ms": now_ms()})
            if piece.id == id
            else piece
            for piece in self.pieces
        ]

    async def acknowledge(self, id: str, by: str) -> None:  # noqa: A002 - likewise
        """Record it."""
        self._move(id, state=AdviceState.ACKNOWLEDGED, outcome=f"acknowledged by {by}")
        self.calls.append(("acknowledge", id, by))

    async def snooze(self, id: str, by: str, hours: float) -> None:  # noqa: A002 - likewise
        """Record it."""
        until = now_ms() + int(hours * 3_600_000)
        self._move(id, state=AdviceState.SNOOZED, snoozed_until_ms=until)
        self.calls.append(("snooze", id, by, f"{hours:g}"))

    async def resolve(
        self,
        id: str,  # noqa: A002 - likewise
        by: str,
        note: str,
        *,
        done: bool = False,
    ) -> None:
        """Record it."""
        self._move(id, state=AdviceState.RESOLVED, outcome=f"resolved by {by}: {note}")
        self.calls.append(("resolve", id, by, note, *(("done",) if done else ())))

"""The facts as values: what one evaluation knows. What was not measured is absent or None."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from advisor.places import Place
from ridgeline.events import Detection
from ridgeline.pools import service_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingLoad:
    """What the engines of a pool do; sums over engines, means over the history."""

    pool: str
    engines: int
    newest_ms: int
    seconds: float
    prompt_tokens_per_second: float | None
    generation_tokens_per_second: float | None
    requests_per_second: float | None
    running: float | None
    waiting: float | None
    kv_usage_ratio: float | None
    max_batch: float | None
    ttft_p99_seconds: float | None
    tpot_p50_seconds: float | None
    tpot_p99_seconds: float | None
    prompt_tokens_p50: float | None
    prompt_tokens_p99: float | None
    output_tokens_p50: float | None
    output_tokens_p99: float | None
    preemptions_per_second: float | None
    prefill_seconds_mean: float | None
    queue_seconds_mean: float | None
    overload_ratio: float | None  # share of windows with a queue longer than a tenth of the batch
    kv_transfer_bytes_per_second: float | None
    prefix_hit_ratio: float | None = None  # prompt tokens found in the prefix cache
    arrival_dispersion: float | None = None  # variance over mean of arrivals a window; Poisson: 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Software:
    """Serving software of some engines of a pool, and what they serve; empty where not known."""

    name: str
    version: str
    engines: int
    model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuActivity:
    """What the GPUs of a pool, rack or loop (`group`) do; means over GPUs and history."""

    group: str
    gpus: int
    nodes: int
    model: str  # empty when the group mixes models
    newest_ms: int
    seconds: float
    dram_ratio: float | None
    tensor_ratio: float | None
    sm_ratio: float | None
    power_watts: float | None
    power_limit_watts: float | None
    thermal_ratio: float | None
    power_throttled_ratio: float | None
    clock_ratio: float | None  # SM clock over highest, of windows throttled by heat
    hottest_celsius: float | None
    least_margin_celsius: float | None
    memory_used_ratio: float | None = None  # of the framebuffer
    pcie_bytes_per_second: float | None = None  # of one GPU, the busier direction
    nvlink_bytes_per_second: float | None = None  # likewise, all links


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallJob:
    """Peaks of a GPU that worked, but on less than half of it, through the whole history."""

    memory_bytes: float
    sm_ratio: float  # busiest minute
    dram_ratio: float  # likewise
    nvlink_bytes_per_second: float | None  # likewise; None where it is not read


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleGpus:
    """GPUs of a pool that did nothing through the whole history."""

    pool: str
    gpus: int
    idle: int
    idle_power_watts: float | None
    seconds: float
    nodes: int = 0  # that the pool's GPUs are in
    busy_nodes: int = 0  # of them, with at least one GPU that worked
    small: tuple[SmallJob, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopHeat:
    """One cooling loop: newest minute against its own normal (p90 flow, p10 supply of 6 h)."""

    loop: str
    newest_ms: int
    supply_celsius: float | None
    return_celsius: float | None
    flow_liters_per_minute: float | None
    heat_watts: float | None
    pump_speed_ratio: float | None
    normal_supply_celsius: float | None
    normal_flow_liters_per_minute: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RackLoad:
    """One rack: the largest power reading among its devices and its warmest air."""

    rack: str
    loop: str
    newest_ms: int
    power_watts: float | None
    inlet_celsius: float | None
    fan_speed_ratio: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RailTraffic:
    """One network rail; rates are sums over ports."""

    rail: str
    ports: int
    nodes: int
    newest_ms: int
    utilisation_ratio: float | None
    ecn_marked_per_second: float | None
    cnp_per_second: float | None
    pause_ratio: float | None
    discards_per_second: float | None
    link_bits_per_second: float | None = None  # of one port, as negotiated
    bytes_per_second: float | None = None  # of one port, the busier direction


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An open detection and where its device is."""

    detection: Detection
    host: str
    rack: str
    loop: str
    rail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Requests at most each of `LENGTH_BOUNDS` tokens long, and all; empty where none counted."""

    prompts: tuple[float, ...] = ()
    answers: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything a rule may look at. What is not known is absent or None."""

    now_ms: int
    serving: tuple[ServingLoad, ...] = ()
    pools: tuple[GpuActivity, ...] = ()
    gpu_loops: tuple[GpuActivity, ...] = ()
    idle: tuple[IdleGpus, ...] = ()
    loops: tuple[LoopHeat, ...] = ()
    racks: tuple[RackLoad, ...] = ()
    rails: tuple[RailTraffic, ...] = ()
    found: tuple[Found, ...] = ()
    places: tuple[Place, ...] = ()
    software: Mapping[str, tuple[Software, ...]] = field(default_factory=dict)
    """What each pool's engines run, what most of them run first."""
    demand: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Concurrent requests of each pool by minute, of the last day."""
    lengths: Mapping[str, Lengths] = field(default_factory=dict)
    """Requests of each pool by length, of the history."""
    lengths_by_day: Mapping[str, tuple[Lengths, ...]] = field(default_factory=dict)
    """Likewise of the last whole hours, then of the same hours of each of seven days before."""
    demand_hourly: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Concurrent requests of each pool by hour, of the last four weeks."""

    pool_watts_by_hour: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Mean power of a pool's GPUs by UTC hour of the day, of the last week; whole days only."""

    hall_watts_hourly: tuple[float, ...] = ()
    """Power of all racks together by hour, newest last, of 180 days; NaN where none was read."""

    @property
    def stale(self) -> bool:
        """True when no family has fresh rows."""
        return not (self.serving or self.pools or self.loops or self.rails)

    @property
    def newest_ms(self) -> int | None:
        """Start of the newest window seen."""
        groups = (self.serving, self.pools, self.loops, self.rails)
        return max((row.newest_ms for group in groups for row in group), default=None)

    @property
    def services(self) -> tuple[str, ...]:
        """Services that have a serving pool; one without a name where there is only one."""
        return tuple(sorted({service_of(load.pool) for load in self.serving}))

    def serving_of(self, pool: str) -> ServingLoad | None:
        """Serving load of a pool."""
        return next((s for s in self.serving if s.pool == pool), None)

    def joules_per_token(self, pool: str) -> float | None:
        """Energy of a pool's GPUs for each token it worked on, prompt and output alike."""
        gpus, load = self.gpus_of(pool), self.serving_of(pool)
        if gpus is None or load is None or gpus.power_watts is None:
            return None
        rates = (load.prompt_tokens_per_second, load.generation_tokens_per_second)
        tokens = sum(rate for rate in rates if rate is not None)
        return gpus.power_watts * gpus.gpus / tokens if tokens else None

    def gpus_of(self, pool: str) -> GpuActivity | None:
        """GPU activity of a pool."""
        return next((g for g in self.pools if g.group == pool), None)

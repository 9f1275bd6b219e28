"""Whether to take prefill and decode apart: gain with its interval, refusals, tipping points."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from advisor.models.collectives import Link
from advisor.models.disaggregation import (
    GPUS_A_NODE,
    Apart,
    Together,
    best_apart,
    best_together,
    fixed_apart,
    slower,
)
from advisor.models.kv import LEAST_NETWORK_GBPS
from advisor.models.layouts import candidates
from advisor.models.replica import Replica
from advisor.models.slo import Workload

VERSION = "decision/4"
MARGIN_RATIO = 0.10
CARRIES_RATIO = 0.9  # co-located engines are enough while demand stays below this share
SPREAD_RATIO = 0.13  # median error of the phase model against end-to-end measurements, docs/models
QUANTITIES = (
    "TPOT objective",
    "TTFT objective",
    "prompt tokens",
    "output tokens",
    "network of a node",
)
_SCALES = np.geomspace(1 / 8, 8, 13)


class Refusal(StrEnum):
    """Why taking prefill and decode apart is not advised."""

    NETWORK = "network below 100 Gbps a node"
    REPLICAS = "fewer than 2 replicas"
    SLO_MET = "the co-located pool meets its objectives"
    MARGIN = "the gain is within the margin of 10 %"
    UNSURE = "at worst it would lose more than 10 %"
    IMPOSSIBLE = "no split holds the objectives"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """GPUs to arrange: an engine as it is today, how many there are, and the network of a node.

    `decode` may name other hardware for the decode pool of a heterogeneous arrangement.
    `one_domain` says whether one scale-up domain (an NVLink node, an NVL72) holds all GPUs; None:
    it does where it is large enough.
    """

    replica: Replica
    engines: int
    network_gbps: float
    decode: Replica | None = None
    one_domain: bool | None = None

    @property
    def gpus(self) -> int:
        """All GPUs."""
        return self.engines * self.replica.gpus

    @property
    def handover_gbps(self) -> float:
        """What 8 GPUs have for the hand-over, one way: links where all share them, else network.

        Within a node a cache goes from GPU to GPU over NVLink (Dynamo's disaggregated serving
        guide, single node, 2026-09; DistServe places pairs in nodes for that, section 4.2).
        """
        inside = self.replica.wires[0]
        together = self.one_domain is not False and self.gpus <= inside.domain_gpus
        if not together or self.decode is not None or inside.link is not Link.NVLINK:
            return self.network_gbps
        return max(self.network_gbps, GPUS_A_NODE * inside.bytes_per_second * 8 / 1e9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tipping:
    """The nearest value of one quantity at which the answer turns; None: not within a factor 8."""

    name: str
    unit: str
    now: float
    flips_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The two arrangements of the same GPUs; ratios are gains of apart over together."""

    together: Together | None
    apart: Apart | None
    gain_low_ratio: float
    gain_ratio: float
    gain_high_ratio: float
    refusals: tuple[Refusal, ...]

    @property
    def distance_ratio(self) -> float:
        """How far the gain is above (+) or below (-) the margin at which the answer tips."""
        return self.gain_ratio - MARGIN_RATIO

    @property
    def advised(self) -> bool:
        """True when nothing speaks against it."""
        return not self.refusals

    @property
    def today_rate_per_second(self) -> float:
        """What the engines carry together."""
        return self.together.rate_per_second if self.together else 0.0


def decide(
    fleet: Fleet,
    work: Workload,
    *,
    slo_met_today: bool = False,
    requests_per_second: float | None = None,
    most_engine_gpus: int | None = None,
    spread_ratio: float = SPREAD_RATIO,
) -> Decision:
    """Whether the fleet's engines should be taken apart into prefill and decode.

    Args:
        fleet: GPUs, and how they serve today.
        work: Requests and objectives.
        slo_met_today: Whether the objectives are measured to hold now.
        requests_per_second: Demand; where the co-located fleet carries it, nothing needs to change.
        most_engine_gpus: Largest engine to consider; the size of today's when None.
        spread_ratio: How far both efficiencies may be off, either way.
    """
    shapes = _Shapes.of(fleet, most_engine_gpus)
    together, apart = shapes.arrangements(fleet, work)
    blocked = list(_blocked(fleet, slo_met=slo_met_today))
    if together is not None and requests_per_second is not None:
        enough = requests_per_second <= CARRIES_RATIO * together.rate_per_second
        if enough and Refusal.SLO_MET not in blocked:
            blocked.append(Refusal.SLO_MET)
    if apart is None:
        return _decision(together, apart, (gain(together, apart),), (*blocked, Refusal.IMPOSSIBLE))
    corners = (corner.arrangements(fleet, work) for corner in shapes.corners(spread_ratio))
    gains = [gain(together, apart), *(gain(*pair) for pair in corners)]
    return _decision(together, apart, gains, tuple(blocked))


def gain(together: Together | None, apart: Apart | None) -> float:
    """Gain of apart over together; -1 when apart holds nothing, inf when only apart holds."""
    if apart is None:
        return 0.0 if together is None else -1.0
    if together is None:
        return math.inf
    return apart.rate_per_second / together.rate_per_second - 1


def _decision(
    together: Together | None,
    apart: Apart | None,
    gains: Sequence[float],
    blocked: tuple[Refusal, ...],
) -> Decision:
    here = gains[0]
    if Refusal.IMPOSSIBLE not in blocked:
        if here < MARGIN_RATIO:
            blocked = (*blocked, Refusal.MARGIN)
        elif min(gains) < -MARGIN_RATIO:
            blocked = (*blocked, Refusal.UNSURE)
    return Decision(
        together=together,
        apart=apart,
        gain_low_ratio=min(gains),
        gain_ratio=here,
        gain_high_ratio=max(gains),
        refusals=blocked,
    )


def _blocked(fleet: Fleet, *, slo_met: bool) -> Iterator[Refusal]:
    if fleet.handover_gbps < LEAST_NETWORK_GBPS:
        yield Refusal.NETWORK
    if fleet.engines < 2:
        yield Refusal.REPLICAS
    if slo_met:
        yield Refusal.SLO_MET


@dataclass(frozen=True, slots=True)
class _Shapes:
    """Layouts to compare, of engines that do both, of prefill and of decode."""

    shared: tuple[Replica, ...]
    prefill: tuple[Replica, ...]
    decode: tuple[Replica, ...]

    @classmethod
    def of(cls, fleet: Fleet, most_engine_gpus: int | None) -> _Shapes:
        most = min(most_engine_gpus or fleet.replica.gpus, fleet.gpus)
        shared = candidates(fleet.replica, most)
        decode = shared if fleet.decode is None else candidates(fleet.decode, most)
        return cls(shared, shared, decode)

    def arrangements(self, fleet: Fleet, work: Workload) -> tuple[Together | None, Apart | None]:
        together = best_together(self.shared, work, fleet.gpus)
        if not self.prefill or not self.decode:
            return together, None
        network = fleet.handover_gbps
        return together, best_apart(self.prefill, self.decode, work, fleet.gpus, network)

    def corners(self, spread_ratio: float) -> Iterator[_Shapes]:
        """Both efficiencies off by the spread, in every combination."""
        low, high = 1 - spread_ratio, 1 + spread_ratio
        for p, d in ((low, low), (low, high), (high, low), (high, high)):
            yield _Shapes(*(tuple(slower(r, p, d) for r in part) for part in self._parts()))

    def _parts(self) -> tuple[tuple[Replica, ...], ...]:
        return self.shared, self.prefill, self.decode


def tipping_points(
    fleet: Fleet,
    work: Workload,
    *,
    most_engine_gpus: int | None = None,
    names: Sequence[str] = QUANTITIES,
) -> tuple[Tipping, ...]:
    """Where the bare comparison (gain over the margin) turns, one quantity changed at a time."""
    shapes = _Shapes.of(fleet, most_engine_gpus)

    def pays(at: Fleet, of: Workload) -> bool:
        if at.handover_gbps < LEAST_NETWORK_GBPS:
            return False
        return gain(*shapes.arrangements(at, of)) >= MARGIN_RATIO

    now = pays(fleet, work)
    changes: tuple[tuple[str, str, float, Callable[[float], bool]], ...] = (
        (
            "TPOT objective",
            "s",
            work.slo_tpot_seconds,
            lambda v: pays(fleet, replace(work, slo_tpot_seconds=v)),
        ),
        (
            "TTFT objective",
            "s",
            work.slo_ttft_seconds,
            lambda v: pays(fleet, replace(work, slo_ttft_seconds=v)),
        ),
        (
            "prompt tokens",
            "tokens",
            work.prompt_tokens,
            lambda v: pays(fleet, replace(work, prompt_tokens=max(1.0, v))),
        ),
        (
            "output tokens",
            "tokens",
            work.output_tokens,
            lambda v: pays(fleet, replace(work, output_tokens=max(1.0, v))),
        ),
        (
            "network of a node",
            "Gbit/s",
            fleet.network_gbps,
            lambda v: pays(replace(fleet, network_gbps=v), work),
        ),
    )
    return tuple(
        Tipping(name=name, unit=unit, now=value, flips_at=_nearest(value, now, answer))
        for name, unit, value, answer in changes
        if name in names
    )


def _nearest(value: float, now: bool, answer: Callable[[float], bool]) -> float | None:  # noqa: FBT001 - private, called once
    """The nearest scaled value, up or down, whose answer differs; None within a factor of 8."""
    by_distance = sorted(
        (s for s in _SCALES if not math.isclose(s, 1)), key=lambda s: abs(np.log(s))
    )
    for scale in by_distance:
        if answer(value * float(scale)) is not now:
            return value * float(scale)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebalance:
    """Two pools as they are, the ratio that carries most on the same GPUs, and the gain."""

    prefills: int
    decodes: int
    today_rate_per_second: float
    rate_per_second: float
    gain_low_ratio: float
    gain_ratio: float
    gain_high_ratio: float

    @property
    def advised(self) -> bool:
        """True when the gain passes the margin and is at worst a loss within it."""
        return self.gain_ratio >= MARGIN_RATIO and self.gain_low_ratio >= -MARGIN_RATIO


def decide_rebalance(
    replica: Replica,
    work: Workload,
    engines: tuple[int, int],
    network_gbps: float,
    spread_ratio: float = SPREAD_RATIO,
) -> Rebalance:
    """Whether a pair of pools should hand engines of one kind to one another."""
    gains: list[float] = []
    chosen: tuple[int, int, float, float] | None = None
    low, high = 1 - spread_ratio, 1 + spread_ratio
    for p, d in ((1.0, 1.0), (low, low), (low, high), (high, low), (high, high)):
        one = slower(replica, p, d)
        today = fixed_apart(one, one, work, engines, network_gbps)
        best = best_apart((one,), (one,), work, sum(engines) * one.gpus, network_gbps)
        then = best.rate_per_second if best else 0.0
        if chosen is None:
            now = (best.prefills, best.decodes) if best else engines
            chosen = (*now, today, then)
        gains.append(then / today - 1 if today > 0 else (math.inf if then > 0 else 0.0))
    prefills, decodes, today, then = chosen or (*engines, 0.0, 0.0)
    return Rebalance(
        prefills=prefills,
        decodes=decodes,
        today_rate_per_second=today,
        rate_per_second=then,
        gain_low_ratio=min(gains),
        gain_ratio=gains[0],
        gain_high_ratio=max(gains),
    )

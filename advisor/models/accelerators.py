"""Which accelerator serves a workload best: does it fit, does it run, what was ever measured.

Two depths. `compare` needs only the measured bound of today's GPUs and gives ratios. `choices`
needs the workload (model and token counts) and gives tokens per second, dollars and joules a token
for every accelerator of the catalogue, and says aloud which of them nobody measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from advisor.catalog.accelerators import Accelerator
from advisor.catalog.software import Maturity, maturity
from advisor.models.interval import Interval
from advisor.models.power import HOST_WATTS, joules_per_token, serving_watts
from advisor.models.throughput import Job, Rate, best_rate, least_devices

VERSION = "accelerators/4"


class Bound(StrEnum):
    """What the workload presses against."""

    BANDWIDTH = "memory bandwidth"
    COMPUTE = "compute"


BANDWIDTH_BOUND_RATIO = 0.5
COMPUTE_BOUND_RATIO = 0.45


def measured_bound(dram_ratio: float | None, tensor_ratio: float | None) -> Bound | None:
    """The bound that measurements show, None when they show none or are missing.

    Ratios are averages over time, so half of the peak already means pressed against it most of the
    time: streaming weights at batch 1 reaches 68 to 78 % (AIC's matrix-multiply tables).
    """
    if dram_ratio is None or tensor_ratio is None:
        return None
    if dram_ratio >= BANDWIDTH_BOUND_RATIO and tensor_ratio < COMPUTE_BOUND_RATIO:
        return Bound.BANDWIDTH
    if tensor_ratio >= COMPUTE_BOUND_RATIO and dram_ratio < BANDWIDTH_BOUND_RATIO:
        return Bound.COMPUTE
    return None


def sustained(accelerator: Accelerator, bound: Bound) -> float | None:
    """Highest rate anyone measured (byte/s or FLOP/s); None is "unverified"."""
    if bound is Bound.BANDWIDTH:
        peak, share = accelerator.bandwidth_tb_s, accelerator.measured_bandwidth_ratio
        return None if peak is None or share is None else peak * share * 1e12
    measured = accelerator.measured_bf16_tflops
    return None if measured is None else measured * 1e12


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One candidate against today's; `cost_ratio` is dollars a token over today's."""

    candidate: Accelerator
    speed_ratio: float
    cost_ratio: float
    energy_ratio: float | None


def compare(
    today: Accelerator,
    candidate: Accelerator,
    bound: Bound,
    today_usd_per_hour: float,
    candidate_usd_per_hour: float,
) -> Comparison | None:
    """Speed, dollars and joules a token over today's; None when either speed is unverified."""
    return at_speeds(
        today,
        candidate,
        (sustained(today, bound), sustained(candidate, bound)),
        (today_usd_per_hour, candidate_usd_per_hour),
    )


def at_speeds(
    today: Accelerator,
    candidate: Accelerator,
    speeds: tuple[float | None, float | None],
    usd_per_hour: tuple[float, float],
) -> Comparison | None:
    """The comparison of two speeds in one unit, today's first; None when either is unverified."""
    now, then = speeds
    if now is None or then is None:
        return None
    speed = then / now
    energy = (
        candidate.power_w / today.power_w / speed if candidate.power_w and today.power_w else None
    )
    return Comparison(
        candidate=candidate,
        speed_ratio=speed,
        cost_ratio=usd_per_hour[1] / usd_per_hour[0] / speed,
        energy_ratio=energy,
    )


class Verdict(StrEnum):
    """What can be said of one accelerator, in the order options are listed."""

    RANKED = "ranked"
    UNPRICED = "no price known"
    TOO_SLOW = "cannot hold the objective"
    UNVERIFIED = "unverified: nobody published what an engine reaches on it"
    DOES_NOT_FIT = "does not fit"
    NOT_RUNNABLE = "no engine an operator can install"


_ORDER = tuple(Verdict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One accelerator for the workload. Only RANKED ones are compared by money."""

    accelerator: Accelerator
    verdict: Verdict
    software: Maturity
    least_devices: int | None
    rate: Rate | None
    usd_per_hour: Interval | None
    usd_per_million_tokens: Interval | None
    joules_per_token: Interval | None

    @property
    def rank(self) -> tuple[int, float, str]:
        """Sorting key: verdict, then dollars a token, or speed where there is no price."""
        cost = self.usd_per_million_tokens
        speed = self.rate.tokens_per_second_per_device.mid if self.rate else 0.0
        return (
            _ORDER.index(self.verdict),
            cost.mid if cost is not None else -speed,
            self.accelerator.name,
        )


def usd_per_million_tokens(usd_per_hour: Interval, tokens_per_second: Interval) -> Interval:
    """Cost of a million output tokens of one device."""
    return usd_per_hour.over(tokens_per_second).scaled(1e6 / 3600)


PriceOf = Callable[[Accelerator], Interval | None]


def choice(job: Job, accelerator: Accelerator, price_of: PriceOf) -> Choice:
    """What can be said of one accelerator for the workload."""
    software = maturity(accelerator.stack)
    least = least_devices(job, accelerator) if job.valid else None
    found = best_rate(job, accelerator) if least is not None else None
    price = price_of(accelerator)
    energy = None
    if found is not None and accelerator.power_w is not None:
        watts = serving_watts(accelerator.power_w, found.prefill_share).plus(HOST_WATTS)
        energy = joules_per_token(watts, found.tokens_per_second_per_device)
    cost = (
        usd_per_million_tokens(price, found.tokens_per_second_per_device)
        if price is not None and found is not None
        else None
    )
    return Choice(
        accelerator=accelerator,
        verdict=_verdict(accelerator, software, least, found, price),
        software=software,
        least_devices=least,
        rate=found,
        usd_per_hour=price,
        usd_per_million_tokens=cost,
        joules_per_token=energy,
    )


def _verdict(
    accelerator: Accelerator,
    software: Maturity,
    least: int | None,
    found: Rate | None,
    price: Interval | None,
) -> Verdict:
    if not software.runnable:
        return Verdict.NOT_RUNNABLE
    if least is None:
        return Verdict.DOES_NOT_FIT
    if accelerator.serving_ratio is None:
        return Verdict.UNVERIFIED
    if found is None:
        return Verdict.TOO_SLOW
    return Verdict.UNPRICED if price is None else Verdict.RANKED


def choices(job: Job, accelerators: Iterable[Accelerator], price_of: PriceOf) -> tuple[Choice, ...]:
    """All accelerators for the workload: ranked by dollars a token first, refusals last.

    What nobody measured or what no installable engine runs on is never before what was measured.
    """
    return tuple(sorted((choice(job, a, price_of) for a in accelerators), key=lambda c: c.rank))


def break_even_usd_per_hour(candidate: Choice, today: Choice) -> Interval | None:
    """Price of the candidate at which its tokens cost what today's do; None without both rates."""
    if candidate.rate is None or today.usd_per_million_tokens is None:
        return None
    rate = candidate.rate.tokens_per_second_per_device
    cost = today.usd_per_million_tokens
    return Interval(
        low=cost.low * rate.low * 3600e-6,
        mid=cost.mid * rate.mid * 3600e-6,
        high=cost.high * rate.high * 3600e-6,
    )

"""capacity.reasoning: long answers fill the KV cache before the engines are busy."""

from __future__ import annotations

import math
from dataclasses import dataclass

from advisor.facts import Facts, GpuActivity, ServingLoad
from advisor.models import sizing
from advisor.models.interval import Interval, of
from advisor.rules import feed
from advisor.rules.pricing import (
    Catalog,
    Draft,
    accelerator_of,
    estimate,
    gpu_hour,
    monthly,
    seen,
)
from advisor.rules.request_lengths import answers_of
from ridgeline.events import Action, Advice, Confidence, Estimate, Evidence, Needs
from ridgeline.settings import AdvisorSettings

RULE = "capacity.reasoning"
LEAST_SECONDS = 120.0
KV_FULL_RATIO = 0.90
TAIL_RATIO = 5.0
"""p99 over median of answers from which on they count as heavy-tailed: 15 for DeepSeek-R1, 4.7 for
chat (ServeGen; Azure conv 2023)."""
TARGET_KV_RATIO = 0.80
SERVER_GPUS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pressure:
    """A pool whose cache is the limit, and how much more cache its requests want."""

    load: ServingLoad
    gpus: GpuActivity
    kv_ratio: float
    tail_ratio: float
    p50: float
    p99: float
    mean: float
    cv: float
    more_ratio: Interval  # cache missing, over the cache there is


def rule(facts: Facts, catalog: Catalog, settings: AdvisorSettings) -> tuple[Advice, ...]:
    """One piece of advice a serving pool whose long answers fill its KV cache."""
    found = (_pressure(load, facts) for load in facts.serving)
    return tuple(_draft(p, facts, catalog, settings).advice(facts, catalog) for p in found if p)


def _pressure(load: ServingLoad, facts: Facts) -> _Pressure | None:
    gpus = facts.gpus_of(load.pool)
    kv, found = load.kv_usage_ratio, answers_of(load, facts)
    if gpus is None or kv is None or found is None or load.seconds < LEAST_SECONDS:
        return None
    answers = found.histogram
    p50, p99 = answers.quantile(0.5), answers.quantile(0.99)
    held_back = bool(load.waiting and load.waiting >= 1) or bool(load.preemptions_per_second)
    tail = p99 / p50
    if kv < KV_FULL_RATIO or tail < TAIL_RATIO or not held_back or not load.running:
        return None
    wanted = (load.running + (load.waiting or 0.0)) / load.running * kv
    full = wanted / TARGET_KV_RATIO - 1
    least = kv / TARGET_KV_RATIO - 1  # what runs now, without the queue
    return _Pressure(
        load=load,
        gpus=gpus,
        kv_ratio=kv,
        tail_ratio=tail,
        p50=p50,
        p99=p99,
        mean=answers.mean,
        cv=answers.cv,
        more_ratio=of(least, (least + full) / 2, full),
    )


def _draft(pressure: _Pressure, facts: Facts, catalog: Catalog, settings: AdvisorSettings) -> Draft:
    load = pressure.load
    more = pressure.more_ratio.mapped(lambda r: _whole_servers(pressure.gpus.gpus * r))
    price = gpu_hour(accelerator_of(pressure.gpus), catalog, settings)
    kw = feed.drawn_kw(accelerator_of(pressure.gpus), more.mid)
    in_flight = (1 + pressure.cv**2) / 2
    return Draft(
        rule=RULE,
        action=Action.ADD_CAPACITY,
        scope_kind="pool",
        scope=load.pool,
        title=f"Long answers fill the KV cache of the {load.pool} pool",
        reason=(
            f"{pressure.kv_ratio:.0%} of the KV cache is in use while requests wait. One answer in "
            f"a hundred is {pressure.tail_ratio:.0f} times as long as the median or longer; long "
            f"ones stay longer, so a request being served holds {in_flight:.1f} times the cache of "
            "the mean one. Try an FP8 KV cache first (half the bytes a token), or a limit on the "
            f"length of answers; else the memory of about {more.mid:.0f} more GPUs is needed."
        ),
        evidence=(
            *seen("KV cache in use", pressure.kv_ratio, "ratio", KV_FULL_RATIO),
            *seen("answers p99 over median", pressure.tail_ratio, "times", TAIL_RATIO),
            *seen("answer p99", pressure.p99, "tokens"),
            *seen("answer median", pressure.p50, "tokens"),
            *seen("requests waiting", load.waiting, "1"),
            *seen("requests running", load.running, "1"),
            *seen("preemptions", load.preemptions_per_second, "1/s"),
        ),
        counter_evidence=(
            Evidence(
                name="sequences allowed",
                confidence=Confidence.MEASURED,
                value=load.max_batch or 0.0,
                unit="1",
                note="0: not exported; where it is reached before the cache is full, raise it",
            ),
            Evidence(
                name="answers between median and p99",
                confidence=Confidence.MODELLED,
                value=pressure.mean,
                unit="tokens",
                note="mean; between bounds of counted lengths, or of a lognormal, it is modelled",
            ),
            *feed.against(facts, settings, kw),
        ),
        gain=None,
        effects=(_gpus(more), *_cost(more, price)),
        needs=Needs(
            power_kw=kw,
            note="an FP8 KV cache is a setting; check answers' quality before and after",
        ),
        confidence=Confidence.MODELLED,
        verify="KV cache in use falls below 80 % at the same load; no preemptions for a day.",
        model_version=sizing.VERSION,
    )


def _whole_servers(gpus: float) -> float:
    return float(max(1, math.ceil(gpus / SERVER_GPUS - 1e-9)) * SERVER_GPUS)


def _gpus(more: Interval) -> Estimate:
    source = "requests running and waiting against the cache at 80 %, in whole servers"
    return estimate(more.low, more.mid, more.high, "GPUs to add", Confidence.MODELLED, source)


def _cost(more: Interval, price: Estimate | None) -> tuple[Estimate, ...]:
    if price is None:
        return ()
    shares = (more.low / more.high, more.mid / more.high, 1.0)
    paid = monthly(more.high, shares, price, Confidence.MODELLED, "GPUs to add")
    return (paid.model_copy(update={"unit": "USD/month of GPUs to add"}),)

"""`plan capacity`: engines, GPUs, cache and money for a load and its answers' lengths."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from advisor.facts import Facts
from advisor.models import concurrency, scenarios, sizing, token_fits, traffic
from advisor.models import tokens as token_model
from advisor.models.interval import Interval, of
from advisor.models.sizing import Service
from advisor.plan.capacity_case import (
    CapacityOptions,
    Case,
    answer_lengths,
    busy_rate,
    gpu_price,
    kind_of,
    service_of,
)
from advisor.plan.capacity_tables import tables
from advisor.plan.inputs import Demand
from advisor.plan.live_serving import asked_of
from advisor.plan.report import Mark, Plot, PlotKind, Report, Series
from advisor.rules.pricing import estimate, weaker
from ridgeline.events import Confidence, Estimate

SOURCES = (
    "concurrency: Little's law with a step time by batch; in flight, E[T^2]/2E[T] tokens are made",
    "engines: square-root staffing (Halfin and Whitt 1981) with peakedness by burstiness",
    "latency: kernels under measured ceilings (docs/models.md)",
)
STEPS = 141
"""Rates that the plot of GPUs is made of: a step is where it is to within a hundredth."""


def capacity(options: CapacityOptions, seen: Facts | None = None) -> Report:
    """The sizing with its interval, cost by query length, and what samples and reasoning do.

    Args:
        options: What was asked.
        seen: Facts of the store, for `--live`; read when None.
    """
    options, serving = asked_of(options, seen)
    asked = serving.asked
    price = gpu_price(options)
    service = service_of(options, asked, price)
    kind = kind_of(options, asked, answer_lengths(asked, options))
    rate, mix = busy_rate(asked), traffic.mixed([kind])
    found = scenarios.size_range(rate, mix, service)
    if found is None:
        return serving.beside(_impossible(options, asked, mix, service))
    case = Case(
        options=options,
        asked=asked,
        kind=kind,
        service=service,
        price=price,
        rate=rate,
        found=found,
    )
    report = Report(
        command="capacity",
        answer=_answer(case),
        action=None,
        tables=tuple(tables(case)),
        plots=(_lengths(case), _gpus_by_rate(case)),
        numbers=_numbers(case),
        warnings=tuple(_warnings(case)),
        sources=(f"workload: {asked.origin}", *SOURCES),
        versions={
            "sizing": sizing.VERSION,
            "concurrency": concurrency.VERSION,
            "tokens": token_model.VERSION,
        },
    )
    return serving.beside(report)


def _impossible(
    options: CapacityOptions, asked: Demand, mix: traffic.Traffic, service: Service
) -> Report:
    top = concurrency.ceiling(scenarios.slower(service.engine, 1.13), mix, options.tpot_seconds)
    alone = concurrency.tpot_seconds(service.engine, mix, 0.0)
    return Report(
        command="capacity",
        answer=(
            f"No number of such engines carries this load: {top.limit} ends it before one "
            f"sequence runs within the objectives."
        ),
        action=None,
        refusals=(f"{top.limit} on {options.gpus_per_engine} x {options.accelerator}",),
        numbers={
            "time per output token of one sequence alone": estimate(
                *(0.87 * alone, alone, 1.13 * alone),
                "s",
                weaker(Confidence.MODELLED, asked.confidence),
                SOURCES[2],
            )
        },
        sources=(f"workload: {asked.origin}", *SOURCES),
        versions={"sizing": sizing.VERSION},
    )


def _answer(case: Case) -> str:
    gpus, usd, likely = case.found.gpus, case.found.usd_per_hour, case.found.likely
    return (
        f"{likely.engines} engine{'s' * (likely.engines != 1)} of "
        f"{case.options.gpus_per_engine} x {case.options.accelerator}, "
        f"{gpus.mid:.0f} GPUs ({gpus.low:.0f} to {gpus.high:.0f}), for "
        f"{case.rate.mid:.3g} requests/s: {usd.mid:,.0f} USD/h, "
        f"{likely.usd_per_query * 1000:.3g} USD a thousand queries; "
        f"the {likely.limit} is the limit."
    )


def _lengths(case: Case) -> Plot:
    answers = case.kind.answer
    shares = np.concatenate((np.linspace(0.02, 0.9, 45), 1 - np.geomspace(0.1, 1e-3, 25)))
    at = np.unique(answers.quantiles(shares))
    one = token_fits.fit_lognormal(answers).law
    two = token_fits.fit_mixture(answers).law
    mean = answers.mean
    return Plot(
        title="Tokens an answer takes",
        kind=PlotKind.LOGLOG,
        x_label="tokens",
        y_label="share of answers that are longer",
        series=(
            _longer("answers", at, 1 - answers.cdf(at)),
            _longer("one lognormal", at, 1 - one.cdf(at)),
            _longer("two lognormals", at, 1 - two.cdf(at)),
        ),
        marks=(
            Mark(label=f"mean {mean:.0f}", x=mean),
            Mark(label=f"p99 {answers.quantile(0.99):.0f}", x=answers.quantile(0.99)),
        ),
    )


def _longer(name: str, at: np.ndarray, above: np.ndarray) -> Series:
    keep = above > 1e-6
    return Series(name=name, x=tuple(map(float, at[keep])), y=tuple(map(float, above[keep])))


def _gpus_by_rate(case: Case) -> Plot:
    """Whole engines: the number rises in steps, at the rates where one more is needed."""
    mix = traffic.mixed([case.kind])
    rates = np.unique(np.append(np.linspace(0.25, 2.0, STEPS), 1.0)) * case.rate.mid
    found = [(float(r), scenarios.size_range(of(r, r, r), mix, case.service)) for r in rates]
    points = [(r, f.gpus) for r, f in found if f is not None]
    return Plot(
        title="GPUs by rate, in whole engines",
        kind=PlotKind.STEP,
        x_label="requests/s",
        y_label="GPUs",
        series=(
            Series(
                name="GPUs",
                x=tuple(r for r, _ in points),
                y=tuple(g.mid for _, g in points),
                low=tuple(g.low for _, g in points),
                high=tuple(g.high for _, g in points),
            ),
        ),
        marks=(
            Mark(
                label=f"this load: {case.found.gpus.mid:.0f} GPUs",
                x=case.rate.mid,
                y=case.found.gpus.mid,
            ),
        ),
    )


def _numbers(case: Case) -> dict[str, Estimate]:
    found, likely = case.found, case.found.likely
    sure = weaker(Confidence.MODELLED, case.asked.confidence)
    speed = "speed of a step 13 % off either way, rate of the median to the busiest minute"
    usd = found.gpus
    return {
        "engines": _estimate(found.engines, "1", sure, speed),
        "GPUs": _estimate(found.gpus, "1", sure, speed),
        "cost": estimate(
            usd.low * case.price.low,
            usd.mid * case.price.mid,
            usd.high * case.price.high,
            "USD/h",
            weaker(sure, case.price.confidence),
            f"GPUs times price of a GPU-hour: {case.price.source}",
        ),
        "sequences at once": estimate(
            *(likely.sequences,) * 3, "1", sure, "Little's law at the likely size"
        ),
        "KV cache in use": estimate(
            likely.kv_tokens, likely.kv_tokens, likely.kv_tokens_p99, "tokens", sure, "mean to p99"
        ),
        "rate to carry": _estimate(
            case.rate, "requests/s", case.asked.confidence, case.asked.origin
        ),
    }


def _estimate(number: Interval, unit: str, sure: Confidence, source: str) -> Estimate:
    return estimate(number.low, number.mid, number.high, unit, sure, source)


def _warnings(case: Case) -> Iterator[str]:
    answers = case.asked.answers
    if answers is not None and answers.confidence is not Confidence.MEASURED:
        yield f"lengths of answers: {answers.how}"
    if answers is None:
        yield f"lengths of answers are assumed: lognormal, variation {case.options.output_cv:g}"
    if case.asked.arrival_cv is None:
        yield "burstiness of arrivals is not known: Poisson is assumed"
    likely = case.found.likely
    if likely.oversized_share > 0:
        yield f"{likely.oversized_share:.2%} of queries alone are larger than an engine's cache"

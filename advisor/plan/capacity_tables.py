"""The tables of `plan capacity`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from advisor.models import drift, sizing, token_fits, traffic
from advisor.models.sizing import Sizing
from advisor.models.token_sources import from_samples
from advisor.plan.capacity_case import Case
from advisor.plan.capacity_samples import COUNTS, coverage_tables
from advisor.plan.report import Table
from advisor.plan.traces import read
from ridgeline.errors import Misconfigured


def tables(case: Case) -> Iterator[Table]:
    """By length of query, by samples, by share of reasoning, by coverage, and the fits."""
    yield _by_quantile(case.found.likely)
    yield _by_samples(case)
    if case.options.reasoning_share is not None:
        yield _by_share(case, case.options.reasoning_share)
    if case.options.coverage is not None:
        yield from coverage_tables(case, case.options.coverage)
    if case.options.before is not None:
        yield _drift(case, case.options.before)
    yield _fits(case)


def _by_quantile(likely: Sizing) -> Table:
    return Table(
        title="What a query takes, by its length",
        columns=("query", "tokens generated", "seconds", "USD"),
        rows=tuple(
            (f"p{q.quantile * 100:.0f}", q.tokens, q.seconds, q.usd) for q in likely.by_quantile
        ),
        note="seconds from admission to the last token of the longest sample",
    )


def _by_samples(case: Case) -> Table:
    counts = sorted({*COUNTS, case.options.samples})
    rows = []
    for n in counts:
        mix = traffic.mixed([replace(case.kind, samples=n)])
        found = sizing.size(case.rate.mid, mix, case.service)
        rows.append(
            (
                n,
                mix.tokens_per_query,
                mix.total.quantile(0.99),
                mix.longest.mean,
                None if found is None else found.gpus,
                None if found is None else found.usd_per_query,
            )
        )
    return Table(
        title="Samples a query: work is the sum, waiting is the longest",
        columns=(
            "samples",
            "tokens",
            "tokens p99",
            "longest, mean tokens",
            "GPUs",
            "USD a query",
        ),
        rows=tuple(rows),
        note=f"likeness of samples {case.options.correlation:g}; the prompt's cache is shared",
    )


def _by_share(case: Case, share: float) -> Table:
    thought = token_fits.scaled_to(token_fits.R1_OUTPUT, case.options.reasoning_tokens)
    thinking = replace(
        case.kind, name="reasoning", share=0.0, answer=token_fits.histogram_of(thought)
    )
    kinds = (case.kind, thinking)
    rows = []
    for at in sorted({0.0, share / 2, share}):
        mix = traffic.mixed(traffic.with_share(kinds, "reasoning", at))
        found = sizing.size(case.rate.mid, mix, case.service)
        rows.append((at, *_row(found)))
    return Table(
        title="If a share of queries were answered with long thought",
        columns=("share", "GPUs", "KV cache, tokens", "USD a query", "p50, s", "p99, s"),
        rows=tuple(rows),
        note=f"mean {case.options.reasoning_tokens:g} tokens, shaped like DeepSeek-R1 (ServeGen)",
    )


def _row(found: Sizing | None) -> tuple[float | None, ...]:
    if found is None or not found.by_quantile:
        return (None,) * 5
    p50, _, p99 = found.by_quantile
    return found.gpus, found.kv_tokens, found.usd_per_query, p50.seconds, p99.seconds


def _drift(case: Case, before: Path) -> Table:
    if case.asked.trace is None:
        raise Misconfigured("--before", "needs --trace to compare with")
    earlier = from_samples(np.maximum(read(before).output_tokens, 1.0))
    found = drift.compare(earlier, case.kind.answer)
    verdict = "drifted" if found.drifted else "not told from chance" if found.enough else "too few"
    return Table(
        title="Have the answers' lengths drifted?",
        columns=("measure", "value", "threshold"),
        rows=(
            ("PSI", found.psi, found.psi_threshold),
            ("largest gap of CDF", found.ks, found.ks_threshold),
            ("mean, now over before", found.mean_ratio, None),
            ("p50, now over before", found.p50_ratio, None),
            ("p99, now over before", found.p99_ratio, None),
            (verdict, None, None),
        ),
        note="a threshold is what chance gives at this many queries, or what matters, if larger",
    )


def _fits(case: Case) -> Table:
    n = None if case.asked.trace is None else float(len(case.asked.trace.output_tokens))
    fits = (
        ("lognormal", token_fits.fit_lognormal(case.kind.answer, n)),
        ("two lognormals", token_fits.fit_mixture(case.kind.answer, 2, n)),
    )
    return Table(
        title="Fits of the answers' lengths (the histogram itself is what is used)",
        columns=("fit", "largest gap of CDF", "p50 off by", "p90 off by", "p99 off by", "verdict"),
        rows=tuple(
            (name, f.ks, *f.quantile_errors, "good" if f.good else "poor") for name, f in fits
        ),
    )

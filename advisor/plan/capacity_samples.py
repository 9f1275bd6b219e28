"""Samples against coverage in `plan capacity`, and a bigger model once against this one N times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from advisor.catalog.accelerators import BY_NAME
from advisor.catalog.models import MODELS
from advisor.models import coverage, samples, scenarios, traffic
from advisor.models.arrays import Floats
from advisor.models.interval import Interval, exactly
from advisor.models.replica import Replica
from advisor.models.samples import Choice
from advisor.models.sizing import Service
from advisor.models.traffic import Kind
from advisor.plan.capacity_case import Case
from advisor.plan.engine import engine_of, fewest_gpus
from advisor.plan.report import Table
from ridgeline.errors import Misconfigured

COUNTS = (1, 2, 4, 8, 16)
MOST_SAMPLES = 4096
_SIZED = tuple(1 << k for k in range(13))  # up to MOST_SAMPLES; between them cost is interpolated


def coverage_tables(case: Case, said: str) -> Iterator[Table]:
    """Tasks solved by samples, and against the bigger model where one is named."""
    law, usd = _law(said), _UsdBySamples(case)
    yield _solved(case, law, usd)
    if case.options.bigger_model is not None:
        yield _versus(case, law, usd)


class _UsdBySamples:
    """What a query costs by its samples: the sizing at powers of two, a line between them."""

    def __init__(self, case: Case) -> None:
        self.case = case
        found = [(n, self.sized(n)) for n in _SIZED]
        known = [(n, at.usd_per_hour.mid / case.rate.mid / 3600) for n, at in found if at]
        self.counts, self.usd = (np.array(column, float) for column in zip(*known, strict=True))
        self.most = int(self.counts[-1])

    def sized(self, count: int) -> scenarios.Range | None:
        """The sizing at so many samples; None where no number of engines carries them."""
        mix = traffic.mixed([replace(self.case.kind, samples=count)])
        return scenarios.size_range(self.case.rate, mix, self.case.service)

    def __call__(self, count: Floats) -> Floats:
        """USD a query, with all its samples."""
        return np.asarray(np.interp(count, self.counts, self.usd))


def _law(said: str) -> coverage.CoverageLaw:
    try:
        pairs = [part.split(":") for part in said.split(",")]
        points = [(float(k), float(c)) for k, c in pairs]
        return coverage.fit_law([k for k, _ in points], [c for _, c in points])
    except ValueError as error:
        problem = f"{error} (found {said!r}; allowed: samples:share, e.g. 1:0.159,5:0.296)"
        raise Misconfigured("--coverage", problem) from error


def _solved(case: Case, law: coverage.CoverageLaw, usd: _UsdBySamples) -> Table:
    worth = case.options.solved_usd
    best = None if worth is None else samples.samples_worth_paying(law, usd, worth, usd.most)
    counts = sorted({n for n in COUNTS if n <= usd.most} | ({best} if best else set()))
    rows = []
    for n in counts:
        at = law.interval(n)
        rows.append((n, at.low, at.mid, at.high, law.marginal(n), float(usd(np.array(n)))))
    stop = "" if best is None else f"worth paying at {worth:g} USD a solved task: {best} samples; "
    return Table(
        title="Tasks solved by samples",
        columns=("samples", "low", "likely", "high", "one more adds", "USD a query"),
        rows=tuple(rows),
        note=f"{stop}law exp(-a k^-b) through what was measured (arXiv 2407.21787); "
        "what is solved counts only where a checker finds it",
    )


def _versus(case: Case, law: coverage.CoverageLaw, usd: _UsdBySamples) -> Table:
    """The bigger model once, and this one as often as it needs to solve as much."""
    solved, name = case.options.bigger_coverage, str(case.options.bigger_model)
    if solved is None:
        raise Misconfigured("--bigger-coverage", "is needed with --bigger-model: what it solves")
    counts = np.arange(1, usd.most + 1)
    reached = np.flatnonzero(law.at(counts) >= solved)
    once = _bigger(case, name)
    own = case.options.model
    rows: list[tuple[str, int, float, float | None, float | None]] = []
    rows.append((name, 1, solved, *((None, None) if once is None else _cost(once, case))))
    if not reached.size:
        note = f"{own} does not solve {solved:.0%} in {usd.most:,} samples"
        return _versus_table([*rows, (own, usd.most, float(law.at(usd.most)), None, None)], note)
    needed = int(counts[reached[0]])
    often = usd.sized(needed)
    rows.append(
        (
            own,
            needed,
            float(law.at(needed)),
            *((None, None) if often is None else _cost(often, case)),
        )
    )
    if once is None or often is None:
        return _versus_table(rows, "one of them holds the objectives on no number of engines")
    found = samples.versus(
        _choice(name, 1, exactly(solved), once, case),
        _choice(f"{own} x {needed}", needed, law.interval(needed), often, case),
    )
    ratio = found.cost_ratio
    cheaper = found.cheaper or "within the doubt neither"
    return _versus_table(
        rows,
        f"cheaper: {cheaper} ({name} costs {ratio.low:.2g} to {ratio.high:.2g} times as much); "
        "without a checker samples are not answers",
    )


def _versus_table(
    rows: list[tuple[str, int, float, float | None, float | None]], note: str
) -> Table:
    return Table(
        title="A bigger model once, or this one as often as it needs to solve as much",
        columns=("model", "samples", "solved", "GPUs", "USD a query"),
        rows=tuple(rows),
        note=note,
    )


def _cost(found: scenarios.Range, case: Case) -> tuple[float, float]:
    return found.gpus.mid, found.usd_per_hour.mid / case.rate.mid / 3600


def _choice(name: str, count: int, solved: Interval, found: scenarios.Range, case: Case) -> Choice:
    usd = found.usd_per_hour.scaled(1 / case.rate.mid / 3600)
    return Choice(name=name, samples=count, coverage=solved, usd_per_query=usd)


def _bigger(case: Case, name: str) -> scenarios.Range | None:
    """The same queries, once each, by the bigger model on as few GPUs as hold it."""
    options = case.options
    one = Replica(model=MODELS[name], accelerator=BY_NAME[options.accelerator])
    gpus = options.bigger_gpus_per_engine or fewest_gpus(one)
    engine = engine_of(name, options.accelerator, gpus, options.max_sequences, options.engine)
    service: Service = replace(case.service, engine=engine)
    longer = (options.bigger_output_tokens or case.kind.answer.mean) / case.kind.answer.mean
    once: Kind = replace(case.kind, samples=1, answer=case.kind.answer.scaled(longer))
    return scenarios.size_range(case.rate, traffic.mixed([once]), service)

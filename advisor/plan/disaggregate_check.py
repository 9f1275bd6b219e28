"""A check of `plan disaggregate` by simulation: what share of requests each arrangement serves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from advisor.models import decision as dc
from advisor.models import event_simulation as es
from advisor.models.slo import Workload
from advisor.plan.inputs import Demand
from advisor.plan.progress import bar
from advisor.plan.report import Table

_SHARES = (0.3, 0.5, 0.7, 0.85, 1.0, 1.15, 1.3, 1.6)
_SIMULATED = 1_200  # requests of one simulated point

Attained = dict[float, float]
"""Share of requests within the objectives by offered requests/s."""


def simulated(
    found: dc.Decision, work: Workload, asked: Demand, network_gbps: float
) -> Iterator[tuple[str, Attained]]:
    """Attained share by offered rate, of each arrangement that there is."""
    arrivals = _arrivals(work, asked)
    together, apart = found.together, found.apart
    with bar("simulating", 2 * len(_SHARES)) as advance:

        def at(most: float, run: Callable[[es.Arrivals], es.Outcome]) -> Attained:
            points = {}
            for share in _SHARES:
                outcome = run(arrivals.at_rate(share * most))
                points[share * most] = outcome.attained_ratio(work)
                advance(1)
            return points

        if together is not None:
            carried = together.rate_per_second
            yield "together", at(carried, lambda a: es.simulate_together(together, work, a))
        if apart is not None:
            carried = apart.rate_per_second
            yield "apart", at(carried, lambda a: es.simulate_apart(apart, work, a, network_gbps))


def _arrivals(work: Workload, asked: Demand) -> es.Arrivals:
    """The trace's first requests, or generated ones."""
    trace = asked.trace
    if trace is None:
        return es.generated(work, _SIMULATED, asked.requests_per_second)
    n = min(_SIMULATED, len(trace.arrival_seconds))
    return es.Arrivals(
        trace.arrival_seconds[:n], trace.prompt_tokens[:n], np.maximum(1, trace.output_tokens[:n])
    )


def checks(found: Sequence[tuple[str, Attained]]) -> Iterator[Table]:
    """The table of what was simulated; nothing where nothing was."""
    if found:
        yield Table(
            title="Simulated share of requests within the objectives",
            columns=("arrangement", "offered requests/s", "attained ratio"),
            rows=tuple(
                (name, rate, points[rate]) for name, points in found for rate in sorted(points)
            ),
        )

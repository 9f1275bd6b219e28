"""How long a pool's prompts and answers are, and how well that is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from advisor.facts import Facts, Lengths, ServingLoad
from advisor.models import normal
from advisor.models.drift import LEAST_QUERIES
from advisor.models.token_fits import histogram_of, lognormal_of
from advisor.models.token_sources import from_counts, meeting_mean
from advisor.models.tokens import Histogram
from advisor.rules.pricing import seen
from ridgeline.events import Confidence, Evidence

MOST_CV = 2.0
"""Of a log-normal through two quantiles: beyond, its mean lies past what the quantiles say."""
_NOTHING = Lengths()


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Lengths as a distribution, how they were come by, and how sure that is."""

    histogram: Histogram
    confidence: Confidence
    how: str

    def scaled(self, factor: float) -> Spread:
        """The same shape at another mean."""
        return replace(self, histogram=self.histogram.scaled(factor))


def prompts_of(load: ServingLoad, facts: Facts, mean_tokens: float | None = None) -> Spread | None:
    """Prompts of a pool; None where neither lengths were counted nor quantiles exported."""
    counts = facts.lengths.get(load.pool, _NOTHING).prompts
    return spread(counts, mean_tokens, (load.prompt_tokens_p50, load.prompt_tokens_p99))


def answers_of(load: ServingLoad, facts: Facts, mean_tokens: float | None = None) -> Spread | None:
    """Answers of a pool, likewise."""
    counts = facts.lengths.get(load.pool, _NOTHING).answers
    return spread(counts, mean_tokens, (load.output_tokens_p50, load.output_tokens_p99))


def spread(
    counts: Sequence[float],
    mean_tokens: float | None,
    quantiles: tuple[float | None, float | None],
) -> Spread | None:
    """Counted lengths first, the log-normal through p50 and p99 without them, else None.

    Args:
        counts: Requests at most each of `LENGTH_BOUNDS` tokens long, and all; may be empty.
        mean_tokens: The measured mean, which the spread is made to meet; None: its own.
        quantiles: p50 and p99 as engines export them.
    """
    counted = from_counts(counts)
    if counted is not None and counted.total >= LEAST_QUERIES:
        met = counted if mean_tokens is None else meeting_mean(counted, mean_tokens)
        return Spread(
            histogram=met,
            confidence=Confidence.MEASURED,
            how=f"{counted.total:,.0f} requests counted by length",
        )
    p50, p99 = quantiles
    if not p50 or not p99 or p99 <= p50:
        return None
    sigma = math.log(p99 / p50) / float(normal.quantile(0.99))
    cv = min(MOST_CV, math.sqrt(math.expm1(sigma**2)))
    mean = mean_tokens or p50 * math.exp(sigma**2 / 2)
    return Spread(
        histogram=histogram_of(lognormal_of(mean, cv)),
        confidence=Confidence.MODELLED,
        how="log-normal through p50 and p99",
    )


def told(what: str, found: Spread | None) -> tuple[Evidence, ...]:
    """How lengths spread, for a person: measured, modelled, or assumed to be all the same."""
    name, unit = f"standard deviation of the lengths of {what}", "ratio of the mean"
    if found is None:
        note = "not counted: all are assumed to be as long as the mean"
        return seen(name, 0.0, unit, note=note, confidence=Confidence.ASSUMED)
    at = (found.histogram.quantile(q) for q in (0.5, 0.95, 0.99))
    note = found.how + "; p50 {:,.0f}, p95 {:,.0f}, p99 {:,.0f} tokens".format(*at)
    cv = found.histogram.cv
    return seen(name, cv, unit, note=note, confidence=found.confidence)

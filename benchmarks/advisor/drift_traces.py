"""How often lengths of published traces are called drift: the same traffic, other traffic, parts.

Usage: `python -m benchmarks.advisor.drift_traces`, with the published data beside the repository
(`../shared/data`). A trace is cut into parts as long as one another; a part is held against the
seven before it, as `traffic.token_drift` holds hours against those of seven days, in the buckets
that servers count.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from advisor.facts.token_lengths import COMPARED_DAYS
from advisor.models import drift
from advisor.models.token_sources import from_counts
from advisor.models.tokens import Histogram
from ridgeline.schema import LENGTH_BOUNDS
from tests import published

TRACES = ("azure code", "azure conversation", "mooncake conversation", "mooncake synthetic")
LENGTHS = ("prompts", "answers")
Floats = NDArray[np.float64]


@cache
def lengths(trace: str) -> dict[str, Floats]:
    """Prompts and answers of a trace in tokens, in the order of arrival."""
    origin, _, kind = trace.partition(" ")
    if origin == "azure":
        _, prompts, answers = published.azure({"conversation": "conv"}.get(kind, kind))
        return dict(zip(LENGTHS, (prompts, answers), strict=True))
    lines = published.data(f"mooncake/{kind}_trace.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    names = ("input_length", "output_length")
    return {
        what: np.array([float(row[name]) for row in rows])
        for what, name in zip(LENGTHS, names, strict=True)
    }


def counted(tokens: Floats) -> Histogram:
    """Lengths as a server counts them: at most each bound, and all."""
    found = from_counts([*((tokens <= b).sum() for b in LENGTH_BOUNDS), tokens.size])
    assert found is not None
    return found


def parts(trace: str, what: str, size: int) -> list[Histogram]:
    """The trace in whole parts of `size` requests."""
    tokens = lengths(trace)[what]
    return [counted(tokens[n : n + size]) for n in range(0, tokens.size - size + 1, size)]


def next_parts(size: int) -> list[drift.Drift]:
    """Each part of each trace against the seven before it."""
    return [
        drift.against_days(cut[n - COMPARED_DAYS : n], cut[n])
        for trace, what in itertools.product(TRACES, LENGTHS)
        for cut in (parts(trace, what, size),)
        for n in range(COMPARED_DAYS, len(cut))
    ]


def switches(size: int, what: str, share: float = 1.0) -> list[drift.Drift]:
    """Parts of one trace, a share of their requests, after seven of another."""
    rng = np.random.default_rng(7)
    found = []
    for one, other in itertools.permutations(TRACES, 2):
        before = parts(one, what, size)[:COMPARED_DAYS]
        old, new = lengths(one)[what], lengths(other)[what]
        if len(before) < 3 or min(old.size, new.size) < size:
            continue
        starts = range(0, new.size - size + 1, size)
        mixed = (
            np.where(rng.random(size) < share, new[n : n + size], rng.choice(old, size))
            for n in itertools.islice(starts, 40)
        )
        found += [drift.against_days(before, counted(tokens)) for tokens in mixed]
    return found


def rate(found: Sequence[drift.Drift]) -> float:
    """Share that is called drift."""
    return sum(d.drifted for d in found) / len(found)


def rates_table() -> str:
    """The rates of docs/models.md."""
    rows = ["requests a part | same traffic | other | half of them | a quarter | a tenth"]
    for size in (100, 200, 500, 1000):
        by_share = [
            [*switches(size, "prompts", share), *switches(size, "answers", share)]
            for share in (1.0, 0.5, 0.25, 0.1)
        ]
        cells = [next_parts(size), *by_share]
        rows.append(f"{size} | " + " | ".join(f"{rate(c):.1%} of {len(c)}" for c in cells))
    return "\n".join(rows)


if __name__ == "__main__":
    print(rates_table())

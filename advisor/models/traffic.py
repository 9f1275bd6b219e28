"""Kinds of queries mixed together, and what a mix asks of an engine: tokens, KV cache, time.

All sums are per arriving query. In flight, a query counts for as long as it runs, so everything an
engine holds is weighted by length: a tenth of reasoning queries can be nine tenths of the cache.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from advisor.models.best_of_n import SampledQuery, sample
from advisor.models.tokens import Histogram, mixture

VERSION = "traffic/2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of query: its share of arrivals, prompt, one answer's length, answers sampled.

    `computed_prompt_tokens` is what prefill works on when a prefix cache holds the rest.
    """

    name: str
    share: float
    prompt_tokens: float
    answer: Histogram
    samples: int = 1
    correlation: float = 0.0
    prefix_hit_ratio: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What a mix asks for; build it with `mixed`."""

    kinds: tuple[Kind, ...]
    tokens_per_query: float  # generated, all samples
    samples_per_query: float
    prompt_tokens: float
    computed_prompt_tokens: float
    kv_tokens_per_sequence: float  # held on average for each running sequence, prompts shared
    context_tokens: float  # read by attention on average for each running sequence
    service_cv: float  # of one sequence's length
    total: Histogram  # tokens generated for a query
    longest: Histogram  # tokens of its longest sample: what the user waits for

    @property
    def decode_steps_per_query(self) -> float:
        """Tokens that decoding makes, all samples: the first of each comes out of the prefill."""
        return max(0.0, self.tokens_per_query - self.samples_per_query)


def mixed(kinds: Sequence[Kind]) -> Traffic:
    """The mix of kinds, by share of arriving queries; shares need not add up to 1.

    Raises:
        ValueError: no kind has a share above 0, or a share or prompt is negative.
    """
    for kind in kinds:
        if kind.share < 0 or kind.prompt_tokens < 0 or not 0 <= kind.prefix_hit_ratio <= 1:
            raise ValueError(
                f"{kind.name}: share={kind.share:g} prompt_tokens={kind.prompt_tokens:g} "
                f"prefix_hit_ratio={kind.prefix_hit_ratio:g}: need not below 0, ratio 0..1"
            )
    used = [k for k in kinds if k.share > 0]
    if not used:
        raise ValueError("kinds: need one with a share above 0")
    whole = sum(k.share for k in used)
    parts = [(k.share / whole, k, sample(k.answer, k.samples, k.correlation)) for k in used]
    shares = [w for w, _, _ in parts]
    generated = sum(w * k.samples * k.answer.mean for w, k, _ in parts)
    per_sequence = [w * k.samples for w, k, _ in parts]
    answers = mixture([k.answer for k in used], per_sequence)
    return Traffic(
        kinds=tuple(used),
        tokens_per_query=generated,
        samples_per_query=sum(per_sequence),
        prompt_tokens=sum(w * k.prompt_tokens for w, k, _ in parts),
        computed_prompt_tokens=sum(
            w * k.prompt_tokens * (1 - k.prefix_hit_ratio) for w, k, _ in parts
        ),
        kv_tokens_per_sequence=_held(parts) / generated if generated > 0 else 0.0,
        context_tokens=_read(parts) / generated if generated > 0 else 0.0,
        service_cv=answers.cv,
        total=mixture([q.total for _, _, q in parts], shares),
        longest=mixture([q.longest for _, _, q in parts], shares),
    )


_Parts = list[tuple[float, Kind, SampledQuery]]


def _held(parts: _Parts) -> float:
    """Token-seconds of KV cache a query holds, in units of the time of one token."""
    return sum(
        w * (k.samples * k.answer.second_moment / 2 + k.prompt_tokens * q.longest.mean)
        for w, k, q in parts
    )


def _read(parts: _Parts) -> float:
    """Likewise for what attention reads: every sample reads the shared prompt by itself."""
    return sum(
        w * k.samples * (k.answer.second_moment / 2 + k.prompt_tokens * k.answer.mean)
        for w, k, _ in parts
    )


def with_share(kinds: Sequence[Kind], name: str, share: float) -> tuple[Kind, ...]:
    """The same kinds with one of them at `share` of queries, the others scaled to make room.

    Raises:
        ValueError: no such kind, a share outside 0..1, or nothing else to make up the rest.
    """
    others = sum(k.share for k in kinds if k.name != name)
    if not 0 <= share <= 1 or name not in {k.name for k in kinds}:
        raise ValueError(f"share={share:g} of {name!r}: need 0..1 and one of the kinds")
    if others <= 0 and not math.isclose(share, 1):
        raise ValueError(f"{name!r} is the only kind: its share is 1")
    room = (1 - share) / others if others > 0 else 0.0
    return tuple(replace(k, share=share if k.name == name else k.share * room) for k in kinds)

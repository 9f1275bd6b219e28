"""Requests/s within the objectives: of prefill engines, decode engines, and those that do both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from advisor.models.arrays import Floats
from advisor.models.phases import (
    decode_step_seconds,
    mixed_step_seconds,
    most_sequences,
    prefill_seconds,
)
from advisor.models.replica import Replica
from advisor.models.slo import Workload, attained_ratio, batch_spread, cache_spread, mean_within

VERSION = "rates/7"
CHUNKS = (256, 512, 1024, 2048, 4096, 8192, 16384)
PROMPTS_AT_ONCE = (1, 2, 4, 8)
MOST_TOKENS_AT_ONCE = 16_384
SHORT_PROMPTS = (2, 4, 8, 16, 32, 64, 128)
"""As many whole prompts in one step where they are short, together and in a prefill pool."""
MOST_SHORT_TOKENS = 2048  # of them: more fill no GPU better
MOST_BATCH = 2048
COARSE_BATCHES, FINE_BATCHES = 56, 16  # tried for engines that do both, then next to the best
_LOADS = 1 - np.geomspace(0.001, 0.98, 48)[::-1]  # 0.02 to 0.999, denser near full load


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefillRate:
    """Most requests/s one prefill engine takes, and how."""

    rate_per_second: float
    load_ratio: float
    prompts_at_once: int
    ttft_seconds: float  # without waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeRate:
    """Most requests/s one decode engine takes, and how."""

    rate_per_second: float
    batch: float
    tpot_seconds: float
    bound: str  # "objective", "memory" or "batch"


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedRate:
    """Most requests/s one engine takes that does both, with chunked prefill, and how."""

    rate_per_second: float
    batch: float
    chunk_tokens: int  # of a data rank
    ttft_seconds: float
    tpot_seconds: float


def prefill_rate(
    replica: Replica, work: Workload, engines: int, handover_seconds: float = 0.0
) -> PrefillRate:
    """Most requests/s of one of `engines` prefill engines behind one queue.

    Each data rank takes as many prompts at once as the others: all wait for the busiest.
    """
    prompt = work.computed_tokens
    short = {k for k in SHORT_PROMPTS if k * prompt <= MOST_SHORT_TOKENS}
    a_rank = sorted({k for k in PROMPTS_AT_ONCE if k * prompt <= _most(work)} | short)
    at_once = np.array(a_rank) * replica.layout.data
    nodes, shares = work.prompt_nodes, np.array(work.prompt_shape.shares)
    hit = work.cached_tokens / work.prompt_tokens
    own = prefill_seconds(
        replica, nodes[None, :], cached_tokens=hit * nodes[None, :], prompts=at_once[:, None]
    )
    service = own @ shares / at_once / replica.layout.pipeline
    best = PrefillRate(rate_per_second=0.0, load_ratio=0.0, prompts_at_once=1, ttft_seconds=np.inf)
    for k, each, times in zip(at_once, service, own, strict=True):
        attained = attained_ratio(
            work, _LOADS, np.full_like(_LOADS, each), times + handover_seconds, engines
        )
        held = np.flatnonzero(attained >= work.each_ratio)
        if not held.size:
            continue
        load = float(_LOADS[held[-1]])
        rate = load / float(each)
        if rate > best.rate_per_second:
            best = PrefillRate(
                rate_per_second=rate,
                load_ratio=load,
                prompts_at_once=int(k),
                ttft_seconds=float(times @ shares) + handover_seconds,
            )
    return best


def _most(work: Workload) -> float:
    return max(MOST_TOKENS_AT_ONCE, work.computed_tokens)


def decode_rate(replica: Replica, work: Workload, engines: int) -> DecodeRate:
    """Most requests/s of one of `engines` decode engines, TPOT and memory kept.

    Every step has a token of every sequence: the time between two tokens is that of a step.
    """
    objective = min(work.slo_tpot_seconds, work.slo_itl_seconds)
    batches = np.geomspace(1, MOST_BATCH, 72)
    steps = decode_step_seconds(replica, batches, work.context_tokens)
    held = np.flatnonzero(steps <= objective)
    room = float(most_sequences(replica, work.context_tokens))
    if not held.size or room < 1:
        bound = "memory" if room < 1 else "objective"
        return DecodeRate(rate_per_second=0.0, batch=0.0, tpot_seconds=float(steps[0]), bound=bound)
    within = _crossing(batches, steps, objective, int(held[-1]))
    limits = {"objective": within, "memory": room, "batch": float(MOST_BATCH)}
    spreads = dict.fromkeys(limits, batch_spread(work)) | {"memory": cache_spread(work)}
    means = {n: float(mean_within(limits[n], spreads[n], engines)) for n in limits}
    bound = min(means, key=lambda name: means[name])
    mean = means[bound]
    step = float(np.interp(mean, batches, steps))
    return DecodeRate(
        rate_per_second=mean / (work.output_tokens * step),
        batch=mean,
        tpot_seconds=step,
        bound=bound,
    )


def _crossing(x: Floats, y: Floats, limit: float, last: int) -> float:
    """Where y, rising, crosses the limit after its last point within it."""
    if last + 1 >= len(x):
        return float(x[-1])
    return float(np.interp(limit, y[last : last + 2], x[last : last + 2]))


def shared_rate(replica: Replica, work: Workload, engines: int) -> SharedRate:
    """Most requests/s of one of `engines` engines that prefill and decode, chunk size chosen.

    The longest gap between two tokens is a step that carries a chunk. A prompt whose answer is one
    token has it from its own prefill: nothing is decoded.
    """
    nothing = SharedRate(
        rate_per_second=0.0, batch=0.0, chunk_tokens=0, ttft_seconds=np.inf, tpot_seconds=np.inf
    )
    room = float(most_sequences(replica, work.context_tokens))
    if room < 1:
        return nothing
    if work.output_tokens <= 1:
        return _without_decoding(replica, work, engines)
    coarse = np.geomspace(0.05, min(room, MOST_BATCH), COARSE_BATCHES)
    curve = _Steps(coarse, decode_step_seconds(replica, coarse, work.context_tokens))
    first = _best(_Mixture.of(replica, work, coarse, curve), replica, work, engines)
    if first is None:
        return nothing
    # between the last batch that holds the objectives and the next one lies up to a fifth of it
    next_one = min(float(coarse[-1]), first.batch * float(coarse[1] / coarse[0]))
    fine = np.linspace(first.batch, next_one, FINE_BATCHES)
    return _best(_Mixture.of(replica, work, fine, curve), replica, work, engines) or first


def _without_decoding(replica: Replica, work: Workload, engines: int) -> SharedRate:
    alone = prefill_rate(replica, work, engines)
    return SharedRate(
        rate_per_second=alone.rate_per_second,
        batch=0.0,
        chunk_tokens=int(alone.prompts_at_once * work.computed_tokens),
        ttft_seconds=alone.ttft_seconds,
        tpot_seconds=0.0,
    )


class _Steps(NamedTuple):
    """Batches and the seconds of a decode step of each."""

    batches: Floats
    seconds: Floats


@dataclass(frozen=True, slots=True)
class _Mixture:
    """Steps of an engine that does both, by chunk size (rows) and sequences in its batch (columns).

    A share u of time goes into steps that carry a chunk; batch b and u follow from one another
    (Little's law), so that the whole curve is there at once.
    """

    chunks: Floats
    batches: Floats
    curve: _Steps  # steps without a chunk, of every batch there may be
    plain: Floats  # seconds of a step without a chunk
    mixed: Floats  # of one with a chunk
    before: Floats  # tokens a chunk looks back on, in the mean
    each: Floats  # seconds in which one prompt is worked off
    share: Floats  # of time in steps with a chunk; inf where prompts alone are too many

    @classmethod
    def of(cls, replica: Replica, work: Workload, batches: Floats, curve: _Steps) -> _Mixture:
        prompt, output, columns = work.computed_tokens, work.output_tokens, batches[None, :]
        several = [k * prompt for k in SHORT_PROMPTS if k * prompt <= MOST_SHORT_TOKENS]
        chunks = np.array([c for c in CHUNKS if c < prompt] + [prompt, *several])[:, None]
        plain = decode_step_seconds(replica, columns, work.context_tokens)
        before = np.maximum(work.context_of_a_prompt_token - chunks / 2, 0.0)
        mixed = mixed_step_seconds(replica, columns, work.context_tokens, chunks, before)
        each = prompt / (chunks * replica.layout.data) * mixed  # a rank has prompts of its own
        share = columns / output / plain / (1 / each - columns / output * (1 / mixed - 1 / plain))
        share = np.where(share >= 0, share, np.inf)
        return cls(chunks, columns, curve, plain, mixed, before, each, share)

    @property
    def rate(self) -> Floats:
        """Requests/s of one engine."""
        return self.share / self.each

    @property
    def tpot(self) -> Floats:
        """Mean time per output token."""
        return 1 / (self.share / self.mixed + (1 - self.share) / self.plain)

    def tail_tpot(self, work: Workload, engines: int) -> Floats:
        """Likewise at the quantile: more sequences and more prompts than on average."""
        life = np.maximum(self.rate * engines * work.output_tokens * self.tpot, 1e-9)
        swing = batch_spread(work) * 0.7
        spread = swing * np.sqrt((1 + work.prompt_cv**2) / life)
        busy = np.minimum(1.0, self.share * (1 + spread))
        crowd = 1 + swing / np.sqrt(np.maximum(self.batches, 1e-9) * engines)
        slower = np.interp(self.batches * crowd, *self.curve) / self.plain
        tail: Floats = slower / (busy / self.mixed + (1 - busy) / self.plain)
        return tail

    def most_itl(self, replica: Replica, work: Workload, engines: int) -> Floats:
        """The largest gap between tokens: a crowded step whose chunk looks back on a whole prompt.

        A sequence waits for many such steps, so that one of them is likely.
        """
        crowd = 1 + batch_spread(work) / np.sqrt(np.maximum(self.batches, 1e-9) * engines)
        return mixed_step_seconds(
            replica, self.batches * crowd, work.context_tokens, self.chunks, 2 * self.before
        )

    def own_seconds(self, replica: Replica, work: Workload) -> Floats:
        """Own time of a prompt of each length (last axis), behind the queue of those before."""
        ranks, prompt = replica.layout.data, work.computed_tokens
        own = ranks * self.each[..., None] * work.prompt_nodes / work.prompt_tokens
        own = np.maximum(own, np.where(self.chunks > prompt, self.mixed, 0.0)[..., None])
        if own.shape[-1] == 1:
            return own
        twice = mixed_step_seconds(
            replica, self.batches, work.context_tokens, self.chunks, 2 * self.before + 1
        )
        return own * _dearer(work, self.mixed, twice, self.before, self.chunks)


def _best(steps: _Mixture, replica: Replica, work: Workload, engines: int) -> SharedRate | None:
    """The best of these batches and chunk sizes that hold the objectives; None where none does."""
    room = float(most_sequences(replica, work.context_tokens))
    own = steps.own_seconds(replica, work)
    attained = attained_ratio(work, np.minimum(steps.share, 0.9999), steps.each, own, engines)
    crowded = steps.batches + cache_spread(work) * np.sqrt(steps.batches / engines)
    ok = (steps.share < 1) & (crowded <= room) & (attained >= work.each_ratio)
    ok &= steps.tail_tpot(work, engines) <= work.slo_tpot_seconds
    if np.isfinite(work.slo_itl_seconds):
        ok &= steps.most_itl(replica, work, engines) <= work.slo_itl_seconds
    if not ok.any():
        return None
    rate = steps.rate
    i, j = np.unravel_index(int(np.argmax(np.where(ok, rate, -1.0))), rate.shape)
    chunk, ranks = float(steps.chunks[i, 0]), replica.layout.data
    own_chunks = max(1.0, chunk / work.computed_tokens) * ranks
    return SharedRate(
        rate_per_second=float(rate[i, j]),
        batch=float(steps.batches[0, j]),
        chunk_tokens=int(chunk),
        ttft_seconds=float(own_chunks * steps.each[i, j]),
        tpot_seconds=float(steps.tpot[i, j]),
    )


def _dearer(work: Workload, mixed: Floats, twice: Floats, before: Floats, chunks: Floats) -> Floats:
    """Time of a chunk of a prompt of each length over the mean chunk's: later ones look back more.

    Steps are taken as linear in what a chunk looks back on, between `before` and twice that.
    """
    half = work.cached_tokens + work.computed_tokens / 2
    lengths = work.prompt_nodes / work.prompt_tokens
    back = np.maximum(half * lengths - chunks[..., None] / 2, 0.0)
    steepness = (twice / mixed - 1) / (before + 1)
    ratio: Floats = 1 + steepness[..., None] * (back - before[..., None])
    return ratio

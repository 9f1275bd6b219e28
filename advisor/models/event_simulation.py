"""A discrete-event simulation of both arrangements: checks the analytic answer, request by request.

Engines advance step by step under the same phase model, queues and batches are what they come to
be. Time jumps over steps at which nothing can change (no arrival, no prompt, no end). It is for
checking and for plots; live advice never waits for it.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from advisor.models.arrays import Floats
from advisor.models.disaggregation import Apart, Together, handover_gbps_per_request
from advisor.models.phases import most_sequences, prefill_seconds
from advisor.models.replica import Replica
from advisor.models.slo import Workload
from advisor.models.step_grid import StepGrid

VERSION = "event-simulation/4"
_THE_END = 1e12  # seconds: everything is done by then
_MOST_STEPS = 64  # jumped over at once, so that a growing context is not missed


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Requests in order of arrival."""

    seconds: Floats
    prompt_tokens: Floats
    output_tokens: Floats

    def at_rate(self, requests_per_second: float) -> Arrivals:
        """The same requests, their gaps scaled to another mean rate."""
        span = float(self.seconds[-1] - self.seconds[0])
        factor = (len(self.seconds) - 1) / span / requests_per_second
        start = self.seconds[0]
        return Arrivals((self.seconds - start) * factor, self.prompt_tokens, self.output_tokens)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What each request got; `most_itl_seconds` is the largest gap between two of its tokens.

    A request of one token has neither TPOT nor gaps: NaN.
    """

    ttft_seconds: Floats
    tpot_seconds: Floats
    most_itl_seconds: Floats

    def attained_ratio(self, work: Workload) -> float:
        """Share of requests within all objectives; what a request does not have it keeps."""
        ok = self.ttft_seconds <= work.slo_ttft_seconds
        ok &= ~(self.tpot_seconds > work.slo_tpot_seconds)
        return float((ok & ~(self.most_itl_seconds > work.slo_itl_seconds)).mean())

    def ttft_attained_ratio(self, work: Workload) -> float:
        """Share of requests within the TTFT objective."""
        return float((self.ttft_seconds <= work.slo_ttft_seconds).mean())

    def tpot_attained_ratio(self, work: Workload) -> float:
        """Share of requests within the TPOT objective."""
        return float((~(self.tpot_seconds > work.slo_tpot_seconds)).mean())


def generated(
    work: Workload,
    requests: int,
    requests_per_second: float,
    seed: int = 0,
    most_tokens: float = np.inf,
) -> Arrivals:
    """Requests with the workload's means and variations: gamma gaps, log-normal lengths.

    Prompts that were counted are drawn as they were. A prompt with its answer takes at most
    `most_tokens`, the model's positions: the prompt is cut.
    """
    rng = np.random.default_rng(seed)
    shape = 1 / max(work.arrival_cv, 1e-3) ** 2
    gaps = rng.gamma(shape, 1 / shape / requests_per_second, requests)

    def lengths(mean: float, cv: float) -> Floats:
        if cv <= 0:
            return np.full(requests, mean)
        sigma = np.sqrt(np.log1p(cv**2))
        drawn = mean * np.exp(sigma * rng.standard_normal(requests) - sigma**2 / 2)
        whole: Floats = np.maximum(1.0, np.rint(drawn))
        return whole

    if work.prompts is None:
        prompts = lengths(work.prompt_tokens, work.prompt_cv)
    else:
        prompts = np.rint(rng.choice(work.prompt_nodes, requests, p=work.prompts.shares))
    outputs = np.minimum(lengths(work.output_tokens, work.output_cv), most_tokens - 1)
    return Arrivals(np.cumsum(gaps), np.minimum(prompts, most_tokens - outputs), outputs)


@dataclass(slots=True)
class _Engine:
    """One engine that decodes and, where `steps.chunk` is set, prefills."""

    steps: StepGrid
    room_tokens: float
    now: float = 0.0
    done_steps: int = 0
    running: int = 0
    context: float = 0.0  # of all running sequences together
    held: float = 0.0  # tokens reserved in the cache
    ends: list[tuple[int, int]] = field(default_factory=list)  # (step at which it ends, request)
    waiting: deque[int] = field(default_factory=deque)
    left: float = 0.0  # prompt tokens still to compute of the first waiting request
    told: float = 0.0  # when the running sequences got their last token
    begun: list[int] = field(default_factory=list)  # requests that wait for their second token
    # gaps between tokens that no later one passed, and the step of each: falling, so that the
    # first one after a request's start is its largest
    gap_steps: list[int] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)


@dataclass(slots=True)
class _Run:
    """The requests of one simulation and what has happened to them."""

    arrivals: Arrivals
    prompts: list[float]
    outputs: list[int]
    computed: list[float]
    first: list[float]
    last: list[float]
    joined: list[float]  # when it was in a batch with its first token
    gap: list[float]  # the largest between two tokens
    second: list[int]  # step of its engine that made its second token

    @classmethod
    def of(cls, arrivals: Arrivals, work: Workload) -> _Run:
        prompts = arrivals.prompt_tokens
        hit = work.cached_tokens / work.prompt_tokens
        n = len(prompts)
        return cls(
            arrivals,
            prompts.tolist(),
            [max(1, int(o)) for o in arrivals.output_tokens],
            np.maximum(1.0, prompts * (1 - hit)).tolist(),
            [np.inf] * n,
            [np.inf] * n,
            [np.inf] * n,
            [np.nan] * n,
            [0] * n,
        )

    def outcome(self) -> Outcome:
        first, last = np.array(self.first), np.array(self.last)
        more = np.array(self.outputs) - 1
        tpot = np.where(more > 0, (last - first) / np.maximum(more, 1), np.nan)
        return Outcome(first - self.arrivals.seconds, tpot, np.array(self.gap))


def _start(engine: _Engine, run: _Run, request: int) -> None:
    """The request's first token is there; it decodes the others."""
    more = run.outputs[request] - 1
    if more == 0:
        run.last[request] = engine.now
        engine.held -= run.prompts[request] + run.outputs[request]
        return
    engine.running += 1
    engine.begun.append(request)
    engine.context += run.prompts[request] + 1
    heapq.heappush(engine.ends, (engine.done_steps + more, request))


def _finish(engine: _Engine, run: _Run) -> None:
    while engine.ends and engine.ends[0][0] <= engine.done_steps:
        _, request = heapq.heappop(engine.ends)
        tokens = run.prompts[request] + run.outputs[request]
        engine.running -= 1
        engine.context -= tokens
        engine.held -= tokens
        run.last[request] = engine.now
        after = bisect_right(engine.gap_steps, run.second[request])
        if after < len(engine.gaps):
            run.gap[request] = max(run.gap[request], engine.gaps[after])


def _told(engine: _Engine, run: _Run, step: float, count: int) -> None:
    """Running sequences got `count` tokens in steps of `step` seconds, the last of them now.

    The first of these tokens may have waited for prompts, and for a request that has just begun it
    is the second: its gap begins when it joined the batch.
    """
    moment = engine.now - (count - 1) * step
    number = engine.done_steps - count + 1
    for request in engine.begun:
        run.gap[request], run.second[request] = moment - run.joined[request], number
    engine.begun.clear()
    _gap(engine, number, moment - engine.told)
    if count > 1:
        _gap(engine, engine.done_steps, step)
    engine.told = engine.now


def _gap(engine: _Engine, step: int, seconds: float) -> None:
    while engine.gaps and engine.gaps[-1] <= seconds:
        engine.gaps.pop()
        engine.gap_steps.pop()
    engine.gaps.append(seconds)
    engine.gap_steps.append(step)


def _advance(engine: _Engine, run: _Run, until: float) -> None:
    """Steps of one engine up to `until`; the step that crosses it is finished."""
    while engine.now < until:
        tokens = _admit(engine, run)
        if not engine.running and not tokens:
            engine.now = until
            return
        mean = engine.context / engine.running if engine.running else 1.0
        back = run.prompts[engine.waiting[0]] - engine.left if tokens else 0.0
        step = engine.steps.seconds(engine.running, mean, tokens, back)
        count = 1
        if not tokens and engine.ends:
            to_end = engine.ends[0][0] - engine.done_steps
            blocked = 1 if engine.waiting else _MOST_STEPS
            count = max(1, min(to_end, int((until - engine.now) / step) + 1, blocked))
        engine.now += count * step
        engine.done_steps += count
        engine.context += count * engine.running
        if engine.running:
            _told(engine, run, step, count)
        if tokens:
            _worked(engine, run, tokens)
        _finish(engine, run)


def _admit(engine: _Engine, run: _Run) -> float:
    """Prompt tokens that go into the next step; a prompt is begun only where its cache fits."""
    if not engine.waiting:
        return 0.0
    request = engine.waiting[0]
    if engine.left <= 0:
        need = run.prompts[request] + run.outputs[request]
        if engine.held + need > engine.room_tokens and engine.held > 0:
            return 0.0
        engine.held += need
        engine.left = run.computed[request]
        if not engine.steps.chunk:  # its cache came from elsewhere
            engine.left = 0.0
            engine.waiting.popleft()
            _start(engine, run, request)
            return _admit(engine, run)
    return min(engine.left, engine.steps.chunk)


def _worked(engine: _Engine, run: _Run, tokens: float) -> None:
    engine.left -= tokens
    if engine.left > 1e-9:
        return
    engine.left = 0.0
    request = engine.waiting.popleft()
    run.first[request] = run.joined[request] = engine.now
    _start(engine, run, request)


def _least(engines: list[_Engine]) -> _Engine:
    """The engine with the fewest requests."""
    return min(engines, key=lambda e: (e.running + len(e.waiting), e.now))


def simulate_together(arrangement: Together, work: Workload, arrivals: Arrivals) -> Outcome:
    """Engines that do both; a request goes to the one with the fewest.

    A step carries a chunk of a prompt with the batch, whatever the stack.
    """
    replica, run = arrangement.replica, _Run.of(arrivals, work)
    steps = StepGrid(replica, work, float(arrangement.chunk_tokens))
    room = _room_tokens(replica, work)
    engines = [_Engine(steps, room) for _ in range(arrangement.engines)]
    for request, moment in enumerate(arrivals.seconds.tolist()):
        for engine in engines:
            _advance(engine, run, moment)
        _least(engines).waiting.append(request)
    for engine in engines:
        _advance(engine, run, _THE_END)
    return run.outcome()


def simulate_apart(
    arrangement: Apart, work: Workload, arrivals: Arrivals, network_gbps: float
) -> Outcome:
    """A prefill pool behind one queue, a hand-over, and a decode pool.

    A sequence that is handed over joins between two steps: what the step that runs then still
    takes counts to its TPOT, not to its gaps, as decode workers send both tokens themselves.
    """
    run = _Run.of(arrivals, work)
    ready = _prefilled(arrangement, work, run, network_gbps)
    steps, room = StepGrid(arrangement.decode, work, 0.0), _room_tokens(arrangement.decode, work)
    engines = [_Engine(steps, room) for _ in range(arrangement.decodes)]
    for request in np.argsort(ready, kind="stable").tolist():
        for engine in engines:
            _advance(engine, run, ready[request])
        least = _least(engines)
        run.joined[request] = least.now
        least.waiting.append(request)
    for engine in engines:
        _advance(engine, run, _THE_END)
    return run.outcome()


def _prefilled(arrangement: Apart, work: Workload, run: _Run, network_gbps: float) -> list[float]:
    """When each request's cache reaches the decode pool; fills in the first tokens."""
    prompts = np.array(run.prompts)
    cached = prompts - np.array(run.computed)
    ranks = arrangement.prefill.layout.data  # each works on a prompt of its own
    own = prefill_seconds(arrangement.prefill, prompts, cached_tokens=cached, prompts=ranks)
    service = (own / arrangement.prefill.layout.pipeline).tolist()
    gbit = handover_gbps_per_request(arrangement.prefill, work) / work.prompt_tokens
    free = [0.0] * (arrangement.prefills * ranks)
    heapq.heapify(free)
    ready = []
    for request, moment in enumerate(run.arrivals.seconds.tolist()):
        begin = max(moment, heapq.heappop(free))
        heapq.heappush(free, begin + service[request])
        handed = begin + float(own[request]) + gbit * run.prompts[request] / network_gbps
        run.first[request] = handed
        ready.append(handed)
    return ready


def _room_tokens(replica: Replica, work: Workload) -> float:
    return float(most_sequences(replica, work.context_tokens)) * work.context_tokens


def rate_at_attainment(outcome_at: dict[float, float], attainment_ratio: float) -> float | None:
    """Highest rate, interpolated, whose attained share is enough; None when none is."""
    rates = sorted(outcome_at)
    best = None
    for low, high in zip(rates, [*rates[1:], None], strict=True):
        here = outcome_at[low]
        if here < attainment_ratio:
            continue
        best = low
        if high is not None and (there := outcome_at[high]) < attainment_ratio:
            best = low + (high - low) * (here - attainment_ratio) / (here - there)
    return best

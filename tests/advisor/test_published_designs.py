"""Placements, pool ratios and attainments that DistServe, Splitwise and Mooncake published."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from advisor.catalog.accelerators import BY_NAME, Accelerator
from advisor.catalog.models import MODELS
from advisor.models import disaggregation as dg
from advisor.models import event_simulation as es
from advisor.models import phases, rates, slo
from advisor.models.arrays import Floats
from advisor.models.replica import EAGER, EARLY_GRAPHS, MODERN, Layout, Replica
from advisor.models.slo import Workload
from benchmarks.disaggregation.distserve_table_2 import TABLE as TABLE_2
from tests import published

A100, H100 = BY_NAME["A100-SXM-80G"], BY_NAME["H100-SXM"]
OPT_POSITIONS = 2048
MOONCAKE_COLUMNS = ("timestamp", "input_length", "output_length")


def distserve(
    prompt: float, output: float, ttft: float, tpot: float, cv: tuple[float, float] = (0.7, 0.9)
) -> Workload:
    """A row of DistServe's table 1 with the mean lengths of its figure 7, 90 %."""
    return Workload(
        prompt_tokens=prompt,
        output_tokens=output,
        slo_ttft_seconds=ttft,
        slo_tpot_seconds=tpot,
        attainment_ratio=0.9,
        prompt_cv=cv[0],
        output_cv=cv[1],
    )


@pytest.mark.parametrize(
    ("model", "work", "prefill", "decode", "most_gpus", "share"),
    [
        ("opt-13b", distserve(755.5, 200.3, 0.2, 0.1), (2, 1), (1, 1), 8, 1.0),
        ("opt-66b", distserve(755.5, 200.3, 0.4, 0.1), (4, 1), (2, 2), 8, 0.85),
        ("opt-66b", distserve(1738.3, 90.7, 15, 0.15, (0.5, 0.9)), (4, 1), (2, 2), 8, 0.75),
        ("opt-66b", distserve(171.3, 98.2, 0.125, 0.2, (0.4, 0.8)), (4, 1), (2, 2), 8, 0.8),
        ("opt-175b", distserve(755.5, 200.3, 4.0, 0.2), (3, 3), (4, 3), 24, 0.8),
    ],
    ids=["13B ShareGPT", "66B ShareGPT", "66B LongBench", "66B HumanEval", "175B ShareGPT"],
)
def test_distserve_placements(  # noqa: PLR0917 - a table row
    model: str,
    work: Workload,
    prefill: tuple[int, int],
    decode: tuple[int, int],
    most_gpus: int,
    share: float,
) -> None:
    """DistServe's table 3: the pairs (TP, PP) it chose under its 25 Gbps network.

    The cache stays inside nodes and one pair is the unit, which is why 13B prefills with TP2 and
    decodes with TP1, the best of ours too. For 66B and 175B several pairs are within a tenth of one
    another (TP4 prefill is the bottleneck beside any decode layout); the chosen one carries at
    least `share` of our best. It chose one placement for all three workloads of 66B, so LongBench,
    whose 15 s leave room for slower prefill, is furthest. Its engines are of 2023; the spread of
    lengths is read off a figure.
    """
    one = Replica(model=MODELS[model], accelerator=A100, stack=EAGER)
    layouts = [
        Layout(tensor=t, pipeline=p)
        for t, p in itertools.product((1, 2, 3, 4, 6, 8), (1, 2, 3, 4))
        if one.model.heads % t == 0
    ]
    shapes = [r for r in (replace(one, layout=at) for at in layouts) if phases.fits(r)]

    def size(pair: dg.Pair) -> int:
        return pair.prefill.gpus + pair.decode.gpus

    pairs = [p for p in dg.pairs_in_nodes(shapes, shapes, work) if size(p) <= most_gpus]
    chosen = (
        Layout(tensor=prefill[0], pipeline=prefill[1]),
        Layout(tensor=decode[0], pipeline=decode[1]),
    )
    rate = {(p.prefill.layout, p.decode.layout): p.rate_per_gpu for p in pairs}

    assert len(pairs) > 15
    assert rate[chosen] >= share * pairs[0].rate_per_gpu


def test_distserve_table_2() -> None:
    """Attainment by rate, real runs: mean error 7 points for vLLM past 1.0, 6 for DistServe-Low.

    The paper names neither model, objectives nor run length; its repository does, with the runs
    themselves (`simdistserve/benchmarks/alignment` at 20a1633): OPT-13B under 0.2 s and 0.1 s,
    prompts of 850 and answers of 163 tokens on average. vLLM has one GPU and 100 seconds of
    arrivals; DistServe-Low prefills on two and decodes on a third, 300 requests at three times the
    rate. TTFT are taken at the client, 40 ms later than at the engine. vLLM of 2023 is eager,
    DistServe's engine is written in C++.

    The table's 97 % at 1.0 is not of these runs: of the first 65 requests of that file 43 kept
    both, which is what we say. DistServe-Low keeps more past 2.0 than ours, whose one decoding GPU
    is then full (64 sequences) and makes short answers wait: at most 16 points. DistServe's own
    profile and scheduler on its own requests are 6.5 and 8.8 points off past 1.0, not the 2 of its
    paper (`benchmarks/disaggregation/distserve_table_2.py`): 2 is nothing to hold a model to.
    """
    work = distserve(850, 163, 0.2, 0.1, (0.6, 1.2))
    at_client = replace(work, slo_ttft_seconds=0.2 - 0.04)
    eager = Replica(model=MODELS["opt-13b"], accelerator=A100, stack=EAGER)
    together = dg.Together(
        replica=eager,
        engines=1,
        rate_per_second=1,
        chunk_tokens=OPT_POSITIONS,
        batch=1,
        tpot_seconds=1,
    )
    one = replace(eager, stack=MODERN)
    apart = pools(replace(one, layout=Layout(tensor=2)), one, (1, 1))

    def vllm(rate: float) -> float:
        runs = (es.generated(work, round(100 * rate), rate, s, OPT_POSITIONS) for s in range(8))
        kept = [es.simulate_together(together, work, r).attained_ratio(at_client) for r in runs]
        return 100 * float(np.mean(kept))

    def low(rate: float) -> float:
        runs = (es.generated(work, 300, 3 * rate, seed, OPT_POSITIONS) for seed in range(8))
        kept = [es.simulate_apart(apart, work, r, 2400).attained_ratio(work) for r in runs]
        return 100 * float(np.mean(kept))

    found = {rate: (vllm(rate), low(rate)) for rate, _, _ in TABLE_2}
    off = np.array(
        [[found[rate][0] - real, found[rate][1] - other] for rate, real, other in TABLE_2]
    )

    assert all(a >= t for t, a in found.values())
    assert found[1.0][0] == pytest.approx(100 * 43 / 65, abs=5)
    assert np.abs(off[1:, 0]).mean() <= 8
    assert np.abs(off[:, 1]).mean() <= 7
    assert np.abs(off[1:]).max() <= 16


def pools(prefill: Replica, decode: Replica, engines: tuple[int, int]) -> dg.Apart:
    """An arrangement to simulate; what it carries is not known yet."""
    return dg.Apart(
        prefill=prefill,
        decode=decode,
        prefills=engines[0],
        decodes=engines[1],
        rate_per_second=1.0,
        prefill_rate_per_second=1.0,
        decode_rate_per_second=1.0,
        ttft_seconds=1.0,
        tpot_seconds=1.0,
        batch=1.0,
        network_gbps=1.0,
    )


# Slowdown over an idle DGX A100 at p50, p90, p99 (Splitwise, table VI)
TTFT_SLOWDOWN, TBT_SLOWDOWN, E2E_SLOWDOWN = (2, 3, 6), (1.25, 1.5, 5), (1.25, 1.5, 5)
SPLITS = (15, 20, 25, 30, 35, 37)


class Splitwise:
    """Requests/s that DGX machines carry within its nine objectives, on one of its two traces.

    Args:
        kind: Trace.
        gpu: Of the machines.
        requests: Of a run.
        halvings: Of the interval that the answer is sought in.
    """

    def __init__(self, kind: str, gpu: Accelerator, requests: int, halvings: int) -> None:
        _, prompts, outputs = published.azure(kind)
        self.prompts, self.outputs = prompts[:requests], np.maximum(1.0, outputs[:requests])
        idle = Replica(
            model=MODELS["llama2-70b"], accelerator=A100, layout=Layout(tensor=8), stack=EAGER
        )
        self.alone = phases.prefill_seconds(idle, self.prompts)
        self.step = phases.decode_step_seconds(idle, 1, self.prompts + self.outputs / 2)
        means = float(self.prompts.mean()), float(self.outputs.mean())
        self.work = distserve(*means, 1.0, 0.06)
        self.machine = replace(idle, accelerator=gpu)
        self.network_gbps = 1600 if gpu is H100 else 800
        self.halvings = halvings

    def apart(self, prefills: int, decodes: int) -> float:
        """Prompts on some machines, tokens on the others."""
        made = pools(self.machine, self.machine, (prefills, decodes))
        return self._most(lambda a: es.simulate_apart(made, self.work, a, self.network_gbps))

    def together(self, machines: int) -> float:
        """Both on each, 2,048 tokens a step."""
        made = dg.Together(
            replica=self.machine,
            engines=machines,
            rate_per_second=1,
            chunk_tokens=2048,
            batch=1,
            tpot_seconds=1,
        )
        return self._most(lambda a: es.simulate_together(made, self.work, a))

    def _most(self, run: Callable[[es.Arrivals], es.Outcome]) -> float:
        low, high = 20.0, 400.0
        for _ in range(self.halvings):
            middle = (low * high) ** 0.5
            low, high = (middle, high) if self._held(run, middle) else (low, middle)
        return low

    def _held(self, run: Callable[[es.Arrivals], es.Outcome], rate: float) -> bool:
        gaps = np.random.default_rng(0).exponential(1 / rate, len(self.prompts))
        out = run(es.Arrivals(np.cumsum(gaps), self.prompts, self.outputs))
        decoding = np.nan_to_num(out.tpot_seconds) * (self.outputs - 1)
        whole = self.alone + self.step * (self.outputs - 1)
        return (
            slowdown_held(out.ttft_seconds / self.alone, TTFT_SLOWDOWN)
            and slowdown_held(out.tpot_seconds / self.step, TBT_SLOWDOWN)
            and slowdown_held((out.ttft_seconds + decoding) / whole, E2E_SLOWDOWN)
        )


@pytest.mark.parametrize(("kind", "near"), [("code", (35,)), ("conv", (20, 25))])
def test_splitwise_machines(kind: str, near: tuple[int, ...]) -> None:
    """Of 40 DGX H100 (iso-power, HH) it makes 35P+5T for code and 25P+15T for conversation.

    Its objectives are slowdowns over an idle A100, nine of them at once, so that prompt machines
    are sized by bursts of long prompts and not by their mean load: simulated on its own two traces'
    lengths, code is best at 35 and conversation at 25 (20 in runs of twice the requests). How many
    requests a second that is depends on its scheduler (mixed pools), which is not modelled.
    """
    runs = Splitwise(kind, H100, requests=3000, halvings=5)
    carried = {at: runs.apart(at, 40 - at) for at in SPLITS}

    assert max(carried, key=lambda at: carried[at]) in near


def test_splitwise_headline() -> None:
    """Its abstract: 1.4 times the throughput at 20 % less cost, 2.35 times at equal cost and power.

    70 DGX A100 draw what 40 DGX H100 do and cost 0.81 of it (2.21 and 4.76 a machine). Split 60 to
    10 they carry on the code trace 1.3 times what the 40 carry together, and 2.7 times what they
    carry together themselves; split 30 to 40 on conversation 1.6 times. On conversation 40 DGX H100
    together are ahead of them: its "up to" is of code.
    """
    code, chat = (Splitwise(kind, A100, requests=2000, halvings=8) for kind in ("code", "conv"))
    h100 = Splitwise("code", H100, requests=2000, halvings=8)
    split = code.apart(60, 10)

    assert 70 * 2.21 / (40 * 4.76) == pytest.approx(0.8, abs=0.02)
    assert split / h100.together(40) == pytest.approx(1.4, rel=0.1)
    assert 1.5 < chat.apart(30, 40) / chat.together(70) < 2.35 < split / code.together(70) < 3


def slowdown_held(values: Floats, limits: tuple[float, float, float]) -> bool:
    """Whether p50, p90 and p99 are within."""
    found = np.nanpercentile(values, (50, 90, 99))
    return bool((found <= np.array(limits)).all())


def test_mooncake_ratio() -> None:
    """About 1:1 of 16 nodes for its synthetic trace is a balance of latencies, not the most rate.

    Its figure varies the ratio at one load and looks for low TTFT and low TBT together. At 4 to 6
    requests/s (half of what 8 prefill nodes carry) the ratio with the smallest sum of TTFT and TBT,
    each over its objective (10 s, 100 ms), is 7 to 9 of 16. What carries *most* within the
    objectives is 14:2, since 5,200 computed tokens meet 149 written ones: the planner answers the
    latter. The load of its figure is not given; at 1 request/s the balance is at 4 to 5, at 8
    requests/s at 9 to 10. A800 are A100 here; reuse 66 % and lengths are of its table 2.
    """
    work = Workload(
        prompt_tokens=15_325,
        output_tokens=149,
        slo_ttft_seconds=10,
        slo_tpot_seconds=0.1,
        attainment_ratio=0.9,
        prefix_hit_ratio=0.66,
        prompt_cv=1.2,
        output_cv=0.8,
    )
    node = Replica(
        model=MODELS["llama3-70b"], accelerator=A100, layout=Layout(tensor=8), stack=MODERN
    )
    own = phases.prefill_seconds(
        node, work.prompt_nodes, cached_tokens=work.prefix_hit_ratio * work.prompt_nodes
    )
    service = float(own.mean())

    def latency(prefills: int, rate: float) -> float:
        load = rate * service / prefills
        if load >= 1:
            return np.inf
        wait = slo.waiting_share(load, prefills) * slo.conditional_wait_seconds(
            load, service, prefills, 1.0, work.prompt_cv
        )
        batch = tbt = 1.0
        for _ in range(60):
            tbt = float(phases.decode_step_seconds(node, max(batch, 0.05), work.context_tokens))
            batch = (batch + rate / (16 - prefills) * work.output_tokens * tbt) / 2
        return (service + float(wait)) / work.slo_ttft_seconds + tbt / work.slo_tpot_seconds

    balanced = [min(range(2, 15), key=partial(latency, rate=rate)) for rate in (4.0, 5.0, 6.0)]
    p = rates.prefill_rate(node, work, 8).rate_per_second
    d = rates.decode_rate(node, work, 8).rate_per_second

    assert all(7 <= at <= 9 for at in balanced)
    assert (14, 2) == dg.split_of(16 * 8, (p, 8), (d, 8))[:2]


def test_mooncake_gaps() -> None:
    """Mooncake's gain over co-located engines is one of gaps between tokens, not of their mean.

    FAST 2025: with its conversation trace (12,031 requests in an hour, 16 nodes of A800) +498, +157
    and +59 % requests keep 30 s to the first token and 0.1, 0.2 and 0.3 s between tokens. By the
    mean of a request 97 % and more keep all of these together as well as apart; by the largest gap
    a third does together (+244, +178 and +159 %). The last depends on how much of a prompt a step
    takes, which is not told: 8,192 tokens here, with 2,048 it is +19 %. A800 are A100 here,
    prefixes are cached apart alone (40 %), vLLM is that of 2024.
    """
    with published.data("mooncake/conversation_trace.jsonl").open() as lines:
        rows = [json.loads(line) for line in lines]
    order = np.argsort([r["timestamp"] for r in rows], kind="stable")
    columns = (np.array([float(r[c]) for r in rows])[order] for c in MOONCAKE_COLUMNS)
    stamps, prompts, outputs = columns
    arrivals = es.Arrivals(stamps / 1e3, prompts, np.maximum(1.0, outputs))
    work = Workload(
        prompt_tokens=float(prompts.mean()),
        output_tokens=float(outputs.mean()),
        slo_ttft_seconds=30,
        slo_tpot_seconds=1,
    )
    node = Replica(
        model=MODELS["llama3-70b"], accelerator=A100, layout=Layout(tensor=8), stack=EARLY_GRAPHS
    )
    engines = dg.Together(
        replica=node, engines=16, rate_per_second=1, chunk_tokens=8192, batch=1, tpot_seconds=1
    )
    together = es.simulate_together(engines, work, arrivals)
    reused = replace(work, prefix_hit_ratio=0.4)
    apart = es.simulate_apart(pools(node, node, (8, 8)), reused, arrivals, 800)

    def gains(bounds: list[Workload]) -> Floats:
        kept = [(apart.attained_ratio(of), together.attained_ratio(of)) for of in bounds]
        return np.array([a / b - 1 for a, b in kept])

    bounds = (0.1, 0.2, 0.3)
    by_mean = gains([replace(work, slo_tpot_seconds=seconds) for seconds in bounds])
    by_gap = gains([replace(work, slo_itl_seconds=seconds) for seconds in bounds])

    assert (by_mean < 0.03).all()
    assert 1.57 == pytest.approx(by_gap[1], abs=0.25)
    assert (np.diff(by_gap) < 0).all()
    assert by_gap[0] > 2

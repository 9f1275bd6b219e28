"""Disaggregate or not at the edges, each reasoned by hand: the answer and the reason given.

Only what is clear by its mechanism is here: where the gain is near the margin (experts, long
prompts, loose objectives) the answer is the phase model's, and other tests hold that.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from advisor.catalog.accelerators import BY_NAME
from advisor.catalog.models import MODELS, Format
from advisor.models import decision as dc
from advisor.models.decision import Refusal
from advisor.models.replica import Layout, Replica
from advisor.models.slo import Workload
from tests.advisor.test_decision_grid import ENGINES, fleet, work

DENSE = next(e for e in ENGINES if e[:2] == ("llama3-70b", "H100-SXM"))
EXPERTS = {e[0]: e for e in ENGINES if e[0] in {"qwen3-235b-a22b", "deepseek-v3", "gpt-oss-120b"}}
LONG = work(8000, 200, 2.0, 0.02)  # long prompts, tight TPOT: where apart pays


def small(engines: int) -> dc.Fleet:
    """An 8B model on single GPUs."""
    one = Replica(
        model=MODELS["llama3-8b"],
        accelerator=BY_NAME["H100-SXM"],
        layout=Layout(tensor=1),
        weights=Format.FP8,
        cache=Format.FP8,
    )
    return dc.Fleet(replica=one, engines=engines, network_gbps=400)


def decoding_on(name: str, weights: Format = Format.FP8) -> dc.Fleet:
    """The dense fleet whose decode pool is of another accelerator."""
    here = fleet(DENSE)
    other = replace(here.replica, accelerator=BY_NAME[name], weights=weights)
    return replace(here, decode=other)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A question, its answer, and the mechanism behind it."""

    name: str
    at: dc.Fleet
    of: Workload
    why: str
    refused: frozenset[Refusal] = frozenset()  # none: taken apart
    asked: dict[str, float | bool] = field(default_factory=dict)


def no(*refusals: Refusal) -> frozenset[Refusal]:
    """Why not."""
    return frozenset(refusals)


TODAY = dc.decide(fleet(DENSE), LONG).today_rate_per_second
CASES = (
    Case(
        name="long prompts, tight TPOT",
        at=fleet(DENSE),
        of=LONG,
        why="a chunk beside the batch makes each token late; apart none is",
    ),
    Case(
        name="the same, TPOT of no consequence",
        at=fleet(DENSE),
        of=work(8000, 200, 10.0, 0.2),
        why="chunks fill the steps that decode anyway; apart pays matching and connector",
        refused=no(Refusal.MARGIN),
    ),
    Case(
        name="just below 100 Gbit/s",
        at=fleet(DENSE, 99.9),
        of=LONG,
        why="the rule of thumb that Mooncake gives, whatever the model says",
        refused=no(Refusal.NETWORK),
    ),
    Case(
        name="at 100 Gbit/s",
        at=fleet(DENSE, 100),
        of=LONG,
        why="8,000 tokens are 10 Gbit: two engines a node hand over in a tenth of the TTFT",
    ),
    Case(
        name="very thin network",
        at=fleet(DENSE, 10),
        of=LONG,
        why="the hand-over alone takes half of the TTFT, of a long prompt all of it",
        refused=no(Refusal.NETWORK, Refusal.IMPOSSIBLE),
    ),
    Case(
        name="objectives are met today",
        at=fleet(DENSE),
        of=LONG,
        why="nothing to win, however much more would fit",
        refused=no(Refusal.SLO_MET),
        asked={"slo_met_today": True},
    ),
    Case(
        name="demand is below what is carried",
        at=fleet(DENSE),
        of=LONG,
        why="89 % of the rate is served as it is",
        refused=no(Refusal.SLO_MET),
        asked={"requests_per_second": 0.89 * TODAY},
    ),
    Case(
        name="demand is beyond what is carried",
        at=fleet(DENSE),
        of=LONG,
        why="91 % is too near to the limit",
        asked={"requests_per_second": 0.91 * TODAY},
    ),
    Case(
        name="tiny prompts, short answers",
        at=fleet(DENSE),
        of=work(32, 200, 1.0, 0.02),
        why="a step carries many such prompts beside its batch; a pool for them stands idle",
        refused=no(Refusal.MARGIN),
    ),
    Case(
        name="tiny prompts, tiny answers, loose TPOT",
        at=fleet(DENSE),
        of=work(16, 16, 1.0, 0.1),
        why="both phases are weights read for few tokens: together they are read once",
        refused=no(Refusal.MARGIN),
    ),
    Case(
        name="huge prompts, tiny answers, tight TPOT",
        at=fleet(DENSE),
        of=work(32_000, 16, 10.0, 0.02),
        why="every answer falls into somebody's prompt of a second and more",
    ),
    Case(
        name="huge prompts, tiny answers, loose TPOT",
        at=fleet(DENSE),
        of=work(32_000, 16, 10.0, 0.1),
        why="all is prefill: a decode pool takes GPUs from it and gives nothing back",
        refused=no(Refusal.MARGIN),
    ),
    Case(
        name="one token is the answer",
        at=fleet(DENSE),
        of=work(32_000, 1, 10.0, 0.02),
        why="the prefill gives it: nothing is decoded, no TPOT can be missed",
        refused=no(Refusal.MARGIN),
    ),
    Case(
        name="TTFT that no prefill holds",
        at=fleet(DENSE),
        of=work(100_000, 16, 1.0, 0.02),
        why="the prompt alone takes longer on four GPUs",
        refused=no(Refusal.IMPOSSIBLE),
    ),
    Case(
        name="long answers",
        at=fleet(DENSE),
        of=work(500, 4000, 1.0, 0.025),
        why="a hundredth of the work is prefill: a pool for it is a pool too many",
        refused=no(Refusal.MARGIN),
    ),
    Case(
        name="one GPU",
        at=small(1),
        of=LONG,
        why="there is nothing to split",
        refused=no(Refusal.REPLICAS, Refusal.IMPOSSIBLE),
    ),
    Case(
        name="two GPUs",
        at=small(2),
        of=work(2000, 200, 1.0, 0.02),
        why="one each: the phases need other shares than half and half",
        refused=no(Refusal.MARGIN),
    ),
    Case(
        name="half of the prompt in the prefix cache",
        at=fleet(DENSE),
        of=replace(LONG, prefix_hit_ratio=0.5),
        why="prefill still dominates and still disturbs",
    ),
    Case(
        name="90 % in the prefix cache, fast network",
        at=fleet(DENSE),
        of=replace(LONG, prefix_hit_ratio=0.9),
        why="a tenth to compute, but the TPOT is as tight as ever",
    ),
    Case(
        name="90 % in the prefix cache, 120 Gbit/s",
        at=fleet(DENSE, 120),
        of=replace(LONG, prefix_hit_ratio=0.9),
        why="44 requests/s together; 44 caches of 10.5 Gbit fill 96 Gbit/s of each of four nodes",
        refused=no(Refusal.MARGIN),
    ),
    Case(
        name="99 % in the prefix cache",
        at=fleet(DENSE),
        of=replace(LONG, prefix_hit_ratio=0.99),
        why="nothing left that disturbs, and all of the cache to hand over",
        refused=no(Refusal.MARGIN),
    ),
    Case(
        name="decode on H200",
        at=decoding_on("H200-SXM"),
        of=LONG,
        why="more bandwidth and memory where they are what is missing",
    ),
    Case(
        name="decode on L40S",
        at=decoding_on("L40S"),
        of=LONG,
        why="0.86 TB/s read 18 GB of weights in 20 ms: no token is in time",
        refused=no(Refusal.IMPOSSIBLE),
    ),
    Case(
        name="decode on A100 in 16 bit",
        at=decoding_on("A100-SXM-80G", Format.BF16),
        of=LONG,
        why="2 TB/s read 35 GB of weights in 17 ms at best: none with cache and all-reduces",
        refused=no(Refusal.IMPOSSIBLE),
    ),
    *(
        Case(
            name=f"{name}, long answers",
            at=fleet(row),
            of=work(500, 4000, 1.0, 0.025),
            why="experts or not: there is next to no prefill",
            refused=no(Refusal.MARGIN),
        )
        for name, row in EXPERTS.items()
    ),
)


@pytest.mark.parametrize("case", [pytest.param(c, id=c.name) for c in CASES])
def test_the_answer_and_its_reason(case: Case) -> None:
    """Yes where nothing is refused, else no for exactly these reasons."""
    found = dc.decide(case.at, case.of, **case.asked)  # type: ignore[arg-type]  # by name

    assert case.refused == set(found.refusals), case.why
    assert found.advised is not bool(case.refused)


def test_one_token_needs_no_decoding() -> None:
    """All GPUs prefill: the rate of a prefill pool of all of them, and no token after the first."""
    found = dc.decide(fleet(DENSE), work(32_000, 1, 10.0, 0.02))

    assert found.together is not None
    assert 0 == found.together.tpot_seconds == found.together.batch
    assert found.apart is None or found.gain_ratio < 0


def test_short_prompts_share_a_step() -> None:
    """Sixteen tokens to read and to write: with one prompt a step it would carry a third."""
    found = dc.decide(fleet(DENSE), work(16, 16, 1.0, 0.02))

    assert found.together is not None
    assert found.together.chunk_tokens >= 8 * 16
    assert found.gain_ratio < 0.3


def test_no_split_is_a_total_loss() -> None:
    """Where only together holds the objectives, the gain of apart is minus all, not nothing."""
    found = dc.decide(decoding_on("L40S"), LONG)

    assert found.together is not None
    assert (None, -1.0) == (found.apart, found.gain_ratio)

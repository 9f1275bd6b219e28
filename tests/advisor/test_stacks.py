"""Serving software by name, and what its mechanisms do to a step."""

from __future__ import annotations

from dataclasses import replace

import pytest

from advisor.catalog import stacks
from advisor.catalog.accelerators import ACCELERATORS, BY_NAME
from advisor.catalog.models import MODELS, Format
from advisor.models import closed_loop, phases
from advisor.models.replica import (
    BALANCED_RANKS,
    EARLY_ROCM,
    MODERN,
    PREFILL_FIRST,
    Layout,
    Replica,
)
from advisor.plan.disaggregate import DisaggregateOptions, disaggregate
from advisor.plan.report import Report
from ridgeline.errors import Misconfigured

MI300X = BY_NAME["MI300X"]
ASKED = {"requests_per_second": 2, "prompt_tokens": 2000, "output_tokens": 300}


def test_every_release_has_a_name_and_a_source() -> None:
    """Names are unique; only eager engines and DeepSpeed-MII go without captured graphs."""
    assert len(stacks.RELEASES) == len(stacks.BY_NAME)
    assert {"eager", "mii"} == {r.name for r in stacks.RELEASES if not r.captured_graphs}
    assert all(r.source.cited and r.versions for r in stacks.RELEASES)


def test_the_default_is_eager_only_where_measurements_say_so() -> None:
    """Experts on Gaudi; everything else has captured graphs."""
    found = {
        (a.stack, model): stacks.default(a, MODELS[model]).name
        for a in ACCELERATORS
        for model in ("llama3-70b", "glm-4.5")
    }

    assert {("SynapseAI", "glm-4.5")} == {key for key, name in found.items() if name == "eager"}


@pytest.mark.parametrize(
    ("software", "version", "device", "name", "assumed"),
    [
        ("vLLM", "0.24.0", "H100-SXM", "vllm", ""),
        ("vLLM", "1.2", "H100-SXM", "vllm", ""),
        ("vLLM", "0.12.0rc1", "H100-SXM", "vllm", ""),
        ("vLLM", "0.11.2", "H100-SXM", "vllm-0.11", ""),
        ("vLLM", "v0.8.5.post1+cu121", "H100-SXM", "vllm-0.11", ""),
        ("vLLM", "0.6.3.post1", "H100-SXM", "vllm-0.6", ""),
        ("vLLM", "0.6.1", "MI300X", "vllm-0.6-rocm", ""),
        ("vLLM", "0.6.1", "H100-SXM", "vllm-0.6", ""),
        ("vLLM", "0.6.3", "MI300X", "vllm-0.6", ""),
        ("vLLM", "0.2.7", "H100-SXM", "vllm-0.6", "0.2.7 is not described: nearest assumed"),
        ("vLLM", "", "MI300X", "vllm", "version unknown: newest of vLLM assumed"),
        ("vLLM", "0.1.dev1+g1a2b3c", "H100-SXM", "vllm", "version unknown"),
        ("SGLang", "0.5.12", "H100-SXM", "sglang", ""),
        ("SGLang", "0.4.6", "H100-SXM", "sglang", "0.4.6 is not described"),
        ("SGLang", "", "H100-SXM", "sglang", "newest of SGLang assumed"),
        ("TensorRT-LLM", "1.2.0", "B200-SXM", "trtllm", ""),
        ("TGI", "3.3.0", "H100-SXM", "vllm", "no release of TGI is described: newest of platform"),
        ("", "", "H100-SXM", "vllm", "no server says what it runs: newest of platform assumed"),
    ],
)
def test_the_release_of_what_runs(
    software: str, version: str, device: str, name: str, assumed: str
) -> None:
    """By name and version as servers say them; what is not known is assumed, and that is said."""
    found = stacks.running(software, version, BY_NAME[device], MODELS["llama3-70b"])

    assert name == found.release.name
    assert bool(assumed) is bool(found.assumed)
    assert assumed in found.assumed


def test_experts_on_gaudi_stay_eager_whatever_runs() -> None:
    """The measurements that say so are of vLLM itself."""
    found = stacks.running("vLLM", "0.24.0", BY_NAME["Gaudi3"], MODELS["glm-4.5"])

    assert ("eager", "") == (found.release.name, found.assumed)


def test_a_plan_takes_the_engine_by_name() -> None:
    """Without graphs the same engines carry less; an unknown name is answered with those known."""
    new, old = (
        disaggregate(DisaggregateOptions.checked(ASKED | {"engine": name}))
        for name in ("vllm", "eager")
    )

    def carried(report: Report) -> float:
        table = report.tables[0]
        return float(table.rows[0][table.columns.index("requests/s in objectives")] or 0)

    assert carried(old) < 0.9 * carried(new)
    with pytest.raises(Misconfigured, match="did you mean vllm"):
        DisaggregateOptions.checked(ASKED | {"engine": "vlm"})


def test_attention_by_query_heads_knows_no_groups() -> None:
    """On MI300X vLLM 0.6.1 was no faster for 8B (4 heads a group) than for 7B (ungrouped).

    Argonne's runs of 16 x 1,024/1,024 took 14.9 and 14.6 s there, 11.0 and 13.2 s on H100.
    """

    def step(model: str, grouped: bool) -> float:  # noqa: FBT001 - a parameter
        stack = replace(EARLY_ROCM, grouped_caches=grouped)
        one = Replica(model=MODELS[model], accelerator=MI300X, stack=stack)
        return float(phases.decode_step_seconds(one, 16, 1536))

    assert step("llama3-8b", grouped=False) == pytest.approx(step("llama2-7b", False), rel=0.05)
    assert step("llama3-8b", grouped=True) < 0.8 * step("llama2-7b", True)


@pytest.mark.parametrize(("batch", "gain"), [(8, 1.08), (16, 1.35), (32, 1.55)])
def test_a_paged_attention_for_rocm(batch: int, gain: float) -> None:
    """Pull request 8310 of vLLM, llama2-70b, 512/512: what its kernel brought, within 13 %."""

    def seconds(kernel: bool) -> float:  # noqa: FBT001 - a parameter
        new = replace(EARLY_ROCM, grouped_caches=True, cache_bandwidth_ratio=1.0)
        stack = new if kernel else EARLY_ROCM
        one = Replica(
            model=MODELS["llama2-70b"], accelerator=MI300X, layout=Layout(tensor=2), stack=stack
        )
        prompts = phases.prefill_seconds(one, 512, prompts=batch)
        return float(prompts + 512 * phases.decode_step_seconds(one, batch, 768))

    assert gain == pytest.approx(seconds(kernel=False) / seconds(kernel=True), rel=0.13)


def test_balanced_ranks_hold_prompts_back() -> None:
    """A prompt waits for one on every rank: 60 steps in a quiet engine, less in a busy one."""
    one = Replica(
        model=MODELS["deepseek-v3"],
        accelerator=BY_NAME["B200-SXM"],
        layout=Layout(data=8, expert=8),
    )
    held = replace(one, stack=BALANCED_RANKS)

    def extra(batch: float) -> float:
        first = closed_loop.ttft_seconds(held, batch, 1024, 1024)
        entry = BALANCED_RANKS.entry_seconds - MODERN.entry_seconds
        wait = first - closed_loop.ttft_seconds(one, batch, 1024, 1024) - entry
        return float(wait / closed_loop.tpot_seconds(held, batch, 1024, 1024))

    assert extra(16) == pytest.approx(60, rel=1e-6)
    assert extra(512) == pytest.approx(16, rel=1e-6)
    single = replace(held, layout=Layout(tensor=8, expert=8))
    plain = replace(single, stack=replace(BALANCED_RANKS, rank_wait_steps=0.0))
    assert closed_loop.ttft_seconds(single, 16, 1024, 1024) == closed_loop.ttft_seconds(
        plain, 16, 1024, 1024
    )


def test_waves_of_one_length_stay_together_where_prompts_come_first() -> None:
    """SGLang, answers of one length: half a wave is waited for before first tokens, not after."""
    one = Replica(
        model=MODELS["qwen3-32b"],
        accelerator=BY_NAME["H100-SXM"],
        layout=Layout(tensor=4),
        stack=PREFILL_FIRST,
    )
    asked = (64, 2048, 512)

    first = [float(closed_loop.ttft_seconds(one, *asked, alike=a)) for a in (False, True)]
    between = [float(closed_loop.tpot_seconds(one, *asked, alike=a)) for a in (False, True)]
    step = float(phases.decode_step_seconds(one, 64, 2048 + 256))

    assert first[1] > 3 * first[0]
    assert between[1] - step == pytest.approx((between[0] - step) / 2)
    mixed = replace(one, stack=MODERN)
    assert closed_loop.ttft_seconds(mixed, *asked) == closed_loop.ttft_seconds(
        mixed, *asked, alike=True
    )


def test_an_engine_that_looks_rarely_for_requests_lets_them_wait() -> None:
    """Half of 30 steps instead of half of one, and behind what came meanwhile."""
    one = Replica(
        model=MODELS["deepseek-v3"],
        accelerator=BY_NAME["B200-SXM"],
        layout=Layout(tensor=8, expert=8),
        weights=Format.FP8,
        stack=PREFILL_FIRST,
    )
    rare = replace(one, stack=replace(PREFILL_FIRST, poll_steps=30))

    wait = closed_loop.ttft_seconds(rare, 64, 1024, 1024)
    wait -= closed_loop.ttft_seconds(one, 64, 1024, 1024)
    steps = wait / phases.decode_step_seconds(one, 64, 1536)

    assert 14.5 < float(steps) < 20
    assert closed_loop.tpot_seconds(rare, 64, 1024, 1024) == closed_loop.tpot_seconds(
        one, 64, 1024, 1024
    )

"""What must hold of every accelerator, model and layout that fits, whatever the figures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from advisor.catalog import stacks
from advisor.catalog.accelerators import ACCELERATORS, Accelerator
from advisor.catalog.models import MODELS, Format, Model
from advisor.models import closed_loop, phases
from advisor.models.replica import Layout, Replica

KNOWN = [a for a in ACCELERATORS if a.bf16_tflops and a.bandwidth_tb_s]
LAYOUTS = (
    Layout(),
    Layout(tensor=2),
    Layout(tensor=4),
    Layout(tensor=8),
    Layout(tensor=4, pipeline=2),
    Layout(data=8, expert=8),
    Layout(tensor=8, expert=8),
)
BATCHES = np.array([1, 2, 3, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048], dtype=np.float64)
CONTEXTS = np.array([1, 128, 1000, 4000, 32_000, 128_000], dtype=np.float64)
SLACK = 1 + 1e-9
LARGE_PARAMS = 4e9  # on one GPU; below it launches are longer than products


def fitting(accelerator: Accelerator, model: Model, layout: Layout) -> Replica | None:
    """The engine, or None where it cannot be or its weights leave no room."""
    spread = layout.expert > 1 and model.experts is None
    if spread or model.heads % layout.tensor or layout.gpus > accelerator.scale_up_devices:
        return None
    one = Replica(model=model, accelerator=accelerator, layout=layout)
    return one if phases.fits(one) else None


@st.composite
def engines(draw: st.DrawFn) -> Replica:
    """Any engine of the catalogue whose weights fit."""
    accelerator = draw(st.sampled_from(KNOWN))
    model = MODELS[draw(st.sampled_from(sorted(MODELS)))]
    found = [r for at in LAYOUTS if (r := fitting(accelerator, model, at)) is not None]
    assume(found)
    return draw(st.sampled_from(found))


def held(one: Replica, tokens: float = 2048) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Batches that the cache holds, at least one sequence."""
    return BATCHES[: max(1, int(np.sum(phases.most_sequences(one, tokens) >= BATCHES)))]


@settings(max_examples=150, deadline=None)
@given(engines())
def test_more_sequences_bring_more_tokens_and_longer_steps(one: Replica) -> None:
    """Until the cache is full, in decode pools and in closed loops; a step never gets shorter."""
    batches = held(one)
    steps = phases.decode_step_seconds(one, batches, 2048)
    closed = closed_loop.tokens_per_second(one, batches, 1000, 500)

    assert (np.diff(steps) >= 0).all()
    assert (np.diff(batches / steps) > 0).all()
    assert (np.diff(closed) > -1e-9 * closed[1:]).all()


@settings(max_examples=150, deadline=None)
@given(engines(), st.sampled_from([1.0, 8.0, 100.0]))
def test_longer_contexts_take_longer(one: Replica, batch: float) -> None:
    """A step by its context, a prompt by its length and by what of it is cached, first tokens."""
    steps = phases.decode_step_seconds(one, batch, CONTEXTS)
    prompts = phases.prefill_seconds(one, CONTEXTS)
    first = closed_loop.ttft_seconds(one, held(one), 1000, 500)

    assert (np.diff(steps) >= 0).all()
    assert (np.diff(prompts) >= 0).all()  # short ones are bound by launches
    assert phases.prefill_seconds(one, 4000, cached_tokens=3000) <= prompts[3]
    assert (np.diff(first) >= 0).all()


@settings(max_examples=200, deadline=None)
@given(
    engines(),
    st.sampled_from(["bandwidth_tb_s", "bf16_tflops", "fp8_tflops", "link_gb_s"]),
    st.floats(1.01, 4),
)
def test_more_of_anything_is_never_slower(one: Replica, field: str, factor: float) -> None:
    """Bandwidth, arithmetic, links."""
    value = getattr(one.accelerator, field)
    assume(value is not None)
    kind = one.wires[0].link
    more = replace(one, accelerator=replace(one.accelerator, **{field: value * factor}))
    assume(more.wires[0].link is kind)  # past a link's kind another law begins
    batches = held(one)

    assert (
        phases.decode_step_seconds(more, batches, 2048)
        <= SLACK * phases.decode_step_seconds(one, batches, 2048)
    ).all()
    assert phases.prefill_seconds(more, 2000) <= SLACK * phases.prefill_seconds(one, 2000)


@settings(max_examples=150, deadline=None)
@given(engines())
def test_tensor_parallelism_never_beats_linear(one: Replica) -> None:
    """Of n GPUs each step takes at least an n-th of the time, were the weights to fit on one."""
    layout = one.layout
    assume(layout.gpus == layout.tensor > 1)
    single = replace(one, layout=Layout())
    batches = held(one)

    assert (
        SLACK * layout.tensor * phases.decode_step_seconds(one, batches, 2048)
        >= phases.decode_step_seconds(single, batches, 2048)
    ).all()
    assert SLACK * layout.tensor * phases.prefill_seconds(one, 2000) >= phases.prefill_seconds(
        single, 2000
    )


@settings(max_examples=150, deadline=None)
@given(engines())
def test_energy_of_a_token(one: Replica) -> None:
    """Positive, finite, no more in a larger batch; power between a tenth and all of the limit."""
    assume(one.accelerator.power_w)
    batches = held(one)
    joules = closed_loop.joules_per_token(one, batches, 1000, 500)
    watts = closed_loop.power_watts(one, batches, 1000, 500) / one.gpus

    assert np.isfinite(joules).all()
    assert (joules > 0).all()
    assert (np.diff(joules) <= 1e-9).all()
    assert (watts > 0.1 * (one.accelerator.power_w or 0)).all()
    assert (watts <= SLACK * (one.accelerator.power_w or 0)).all()


@pytest.mark.parametrize("accelerator", [a for a in KNOWN if a.fp8_tflops], ids=lambda a: a.name)
def test_eight_bit_is_no_slower_than_sixteen(accelerator: Accelerator) -> None:
    """Dense models with 4 billion parameters a GPU and more: within 5 %, on Gaudi 3 within 15 %.

    There one peak serves both. Below that size a product is its launch, and an 8 bit one, which
    quantises its input first, was measured to start later (7 against 4 us); experts too.
    """
    slower = []
    for model in (m for m in MODELS.values() if m.experts is None):
        for layout in LAYOUTS[:4]:
            one = fitting(accelerator, model, layout)
            if one is None or model.params / layout.tensor < LARGE_PARAMS:
                continue
            wide, narrow = replace(one, weights=Format.BF16), replace(one, weights=Format.FP8)
            if not phases.fits(wide):
                continue
            batches, lengths = held(wide), np.array([128.0, 1000.0, 8000.0])
            slower.append(
                max(
                    np.max(
                        phases.decode_step_seconds(narrow, batches, 2048)
                        / phases.decode_step_seconds(wide, batches, 2048)
                    ),
                    np.max(
                        phases.prefill_seconds(narrow, lengths)
                        / phases.prefill_seconds(wide, lengths)
                    ),
                )
            )

    assert slower
    assert max(slower) <= (1.15 if accelerator.name == "Gaudi3" else 1.05)


@settings(max_examples=100, deadline=None)
@given(engines(), st.sampled_from(stacks.RELEASES))
def test_no_software_is_faster_than_the_newest(one: Replica, release: stacks.Release) -> None:
    """Graphs, asynchronous scheduling, grouped attention: what an older stack lacks only costs."""
    old = replace(one, stack=release.stack)
    batches = held(one)

    assert (
        SLACK * phases.decode_step_seconds(old, batches, 2048)
        >= phases.decode_step_seconds(one, batches, 2048)
    ).all()

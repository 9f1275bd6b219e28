"""Concurrency, engines, cache and cost of a mix of queries, against a measured engine."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.catalog.accelerators import BY_NAME
from advisor.catalog.models import MODELS
from advisor.models import bottleneck as bn
from advisor.models import closed_loop, scenarios, sizing, token_sources
from advisor.models import concurrency as con
from advisor.models.interval import exactly, of
from advisor.models.replica import EARLY_GRAPHS, MODERN, Layout, Replica, Stack
from advisor.models.token_fits import histogram_of, lognormal_of
from advisor.models.tokens import Histogram
from advisor.models.traffic import Kind, Traffic, mixed, with_share
from tests import published

RTX4090 = "llmservingsim/RTX4090_Llama-3.1-8B"
CHAT = Kind(name="chat", share=0.9, prompt_tokens=1000, answer=Histogram((0, 200, 600), (3, 1)))
THINK = Kind(
    name="think", share=0.1, prompt_tokens=500, answer=Histogram((500, 4000, 16000), (3, 1))
)


def engine(**changes: float) -> con.Engine:
    """An engine with round numbers: 10 ms a step and 0.1 ms for every sequence in it."""
    made = con.Engine(
        gpus=8,
        kv_capacity_tokens=400_000,
        max_sequences=256,
        step_seconds=lambda batch, _context: 0.010 + 0.0001 * batch,
        prefill_seconds=lambda tokens: tokens * 20e-6,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # test data: checked at run time


def service(**changes: float) -> sizing.Service:
    """That engine at 2 USD a GPU-hour."""
    return sizing.Service(engine=engine(**changes), usd_per_gpu_hour=2.0)


def test_a_measured_engine_runs_as_many_as_foretold() -> None:
    """RTX 4090, Llama-3.1-8B, vLLM 0.19 under 300 ShareGPT requests: sequences, TPOT and rate.

    Measured with a full cache: 34 sequences on average, 32.4 ms a token, 1.63 requests/s. The step
    time here is speed of light with the small engine's prior, not fitted to this run.
    """
    with published.data(f"{RTX4090}/requests.jsonl").open() as lines:
        requests = [json.loads(line) for line in lines]
    series = published.table(f"{RTX4090}/timeseries.csv")
    prompts = np.array([r["input_toks"] for r in requests], dtype=float)
    answers = token_sources.from_samples([r["output_toks"] for r in requests])
    mix = mixed([Kind(name="all", share=1, prompt_tokens=float(prompts.mean()), answer=answers)])
    rtx = con.Engine(
        gpus=1,
        kv_capacity_tokens=41_408,  # meta.json, num_kv_tokens
        max_sequences=256,
        # 1.008 TB/s and 165 TFLOP/s dense bf16: NVIDIA Ada architecture white paper
        step_seconds=lambda b, ctx: 1.5e-3 + (16.06e9 + b * ctx * 131_072) / 1.008e12 / 0.91,
        prefill_seconds=lambda tokens: 5e-3 + 2 * 8.03e9 * tokens / (165e12 * 0.8),
    )

    top = con.ceiling(rtx, mix)

    queued = series[:, 4] >= 1
    assert top.limit is con.Limit.KV_CACHE
    assert float(series[queued, 3].mean()) == pytest.approx(top.sequences, rel=0.03)
    assert 0.0324 == pytest.approx(top.tpot_seconds, rel=0.08)
    assert 1.634 == pytest.approx(top.queries_per_second, rel=0.08)


def test_the_measured_engine_is_diagnosed_as_kv_bound() -> None:
    """KV cache 98.5 % in the median, 49 of 256 sequences at most, 234 waiting: KV-cache-bound."""
    series = published.table(f"{RTX4090}/timeseries.csv")

    found = bn.diagnose(series[:, 3], series[:, 4], series[:, 5] / 100, 256)

    assert found.bottleneck is bn.Bottleneck.KV_CACHE
    assert (49, 234) == (found.running_max, found.waiting_max)
    assert 0.985 == pytest.approx(found.kv_ratio_median or 0, abs=0.005)


@pytest.mark.parametrize(
    ("running", "waiting", "kv", "cap", "verdict"),
    [
        (40, 100, 0.99, 256, bn.Bottleneck.KV_CACHE),
        (256, 100, 0.60, 256, bn.Bottleneck.SEQUENCES),
        (40, 100, 0.30, 256, bn.Bottleneck.COMPUTE),
        (40, 0, 0.99, 256, bn.Bottleneck.NONE),
        (40, 100, 0.0, 256, bn.Bottleneck.UNKNOWN),  # zeros: the gauge was not recorded
        (40, 100, None, 256, bn.Bottleneck.UNKNOWN),
        (40, 100, 0.30, None, bn.Bottleneck.UNKNOWN),
        (math.nan, 100, 0.99, 256, bn.Bottleneck.UNKNOWN),
    ],
)
def test_what_keeps_the_queue_waiting(
    running: float, waiting: float, kv: float | None, cap: float | None, verdict: bn.Bottleneck
) -> None:
    """Cache, cap or compute, from gauges; what is not exported is unknown, never a guess."""
    ones = np.ones(30)
    cache = None if kv is None else kv * ones

    found = bn.diagnose(running * ones, waiting * ones, cache, cap)

    assert found.bottleneck is verdict
    assert found.why


def test_means_are_judged_as_series_are() -> None:
    """A queue with 95 % of the cap running is cap-bound; a cache gauge of zero says nothing."""
    assert bn.judge(1.0, 244, 0.5, 256)[0] is bn.Bottleneck.SEQUENCES
    assert bn.judge(1.0, 100, 0.0, 256)[0] is bn.Bottleneck.UNKNOWN
    assert bn.judge(0.1, 100, 0.99, 256)[0] is bn.Bottleneck.NONE


def test_gauges_must_belong_together() -> None:
    """Series of different lengths are an error."""
    with pytest.raises(ValueError, match="differ"):
        bn.diagnose([1, 2], [1], None, 8)


def test_a_query_in_flight_is_longer_than_one_that_arrives() -> None:
    """A tenth of reasoning queries holds most of the cache: 10 % of arrivals, 85 % of tokens."""
    mix = mixed([CHAT, THINK])

    thinking = 0.1 * THINK.answer.mean / mix.tokens_per_query
    assert thinking > 0.7
    assert mix.kv_tokens_per_sequence > 0.9 * CHAT.prompt_tokens + 0.1 * THINK.prompt_tokens
    assert mix.service_cv > 1


def test_samples_share_their_prompt() -> None:
    """Four samples of equal length hold the prompt once: a quarter of it for each sequence."""
    even = Kind(name="x", share=1, prompt_tokens=1000, answer=Histogram((99, 101), (1,)))
    once, four = mixed([even]), mixed([replace(even, samples=4)])

    assert 1000 + 50 == pytest.approx(once.kv_tokens_per_sequence, rel=0.01)
    assert 250 + 50 == pytest.approx(four.kv_tokens_per_sequence, rel=0.01)
    assert 1000 + 50 == pytest.approx(four.context_tokens, rel=0.01)  # attention reads it 4 times
    assert 4 * once.tokens_per_query == pytest.approx(four.tokens_per_query)


def test_the_fixed_point_is_littles_law() -> None:
    """Sequences = rate x tokens after the first x TPOT, prefill taking its share of the time."""
    mix = mixed([CHAT, THINK])
    top = con.ceiling(engine(), mix)
    state = con.steady_state(engine(), mix, top.queries_per_second / 2, top.sequences)

    assert state is not None
    little = state.queries_per_second * mix.decode_steps_per_query * state.tpot_seconds
    assert little == pytest.approx(state.sequences, rel=1e-6)
    assert state.tpot_seconds > 0.010 + 0.0001 * state.sequences
    assert con.steady_state(engine(), mix, top.queries_per_second * 1.01, top.sequences) is None


@given(st.floats(0.001, 0.999), st.floats(0, 1))
def test_more_traffic_runs_more_at_once(share_of_top: float, thinking: float) -> None:
    """Sequences and TPOT rise with the rate and stay below the ceiling's, whatever the mix."""
    mix = mixed(with_share([CHAT, THINK], "think", thinking))
    top = con.ceiling(engine(), mix)
    rate = share_of_top * top.queries_per_second
    some = con.steady_state(engine(), mix, rate, top.sequences)
    less = con.steady_state(engine(), mix, rate / 2, top.sequences)

    assert some is not None
    assert less is not None
    assert less.sequences < some.sequences <= top.sequences
    assert less.tpot_seconds <= some.tpot_seconds <= top.tpot_seconds * (1 + 1e-9)


def test_each_limit_is_named() -> None:
    """A small cache, a small cap, a tight objective: each ends it, and nothing fits in nothing."""
    mix = mixed([CHAT, THINK])

    assert con.ceiling(engine(kv_capacity_tokens=50_000), mix).limit is con.Limit.KV_CACHE
    assert con.ceiling(engine(max_sequences=8), mix).limit is con.Limit.SEQUENCES
    tight = con.ceiling(engine(), mix, slo_tpot_seconds=0.013)
    assert tight.limit is con.Limit.TPOT
    assert tight.tpot_seconds == pytest.approx(0.013)
    assert con.ceiling(engine(), mix, slo_tpot_seconds=0.005).sequences == 0
    assert con.ceiling(engine(kv_capacity_tokens=100), mix).queries_per_second == 0


def test_sizing_of_nothing_and_of_the_impossible() -> None:
    """No traffic takes no engine; an objective below one step is refused; inf is an error."""
    mix = mixed([CHAT])
    impossible = replace(service(), objectives=sizing.Objectives(tpot_seconds=0.001))

    nothing = sizing.size(0, mix, service())
    assert nothing is not None
    assert (0, 0, 0.0) == (nothing.engines, nothing.gpus, nothing.usd_per_hour)
    assert sizing.size(1, mix, impossible) is None
    with pytest.raises(ValueError, match="queries_per_second=inf"):
        sizing.size(math.inf, mix, service())
    with pytest.raises(ValueError, match="share=-1"):
        mixed([replace(CHAT, share=-1)])
    with pytest.raises(ValueError, match="share above 0"):
        mixed([replace(CHAT, share=0)])


@settings(deadline=None, max_examples=40)
@given(st.floats(0.01, 300), st.floats(0, 1), st.floats(0, 6))
def test_sizings_hold_what_they_promise(rate: float, thinking: float, arrival_cv: float) -> None:
    """Load and cache are within bounds; the cost of all queries is the cost of the GPUs."""
    mix = mixed(with_share([CHAT, THINK], "think", thinking))
    found = sizing.size(rate, mix, replace(service(), arrival_cv=arrival_cv))

    assert found is not None
    assert 0 < found.load_ratio <= 0.8 + 1e-9
    assert found.kv_tokens <= found.kv_tokens_p99 <= found.engines * 400_000
    assert found.usd_per_query * rate * 3600 == pytest.approx(found.usd_per_hour)
    mid, p95, p99 = found.by_quantile
    assert mid.tokens <= p95.tokens <= p99.tokens
    assert mid.usd <= p95.usd <= p99.usd
    assert mid.seconds <= p95.seconds <= p99.seconds


def test_mean_cost_is_the_cost_of_the_mean_query() -> None:
    """Equal queries: each quantile costs what a query costs on average."""
    even = Kind(name="x", share=1, prompt_tokens=1000, answer=Histogram((499, 501), (1,)))
    found = sizing.size(20, mixed([even]), service())

    assert found is not None
    assert [found.usd_per_query] * 3 == pytest.approx([q.usd for q in found.by_quantile], rel=0.01)


def test_bursty_arrivals_need_more_engines() -> None:
    """CV 6 between arrivals asks for more than Poisson; samples in groups count as bursts too."""
    mix = mixed([replace(CHAT, share=1)])
    calm = sizing.size(40, mix, replace(service(max_sequences=16), arrival_cv=1))
    bursty = sizing.size(40, mix, replace(service(max_sequences=16), arrival_cv=6))

    assert calm is not None
    assert bursty is not None
    assert bursty.engines > calm.engines
    assert bursty.kv_tokens_p99 / bursty.kv_tokens > calm.kv_tokens_p99 / calm.kv_tokens


def test_best_of_n_costs_n_and_waits_for_the_longest() -> None:
    """Four samples a query: about four times the money, less than twice the p99 latency."""
    one = sizing.size(10, mixed([THINK]), service())
    four = sizing.size(10, mixed([replace(THINK, samples=4)]), service())

    assert one is not None
    assert four is not None
    assert 3 < four.usd_per_query / one.usd_per_query < 4.5
    assert four.by_quantile[-1].seconds < 2 * one.by_quantile[-1].seconds
    assert four.by_quantile[0].seconds > one.by_quantile[0].seconds


def test_reasoning_traffic_from_a_tenth_to_a_half() -> None:
    """About four times the GPUs and cache at the same rate; the median query waits for thought."""
    change = scenarios.shift_share([CHAT, THINK], "think", (0.1, 0.5), 50, service())

    assert change is not None
    assert 3 < change.gpus_ratio < 5
    assert 3 < change.kv_ratio < 5
    assert change.usd_per_query_ratio == pytest.approx(change.gpus_ratio)
    assert change.after.by_quantile[0].tokens > 3 * change.before.by_quantile[0].tokens


@given(st.floats(0, 1))
def test_other_kinds_make_room(share: float) -> None:
    """After a change of one share all shares add up to 1 and the others keep their proportion."""
    kinds = [CHAT, THINK, replace(CHAT, name="code", share=0.3)]
    chat, think, code = with_share(kinds, "think", share)

    assert chat.share + think.share + code.share == pytest.approx(1)
    assert chat.share == pytest.approx(3 * code.share)
    assert think.share == share


def test_shares_of_what_there_is() -> None:
    """Unknown kinds and shares outside 0..1 are named; an only kind cannot give room."""
    with pytest.raises(ValueError, match="'code'"):
        with_share([CHAT], "code", 0.5)
    with pytest.raises(ValueError, match=r"share=1\.5"):
        with_share([CHAT, THINK], "think", 1.5)
    with pytest.raises(ValueError, match="only kind"):
        with_share([CHAT], "chat", 0.5)


def test_doubt_about_rate_and_speed_is_an_interval() -> None:
    """13 % of doubt in the step and a range of rates: low < likely < high, in whole engines."""
    found = scenarios.size_range(of(20, 30, 45), mixed([CHAT, THINK]), service())

    assert found is not None
    assert found.engines.low < found.engines.mid < found.engines.high
    assert found.likely.engines == found.engines.mid
    assert found.gpus.mid == 8 * found.engines.mid
    sure = scenarios.size_range(exactly(30), mixed([CHAT, THINK]), service(), 0.0)
    assert sure is not None
    assert sure.engines.low == sure.engines.high


def test_r1_day_on_b200s() -> None:
    """ServeGen's R1 day, 16 queries/s of 2,133 tokens: the order of MLPerf's B200 count.

    MLPerf v5.1 DeepSeek-R1 Server gives 2,324 tokens/s a B200: 15 GPUs at the mean, 40 at peak.
    """
    rows = published.table("servegen-deepseek-r1/hist_output_tokens.csv").tolist()
    answers = token_sources.from_buckets((a, b, c) for a, b, c in rows)
    mix = mixed([Kind(name="r1", share=1, prompt_tokens=1576, answer=answers)])
    replica = Replica(
        model=MODELS["deepseek-v3"],
        accelerator=BY_NAME["B200-SXM"],
        layout=Layout(data=8, expert=8),
    )
    made = sizing.Service(
        engine=con.of_replica(replica),
        usd_per_gpu_hour=4.89,
        objectives=sizing.Objectives(tpot_seconds=0.08),  # MLPerf's limit for this benchmark
    )

    mean, peak = sizing.size(16.0, mix, made), sizing.size(42.5, mix, made)

    assert 34_200 == pytest.approx(16.0 * mix.tokens_per_query, rel=0.01)
    assert mean is not None
    assert peak is not None
    assert 16 <= mean.gpus <= 32  # 19 at MLPerf's rate and the 80 % load that sizing keeps to
    assert 40 <= peak.gpus <= 64  # 49 likewise
    assert 0 <= mean.oversized_share < 0.001


def test_gpus_for_a_token_rate() -> None:
    """R1 at MLPerf's 2,324 tokens/s a B200: 15 GPUs at the mean, 40 at the peak, 0 for none."""
    assert (15, 40) == tuple(sizing.gpus_for_tokens(r * 2133, 2324) for r in (16.0, 42.5))
    assert 49 == sizing.gpus_for_tokens(42.5 * 2133, 2324, most_load_ratio=0.8)
    assert 0 == sizing.gpus_for_tokens(0, 2324)
    with pytest.raises(ValueError, match="need > 0"):
        sizing.gpus_for_tokens(1, 0)


def test_an_engine_without_prefill_is_a_decode_engine() -> None:
    """A replica of a disaggregated decode pool carries more queries than one that prefills too."""
    replica = Replica(
        model=MODELS["llama3-70b"], accelerator=BY_NAME["H100-SXM"], layout=Layout(tensor=8)
    )
    mix = mixed([replace(CHAT, prompt_tokens=6000)])

    both = con.ceiling(con.of_replica(replica), mix)
    decode = con.ceiling(con.of_replica(replica, prefills=False), mix)

    assert both.queries_per_second < decode.queries_per_second


ENGINES = (
    ("llama3-70b", "H100-SXM", Layout(tensor=8)),
    ("llama3-8b", "H100-SXM", Layout()),
    ("deepseek-v3", "B200-SXM", Layout(data=8, expert=8)),
    ("gpt-oss-120b", "H100-SXM", Layout(data=2, expert=2)),
)


@pytest.mark.parametrize(("model", "accelerator", "layout"), ENGINES)
@pytest.mark.parametrize("lengths", [(16, 16), (128, 128), (1000, 200), (1000, 1000), (8000, 200)])
def test_an_engine_carries_what_a_closed_loop_does(
    model: str, accelerator: str, layout: Layout, lengths: tuple[int, int]
) -> None:
    """Two ways to the same figure; the closed loop is held against 3,500 measured runs.

    Short prompts share a step and data ranks prefill side by side: counted one by one, an engine
    carried a fifth (DeepSeek, 1,000/200: 10.6 queries/s, 25 to 41 in the closed loop).
    """
    prompt, output = lengths
    replica = Replica(model=MODELS[model], accelerator=BY_NAME[accelerator], layout=layout)
    answer = histogram_of(lognormal_of(output, 0.05))
    mix = mixed([Kind(name="all", share=1, prompt_tokens=prompt, answer=answer)])
    top = con.ceiling(con.of_replica(replica), mix, 0.1)
    closed = closed_loop.tokens_per_second(replica, top.sequences, prompt, output) / output

    assert float(closed) == pytest.approx(top.queries_per_second, rel=0.16)


@pytest.mark.parametrize(
    ("accelerator", "stack", "ranks", "most"),
    [
        ("H100-SXM", MODERN, 1, 1024),
        ("MI300X", MODERN, 1, 1024),
        ("A100-SXM-80G", MODERN, 1, 256),
        ("L40S", MODERN, 1, 256),
        ("H100-SXM", EARLY_GRAPHS, 1, 256),
        ("H100-SXM", MODERN, 8, 8192),
    ],
)
def test_the_cap_of_sequences_is_the_one_vllm_takes(
    accelerator: str, stack: Stack, ranks: int, most: int
) -> None:
    """get_batch_defaults of vllm/engine/arg_utils.py: by memory, A100 apart, for each data rank."""
    layout = Layout(data=ranks, expert=ranks)
    one = Replica(
        model=MODELS["gpt-oss-120b"], accelerator=BY_NAME[accelerator], layout=layout, stack=stack
    )

    assert most == con.default_max_sequences(one)


def even(tokens: int, prompt_tokens: float) -> Traffic:
    """Queries that are all alike."""
    answer = Histogram((tokens - 0.5, tokens + 0.5), (1,))
    return mixed([Kind(name="x", share=1, prompt_tokens=prompt_tokens, answer=answer)])


@pytest.mark.parametrize("at", ENGINES)
@settings(deadline=None, max_examples=8)
@given(
    prompt=st.floats(50, 12_000),
    rate=st.floats(0.5, 200),
    slo=st.sampled_from((0.03, 0.05, 0.1, math.inf)),
    arrival_cv=st.sampled_from((1.0, 3.0)),
)
def test_longer_answers_never_take_fewer_engines(
    at: tuple[str, str, Layout], prompt: float, rate: float, slo: float, arrival_cv: float
) -> None:
    """From 1 to 64 tokens: engines only rise, and no length asks for what a longer one can have."""
    model, accelerator, layout = at
    replica = Replica(model=MODELS[model], accelerator=BY_NAME[accelerator], layout=layout)
    made = sizing.Service(
        engine=con.of_replica(replica),
        usd_per_gpu_hour=2.0,
        objectives=sizing.Objectives(tpot_seconds=slo),
        arrival_cv=arrival_cv,
    )
    found = [sizing.size(rate, even(tokens, prompt), made) for tokens in range(1, 65)]
    engines = [one.engines if one else math.inf for one in found]

    assert engines == sorted(engines)
    assert engines[0] < math.inf


@given(st.floats(100, 8000), st.floats(0.01, 0.99))
def test_the_first_token_comes_out_of_the_prefill(prompt: float, load: float) -> None:
    """One token takes prefill alone, two take one step more, whatever the objective of steps."""
    own = engine(max_sequences=64)
    one, two = even(1, prompt), even(2, prompt)
    prefill = own.prefill_seconds(prompt)
    top = con.ceiling(own, one, 0.001)
    state = con.steady_state(own, two, load / (prefill + 0.0101), 1.0)

    assert top.limit is con.Limit.PREFILL
    assert top.queries_per_second == pytest.approx(1 / prefill)
    assert 1 / con.carried_queries_per_second(own, two, 1.0) == pytest.approx(prefill + 0.0101)
    assert state is not None
    assert state.tpot_seconds == pytest.approx(0.0101 / (1 - state.prefill_ratio), rel=1e-6)


def test_prompts_do_not_take_slots() -> None:
    """Prompts that fill an engine leave one decoding now and then, and yet 64 may at a moment."""
    own, mix = engine(max_sequences=64, kv_capacity_tokens=1e6), even(2, 8000)
    top = con.ceiling(own, mix, 0.05)

    assert top.sequences < 1
    assert top.limit is con.Limit.TPOT
    assert con.slots(own, mix, 0.5 * top.queries_per_second, 0.05) == 64
    assert con.slots(own, mix, top.queries_per_second, 0.05) == pytest.approx(1, abs=0.01)
    assert con.ceiling(own, mix, 0.005).sequences == 0


@pytest.mark.parametrize("at", ENGINES[:3])
@settings(deadline=None, max_examples=15)
@given(
    asked=st.tuples(st.floats(0.5, 100), st.floats(50, 12_000), st.floats(0.03, 0.1)),
    tokens=st.sampled_from((1, 2, 8, 200, 1000)),
    more=st.floats(1, 4),
)
def test_more_of_anything_takes_no_fewer_engines(
    at: tuple[str, str, Layout], asked: tuple[float, float, float], tokens: int, more: float
) -> None:
    """Queries, prompt tokens, burstiness, a tighter objective: each takes as many or more."""
    model, accelerator, layout = at
    replica = Replica(model=MODELS[model], accelerator=BY_NAME[accelerator], layout=layout)
    serving = con.of_replica(replica)

    def engines(rate: float, prompt: float, slo: float, arrival_cv: float = 1.0) -> float:
        made = sizing.Service(
            engine=serving,
            usd_per_gpu_hour=2.0,
            objectives=sizing.Objectives(tpot_seconds=slo),
            arrival_cv=arrival_cv,
        )
        found = sizing.size(rate, even(tokens, prompt), made)
        return found.engines if found else math.inf

    rate, prompt, slo = asked
    least = engines(rate, prompt, slo)

    assert least <= engines(rate * more, prompt, slo)
    assert least <= engines(rate, prompt * more, slo)
    assert least <= engines(rate, prompt, slo / more)
    assert least <= engines(rate, prompt, slo, arrival_cv=more)

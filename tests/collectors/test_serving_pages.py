"""LLM servers over real HTTP."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.prometheus_text import counted, engines_of, quantiles
from collectors.protocol import Batch
from collectors.serving import Serving, create, metrics_url
from ridgeline.errors import Misconfigured, Reject, Retry
from ridgeline.schema import MISSING_COUNTER, MISSING_STATE, length_columns
from ridgeline.settings import CollectSettings
from tests.collectors.pages import Pages, serve_pages, sglang, tgi, trtllm, vllm_v0, vllm_v1


@pytest.fixture
def pages() -> Iterator[Pages]:
    """A real HTTP server."""
    with serve_pages() as found:
        yield found


def collector_of(*urls: str, pool: str = "unknown") -> Serving:
    """A collector of these addresses."""
    given_ = {"host": "node07", "serving": urls, "serving_pool": pool, "timeout_seconds": 5}
    return create(CollectSettings.model_validate(given_))


def by_name(batch: Batch) -> dict[str, dict[str, float]]:
    """Rows as dicts by the name of their device."""
    names = {item.device: item.name for item in batch.inventory}
    ((schema, rows),) = batch.frames
    return {
        names[int(row["device"])]: {c.name: row[c.name].item() for c in schema.columns}
        for row in rows
    }


def test_vllm_v1(pages: Pages) -> None:
    """Names of the v1 engine."""
    pages.text["/metrics"] = vllm_v1()
    row = by_name(collector_of(pages.base, pool="decode").collect(1))[f"{pages.base}#llama/0"]

    expected = {
        "requests_running": 12,
        "requests_waiting": 3,
        "kv_cache_usage_ratio": pytest.approx(0.83),
        "preemptions": 7,
        "prompt_tokens": 1_500_000,
        "generation_tokens": 42_000,
        "prefix_cache_queries": 1000,
        "prefix_cache_hits": 250,
        "requests_finished": 95,
        "requests_failed": 5,
        "ttft_us": 15_000_000,
        "ttft_count": 100,
        "tpot_us": 2_500_000,
        "prefill_us": 1_250_000,
        "decode_us": MISSING_COUNTER,
        "engine": 1,
        "role": 3,
    }
    assert {name: row[name] for name in expected} == expected
    assert math.isnan(row["ttft_p50_seconds"])  # all of it may be days old
    assert math.isnan(row["max_batch_requests"])


def test_quantiles_of_what_is_new(pages: Pages) -> None:
    """Quantiles come from the growth of the buckets since the last run."""
    collector = collector_of(f"{pages.base}/metrics")
    pages.text["/metrics"] = vllm_v1(step=1)
    collector.collect(1)
    pages.text["/metrics"] = vllm_v1(step=2)
    (row,) = by_name(collector.collect(2)).values()
    (idle,) = by_name(collector.collect(3)).values()

    assert row["ttft_p50_seconds"] == pytest.approx(0.15)
    assert row["ttft_p99_seconds"] == pytest.approx(0.199)
    assert row["tpot_p50_seconds"] == pytest.approx(0.01)
    assert row["tpot_p99_seconds"] == pytest.approx(0.05)  # past the last bound: that bound
    assert row["prompt_tokens_p50"] == pytest.approx(1500)
    # 200 prompts between 1,000 and 2,000 tokens since the server started
    lengths = [int(row[name]) for name in length_columns("prompt")]
    assert lengths == [0] * 5 + [200] * 7
    assert {MISSING_COUNTER} == {int(row[name]) for name in length_columns("output")}
    assert math.isnan(row["output_tokens_p50"])
    assert math.isnan(idle["ttft_p50_seconds"])


def test_vllm_v0(pages: Pages) -> None:
    """Names of the v0 engine, which has no engine label."""
    pages.text["/metrics"] = vllm_v0()
    row = by_name(collector_of(pages.base).collect(1))[f"{pages.base}#llama/0"]

    assert row["kv_cache_usage_ratio"] == 0.5
    assert (row["requests_running"], row["prompt_tokens"]) == (2, 100)
    assert (row["tpot_us"], row["tpot_count"]) == (50_000, 10)
    assert row["prefix_cache_hits"] == MISSING_COUNTER
    assert row["role"] == MISSING_STATE


def test_sglang(pages: Pages) -> None:
    """SGLang: tensor-parallel ranks are one engine, and token counts belong to it."""
    pages.text["/metrics"] = sglang()
    row = by_name(collector_of(pages.base).collect(1))[f"{pages.base}#qwen/0"]

    expected = {
        "requests_running": 5,
        "requests_waiting": 1,
        "kv_cache_usage_ratio": 0.25,
        "prompt_tokens": 900,
        "prefix_cache_queries": 900,
        "prefix_cache_hits": 90,
        "generation_tokens": 300,
        "requests_finished": 4,
        "ttft_us": 2_000_000,
        "engine": 2,
    }
    assert {name: row[name] for name in expected} == expected


def test_tensorrt_llm(pages: Pages) -> None:
    """What trtllm-serve shows; queue and tokens, which it does not, stay unknown."""
    pages.text["/prometheus/metrics"] = trtllm()
    url = f"{pages.base}/prometheus/metrics"
    row = by_name(collector_of(url).collect(1))[f"{pages.base}/prometheus#llama/0"]

    assert (4, 9, 4) == (row["engine"], row["requests_finished"], row["ttft_count"])
    assert row["kv_cache_usage_ratio"] == pytest.approx(0.62)
    assert math.isnan(row["requests_waiting"])
    assert MISSING_COUNTER == row["prompt_tokens"]


def test_tgi(pages: Pages) -> None:
    """Tokens of TGI are sums over finished requests; it has no time to first token."""
    pages.text["/metrics"] = tgi()
    row = by_name(collector_of(pages.base).collect(1))[f"{pages.base}#/0"]

    assert (5, 7, 2) == (row["engine"], row["requests_running"], row["requests_waiting"])
    assert (3600, 800, 4) == (
        row["prompt_tokens"],
        row["generation_tokens"],
        row["requests_finished"],
    )
    assert MISSING_COUNTER == row["ttft_count"]


def software(collector: Serving) -> set[tuple[str, str | None]]:
    """Engine and version that every device of a run has."""
    batch = collector.collect(1)
    return {(i.attributes["engine"], i.attributes.get("version")) for i in batch.inventory}


@pytest.mark.parametrize(
    ("page", "metrics", "path", "engine"),
    [
        (vllm_v1(), "/metrics", "/version", "vLLM"),
        (sglang(), "/metrics", "/server_info", "SGLang"),
        (sglang(), "/metrics", "/get_server_info", "SGLang"),
        (trtllm(), "/prometheus/metrics", "/version", "TensorRT-LLM"),
        (tgi(), "/metrics", "/info", "TGI"),
    ],
)
def test_servers_say_their_version(
    pages: Pages, page: str, metrics: str, path: str, engine: str
) -> None:
    """Each where it shows it; the inventory carries it."""
    pages.text |= {metrics: page, path: '{"version": "0.12.0rc1+cu130", "more": 1}'}

    assert {(engine, "0.12.0rc1+cu130")} == software(collector_of(pages.base + metrics))


@pytest.mark.parametrize(
    "answer", [None, "rubbish", "[]", '{"version": 12}', '{"version": "a b"}', '{"name": "x"}']
)
def test_a_version_that_is_none_is_left_out(pages: Pages, answer: str | None) -> None:
    """No answer, or another than a version, costs nothing but the version."""
    pages.text["/metrics"] = vllm_v1()
    if answer is not None:
        pages.text["/version"] = answer

    assert {("vLLM", None)} == software(collector_of(pages.base))


def test_a_server_that_comes_back_is_asked_again(pages: Pages) -> None:
    """It may be another release; while it stays it is asked once in ten minutes."""
    pages.text |= {"/metrics": vllm_v1(), "/version": '{"version": "0.11.0"}'}
    collector = collector_of(pages.base)
    before = software(collector)
    pages.text["/version"] = '{"version": "0.12.0"}'
    meanwhile = software(collector)
    page = pages.text.pop("/metrics")
    with pytest.raises(Retry):
        collector.collect(1)
    pages.text["/metrics"] = page

    assert {("vLLM", "0.11.0")} == before == meanwhile
    assert {("vLLM", "0.12.0")} == software(collector)


def test_engines_and_models_of_one_page(pages: Pages) -> None:
    """Each engine of each model is a device."""
    page = vllm_v1(engine=0) + vllm_v1(engine=1) + vllm_v1(model="qwen")
    pages.text["/metrics"] = page
    found = by_name(collector_of(pages.base).collect(1))

    assert sorted(found) == [f"{pages.base}#{n}" for n in ("llama/0", "llama/1", "qwen/0")]
    assert {row["requests_running"] for row in found.values()} == {12}


def test_one_server_fails_alone(pages: Pages) -> None:
    """Servers that are away, show something else or rubbish do not hide the one that works."""
    pages.text["/good/metrics"] = vllm_v1()
    pages.text["/other/metrics"] = "go_goroutines 5\n"
    pages.text["/rubbish/metrics"] = "vllm:num_requests_running{ 1\n"
    names = ("none", "other", "rubbish", "good")
    batch = collector_of(*(f"{pages.base}/{n}" for n in names), "http://127.0.0.1:1").collect(1)

    assert list(by_name(batch)) == [f"{pages.base}/good#llama/0"]


def test_all_servers_fail(pages: Pages) -> None:
    """When none answers the run has failed, and says why."""
    with pytest.raises(Retry, match=r"/metrics: Client error '404 Not Found'"):
        collector_of(pages.base).collect(1)


def test_a_server_that_comes_back(pages: Pages) -> None:
    """After a failure the next run reads again."""
    collector = collector_of(pages.base)
    with pytest.raises(Retry):
        collector.collect(1)
    pages.text["/metrics"] = vllm_v1()

    assert len(collector.collect(2).inventory) == 1


def test_address() -> None:
    """A base address gets its /metrics; anything but http is refused by name."""
    assert metrics_url("http://a:8000/") == "http://a:8000/metrics"
    assert metrics_url("https://a/x/metrics") == "https://a/x/metrics"
    with pytest.raises(Misconfigured, match="RIDGELINE_COLLECT_SERVING"):
        metrics_url("a:8000")


def test_text_that_is_not_prometheus() -> None:
    """Rubbish is refused with the parser's reason."""
    with pytest.raises(Reject, match="Prometheus text"):
        engines_of("vllm:x{ 1\n", "vllm:")


counts = st.lists(st.integers(0, 50), min_size=2, max_size=6)


@given(old=counts, new=counts)
def test_quantiles_stay_within_the_bounds(old: list[int], new: list[int]) -> None:
    """Any two readings of a growing histogram: ordered quantiles within its finite bounds."""
    size = min(len(old), len(new))
    bounds = [float(k + 1) for k in range(size - 1)] + [math.inf]
    before = dict(zip(bounds, _cumulative(old[:size]), strict=True))
    growth = _cumulative(new[:size])
    now = {b: before[b] + g for b, g in zip(bounds, growth, strict=True)}
    p50, p99 = quantiles(before, now, (0.5, 0.99))

    if growth[-1] == 0:
        assert math.isnan(p50)
        assert math.isnan(p99)
    else:
        assert 0 <= p50 <= p99 <= size - 1


def test_quantiles_after_a_restart() -> None:
    """A server that restarted counts from zero: all it shows is new."""
    assert quantiles({1.0: 90, math.inf: 90}, {1.0: 10, math.inf: 10}, (0.5,)) == [0.5]


def _cumulative(values: list[int]) -> list[float]:
    return [float(sum(values[: k + 1])) for k in range(len(values))]


def test_lengths_are_counted_at_our_bounds_whatever_the_page_has() -> None:
    """Equal bounds as they are; between two, in proportion; past the last one, at the next."""
    page = {100.0: 10.0, 300.0: 30.0, 700.0: 40.0, math.inf: 44.0}

    assert [10, 20, 35, 44, 44] == counted(page, (100, 200, 500, 1000))

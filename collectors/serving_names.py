"""What LLM servers call the numbers of the serving family: vLLM, SGLang, TensorRT-LLM and TGI.

Without the prefix of the server; the first spelling that a page has is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

Names = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One server's spellings, column by column."""

    title: str
    prefix: str
    engine: int  # SERVING.engine
    gauges: Names  # summed over the page
    ratios: Names  # the largest on the page, 0..1
    counters: Names
    seconds: Names  # column in microseconds <- sum of seconds
    quantiles: Names  # columns `<name>_p50<unit>`, `<name>_p99<unit>` <- histogram
    finished: str  # counter labelled by finished_reason, or empty
    version_paths: tuple[str, ...]  # beside the metrics page: JSON with a `version`


_TTFT = ("time_to_first_token_seconds",)
_TPOT = ("inter_token_latency_seconds", "time_per_output_token_seconds")
_TPOT_VLLM = (*_TPOT, "request_time_per_output_token_seconds")


def _table(**names: tuple[str, ...]) -> Names:
    return MappingProxyType(names)


def _with(names: tuple[str, ...], ending: str) -> tuple[str, ...]:
    return tuple(name + ending for name in names)


VLLM = Dialect(
    title="vLLM",
    prefix="vllm:",
    engine=1,
    gauges=_table(
        requests_running=("num_requests_running",), requests_waiting=("num_requests_waiting",)
    ),
    ratios=_table(kv_cache_usage_ratio=("kv_cache_usage_perc", "gpu_cache_usage_perc")),
    counters=_table(
        prompt_tokens=("prompt_tokens_total",),
        generation_tokens=("generation_tokens_total",),
        preemptions=("num_preemptions_total",),
        prefix_cache_queries=("prefix_cache_queries_total", "gpu_prefix_cache_queries_total"),
        prefix_cache_hits=("prefix_cache_hits_total", "gpu_prefix_cache_hits_total"),
        ttft_count=_with(_TTFT, "_count"),
        tpot_count=_with(_TPOT_VLLM, "_count"),
        kv_transfer_bytes=("nixl_bytes_transferred_sum",),
    ),
    seconds=_table(
        ttft_us=_with(_TTFT, "_sum"),
        tpot_us=_with(_TPOT_VLLM, "_sum"),
        e2e_us=("e2e_request_latency_seconds_sum",),
        queue_us=("request_queue_time_seconds_sum",),
        prefill_us=("request_prefill_time_seconds_sum",),
        decode_us=("request_decode_time_seconds_sum",),
    ),
    quantiles=_table(
        ttft=_TTFT,
        tpot=_TPOT_VLLM,
        prompt_tokens=("request_prompt_tokens",),
        output_tokens=("request_generation_tokens",),
    ),
    finished="request_success_total",
    version_paths=("/version",),
)
SGLANG = Dialect(
    title="SGLang",
    prefix="sglang:",
    engine=2,
    gauges=_table(requests_running=("num_running_reqs",), requests_waiting=("num_queue_reqs",)),
    ratios=_table(kv_cache_usage_ratio=("token_usage",)),
    counters=_table(
        prompt_tokens=("prompt_tokens_total",),
        generation_tokens=("generation_tokens_total",),
        requests_finished=("num_requests_total",),
        requests_failed=("num_aborted_requests_total",),
        preemptions=("num_retracted_requests_total", "num_retracted_reqs_total"),
        prefix_cache_hits=("cached_tokens_total",),
        ttft_count=_with(_TTFT, "_count"),
        tpot_count=_with(_TPOT, "_count"),
    ),
    seconds=_table(
        ttft_us=_with(_TTFT, "_sum"),
        tpot_us=_with(_TPOT, "_sum"),
        e2e_us=("e2e_request_latency_seconds_sum",),
        queue_us=("queue_time_seconds_sum",),
    ),
    quantiles=_table(
        ttft=_TTFT,
        tpot=_TPOT,
        prompt_tokens=("prompt_tokens_histogram",),
        output_tokens=("generation_tokens_histogram",),
    ),
    finished="",
    version_paths=("/server_info", "/get_server_info"),
)
# trtllm-serve (`/prometheus/metrics`) and Dynamo's workers export no queue and no token counts:
# what follows of them stays unknown
TENSORRT_LLM = Dialect(
    title="TensorRT-LLM",
    prefix="trtllm_",
    engine=4,
    gauges=_table(),
    ratios=_table(kv_cache_usage_ratio=("kv_cache_utilization",)),
    counters=_table(ttft_count=_with(_TTFT, "_count"), tpot_count=_with(_TPOT, "_count")),
    seconds=_table(
        ttft_us=_with(_TTFT, "_sum"),
        tpot_us=_with(_TPOT, "_sum"),
        e2e_us=("e2e_request_latency_seconds_sum",),
        queue_us=("request_queue_time_seconds_sum",),
    ),
    quantiles=_table(ttft=_TTFT, tpot=_TPOT),
    finished="request_success_total",
    version_paths=("/version",),
)
# TGI has no time to first token; tokens are those of finished requests
TGI = Dialect(
    title="TGI",
    prefix="tgi_",
    engine=5,
    gauges=_table(requests_running=("batch_current_size",), requests_waiting=("queue_size",)),
    ratios=_table(),
    counters=_table(
        prompt_tokens=("request_input_length_sum",),
        generation_tokens=("request_generated_tokens_sum",),
        requests_finished=("request_success",),
        requests_failed=("request_failure",),
    ),
    seconds=_table(e2e_us=("request_duration_sum",), queue_us=("request_queue_duration_sum",)),
    quantiles=_table(
        tpot=("request_mean_time_per_token_duration",),
        prompt_tokens=("request_input_length",),
        output_tokens=("request_generated_tokens",),
    ),
    finished="",
    version_paths=("/info",),
)
DIALECTS = (VLLM, SGLANG, TENSORRT_LLM, TGI)
FAILED_REASONS = frozenset({"abort", "error"})

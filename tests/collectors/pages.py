"""A real HTTP server that shows metrics pages, and pages as vLLM and SGLang write them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Pages:
    """What each path of the server shows; a path that is not there is a 404."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.text: dict[str, str] = {}


@contextlib.contextmanager
def serve_pages() -> Iterator[Pages]:
    """A server on a free port of loopback."""
    pages: Pages

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = pages.text.get(self.path)
            self.send_response(404 if text is None else 200)
            self.end_headers()
            self.wfile.write((text or "").encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    pages = Pages(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield pages
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def histogram(name: str, labels: str, counts: dict[str, float], total: float) -> str:
    """Text of a histogram with cumulative `counts` by upper bound."""
    lines = [f"# TYPE {name} histogram"]
    lines += [f'{name}_bucket{{{labels},le="{le}"}} {count}' for le, count in counts.items()]
    lines += [f"{name}_sum{{{labels}}} {total}", f"{name}_count{{{labels}}} {counts['+Inf']}"]
    return "\n".join(lines) + "\n"


def vllm_v1(model: str = "llama", engine: int = 0, step: int = 1) -> str:
    """Page of a v1 engine after `step` rounds of 100 requests."""
    labels = f'engine="{engine}",model_name="{model}"'
    ttft = {"0.1": 0.0, "0.2": 100.0 * step, "+Inf": 100.0 * step}
    itl = {"0.01": 50.0 * step, "0.05": 90.0 * step, "+Inf": 100.0 * step}
    prompt = {"1000.0": 0.0, "2000.0": 100.0 * step, "+Inf": 100.0 * step}
    return (
        f"""# HELP vllm:num_requests_running Requests in execution.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{{labels}}} 12.0
vllm:num_requests_waiting{{{labels}}} 3.0
vllm:kv_cache_usage_perc{{{labels}}} 0.83
vllm:num_preemptions_total{{{labels}}} 7.0
vllm:prompt_tokens_total{{{labels}}} 1.5e+06
vllm:generation_tokens_total{{{labels}}} 42000.0
vllm:prefix_cache_queries_total{{{labels}}} 1000.0
vllm:prefix_cache_hits_total{{{labels}}} 250.0
vllm:request_success_total{{{labels},finished_reason="stop"}} 80.0
vllm:request_success_total{{{labels},finished_reason="length"}} 15.0
vllm:request_success_total{{{labels},finished_reason="abort"}} 4.0
vllm:request_success_total{{{labels},finished_reason="error"}} 1.0
process_resident_memory_bytes 1.0
"""
        + histogram("vllm:time_to_first_token_seconds", labels, ttft, 15.0 * step)
        + histogram("vllm:inter_token_latency_seconds", labels, itl, 2.5 * step)
        + histogram("vllm:request_prompt_tokens", labels, prompt, 150000.0 * step)
        + f"vllm:request_prefill_time_seconds_sum{{{labels}}} 1.25\n"
    )


def vllm_v0(model: str = "llama") -> str:
    """Page of a v0 engine: no engine label, older names."""
    labels = f'model_name="{model}"'
    tpot = {"0.01": 10.0, "+Inf": 10.0}
    return f"""vllm:num_requests_running{{{labels}}} 2.0
vllm:num_requests_waiting{{{labels}}} 0.0
vllm:gpu_cache_usage_perc{{{labels}}} 0.5
vllm:cpu_cache_usage_perc{{{labels}}} 0.0
vllm:gpu_prefix_cache_hit_rate{{{labels}}} -1.0
vllm:prompt_tokens_total{{{labels}}} 100.0
""" + histogram("vllm:time_per_output_token_seconds", labels, tpot, 0.05)


def sglang(model: str = "qwen") -> str:
    """Page of an SGLang server: scheduler ranks with labels, token counts without."""
    rank = f'model_name="{model}",engine_type="unified",pp_rank="0"'
    ttft = {"0.1": 1.0, "+Inf": 4.0}
    return f"""sglang:num_running_reqs{{{rank},tp_rank="0"}} 5.0
sglang:num_running_reqs{{{rank},tp_rank="1"}} 5.0
sglang:num_queue_reqs{{{rank},tp_rank="0"}} 1.0
sglang:token_usage{{{rank},tp_rank="0"}} 0.25
sglang:cache_hit_rate{{{rank},tp_rank="0"}} 0.1
sglang:prompt_tokens_total{{model_name="{model}"}} 900.0
sglang:cached_tokens_total{{model_name="{model}"}} 90.0
sglang:generation_tokens_total{{model_name="{model}"}} 300.0
sglang:num_requests_total{{model_name="{model}"}} 4.0
""" + histogram("sglang:time_to_first_token_seconds", f'model_name="{model}"', ttft, 2.0)


def trtllm(model: str = "llama") -> str:
    """Page of trtllm-serve (`/prometheus/metrics`): latencies and cache, no queue, no tokens."""
    labels = f'model_name="{model}",engine_type="trtllm"'
    ttft = {"0.1": 1.0, "+Inf": 4.0}
    return f"""trtllm_request_success_total{{{labels},finished_reason="stop"}} 9.0
trtllm_kv_cache_utilization{{{labels}}} 0.62
trtllm_kv_cache_hit_rate{{{labels}}} 0.38
""" + histogram("trtllm_time_to_first_token_seconds", labels, ttft, 2.0)


def tgi() -> str:
    """Page of text-generation-inference: no model name, counters without an ending."""
    lengths = {"1000": 3.0, "+Inf": 4.0}
    return (
        """tgi_batch_current_size 7
tgi_queue_size 2
tgi_request_success{method="batch"} 4
"""
        + histogram("tgi_request_input_length", 'a="b"', lengths, 3600.0)
        + histogram("tgi_request_generated_tokens", 'a="b"', lengths, 800.0)
    )

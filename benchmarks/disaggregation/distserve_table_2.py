"""DistServe's table 2 from what its repository publishes: its requests, its profile, its scheduler.

    python -m benchmarks.disaggregation.distserve_table_2 CHECKOUT

CHECKOUT is a copy of https://github.com/LLMServe/DistServe at 20a1633. Answers how near anyone can
come to the table with kernels that were measured for it, which is what to hold a model against.
"""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

WORKLOADS = "simdistserve/benchmarks/alignment/data-ground-truth/opt-13b-sharegpt-workload"
PROFILES = "simdistserve/estimators/profile_data/profiler-a100-80g"
TTFT_SECONDS, TPOT_SECONDS = 0.2, 0.1

# requests/s a GPU, attainment of vLLM and of DistServe-Low, real runs, %
TABLE = (
    (1.0, 97.0, 100.0),
    (1.5, 65.5, 100.0),
    (2.0, 52.8, 99.3),
    (2.5, 44.9, 87.3),
    (3.0, 36.7, 83.0),
    (3.5, 27.8, 77.3),
    (4.0, 23.6, 70.0),
)


@dataclass(frozen=True, slots=True)
class Requests:
    """In order of arrival."""

    seconds: Floats
    prompt_tokens: Floats
    output_tokens: Floats


class Profile:
    """Step times of OPT-13B on A100, milliseconds as fitted by DistServe's profiler."""

    def __init__(self, checkout: Path, engine: str, tensor: int) -> None:
        text = Path(f"{checkout / PROFILES}.{engine}.json").read_text(encoding="utf-8")
        self.of = json.loads(text)["facebook/opt-13b"][str(tensor)]

    def prefill_seconds(self, prompts: Floats) -> float:
        """One step of whole prompts."""
        start, token, square = self.of["prefill"]
        return float(start + token * prompts.sum() + square * (prompts**2).sum()) / 1e3

    def decode_seconds(self, contexts: Floats) -> float:
        """One token of each sequence."""
        large = len(contexts) >= self.of["decoding_large_small_bs_threshold"]
        start, token, sequence = self.of["decoding_largebs" if large else "decoding_smallbs"]
        return float(start + token * contexts.sum() + sequence * len(contexts)) / 1e3


def load(checkout: Path, name: str) -> Requests:
    """A workload of its alignment runs."""
    rows = json.loads((checkout / WORKLOADS / f"{name}.exp").read_text(encoding="utf-8"))
    columns = ("start_time", "prompt_len", "output_len")
    return Requests(*(np.array([row[c] for row in rows], float) for c in columns))


def serve(
    work: Requests,
    prefill_seconds: Callable[[Floats], float],
    decode_seconds: Callable[[Floats], float],
) -> tuple[Floats, Floats]:
    """Moments of each request's first and last token on one engine.

    All prompts that wait are one step and go before any decoding (vLLM of 2023).
    """
    count = len(work.seconds)
    first, last = np.full(count, np.inf), np.full(count, np.inf)
    order = deque(np.argsort(work.seconds, kind="stable").tolist())
    running = np.empty(0, int)
    made = np.ones(count)
    now = 0.0
    while order or len(running):
        arrived = []
        while order and work.seconds[order[0]] <= now:
            arrived.append(order.popleft())
        if arrived:
            now += prefill_seconds(work.prompt_tokens[arrived])
            first[arrived] = now
            running = np.concatenate([running, arrived])
        elif len(running):
            now += decode_seconds(work.prompt_tokens[running] + made[running] + 1)
            made[running] += 1
        else:
            now = float(work.seconds[order[0]])
        done = made[running] >= work.output_tokens[running]
        last[running[done]] = now
        running = running[~done]
    return first, last


def attained_percent(work: Requests, first: Floats, last: Floats) -> float:
    """Share of requests within both objectives."""
    tpot = (last - first) / np.maximum(work.output_tokens - 1, 1)
    kept = (first - work.seconds < TTFT_SECONDS) & (tpot < TPOT_SECONDS)
    return 100 * float(kept.mean())


def vllm(checkout: Path, rate: float) -> float:
    """One GPU, 100 seconds of arrivals."""
    work = load(checkout, f"vllm-{round(100 * rate)}-{rate:g}")
    engine = Profile(checkout, "vllm", 1)
    return attained_percent(work, *serve(work, engine.prefill_seconds, engine.decode_seconds))


def low(checkout: Path, rate: float) -> float:
    """DistServe-Low: two GPUs prefill, one decodes; 300 requests at three times the rate."""
    work = load(checkout, f"distserve-c21d11-300-{3 * rate:g}")
    prefill, decode = Profile(checkout, "distserve", 2), Profile(checkout, "distserve", 1)
    one_token = Requests(work.seconds, work.prompt_tokens, np.ones_like(work.seconds))
    first, _ = serve(one_token, prefill.prefill_seconds, decode.decode_seconds)
    handed = Requests(first, work.prompt_tokens, work.output_tokens)
    _, last = serve(handed, lambda _: 0.0, decode.decode_seconds)
    return attained_percent(work, first, last)


def main() -> None:
    """Print the table, and the mean difference past its first row."""
    checkout = Path(sys.argv[1])
    print("req/s/GPU   vLLM: real  profile   DistServe-Low: real  profile")
    off = []
    for rate, real, real_low in TABLE:
        found, found_low = vllm(checkout, rate), low(checkout, rate)
        off.append((abs(found - real), abs(found_low - real_low)))
        print(f"{rate:9.1f} {real:12.1f} {found:8.1f} {real_low:21.1f} {found_low:8.1f}")
    of_vllm, of_low = np.mean(off[1:], axis=0)
    print(f"mean difference past {TABLE[0][0]}: {of_vllm:.1f} and {of_low:.1f} points")


if __name__ == "__main__":
    main()

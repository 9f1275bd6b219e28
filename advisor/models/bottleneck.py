"""What keeps a serving engine's queue waiting, from the gauges it exports over time."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike

VERSION = "bottleneck/1"
WAITING_SHARE = 0.5
"""Share of the time with a queue from which on the engine is called full."""
KV_FULL_RATIO = 0.90
AT_CAP_RATIO = 0.95
LEAST_SAMPLES = 5


class Bottleneck(StrEnum):
    """Why requests wait."""

    KV_CACHE = "kv_cache"
    SEQUENCES = "sequences"
    COMPUTE = "compute"  # neither cache nor cap is reached: steps or prompts are too slow
    NONE = "none"
    UNKNOWN = "unknown"  # the gauges do not say


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The verdict with the numbers it rests on, of the time with a queue (all of it without)."""

    bottleneck: Bottleneck
    waiting_share: float
    kv_ratio_median: float | None
    running_median: float
    running_max: float
    waiting_max: float
    max_sequences: float | None
    why: str


def diagnose(
    running: ArrayLike,
    waiting: ArrayLike,
    kv_ratio: ArrayLike | None,
    max_sequences: float | None,
) -> Diagnosis:
    """The verdict over samples at even steps of time.

    Args:
        running: Sequences in the batch; NaN where not read.
        waiting: Sequences in the queue.
        kv_ratio: Share of KV blocks in use, 0..1; all zeros while something runs is "not recorded"
            (seen on vLLM runs of LLMServingSim's RTX PRO 6000), None likewise.
        max_sequences: The engine's cap (`max_num_seqs`), None when it is not known.
    """
    run, wait = np.asarray(running, dtype=float), np.asarray(waiting, dtype=float)
    cache = np.full(run.shape, np.nan) if kv_ratio is None else np.asarray(kv_ratio, dtype=float)
    if run.shape != wait.shape or run.shape != cache.shape:
        raise ValueError(
            f"running {run.shape}, waiting {wait.shape}, kv_ratio {cache.shape}: differ"
        )
    known = np.isfinite(run) & np.isfinite(wait)
    run, wait, cache = run[known], wait[known], cache[known]
    if run.size < LEAST_SAMPLES:
        return _verdict(Bottleneck.UNKNOWN, run, wait, None, max_sequences, "too few samples")
    full = wait >= 1
    seen = full if full.any() else np.ones(run.shape, dtype=bool)
    used = cache[seen & np.isfinite(cache)]
    recorded = bool(used.size and (used > 0).any())
    median = float(np.median(used)) if recorded else None
    bottleneck, why = judge(float(full.mean()), float(np.median(run[seen])), median, max_sequences)
    return _verdict(bottleneck, run, wait, median, max_sequences, why)


def judge(
    waiting_share: float, running: float, kv_ratio: float | None, max_sequences: float | None
) -> tuple[Bottleneck, str]:
    """The verdict and its reason from values of the time with a queue.

    Args:
        waiting_share: Share of the time with a queue.
        running: Sequences in the batch.
        kv_ratio: Share of KV blocks in use; None or 0 while something runs is not recorded.
        max_sequences: The cap; None is not known.
    """
    kv_median = kv_ratio or None
    cap = max_sequences
    if waiting_share < WAITING_SHARE:
        return Bottleneck.NONE, f"a queue for {waiting_share:.0%} of the time only"
    if kv_median is not None and kv_median >= KV_FULL_RATIO:
        return Bottleneck.KV_CACHE, f"{kv_median:.1%} of the KV cache in use while requests wait"
    if cap is not None and running >= AT_CAP_RATIO * cap:
        return Bottleneck.SEQUENCES, f"as many sequences run as the engine allows ({cap:g})"
    if kv_median is None or cap is None:
        missing = "KV cache use" if kv_median is None else "the cap of sequences"
        return Bottleneck.UNKNOWN, f"{missing} is not exported"
    return Bottleneck.COMPUTE, f"KV cache at {kv_median:.0%}, sequences below the cap of {cap:g}"


def _verdict(  # noqa: PLR0917 - private, called twice
    bottleneck: Bottleneck,
    running: np.ndarray[tuple[int], np.dtype[np.float64]],
    waiting: np.ndarray[tuple[int], np.dtype[np.float64]],
    kv_median: float | None,
    cap: float | None,
    why: str,
) -> Diagnosis:
    some = bool(running.size)
    return Diagnosis(
        bottleneck=bottleneck,
        waiting_share=float((waiting >= 1).mean()) if some else 0.0,
        kv_ratio_median=kv_median,
        running_median=float(np.median(running)) if some else 0.0,
        running_max=float(running.max()) if some else 0.0,
        waiting_max=float(waiting.max()) if some else 0.0,
        max_sequences=cap,
        why=why,
    )

"""Serving software by name: which engine, since and until which version, on what, and its source.

What each adds to the kernels is a `Stack` of `advisor.models.replica`; here is which to take.
"""

from __future__ import annotations

from dataclasses import dataclass

from advisor.catalog.accelerators import Accelerator
from advisor.catalog.files import Source
from advisor.catalog.models import Model
from advisor.models import replica
from advisor.models.replica import Stack


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One span of an engine's versions, as an operator would name it."""

    name: str
    stack: Stack
    engine: str
    versions: str
    captured_graphs: bool
    source: Source


_SILICON = Source(title="own fit to aiconfigurator-core 0.12.0, silicon samples", as_of="2026-04")
RELEASES: tuple[Release, ...] = (
    Release(
        name="vllm",
        stack=replica.MODERN,
        engine="vLLM, asynchronous scheduling",
        versions="0.12 and later",
        captured_graphs=True,
        source=_SILICON,
    ),
    Release(
        name="sglang",
        stack=replica.PREFILL_FIRST,
        engine="SGLang",
        versions="0.5 and later",
        captured_graphs=True,
        source=_SILICON,
    ),
    Release(
        name="trtllm",
        stack=replica.BALANCED_RANKS,
        engine="TensorRT-LLM, PyTorch backend",
        versions="1.0 and later",
        captured_graphs=True,
        source=Source(
            title="TensorRT-LLM, AttentionDpConfig; SemiAnalysisAI/InferenceX, timeout_iters: 60",
            as_of="2026-09",
        ),
    ),
    Release(
        name="vllm-0.11",
        stack=replica.SYNCHRONOUS,
        engine="vLLM, V1 engine without asynchronous scheduling",
        versions="0.8 to 0.11",
        captured_graphs=True,
        source=Source(title="own fit to the ML.ENERGY leaderboard, vLLM 0.11", as_of="2025-11"),
    ),
    Release(
        name="vllm-0.6",
        stack=replica.EARLY_GRAPHS,
        engine="vLLM, V0 engine, CUDA",
        versions="0.4 to 0.7",
        captured_graphs=True,
        source=Source(title="own fit to argonne-lcf/LLM-Inference-Bench@ae7e7a4", as_of="2024-10"),
    ),
    Release(
        name="vllm-0.6-rocm",
        stack=replica.EARLY_ROCM,
        engine="vLLM of vllm-project on ROCm, not AMD's fork",
        versions="before 0.6.2",
        captured_graphs=True,
        source=Source(
            title="vllm-project/vllm pull request 8310; argonne-lcf/LLM-Inference-Bench@dc89c73",
            as_of="2024-09",
        ),
    ),
    Release(
        name="eager",
        stack=replica.EAGER,
        engine="PyTorch without captured graphs: engines of 2023, enforce_eager, vLLM on Gaudi",
        versions="any",
        captured_graphs=False,
        source=Source(title="own fit to Mutinifni/splitwise-sim@8f99e7d", as_of="2023-11"),
    ),
)
BY_NAME = {r.name: r for r in RELEASES}


def default(accelerator: Accelerator, model: Model) -> Release:
    """The newest engine of the accelerator's platform, eager where only that meets measurements.

    Experts on Gaudi (InferenceX, GLM-4.7 under vLLM on Gaudi 3) are 1.6 to 2.2 times slower than
    eager kernels already, 3 to 5 times slower than captured ones; dense models on Gaudi run as
    captured ones do, within 10 to 20 %.
    """
    eager = accelerator.stack == "SynapseAI" and model.experts is not None
    return BY_NAME["eager" if eager else "vllm"]


def of(name: str | None, accelerator: Accelerator, model: Model) -> Stack:
    """The stack of that name, or the default where none was named."""
    return (BY_NAME[name] if name is not None else default(accelerator, model)).stack

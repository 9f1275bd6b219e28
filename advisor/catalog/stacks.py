"""Serving software by name: which engine, since and until which version, on what, and its source.

What each adds to the kernels is a `Stack` of `advisor.models.replica`; here is which to take.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import zip_longest

from advisor.catalog.accelerators import Accelerator
from advisor.catalog.files import Source
from advisor.catalog.models import Model
from advisor.models import replica
from advisor.models.replica import Stack

Version = tuple[int, ...]
VLLM, SGLANG, TENSORRT_LLM = "vLLM", "SGLang", "TensorRT-LLM"
"""Names of engines as collectors write them (`collectors/serving_names.py`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One span of an engine's versions, as an operator would name it.

    `software` runs it from version `since` up to, not with, `before`; empty where any does. `on` is
    the platform it is particular to, else it is of every one.
    """

    name: str
    stack: Stack
    engine: str
    versions: str
    captured_graphs: bool
    source: Source
    software: str = ""
    since: Version = ()
    before: Version | None = None
    on: str = ""

    def distance(self, version: Version) -> Version:
        """How far a version is outside of the span, number by number; empty within it."""
        if version < self.since:
            edge = self.since
        elif self.before is not None and version >= self.before:
            edge = self.before
        else:
            return ()
        pairs = zip_longest(version, edge, fillvalue=0)
        return (1, *(abs(a - b) for a, b in pairs))


_SILICON = Source(title="own fit to aiconfigurator-core 0.12.0, silicon samples", as_of="2026-04")
RELEASES: tuple[Release, ...] = (
    Release(
        name="vllm",
        stack=replica.MODERN,
        engine="vLLM, asynchronous scheduling",
        versions="0.12 and later",
        software=VLLM,
        since=(0, 12),
        captured_graphs=True,
        source=_SILICON,
    ),
    Release(
        name="sglang",
        stack=replica.PREFILL_FIRST,
        engine="SGLang",
        versions="0.5 and later",
        software=SGLANG,
        since=(0, 5),
        captured_graphs=True,
        source=_SILICON,
    ),
    Release(
        name="trtllm",
        stack=replica.BALANCED_RANKS,
        engine="TensorRT-LLM, PyTorch backend",
        versions="1.2 and later",
        software=TENSORRT_LLM,
        since=(1, 2),
        captured_graphs=True,
        source=Source(
            title="TensorRT-LLM, AttentionDpConfig; SemiAnalysisAI/InferenceX, timeout_iters: 60",
            as_of="2026-09",
        ),
    ),
    Release(
        name="trtllm-1.0",
        stack=replica.BALANCED_RANKS_2025,
        engine="TensorRT-LLM, PyTorch backend",
        versions="1.0 and 1.1",
        software=TENSORRT_LLM,
        since=(1, 0),
        before=(1, 2),
        captured_graphs=True,
        source=Source(title="own fit to MLPerf Inference v5.1, DeepSeek", as_of="2025-09"),
    ),
    Release(
        name="vllm-0.11",
        stack=replica.SYNCHRONOUS,
        engine="vLLM, V1 engine without asynchronous scheduling",
        versions="0.8 to 0.11",
        software=VLLM,
        since=(0, 8),
        before=(0, 12),
        captured_graphs=True,
        source=Source(title="own fit to the ML.ENERGY leaderboard, vLLM 0.11", as_of="2025-11"),
    ),
    Release(
        name="vllm-0.6",
        stack=replica.EARLY_GRAPHS,
        engine="vLLM, V0 engine, CUDA",
        versions="0.4 to 0.7",
        software=VLLM,
        since=(0, 4),
        before=(0, 8),
        captured_graphs=True,
        source=Source(title="own fit to argonne-lcf/LLM-Inference-Bench@ae7e7a4", as_of="2024-10"),
    ),
    Release(
        name="vllm-0.6-rocm",
        stack=replica.EARLY_ROCM,
        engine="vLLM of vllm-project on ROCm, not AMD's fork",
        versions="before 0.6.2",
        software=VLLM,
        before=(0, 6, 2),
        on="ROCm",
        captured_graphs=True,
        source=Source(
            title="vllm-project/vllm pull request 8310; argonne-lcf/LLM-Inference-Bench@dc89c73",
            as_of="2024-09",
        ),
    ),
    Release(
        name="gaudi",
        stack=replica.GAUDI_GRAPHS,
        engine="DeepSpeed, Optimum or vLLM on Gaudi with HPU graphs, dense models",
        versions="any, with Gaudi software 1.16 and later",
        software=VLLM,
        on="SynapseAI",
        captured_graphs=True,
        source=Source(title="own fit to argonne-lcf/LLM-Inference-Bench@4de4e87", as_of="2024-10"),
    ),
    Release(
        name="mii",
        stack=replica.WITHOUT_GRAPHS,
        engine="DeepSpeed-MII",
        versions="0.2 and later",
        captured_graphs=False,
        source=Source(title="own fit to argonne-lcf/LLM-Inference-Bench@4de4e87", as_of="2024-10"),
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
    captured ones do, with dearer all-reduces.
    """
    if accelerator.stack == "SynapseAI":
        return BY_NAME["gaudi" if model.experts is None else "eager"]
    return BY_NAME["vllm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The release nearest to an engine that runs, and what of that is assumed; empty: nothing."""

    release: Release
    assumed: str = ""


def running(software: str, version: str, accelerator: Accelerator, model: Model) -> Running:
    """The release of an engine that runs, by the name and version that telemetry has of it.

    Where only eager kernels meet measurements they stay. The newest of an engine where its version
    is not known, the nearest where no span holds it, the platform's newest where nothing is known.

    Args:
        software: As collectors name it ("vLLM"); empty when not known.
        version: As the server says it ("0.6.3.post1"); empty when not known.
        accelerator: What it runs on.
        model: What it serves.
    """
    usual = default(accelerator, model)
    if not usual.captured_graphs:
        return Running(release=usual)
    own = [r for r in RELEASES if software and r.software == software]
    if not own:
        what = (
            f"no release of {software} is described" if software else "no server says what it runs"
        )
        return Running(release=usual, assumed=f"{what}: newest of platform assumed")
    number = numbered(version)
    there = [r for r in own if r.on in {"", accelerator.stack}]
    if not number:
        found = max(there, key=lambda r: (r.before is None and r.on != "", r.since))
        return Running(release=found, assumed=f"version unknown: newest of {software} assumed")
    found = min(there, key=lambda r: (r.distance(number), r.on != accelerator.stack))
    if not found.distance(number):
        return Running(release=found)
    told = f"{software} {version} is not described: nearest assumed ({found.versions})"
    return Running(release=found, assumed=told)


def numbered(version: str) -> Version:
    """The numbers of a version; empty for none, and for builds without a tag (0.1.dev5+g1a2b)."""
    found = re.match(r"v?(\d+(?:\.\d+)*)(.*)", version)
    if found is None or (found[2].startswith(".dev") and found[1] in {"0", "0.0", "0.1"}):
        return ()
    return tuple(map(int, found[1].split(".")))


def of(name: str | None, accelerator: Accelerator, model: Model) -> Stack:
    """The stack of that name, or the default where none was named."""
    return (BY_NAME[name] if name is not None else default(accelerator, model)).stack

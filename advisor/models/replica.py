"""One engine: a model, the GPUs it is spread over, in what numbers, run by what software."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from advisor.catalog import ceilings
from advisor.catalog.accelerators import Accelerator
from advisor.catalog.models import Format, Model
from advisor.models.collectives import Wire, wire_of
from advisor.models.roofline import Calibration


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How an engine's GPUs divide the work; tensor x pipeline x data GPUs in all.

    `data` splits attention by sequences while experts are shared (data-parallel attention);
    `expert` says over how many of the tensor x data GPUs experts are spread whole, the rest of the
    factor cuts each expert.
    """

    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    expert: int = 1

    def __post_init__(self) -> None:
        for name in ("tensor", "pipeline", "data", "expert"):
            if getattr(self, name) < 1:
                raise ValueError(f"layout {name}={getattr(self, name)}: need at least 1")
        over = self.tensor * self.data
        if over % self.expert:
            raise ValueError(f"layout expert={self.expert}: does not divide tensor*data={over}")

    @property
    def gpus(self) -> int:
        """GPUs of one engine."""
        return self.tensor * self.pipeline * self.data

    def __str__(self) -> str:
        names = (("TP", self.tensor), ("PP", self.pipeline), ("DP", self.data), ("EP", self.expert))
        return " ".join(f"{n}{v}" for n, v in names if v > 1) or "TP1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """What serving software adds to the kernels; host times are those beside an H100."""

    name: str
    step_seconds: float  # host work of a step that no kernel hides
    sequence_seconds: float  # likewise, for each sequence in the batch
    parallel_seconds: float = 0.0  # host work more where several processes run one engine
    layer_kernels: float = 5  # small kernels a layer: norms, rotary, activation, cache write
    kernel_seconds: float = 1.8e-6  # each of them, in a captured graph
    launch_ratio: float = 1.0  # share of a kernel's launch that is not hidden by the one before
    elementwise_passes: float = 10.0  # times a layer reads or writes its state outside of products
    narrow_experts_seconds: float = 0.0  # what a layer of experts in FP8 costs more
    layer_floor_seconds: float = 0.0  # host launches of one layer without a captured graph
    prefill_layer_floor_seconds: float = 0.0  # prefill is rarely captured
    entry_seconds: float = 0.05  # client, HTTP, tokenizer and scheduler before a prompt runs
    in_step_ratio: float = 0.15  # share of requests that come at once: answers end in waves
    locks_waves: bool = False  # answers of one length that began together end together
    poll_steps: float = 1.0  # steps between two looks for new requests
    rank_wait_steps: float = 0.0  # a data rank holds a prompt back for the others' at most so long
    collective_seconds: float = 0.0  # an all-reduce starts so much later than a captured custom one
    grouped_caches: bool = True  # False: every query head reads the keys and values by itself
    cache_bandwidth_ratio: float = 1.0  # of what attention over caches reaches elsewhere
    collective_bytes: float = 1.9e9  # that NCCL takes of a GPU: 3.58 GiB on 2 H100, 1.79 on 1
    shares_free: bool = False  # `memory_ratio` is of what weights leave, not of the device
    holds_answers: bool = False  # admits a request only with cache for all of its answer
    many_sequences: bool = True  # up to 1,024 at once on large devices, not 256 on all
    # Whole engines over kernels where experts are spread over devices, all of which wait for the
    # busiest: fitted to 27 runs of Qwen3-235B on 8 (0.75 to 0.8), with latent attention to 14 runs
    # of DeepSeek on H200, B200 and GB200 (TensorRT-LLM 1.2). On one device nobody waits
    spread_experts_ratio: float = 0.8
    latent_experts_ratio: float = 0.78


# Fitted to 3,268 end-to-end points of aiconfigurator 0.12.0's silicon samples: what is left of a
# launch in a captured graph, and what asynchronous scheduling leaves of the host's work. Entry and
# share in step are fitted to mean TTFT of 1,328 runs of vLLM; each of five sources left out gives
# the same two
MODERN = Stack(
    name="CUDA graphs (vLLM, SGLang, TensorRT-LLM of 2025)",
    step_seconds=0.5e-3,
    sequence_seconds=10e-6,
    launch_ratio=0.75,
    prefill_layer_floor_seconds=60e-6,
)
# SGLang computes all waiting prompts before it decodes on (unless told to mix them): answers that
# are all of one length then end together and their successors come at once again. Where lengths
# vary the share that comes at once is vLLM's. The entry is fitted to 933 runs
PREFILL_FIRST = replace(
    MODERN,
    name="CUDA graphs, prompts before decoding (SGLang)",
    entry_seconds=0.22,
    locks_waves=True,
)
# TensorRT-LLM with attention in data ranks and its balance on holds prompts back until every rank
# has one, 60 steps at most (`timeout_iters` of InferenceX's configurations; 50 is the default), no
# fit. The entry is fitted to 1,177 runs without data ranks (0.08 and 0.14 s by source). Its cache
# is 0.9 of what is free once weights are loaded, and by default no request is evicted: each is let
# in with cache for its prompt and its whole answer (NVIDIA/TensorRT-LLM, runtime options)
BALANCED_RANKS = replace(
    MODERN,
    name="CUDA graphs, balanced data ranks (TensorRT-LLM)",
    entry_seconds=0.12,
    rank_wait_steps=60,
    shares_free=True,
    holds_answers=True,
)
# Of 2025: five DeepSeek results of MLPerf v5.1 on B200, GB200 and GB300
BALANCED_RANKS_2025 = replace(
    BALANCED_RANKS,
    name="CUDA graphs, balanced data ranks (TensorRT-LLM of 2025)",
    latent_experts_ratio=0.56,
)
# vLLM before asynchronous scheduling: the host prepares and collects between steps, longer for more
# sequences; fitted to the ml-energy leaderboard's dense models on H100. Its FP8 experts are slower
# than its 16 bit ones (Qwen3-235B, 8 H100, batch 8: 25.5 against 20.2 ms): two figures in all
SYNCHRONOUS = replace(
    MODERN,
    name="CUDA graphs, synchronous scheduling (vLLM 0.11)",
    sequence_seconds=55e-6,
    narrow_experts_seconds=120e-6,
)
# vLLM of 2024 (V0 engine): 1.5 ms of host a step and 1.5 ms more where workers are told what to do;
# two figures, fitted to 8B on 1, 2 and 4 H100 (argonne-lcf/LLM-Inference-Bench); 70B on 4, not
# fitted, is then 7 to 12 % off instead of 21 to 25 %
EARLY_GRAPHS = replace(
    SYNCHRONOUS,
    name="CUDA graphs, scheduling in one process (vLLM of 2024)",
    step_seconds=1.5e-3,
    parallel_seconds=1.5e-3,
    many_sequences=False,
)
# vLLM before 0.6.2 on ROCm: graphs as on CUDA, but RCCL for each all-reduce and a paged attention
# that reads keys and values once a query head (vllm-project/vllm pull request 8310; AMD's own fork
# had kernels for both since May 2024). Two figures, fitted to llama2-70b on 2 and 4 MI300X
EARLY_ROCM = replace(
    EARLY_GRAPHS,
    name="HIP graphs, RCCL, attention by query heads (vLLM of 2024)",
    collective_seconds=85e-6,
    grouped_caches=False,
    cache_bandwidth_ratio=0.4,
)
# Gaudi joins its devices by RoCE and its HCCL all-reduces; fitted to llama2-7b and 70b on 1 to 8
# Gaudi 2 (29 runs of DeepSpeed); llama3-8b and 70b (23 runs) were not fitted
GAUDI_GRAPHS = replace(
    MODERN, name="HPU graphs, all-reduces over RoCE (Gaudi)", collective_seconds=30e-6
)
# DeepSpeed-MII captures no graphs (a step of 7B stays 10.9 ms on 4 A100) and its blocked attention
# reads keys and values once a query head: with and without groups 64 sequences take as long (24.97
# and 24.95 s). Three host figures, fitted to 10 runs of llama2-7b; 16 of other models were not
WITHOUT_GRAPHS = replace(
    EARLY_GRAPHS,
    name="no graphs, attention by query heads (DeepSpeed-MII)",
    step_seconds=1.0e-3,
    parallel_seconds=0.0,
    layer_floor_seconds=200e-6,
    prefill_layer_floor_seconds=200e-6,
    grouped_caches=False,
)
# Fitted to Splitwise's table (splitwise-sim@8f99e7d). All-reduces of that year kept their inputs:
# 25.5 instead of 19.5 GiB for 70B on 8 GPUs (vllm-project/vllm pull request 2151, December 2023)
EAGER = Stack(
    name="eager PyTorch (engines of 2023)",
    step_seconds=2.0e-3,
    sequence_seconds=250e-6,
    layer_kernels=8,
    kernel_seconds=6.0e-6,
    elementwise_passes=40,
    layer_floor_seconds=330e-6,
    prefill_layer_floor_seconds=500e-6,
    collective_bytes=6.4e9,
    many_sequences=False,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Speculation:
    """Speculative decoding: `drafted` tokens a step, each accepted with `acceptance_ratio`."""

    drafted: int
    acceptance_ratio: float
    draft_cost_ratio: float = 0.05  # time of one drafted token over a step of the model itself

    @property
    def tokens_per_step(self) -> float:
        """Expected tokens of a step, `(1 - a^(k+1)) / (1 - a)` (Leviathan et al. 2023, eq. 1)."""
        a, k = self.acceptance_ratio, self.drafted
        return float(k + 1) if a >= 1 else (1 - a ** (k + 1)) / (1 - a)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One engine, with its calibrations against what was measured of it."""

    model: Model
    accelerator: Accelerator
    layout: Layout = field(default_factory=Layout)
    weights: Format | None = None  # None: as published
    cache: Format = Format.BF16
    stack: Stack = MODERN
    network_gbps: float = 400.0  # a GPU, out of its node
    peer_access: bool | None = None  # GPUs over PCIe reach one another's memory; None: not known
    prefill: Calibration = field(default_factory=Calibration)
    decode: Calibration = field(default_factory=Calibration)
    speculation: Speculation | None = None
    memory_ratio: float = 0.9  # share of memory the engine takes (vLLM's, TensorRT-LLM's default)
    overhead_bytes_per_gpu: float | None = None  # None: driver, NCCL, sampling (`kv`)

    @property
    def gpus(self) -> int:
        """GPUs of this engine."""
        return self.layout.gpus

    @property
    def weight_format(self) -> Format:
        """Format of the stored weights."""
        return self.weights or self.model.format

    @property
    def computed_format(self) -> Format:
        """Format matrix products run in."""
        return ceilings.computes_in(self.accelerator, self.weight_format)

    @property
    def peak_flops(self) -> float:
        """Peak of all its GPUs in FLOP/s, in the format computed in."""
        return ceilings.peak_flops(self.accelerator, self.computed_format) * self.gpus

    @property
    def peak_bytes_per_second(self) -> float:
        """Memory bandwidth of all its GPUs."""
        return ceilings.peak_bytes_per_second(self.accelerator) * self.gpus

    @property
    def wires(self) -> tuple[Wire, Wire]:
        """A GPU's way inside its node, and out of it."""
        return wire_of(self.accelerator, self.network_gbps, peer_access=self.peer_access)

"""What kernels reach of an accelerator's peak, measured: the ceilings of the calibrated roofline.

Four figures a kind of kernel, fitted over whole tables of ai-dynamo/aiconfigurator at 095f58a
(Apache-2.0, measured on silicon): matrix products by `benchmarks/disaggregation/fit_ceilings.py`,
which prints the error; attention and experts by the same form. Where three serving stacks have
tables, the figures lie between them. Families nobody measured get `GENERIC`, near their median.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from advisor.catalog.accelerators import Accelerator
from advisor.catalog.models import Format
from advisor.models.arrays import Floats, Numbers

VERSION = "ceilings/3"


@dataclass(frozen=True, slots=True)
class Ceiling:
    """`t = launch + (t_compute^p + t_bytes^p)^(1/p)`, both at their share of the peak.

    p is how sharply one limit takes over from the other: infinite is the textbook roofline, 1 is no
    overlap of arithmetic and memory at all.
    """

    launch_seconds: float
    compute_ratio: float
    bandwidth_ratio: float
    sharpness: float

    def seconds(
        self, compute_seconds: Numbers, byte_seconds: Numbers, launch_ratio: float = 1.0
    ) -> Floats:
        """Time of a kernel whose least times at full peak are given.

        `launch_ratio` of the launch remains where kernels follow one another in a captured graph.
        """
        work = np.asarray(compute_seconds, float) / self.compute_ratio
        bytes_ = np.asarray(byte_seconds, float) / self.bandwidth_ratio
        low, high = np.minimum(work, bytes_), np.maximum(work, bytes_)
        rest = np.where(high > 0, low / np.where(high > 0, high, 1.0), 0.0)
        blended: Floats = high * (1 + rest**self.sharpness) ** (1 / self.sharpness)
        return launch_ratio * self.launch_seconds + blended


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """Measured ceilings of one family. Compute shares are of the peak in the format computed in."""

    family: str
    gemm: Mapping[Format, Ceiling]
    experts: Mapping[Format, Ceiling]
    prefill_attention: Ceiling
    decode_attention: Ceiling
    # attention over a latent, where tables of its own were measured; else as over keys and values
    latent_prefill: Ceiling | None = None
    latent_decode: Ceiling | None = None
    host_ratio: float = 1.0  # time of an eager engine's host over that beside an H100
    measured: bool = True


def _c(launch_us: float, compute: float, bandwidth: float, sharpness: float) -> Ceiling:
    return Ceiling(launch_us * 1e-6, compute, bandwidth, sharpness)


# Rows of the busiest of n GPUs over the mean, where experts are spread whole: n to this power.
# Under a router that follows a power law of 1.01 it is 0.34 to 0.64 (tables of six systems, 16 to 4
# bits, each by itself), which is why compute shares below are of experts that are cut, not spread.
# Engines of 2025 balance their experts: pools of 8 to 32 ranks are nearest between 0 and 0.3
EXPERT_SKEW = 0.2

# fmt: off - tables
# Latent attention of TensorRT-LLM and SGLang, 16 to 128 heads, caches of 16 and 8 bits: median 9 to
# 14 % off in decode above 10 us, 3 to 10 % in prefill above 50 us (`mla` tables of 0.12.0; SGLang's
# prefill on Hopper is three times slower than TensorRT-LLM's and is not in it)
LATENT_PREFILL = _c(48, 0.62, 0.42, 1.5)
HOPPER_LATENT_DECODE = _c(15, 0.65, 0.72, 4.0)
BLACKWELL_LATENT_DECODE = _c(12, 1.0, 0.59, 6.0)
# Picking the tokens that sparse attention looks at (DeepSeek-V3.2, GLM-5; SGLang on H200 and B200):
# its dozen small kernels take 30 to 40 us a layer, 25 us more at 16 sequences of 16,000 tokens
INDEXER = _c(35, 0.40, 0.35, 2.0)
GENERIC = Ceilings(
    family="generic",
    gemm={
        Format.BF16: _c(4.0, 0.75, 0.80, 2.5),
        Format.FP8: _c(7.0, 0.55, 0.80, 1.1),
        Format.FP4: _c(8.0, 0.45, 0.85, 1.3),
    },
    experts={
        Format.BF16: _c(40, 0.45, 0.92, 1.3),
        Format.FP8: _c(35, 0.35, 0.94, 1.2),
        Format.FP4: _c(35, 0.40, 0.95, 1.1),
    },
    prefill_attention=_c(13, 0.55, 0.35, 1.1),
    decode_attention=_c(13, 0.50, 0.80, 1.3),
    measured=False,
)
# DGX A100 hosts launch and schedule 1.5 times as slowly as DGX H100 ones in an eager engine:
# Splitwise's llama2-70b at TP8 and batch 1 takes 44.9 ms on the one, 29.8 ms on the other
# (splitwise-sim@8f99e7d). With captured graphs there is no such ratio: 53 runs of vLLM of 2024 on
# Argonne's A100
A100 = Ceilings(
    family="A100",
    gemm={Format.BF16: _c(5.6, 0.837, 0.755, 1.6), Format.INT8: _c(8.0, 0.60, 0.75, 1.2)},
    experts={Format.BF16: _c(63, 0.40, 0.89, 1.26)},
    prefill_attention=_c(11.5, 0.577, 0.406, 1.0),
    decode_attention=_c(18.2, 0.60, 0.684, 1.03),
    host_ratio=1.5,
)
H100 = Ceilings(
    family="H100",
    gemm={Format.BF16: _c(3.7, 0.813, 0.871, 2.9), Format.FP8: _c(7.0, 0.57, 0.90, 1.6)},
    experts={
        Format.BF16: _c(58, 0.56, 0.95, 1.0),
        Format.FP8: _c(43, 0.25, 0.97, 1.2),
        Format.FP4: _c(72, 0.36, 0.85, 1.0),
    },
    prefill_attention=_c(13.4, 0.665, 0.40, 1.06),
    decode_attention=_c(12.5, 0.50, 0.856, 1.3),
    latent_prefill=LATENT_PREFILL,
    latent_decode=HOPPER_LATENT_DECODE,
)
H200 = replace(
    H100,
    family="H200",
    gemm={Format.BF16: _c(4.1, 0.813, 0.844, 3.0), Format.FP8: _c(7.5, 0.58, 0.89, 1.6)},
    experts={
        Format.BF16: _c(58, 0.56, 0.95, 1.0),
        Format.FP8: _c(42, 0.27, 0.93, 1.1),
        Format.FP4: _c(72, 0.36, 0.63, 1.0),
    },
    decode_attention=_c(12.5, 0.50, 0.80, 1.3),
)
B200 = Ceilings(
    family="B200",
    gemm={
        Format.BF16: _c(3.6, 0.718, 0.807, 2.5),
        Format.FP8: _c(7.5, 0.52, 0.77, 1.6),
        Format.FP4: _c(8.0, 0.44, 0.80, 1.5),
    },
    experts={
        Format.BF16: _c(34, 0.40, 0.97, 1.3),
        Format.FP8: _c(42, 0.17, 0.97, 1.0),
        Format.FP4: _c(26, 0.32, 0.95, 1.0),
    },
    prefill_attention=_c(13.3, 0.56, 0.262, 1.15),
    decode_attention=_c(10.0, 0.213, 0.898, 2.0),
    latent_prefill=LATENT_PREFILL,
    latent_decode=BLACKWELL_LATENT_DECODE,
)
ADA = replace(
    GENERIC,
    family="L40S",
    gemm={Format.BF16: _c(1.0, 0.60, 0.78, 2.5), Format.FP8: _c(1.5, 0.48, 0.76, 1.5)},
    experts={Format.BF16: _c(14, 0.48, 0.86, 1.24), Format.FP8: _c(17, 0.43, 0.89, 1.27)},
    decode_attention=_c(10, 0.50, 0.80, 1.3),
    measured=True,
)
RTX_PRO_6000 = replace(
    ADA,
    family="RTX PRO 6000",
    gemm={
        Format.BF16: _c(1.0, 0.84, 0.81, 1.65),
        Format.FP8: _c(4.0, 0.75, 0.80, 1.3),
        Format.FP4: _c(11, 0.60, 0.75, 3.0),
    },
    experts={
        Format.BF16: _c(27, 0.44, 0.93, 1.48),
        Format.FP8: _c(30, 0.40, 0.94, 1.5),
        Format.FP4: _c(49, 0.44, 0.92, 1.36),
    },
)
# Nobody published kernels of it. Llama2-70b in 16 bit on 2 and on 4 MI300X differs by a quarter of
# its weights, 9.2 ms: 3.8 of 5.3 TB/s (argonne-lcf/LLM-Inference-Bench@4de4e87)
MI300X = replace(
    GENERIC,
    family="MI300X",
    gemm={stored: replace(of_all, bandwidth_ratio=0.71) for stored, of_all in GENERIC.gemm.items()},
)
# Thin products read weights at all of the bandwidth: llama2-70b on 2, 4 and 8 Gaudi 2 differs by a
# half and a quarter of its weights, 2.37 and 2.44 of 2.46 TB/s. Large ones reach 418.7 of 432
# TFLOP/s in 16 bit (STAS) and above 0.9 of the peak in FP8 (arXiv 2503.09975); attention over a
# cache is fitted to 29 runs of llama2-7b and 70b (argonne-lcf/LLM-Inference-Bench@4de4e87)
GAUDI2 = replace(
    GENERIC,
    family="Gaudi 2",
    gemm={Format.BF16: _c(4.0, 0.97, 0.99, 2.5), Format.FP8: _c(7.0, 0.90, 0.99, 1.1)},
    decode_attention=_c(13, 0.50, 0.60, 1.3),
    measured=True,
)
# fmt: on
# Recurrent layers, of every family: gated delta, Kimi delta and Mamba-2 kernels of SGLang, vLLM and
# TensorRT-LLM on H100 to B300 (`linear_attention`, `kda` tables of aiconfigurator-core 0.12.0). A
# step reads and writes the state (median 4 to 8 % off); the scan of a prompt, 6 operations an
# element and token, reaches 2 to 6 % of the 16 bit peak in Triton and 14 to 23 % in FlashInfer.
RECURRENT_STEP = _c(3.5, 1.0, 0.85, 2.0)
RECURRENT_SCAN = _c(26, 0.06, 0.85, 1.5)
_FAMILIES: tuple[tuple[str, Ceilings], ...] = (
    ("L40S", ADA),
    ("L4", ADA),
    ("RTX-4090", ADA),
    ("RTX-PRO-6000", RTX_PRO_6000),
    ("A100", A100),
    ("H100", H100),
    ("H800", H100),
    ("H20", H100),
    ("H200", H200),
    ("GB200", B200),
    ("GB300", B200),
    ("B200", B200),
    ("B300", B200),
    ("MI300X", MI300X),
    ("Gaudi2", GAUDI2),
)
# Dense FP4 TFLOP/s (AIC system files; MI355X: STAS); an accelerator that is absent has none
FP4_TFLOPS: Mapping[str, float] = {
    "B200-SXM": 9_000,
    "GB200": 10_000,
    "B300-SXM": 14_000,
    "GB300": 15_000,
    "RTX-PRO-6000": 1_871,
    "MI355X": 10_100,
}


def of(accelerator: Accelerator) -> Ceilings:
    """The measured ceilings of an accelerator's family, else `GENERIC`."""
    for word, ceilings in reversed(_FAMILIES):
        if accelerator.name.startswith(word):
            return ceilings
    return GENERIC


def computes_in(accelerator: Accelerator, stored: Format) -> Format:
    """The format multiplied in: weights narrower than the hardware knows are widened first."""
    if stored is Format.FP4 and accelerator.name in FP4_TFLOPS:
        return Format.FP4
    if stored is Format.FP8 and accelerator.fp8_tflops:
        return Format.FP8
    if stored is Format.INT8 and accelerator.bf16_tflops:
        return Format.INT8
    return Format.BF16


def peak_flops(accelerator: Accelerator, computed: Format) -> float:
    """Dense peak of one accelerator in FLOP/s; ValueError where its catalogue entry has none."""
    found = {
        Format.FP4: FP4_TFLOPS.get(accelerator.name),
        Format.FP8: accelerator.fp8_tflops,
        Format.INT8: accelerator.fp8_tflops or 2 * (accelerator.bf16_tflops or 0.0),
    }.get(computed, accelerator.bf16_tflops)
    if not found:
        raise ValueError(f"accelerator={accelerator.name}: no peak known in {computed}")
    return found * 1e12


def peak_bytes_per_second(accelerator: Accelerator) -> float:
    """Peak memory bandwidth of one accelerator; ValueError where unknown."""
    if not accelerator.bandwidth_tb_s:
        raise ValueError(f"accelerator={accelerator.name}: memory bandwidth unknown")
    return accelerator.bandwidth_tb_s * 1e12


def gemm(accelerator: Accelerator, computed: Format) -> Ceiling:
    """Ceiling of dense matrix products."""
    own = of(accelerator)
    found = own.gemm.get(computed) or GENERIC.gemm.get(computed) or GENERIC.gemm[Format.FP8]
    if own.measured or computed is not Format.BF16:
        return found
    measured = accelerator.measured_bf16_tflops
    if measured and accelerator.bf16_tflops:
        # someone measured its best matrix product: no more than that (STAS, "MAMF")
        found = replace(found, compute_ratio=measured / accelerator.bf16_tflops)
    return _no_more_than_narrow(accelerator, found, GENERIC.gemm[Format.FP8])


def experts(accelerator: Accelerator, computed: Format) -> Ceiling:
    """Ceiling of grouped matrix products over experts, routing and permutation included."""
    own = of(accelerator)
    found = own.experts.get(computed)
    if found is not None:
        return found
    found = GENERIC.experts.get(computed) or GENERIC.experts[Format.FP8]
    if own.measured or computed is not Format.BF16:
        return found
    return _no_more_than_narrow(accelerator, found, GENERIC.experts[Format.FP8])


def _no_more_than_narrow(accelerator: Accelerator, wide: Ceiling, narrow: Ceiling) -> Ceiling:
    """16 bit does no more operations than 8 bit: Gaudi 3 has one peak for both."""
    if not accelerator.fp8_tflops or not accelerator.bf16_tflops:
        return wide
    most = narrow.compute_ratio * accelerator.fp8_tflops / accelerator.bf16_tflops
    return replace(wide, compute_ratio=min(wide.compute_ratio, most))

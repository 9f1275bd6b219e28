"""Accelerators: dense peak rates, memory, links, power, and what of the peak was ever measured.

Compute, memory and link figures: ai-dynamo/aiconfigurator system files (`AIC`, Apache-2.0), the
ml-engineering book of stas00 at 744d01e (`STAS`, facts cited), or vendor pages (`vendor`).
`measured_bf16_tflops` is the highest matrix-multiply rate reported there; None means nobody we can
cite measured it, and then the advisor says "unverified" instead of a number.
"""

from __future__ import annotations

from dataclasses import dataclass

AS_OF = "2026-11"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """One model of accelerator. Rates are dense; bandwidth is of device memory; None: unknown."""

    name: str
    bf16_tflops: float | None
    memory_gb: float
    bandwidth_tb_s: float | None
    fp8_tflops: float | None = None
    link_gb_s: float | None = None  # scale-up, one direction
    power_w: float | None = None
    measured_bf16_tflops: float | None = None
    measured_bandwidth_ratio: float | None = None  # of peak, streaming weights at batch 1
    stack: str = "CUDA"
    source: str = "AIC + STAS"


def _a(  # noqa: PLR0917 - a table row
    name: str,
    bf16: float | None,
    fp8: float | None,
    memory: float,
    bandwidth: float | None,
    link: float | None,
    power: float | None,
    measured: float | None = None,
    bandwidth_ratio: float | None = None,
    stack: str = "CUDA",
    source: str = "AIC + STAS",
) -> Accelerator:
    return Accelerator(
        name=name,
        bf16_tflops=bf16,
        fp8_tflops=fp8,
        memory_gb=memory,
        bandwidth_tb_s=bandwidth,
        link_gb_s=link,
        power_w=power,
        measured_bf16_tflops=measured,
        measured_bandwidth_ratio=bandwidth_ratio,
        stack=stack,
        source=source,
    )


# Bandwidth shares at m=1 (A100 0.68, H100 0.78, B200 0.73): AIC matrix-multiply tables, n=k=8192
ACCELERATORS: tuple[Accelerator, ...] = (
    _a("A100-PCIe-80G", 312, None, 80, 1.935, 32, 300, 252.9, 0.68),
    _a("A100-SXM-80G", 312, None, 80, 2.039, 300, 400, 271.2, 0.68),
    _a("L4", 121, 242, 24, 0.300, 32, 72, source="AIC"),
    _a("L40S", 362.05, 733, 48, 0.864, 32, 350),
    _a("H100-PCIe", 756.5, 1513, 80, 2.0, 64, 350),
    _a("H100-SXM", 989, 1979, 80, 3.35, 450, 700, 794.5, 0.78),
    _a("H200-SXM", 989, 1979, 141, 4.8, 450, 700, 794.5, 0.78),
    _a("B200-SXM", 2250, 4500, 180, 7.7, 900, 1000, 1745, 0.73),
    _a("GB200", 2500, 5000, 186, 8.0, 900, 1200, 1822, 0.73),
    _a("B300-SXM", 2250, 4500, 288, 7.75, 900, 1100, 1769),
    _a("GB300", 2500, 5000, 288, 8.0, 900, 1400),
    _a("RTX-PRO-6000", 467.8, 935.6, 96, 1.792, 64, 600, source="AIC"),
    _a("MI300X", 1300, 2610, 192, 5.3, 448, 750, 668.4, stack="ROCm", source="STAS"),
    _a("MI325X", 1300, 2610, 256, 6.0, 448, 1000, 784.9, stack="ROCm", source="STAS"),
    _a("MI355X", 2500, 5000, 288, 8.0, 535.5, 1400, 1565, stack="ROCm", source="STAS"),
    _a("Gaudi2", 432, 865, 96, 2.46, 300, 600, 418.7, stack="SynapseAI", source="STAS"),
    _a("Gaudi3", 1677, 1677, 128, 3.7, 600, 900, 1243, stack="SynapseAI", source="STAS"),
    _a("TPU-v5e", 197, None, 16, 0.82, 50, None, stack="XLA", source="STAS"),
    _a("TPU-v5p", 459, None, 95, 2.765, None, None, stack="XLA", source="STAS"),
    _a("TPU-v6e", 918, None, 32, 1.638, None, None, stack="XLA", source="STAS"),
    _a("TPU-v7x", 2307, 4614, 192, 7.37, 600, None, stack="XLA", source="STAS"),
    _a("Trainium1", 190, None, 32, 0.82, None, None, stack="Neuron", source="vendor"),
    _a("Trainium2", 667, 1299, 96, 2.9, 640, None, stack="Neuron", source="STAS"),
    _a("Inferentia2", 190, None, 32, 0.82, None, None, stack="Neuron", source="vendor"),
    _a("Maia-100", 800, None, 64, 1.8, 600, 700, stack="Azure only", source="Microsoft blog"),
    _a("MTIA-v2", 177, None, 64, None, None, 90, stack="Meta only", source="Meta blog"),
    _a("Groq-LPU", None, None, 0.23, None, None, None, stack="GroqWare", source="ALCF guide"),
    _a("SN40L", 638, None, 64, None, None, None, stack="SambaNova", source="vendor paper"),
    _a("Bow-2000", 1400, None, 3.6, None, None, None, stack="Poplar", source="ALCF guide"),
    _a("WSE-3", None, None, 44, 21_000, None, None, stack="Cerebras", source="vendor"),
)
BY_NAME = {a.name: a for a in ACCELERATORS}

_WORDS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("GB300",), "GB300"),
    (("GB200",), "GB200"),
    (("B300",), "B300-SXM"),
    (("B200",), "B200-SXM"),
    (("H200",), "H200-SXM"),
    (("H100", "PCIE"), "H100-PCIe"),
    (("H100",), "H100-SXM"),
    (("A100", "PCIE"), "A100-PCIe-80G"),
    (("A100",), "A100-SXM-80G"),
    (("L40S",), "L40S"),
    (("RTX PRO 6000",), "RTX-PRO-6000"),
    (("MI300X",), "MI300X"),
    (("MI325X",), "MI325X"),
    (("MI355X",), "MI355X"),
    (("GAUDI2",), "Gaudi2"),
    (("GAUDI3",), "Gaudi3"),
)


def by_device_name(name: str) -> Accelerator | None:
    """The accelerator a driver calls `name` ("NVIDIA H100 80GB HBM3"); None when unknown.

    L4 is matched as a whole word: it is also the beginning of L40.
    """
    upper = name.upper()
    if "L4" in upper.split():
        return BY_NAME["L4"]
    for words, key in _WORDS:
        if all(word in upper for word in words):
            return BY_NAME[key]
    return BY_NAME.get(name)

"""Decode that waits for HBM: bandwidth near the GPU's own ceiling while tensor cores idle.

Generating tokens reads all weights and the KV cache for every token, so it runs on the memory
side of the roofline's ridge. Look-alikes are ruled out by name: clocks held down by power or heat,
traffic over PCIe or NVLink, a KV cache too small for the batch, a batch too small to matter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streams.detectors.verdict import (
    Around,
    Detector,
    Devices,
    Measure,
    Verdict,
    levels,
    over,
    ratio,
)

NAME = "bandwidth_bound_decode"
# DCGM feature overview: about 0.8 of the theoretical bandwidth is what kernels reach in practice;
# 0.92 is what streaming kernels reach on H100. A GPU's own peak replaces the prior when higher.
CEILING_PRIOR, CEILING_FLOOR, CEILING_TOP = 0.85, 0.70, 0.95
NEAR_CEILING = 0.85  # of the ceiling
TENSOR_PER_DRAM = 0.5  # above it the tensor cores do real work: prefill, or a large batch
THROTTLED = 0.1  # of the time
GENERATING = 4.0  # generated tokens per prompt token computed, below it prefill is mixed in
LINK_SATURATED = {"pcie": 50e9, "nvlink": 380e9}  # B/s one way: 80 % of PCIe 5 x16, of NVLink 4
COLUMNS = (
    "dram_util_ratio",
    "tensor_util_ratio",
    "sm_util_ratio",
    "throttle_power_ns",
    "throttle_thermal_ns",
    "pcie_tx_bytes_per_second",
    "pcie_rx_bytes_per_second",
    "nvlink_tx_bytes_per_second",
    "nvlink_rx_bytes_per_second",
)


def find(gpus: Devices, around: Around) -> Sequence[Verdict]:
    """Judge every GPU. Without serving data the pool's name has to say that it decodes."""
    dram, tensor = gpus.now("dram_util_ratio"), gpus.now("tensor_util_ratio")
    ceiling = np.clip(
        np.fmax(gpus.peak("dram_util_ratio"), CEILING_PRIOR), CEILING_FLOOR, CEILING_TOP
    )
    of_ceiling, tensor_per_dram = dram / ceiling, ratio(tensor, dram)
    power = gpus.now("throttle_power_ns") / 1e9
    thermal = gpus.now("throttle_thermal_ns") / 1e9
    pcie = np.fmax(gpus.now("pcie_tx_bytes_per_second"), gpus.now("pcie_rx_bytes_per_second"))
    nvlink = np.fmax(gpus.now("nvlink_tx_bytes_per_second"), gpus.now("nvlink_rx_bytes_per_second"))
    generated, prompt = around.serving("generation_tokens"), around.serving("prompt_tokens")
    running, preempted = around.serving("requests_running"), around.serving("preemptions")
    served = ~np.isnan(running)
    decoding = np.where(
        served,
        over(running, 1.0)
        & over(generated, 1.0)
        & over(generated, GENERATING * np.nan_to_num(prompt)),
        around.pool.within("decode", "mixed"),
    )
    batch = ratio(running, np.ones_like(running))
    impostor = (
        over(power, THROTTLED)
        | over(thermal, THROTTLED)
        | over(pcie, LINK_SATURATED["pcie"])
        | over(nvlink, LINK_SATURATED["nvlink"])
        | over(preempted, 1.0)
    )
    known = ~np.isnan(dram) & ~np.isnan(tensor) & (served | around.pool.known)
    bound = over(of_ceiling, NEAR_CEILING) & ~over(tensor_per_dram, TENSOR_PER_DRAM)
    hit = known & bound & decoding.astype(bool) & ~impostor
    return (
        Verdict(
            condition="bandwidth_bound",
            hit=hit,
            known=known,
            level=levels(hit),
            summary="decodes at {of_ceiling:.0%} of its HBM ceiling"
            " with tensor cores {tensor_util_ratio:.0%} busy",
            evidence=(
                Measure(
                    name="dram_util_ratio",
                    value=dram,
                    unit="ratio",
                    threshold=NEAR_CEILING * ceiling,
                ),
                Measure(name="of_ceiling", value=of_ceiling, unit="ratio", threshold=NEAR_CEILING),
                Measure(name="ceiling", value=ceiling, unit="ratio", note="the GPU's own"),
                Measure(name="tensor_util_ratio", value=tensor, unit="ratio"),
                Measure(
                    name="tensor_per_dram",
                    value=tensor_per_dram,
                    unit="ratio",
                    threshold=TENSOR_PER_DRAM,
                ),
                Measure(name="sm_util_ratio", value=gpus.now("sm_util_ratio"), unit="ratio"),
                Measure(
                    name="generation_tokens", value=generated, unit="tokens/s", note="of the node"
                ),
                Measure(name="prompt_tokens", value=prompt, unit="tokens/s", note="of the node"),
                Measure(name="requests_running", value=batch, unit="1", note="of the node"),
            ),
            counter_evidence=(
                Measure(name="power_throttled", value=power, unit="ratio", threshold=THROTTLED),
                Measure(name="thermal_throttled", value=thermal, unit="ratio", threshold=THROTTLED),
                Measure(name="pcie", value=pcie, unit="B/s", threshold=LINK_SATURATED["pcie"]),
                Measure(
                    name="nvlink", value=nvlink, unit="B/s", threshold=LINK_SATURATED["nvlink"]
                ),
                Measure(name="preemptions", value=preempted, unit="1/s", threshold=1.0),
            ),
            alternatives=(
                "another kernel that streams through HBM on the same GPU",
                "a batch that would be larger if the KV cache were",
            ),
        ),
    )


DETECTOR = Detector(
    name=NAME,
    conditions=("bandwidth_bound",),
    finders={"gpu": find},
    columns={"gpu": COLUMNS},
    peaks={"gpu": ("dram_util_ratio",)},
    needs={"gpu": ("serving",)},
)

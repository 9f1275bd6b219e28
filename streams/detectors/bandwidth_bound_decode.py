"""Decode that waits for HBM: bandwidth near the GPU's own ceiling while tensor cores idle.

Generating tokens reads all weights and the KV cache for every token, so it runs on the memory
side of the roofline's ridge. Look-alikes are ruled out by name: clocks held down by power or heat,
traffic over PCIe or NVLink, a KV cache too small for the batch, a batch too small to matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from ridgeline.pools import Role
from streams.detectors.verdict import (
    Around,
    Condition,
    Detector,
    Devices,
    Level,
    Measure,
    Verdict,
)
from streams.detectors.words import known, larger, or_zero, ratio, word
from streams.kernels import compiled, inlined

NAME = "bandwidth_bound_decode"
# DCGM feature overview: about 0.8 of the theoretical bandwidth is what kernels reach in practice;
# 0.92 is what streaming kernels reach on H100. A GPU's own peak replaces the prior when higher.
CEILING_PRIOR, CEILING_FLOOR, CEILING_TOP = 0.85, 0.70, 0.95
NEAR_CEILING = 0.85  # of the ceiling
TENSOR_PER_DRAM = 0.5  # above it the tensor cores do real work: prefill, or a large batch
THROTTLED = 0.1  # of the time
GENERATING = 4.0  # generated tokens per prompt token computed, below it prefill is mixed in
# B/s one way: 80 % of PCIe 5 x16, of NVLink 4
PCIE_SATURATED, NVLINK_SATURATED = 50e9, 380e9
PREEMPTING = 1.0  # 1/s
_WARNING = int(Level.WARNING)


class Now(NamedTuple):
    """Means and rates of the window, by slot."""

    dram_util_ratio: np.ndarray
    tensor_util_ratio: np.ndarray
    sm_util_ratio: np.ndarray
    throttle_power_ns: np.ndarray
    throttle_thermal_ns: np.ndarray
    pcie_tx_bytes_per_second: np.ndarray
    pcie_rx_bytes_per_second: np.ndarray
    nvlink_tx_bytes_per_second: np.ndarray
    nvlink_rx_bytes_per_second: np.ndarray


class Beside(NamedTuple):
    """What else is known, by slot: the highest DRAM use, the node's LLM servers, the pool."""

    dram_peak: np.ndarray
    generation_tokens: np.ndarray
    prompt_tokens: np.ndarray
    requests_running: np.ndarray
    preemptions: np.ndarray
    pool_known: np.ndarray
    pool_decodes: np.ndarray


class Numbers(NamedTuple):
    """Of one GPU."""

    dram_util_ratio: float
    near_ceiling: float
    of_ceiling: float
    ceiling: float
    tensor_util_ratio: float
    tensor_per_dram: float
    sm_util_ratio: float
    generation_tokens: float
    prompt_tokens: float
    requests_running: float
    power_throttled: float
    thermal_throttled: float
    pcie: float
    nvlink: float
    preemptions: float


@inlined
def numbers(now: Now, beside: Beside, i: int) -> Numbers:
    """Of the GPU in a slot."""
    dram, tensor = now.dram_util_ratio[i], now.tensor_util_ratio[i]
    ceiling = larger(beside.dram_peak[i], CEILING_PRIOR)
    ceiling = min(max(ceiling, CEILING_FLOOR), CEILING_TOP)
    return Numbers(
        dram_util_ratio=dram,
        near_ceiling=NEAR_CEILING * ceiling,
        of_ceiling=dram / ceiling,
        ceiling=ceiling,
        tensor_util_ratio=tensor,
        tensor_per_dram=ratio(tensor, dram),
        sm_util_ratio=now.sm_util_ratio[i],
        generation_tokens=beside.generation_tokens[i],
        prompt_tokens=beside.prompt_tokens[i],
        requests_running=beside.requests_running[i],
        power_throttled=now.throttle_power_ns[i] / 1e9,
        thermal_throttled=now.throttle_thermal_ns[i] / 1e9,
        pcie=larger(now.pcie_tx_bytes_per_second[i], now.pcie_rx_bytes_per_second[i]),
        nvlink=larger(now.nvlink_tx_bytes_per_second[i], now.nvlink_rx_bytes_per_second[i]),
        preemptions=beside.preemptions[i],
    )


@compiled
def judge(now: Now, beside: Beside, said: np.ndarray) -> None:
    """Say something of every GPU. Without serving data the pool's name has to say it decodes."""
    for i in range(len(said)):
        gpu = numbers(now, beside, i)
        served = known(gpu.requests_running)
        decoding = beside.pool_decodes[i]
        if served:
            decoding = (
                gpu.requests_running >= 1.0
                and gpu.generation_tokens >= 1.0
                and gpu.generation_tokens >= GENERATING * or_zero(gpu.prompt_tokens)
            )
        bound = gpu.of_ceiling >= NEAR_CEILING and not gpu.tensor_per_dram >= TENSOR_PER_DRAM
        impostor = (
            gpu.power_throttled >= THROTTLED
            or gpu.thermal_throttled >= THROTTLED
            or gpu.pcie >= PCIE_SATURATED
            or gpu.nvlink >= NVLINK_SATURATED
            or gpu.preemptions >= PREEMPTING
        )
        said[i] = word(
            known(gpu.dram_util_ratio)
            and known(gpu.tensor_util_ratio)
            and (served or beside.pool_known[i]),
            bound and decoding and not impostor,
            _WARNING,
        )


BANDWIDTH_BOUND = Condition(
    name="bandwidth_bound",
    summary="decodes at {of_ceiling:.0%} of its HBM ceiling"
    " with tensor cores {tensor_util_ratio:.0%} busy",
    evidence=(
        Measure(name="dram_util_ratio", unit="ratio", threshold="near_ceiling"),
        Measure(name="of_ceiling", unit="ratio", threshold=NEAR_CEILING),
        Measure(name="ceiling", unit="ratio", note="the GPU's own"),
        Measure(name="tensor_util_ratio", unit="ratio"),
        Measure(name="tensor_per_dram", unit="ratio", threshold=TENSOR_PER_DRAM),
        Measure(name="sm_util_ratio", unit="ratio"),
        Measure(name="generation_tokens", unit="tokens/s", note="of the node"),
        Measure(name="prompt_tokens", unit="tokens/s", note="of the node"),
        Measure(name="requests_running", unit="1", note="of the node"),
    ),
    counter_evidence=(
        Measure(name="power_throttled", unit="ratio", threshold=THROTTLED),
        Measure(name="thermal_throttled", unit="ratio", threshold=THROTTLED),
        Measure(name="pcie", unit="B/s", threshold=PCIE_SATURATED),
        Measure(name="nvlink", unit="B/s", threshold=NVLINK_SATURATED),
        Measure(name="preemptions", unit="1/s", threshold=PREEMPTING),
    ),
    alternatives=(
        "another kernel that streams through HBM on the same GPU",
        "a batch that would be larger if the KV cache were",
    ),
)


def find(gpus: Devices, around: Around) -> Sequence[Verdict]:
    """Judge every GPU."""
    now = Now(*map(gpus.now, Now._fields))
    beside = Beside(
        dram_peak=gpus.peak("dram_util_ratio"),
        generation_tokens=around.serving("generation_tokens"),
        prompt_tokens=around.serving("prompt_tokens"),
        requests_running=around.serving("requests_running"),
        preemptions=around.serving("preemptions"),
        pool_known=around.pool.known,
        pool_decodes=around.pool.of_role(Role.DECODE, Role.MIXED),
    )
    said = np.empty(len(now.dram_util_ratio), dtype=np.uint8)
    judge(now, beside, said)
    return (Verdict(BANDWIDTH_BOUND, said, partial(numbers, now, beside)),)


DETECTOR = Detector(
    name=NAME,
    conditions=(BANDWIDTH_BOUND,),
    finders={"gpu": find},
    columns={"gpu": Now._fields},
    peaks={"gpu": ("dram_util_ratio",)},
    needs={"gpu": ("serving",)},
)

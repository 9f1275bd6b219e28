"""Closed forms of published systems, as their authors give them, to compare and to test with."""

from __future__ import annotations

import math

VERSION = "published/1"


def md1_ttft_seconds(service_seconds: float, arrivals_per_second: float) -> float:
    """Mean TTFT of one engine, `D + R*D^2/(2*(1-R*D))` (DistServe eq. 1); inf when overloaded."""
    load = arrivals_per_second * service_seconds
    if load >= 1:
        return math.inf
    return service_seconds + load * service_seconds / (2 * (1 - load))


def md1_inter_op_ttft_seconds(service_seconds: float, arrivals_per_second: float) -> float:
    """With a 2-stage pipeline, `D + R*D^2/(4*(2-R*D))` (DistServe eq. 2)."""
    load = arrivals_per_second * service_seconds
    if load >= 2:
        return math.inf
    return service_seconds + load * service_seconds / (4 * (2 - load))


def md1_intra_op_ttft_seconds(
    service_seconds: float, arrivals_per_second: float, speedup: float
) -> float:
    """With tensor parallelism of speed-up K, `D/K + R*D^2/(2*K*(K-R*D))` (DistServe eq. 3)."""
    load = arrivals_per_second * service_seconds
    if load >= speedup:
        return math.inf
    return service_seconds / speedup + load * service_seconds / (2 * speedup * (speedup - load))


def mooncake_prefill_flops(layers: int, hidden: int, tokens: float) -> float:
    """`l*(4*n^2*d + 22*n*d^2)` for a gated Llama shape (Mooncake, FAST'25, section 3)."""
    return layers * (4 * tokens**2 * hidden + 22 * tokens * hidden**2)


def linear_itl_ms(alpha_ms: float, beta_ms: float, batch: float) -> float:
    """`alpha + beta*batch` (llm-d workload-variant-autoscaler's latency model)."""
    return alpha_ms + beta_ms * batch


def linear_ttft_ms(gamma_ms: float, delta_ms: float, tokens: float, batch: float) -> float:
    """`gamma + delta*tokens*batch` (llm-d workload-variant-autoscaler's latency model)."""
    return gamma_ms + delta_ms * tokens * batch


def planner_replicas(
    *,
    requests: float,
    tokens_each: float,
    interval_seconds: float,
    correction: float,
    tokens_per_second_per_gpu: float,
    gpus_per_engine: int,
) -> int:
    """Prefill engines for the next interval (NVIDIA Dynamo's SLA planner, sla_planner.md)."""
    load = requests * tokens_each / interval_seconds * min(1.0, correction)
    return math.ceil(load / tokens_per_second_per_gpu / gpus_per_engine)

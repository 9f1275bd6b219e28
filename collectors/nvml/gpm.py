"""GPU performance monitoring (Hopper and newer): activity between two samples of the hardware.

GPM gives percent and MiB/s; our columns are ratios and bytes/s. It holds no lock that a profiler
would want. The driver writes only as many entries of the metrics struct as it was asked for, so
a binding whose array is longer than the driver's header does no harm; a shorter one cannot occur
with the ids below, which are the oldest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from collectors.nvml import library
from collectors.nvml.asking import Asking
from collectors.nvml.library import NvmlError

_RATIO = 0.01
_BYTES = 1024.0 * 1024.0
# NVML_GPM_METRIC_* id -> column and factor (nvml.h; units as there).
METRICS: Mapping[int, tuple[str, float]] = MappingProxyType(
    {
        1: ("graphics_util_ratio", _RATIO),
        2: ("sm_util_ratio", _RATIO),
        3: ("sm_occupancy_ratio", _RATIO),
        5: ("tensor_util_ratio", _RATIO),
        10: ("dram_util_ratio", _RATIO),
        12: ("fp32_util_ratio", _RATIO),
        13: ("fp16_util_ratio", _RATIO),
        20: ("pcie_tx_bytes_per_second", _BYTES),
        21: ("pcie_rx_bytes_per_second", _BYTES),
        60: ("nvlink_rx_bytes_per_second", _BYTES),
        61: ("nvlink_tx_bytes_per_second", _BYTES),
    }
)
_VERSION = 1


class GpmReader:
    """Two alternating samples of one GPU; the first poll has no span yet and gives nothing."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self._samples: list[Any] = []
        self._newest: int | None = None
        self._request: Any = None

    def fill(self, row: np.void, now_ms: int) -> None:
        """Write the columns of the span since the last poll."""
        if not self._ready(now_ms):
            return
        before, after = self._newest, 0 if self._newest is None else 1 - self._newest
        self._newest = None  # a failed sample must not become the start of a later span
        sample = self._samples[after]
        if self._asking.ask(now_ms, "nvmlGpmSampleGet", sample, key="gpm") is None:
            return
        self._newest = after
        if before is not None:
            self._compute(row, self._samples[before], self._samples[after], now_ms)

    def close(self) -> None:
        """Free the samples."""
        samples, self._samples, self._newest = self._samples, [], None
        for sample in samples:
            try:
                library.call("nvmlGpmSampleFree", sample)
            except NvmlError as error:
                library.log.debug("gpm sample not freed", error=str(error))

    def _ready(self, now_ms: int) -> bool:
        if self._samples or not self._asking.wants("gpm", now_ms):
            return self._asking.wants("gpm", now_ms)
        support = self._asking.ask(now_ms, "nvmlGpmQueryDeviceSupport", key="gpm")
        if support is None:
            return False
        if not support.isSupportedDevice:
            self._asking.refuse("gpm", now_ms)
            return False
        try:
            for _ in range(2):
                self._samples.append(library.call("nvmlGpmSampleAlloc"))
        except NvmlError as error:
            self.close()
            self._asking.failed("gpm", error, now_ms)
            return False
        self._request = _request()
        return True

    def _compute(self, row: np.void, before: Any, after: Any, now_ms: int) -> None:
        request = self._request
        request.sample1, request.sample2 = before, after
        try:
            library.call("nvmlGpmMetricsGet", request)
        except NvmlError as error:
            self._asking.failed("gpm", error, now_ms)
            return
        for slot, (number, (column, factor)) in enumerate(METRICS.items()):
            metric = request.metrics[slot]
            if metric.nvmlReturn == 0 and math.isfinite(metric.value) and metric.value >= 0:
                row[column] = metric.value * factor
            elif metric.nvmlReturn:
                self._count(number, metric.nvmlReturn, now_ms)

    def _count(self, number: int, code: int, now_ms: int) -> None:
        """Count a metric the GPU refuses once in ten minutes, not at each poll."""
        key = ("gpm", number)
        if self._asking.wants(key, now_ms):
            self._asking.failed(key, NvmlError(f"GPM metric {number}", code), now_ms)


def _request() -> Any:
    request = library.struct("c_nvmlGpmMetricsGet_t")
    request.version = _VERSION
    request.numMetrics = len(METRICS)
    for slot, number in enumerate(METRICS):
        request.metrics[slot].metricId = number
    return request

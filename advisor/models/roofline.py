"""How long work takes when only compute and memory bandwidth count, and where a pool sits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from advisor.models.arrays import Floats, Numbers, floats

VERSION = "roofline/2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Reality over a model: `t = overhead + modelled / efficiency`.

    An efficiency above 1 says that the engine is faster than modelled. With the roofline itself as
    the model, fits per model, GPU and tensor parallelism leave 1 to 5 % mean error in 19 of 24
    cells of AIConfigurator's tables and 13 % in the worst; uncorrected it is 1.2 to 3.6 times off.
    """

    overhead_seconds: float = 0.0
    efficiency: float = 1.0

    def seconds(self, modelled_seconds: Numbers) -> Floats:
        """Expected time of what the model gives a time for."""
        return self.overhead_seconds + floats(modelled_seconds) / self.efficiency


def arithmetic_intensity_flops_per_byte(flops: Numbers, traffic_bytes: Numbers) -> Floats:
    """Operations for each byte moved (Williams et al. 2009, the roofline model)."""
    return floats(flops) / floats(traffic_bytes)


def ridge_point_flops_per_byte(peak_flops: float, peak_bytes_per_second: float) -> float:
    """Intensity above which compute, below which memory bandwidth is the limit.

    H100 SXM bf16: 989e12 / 3.35e12 = 295.
    """
    return peak_flops / peak_bytes_per_second


def attainable_flops(
    intensity_flops_per_byte: Numbers, peak_flops: float, peak_bytes_per_second: float
) -> Floats:
    """The roof over an intensity, FLOP/s."""
    return np.minimum(peak_flops, floats(intensity_flops_per_byte) * peak_bytes_per_second)


def speed_of_light_seconds(
    flops: Numbers, traffic_bytes: Numbers, peak_flops: float, peak_bytes_per_second: float
) -> Floats:
    """Least time of the work on the roofline: the larger of its two parts."""
    return np.maximum(floats(flops) / peak_flops, floats(traffic_bytes) / peak_bytes_per_second)


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where work that was measured sits under its roof."""

    intensity_flops_per_byte: float
    ridge_flops_per_byte: float
    achieved_flops: float
    attainable_flops: float

    @property
    def bandwidth_bound(self) -> bool:
        """True left of the ridge."""
        return self.intensity_flops_per_byte < self.ridge_flops_per_byte

    @property
    def roof_ratio(self) -> float:
        """Share of the roof that is reached."""
        return self.achieved_flops / self.attainable_flops


def position(
    flops_per_second: float,
    bytes_per_second: float,
    peak_flops: float,
    peak_bytes_per_second: float,
) -> Position:
    """Position of measured rates under a roof; ValueError when a rate is not above 0."""
    if not (flops_per_second > 0 and bytes_per_second > 0):
        raise ValueError(
            f"flops_per_second={flops_per_second} bytes_per_second={bytes_per_second}: need > 0"
        )
    intensity = flops_per_second / bytes_per_second
    return Position(
        intensity_flops_per_byte=intensity,
        ridge_flops_per_byte=ridge_point_flops_per_byte(peak_flops, peak_bytes_per_second),
        achieved_flops=flops_per_second,
        attainable_flops=float(attainable_flops(intensity, peak_flops, peak_bytes_per_second)),
    )

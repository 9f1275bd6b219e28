"""The detectors, one module each. To add one: a module, its line here, its cases in the tests."""

from streams.detectors import bandwidth_bound_decode, fabric_congestion, thermal_limit
from streams.detectors.verdict import Detector

DETECTORS: tuple[Detector, ...] = (
    bandwidth_bound_decode.DETECTOR,
    fabric_congestion.DETECTOR,
    thermal_limit.DETECTOR,
)

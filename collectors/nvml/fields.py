"""Readings by NVML field id: all of a GPU's in one driver call.

Ids and units as in nvml.h (`NVML_FI_DEV_*`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from collectors.nvml.asking import Asking
from collectors.nvml.library import NvmlError
from ridgeline.schema import GPU, Kind

Key = tuple[int, int]
"""Field id and scope (NVLink port; 0 where there is none)."""

_FUNCTION = "nvmlDeviceGetFieldValues"
_LINK_COUNT = 91
_MOST_LINKS = 36  # NVML_NVLINK_MAX_LINKS; a larger answer is nonsense
# Members of the value union by nvmlValueType_t.
_MEMBER = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
_UNSIGNED_32 = 1
_SIGNED_32 = 5
_BLANK = 0x7FFFFFFFFFFFFFF0  # NVIDIA's "no value" markers start here
_NOT_AVAILABLE_32 = 0xFFFFFFFF  # NVML_VALUE_NOT_AVAILABLE_uint
_BLANK_32 = 0x7FFFFFF0


@dataclass(frozen=True, slots=True)
class Field:
    """One column by field ids, the best first; the reading is multiplied by `scale`."""

    column: str
    ids: tuple[int, ...]
    scale: float = 1.0


FIELDS: tuple[Field, ...] = (
    Field("power_watts", (186, 185), 1e-3),  # instant, else 1 s average; mW
    Field("power_limit_watts", (190,), 1e-3),  # enforced; mW
    Field("memory_temperature_celsius", (82,)),
    Field("slowdown_margin_celsius", (194,)),  # signed
    Field("energy_mj", (83,)),
    Field("throttle_power_ns", (74,)),
    Field("throttle_thermal_ns", (75,)),
    Field("throttle_sw_thermal_ns", (269,)),
    Field("throttle_hw_thermal_ns", (270,)),
    Field("throttle_power_brake_ns", (271,)),
    Field("ecc_corrected", (3,)),  # volatile totals: live, back to 0 with the driver
    Field("ecc_uncorrected", (4,)),
    Field("remapped_rows", (143,)),  # for uncorrectable errors
    Field("pcie_replays", (94,)),
)

# NVLink errors, by generation: the first group that answers is the GPU's own.
_PER_LINK_GROUPS: tuple[tuple[int, ...], ...] = (
    (161, 162, 163),  # replay, recovery, CRC: up to NVLink 4
    (208, 211, 215),  # receive errors, link integrity, recoveries: NVLink 5, which lost 161-163
)
_TOTALS_GROUP = (38, 45, 52, 59)  # flit CRC, data CRC, replay, recovery over all links: Ampere


class FieldReader:
    """Reads the field columns of one GPU."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self._keys: tuple[Key, ...] = ()
        self._keys_refusals = -1
        self._keys_until_ms = 0
        self._nvlink: tuple[Key, ...] = ()
        self._nvlink_next_ms = 0

    def fill(self, row: np.void, now_ms: int) -> None:
        """Write the columns; one that is not given stays missing."""
        self._find_nvlink(now_ms)
        values = self._read((*self._plain_keys(now_ms), *self._nvlink), now_ms)
        for field in FIELDS:
            found = [values[(i, 0)] for i in field.ids if (i, 0) in values]
            if found:
                _put(row, field.column, found[0] * field.scale if field.scale != 1 else found[0])
        if self._nvlink and all(key in values for key in self._nvlink):
            row["nvlink_errors"] = int(sum(values[key] for key in self._nvlink))

    def _plain_keys(self, now_ms: int) -> tuple[Key, ...]:
        """Keys worth asking; worked out anew when one was refused, and every minute."""
        stale = self._keys_refusals != self._asking.refusals or now_ms >= self._keys_until_ms
        if stale:
            every = ((i, 0) for field in FIELDS for i in field.ids)
            self._keys = tuple(key for key in every if self._asking.wants(key, now_ms))
            self._keys_refusals = self._asking.refusals
            self._keys_until_ms = now_ms + 60_000
        return self._keys

    def _find_nvlink(self, now_ms: int) -> None:
        if self._nvlink or now_ms < self._nvlink_next_ms:
            return
        self._nvlink_next_ms = now_ms + 600_000
        count = self._read(((_LINK_COUNT, 0),), now_ms).get((_LINK_COUNT, 0), 0)
        links = range(int(count) if 0 < count <= _MOST_LINKS else 0)
        groups = [tuple((i, link) for link in links for i in ids) for ids in _PER_LINK_GROUPS]
        groups.append(tuple((i, 0) for i in _TOTALS_GROUP) if links else ())
        for group in groups:
            answered = self._read(group, now_ms)
            if answered:
                self._nvlink = tuple(answered)
                return

    def _read(self, keys: tuple[Key, ...], now_ms: int) -> Mapping[Key, float]:
        if not keys:
            return MappingProxyType({})
        answers = self._asking.ask(now_ms, _FUNCTION, keys, key=_FUNCTION)
        out: dict[Key, float] = {}
        for key, answer in zip(keys, answers or (), strict=False):
            if answer.nvmlReturn:
                error = NvmlError(f"{_FUNCTION} field {key[0]}", answer.nvmlReturn)
                self._asking.failed(key, error, now_ms)
            elif 0 <= answer.valueType < len(_MEMBER):
                number = getattr(answer.value, _MEMBER[answer.valueType])
                if not _is_blank(number, answer.valueType):
                    out[key] = number
        return out


def is_blank_32(number: int) -> bool:
    """Whether a 32-bit reading is one of NVIDIA's markers for "no value"."""
    return number == _NOT_AVAILABLE_32 or _BLANK_32 <= number < 2**31


def _is_blank(number: float, value_type: int) -> bool:
    if value_type in (_UNSIGNED_32, _SIGNED_32):
        return is_blank_32(int(number))
    return not math.isfinite(number) or number >= _BLANK


def _put(row: np.void, column: str, number: float) -> None:
    if GPU.by_name[column].kind is Kind.GAUGE:
        row[column] = number
    elif number >= 0:
        row[column] = int(number)

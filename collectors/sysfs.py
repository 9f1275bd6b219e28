"""Reading sysfs files one by one, where any of them may be missing, refuse, or hold words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ridgeline.metrics import COLLECT_READ_ERRORS
from ridgeline.schema import MISSING_COUNTER

SATURATED_32_BIT = 2**32 - 1  # a counter stuck at its ceiling says nothing any more
_RATE = re.compile(r"^\s*([\d.]+)\s*Gb/sec")


def text(path: Path, collector: str) -> str | None:
    """The stripped text of a file, or None when it is absent or refuses.

    A refusal (EINVAL, EOPNOTSUPP, EIO) is counted as a read error of `collector`; absence is not.
    """
    try:
        return path.read_bytes().decode("ascii", "replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        COLLECT_READ_ERRORS.labels(collector).inc()
        return None


def counter(path: Path, collector: str, scale: int = 1) -> int:
    """A counter times `scale`, or MISSING_COUNTER when absent, not a number, or saturated."""
    found = text(path, collector)
    if found is None or not found.isdecimal():  # "N/A (no PMA)" is a real answer
        return MISSING_COUNTER
    value = int(found)
    if value == SATURATED_32_BIT or value * scale >= MISSING_COUNTER:
        return MISSING_COUNTER
    return value * scale


def first_counter(folder: Path, names: tuple[str, ...], collector: str) -> int:
    """The first of several spellings of a counter that is there, or MISSING_COUNTER."""
    values = (counter(folder / name, collector) for name in names)
    return next((v for v in values if v != MISSING_COUNTER), MISSING_COUNTER)


def first_of(values: Mapping[str, int], names: tuple[str, ...]) -> int:
    """The first of several names that is known, or MISSING_COUNTER."""
    return next((values[name] for name in names if name in values), MISSING_COUNTER)


def rate_bits_per_second(found: str | None) -> float:
    """The bit rate of `400 Gb/sec (4X NDR)`, or NaN."""
    match = _RATE.match(found or "")
    return float(match.group(1)) * 1e9 if match else float("nan")


def children(folder: Path) -> list[Path]:
    """Entries of a folder by name; none when it is absent or unreadable."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def driver_of(device: Path) -> str:
    """Name of the kernel driver bound to a device folder, or an empty string."""
    try:
        return (device / "driver").readlink().name
    except OSError:
        return ""

"""Numbers, times and money as console and chat write them. Pure; unknown is a dash, never 0."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TypeGuard

from ridgeline.events import Estimate, Evidence

UNKNOWN = "—"
_ACRONYMS = {
    word.lower(): word
    for word in (
        *("CNP", "CPU", "DRAM", "ECC", "ECN", "GPU", "GPUs", "HBM", "IB", "KV", "NVLink", "PCIe"),
        *("PFC", "PUE", "RDMA", "RoCE", "SLO", "SM", "TPOT", "TTFT", "XID"),
    )
}
_NARROW = "\u202f"  # narrow no-break space: number and unit stay on one line


def known(value: float | None) -> TypeGuard[float]:
    """Whether there is a finite reading."""
    return value is not None and math.isfinite(value)


def number(value: float | None, unit: str = "", digits: int = 3) -> str:
    """`digits` significant digits, thousands grouped, then the unit."""
    if not known(value):
        return UNKNOWN
    if value == 0:
        text = "0"
    else:
        decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
        text = f"{value:,.{decimals}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    return f"{text}{_NARROW}{unit}" if unit else text


def scaled(value: float | None, unit: str) -> str:
    """A number with k, M, G, T before its unit."""
    if not known(value):
        return UNKNOWN
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return number(value / size, prefix + unit)
    return number(value, unit)


def percent(ratio: float | None) -> str:
    """A ratio 0..1 in percent; one decimal below 10 %."""
    if not known(ratio):
        return UNKNOWN
    value = ratio * 100
    return number(value, "%", digits=2) if abs(value) < 10 else f"{value:.0f}{_NARROW}%"


def seconds(value: float | None) -> str:
    """A duration, in the unit a person would say it in."""
    if not known(value):
        return UNKNOWN
    if abs(value) < 1e-3 and value != 0:
        return number(value * 1e6, "µs")
    if abs(value) < 1:
        return number(value * 1e3, "ms")
    if abs(value) < 120:
        return number(value, "s")
    return number(value / 60, "min") if abs(value) < 7200 else number(value / 3600, "h")


def celsius(value: float | None) -> str:
    """A temperature, one decimal."""
    if not known(value):
        return UNKNOWN
    return f"{value:.1f}{_NARROW}°C"


def money(usd: float | None) -> str:
    """Dollars, rounded to what a budget cares about."""
    if not known(usd):
        return UNKNOWN
    sign = "\u2212" if usd < 0 else ""
    size = abs(usd)
    if size >= 999_500:
        return f"{sign}${number(size / 1e6)}M"
    if size >= 999.5:
        return f"{sign}${number(size / 1e3)}k"
    return f"{sign}${size:.0f}"


def is_money(unit: str) -> bool:
    """Whether a unit is dollars (per something)."""
    return unit.lower().startswith(("usd", "$"))


def quantity(value: float | None, unit: str) -> str:
    """A value in the unit it came with."""
    low = unit.lower()
    if is_money(unit):
        _, slash, per = unit.partition("/")
        return money(value) + (f" / {per}" if slash and known(value) else "")
    if low in ("ratio", "fraction") or low.startswith("ratio "):
        return f"{percent(value)}{unit[len('ratio') :] if known(value) and ' ' in unit else ''}"
    if low in ("celsius", "c", "°c", "degc"):
        return celsius(value)
    if low in ("seconds", "second", "s"):
        return seconds(value)
    if low in ("w", "watt", "watts"):
        return scaled(value, "W")
    named = unit.removeprefix("1").replace("_per_", "/").replace("_", " ")  # "1/s" is "/s"
    return number(value, named)


def interval(estimate: Estimate | None) -> str:
    """The range of an estimate: "$9k - $14k / month"; one number where the range is a point."""
    if estimate is None:
        return UNKNOWN
    high = quantity(estimate.high, estimate.unit)
    low = quantity(estimate.low, estimate.unit)
    if low == high:
        return high
    if is_money(estimate.unit):
        low = money(estimate.low)
    elif estimate.unit.lower().startswith("ratio "):
        low = percent(estimate.low)
    return f"{low} – {high}"  # noqa: RUF001 - an en dash is how a range is set


def claim(evidence: Evidence) -> str:
    """One piece of evidence: value, then the threshold it is held against."""
    text = quantity(evidence.value, evidence.unit)
    if evidence.threshold is not None:
        text += f" (threshold {quantity(evidence.threshold, evidence.unit)})"
    return text


def duration(milliseconds: int) -> str:
    """A length of time in its largest whole unit; below 0 counts as 0."""
    whole = max(0, milliseconds) // 1000
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if whole >= size:
            return f"{whole // size}{_NARROW}{unit}"
    return f"{whole}{_NARROW}s"


def age(then_ms: int | None, now_ms: int) -> str:
    """How long ago."""
    return UNKNOWN if then_ms is None else f"{duration(now_ms - then_ms)} ago"


def rough_age(then_ms: int, now_ms: int) -> str:
    """How long ago, without the seconds, so that it changes once a minute."""
    return "just now" if now_ms - then_ms < 60_000 else age(then_ms, now_ms)


def clock(at_ms: int | None) -> str:
    """Date and time in UTC."""
    if at_ms is None:
        return UNKNOWN
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%d %b %H:%M UTC")


def spaced(name: str) -> str:
    """An identifier inside a sentence: "cloud_burst" -> "cloud burst"."""
    return name.replace("_", " ")


def words(name: str) -> str:
    """An identifier as a person would write it: "incast_receiver" -> "Incast receiver"."""
    parts = [_ACRONYMS.get(part, part) for part in spaced(name).split(" ")]
    text = " ".join(parts).strip()
    return text[:1].upper() + text[1:]

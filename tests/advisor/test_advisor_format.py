"""How the console writes numbers, times and money."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor import format as fmt
from ridgeline.events import Confidence, Estimate, Evidence

NARROW = "\u202f"


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_unknown_is_a_dash_everywhere(value: float | None) -> None:
    """No formatter turns a missing reading into a number."""
    for write in (fmt.number, fmt.percent, fmt.seconds, fmt.celsius, fmt.money):
        assert "—" == write(value)
    assert "—" == fmt.scaled(value, "W")
    assert "—" == fmt.quantity(value, "USD/month")


@pytest.mark.parametrize(
    ("usd", "written"),
    [
        (0, "$0"),
        (949.6, "$950"),
        (999.6, "$1k"),
        (12_440, "$12.4k"),
        (999_600, "$1M"),
        (1_234_000, "$1.23M"),
        (-5_200, "\u2212$5.2k"),
    ],
)
def test_money(usd: float, written: str) -> None:
    """Three digits, never "$1000k"."""
    assert written == fmt.money(usd)


@pytest.mark.parametrize(
    ("value", "written"),
    [(0, "0 ms"), (0.000_045, "45 µs"), (0.142, "142 ms"), (1.25, "1.25 s"), (600, "10 min")],
)
def test_seconds(value: float, written: str) -> None:
    """The unit a person would use."""
    assert written.replace(" ", NARROW) == fmt.seconds(value)


def test_percent() -> None:
    """One decimal only where it matters."""
    assert [f"0{NARROW}%", f"0.4{NARROW}%", f"84{NARROW}%", f"100{NARROW}%"] == [
        fmt.percent(r) for r in (0.0, 0.004, 0.84, 1.0)
    ]


def test_scaled() -> None:
    """Large numbers carry a prefix."""
    assert [f"38.4{NARROW}kW", f"900{NARROW}W", f"1.5{NARROW}GB/s"] == [
        fmt.scaled(38_400, "W"),
        fmt.scaled(900, "W"),
        fmt.scaled(1.5e9, "B/s"),
    ]


def test_interval() -> None:
    """A range once, with its unit at the end; a point as one number."""

    def estimate(low: float, high: float, unit: str = "USD/month") -> Estimate:
        return Estimate(
            low=low, mid=low, high=high, unit=unit, confidence=Confidence.MEASURED, source="x"
        )

    dash = " \u2013 "
    assert f"$31k{dash}$51k / month" == fmt.interval(estimate(31_000, 51_000))
    assert "$31k / month" == fmt.interval(estimate(31_000, 31_000))
    assert f"10{NARROW}%{dash}20{NARROW}%" == fmt.interval(estimate(0.1, 0.2, "ratio"))
    more = fmt.interval(estimate(0.28, 0.63, "ratio more requests"))
    assert f"28{NARROW}%{dash}63{NARROW}% more requests" == more
    assert "—" == fmt.interval(None)


def test_claim_shows_the_threshold() -> None:
    """A number and what it is held against, in the same unit."""
    evidence = Evidence(name="x", value=91.0, unit="celsius", threshold=87.0)

    assert f"91.0{NARROW}°C (threshold 87.0{NARROW}°C)" == fmt.claim(evidence)


def test_ages() -> None:
    """Whole units; a clock that runs ahead is "0 s", not negative."""
    assert [f"2{NARROW}s ago", f"1{NARROW}min ago", f"3{NARROW}h ago", f"2{NARROW}d ago"] == [
        fmt.age(0, now) for now in (2_000, 119_000, 3 * 3_600_000, 50 * 3_600_000)
    ]
    assert f"0{NARROW}s ago" == fmt.age(5_000, 0)
    assert "—" == fmt.age(None, 0)
    assert "just now" == fmt.rough_age(0, 59_999)


def test_words() -> None:
    """Identifiers are read as words; acronyms keep their letters."""
    assert "Incast receiver" == fmt.words("incast_receiver")
    assert "KV transfer" == fmt.words("kv_transfer")
    assert "DRAM active" == fmt.words("dram_active")


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_no_value_breaks_a_formatter(value: float) -> None:
    """Whatever arrives, there is text."""
    for unit in ("USD/month", "ratio", "celsius", "seconds", "watts", "bytes_per_second", ""):
        assert fmt.quantity(value, unit)


def test_a_count_has_no_unit() -> None:
    """The unit "1" is not shown, "1/s" is "/s"."""
    assert "12" == fmt.quantity(12, "1")
    assert f"132{NARROW}/s" == fmt.quantity(132, "1/s")

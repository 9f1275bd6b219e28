"""What rules need of many devices that their mean device does not tell: one column each.

The share of time in the worst of several counters, or the busier direction of a link, is not that
of the means. So it is taken of each device's minute, when minutes are folded into places, and from
then on folded like any other average or increase: facts read a few rows instead of a fleet's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from ridgeline.schema import EXACT, GPU, Kind, Resolution, WindowField

SECONDS = "(w.windows * {window_s:Float64})"
"""SQL: what the increases of a row `w` were counted over."""
HOT_RATIO = 0.01
"""Share of its time from which on a row counts as held down by heat."""
_SHARE = Resolution(step=2**-20, why="a millionth of the time")


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """A column of minutes of places.

    `sql` is its value in a device's minute `w`, NaN where it is not known. An average is rounded
    there, as in windows, so that sums over devices are exact in any order.
    """

    field: WindowField
    sql: str


def _average(name: str, unit: str, doc: str, sql: str, resolution: Resolution = _SHARE) -> Derived:
    field = WindowField(
        name=name,
        column=name,
        how="avg",
        numpy="<f4",
        kind=Kind.GAUGE,
        unit=unit,
        doc=doc,
        resolution=resolution,
    )
    return Derived(field=field, sql=sql)


def _increase(name: str, unit: str, doc: str, sql: str) -> Derived:
    field = WindowField(
        name=f"{name}_inc",
        column=name,
        how="inc",
        numpy="<f8",
        kind=Kind.COUNTER,
        unit=unit,
        doc=doc,
        resolution=EXACT,
    )
    return Derived(field=field, sql=sql)


def _held(columns: Sequence[str]) -> str:
    """Share of a row's time in the worst of several throttle counters, which may overlap."""
    known = " OR ".join(f"isFinite(w.{c})" for c in columns)
    worst = ", ".join(f"ifNotFinite(w.{c}, 0)" for c in columns)
    share = f"least(1, greatest({worst}) / ({SECONDS} * 1e9))"
    return f"if({known}, {share}, nan)"


def _larger(a: str, b: str) -> str:
    """The larger of two columns, or the one that is known."""
    return f"greatest(ifNotFinite(w.{a}, w.{b}), ifNotFinite(w.{b}, w.{a}))"


def _busier(link: str) -> Derived:
    tx, rx = (f"{link}_{way}_bytes_per_second" for way in ("tx", "rx"))
    return _average(
        f"{link}_busier_bytes_per_second",
        "B/s",
        "the busier direction",
        _larger(f"{tx}_avg", f"{rx}_avg"),
        GPU.by_name[tx].resolution,
    )


HEAT_SHARE = _held(
    ("throttle_thermal_ns_inc", "throttle_sw_thermal_ns_inc", "throttle_hw_thermal_ns_inc")
)
"""SQL: share of a row's time in which heat held the clocks down."""
_POWER_SHARE = _held(("throttle_power_ns_inc", "throttle_power_brake_ns_inc"))
_CLOCK = "w.sm_clock_mhz_avg / w.sm_clock_max_mhz_avg"
_HOT = f"{HEAT_SHARE} > {HOT_RATIO}"
_CARRIED = _larger("tx_bytes_inc", "rx_bytes_inc")
_ASKED = "w.requests_waiting_avg + w.requests_running_avg"

DERIVED: Mapping[str, tuple[Derived, ...]] = MappingProxyType(
    {
        "gpu": (
            _average("heat_ratio", "ratio", "time held down by heat", HEAT_SHARE),
            _average("power_ratio", "ratio", "time held down by a power limit", _POWER_SHARE),
            _average(
                "hot_ratio",
                "ratio",
                "devices held down by heat whose clock is known",
                f"if(isFinite({_CLOCK}) AND isFinite({HEAT_SHARE}), {_HOT}, nan)",
            ),
            _average(
                "hot_clock_ratio",
                "ratio",
                "their SM clock over its highest; 0 for all others",
                f"if(isFinite({_CLOCK}) AND isFinite({HEAT_SHARE}), ({_HOT}) * {_CLOCK}, nan)",
            ),
            _average(
                "memory_used_ratio",
                "ratio",
                "framebuffer in use",
                "w.memory_used_bytes_avg / w.memory_total_bytes_avg",
            ),
            _busier("pcie"),
            _busier("nvlink"),
        ),
        "fabric": (
            _increase("carried_bytes", "B", "the busier direction", _CARRIED),
            _increase(
                "carried_seconds",
                "s",
                "that it takes at the full rate of the link",
                f"{_CARRIED} * 8 / w.link_rate_bits_per_second_avg",
            ),
        ),
        "facility": (),
        "serving": (
            _average(
                "overloaded_ratio",
                "ratio",
                "engines whose queue is longer than a tenth of the batch",
                f"if(isFinite({_ASKED}), w.requests_waiting_avg >"
                " greatest(1, 0.1 * w.requests_running_avg), nan)",
            ),
        ),
    }
)
"""By family."""

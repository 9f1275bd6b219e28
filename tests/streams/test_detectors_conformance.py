"""Every detector: where it must speak, look-alikes where it must not, silence on no data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest

from ridgeline.events import Severity
from ridgeline.schema import MISSING_STATE, SCHEMAS
from streams.detectors import DETECTORS
from streams.detectors.verdict import Detector, Groups, Verdict
from streams.detectors.words import HIT, UNKNOWN
from streams.episodes import said

NAN = math.nan
Values = Mapping[str, float]


@dataclass(frozen=True)
class Case:
    """Some devices in a row; every mapping is shared by all, `own` differs by device."""

    name: str
    now: Values = field(default_factory=dict)
    usual: Values = field(default_factory=dict)
    peak: Values = field(default_factory=dict)
    states: Mapping[str, int] = field(default_factory=dict)
    serving: Values = field(default_factory=dict)
    cooling: Values = field(default_factory=dict)
    own: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    pool: str = "decode"
    severity: Severity | None = None
    says: str = ""


class Table:
    """`Devices` and `Around` from a case; device 0 is the one that is judged."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._count = max([len(v) for v in case.own.values()], default=1)

    def _row(self, values: Values, name: str) -> np.ndarray:
        return np.full(self._count, values.get(name, NAN))

    def now(self, name: str) -> np.ndarray:
        """Current values."""
        own = self._case.own.get(name)
        return np.array(own) if own is not None else self._row(self._case.now, name)

    def usual(self, name: str) -> np.ndarray:
        """Baselines."""
        return self._row(self._case.usual, name)

    def peak(self, name: str) -> np.ndarray:
        """Peaks."""
        return self._row(self._case.peak, name)

    def state(self, name: str) -> np.ndarray:
        """States."""
        return np.full(self._count, self._case.states.get(name, MISSING_STATE), dtype=np.uint32)

    def serving(self, name: str) -> np.ndarray:
        """LLM servers of the node."""
        return self._row(self._case.serving, name)

    def cooling(self, name: str) -> np.ndarray:
        """CDU of the loop."""
        return self._row(self._case.cooling, name)

    @property
    def pool(self) -> Groups:
        """Pools."""
        return Groups.of([self._case.pool] * self._count)

    @property
    def rack(self) -> Groups:
        """Racks."""
        return Groups.of(["rack00"] * self._count)

    @property
    def rail(self) -> Groups:
        """Rails."""
        return Groups.of(["rail0"] * self._count)

    @property
    def loop(self) -> Groups:
        """Loops."""
        return Groups.of(["loop-a"] * self._count)


DECODE = {
    "dram_util_ratio": 0.78,
    "tensor_util_ratio": 0.11,
    "throttle_power_ns": 0.0,
    "throttle_thermal_ns": 0.0,
}
SERVES = {
    "requests_running": 64.0,
    "generation_tokens": 4000.0,
    "prompt_tokens": 200.0,
    "preemptions": 0.0,
}
PORT = {
    "link_rate_bits_per_second": 400e9,
    "tx_bytes": 1e9,
    "rx_bytes": 25e9,
    "tx_packets": 0.25e6,
    "rx_packets": 6e6,
    "ecn_marked_packets": 0.0,
    "cnp_sent": 0.0,
    "cnp_handled": 0.0,
    "cnp_ignored": 0.0,
    "out_of_sequence": 0.0,
    "packet_sequence_errors": 0.0,
    "adaptive_retransmits": 0.0,
    "ack_timeouts": 0.0,
    "symbol_errors": 0.0,
    "link_recoveries": 0.0,
    "pfc_rx_pause_us": 0.0,
    "pfc_storm_events": 0.0,
    "tx_wait_ticks": 0.0,
}
COOL = {
    "temperature_celsius": 60.0,
    "tlimit_margin_celsius": 27.0,
    "slowdown_margin_celsius": -2.0,
    "sm_clock_mhz": 1980.0,
    "sm_clock_max_mhz": 1980.0,
    "throttle_power_ns": 0.0,
    "throttle_thermal_ns": 0.0,
    "throttle_sw_thermal_ns": 0.0,
    "throttle_hw_thermal_ns": 0.0,
    "throttle_power_brake_ns": 0.0,
}
UNIT = {
    "supply_celsius": 32.0,
    "return_celsius": 38.0,
    "facility_supply_celsius": 24.0,
    "flow_liters_per_minute": 120.0,
}
HOT = {"throttle_thermal_ns": 0.2e9, "tlimit_margin_celsius": -1.0}
CDU = {"supply_celsius": 32.0, "supply_celsius_usual": 32.0, "flow_share": 1.0}
EIGHT = (0.0,) * 7

POSITIVE: Mapping[tuple[str, str], tuple[Case, ...]] = {
    ("gpu", "bandwidth_bound"): (
        Case("decode with serving", now=DECODE, serving=SERVES, says="HBM ceiling"),
        Case("decode pool, no serving data", now=DECODE),
        Case("slower part at its own peak", now=DECODE | {"dram_util_ratio": 0.73}, serving=SERVES),
        Case(
            "own higher ceiling",
            now=DECODE | {"dram_util_ratio": 0.9},
            peak={"dram_util_ratio": 0.93},
        ),
    ),
    ("fabric", "incast_receiver"): (
        Case("marks and CNPs", now=PORT | {"ecn_marked_packets": 3e5, "cnp_sent": 2e5}),
        Case(
            "far above usual",
            now=PORT | {"ecn_marked_packets": 3e5, "cnp_sent": 2e5},
            usual={"cnp_sent": 1e4},
        ),
        Case(
            "a tenth marked",
            now=PORT | {"ecn_marked_packets": 1e6, "cnp_sent": 7e5},
            severity=Severity.CRITICAL,
        ),
    ),
    ("fabric", "victim_sender"): (
        Case("told to slow down", now=PORT | {"tx_bytes": 10e9, "cnp_handled": 5000.0}),
        Case(
            "far above usual",
            now=PORT | {"tx_bytes": 10e9, "cnp_handled": 5000.0},
            usual={"cnp_handled": 100.0},
        ),
        Case("hardly sending any more", now=PORT | {"tx_bytes": 3e9, "cnp_handled": 500.0}),
    ),
    ("fabric", "pfc_storm"): (
        Case("paused", now=PORT | {"pfc_rx_pause_us": 2e5}, severity=Severity.CRITICAL),
        Case("storm warning", now=PORT | {"pfc_storm_events": 0.1}),
        Case(
            "idle but paused", now=PORT | {"rx_bytes": 0.0, "tx_bytes": 0.0, "pfc_rx_pause_us": 9e5}
        ),
    ),
    ("fabric", "lossy_link"): (
        Case(
            "bad cable",
            now=PORT
            | {"out_of_sequence": 6000.0, "packet_sequence_errors": 500.0, "symbol_errors": 20.0},
        ),
        Case(
            "no symbol counter",
            now=PORT
            | {"symbol_errors": NAN, "out_of_sequence": 600.0, "packet_sequence_errors": 500.0},
        ),
        Case(
            "severe",
            now=PORT
            | {"out_of_sequence": 60000.0, "packet_sequence_errors": 500.0, "symbol_errors": 20.0},
            severity=Severity.CRITICAL,
        ),
    ),
    ("fabric", "cc_disabled"): tuple(
        Case(f"{rate} ignored", now=PORT | {"cnp_ignored": rate}) for rate in (1.0, 50.0, 1e5)
    ),
    ("fabric", "credit_starved"): tuple(
        Case(
            f"{times} times usual",
            now=PORT | {"tx_bytes": 25e9, "tx_wait_ticks": times * 1e5},
            usual={"tx_wait_ticks": 1e5},
            states={"link_layer": 2},
        )
        for times in (3.5, 5, 20)
    ),
    ("gpu", "thermal_throttle"): (
        Case(
            "hot loop",
            now=COOL | HOT,
            cooling=CDU | {"supply_celsius": 45.0},
            says="coolant of its loop is hot",
        ),
        Case(
            "slow loop", now=COOL | HOT, cooling=CDU | {"flow_share": 0.4}, says="flows too slowly"
        ),
        Case(
            "only this one",
            now=COOL,
            own={"throttle_thermal_ns": (0.2e9, *EIGHT)},
            cooling=CDU,
            says="only this GPU",
        ),
        Case(
            "whole rack",
            now=COOL | HOT,
            cooling=CDU,
            says="rack is hot",
            own={"power_watts": (1.0,) * 8},
        ),
        Case(
            "hardware slowdown",
            now=COOL | {"throttle_hw_thermal_ns": 0.1e9},
            severity=Severity.CRITICAL,
        ),
    ),
    ("gpu", "near_thermal_limit"): tuple(
        Case(f"margin {m}", now=COOL | {"tlimit_margin_celsius": m}) for m in (0.5, 0.0, -1.5)
    ),
    ("gpu", "power_brake"): tuple(
        Case(
            f"{s} of the time",
            now=COOL | {"throttle_power_brake_ns": s * 1e9},
            severity=Severity.CRITICAL,
        )
        for s in (0.02, 0.5, 1.0)
    ),
    ("gpu", "power_cap"): (
        Case(
            "one GPU", now=COOL, own={"throttle_power_ns": (0.5e9, *EIGHT)}, severity=Severity.INFO
        ),
        Case("full clock", now=COOL | {"throttle_power_ns": 0.9e9}, severity=Severity.INFO),
        Case(
            "whole pool slowed",
            now=COOL | {"throttle_power_ns": 0.9e9, "sm_clock_mhz": 1400.0},
            severity=Severity.WARNING,
        ),
    ),
    ("facility", "coolant_supply_hot"): (
        Case(
            "above usual", now=UNIT | {"supply_celsius": 38.0}, usual=UNIT, says="the unit itself"
        ),
        Case(
            "facility water too",
            now=UNIT | {"supply_celsius": 38.0, "facility_supply_celsius": 30.0},
            usual=UNIT,
            says="facility water",
        ),
        Case("above any class", now=UNIT | {"supply_celsius": 46.0}, severity=Severity.CRITICAL),
    ),
    ("facility", "coolant_flow_low"): (
        Case(
            "pump fails",
            now=UNIT | {"flow_liters_per_minute": 80.0, "return_celsius": 42.0},
            usual=UNIT,
        ),
        Case(
            "clogged",
            now=UNIT | {"flow_liters_per_minute": 50.0, "return_celsius": 46.0},
            usual=UNIT,
            severity=Severity.CRITICAL,
        ),
        Case(
            "no return sensor",
            now=UNIT | {"flow_liters_per_minute": 80.0, "return_celsius": NAN},
            usual=UNIT,
        ),
    ),
}
NEGATIVE: Mapping[tuple[str, str], tuple[Case, ...]] = {
    ("gpu", "bandwidth_bound"): (
        Case("prefill: tensor cores busy", now=DECODE | {"tensor_util_ratio": 0.6}, serving=SERVES),
        Case("held down by power", now=DECODE | {"throttle_power_ns": 0.3e9}, serving=SERVES),
        Case("held down by heat", now=DECODE | {"throttle_thermal_ns": 0.3e9}, serving=SERVES),
        Case("waits for PCIe", now=DECODE | {"pcie_rx_bytes_per_second": 55e9}, serving=SERVES),
        Case("KV cache too small", now=DECODE, serving=SERVES | {"preemptions": 5.0}),
        Case("batch too small", now=DECODE | {"dram_util_ratio": 0.5}, serving=SERVES),
        Case(
            "below its own ceiling",
            now=DECODE | {"dram_util_ratio": 0.75},
            peak={"dram_util_ratio": 0.93},
            serving=SERVES,
        ),
        Case("training", now=DECODE, pool="training"),
        Case("prompts on the node", now=DECODE, serving=SERVES | {"prompt_tokens": 4000.0}),
        Case("nothing runs", now=DECODE, serving=SERVES | {"requests_running": 0.0}),
    ),
    ("fabric", "incast_receiver"): (
        Case(
            "usual for this port",
            now=PORT | {"ecn_marked_packets": 3e5, "cnp_sent": 2e5},
            usual={"cnp_sent": 1.5e5},
        ),
        Case(
            "idle port",
            now=PORT
            | {"rx_bytes": 1e8, "rx_packets": 2e4, "ecn_marked_packets": 3e3, "cnp_sent": 2e3},
        ),
        Case("full but unmarked", now=PORT | {"rx_bytes": 48e9}),
        Case("a few marks", now=PORT | {"ecn_marked_packets": 600.0, "cnp_sent": 450.0}),
    ),
    ("fabric", "victim_sender"): (
        Case(
            "usual",
            now=PORT | {"tx_bytes": 10e9, "cnp_handled": 5000.0},
            usual={"cnp_handled": 4000.0},
        ),
        Case("idle", now=PORT | {"tx_bytes": 0.0, "cnp_handled": 5000.0}),
        Case(
            "mostly receiver", now=PORT | {"tx_bytes": 10e9, "cnp_handled": 500.0, "cnp_sent": 5e4}
        ),
    ),
    ("fabric", "pfc_storm"): (
        Case("none", now=PORT),
        Case("a short pause", now=PORT | {"pfc_rx_pause_us": 1e4}),
        Case("only incast", now=PORT | {"ecn_marked_packets": 3e5, "cnp_sent": 2e5}),
    ),
    ("fabric", "lossy_link"): (
        Case("adaptive routing", now=PORT | {"out_of_sequence": 6000.0}),
        Case(
            "congestion",
            now=PORT
            | {
                "out_of_sequence": 6000.0,
                "packet_sequence_errors": 500.0,
                "ecn_marked_packets": 3e5,
                "symbol_errors": 20.0,
            },
        ),
        Case(
            "the other end", now=PORT | {"out_of_sequence": 600.0, "packet_sequence_errors": 500.0}
        ),
        Case(
            "a stray",
            now=PORT
            | {"out_of_sequence": 1.0, "packet_sequence_errors": 1.0, "symbol_errors": 2.0},
        ),
    ),
    ("fabric", "cc_disabled"): (
        Case("obeyed", now=PORT | {"cnp_handled": 5000.0}),
        Case("none", now=PORT),
        Case("one an hour", now=PORT | {"cnp_ignored": 1 / 3600}),
    ),
    ("fabric", "credit_starved"): (
        Case(
            "usual",
            now=PORT | {"tx_bytes": 25e9, "tx_wait_ticks": 1.2e5},
            usual={"tx_wait_ticks": 1e5},
            states={"link_layer": 2},
        ),
        Case(
            "idle",
            now=PORT | {"tx_bytes": 1e8, "tx_wait_ticks": 9e5},
            usual={"tx_wait_ticks": 1e5},
            states={"link_layer": 2},
        ),
        Case(
            "not InfiniBand",
            now=PORT | {"tx_bytes": 25e9, "tx_wait_ticks": 9e5},
            usual={"tx_wait_ticks": 1e5},
            states={"link_layer": 3},
        ),
        Case(
            "no baseline yet",
            now=PORT | {"tx_bytes": 25e9, "tx_wait_ticks": 9e5},
            states={"link_layer": 2},
        ),
    ),
    ("gpu", "thermal_throttle"): (
        Case(
            "hot but not slowed",
            now=COOL | {"temperature_celsius": 84.0, "tlimit_margin_celsius": 1.0},
        ),
        Case("power cap", now=COOL | {"throttle_power_ns": 0.9e9}),
        Case("a blink", now=COOL | {"throttle_thermal_ns": 0.01e9}),
    ),
    ("gpu", "near_thermal_limit"): (
        Case("cool", now=COOL),
        Case("already slowed", now=COOL | HOT),
        Case("warm", now=COOL | {"tlimit_margin_celsius": 5.0}),
    ),
    ("gpu", "power_brake"): (
        Case("software cap", now=COOL | {"throttle_power_ns": 0.9e9}),
        Case("cool", now=COOL),
        Case("heat", now=COOL | HOT),
    ),
    ("gpu", "power_cap"): (
        Case("brake", now=COOL | {"throttle_power_ns": 0.9e9, "throttle_power_brake_ns": 0.9e9}),
        Case("a little", now=COOL | {"throttle_power_ns": 0.05e9}),
        Case("heat", now=COOL | HOT),
    ),
    ("facility", "coolant_supply_hot"): (
        Case("usual", now=UNIT, usual=UNIT),
        Case(
            "warm by design",
            now=UNIT | {"supply_celsius": 40.0},
            usual=UNIT | {"supply_celsius": 39.5},
        ),
        Case("no baseline yet", now=UNIT | {"supply_celsius": 40.0}),
    ),
    ("facility", "coolant_flow_low"): (
        Case("usual", now=UNIT, usual=UNIT),
        Case(
            "pump follows the load",
            now=UNIT | {"flow_liters_per_minute": 60.0, "return_celsius": 38.2},
            usual=UNIT,
        ),
        Case(
            "no baseline yet", now=UNIT | {"flow_liters_per_minute": 10.0, "return_celsius": 60.0}
        ),
    ),
}
PAIRS = [(d, family) for d in DETECTORS for family in d.finders]


def judge(family: str, condition: str, case: Case) -> Verdict:
    """The verdict of whichever detector has the condition."""
    found = [
        verdict
        for d in DETECTORS
        if family in d.finders
        for verdict in d.finders[family](Table(case), Table(case))
        if verdict.condition.name == condition
    ]
    assert 1 == len(found)
    return found[0]


def cases(table: Mapping[tuple[str, str], tuple[Case, ...]]) -> list[object]:
    """Parameters with readable ids."""
    return [
        pytest.param(family, condition, case, id=f"{condition}-{case.name}")
        for (family, condition), some in table.items()
        for case in some
    ]


@pytest.mark.parametrize(("family", "condition", "case"), cases(POSITIVE))
def test_speaks_when_it_is_so(family: str, condition: str, case: Case) -> None:
    """It holds, with the severity and the words it should have."""
    verdict = judge(family, condition, case)

    assert verdict.said[0] >= HIT
    assert case.severity in (None, verdict.level(0).severity)
    told = said(verdict.condition, verdict.numbers(0))
    assert case.says in told
    assert "nan" not in told


@pytest.mark.parametrize(("family", "condition", "case"), cases(NEGATIVE))
def test_is_silent_on_a_look_alike(family: str, condition: str, case: Case) -> None:
    """What only looks like it is left alone."""
    assert judge(family, condition, case).said[0] < HIT


@pytest.mark.parametrize(("detector", "family"), PAIRS, ids=lambda p: getattr(p, "name", p))
def test_absence_of_data_is_no_verdict(detector: Detector, family: str) -> None:
    """With nothing known nothing is said, not even that a condition is over."""
    nothing = Table(Case("nothing", pool=""))
    verdicts = detector.finders[family](nothing, nothing)

    assert all((v.said == UNKNOWN).all() for v in verdicts)


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda d: d.name)
def test_a_detector_keeps_its_contract(detector: Detector) -> None:
    """Conditions are closed and all tested; the columns exist; every verdict is in its list."""
    names = {condition.name for condition in detector.conditions}
    tested = {(f, c) for f, c in POSITIVE if c in names}
    given = set()
    for family, find in detector.finders.items():
        for verdict in find(Table(Case("x")), Table(Case("x"))):
            assert verdict.condition in detector.conditions
            given.add((family, verdict.condition.name))
    assert tested == given
    assert all(len(POSITIVE[k]) >= 3 and len(NEGATIVE[k]) >= 3 for k in tested)
    for family, columns in detector.columns.items():
        assert set(columns) <= set(SCHEMAS[family].by_name)

"""What a change really brought: a metric before and after it, at comparable load.

Pure. Windows are sorted into bins of equal load and only bins seen on both sides are compared; the
interval is two standard errors of the difference, with neighbouring windows counted as the fewer
independent ones they are (lag-1 autocorrelation). Where loads do not overlap nothing is claimed.

Of a scope that is too large to read whole a sample of devices is compared; its interval then holds
the choice among them as well (`of_sample`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from advisor.facts.history import MOST_COMPARED, DeviceMean, Measure, Sample
from ridgeline.events import Advice, Confidence, Estimate, MetricChange, Verdict, Verification

VERSION = "verification/3"
LEAST_WINDOWS = 12  # two minutes of 10 s windows on each side
LOAD_BINS = 5
LEAST_IN_BIN = 3
_SAME_LOAD_RATIO = 0.1  # loads that differ by less are the same load
_ERRORS = 2.0  # standard errors of the interval: about 95 %

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class NotComparable:
    """Why nothing can be said; `text` goes to people. `final`: waiting will not help."""

    text: str
    final: bool = False


def compared(
    measure: Measure, before: Sequence[Sample], after: Sequence[Sample]
) -> MetricChange | NotComparable:
    """The metric before and after at the loads both saw, or why they cannot be compared."""
    for side, found in (("before", before), ("after", after)):
        if len(found) < LEAST_WINDOWS:
            text = f"{measure.name}: {len(found)} windows {side} the change"
            return NotComparable(text, final=side == "before")
    values = _values(before), _values(after)
    bins = _bins(measure, before, after)
    if isinstance(bins, NotComparable):
        return _at_more_load(measure, before, after) or bins
    weights = np.array([min(b.sum(), a.sum()) for b, a in bins], dtype=float)
    weights /= weights.sum()
    return _change(measure, values, bins, weights)


def of_devices(change: MetricChange, in_scope: int) -> MetricChange:
    """The change with how many devices it was read of, and said wherever that is a sample."""
    compared_ones = min(in_scope, MOST_COMPARED)
    update: dict[str, object] = {"devices": compared_ones, "devices_in_scope": in_scope}
    if compared_ones < in_scope:
        for side in ("before", "after", "change"):
            read: Estimate = getattr(change, side)
            source = f"{read.source}, {_sample(compared_ones, in_scope)}"
            update[side] = read.model_copy(update={"source": source})
    return change.model_copy(update=update)


def of_sample(
    change: MetricChange,
    in_scope: int,
    before: Sequence[DeviceMean],
    after: Sequence[DeviceMean],
) -> MetricChange | NotComparable:
    """The change of a sample as one of its scope: devices that were not chosen may be otherwise.

    Error of a mean over n of N devices, of each rack its share (Cochran, Sampling Techniques, 1977,
    eq. 5.7 with proportional allocation): `s^2 / n (1 - n / N)` with `s^2` what devices of one rack
    differ by. It joins that through time, of which it is independent.

    Args:
        change: Of the devices of the sample together.
        in_scope: Devices in the scope.
        before: The metric of each device of the sample before the change.
        after: Likewise after it; a device that is known on one side only is left out. With fewer
            than two nothing is said of the others.
    """
    sides = {d.device: d for d in before}, {d.device: d for d in after}
    both = sorted(sides[0].keys() & sides[1].keys())
    if len(both) < min(2, in_scope):
        return NotComparable(f"{change.metric}: {len(both)} devices known on both sides")
    racks = [sides[0][device].rack for device in both]
    values = [np.array([side[device].value for device in both]) for side in sides]
    errors = [_choice_error(v, racks, in_scope) for v in (*values, values[1] - values[0])]
    update = {
        name: _widened(getattr(change, name), error)
        for name, error in zip(("before", "after", "change"), errors, strict=True)
    }
    return change.model_copy(update=update)


def _choice_error(values: Floats, racks: Sequence[str], in_scope: int) -> float:
    """Half of the interval that comes from the choice of devices."""
    n = len(values)
    if n >= in_scope:
        return 0.0
    names, rack = np.unique(np.array(racks), return_inverse=True)
    variance, freedom = float(values.var(ddof=1)), n - len(names)
    # with a device or two a rack nothing tells what they differ by within it, nor that no rack is
    # left out: then as of a sample without regard to racks, which is never too narrow
    if 2 * len(names) <= n:
        means = np.bincount(rack, values) / np.bincount(rack)
        variance = float(((values - means[rack]) ** 2).sum()) / freedom
    return _ERRORS * math.sqrt(variance / n * (1 - n / in_scope))


def _widened(read: Estimate, error: float) -> Estimate:
    low, high = (
        read.mid - math.hypot(read.mid - read.low, error),
        read.mid + math.hypot(read.high - read.mid, error),
    )
    return read.model_copy(update={"low": low, "high": high})


def _sample(devices: int, in_scope: int) -> str:
    return f"on {devices:,} of {in_scope:,} devices"


def _at_more_load(
    measure: Measure, before: Sequence[Sample], after: Sequence[Sample]
) -> MetricChange | None:
    """The change at more load than before, where that can only make it look smaller."""
    most_before = max(s.load or 0.0 for s in before)
    least_after = min(s.load or 0.0 for s in after)
    if not measure.worse_with_load or least_after < most_before * (1 - _SAME_LOAD_RATIO):
        return None
    every = [(np.ones(len(before), bool), np.ones(len(after), bool))]
    source = f"at more {measure.load_name} than before, so at least this"
    change = _change(measure, (_values(before), _values(after)), every, np.ones(1), source)
    return change if better(change) > 0 else None


def _values(samples: Sequence[Sample]) -> Floats:
    return np.array([s.value for s in samples])


_Bin = tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]
"""Which windows before and after are in it."""


def _bins(
    measure: Measure, before: Sequence[Sample], after: Sequence[Sample]
) -> list[_Bin] | NotComparable:
    """Bins of load with enough windows on both sides."""
    if measure.load is None:
        return [(np.ones(len(before), bool), np.ones(len(after), bool))]
    loads = tuple(np.array([s.load or 0.0 for s in side]) for side in (before, after))
    low = max(float(np.quantile(side, 0.05)) for side in loads)
    high = min(float(np.quantile(side, 0.95)) for side in loads)
    slack = _SAME_LOAD_RATIO * max(abs(float(side.mean())) for side in loads)
    edges = np.linspace(min(low, high) - slack / 2, max(low, high) + slack / 2, LOAD_BINS + 1)
    found = []
    if high >= low - slack:
        inside = [np.digitize(side, edges) for side in loads]
        pairs = ((inside[0] == n, inside[1] == n) for n in range(1, LOAD_BINS + 1))
        found = [(b, a) for b, a in pairs if min(b.sum(), a.sum()) >= LEAST_IN_BIN]
    if sum(min(int(b.sum()), int(a.sum())) for b, a in found) < LEAST_WINDOWS:
        ranges = " and ".join(f"{side.min():.3g} to {side.max():.3g}" for side in loads)
        return NotComparable(f"{measure.name}: {measure.load_name} was {ranges}, not comparable")
    return found


def _change(
    measure: Measure,
    values: tuple[Floats, Floats],
    bins: list[_Bin],
    weights: Floats,
    how: str = "",
) -> MetricChange:
    means, variances = [], []
    for side in (0, 1):
        parts = [values[side][b[side]] for b in bins]
        fewer = _independent_ratio(_noise(values[side], [b[side] for b in bins]))
        means.append(float(sum(w * p.mean() for w, p in zip(weights, parts, strict=True))))
        spread = (
            w**2 * _variance(p) / (len(p) * fewer) for w, p in zip(weights, parts, strict=True)
        )
        variances.append(float(sum(spread)))
    errors = [_ERRORS * math.sqrt(v) for v in variances]
    both = _ERRORS * math.sqrt(sum(variances))
    source = f"{sum(int(b.sum()) for b, _ in bins)} windows before, "
    source += f"{sum(int(a.sum()) for _, a in bins)} after"
    if measure.load is not None:
        source += ", " + (how or f"at the same {measure.load_name}")
    unit = measure.unit
    return MetricChange(
        metric=measure.name,
        before=_measured(means[0], errors[0], unit, source),
        after=_measured(means[1], errors[1], unit, source),
        change=_measured(means[1] - means[0], both, unit, source),
        lower_is_better=measure.lower_is_better,
        windows_before=len(values[0]),
        windows_after=len(values[1]),
    )


def _variance(part: Floats) -> float:
    return float(part.var(ddof=1)) if len(part) > 1 else 0.0


def _noise(values: Floats, bins: Sequence[npt.NDArray[np.bool_]]) -> Floats:
    """What is left of the metric when each bin's mean is taken away, in the order of time."""
    left = np.full(len(values), np.nan)
    for inside in bins:
        left[inside] = values[inside] - values[inside].mean()
    known: Floats = left[np.isfinite(left)]
    return known


def _independent_ratio(noise: Floats) -> float:
    """Share of windows that count as independent: `(1 - r) / (1 + r)` of the lag-1 correlation.

    The estimate of r is too small by about `(1 + 4 r) / n` (Kendall 1954), which is put back.
    """
    power = float((noise**2).sum())
    if power == 0:
        return 1.0
    r = float((noise[1:] * noise[:-1]).sum()) / power
    r = min(0.98, max(0.0, r + (1 + 4 * r) / len(noise)))
    return (1 - r) / (1 + r)


def _measured(mid: float, error: float, unit: str, source: str) -> Estimate:
    return Estimate(
        low=mid - error,
        mid=mid,
        high=mid + error,
        unit=unit,
        confidence=Confidence.MEASURED,
        source=source,
    )


def verdict_of(
    advice: Advice,
    measures: Sequence[Measure],
    found: Sequence[MetricChange | NotComparable],
    now_ms: int,
) -> Verification:
    """The verdict over all metrics of a piece; the first that is measurable speaks for money."""
    changes = [(m, f) for m, f in zip(measures, found, strict=True) if isinstance(f, MetricChange)]
    if not changes:
        why = "; ".join(f.text for f in found if isinstance(f, NotComparable))
        return not_measurable(advice, why or "no metric is kept for this advice", now_ms)
    money = next((f for m, f in changes if m.money_follows), None)
    brought = _brought(advice.gain, money) if money is not None else None
    verdict = _verdict([f for _, f in changes], advice.gain, brought)
    return Verification(
        verdict=verdict,
        text=_text(verdict, [f for _, f in changes], advice.gain, brought),
        changes=tuple(f for _, f in changes),
        promised=advice.gain,
        brought=brought,
        measured_ms=now_ms,
    )


def not_measurable(advice: Advice, why: str, now_ms: int) -> Verification:
    """Nothing can be claimed, and why."""
    return Verification(
        verdict=Verdict.NOT_MEASURABLE,
        text=f"Not measurable: {why}.",
        promised=advice.gain,
        measured_ms=now_ms,
    )


def _brought(promised: Estimate | None, change: MetricChange) -> Estimate | None:
    """The promised money times the share of the metric that went away."""
    before = change.before.mid
    if promised is None or before <= 0:
        return None
    shares = [
        -change.change.high / before,
        -change.change.mid / before,
        -change.change.low / before,
    ]
    low, mid, high = sorted(promised.mid * min(1.0, share) for share in shares)
    return Estimate(
        low=low,
        mid=mid,
        high=high,
        unit=promised.unit,
        confidence=Confidence.MODELLED,
        source=f"promised gain times the share of {change.metric} that went away",
    )


def better(change: MetricChange) -> int:
    """1 where the metric is better beyond noise, -1 where worse, else 0."""
    low, high = change.change.low, change.change.high
    if low <= 0 <= high:
        return 0
    return 1 if (high < 0) is change.lower_is_better else -1


def _verdict(
    changes: Sequence[MetricChange], promised: Estimate | None, brought: Estimate | None
) -> Verdict:
    judged = [better(change) for change in changes]
    if min(judged) < 0:
        return Verdict.WORSE
    if max(judged) == 0:
        return Verdict.NOT_KEPT
    if promised is not None and brought is not None and brought.high < promised.low:
        return Verdict.PARTLY
    return Verdict.KEPT


_SAID = {
    Verdict.KEPT: "It brought what was promised",
    Verdict.PARTLY: "It brought less than was promised",
    Verdict.NOT_KEPT: "No change beyond noise",
    Verdict.WORSE: "It got worse",
}


def _text(
    verdict: Verdict,
    changes: Sequence[MetricChange],
    promised: Estimate | None,
    brought: Estimate | None,
) -> str:
    moved = "; ".join(_moved(change) for change in changes)
    if promised is None:
        return f"{_SAID[verdict]}: {moved}."
    said = f"promised {_range(promised)}"
    if brought is None:
        return f"{_SAID[verdict]}: {moved}; {said}, which is not measurable in money."
    return f"{_SAID[verdict]}: {moved}; {said}, brought {_range(brought)}."


def _moved(c: MetricChange) -> str:
    said = f"change {c.change.low:+.2g} to {c.change.high:+.2g}"
    if c.devices is not None and c.devices_in_scope is not None and c.devices < c.devices_in_scope:
        said += f", {_sample(c.devices, c.devices_in_scope)}"
    return f"{c.metric} {c.before.mid:.3g} -> {c.after.mid:.3g} {c.after.unit} ({said})"


def _range(e: Estimate) -> str:
    return f"{e.low:,.0f} to {e.high:,.0f} {e.unit}"

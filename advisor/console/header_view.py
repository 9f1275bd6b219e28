"""The top of the page: how the cluster is, how fresh that is, how much money is on the table."""

from __future__ import annotations

from collections.abc import Sequence

from advisor.console.advice_view import open_total
from advisor.console.detections_view import is_open
from advisor.console.feed import Snapshot
from advisor.console.parts import box, text
from advisor.console.pipeline_view import alarm
from advisor.format import UNKNOWN, age, money
from advisor.source import ClusterState
from ridgeline.events import Detection, Severity

STALE_MS = 60_000
"""Data older than this is no base for a judgement, and the page says so."""


def is_stale(state: ClusterState, now_ms: int) -> bool:
    """Whether the newest window is too old to judge by; before the first it is not."""
    return state.updated_ms is not None and now_ms - state.updated_ms > STALE_MS


def health(state: ClusterState, detections: Sequence[Detection], now_ms: int) -> tuple[str, str]:
    """The cluster in a few words, and how bad that is: quiet, warning, critical or unknown."""
    if state.updated_ms is None:
        return "no data yet", "unknown"
    if is_stale(state, now_ms):
        return "unknown: data is stale", "unknown"
    counts = [
        (sum(is_open(d) and d.severity is severity for d in detections), severity)
        for severity in (Severity.CRITICAL, Severity.WARNING)
    ]
    found = [f"{count} {severity}" for count, severity in counts if count]
    if counts[0][0]:
        return ", ".join(found), "critical"
    if state.collectors_failing:
        found.append(f"{state.collectors_failing} collectors failing")
    if alarm(state.topics):
        found.append("dead letters")
    return (", ".join(found), "warning") if found else ("healthy", "quiet")


class HeaderView:
    """Header and banner; `tools` is where the page adds what is not information."""

    def __init__(self) -> None:
        with box("rl-header", "header", "header"):
            with box("rl-brand-block"):
                text("Ridgeline", "rl-brand").props["role"] = "heading"
                text("what to change, in money and milliseconds", "rl-note rl-motto")
            self._health = text("", "rl-health", "health")
            self._health.props["role"] = "status"
            with box("rl-stat"):
                text("Open advice", "rl-key")
                self._total = text(UNKNOWN, "rl-total", "open-total")
            with box("rl-stat"):
                text("Collectors", "rl-key")
                self._collectors = text(UNKNOWN, "rl-value", "collectors")
            with box("rl-stat"):
                text("Data", "rl-key")
                self._fresh = text(UNKNOWN, "rl-value", "freshness")
            self.tools = box("rl-tools")
        self._banner = text("", "rl-banner", "banner")
        self._banner.props["role"] = "alert"
        self._banner.set_visibility(False)

    def show(self, latest: Snapshot, now_ms: int) -> None:
        """Bring header and banner up to date."""
        state = latest.state
        words, level = health(state, latest.detections, now_ms)
        self._health.set_text(words)
        self._health.classes(replace=f"rl-health rl-health-{level}")
        stale = is_stale(state, now_ms)
        if state.updated_ms is None:
            self._fresh.set_text("waiting for the first window")
        else:
            note = "stale: " if stale else ""
            self._fresh.set_text(f"{note}updated {age(state.updated_ms, now_ms)}")
        self._fresh.classes(replace="rl-value rl-alarm" if stale else "rl-value")
        self._show_total(latest)
        ok, failing = state.collectors_ok, state.collectors_failing
        known = ok or failing
        self._collectors.set_text(
            (f"{ok} ok, {failing} failing" if failing else f"{ok} ok") if known else UNKNOWN
        )
        self._collectors.classes(replace="rl-value rl-alarm" if failing else "rl-value")
        wrong = [alarm(state.topics)] if alarm(state.topics) else []
        if latest.problems:
            wrong.append("Showing the last good answer. " + "; ".join(latest.problems))
        self._banner.set_text(" ".join(wrong))
        self._banner.set_visibility(bool(wrong))

    def _show_total(self, latest: Snapshot) -> None:
        total = open_total(latest.advice)
        if total is None:
            self._total.set_text(UNKNOWN)
            self._total.props["title"] = "No open advice has a price"
            return
        low, mid, high = total
        self._total.set_text(f"{money(mid)} / month")
        note = (
            f"Sum of the open advice with a price: {money(low)} to {money(high)} a month. "
            "Pieces that touch the same GPUs overlap, so the whole can be less."
        )
        if self._total.props.get("title") != note:
            self._total.props["title"] = note

"""Words of a chat message. A rendering of the advice, never its source."""

from __future__ import annotations

from collections.abc import Sequence

from ridgeline.events import Advice, Detection, Estimate


def of_advice(advice: Advice) -> tuple[str, str]:
    """Title and body of a message about a piece of advice."""
    lines = [advice.reason]
    if advice.gain is not None:
        lines.append(f"Gain: {interval(advice.gain)} ({advice.gain.confidence}).")
    lines += [f"- {e.name}: {e.value:.3g} {e.unit}" for e in advice.evidence[:6]]
    against = [f"- {e.name}: {e.note or format(e.value, '.3g')}" for e in advice.counter_evidence]
    if against:
        lines += ["Against it:", *against[:3]]
    if advice.needs.lead_time_days or advice.needs.note:
        lines.append(f"Needs: {advice.needs.lead_time_days:g} days. {advice.needs.note}".strip())
    lines.append(f"Verify: {advice.verify}")
    return f"Ridgeline: {advice.title}", "\n".join(lines)


def interval(estimate: Estimate) -> str:
    """An estimate as a person reads it: middle and interval."""
    e = estimate
    return f"{e.mid:,.0f} {e.unit} ({e.low:,.0f} to {e.high:,.0f})"


def of_detections(detections: Sequence[Detection]) -> tuple[str, str]:
    """Title and body of one message about new critical detections."""
    lines = [f"- {d.subject}: {d.condition}. {d.summary}" for d in detections[:10]]
    if len(detections) > 10:
        lines.append(f"and {len(detections) - 10} more")
    return f"Ridgeline: {len(detections)} critical findings", "\n".join(lines)

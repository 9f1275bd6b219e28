"""Words of a chat message. A rendering of the advice, never its source."""

from __future__ import annotations

from collections.abc import Sequence

from advisor.format import claim as quantity
from advisor.format import spaced
from ridgeline.events import (
    Advice,
    Confidence,
    Detection,
    Estimate,
    Evidence,
    Needs,
    Rank,
    Verification,
)


def of_advice(advice: Advice) -> tuple[str, str]:
    """Title and body of a message about a piece of advice."""
    lines = [advice.reason]
    if advice.gain is not None:
        lines.append(f"Gain: {interval(advice.gain)} ({advice.gain.confidence}).")
    if advice.rank is not None:
        lines.append(f"Ranked by: {rank(advice.rank)}.")
    lines += [f"- {claim(e)}" for e in advice.evidence[:6]]
    if advice.counter_evidence:
        lines += ["Against it:", *(f"- {claim(e)}" for e in advice.counter_evidence)]
    if needs := _needs(advice.needs):
        lines.append(f"Needs: {needs}.")
    lines.append(f"Verify: {advice.verify}")
    data = ", ".join(f"{name} {version}" for name, version in sorted(advice.data_versions.items()))
    lines.append(f"Model {advice.model_version}; data: {data or 'none'}.")
    return f"Ridgeline: {title(advice)}", "\n".join(lines)


def title(advice: Advice) -> str:
    """With what it is about, where the title does not say so: one service of several, one pool."""
    return advice.title if advice.scope in advice.title else f"{advice.scope}: {advice.title}"


def _needs(needs: Needs) -> str:
    """Empty where it takes nothing that was named."""
    days = needs.lead_time_days
    parts = (
        f"{days:,.0f} {'day' if round(days) == 1 else 'days'}" if days else "",
        f"{needs.capex_usd:,.0f} USD up front" if needs.capex_usd else "",
        f"{needs.power_kw:,.0f} kW more of the feed" if needs.power_kw else "",
        needs.note,
    )
    return "; ".join(filter(None, parts))


def of_verification(advice: Advice, found: Verification) -> tuple[str, str]:
    """Title and body of the message about what a change brought."""
    lines = [found.text, f"It was closed as: {advice.outcome}."]
    lines += [
        f"- {c.metric}: {c.before.mid:.3g} before, {c.after.mid:.3g} after {c.after.unit} "
        f"({c.change.confidence}; {c.change.source})"
        for c in found.changes
    ]
    if found.brought is not None:
        lines.append(f"Brought: {interval(found.brought)} ({found.brought.confidence}).")
    return f"Ridgeline: {spaced(found.verdict)}: {title(advice)}", "\n".join(lines)


def claim(e: Evidence) -> str:
    """One number with its note, and how sure it is where nobody measured it."""
    note = f" ({e.note})" if e.note else ""
    sure = "" if e.confidence is Confidence.MEASURED else f" [{e.confidence}]"
    return f"{e.name}: {quantity(e)}{note}{sure}"


def rank(found: Rank) -> str:
    """A rank's value and the steps to it."""
    first, *factors = found.steps
    steps = " ".join(f"x {f.value:.2f} {f.name}" for f in factors)
    return f"{found.usd_per_month:,.0f} {first.unit} = {first.value:,.0f} {steps}"


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

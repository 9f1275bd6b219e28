"""On a card of advice: why it ranks where it does, by which versions, what its change brought."""

from __future__ import annotations

from advisor.console.parts import box, text
from advisor.format import interval, money, number, words
from ridgeline.events import Advice, Estimate, MetricChange, Rank, Verification


def draw_rank(rank: Rank | None) -> None:
    """The steps from the likely gain to the value it is ordered by."""
    if rank is None:
        return
    with box("rl-fact rl-wide", "advice-rank"):
        text("Why it ranks here", "rl-key")
        text(rank_sentence(rank), "rl-value").props["title"] = "\n".join(
            f"{step.name} {number(step.value)}: {step.note}" for step in rank.steps[1:]
        )


def rank_sentence(rank: Rank) -> str:
    """Likely gain, times each factor with its note, is the value."""
    likely, *factors = rank.steps
    notes = (
        f"{number(step.value, digits=2)} {step.name}" + (f" ({step.note})" if step.note else "")
        for step in factors
    )
    steps = " × ".join((f"{money(likely.value)} likely", *notes))  # noqa: RUF001 - the times sign
    return f"{steps} = {money(rank.usd_per_month)} a month"


def versions(advice: Advice) -> str:
    """Versions of the model and of the data behind the numbers."""
    data = (f"{name} {version}" for name, version in sorted(advice.data_versions.items()))
    return ", ".join((f"model {advice.model_version}", *data))


def estimate_sentence(estimate: Estimate) -> str:
    """Interval, class and source of a number."""
    return f"{interval(estimate)}, {estimate.confidence}: {estimate.source}"


def draw_verification(found: Verification | None) -> None:
    """The verdict with each metric before and after."""
    if found is None:
        return
    with box("rl-verification", "advice-verification"):
        with box("rl-chips rl-left"):
            text(words(found.verdict), f"rl-chip rl-verdict-{found.verdict}")
            text("after the change", "rl-note")
        text(found.text, "rl-reason")
        with box("rl-facts"):
            for change in found.changes:
                _change(change)
            for name, money_found in (("Promised", found.promised), ("Brought", found.brought)):
                if money_found is not None:
                    _fact(name, estimate_sentence(money_found))


def _change(change: MetricChange) -> None:
    _fact(f"{change.metric} before", interval(change.before))
    _fact(f"{change.metric} after", interval(change.after))
    _fact("Change", f"{interval(change.change)} ({change.change.source})")


def _fact(name: str, value: str) -> None:
    with box("rl-fact"):
        text(words(name), "rl-key")
        text(value, "rl-value")

"""The advice: cards by worth, with everything a person needs to agree or disagree."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from nicegui import ui

from advisor.console.parts import KeyedRows, box, heading, section, text
from advisor.console.proof_view import draw_rank, draw_verification, estimate_sentence, versions
from advisor.format import (
    UNKNOWN,
    claim,
    clock,
    interval,
    is_money,
    known,
    money,
    number,
    words,
)
from ridgeline.events import Action, Advice, AdviceState, Confidence, Evidence

SET_ASIDE = frozenset({AdviceState.SNOOZED, AdviceState.RESOLVED})
SPREAD = 2
"""So many cards are drawn with their evidence open; the others open on a click."""
SNOOZES: tuple[tuple[str, float], ...] = (("1 hour", 1.0), ("1 day", 24.0), ("1 week", 168.0))


@dataclass(frozen=True, slots=True)
class Handlers:
    """What the buttons of a card do."""

    acknowledge: Callable[[Advice], Awaitable[None]]
    snooze: Callable[[Advice, float], Awaitable[None]]
    resolve: Callable[[Advice], Awaitable[None]]


def is_open(advice: Advice) -> bool:
    """Whether it still asks for something."""
    return advice.state not in SET_ASIDE


def gain_usd(advice: Advice) -> float | None:
    """Monthly gain in dollars; None where no price is known."""
    gain = advice.gain
    return gain.mid if gain is not None and is_money(gain.unit) and known(gain.mid) else None


def worth_usd(advice: Advice) -> float | None:
    """What it is ordered by: its rank's value, else its gain; None where no price is known."""
    return advice.rank.usd_per_month if advice.rank is not None else gain_usd(advice)


def ranked(advice: Sequence[Advice]) -> list[Advice]:
    """Most worth first, then unpriced, newest first within equals."""

    def place(one: Advice) -> tuple[bool, float, int]:
        worth = worth_usd(one)
        return worth is None, -(worth or 0.0), -one.updated_ms

    return sorted(advice, key=place)


def open_total(advice: Sequence[Advice]) -> tuple[float, float, float] | None:
    """Low, mid and high of the priced open advice in dollars a month; None when none is priced."""
    gains = [a.gain for a in advice if is_open(a) and a.gain and gain_usd(a) is not None]
    if not gains:
        return None
    return sum(g.low for g in gains), sum(g.mid for g in gains), sum(g.high for g in gains)


class AdviceView:
    """The section of advice."""

    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers
        self._spread: frozenset[str] = frozenset()
        with section("Advice", "advice"):
            self._note = heading("What to change")
            self._empty = text("", "rl-empty", "advice-empty")
            cards = box("rl-cards")
            with box("rl-aside", "advice-aside", "details") as self._aside:
                with box("rl-summary", tag="summary"):
                    self._aside_title = text("")
                aside = box("rl-cards")
        self._open = self._rows(cards)
        self._closed = self._rows(aside)

    def _rows(self, container: ui.element) -> KeyedRows[Advice]:
        return KeyedRows(
            container,
            lambda advice: advice.id,
            self._draw,
            tag="article",
            css="rl-card",
            mark="advice",
        )

    def show(self, advice: Sequence[Advice], *, loaded: bool) -> None:
        """Bring the section up to date."""
        active = ranked([a for a in advice if is_open(a)])
        closed = sorted((a for a in advice if not is_open(a)), key=lambda a: -a.updated_ms)
        self._spread = frozenset(a.id for a in active[:SPREAD])
        self._open.show(active)
        self._closed.show(closed)
        self._note.set_text(f"{len(active)} open, most worth first" if active else "")
        self._empty.set_text(
            "Nothing to change right now. Advice appears here as soon as the evidence supports it."
            if loaded
            else "Waiting for the first evaluation."
        )
        self._empty.set_visibility(not active)
        self._aside.set_visibility(bool(closed))
        self._aside_title.set_text(f"Snoozed and resolved ({len(closed)})")

    def _draw(self, advice: Advice) -> None:
        with box("rl-card-head"):
            with box("rl-card-names"):
                text(advice.title, "rl-card-title")
                where = f"{words(advice.scope_kind)} {advice.scope}"
                since = f"since {clock(advice.created_ms)}"
                text(f"{words(advice.action)}  ·  {where}  ·  {since}", "rl-note")
            with box("rl-gain"):
                css = "rl-money" if advice.gain is not None else "rl-money rl-unpriced"
                text(_gain_text(advice), css, "advice-gain")
                with box("rl-chips"):
                    chip = text(advice.confidence, f"rl-chip rl-{advice.confidence}")
                    chip.props["title"] = _sources(advice)
                    if advice.state is not AdviceState.OPEN:
                        text(advice.state, f"rl-chip rl-state-{advice.state}", "advice-state")
        text(advice.reason, "rl-reason")
        if advice.outcome:
            until = advice.snoozed_until_ms
            note = f" (until {clock(until)})" if until is not None else ""
            text(words(advice.outcome) + note, "rl-outcome", "advice-outcome")
        draw_verification(advice.verification)
        with box("rl-more", tag="details") as more:
            if advice.id in self._spread:
                more.props["open"] = True
            with box("rl-summary", tag="summary"):
                text("Evidence, cost and how to verify", "rl-key")
            _draw_more(advice)
        if advice.state is not AdviceState.RESOLVED:
            self._buttons(advice)

    def _buttons(self, advice: Advice) -> None:
        with box("rl-actions"):
            if advice.state in (AdviceState.OPEN, AdviceState.UPDATED):
                button = ui.button(
                    "Acknowledge", on_click=partial(self._handlers.acknowledge, advice)
                )
                _plain(button, f"Acknowledge: {advice.title}").classes("rl-primary")
            if advice.state is not AdviceState.SNOOZED:
                snooze = ui.dropdown_button("Snooze", auto_close=True)
                _plain(snooze, f"Snooze: {advice.title}")
                with snooze:
                    for name, hours in SNOOZES:
                        ui.item(name, on_click=partial(self._handlers.snooze, advice, hours))
            button = ui.button("Resolve", on_click=partial(self._handlers.resolve, advice))
            _plain(button, f"Resolve: {advice.title}")


def _draw_more(advice: Advice) -> None:
    with box("rl-card-body"):
        _claims("Because", advice.evidence, "rl-for")
        _claims("Against it", advice.counter_evidence, "rl-against")
    with box("rl-facts"):
        _fact("Cost today", interval(advice.cost_today))
        _fact("Takes", _needs(advice))
        if advice.gain is not None:
            _fact("Likely gain", f"{money(advice.gain.mid)}; {estimate_sentence(advice.gain)}")
        for effect in advice.effects:
            _fact("Effect", estimate_sentence(effect))
        draw_rank(advice.rank)
        _fact("How to verify", advice.verify or UNKNOWN, wide=True)
        _fact("Versions", versions(advice), wide=True)


def _plain(button: ui.button | ui.dropdown_button, name: str) -> ui.element:
    button.props("flat no-caps dense color=none")
    button.props["aria-label"] = name
    return button.classes("rl-button")


def _gain_text(advice: Advice) -> str:
    if advice.gain is not None:
        return interval(advice.gain)
    return "no change" if advice.action is Action.KEEP else "gain unknown"


def _sources(advice: Advice) -> str:
    estimates = [e for e in (advice.gain, advice.cost_today) if e is not None]
    lines = [f"{words(e.confidence)}: {e.source}" for e in estimates]
    return "\n".join([*dict.fromkeys(lines), versions(advice)])


def _needs(advice: Advice) -> str:
    needs = advice.needs
    capex = f"{money(needs.capex_usd)} up front" if needs.capex_usd else "no capital"
    power = f"{needs.power_kw:,.0f} kW more of the feed" if needs.power_kw else ""
    days = needs.lead_time_days
    lead = (
        "can start today"
        if days < 1
        else f"{number(days)} {'day' if days == 1 else 'days'} lead time"
    )
    return "; ".join(part for part in (lead, capex, power, needs.note) if part)


def _claims(name: str, evidence: Sequence[Evidence], css: str) -> None:
    if not evidence:
        return
    with box(f"rl-claims {css}"):
        text(name, "rl-key")
        draw_evidence(evidence)


def draw_evidence(evidence: Sequence[Evidence]) -> None:
    """A list of numbers with their thresholds and notes."""
    with box("rl-list", tag="ul"):
        for one in evidence:
            with box(tag="li"):
                text(words(one.name), "rl-name")
                text(claim(one), "rl-number")
                if one.confidence is not Confidence.MEASURED:
                    text(one.confidence, f"rl-chip rl-{one.confidence}")
                if one.note:
                    text(one.note, "rl-note")


def _fact(name: str, value: str, *, wide: bool = False) -> None:
    with box("rl-fact rl-wide" if wide else "rl-fact"):
        text(name, "rl-key")
        text(value, "rl-value")

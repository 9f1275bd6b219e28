"""Chat messages by apprise: once a piece of advice until it changes, with back-off on failure."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import apprise
import structlog

from advisor.notify import message
from ridgeline import metrics
from ridgeline.errors import Misconfigured
from ridgeline.events import Action, Advice, AdviceState, Detection, EpisodeState, Severity
from ridgeline.settings import AdvisorSettings

log = structlog.get_logger()
HOUR_MS = 3_600_000
LONGEST_WAIT_MS = 15 * 60_000
_TOLD_STATES = frozenset({AdviceState.OPEN, AdviceState.UPDATED})

Send = Callable[[str, str], bool]
"""Sends title and body; False when it did not arrive."""


def sender(urls: Sequence[str]) -> Send | None:
    """A sender to all `urls`; None when there are none.

    Raises:
        Misconfigured: apprise does not know a URL. Its text is not repeated: URLs hold secrets.
    """
    if not urls:
        return None
    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # it logs URLs, which hold secrets
    people = apprise.Apprise()
    for number, url in enumerate(urls, start=1):
        if not people.add(url):
            raise Misconfigured(
                "RIDGELINE_ADVISOR_NOTIFY", f"URL number {number} is none that apprise knows"
            )
    return lambda title, body: bool(people.notify(body=body, title=title))


class Chat:
    """Decides what to say when. Call `tell` after every evaluation, from one thread.

    Args:
        send: Sends one message; None: nothing is ever sent.
        settings: Least gain and time before a reminder.
    """

    def __init__(self, send: Send | None, settings: AdvisorSettings) -> None:
        self._send = send
        self._least_usd = settings.notify_min_gain_usd
        self._renotify_ms = int(settings.renotify_hours * HOUR_MS)
        self._told: dict[str, tuple[int, int]] = {}  # id -> (updated_ms told, when)
        self._measured: set[tuple[str, int]] | None = None  # verifications; None likewise
        self._known: set[str] | None = None  # critical detections told; None before the first look
        self._wait_ms = 0
        self._silent_until_ms = 0

    def tell(self, advice: Sequence[Advice], detections: Sequence[Detection], now_ms: int) -> int:
        """Send what is new; returns messages sent. After a failure it waits, longer each time."""
        if self._send is None or now_ms < self._silent_until_ms:
            return 0
        sent = 0
        for piece in advice:
            if self._is_news(piece, now_ms):
                if not self._sent(self._send, message.of_advice(piece), now_ms):
                    return sent
                self._told[piece.id] = (piece.updated_ms, now_ms)
                sent += 1
        self._told = {a.id: self._told[a.id] for a in advice if a.id in self._told}
        sent += self._tell_measured(self._send, advice, now_ms)
        return sent + self._tell_critical(self._send, detections, now_ms)

    def _tell_measured(self, send: Send, advice: Sequence[Advice], now_ms: int) -> int:
        """Each verification once; those of before the first look were told by who looked then."""
        found = {(a.id, v.measured_ms): (a, v) for a in advice if (v := a.verification) is not None}
        if self._measured is None:
            self._measured = set(found)
        sent = 0
        for key in found.keys() - self._measured:
            if not self._sent(send, message.of_verification(*found[key]), now_ms):
                return sent
            self._measured.add(key)
            sent += 1
        self._measured &= found.keys()
        return sent

    def _is_news(self, advice: Advice, now_ms: int) -> bool:
        if advice.state not in _TOLD_STATES or advice.action is Action.KEEP:
            return False
        if (advice.gain.mid if advice.gain else 0.0) < self._least_usd:
            return False
        told = self._told.get(advice.id)
        return told is None or told[0] != advice.updated_ms or now_ms - told[1] > self._renotify_ms

    def _tell_critical(self, send: Send, detections: Sequence[Detection], now_ms: int) -> int:
        """One message about all new critical detections together."""
        critical = [
            d
            for d in detections
            if d.severity is Severity.CRITICAL and d.state is not EpisodeState.CLOSED
        ]
        known = self._known or set()
        new = [d for d in critical if d.id not in known]
        if new and not self._sent(send, message.of_detections(new), now_ms):
            return 0
        self._known = {d.id for d in critical}
        return 1 if new else 0

    def _sent(self, send: Send, words: tuple[str, str], now_ms: int) -> bool:
        if send(*words):
            metrics.NOTIFY_SENT.inc()
            self._wait_ms = 0
            return True
        metrics.NOTIFY_ERRORS.inc()
        self._wait_ms = min(LONGEST_WAIT_MS, max(15_000, self._wait_ms * 2))
        self._silent_until_ms = now_ms + self._wait_ms
        log.warning("chat message failed", again_in_seconds=self._wait_ms / 1000)
        return False

"""Chat messages, to a real HTTP server on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from advisor import ranking
from advisor.notify.chat import LONGEST_WAIT_MS, Chat, sender
from advisor.notify.grafana import annotator
from ridgeline.errors import Misconfigured
from ridgeline.events import (
    Action,
    Advice,
    AdviceState,
    Confidence,
    EpisodeState,
    Evidence,
    Verdict,
    Verification,
)
from ridgeline.settings import AdvisorSettings, GrafanaSettings
from tests.advisor import rule_cases as cases
from tests.advisor.test_advisor_engine import piece

HOUR_MS = 3_600_000


class Receiver:
    """An HTTP server that keeps what it was sent and answers `status`."""

    def __init__(self) -> None:
        self.status = 200
        self.paths: list[str] = []
        self.bodies: list[dict[str, object]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                outer.bodies.append(json.loads(self.rfile.read(length)))
                outer.paths.append(self.path)
                self.send_response(outer.status)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(b'{"id": 1, "message": "ok"}')

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - inherited
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.server.server_port}"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A running receiver."""
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()
    made.thread.join()


def chat(receiver: Receiver, least_usd: float = 0) -> Chat:
    """A chat that ends at the receiver."""
    settings = AdvisorSettings(notify_min_gain_usd=least_usd, renotify_hours=24)
    return Chat(sender([f"json://{receiver.address}/hook"]), settings)


def test_told_once_until_it_changes_or_a_day_has_gone(receiver: Receiver) -> None:
    """A message a change, a reminder a day, and nothing between."""
    talk = chat(receiver)
    open_one = piece()
    changed = open_one.model_copy(update={"updated_ms": 99, "state": AdviceState.UPDATED})

    assert [1, 0] == [talk.tell([open_one], [], now) for now in (0, 1000)]
    assert [1, 0] == [talk.tell([changed], [], now) for now in (2000, 3000)]
    assert [0, 1] == [talk.tell([changed], [], now) for now in (HOUR_MS, 25 * HOUR_MS)]
    assert len(receiver.bodies) == 3
    assert "Ridgeline: decode: t" in str(receiver.bodies[0]["title"])
    assert "1,000 USD/month (500 to 2,000)" in str(receiver.bodies[0]["message"])


@pytest.mark.parametrize(
    "quiet",
    [
        piece(usd=10),
        piece(action=Action.KEEP),
        piece().model_copy(update={"state": AdviceState.ACKNOWLEDGED}),
        piece().model_copy(update={"state": AdviceState.SNOOZED}),
        piece().model_copy(update={"state": AdviceState.RESOLVED}),
        piece().model_copy(update={"gain": None}),
    ],
)
def test_not_worth_a_message(receiver: Receiver, quiet: Advice) -> None:
    """Small gains, "keep", and what a person has already dealt with."""
    assert chat(receiver, least_usd=100).tell([quiet], [], 0) == 0
    assert [] == receiver.bodies


def test_failures_are_waited_out_ever_longer_and_nothing_is_lost(receiver: Receiver) -> None:
    """15 s, 30 s, ... and the message still arrives when the chat is back."""
    talk = chat(receiver)
    receiver.status = 500

    assert [0, 0, 0, 0] == [talk.tell([piece()], [], now) for now in (0, 14_999, 15_000, 44_999)]
    assert len(receiver.bodies) == 2
    receiver.status = 200
    assert talk.tell([piece()], [], LONGEST_WAIT_MS) == 1


def test_new_critical_detections_come_in_one_message(receiver: Receiver) -> None:
    """Summarised, told once; a closed one is no news."""
    talk = chat(receiver)
    seen = [cases.found(name, "thermal_limit").detection for name in ("a", "b")]
    closed = seen[0].model_copy(update={"id": "c", "state": EpisodeState.CLOSED})

    assert [1, 0] == [talk.tell([], [*seen, closed], now) for now in (0, 1000)]
    assert len(receiver.bodies) == 1
    assert "2 critical findings" in str(receiver.bodies[0]["title"])


def verified(verdict: Verdict = Verdict.KEPT, at_ms: int = 5) -> Advice:
    """A resolved piece whose change was measured."""
    found = Verification(verdict=verdict, text="It brought what was promised.", measured_ms=at_ms)
    return piece().model_copy(
        update={
            "state": AdviceState.RESOLVED,
            "verification": found,
            "outcome": "resolved by kim, done",
        }
    )


def test_what_a_change_brought_is_told_once(receiver: Receiver) -> None:
    """When it is measured, not again, and not what was there before this process."""
    talk = chat(receiver)
    before = verified().model_copy(update={"id": "before"})

    assert [0, 1, 0] == [
        talk.tell(advice, [], now)
        for now, advice in ((0, [before]), (1, [before, verified()]), (2, [before, verified()]))
    ]
    assert "Ridgeline: kept: decode: t" == receiver.bodies[0]["title"]
    assert "resolved by kim, done" in str(receiver.bodies[0]["message"])


def test_a_measurement_that_could_not_be_sent_is_sent_later(receiver: Receiver) -> None:
    """Once means once arrived."""
    talk = chat(receiver)
    talk.tell([], [], 0)
    receiver.status = 500

    assert talk.tell([verified(Verdict.NOT_MEASURABLE)], [], 1) == 0
    receiver.status = 200
    assert talk.tell([verified(Verdict.NOT_MEASURABLE)], [], LONGEST_WAIT_MS) == 1
    assert "not measurable" in str(receiver.bodies[-1]["title"])


def test_a_message_has_all_that_speaks_against_it_rank_and_versions(receiver: Receiver) -> None:
    """Every piece of counter-evidence with its class, the steps of the rank, the versions."""
    against = tuple(
        Evidence(name=f"doubt {n}", value=n, unit="1", confidence=Confidence.PUBLISHED)
        for n in range(5)
    )
    doubted = piece().model_copy(
        update={"counter_evidence": against, "data_versions": {"prices": "2026-11"}}
    )
    ranked = doubted.model_copy(update={"rank": ranking.rank(doubted)})

    chat(receiver).tell([ranked], [], 0)

    said = str(receiver.bodies[0]["message"])
    assert all(f"doubt {n}: {n} [published]" in said for n in range(5))
    assert "Ranked by: 570 USD/month = 1,000 x 0.75 interval x 0.80 confidence" in said
    assert "Model 1; data: prices 2026-11." in said


def test_a_wrong_url_stops_the_start_without_showing_it() -> None:
    """URLs hold secrets: the message gives its number, not its text."""
    with pytest.raises(Misconfigured, match="number 2") as caught:
        sender(["json://127.0.0.1/a", "nosuch://secret-token"])

    assert "secret" not in str(caught.value)
    assert sender([]) is None
    assert Chat(None, AdvisorSettings()).tell([piece()], [], 0) == 0


def test_annotations_reach_grafana(receiver: Receiver) -> None:
    """Each change is a mark with the rule as a tag; without an address there is nothing."""
    settings = GrafanaSettings.model_validate({"url": f"http://{receiver.address}", "token": "t"})
    annotate = annotator(settings)

    assert annotator(GrafanaSettings()) is None
    assert annotate is not None
    annotate([piece()])
    assert ["/api/annotations"] == receiver.paths
    assert "test.rule" in str(receiver.bodies[0]["tags"])


def test_a_grafana_that_fails_is_no_failure(receiver: Receiver) -> None:
    """The store has the advice; the mark is decoration."""
    annotate = annotator(
        GrafanaSettings.model_validate({"url": f"http://{receiver.address}", "token": "t"})
    )
    receiver.status = 500

    assert annotate is not None
    annotate([piece(), piece()])
    assert len(receiver.bodies) == 1

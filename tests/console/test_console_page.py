"""The console in a real browser: what a person sees, does, and sees again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from advisor.source import TopicState
from ridgeline.events import AdviceState, Severity
from tests.console.console_fake import (
    XSS,
    FakeSource,
    make_advice,
    make_detection,
    make_rank,
    make_verification,
)

TOKEN = "open-sesame"
pytestmark = pytest.mark.timeout(120)


def state_of(source: FakeSource, advice: str) -> AdviceState:
    """State of one piece of advice."""
    return next(piece.state for piece in source.pieces if piece.id == advice)


def test_shows_the_whole_cluster(console: Page) -> None:
    """Header, advice, detections, pools, racks, loops and rails are there with their numbers."""
    expect(console.get_by_test_id("health")).to_have_text("1 critical, 1 warning")
    expect(console.get_by_test_id("open-total")).to_have_text("$48.1k / month")
    expect(console.get_by_test_id("collectors")).to_have_text("127 ok, 1 failing")
    expect(console.get_by_test_id("freshness")).to_contain_text("updated")
    expect(console.get_by_test_id("pool-decode")).to_contain_text("142\u202fms")
    expect(console.get_by_test_id("loop-loop-a")).to_contain_text("27.4\u202f°C")
    expect(console.get_by_test_id("rail-rail0")).to_contain_text("1.83\u202fk/s")
    expect(console.get_by_test_id("rack-rack07")).to_contain_text("rack07")
    assert 32 == console.locator("[data-testid^=node-node]").count()
    expect(console.get_by_test_id("roofline").locator("canvas")).to_be_visible()


def test_unknown_is_a_dash(console: Page) -> None:
    """A reading nobody took is never shown as 0."""
    expect(console.get_by_test_id("loop-loop-b")).to_contain_text("Return—")
    expect(console.get_by_test_id("rail-rail1")).to_contain_text("ECN marks—")
    expect(console.get_by_test_id("node-node30")).to_have_text("—")
    expect(console.get_by_test_id("pool-decode")).to_contain_text("TTFT p99—")
    expect(console.get_by_test_id("pool-training")).to_contain_text("no serving metrics")


def test_the_pipelines_own_health_is_there(console: Page, source: FakeSource) -> None:
    """Every telemetry topic and collector; dead letters past the limit are a banner."""
    gpu = console.get_by_test_id("topic-telemetry.gpu")
    expect(gpu).to_contain_text("1.28\u202fk/s")
    expect(gpu).to_contain_text("6.4\u202fs")
    expect(console.get_by_test_id("topic-telemetry.fabric")).to_contain_text("fabric—")
    expect(console.get_by_test_id("topic-inventory")).to_have_count(0)
    expect(console.get_by_test_id("collector-infiniband")).to_have_text("infiniband: 32 absent")
    expect(console.get_by_test_id("banner")).to_be_hidden()
    source.topics = [
        TopicState(
            name="inventory", dead_letters=1500, dead_letters_minute=1500, dead_letters_over=True
        )
    ]

    expect(console.get_by_test_id("banner")).to_contain_text("1,500 on inventory")
    expect(console.get_by_test_id("topic-inventory")).to_contain_text("1,500")


def test_advice_is_ranked_by_money(console: Page) -> None:
    """Most money first, unpriced last."""
    shown = console.locator("article[data-testid^=advice-]").evaluate_all(
        "cards => cards.map(c => c.dataset.testid)"
    )

    assert ["advice-a1", "advice-a2", "advice-a3"] == shown
    card = console.get_by_test_id("advice-a1")
    expect(card).to_contain_text("$31k – $51k / month")  # noqa: RUF001 - an en dash is the range
    expect(card).to_contain_text("84\u202f% (threshold 60\u202f%)")
    expect(card).to_contain_text("moving the KV cache costs this much per request")
    expect(card).to_contain_text("modelled")
    expect(card).to_contain_text("3 days lead time; no capital")
    expect(card).to_contain_text("falls below 100 ms within an hour")
    expect(console.get_by_test_id("advice-a3")).to_contain_text("gain unknown")


def test_a_card_says_why_it_ranks_and_by_which_versions(console: Page, source: FakeSource) -> None:
    """Rank before gain; each number has interval and class; versions are on the card."""
    first = source.pieces[1].model_copy(update={"rank": make_rank(4_000, 42_000)})
    source.pieces = [source.pieces[0], first, source.pieces[2]]
    card = console.get_by_test_id("advice-a1")

    expect(card.get_by_test_id("advice-rank")).to_contain_text("$42k likely")
    expect(card.get_by_test_id("advice-rank")).to_contain_text("confidence (modelled) = $4k")
    expect(card).to_contain_text("model 1, prices 2025-11")
    expect(card).to_contain_text("$42k; $31k")
    expect(card).to_contain_text("/ month, modelled: roofline")
    expect(card.locator(".rl-against .rl-chip")).to_have_text("published")
    shown = console.locator("article[data-testid^=advice-]").evaluate_all(
        "cards => cards.map(c => c.dataset.testid)"
    )
    assert ["advice-a2", "advice-a1", "advice-a3"] == shown


def test_a_done_change_is_measured_and_shown(console: Page, source: FakeSource) -> None:
    """The reader says that it was made; later the card shows what it brought beside the promise."""
    console.get_by_role("button", name="Resolve: Lower the supply").click()
    dialog = console.get_by_role("dialog")
    dialog.get_by_label("What was done").fill("Set point is 30 now")
    dialog.get_by_text("The change was made").click()
    dialog.get_by_role("button", name="Resolve").click()
    expect(console.get_by_text("Snoozed and resolved (1)")).to_be_visible()
    assert [("resolve", "a2", "console", "Set point is 30 now", "done")] == source.calls

    source._move("a2", verification=make_verification())
    console.get_by_text("Snoozed and resolved (1)").click()
    proof = console.get_by_test_id("advice-a2").get_by_test_id("advice-verification")
    expect(proof).to_contain_text("Kept")
    expect(proof).to_contain_text("29\u202f% – 33\u202f%")  # noqa: RUF001 - an en dash is the range
    expect(proof).to_contain_text("at the same SM activity, on 1,000 of 4,096 devices")
    expect(proof).to_contain_text("$5.3k – $6k / month")  # noqa: RUF001 - likewise


def test_acknowledge_reaches_the_source_with_the_readers_name(
    console: Page, source: FakeSource
) -> None:
    """One click; the state changes on the page and in the source."""
    console.get_by_label("Your name, recorded with what you decide").fill("Ada")
    console.get_by_role("button", name="Acknowledge: Serve prefill").click()

    expect(console.get_by_test_id("advice-a1").get_by_test_id("advice-state")).to_have_text(
        "acknowledged"
    )
    assert [("acknowledge", "a1", "Ada")] == source.calls
    assert AdviceState.ACKNOWLEDGED is state_of(source, "a1")
    expect(console.get_by_role("button", name="Acknowledge: Serve prefill")).to_have_count(0)


def test_the_name_is_remembered(console: Page) -> None:
    """A reload keeps it."""
    field = console.get_by_label("Your name, recorded with what you decide")
    field.fill("Ada")
    field.blur()
    expect(console.get_by_test_id("advice-a1")).to_be_visible()
    console.wait_for_function("localStorage.getItem('ridgeline-name') === 'Ada'")
    console.reload()

    expect(field).to_have_value("Ada")


def test_snooze_sets_the_card_aside(console: Page, source: FakeSource) -> None:
    """Snoozed advice leaves the list and the total."""
    console.get_by_role("button", name="Snooze: Serve prefill").click()
    console.get_by_text("1 day", exact=True).click()

    expect(console.get_by_test_id("open-total")).to_have_text("$6.1k / month")
    expect(console.get_by_text("Snoozed and resolved (1)")).to_be_visible()
    assert [("snooze", "a1", "console", "24")] == source.calls


def test_resolve_asks_for_a_note(console: Page, source: FakeSource) -> None:
    """An empty note is not taken; with one the advice is resolved."""
    console.get_by_role("button", name="Resolve: Lower the supply").click()
    dialog = console.get_by_role("dialog")
    dialog.get_by_role("button", name="Resolve").click()
    expect(dialog).to_contain_text("A few words")
    assert [] == source.calls

    dialog.get_by_label("What was done").fill("Set point is 30 now")
    dialog.get_by_role("button", name="Resolve").click()

    expect(console.get_by_text("Snoozed and resolved (1)")).to_be_visible()
    assert [("resolve", "a2", "console", "Set point is 30 now")] == source.calls
    console.get_by_text("Snoozed and resolved (1)").click()
    expect(console.get_by_test_id("advice-a2")).to_contain_text("Set point is 30 now")


def test_cancelled_resolve_changes_nothing(console: Page, source: FakeSource) -> None:
    """Thinking better of it is free."""
    console.get_by_role("button", name="Resolve: Lower the supply").click()
    console.get_by_role("dialog").get_by_role("button", name="Cancel").click()

    expect(console.get_by_role("dialog")).to_have_count(0)
    assert [] == source.calls


def test_new_findings_appear_live(console: Page, source: FakeSource) -> None:
    """Without a reload, in their place; what the reader opened stays open."""
    console.get_by_test_id("detection-d1").locator("summary").click()
    expect(console.get_by_test_id("detection-d1")).to_contain_text("could also be: Power cap")
    source.found = [*source.found, make_detection("d9", "node11 gpu7", Severity.CRITICAL)]
    source.pieces = [*source.pieces, make_advice("a9", "Add two decode nodes", None)]

    expect(console.get_by_test_id("detection-d9")).to_contain_text("node11 gpu7")
    expect(console.get_by_test_id("advice-a9")).to_be_visible()
    expect(console.get_by_test_id("health")).to_have_text("2 critical, 1 warning")
    expect(console.get_by_test_id("detection-d1")).to_have_attribute("open", "")
    order = console.locator("[data-testid^=detection-]").evaluate_all(
        "rows => rows.map(r => r.dataset.testid)"
    )
    assert {"detection-d2", "detection-d9"} == set(order[:2])
    assert "detection-d3" == order[-1]


def test_a_condition_of_many_devices_is_one_row(console: Page, source: FakeSource) -> None:
    """It says how many, and opens to each of them."""
    source.found = [
        make_detection(f"m{n}", f"node{n:02d} gpu1", condition="power_cap") for n in range(6)
    ]
    row = console.get_by_test_id("detection-power_cap-open")
    expect(row).to_contain_text("6 on 6 nodes")
    row.locator("summary").click()

    expect(row.get_by_text("node05 gpu1")).to_be_visible()
    assert 1 == console.locator("[data-testid^=detection-]").count()


def test_unchanged_cards_keep_their_elements(console: Page, source: FakeSource) -> None:
    """The page is not redrawn every second: a mark left on a card survives readings."""
    card = console.get_by_test_id("advice-a1")
    card.locator(".rl-reason").evaluate("element => element.dataset.marked = 'yes'")
    step = source.step
    source.found = [*source.found, make_detection("d8", "node12 gpu1")]
    expect(console.get_by_test_id("detection-d8")).to_be_visible()

    assert source.step > step
    expect(card.locator(".rl-reason")).to_have_attribute("data-marked", "yes")


def test_failing_source_is_a_banner_and_the_rest_stays(console: Page, source: FakeSource) -> None:
    """The last good answer stays under the banner; the banner goes when the source is back."""
    banner = console.get_by_test_id("banner")
    expect(banner).to_be_hidden()
    source.failing = f"store is away {XSS}"

    expect(banner).to_contain_text("advice: store is away <img")
    expect(console.get_by_test_id("advice-a1")).to_be_visible()
    expect(console.get_by_test_id("pool-decode")).to_be_visible()
    source.failing = ""
    expect(banner).to_be_hidden()


def test_refused_action_says_so(console: Page, source: FakeSource) -> None:
    """A decision that could not be recorded is not shown as done."""
    source.refusing = "store is read-only"
    console.get_by_role("button", name="Acknowledge: Serve prefill").click()

    expect(console.get_by_text("Not done: store is read-only")).to_be_visible()
    expect(console.get_by_role("button", name="Acknowledge: Serve prefill")).to_be_visible()


def test_stale_data_is_marked(console: Page, source: FakeSource) -> None:
    """Old data is no base for "healthy"."""
    source.age_ms = 10 * 60_000

    expect(console.get_by_test_id("freshness")).to_contain_text("stale: updated 10\u202fmin ago")
    expect(console.get_by_test_id("health")).to_have_text("unknown: data is stale")


def test_markup_in_data_is_text(console: Page, source: FakeSource) -> None:
    """A subject or a title with markup is shown letter by letter."""
    source.found = [*source.found, make_detection("dx", XSS)]
    source.pieces = [*source.pieces, make_advice("ax", XSS, None)]

    expect(console.get_by_test_id("detection-dx")).to_contain_text(XSS)
    expect(console.get_by_test_id("advice-ax")).to_contain_text(XSS)
    expect(console).to_have_title("Ridgeline")
    assert 0 == console.locator("img[src=x]").count()


def test_other_routes_of_the_app_still_answer(
    console: Page, served: tuple[str, FakeSource]
) -> None:
    """The page is mounted under the API, not over it."""
    assert '"ok"' == console.request.get(f"{served[0]}/api/health").text()


@pytest.fixture
def guarded() -> Iterator[str]:
    """Address of a console behind a token, in its own process."""
    command = [sys.executable, "-m", "tests.console.console_server", TOKEN]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


def test_with_a_token_nothing_is_shown_before_it(guarded: str, browser: Browser) -> None:
    """A wrong token opens nothing; the right one opens the page."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(guarded)
    field = page.get_by_label("Token")
    field.fill("wrong")
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_text("That is not the token.")).to_be_visible()
    assert "Serve prefill" not in page.content()

    field.fill(TOKEN)
    field.press("Enter")

    expect(page.get_by_test_id("advice-a1")).to_be_visible()
    expect(field).to_have_count(0)
    context.close()

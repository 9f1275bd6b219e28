"""The console at `/`: one page, live, over a `ConsoleSource`."""

from __future__ import annotations

from collections.abc import Awaitable
from pathlib import Path
from typing import Literal

import structlog
from fastapi import FastAPI
from nicegui import ui

from advisor.console.advice_view import AdviceView, Handlers
from advisor.console.cluster_view import ClusterView
from advisor.console.detections_view import DetectionsView
from advisor.console.dialogs import NameField, ResolveDialog, ask_token
from advisor.console.feed import Feed, now_ms
from advisor.console.header_view import HeaderView
from advisor.console.parts import box
from advisor.console.pipeline_view import PipelineView
from advisor.source import ConsoleSource
from ridgeline.events import Advice

log = structlog.get_logger()
STYLE = Path(__file__).with_name("console.css")
REFRESH_SECONDS = 1.0
FAVICON = (
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'>"
    "<path d='M3 26 L17 9 L29 9' fill='none' stroke='#63c7a6' stroke-width='4'"
    " stroke-linecap='round' stroke-linejoin='round'/></svg>"
)


def register(app: FastAPI, source: ConsoleSource, token: str = "") -> None:
    """Serve the console at `/` of `app`; call it after the app's other routes.

    Args:
        app: The advisor's application; the page is mounted under everything it already routes.
        source: What is shown.
        token: When not empty, what a reader must type before anything is shown.
    """
    feed = Feed(source)

    @ui.page("/", title="Ridgeline", dark=True, favicon=FAVICON)
    def console() -> None:
        ui.add_css(STYLE)
        ui.colors(primary="#6ea8fe", positive="#2f7d63", negative="#a6423b", warning="#8f6a1f")
        if token:
            ask_token(token, lambda: _Page(feed))
        else:
            _Page(feed)

    ui.run_with(
        app,
        title="Ridgeline",
        tailwind=False,
        binding_refresh_interval=None,
        show_welcome_message=False,
    )


class _Page:
    """One open page."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._client = ui.context.client
        self._resolve_dialog = ResolveDialog()
        with box("rl-page", "console", "main"):
            self._header = HeaderView()
            with self._header.tools:
                self._name = NameField()
            with box("rl-columns"):
                with box("rl-column"):
                    self._advice = AdviceView(
                        Handlers(self._acknowledge, self._snooze, self._resolve)
                    )
                    self._detections = DetectionsView()
                with box("rl-column"):
                    self._cluster = ClusterView()
                    self._pipeline = PipelineView()
        self._show()
        ui.timer(REFRESH_SECONDS, self._refresh)

    def _refresh(self) -> None:
        self._feed.poke()
        self._show()

    def _show(self) -> None:
        latest, now = self._feed.latest, now_ms()
        self._header.show(latest, now)
        self._advice.show(latest.advice, loaded=latest.loaded)
        self._detections.show(latest.detections, now, loaded=latest.loaded)
        self._cluster.show(latest.state, now)
        self._pipeline.show(latest.state)

    async def _acknowledge(self, advice: Advice) -> None:
        doing = self._feed.source.acknowledge(advice.id, self._name.value)
        await self._do(doing, "Acknowledged")

    async def _snooze(self, advice: Advice, hours: float) -> None:
        doing = self._feed.source.snooze(advice.id, self._name.value, hours)
        await self._do(doing, "Snoozed")

    async def _resolve(self, advice: Advice) -> None:
        answer = await self._resolve_dialog.ask(advice.title)
        if answer is not None:
            note, done = answer
            doing = self._feed.source.resolve(advice.id, self._name.value, note, done=done)
            await self._do(doing, "Resolved")

    async def _do(self, doing: Awaitable[None], done: str) -> None:
        """Carry out a person's decision and show what came of it.

        The card that was clicked may be redrawn meanwhile, so messages hang on the page.
        """
        kind: Literal["positive", "negative", "warning"]
        try:
            await doing
        except KeyError:
            message, kind = "This advice no longer exists.", "warning"
        except Exception as error:  # noqa: BLE001 - the page outlives whatever its source does
            log.warning("console action failed", action=done, error=repr(error))
            message, kind = f"Not done: {error or type(error).__name__}", "negative"
        else:
            message, kind = done, "positive"
        await self._feed.load()
        if not self._client.is_deleted:
            with self._client:
                self._show()
                ui.notify(message, type=kind, position="bottom-right")

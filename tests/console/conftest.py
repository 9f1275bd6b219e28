"""A real server with the console, and a real headless Chromium."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from advisor.console.page import register
from tests.console.console_fake import FakeSource
from tests.needs import need_program

expect.set_options(timeout=30_000)  # a loaded machine is slow, not wrong
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


class SwitchedSource(FakeSource):
    """The page is registered once a process; each test starts with fresh data."""

    def reset(self) -> None:
        """Forget what the test before did."""
        self.__init__(self.generation + 1)  # type: ignore[misc]


@pytest.fixture(scope="session")
def served() -> Iterator[tuple[str, SwitchedSource]]:
    """Address of the console and the source behind it."""
    source = SwitchedSource()
    app = FastAPI()

    @app.get("/api/health")
    async def answer() -> str:
        return "ok"

    register(app, source)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        deadline = time.monotonic() + 60
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.05)
        assert server.started
        yield f"http://127.0.0.1:{port}", source
        server.should_exit = True
        thread.join(30)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium, gone before other modules run: it occupies the thread's event loop."""
    path = need_program("chromium", "apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def source(served: tuple[str, SwitchedSource]) -> SwitchedSource:
    """The source, with fresh data."""
    served[1].reset()
    return served[1]


@pytest.fixture
def console(
    served: tuple[str, SwitchedSource], source: SwitchedSource, browser: Browser
) -> Iterator[Page]:
    """The page, open; the test fails when the browser reported an error or left the machine."""
    context = browser.new_context(viewport={"width": 1480, "height": 1000})
    page = context.new_page()
    errors: list[str] = []
    foreign: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "request",
        lambda r: (
            foreign.append(r.url) if not r.url.startswith((served[0], "data:", "blob:")) else None
        ),
    )
    page.goto(served[0])
    page.get_by_text(f"report {source.generation}").wait_for()
    yield page
    context.close()
    assert [] == errors
    assert [] == foreign

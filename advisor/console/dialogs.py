"""What a person types: their name, the note of a resolution, the token."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable

from nicegui import ui

from advisor.console.parts import box, text

NAMELESS = "console"
_STORED = "ridgeline-name"


class NameField:
    """Who decides, kept in the reader's own browser."""

    def __init__(self) -> None:
        self._input = ui.input(placeholder="Your name").props("dense borderless maxlength=80")
        self._input.classes("rl-input")
        self._input.props["aria-label"] = "Your name, recorded with what you decide"
        self._input.props["data-testid"] = "your-name"
        self._input.on("change", self._keep)
        ui.timer(0, self._restore, once=True)

    @property
    def value(self) -> str:
        """The name, or a word for the console where none is given."""
        return str(self._input.value or "").strip() or NAMELESS

    def _keep(self) -> None:
        name = json.dumps(str(self._input.value or ""))
        ui.run_javascript(f"localStorage.setItem({json.dumps(_STORED)}, {name})")

    async def _restore(self) -> None:
        await ui.context.client.connected()
        name = await ui.run_javascript(f"localStorage.getItem({json.dumps(_STORED)})", timeout=5)
        if name and not self._input.value:
            self._input.set_value(str(name))


class ResolveDialog:
    """Asks what was done, or why it will not be."""

    def __init__(self) -> None:
        with ui.dialog() as self._dialog, ui.card().classes("rl-dialog"):
            text("Resolve", "rl-title")
            self._title = text("", "rl-reason")
            self._note = ui.textarea("What was done, or why it will not be").props("autofocus")
            self._note.props["data-testid"] = "resolve-note"
            self._note.classes("rl-textarea")
            self._done = ui.checkbox("The change was made: measure what it brings")
            self._done.props["data-testid"] = "resolve-done"
            with box("rl-actions"):
                ui.button("Resolve", on_click=self._accept).props(
                    "flat no-caps dense color=none data-testid=resolve-accept"
                ).classes("rl-button rl-primary")
                ui.button("Cancel", on_click=lambda: self._dialog.submit(None)).props(
                    "flat no-caps dense color=none"
                ).classes("rl-button")

    async def ask(self, title: str) -> tuple[str, bool] | None:
        """The note and whether the change was made; None when the reader thinks better of it."""
        self._title.set_text(title)
        self._note.set_value("")
        self._done.set_value(False)
        self._note.error = None
        answer = await self._dialog
        return None if answer is None else (str(answer), bool(self._done.value))

    def _accept(self) -> None:
        note = str(self._note.value or "").strip()
        if note:
            self._dialog.submit(note)
        else:
            self._note.error = "A few words: the next reader will want them."


def ask_token(token: str, then: Callable[[], object]) -> None:
    """Ask for the token and, when it is right, put what `then` builds in place of the question."""
    content = ui.context.client.content
    place = box("rl-page rl-gate", "gate", "main")

    def check() -> None:
        given = str(field.value or "")
        if secrets.compare_digest(given.encode(), token.encode()):
            place.delete()
            with content:
                then()
        else:
            field.error = "That is not the token."

    with place, box("rl-card"):
        text("Ridgeline", "rl-brand")
        field = ui.input("Token", password=True).on("keydown.enter", check)
        field.props["data-testid"] = "token"
        ui.button("Open", on_click=check).props("flat no-caps color=none").classes(
            "rl-button rl-primary"
        )

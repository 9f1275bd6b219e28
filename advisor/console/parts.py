"""Small pieces every view is made of. Text from data only ever becomes text nodes or attributes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from nicegui import ui

T = TypeVar("T")


def text(value: str, css: str = "", mark: str = "") -> ui.label:
    """A piece of text; `mark` is what a test finds it by."""
    label = ui.label(value)
    label.classes(css)
    if mark:
        label.props["data-testid"] = mark
    return label


def box(css: str = "", mark: str = "", tag: str = "div") -> ui.element:
    """An element without looks of its own."""
    element = ui.element(tag)
    element.classes(css)
    if mark:
        element.props["data-testid"] = mark
    return element


def heading(value: str, note: str = "") -> ui.label:
    """Title of a section; returns the label of the note beside it."""
    with box("rl-heading"):
        text(value, "rl-title").props["role"] = "heading"
        return text(note, "rl-note")


def section(name: str, mark: str) -> ui.element:
    """A landmark of the page, named for screen readers."""
    element = box("rl-section", mark, "section")
    element.props["aria-label"] = name
    return element


def pair(name: str, value: str, css: str = "") -> None:
    """A name over its value."""
    with box(f"rl-pair {css}"):
        text(name, "rl-key")
        text(value, "rl-value")


def bar(name: str, ratio: float | None, shown: str, colour: str) -> None:
    """A ratio 0..1 as a thin bar; without a reading the track is hatched, not empty."""
    with box("rl-bar"):
        text(name, "rl-key")
        text(shown, "rl-value")
        with box("rl-track" if ratio is not None else "rl-track rl-blank"):
            width = 0.0 if ratio is None else min(1.0, max(0.0, ratio)) * 100
            box("rl-fill").style(f"width: {width:.1f}%; background: {colour}")


class KeyedRows(Generic[T]):
    """Children of `container`, one an item, redrawn only where an item's content has changed.

    Args:
        container: Where the rows go.
        key: Identity of an item; its row keeps its element, and with it what the reader opened.
        draw: Fills the (cleared) row with an item.
        content: What the row shows; the row is redrawn when this differs from the last time.
        tag: HTML tag of a row.
        css: Classes of a row.
        mark: What a test finds rows by; the key is appended.
    """

    def __init__(
        self,
        container: ui.element,
        key: Callable[[T], str],
        draw: Callable[[T], None],
        *,
        content: Callable[[T], object] = repr,
        tag: str = "div",
        css: str = "",
        mark: str = "row",
    ) -> None:
        self._container = container
        self._key = key
        self._draw = draw
        self._content = content
        self._tag, self._css, self._mark = tag, css, mark
        self._rows: dict[str, tuple[ui.element, object]] = {}

    def show(self, items: Sequence[T]) -> None:
        """Make the rows those of `items`, in that order."""
        wanted = {self._key(item): item for item in items}
        for gone in self._rows.keys() - wanted.keys():
            self._rows.pop(gone)[0].delete()
        for place, (key, item) in enumerate(wanted.items()):
            row = self._row(key, item)
            if self._container.default_slot.children[place] is not row:
                row.move(target_index=place)

    def _row(self, key: str, item: T) -> ui.element:
        content = self._content(item)
        row, shown = self._rows.get(key, (None, None))
        if row is None:
            with self._container:
                row = box(self._css, f"{self._mark}-{key}", self._tag)
        elif shown == content:
            return row
        row.clear()
        with row:
            self._draw(item)
        self._rows[key] = (row, content)
        return row

"""A progress bar on standard error, only where a person looks at it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")


@contextmanager
def bar(what: str, total: float) -> Iterator[Callable[[float], None]]:
    """Gives a function that moves the bar by an amount; silent where stderr is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as on:
        task = on.add_task(what, total=total)
        yield lambda amount: on.advance(task, amount)


def steps(items: Iterable[T], what: str, total: float) -> Iterator[T]:
    """The items, with a bar that moves by one after each."""
    with bar(what, total) as advance:
        for item in items:
            yield item
            advance(1)

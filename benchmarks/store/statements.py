"""Everything that a dashboard or the advisor asks of the store, as calls with a name.

A test holds this list against the dashboards' documents and the advisor's code: a new query that
is not in it fails there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from advisor import facts, outcome, pipeline, state
from advisor.engine import AdviceStore, Engine
from advisor.facts import Facts, Span
from advisor.facts.history import (
    MOST_COMPARED,
    Scope,
    by_minutes,
    device_count,
    device_means,
    samples,
)
from dashboards import sql
from dashboards.build import documents
from ridgeline.events import Event

Call = Callable[[], Any]
Ask = Callable[[str], list[dict[str, Any]]]
MINUTE_S, DAY_S = 60, 86_400
RANGES = (("15 min", 15 * MINUTE_S), ("1 day", DAY_S), ("30 days", 30 * DAY_S))
POINTS = 1000  # of a panel's width
HISTORY_S = 15 * MINUTE_S
COMPARED_S = 30 * MINUTE_S
SCOPES: Mapping[str, str] = {
    "pool": "decode",
    "rack": "rack0025",
    "cooling_loop": "loop003",
    "host": "node00100",
    "rail": "rail0",
}
"""What a change is verified on, by inventory column."""
LARGE = ("pool", "rail")
"""Of these, those with more devices than are compared window by window, in a fleet of 10,000."""


def rendered(
    ask: Ask, now_s: int, span_s: int, chosen: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Title and SQL of every target and variable of the dashboards, as Grafana sends them.

    Args:
        ask: Answers the variables that the others depend on.
        now_s: End of the time range, in s since the epoch.
        span_s: Its length.
        chosen: Chosen value by variable; All of the others.
    """
    picked: dict[str, Any] = dict.fromkeys(("pool", "rack", "node")) | {"rows": "auto"}
    picked |= {name: [value] for name, value in chosen.items()}
    step = max(10, span_s // POINTS)

    def text(raw: str) -> str:
        return sql.render(raw, now_s - span_s, now_s, picked, step)

    for table in ("resolution", "detail", "fleet", "loops"):
        picked[table] = ask(text(getattr(sql, table.upper())))[0][table]
    for uid, document in documents().items():
        name = uid.removeprefix("ridgeline-")
        for panel in document["panels"]:
            for target in panel.get("targets") or ():
                title = f"{picked['resolution']} {name}: {panel['title']}"
                yield title, text(target["rawSql"])
        for variable in document["templating"]["list"]:
            if variable["type"] == "query":
                yield f"{name}: ${variable['name']}", text(variable["query"]["rawSql"])


def advisor(store: AdviceStore, now_s: int) -> Iterator[tuple[str, Call]]:
    """Every fact, what the console shows beside facts, and what verifies a change."""
    span = Span(now_ms=now_s * 1000, history_ms=HISTORY_S * 1000)
    for name, query in facts.QUERIES:
        yield f"fact {name}", partial(query, store, span)
    none = Facts(now_ms=span.now_ms)
    yield "console nodes", lambda: state.nodes(store, span, none)
    yield "console detections", lambda: state.recent_detections(store, span.now_ms)
    yield "console topics", lambda: pipeline.topics(store, span, 10)
    yield "console collectors", lambda: pipeline.collectors(store, span)
    yield "advice at the start", Engine(store, lambda _now: none, {}).recover
    for measure in outcome.MEASURES:
        scope = Scope(names=frozenset((SCOPES[measure.by],)), seen_ms=(now_s - DAY_S) * 1000)
        ends = span.now_ms - COMPARED_S * 1000, span.now_ms
        minutes = by_minutes(10 * MOST_COMPARED if measure.by in LARGE else 1, COMPARED_S * 1000)
        call = partial(samples, store, measure, scope, *ends, span.window_ms, minutes=minutes)
        yield f"verify {measure.name}, one {measure.by}", call
        if measure.by in LARGE:
            each = partial(device_means, store, measure, scope, *ends, span.window_ms)
            yield f"devices' {measure.name}, one {measure.by}", partial(each, minutes=minutes)
        yield f"devices of one {measure.by}", partial(device_count, store, measure, scope)


class Noting:
    """A reader that keeps what it is asked, and answers nothing."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Rows by column name: none."""
        del parameters
        self.texts.append(sql)
        return []

    def insert_events(self, events: Sequence[Event]) -> None:
        """Nothing asked here writes."""
        raise NotImplementedError


def words(now_s: int) -> frozenset[str]:
    """Every name that occurs in any statement: the columns that must hold something."""
    noting = Noting()
    for _, call in advisor(noting, now_s):
        with suppress(ValueError, IndexError):  # no row where one is expected
            call()
    raw = (title_sql for _, title_sql in rendered(_no_tables, now_s, DAY_S, {}))
    return frozenset(word for text in (*noting.texts, *raw) for word in re.findall(r"\w+", text))


def _no_tables(_sql: str) -> list[dict[str, Any]]:
    return [dict.fromkeys(("resolution", "detail", "fleet", "loops"), "1m")]

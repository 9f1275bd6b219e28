"""A simulated week of requests in event time: `traffic.token_drift` from rows of a real store.

Load has days, nights and a weekend, and nights have longer answers than days: none of that is news.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from advisor import facts
from advisor.models.normal import cdf
from advisor.rules import token_drift
from advisor.rules.pricing import Catalog
from ridgeline.events import Advice, DeviceKind, InventoryItem
from ridgeline.ids import device_id, node_id
from ridgeline.pools import Role
from ridgeline.schema import GPU, LENGTH_BOUNDS, SERVING, Kind, Schema, length_columns
from ridgeline.settings import AdvisorSettings, StoreSettings
from ridgeline.store import Store

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
MONDAY_MS = 1_799_625_600_000  # 2027-01-11 00:00 UTC
DAYS = 7
FRIDAY = 4
ASKED_HOURS = range(3, DAYS * 24, 6)
PROMPTS, ANSWERS = (1200.0, 1.0), (300.0, 1.2)  # mean tokens, coefficient of variation


@pytest.fixture
def store(store_url: str, request: pytest.FixtureRequest) -> Iterator[Store]:
    """A store with a database of this test alone."""
    made = Store.connect(StoreSettings(url=store_url, database=f"week_{request.node.name}"[:60]))
    made.migrate()
    yield made
    made.close()


def blank(schema: Schema, item: InventoryItem, starts_ms: np.ndarray) -> np.ndarray:
    """Windows of 10 s of one device, everything missing."""
    out = np.zeros(len(starts_ms), dtype=schema.window_dtype)
    for f in schema.window_fields:
        out[f.name] = np.nan if f.kind in (Kind.GAUGE, Kind.COUNTER) else 2**32 - 1
    out["window_start"], out["samples"] = starts_ms, 10
    out["device"], out["node"] = item.device, item.node
    return out


def item(kind: DeviceKind, host: str, name: str) -> InventoryItem:
    """A GPU or an engine of a mixed pool."""
    return InventoryItem(
        device=device_id(host, kind, name),
        node=node_id(host),
        kind=kind,
        host=host,
        name=name,
        pool=Role.MIXED,
        model="NVIDIA H100 80GB HBM3" if kind is DeviceKind.GPU else "meta-llama/Llama-3.1-70B",
        seen_ms=MONDAY_MS,
    )


def counted(
    rng: np.random.Generator, requests: np.ndarray, mean: np.ndarray, cv: float
) -> np.ndarray:
    """Requests of log-normal lengths, one row a window, cumulative in the bounds of the schema."""
    sigma = np.sqrt(np.log1p(cv**2))
    middle = np.log(mean)[:, None] - sigma**2 / 2
    below = cdf((np.log(np.array(LENGTH_BOUNDS, dtype=float))[None, :] - middle) / sigma)
    shares = np.diff(below, axis=1, prepend=0.0, append=1.0)
    return np.cumsum(rng.multinomial(requests, shares), axis=1)


def week(store: Store, answers_from: dict[int, float]) -> None:
    """Seven days of a pool, one window a minute; `answers_from` a day on they are longer."""
    rng = np.random.default_rng(3)
    starts = MONDAY_MS + MINUTE_MS * np.arange(DAYS * 1440, dtype=np.int64)
    day, hour = (starts - MONDAY_MS) // DAY_MS, (starts // HOUR_MS) % 24
    load = (1 + 0.8 * np.sin((hour - 9) / 24 * 2 * np.pi)) * np.where(day >= 5, 0.4, 1.0)
    longer = np.where(hour < 6, 1.6, 1.0)
    for since, factor in answers_from.items():
        longer = np.where(day >= since, longer * factor, longer)
    engine = item(DeviceKind.SERVING, "node0", "http://engine")
    gpu = item(DeviceKind.GPU, "node0", "GPU-0")
    store.insert_events([engine, gpu])
    rows = blank(SERVING, engine, starts)
    requests = rng.poisson(10 * load)
    rows["requests_finished_inc"], rows["requests_waiting_avg"] = requests, 0.0
    for what, mean, cv in (
        ("prompt", np.full(len(starts), PROMPTS[0]), PROMPTS[1]),
        ("output", ANSWERS[0] * longer, ANSWERS[1]),
    ):
        counts = counted(rng, requests, mean, cv)
        for name, values in zip(length_columns(what), counts.T, strict=True):
            rows[f"{name}_inc"] = values
    busy = blank(GPU, gpu, starts)
    busy["sm_util_ratio_avg"] = 0.8
    for schema, written in ((SERVING, rows), (GPU, busy)):
        store.insert_windows(schema, written)
        store.roll_up(schema, MONDAY_MS, MONDAY_MS + DAYS * DAY_MS)


def said(store: Store) -> dict[tuple[int, int], Advice]:
    """Findings by day and hour, asked every sixth hour of the week."""
    found: dict[tuple[int, int], Advice] = {}
    for hour in ASKED_HOURS:
        span = facts.Span(now_ms=MONDAY_MS + hour * HOUR_MS + 30_000, history_ms=900_000)
        read = facts.Facts(
            now_ms=span.now_ms,
            serving=facts.serving_load(store, span),
            pools=facts.gpu_activity(store, span, "pool"),
            lengths_by_day=facts.lengths_by_day(store, span),
        )
        assert ["mixed"] == [load.pool for load in read.serving]
        for advice in token_drift.rule(read, Catalog(), AdvisorSettings()):
            found[divmod(hour, 24)] = advice
    return found


def test_a_week_of_days_nights_and_a_weekend_is_no_drift(store: Store) -> None:
    """Nights answer 1.6 times as long, the weekend has two fifths of the load: never a word."""
    week(store, {})

    assert {} == said(store)


def test_answers_that_grow_on_the_fifth_day_are_found_that_day(store: Store) -> None:
    """Twice as long from Friday on: silent for four days, found once three hours are whole."""
    week(store, {FRIDAY: 2.0})

    found = said(store)

    assert found
    assert (FRIDAY, 3) == min(found)
    assert {(FRIDAY, hour) for hour in (3, 9, 15, 21)} <= set(found)
    assert all("answers" in advice.title for advice in found.values())
    assert all("prompts" not in advice.title for advice in found.values())

"""The store against the real engine."""

from __future__ import annotations

import math
import threading
import uuid
from collections.abc import Iterator

import numpy as np
import pytest
from pydantic import SecretStr

from benchmarks.chaos.offline import rounded
from ridgeline import events, metrics
from ridgeline.errors import Misconfigured, Reject, Retry
from ridgeline.local import broker
from ridgeline.schema import GPU, MISSING_COUNTER, MISSING_STATE, SCHEMAS, Schema, WindowField
from ridgeline.settings import StoreSettings
from ridgeline.store import Store, event_rows, migrations
from ridgeline.store.connection import Connection

T0 = 1_900_000_000_000 // 3_600_000 * 3_600_000  # a whole hour, far from every TTL


def fresh(url: str) -> StoreSettings:
    """Settings that name a database of one's own."""
    return StoreSettings(url=url, database=f"test_{uuid.uuid4().hex[:12]}")


@pytest.fixture(scope="module")
def store(store_url: str) -> Iterator[Store]:
    """A migrated store; tests use their own devices."""
    store = Store.connect(fresh(store_url))
    store.migrate()
    yield store
    store.close()


def window_rows(schema: Schema, count: int, seed: int = 1) -> np.ndarray:
    """Random windows of one device a row, every third value missing."""
    rng = np.random.default_rng(seed)
    rows = np.zeros(count, dtype=schema.window_dtype)
    rows["window_start"] = T0 + 10_000 * np.arange(count)
    rows["device"] = seed
    rows["node"] = 2**64 - 1 - seed
    rows["samples"] = rng.integers(1, 11, count)
    for f in schema.window_fields:
        values = rng.integers(0, 2**16, count).astype(f.numpy)
        missing = math.nan if f.numpy.startswith("<f") else MISSING_STATE
        rows[f.name] = np.where(rng.random(count) < 0.33, missing, values)
    return rows


def test_migrating_twice_applies_once(store_url: str) -> None:
    """The second call finds nothing to do."""
    store = Store.connect(fresh(store_url))

    assert [m.name for m in migrations.load()] == store.migrate()
    assert [] == store.migrate()


def test_concurrent_migrators_apply_once(store_url: str) -> None:
    """Each returns with the tables in place, and each migration is applied by one of them."""
    settings = fresh(store_url)
    applied: list[str] = []
    failures: list[BaseException] = []

    def one() -> None:
        try:
            applied.extend(Store.connect(settings).migrate())
        except BaseException as error:  # noqa: BLE001 - handed to the test
            failures.append(error)

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [] == failures
    assert [m.name for m in migrations.load()] == sorted(applied)


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=lambda s: s.family)
def test_windows_round_trip(store: Store, schema: Schema) -> None:
    """What is read is what was inserted, missing values included."""
    rows = window_rows(schema, 50)
    store.insert_windows(schema, rows)
    names = schema.window_dtype.names or ()
    columns = ", ".join(n for n in names if n != "window_start")

    got = store.query(
        f"SELECT toUnixTimestamp64Milli(window_start) AS t, {columns}"
        f" FROM {schema.family}_windows WHERE device = 1 ORDER BY window_start"
    )

    for name in names:
        values = [row["t" if name == "window_start" else name] for row in got]
        np.testing.assert_array_equal(rows[name], np.array(values, dtype=rows[name].dtype))


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=lambda s: s.family)
def test_raw_round_trip(store: Store, schema: Schema) -> None:
    """Raw rows keep their missing counters, gauges and states."""
    rows = schema.empty(3)
    rows["ts"] = T0 + np.arange(3)
    rows["device"] = 77
    store.insert_raw(schema, rows)

    got = store.query(f"SELECT * FROM {schema.family}_raw WHERE device = 77 ORDER BY ts")

    assert 3 == len(got)
    for column in schema.columns:
        value = got[0][column.name]
        if column.numpy == "<f4":
            assert math.isnan(value)
        else:
            assert (MISSING_COUNTER if column.numpy == "<u8" else MISSING_STATE) == value


def test_inserting_a_window_again_replaces_it(store: Store) -> None:
    """A replay leaves one row, the newest."""
    rows = window_rows(GPU, 5, seed=2)
    store.insert_windows(GPU, rows)
    rows["samples"] = 10
    store.insert_windows(GPU, rows)

    got = store.query("SELECT samples FROM gpu_windows WHERE device = 2")

    assert [10] * 5 == [row["samples"] for row in got]


def test_a_foreign_layout_is_rejected(store: Store) -> None:
    """Rows of one family never reach another family's table."""
    with pytest.raises(Reject, match="gpu_windows"):
        store.insert_windows(GPU, GPU.empty(1))


def reference(rows: np.ndarray, field: WindowField) -> float:
    """One fold in numpy."""
    x, n = rows[field.name].astype(float), rows["samples"].astype(float)
    known = x != MISSING_STATE if field.how in ("last", "or") else ~np.isnan(x)
    if not known.any():
        return MISSING_STATE if field.how in ("last", "or") else math.nan
    x, n = x[known], n[known]
    folds = {
        "avg": lambda: rounded((x * n).sum() / n.sum(), field.resolution),
        "min": x.min,
        "max": x.max,
        "inc": x.sum,
        "last": lambda: x[-1],
        "or": lambda: np.bitwise_or.reduce(x.astype(np.uint32)),
    }
    return float(folds[field.how]())


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=lambda s: s.family)
def test_rollups_say_what_the_windows_say(store: Store, schema: Schema) -> None:
    """Minutes and hours equal numpy's folds, also when the fold is repeated."""
    rows = window_rows(schema, 450, seed=3)  # an hour and a quarter
    missing = schema.window_fields[0].name
    rows[missing][:6] = math.nan if rows[missing].dtype.kind == "f" else MISSING_STATE
    store.insert_windows(schema, rows)
    for _ in range(2):
        store.roll_up(schema, T0, T0 + 10_000 * len(rows))

    minutes = store.query(
        f"SELECT * FROM {schema.family}_1m WHERE device = 3 ORDER BY window_start"
    )
    hours = store.query(f"SELECT * FROM {schema.family}_1h WHERE device = 3 ORDER BY window_start")

    assert (75, 2) == (len(minutes), len(hours))
    assert rows["samples"].sum() == sum(row["samples"] for row in hours)
    for f in schema.window_fields:
        for i in (0, 1, 74):
            want = reference(rows[6 * i : 6 * i + 6], f)
            assert minutes[i][f.name] == pytest.approx(want, rel=1e-5, nan_ok=True), f.name
        want = reference(rows[:360], f)
        if f.how == "avg":  # of the minutes: one that misses some windows weighs whole
            folded = np.zeros(60, dtype=schema.window_dtype)
            for name in (f.name, "samples"):
                folded[name] = [row[name] for row in minutes[:60]]
            want = reference(folded, f)
        assert hours[0][f.name] == pytest.approx(want, rel=1e-5, nan_ok=True), f.name


def test_a_part_of_an_hour_rebuilds_the_whole_hour(store: Store) -> None:
    """Rolling up ten seconds does not shrink the hour they are in."""
    rows = window_rows(GPU, 360, seed=4)
    store.insert_windows(GPU, rows)
    store.roll_up(GPU, T0, T0 + 3_600_000)
    store.roll_up(GPU, T0 + 1_800_000, T0 + 1_810_000)

    got = store.query("SELECT samples FROM gpu_1h WHERE device = 4")

    assert [rows["samples"].sum()] == [row["samples"] for row in got]


def test_a_rollup_that_saw_less_never_replaces_one_that_saw_more(store: Store) -> None:
    """Two workers rebuild the same minute; the slower one read the windows earlier."""
    rows = window_rows(GPU, 6, seed=5)
    store.insert_windows(GPU, rows)
    store.roll_up(GPU, T0, T0 + 60_000)
    for suffix in ("1m", "1h"):
        store._connection.command(
            f"INSERT INTO gpu_{suffix} SELECT * REPLACE (samples - 1 AS samples)"
            f" FROM gpu_{suffix} WHERE device = 5",
            "stale",
        )

    got = [
        store.query(f"SELECT samples FROM gpu_{suffix} WHERE device = 5")[0]["samples"]
        for suffix in ("1m", "1h")
    ]

    assert [rows["samples"].sum()] * 2 == got


def detection(**changes: object) -> events.Detection:
    """A detection as streams send it."""
    fields: dict[str, object] = {
        "id": uuid.uuid4().hex,
        "detector": "thermal_limit",
        "condition": "power_cap",
        "state": "open",
        "severity": "warning",
        "node": 2**64 - 1,
        "device": 2**63,
        "subject": "node07 gpu3\nÅ 'quoted'",
        "opened_ms": T0 + 1,
        "updated_ms": T0 + 2,
        "summary": "power cap",
    }
    return events.Detection.model_validate(fields | changes)


def test_a_detection_is_replaced_by_its_newest_state(store: Store) -> None:
    """An old update that arrives late does not reopen an episode."""
    first = detection()
    closed = first.model_copy(
        update={"state": events.EpisodeState.CLOSED, "updated_ms": T0 + 9, "closed_ms": T0 + 9}
    )
    store.insert_events([first, closed])
    store.insert_events([first])

    (got,) = store.query("SELECT * FROM detections WHERE id = {id:String}", {"id": first.id})

    assert ("closed", 2**63, first.subject) == (got["state"], got["device"], got["subject"])
    assert T0 + 9 == round(got["closed"].timestamp() * 1000)
    assert closed == events.Detection.model_validate_json(got["body"])


def advice(gain: events.Estimate | None) -> events.Advice:
    """A piece of advice with or without a price."""
    return events.Advice.model_validate(
        {
            "id": uuid.uuid4().hex,
            "rule": "cooling",
            "action": "fix_cooling",
            "state": "open",
            "scope_kind": "cooling_loop",
            "scope": "loop-a",
            "title": "t",
            "reason": "r",
            "gain": gain,
            "confidence": "modelled",
            "verify": "v",
            "model_version": "1",
            "created_ms": T0,
            "updated_ms": T0,
        }
    )


def test_advice_without_a_price_is_not_worth_zero(store: Store) -> None:
    """NaN says unknown, also in a batch where another has a price."""
    gain = events.Estimate(
        low=1, mid=2.5, high=3, unit="USD/month", confidence=events.Confidence.MODELLED, source="s"
    )
    batch = [advice(None), advice(gain), advice(gain.model_copy(update={"unit": "W"}))]
    store.insert_events(batch)

    got = {row["id"]: row["gain_usd_month"] for row in store.query("SELECT * FROM advice")}

    assert math.isnan(got[batch[0].id])
    assert 2.5 == got[batch[1].id]
    assert math.isnan(got[batch[2].id])


def test_every_event_type_round_trips(store: Store) -> None:
    """The body column is the event."""
    batch: list[events.Event] = [
        detection(),
        advice(None),
        events.InventoryItem(
            device=5, node=6, kind=events.DeviceKind.GPU, host="h", name="n", seen_ms=T0
        ),
        events.DeviceEvent(device=5, node=6, kind="xid", code=79, message="fell off", ts=T0),
        events.CollectorHealth(
            node=6, host="h", collector="nvml", ts=T0, success=True, duration_seconds=0.1, rows=8
        ),
        events.PipelineHealth(worker="w", topic="t", ts=T0, seconds=10, lag_frames=3),
        events.DeadLetter(
            topic="t",
            partition=1,
            offset=2,
            field="f",
            reason="r",
            value_base64="",
            value_bytes=0,
            ts=T0,
        ),
    ]
    assert {type(e) for e in batch} == set(event_rows.EVENT_TABLES)
    store.insert_events(batch)

    for event in batch:
        table, _ = event_rows.EVENT_TABLES[type(event)]
        bodies = [row["body"] for row in store.query(f"SELECT body FROM {table}")]
        assert event in [type(event).model_validate_json(body) for body in bodies]


def test_progress_never_goes_back(store: Store) -> None:
    """A late save of an older window changes nothing."""
    store.save_progress("telemetry.gpu", 0, T0 + 20)
    store.save_progress("telemetry.gpu", 0, T0 + 10)
    store.save_progress("telemetry.gpu", 1, T0)

    assert {0: T0 + 20, 1: T0} == store.progress("telemetry.gpu")
    assert {} == store.progress("telemetry.fabric")


def test_a_server_that_is_away_means_retry() -> None:
    """Nothing listens there."""
    with pytest.raises(Retry, match=r"127\.0\.0\.1"):
        Store.connect(StoreSettings(url=f"http://127.0.0.1:{broker.free_port()}"))


def test_a_missing_table_means_retry_and_is_counted(store_url: str) -> None:
    """Inserting before anyone has migrated loses nothing."""
    store = Store.connect(fresh(store_url))
    before = metrics.STORE_RETRIES.labels("gpu_windows")._value.get()

    with pytest.raises(Retry):
        store.insert_windows(GPU, window_rows(GPU, 1))

    assert before + 1 == metrics.STORE_RETRIES.labels("gpu_windows")._value.get()


def test_a_statement_that_never_works_is_rejected(store: Store) -> None:
    """The engine's words are in the error."""
    with pytest.raises(Reject, match="nonsense"):
        store.query("SELECT nonsense FROM detections")


@pytest.mark.parametrize("url", ["", "kafka://x:1", "127.0.0.1:8123"])
def test_a_wrong_address_names_the_setting(url: str) -> None:
    """No silent default port or scheme."""
    with pytest.raises(Misconfigured, match="RIDGELINE_STORE_URL"):
        Connection.open(StoreSettings(url=url, password=SecretStr("hunter2")))

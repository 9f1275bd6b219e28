"""Every panel and every variable runs on the real engine and says what the rows say."""

from __future__ import annotations

import json
import math
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from dashboards import sql
from dashboards.build import documents, text_of, write
from dashboards.query import DATASOURCE_UID, PLUGIN
from ridgeline import events
from ridgeline.pools import Role
from ridgeline.schema import FABRIC, FACILITY, GPU, SCHEMAS, SERVING, Schema
from ridgeline.settings import StoreSettings
from ridgeline.store import Store

ROOT = Path(__file__).parents[2]
NOW_S = int(time.time()) // 3600 * 3600 - 1800  # long enough ago for a silent device
START_S = NOW_S - 600
ALL: dict[str, Any] = {
    "pool": None,
    "rack": None,
    "node": None,
    "rows": "auto",
    "resolution": "windows",
    "detail": "windows",
    "loops": "windows",
    "fleet": "pools_1m",
}
PLACES = ALL | {"resolution": "places_1m", "detail": "places_1m", "loops": "loops_1m"}
POOLS = ALL | {"resolution": "pools_1m", "detail": "places_1m", "loops": "loops_1m"}
ONE: dict[str, Any] = {
    "pool": ["decode", "it's"],
    "rack": ["rack00"],
    "node": ["node08"],
    "rows": "auto",
    "resolution": "1m",
    "detail": "1m",
    "loops": "loops_1m",
    "fleet": "pools_1m",
}
DEVICES = {"gpu": 1, "port": 2, "facility": 3, "serving": 4, "prefill": 5, "silent": 6}
VALUES = {
    "dram_util_ratio_avg": 0.9,
    "tensor_util_ratio_avg": 0.2,
    "power_watts_avg": 650.0,
    "throttle_power_ns_inc": 2.5e9,
    "tx_bytes_inc": 5e9,
    "ttft_us_inc": 3e6,
    "ttft_count_inc": 10.0,
    "supply_celsius_avg": 32.0,
}


def statements() -> Iterator[tuple[str, str, bool]]:
    """Name, SQL and whether it gives a series, of every panel and variable."""
    for uid, document in documents().items():
        for panel in document["panels"]:
            for target in panel.get("targets") or ():
                name = f"{uid}/{panel['id']} {panel['title']}"
                yield name, target["rawSql"], target["queryType"] == "timeseries"
        for variable in document["templating"]["list"]:
            if variable["type"] == "query":
                yield f"{uid}/${variable['name']}", variable["query"]["rawSql"], False


STATEMENTS = {name: (text, series) for name, text, series in statements()}


def rows_of(schema: Schema, device: int) -> np.ndarray:
    """Ten minutes of windows, with a row of nothing but missing values among them."""
    rows = np.zeros(60, dtype=schema.window_dtype)
    rows["window_start"] = (START_S + 10 * np.arange(60)) * 1000
    rows["node"] = 9
    rows["device"] = device
    rows["samples"] = 10
    for f in schema.window_fields:
        rows[f.name] = VALUES.get(f.name, 1)
        if f.numpy.startswith("<f"):
            rows[f.name][7] = math.nan
    return rows


def findings() -> list[events.Event]:
    """One of each event."""
    now = NOW_S * 1000
    where: dict[str, Any] = {"node": 9, "host": "node08", "seen_ms": now}
    where |= {"rack": "rack00", "cooling_loop": "loop-a", "rail": "rail0"}
    items: list[events.Event] = [
        events.InventoryItem(
            device=device,
            kind=events.DeviceKind("gpu" if kind in ("prefill", "silent") else kind),
            name=kind,
            pool=Role.PREFILL if kind == "prefill" else Role.DECODE,
            **where,
        )
        for kind, device in DEVICES.items()
    ]
    detection: dict[str, Any] = {"node": 9, "device": 1, "subject": "node08 gpu0", "summary": "s"}
    items += [
        events.Detection(
            id=state,
            detector="thermal_limit",
            condition="power_cap",
            state=events.EpisodeState(state),
            severity=events.Severity.WARNING,
            pool=Role.DECODE,
            opened_ms=now - 60_000,
            updated_ms=now,
            **detection,
        )
        for state in ("open", "closed")
    ]
    price = events.Estimate(
        low=1, mid=1200, high=2, unit="USD/month", confidence=events.Confidence.MODELLED, source="s"
    )
    items += [
        events.Advice(
            id=name,
            rule="r",
            action=events.Action.FIX_COOLING,
            state=events.AdviceState.OPEN,
            scope_kind="cluster",
            scope="all",
            title=name,
            reason="r",
            gain=gain,
            confidence=events.Confidence.MODELLED,
            verify="v",
            model_version="1",
            created_ms=now,
            updated_ms=now,
        )
        for name, gain in (("unpriced", None), ("priced", price))
    ]
    health: dict[str, Any] = {"node": 9, "host": "node08", "duration_seconds": 0.2, "rows": 8}
    items += [
        events.CollectorHealth(collector="nvml", ts=now - 1000, success=True, **health),
        events.CollectorHealth(collector="sysfs", ts=now - 1000, success=False, **health),
        events.PipelineHealth(
            worker="w",
            topic="telemetry.gpu",
            ts=now - 1000,
            seconds=10,
            lag_frames=3,
            watermark_delay_seconds=6.5,
            samples=100,
        ),
        events.DeadLetter(
            topic="telemetry.gpu",
            partition=0,
            offset=7,
            field="value length",
            reason="not a multiple",
            value_base64="",
            value_bytes=3,
            ts=now - 1000,
        ),
    ]
    return items


@pytest.fixture(scope="module")
def store(store_url: str) -> Iterator[Store]:
    """A store with a few rows in every table."""
    store = Store.connect(StoreSettings(url=store_url, database=f"d_{uuid.uuid4().hex[:12]}"))
    store.migrate()
    families = ((GPU, 1), (GPU, 5), (FABRIC, 2), (FACILITY, 3), (SERVING, 4))
    for schema, device in families * 2:  # twice: a statement without FINAL would count double
        store.insert_windows(schema, rows_of(schema, device))
    for _ in range(2):
        store.insert_events(findings())
    for schema in SCHEMAS.values():  # places are those of the inventory
        store.roll_up(schema, START_S * 1000, NOW_S * 1000)
    store.roll_up_reports(START_S * 1000, NOW_S * 1000)
    for partition in range(2):
        store.save_progress("telemetry.gpu", partition, NOW_S * 1000)
    yield store
    store.close()


def ask(store: Store, name: str, variables: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of one panel, as Grafana gets them: without the settings of `Store.query`."""
    interval = 10 if variables["resolution"] == "windows" else 60
    text = sql.render(STATEMENTS[name][0], START_S, NOW_S, variables, interval)
    return store._connection.rows(text)


@pytest.mark.parametrize(
    "variables", [ALL, PLACES, POOLS, ONE], ids=["all", "places", "pools", "chosen"]
)
@pytest.mark.parametrize("name", STATEMENTS)
def test_every_statement_gives_rows(store: Store, name: str, variables: dict[str, Any]) -> None:
    """It runs, gives rows, and a series is (time, ...) in order of time with a known number."""
    if variables is ONE and "Prefill" in name:
        variables = ALL
    rows = ask(store, name, variables)

    assert rows
    if STATEMENTS[name][1]:
        columns = list(rows[0])
        times = [row["time"] for row in rows]
        assert "time" == columns[0]
        assert times == sorted(times)
        values = [row[c] for row in rows for c in columns if c not in ("time", "series")]
        assert any(not math.isnan(v) for v in values)


@pytest.mark.parametrize("name", STATEMENTS)
def test_replaced_rows_are_never_read(name: str) -> None:
    """FINAL after every replacing table, but where only an extreme or a set of devices is asked."""
    if any(title in name for title in ("Newest window", "Devices reporting", "Silent devices")):
        return
    text = re.sub(r"AS least\s+FROM \S+ AS w\s", "", STATEMENTS[name][0])
    read = re.findall(r"(?:FROM|JOIN) ([\w.${}]+)( AS w)?( FINAL)?", text)

    assert all(
        final
        for table, _, final in read
        if table not in ("picked", "named", "lowest", "system.parts")
    )


def panel_of(title: str) -> str:
    """Name of the statement whose panel has this title."""
    (name,) = (n for n in STATEMENTS if n.endswith(f" {title}"))
    return name


@pytest.mark.parametrize("resolution", ["windows", "1m", "places_1m", "pools_1m"])
def test_numbers_do_not_depend_on_the_resolution(store: Store, resolution: str) -> None:
    """The same share, rate and mean from windows and from minutes, which are rounded."""
    variables = ALL | {"resolution": resolution}
    hbm = ask(store, panel_of("Decode pools: HBM against tensor cores"), variables)
    held = ask(store, panel_of("Time with clocks held down"), variables)
    sent = ask(store, panel_of("Throughput sent, by rail"), variables)
    first = ask(store, panel_of("Time to first token"), variables)

    assert 0.9 == pytest.approx(hbm[0]["HBM bandwidth"], abs=2**-11)
    assert 0.2 == pytest.approx(hbm[0]["Tensor cores"], abs=2**-11)
    assert 0.25 == pytest.approx(held[0]["Power cap"])
    assert ("rail0", pytest.approx(5e8)) == (sent[0]["series"], sent[0]["sent"])
    assert 0.3 == pytest.approx(first[0]["Mean"])


@pytest.mark.parametrize("resolution", ["windows", "1m", "places_1m", "pools_1m"])
@pytest.mark.parametrize("label", ["pool", "rack", "cooling_loop", "rail"])
@pytest.mark.parametrize("lowest", ["", "power_watts_avg"])
def test_labels_are_those_of_a_plain_grouping(
    store: Store, resolution: str, label: str, lowest: str
) -> None:
    """Rows are grouped by a number, and the lowest are not sought where there are few labels."""
    value = sql.smallest("power_watts_avg")
    detail = resolution.replace("pools", "places")
    plain = (
        f"{sql.picked('gpu')}SELECT {sql.TIME}, if({label} = '', 'unknown', {label}) AS series,"
        f" {value} AS watts\n{sql.telemetry('gpu')}\nGROUP BY time, series\nORDER BY time, series"
    )
    numbered = sql.by_time("gpu", "gpu", {"watts": value}, label=label, lowest=lowest)
    sought = numbered.replace(f"<= {sql.MOST_SERIES}", "<= 0")
    variables = ALL | {"resolution": resolution, "detail": detail}
    if label in ("rack", "cooling_loop"):
        variables |= {"resolution": detail}
    want, *got = (
        store._connection.rows(sql.render(text, START_S, NOW_S, variables, 60))
        for text in (plain, numbered, sought)
    )
    assert want
    for rows in got:
        assert list(map(repr, want)) == list(map(repr, rows))


def test_a_window_without_readings_is_a_gap(store: Store) -> None:
    """Missing is NaN, which Grafana leaves out; never 0."""
    rows = ask(store, panel_of("Decode pools: HBM against tensor cores"), ALL)

    assert math.isnan(rows[7]["HBM bandwidth"])
    assert not math.isnan(rows[8]["HBM bandwidth"])


def test_findings_and_money(store: Store) -> None:
    """Closed episodes are not shown; advice without a price has an empty gain, not 0."""
    (first,) = (n for n in STATEMENTS if n.endswith("/1 Open findings"))
    (shown,) = (n for n in STATEMENTS if n.endswith("/5 Open findings"))

    assert [{"Open findings": 1}] == ask(store, first, ALL)
    (row,) = ask(store, shown, ALL)
    assert ("power_cap", "node08 gpu0", 60) == (row["condition"], row["subject"], row["held"])
    gains = [(r["title"], r["gain_usd_month"]) for r in ask(store, panel_of("Advice"), ALL)]
    assert [("priced", 1200.0), ("unpriced", None)] == gains
    assert [{"Gain a month": 1200.0}] == ask(store, panel_of("Gain of open advice"), ALL)
    assert [{"GPU power": 1300.0}] == ask(store, panel_of("GPU power"), ALL)


@pytest.mark.parametrize("title", ["Failed runs, by collector", "Duration of a run, by collector"])
def test_reports_of_a_node_and_of_all_nodes_agree(store: Store, title: str) -> None:
    """There is one node: its reports say what the minutes of all nodes say."""
    every, one = (
        store._connection.rows(
            sql.render(STATEMENTS[panel_of(title)][0], START_S, NOW_S, ALL | {"node": node}, 600)
        )
        for node in (None, ["node08"])
    )
    assert every == one
    assert ["nvml", "sysfs"] == [row["series"] for row in one]
    assert [] == ask(store, panel_of(title), ALL | {"node": ["node09"]})


def test_a_device_without_windows_is_silent(store: Store) -> None:
    """It is in the inventory and says nothing."""
    store.insert_windows(GPU, now_rows())
    got = ask(store, panel_of("Silent devices"), ALL)

    assert ("node08", "gpu") in [(row["host"], row["kind"]) for row in got]
    assert 2 == sum(row["devices"] for row in got if row["kind"] == "gpu")


def now_rows() -> np.ndarray:
    """One window of the decode GPU, now."""
    rows = rows_of(GPU, 1)[:1]
    rows["window_start"] = time.time_ns() // 1_000_000
    return rows


@pytest.mark.parametrize(
    ("span", "chosen", "table"),
    [
        (900, {}, "windows"),
        (86_400, {}, "pools_1m"),
        (86_400, {"rack": ["rack00"]}, "places_1m"),
        (86_400, {"node": ["node08"]}, "1m"),
        (30 * 86_400, {}, "pools_1h"),
        (30 * 86_400, {"rack": ["rack00"]}, "places_1h"),
        (30 * 86_400, {"node": ["node08"]}, "1h"),
        (30 * 86_400, {"rows": "1m"}, "1m"),
    ],
)
def test_the_table_follows_the_time_range(
    store: Store, span: int, chosen: dict[str, Any], table: str
) -> None:
    """Unless someone chose the rows; nodes have no places, racks no pools of their own."""
    text = sql.render(sql.RESOLUTION, NOW_S - span, NOW_S, ALL | chosen)

    assert [{"resolution": table}] == store.query(text)


def test_a_large_fleet_is_drawn_from_minutes_of_pools(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Base windows of it would be too many; a node's are few. Racks need places."""
    monkeypatch.setattr(sql, "RESOLUTION", sql.RESOLUTION.replace(f"> {sql.MOST_DEVICES}", "> 1"))
    fleet, node = (
        store.query(sql.render(sql.RESOLUTION, NOW_S - 900, NOW_S, ALL | {"node": node}))
        for node in (None, ["node08"])
    )
    assert [[{"resolution": "pools_1m"}], [{"resolution": "windows"}]] == [fleet, node]
    pools = ALL | {"resolution": "pools_1m"}
    detail = store.query(sql.render(sql.DETAIL, 1, 2, pools))
    loops = [
        store.query(sql.render(sql.LOOPS, 1, 2, ALL | {"resolution": resolution}))
        for resolution in ("pools_1m", "places_1h", "1m", "windows")
    ]

    whole = store.query(sql.render(sql.FLEET, 1, 2, ALL | {"resolution": "1h"}))

    assert [{"detail": "places_1m"}] == detail
    drawn = ("loops_1m", "loops_1h", "loops_1m", "windows")
    assert [[{"loops": table}] for table in drawn] == loops
    assert [{"fleet": "pools_1h"}] == whole


def test_variables_list_the_inventory(store: Store) -> None:
    """Each follows the choice made before it."""
    got = {
        name: [next(iter(row.values())) for row in ask(store, f"ridgeline-overview/${name}", ALL)]
        for name in ("pool", "rack", "node")
    }

    assert {"decode", "prefill"} == set(got["pool"])
    assert (["rack00"], ["node08"]) == (got["rack"], got["node"])
    assert [] == ask(store, "ridgeline-overview/$rack", ALL | {"pool": ["training"]})


def test_documents_are_sound() -> None:
    """Own data source everywhere, known units, every panel explained, nothing off the grid."""
    units = {"percentunit", "watt", "celsius", "Bps", "s", "currencyUSD", "short", "pps", "cps"}
    for document in documents().values():
        for panel in document["panels"]:
            assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
            if panel["type"] == "row":
                continue
            assert {"type": PLUGIN, "uid": DATASOURCE_UID} == panel["datasource"]
            assert panel["description"], panel["title"]
            unit = panel["fieldConfig"]["defaults"].get("unit", "short")
            assert unit in units | {"flowlpm", "bytes"}, panel["title"]


def test_committed_json_is_up_to_date(tmp_path: Path) -> None:
    """`python -m dashboards build` writes what is committed."""
    built = {path.name: path.read_text(encoding="utf-8") for path in write(tmp_path)}
    committed = {
        path.name: path.read_text(encoding="utf-8")
        for path in (ROOT / "dashboards" / "json").glob("*.json")
    }

    assert built == committed
    for document in documents().values():
        assert document == json.loads(text_of(document))


def test_provisioning_files_name_the_same_things() -> None:
    """Data source and folder are those of the pushed ones; secrets come from outside."""
    folder = ROOT / "dashboards" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "clickhouse.yaml").read_text())[
        "datasources"
    ]
    (provider,) = yaml.safe_load((folder / "dashboards" / "ridgeline.yaml").read_text())[
        "providers"
    ]

    assert (DATASOURCE_UID, PLUGIN) == (source["uid"], source["type"])
    assert re.fullmatch(r"\$\{\w+\}", source["secureJsonData"]["password"])
    assert "ridgeline" == provider["folderUid"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("$__timeFilter(ts)", "ts >= toDateTime(1) AND ts <= toDateTime(2)"),
        ("$__fromTime, $__toTime, $__interval_s", "toDateTime(1), toDateTime(2), 10"),
        ("${a:singlequote}", r"'x','it\'s'"),
        ("${all:singlequote}", "'__all'"),
        ("gpu_${b}", "gpu_1m"),
    ],
)
def test_render_expands_as_the_plug_in_does(text: str, wanted: str) -> None:
    """Macros and variables."""
    assert wanted == sql.render(text, 1, 2, {"a": ["x", "it's"], "all": None, "b": "1m"})


@pytest.mark.parametrize("text", ["$__timeFilter", "$__wrong(x)", "${nowhere}"])
def test_render_refuses_what_it_does_not_know(text: str) -> None:
    """A typo in a panel is found here, not in Grafana."""
    with pytest.raises(ValueError, match="unknown"):
        sql.render(text, 1, 2, {})

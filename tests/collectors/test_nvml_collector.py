"""The nvml collector over a fake driver: every column, and everything that can go wrong."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pynvml
import pytest
from structlog.testing import capture_logs

from collectors import nvml
from collectors.nvml import library
from collectors.nvml.xid_catalogue import XIDS, describe
from collectors.protocol import Batch
from ridgeline import ids
from ridgeline.errors import NoData, Retry
from ridgeline.metrics import COLLECT_READ_ERRORS
from ridgeline.schema import GPU, MISSING, MISSING_COUNTER, MISSING_STATE
from ridgeline.settings import CollectSettings
from tests.collectors.fake_nvml import profiles
from tests.collectors.fake_nvml.driver import FakeNvml, build, eventually, install, no_driver, uuid

SETTINGS = CollectSettings(
    host="node07", serving_pool="decode", rack="rack01", cooling_loop="loop-a"
)
NOW = 1_790_000_000_000
TEN_MINUTES = 600_000


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fake driver's library."""
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def fake(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """A driver without GPUs yet."""
    return install(built, tmp_path / "state", monkeypatch)


@pytest.fixture
def opened(fake: FakeNvml) -> Iterator[list[nvml.Nvml]]:
    """Collectors that the test opened, closed at its end."""
    out: list[nvml.Nvml] = []
    yield out
    for collector in out:
        collector.close()
    assert fake.library.fake_nvml_started() == 0


def start(opened: list[nvml.Nvml]) -> nvml.Nvml:
    """Open the collector."""
    opened.append(nvml.create(SETTINGS))
    return opened[-1]


def rows_of(batch: Batch) -> np.ndarray:
    """The GPU rows of a batch."""
    if not batch.frames:
        return GPU.empty(0)
    ((schema, rows),) = batch.frames
    assert schema is GPU
    return rows


def metrics_of(row: np.void) -> dict[str, float]:
    """The metric columns of a row."""
    return {column.name: row[column.name].item() for column in GPU.columns}


def read_errors() -> float:
    """The counter of failed readings."""
    value: Any = COLLECT_READ_ERRORS.labels("nvml")._value.get()
    return float(value)


@pytest.mark.parametrize("model", ["h100", "a100", "b200"])
def test_golden_row(fake: FakeNvml, opened: list[nvml.Nvml], model: str) -> None:
    """Every column of a GPU at work, in our units."""
    fake.add(getattr(profiles, model)())
    collector = start(opened)
    collector.collect(NOW)
    (row,) = rows_of(collector.collect(NOW + 1000))

    expected: dict[str, float] = getattr(profiles, f"{model}_row")()
    assert metrics_of(row) == pytest.approx(expected, rel=1e-6, nan_ok=True)
    assert set(expected) == set(GPU.by_name)
    assert (row["ts"], row["node"]) == (NOW + 1000, ids.node_id("node07"))
    assert row["device"] == ids.device_id("node07", "gpu", uuid(0))


def test_inventory(fake: FakeNvml, opened: list[nvml.Nvml]) -> None:
    """Who each GPU is and where it stands."""
    fake.add(profiles.h100())
    fake.add(profiles.a100())
    first, second = start(opened).collect(NOW).inventory

    assert (first.name, first.model, first.index) == (uuid(0), "NVIDIA H100 80GB HBM3", 0)
    assert (first.pool, first.rack, first.cooling_loop) == ("decode", "rack01", "loop-a")
    assert first.attributes == {
        "serial": "1562821083900",
        "pci_bus_id": "00000000:1B:00.0",
        "driver_version": "550.163.01",
        "vbios_version": "96.00.74.00.09",
        "sm_clock_max_mhz": "1980",
        "power_limit_default_watts": "700",
    }
    assert (second.name, second.index) == (uuid(1), 1)


def test_one_field_call_a_poll(fake: FakeNvml, opened: list[nvml.Nvml]) -> None:
    """After the first poll all fields of a GPU come in one call, without the refused ones."""
    fake.add(profiles.a100())
    collector = start(opened)
    collector.collect(NOW)
    calls = fake.library.fake_nvml_field_calls(0)
    collector.collect(NOW + 1000)

    assert fake.library.fake_nvml_field_calls(0) == calls + 1
    plain_and_totals = 10 + 4  # 186, 190, 194, 269 and 270 are refused by an A100
    assert fake.library.fake_nvml_field_count(0) == plain_and_totals


def test_gpm_needs_two_samples(fake: FakeNvml, opened: list[nvml.Nvml]) -> None:
    """The first poll has no span; a failed sample makes the next poll a first one."""
    fake.add(profiles.h100())
    collector = start(opened)
    seen = [rows_of(collector.collect(NOW))["sm_util_ratio"][0]]
    seen.append(rows_of(collector.collect(NOW + 1000))["sm_util_ratio"][0])
    fake.gpu(0, {"error.nvmlGpmSampleGet": 999})
    seen.append(rows_of(collector.collect(NOW + 2000))["sm_util_ratio"][0])
    fake.gpu(0, {"error.nvmlGpmSampleGet": None})
    seen += [rows_of(collector.collect(NOW + n))["sm_util_ratio"][0] for n in (3000, 4000)]

    nan = math.nan
    assert seen == pytest.approx([nan, 0.91, nan, nan, 0.91], nan_ok=True)


@pytest.mark.parametrize("value", ["nan", "inf", "-1"])
def test_gpm_nonsense_is_missing(fake: FakeNvml, opened: list[nvml.Nvml], value: str) -> None:
    """What is not a number or below zero is no reading."""
    fake.add(profiles.h100() | {"gpm.10": value, "gpm_error.5": 3})
    collector = start(opened)
    collector.collect(NOW)
    (row,) = rows_of(collector.collect(NOW + 1000))

    assert np.isnan(row["dram_util_ratio"])
    assert np.isnan(row["tensor_util_ratio"])
    assert row["sm_util_ratio"] == pytest.approx(0.91)


def test_mig_gpu_has_no_gpm(fake: FakeNvml, opened: list[nvml.Nvml]) -> None:
    """In MIG mode samples and utilisation are refused; the rest is read."""
    refused = {"error.nvmlGpmSampleGet": 3, "error.nvmlDeviceGetUtilizationRates": 3}
    fake.add(profiles.h100() | refused)
    collector = start(opened)
    collector.collect(NOW)
    (row,) = rows_of(collector.collect(NOW + 1000))

    assert np.isnan(row["sm_util_ratio"])
    assert np.isnan(row["gpu_util_ratio"])
    assert row["power_watts"] == 612.5


CALLS = {
    "nvmlDeviceGetClockInfo": ("sm_clock_mhz", "memory_clock_mhz"),
    "nvmlDeviceGetMaxClockInfo": ("sm_clock_max_mhz",),
    "nvmlDeviceGetMarginTemperature": ("tlimit_margin_celsius",),
    "nvmlDeviceGetUtilizationRates": ("gpu_util_ratio", "memory_util_ratio"),
    "nvmlDeviceGetPerformanceState": ("pstate",),
}


@pytest.mark.parametrize("code", [3, 4, 10, 999])
@pytest.mark.parametrize("function", CALLS)
def test_a_failed_call_costs_its_columns(
    fake: FakeNvml, opened: list[nvml.Nvml], function: str, code: int
) -> None:
    """A refused or failed reading is missing, counted, and nothing else is."""
    fake.add(profiles.h100() | {f"error.{function}": code})
    collector = start(opened)
    collector.collect(NOW)
    before = read_errors()
    (row,) = rows_of(collector.collect(NOW + 1000))

    lost = {column: MISSING[GPU.by_name[column].kind] for column in CALLS[function]}
    expected = profiles.h100_row() | lost
    assert metrics_of(row) == pytest.approx(expected, rel=1e-6, nan_ok=True)
    asked_again = len(CALLS[function]) if "Clock" in function else 1
    assert read_errors() - before == (asked_again if code in (10, 999) else 0)


@pytest.mark.parametrize(
    ("number", "column"),
    [(82, "memory_temperature_celsius"), (269, "throttle_sw_thermal_ns"), (83, "energy_mj")],
)
def test_a_failed_field_costs_its_column(
    fake: FakeNvml, opened: list[nvml.Nvml], number: int, column: str
) -> None:
    """The same for a field id; it is asked again after ten minutes."""
    fake.add(profiles.h100() | {f"field_error.{number}": 3})
    collector = start(opened)
    before = read_errors()
    (first,) = rows_of(collector.collect(NOW))
    assert read_errors() > before
    fake.gpu(0, {f"field_error.{number}": None})
    (soon,) = rows_of(collector.collect(NOW + TEN_MINUTES - 60_001))
    (later,) = rows_of(collector.collect(NOW + TEN_MINUTES))

    missing = MISSING[GPU.by_name[column].kind]
    assert [first[column], soon[column]] == pytest.approx([missing, missing], nan_ok=True)
    assert later[column] == profiles.h100_row()[column]


@pytest.mark.parametrize(
    ("changes", "column"),
    [
        ({"field.83": "3:9223372036854775794"}, "energy_mj"),
        ({"field.83": "3:18446744073709551615"}, "energy_mj"),
        ({"field.82": "1:2147483632"}, "memory_temperature_celsius"),
        ({"field.82": "1:4294967295"}, "memory_temperature_celsius"),
        ({"field.190": "0:nan"}, "power_limit_watts"),
        ({"field.94": "5:-4"}, "pcie_replays"),
        ({"field.94": "7:4"}, "pcie_replays"),
        ({"pstate": 32}, "pstate"),
        ({"sm_clock": 4294967295}, "sm_clock_mhz"),
    ],
)
def test_blanks_are_missing(
    fake: FakeNvml, opened: list[nvml.Nvml], changes: dict[str, object], column: str
) -> None:
    """NVIDIA's markers for "no value" are never numbers of ours."""
    fake.add(profiles.h100() | changes)
    (row,) = rows_of(start(opened).collect(NOW))

    missing = MISSING[GPU.by_name[column].kind]
    assert row[column] == pytest.approx(missing, nan_ok=True)


def test_energy_passes_the_32_bit_markers(fake: FakeNvml, opened: list[nvml.Nvml]) -> None:
    """A 64-bit counter may well stand at 0xffffffff."""
    fake.add(profiles.h100() | {"field.83": "3:4294967295"})
    assert rows_of(start(opened).collect(NOW))["energy_mj"][0] == 2**32 - 1


def test_one_nvlink_port_silent_is_missing(fake: FakeNvml, opened: list[nvml.Nvml]) -> None:
    """A sum without one of its parts would look like a counter that went back."""
    fake.add(profiles.h100())
    collector = start(opened)
    collector.collect(NOW)
    fake.gpu(0, {"field_error.162": 999})
    silent = rows_of(collector.collect(NOW + 1000))["nvlink_errors"][0]
    fake.gpu(0, {"field_error.162": None})
    again = rows_of(collector.collect(NOW + 2000))["nvlink_errors"][0]

    assert (silent, again) == (MISSING_COUNTER, profiles.h100_row()["nvlink_errors"])


@pytest.mark.parametrize("code", [15, 16])
def test_lost_gpu(fake: FakeNvml, opened: list[nvml.Nvml], code: int) -> None:
    """No row, one event, the others go on; back within a minute of its return."""
    fake.add(profiles.h100())
    fake.add(profiles.h100())
    collector = start(opened)
    collector.collect(NOW)
    fake.gpu(0, {"error.all": code})
    lost, still = collector.collect(NOW + 1000), collector.collect(NOW + 62_000)
    fake.gpu(0, {"error.all": None})
    soon, back = collector.collect(NOW + 63_000), collector.collect(NOW + 122_000)

    other = ids.device_id("node07", "gpu", uuid(1))
    assert [list(rows_of(b)["device"]) for b in (lost, still, soon)] == [[other]] * 3
    (event,) = lost.events
    assert (event.kind, event.code, event.ts) == ("lost", code, NOW + 1000)
    assert event.device == ids.device_id("node07", "gpu", uuid(0))
    assert still.events == []
    assert [i.attributes.get("state") for i in lost.inventory] == ["lost", None]
    assert len(rows_of(back)) == 2
    assert "state" not in back.inventory[0].attributes


def test_gpu_lost_before_the_start(fake: FakeNvml, opened: list[nvml.Nvml]) -> None:
    """A GPU that cannot be opened stops no other, and joins when it is back."""
    fake.add(profiles.h100() | {"error.nvmlDeviceGetHandleByIndex": 15})
    fake.add(profiles.h100())
    collector = start(opened)
    assert [i.index for i in collector.collect(NOW).inventory] == [1]
    fake.gpu(0, {"error.nvmlDeviceGetHandleByIndex": None})
    assert [i.index for i in collector.collect(NOW + 60_000).inventory] == [0, 1]


def test_xids_are_delivered_once_each(fake: FakeNvml, opened: list[nvml.Nvml]) -> None:
    """Two within one poll are two events; the counter and the newest code follow."""
    fake.add(profiles.h100())
    fake.add(profiles.h100())
    collector = start(opened)
    fake.xid((0, 62), (0, 45), (1, 31))
    eventually(lambda: collector._watch.pending() == 3)
    batch, after = collector.collect(NOW), collector.collect(NOW + 1000)

    first = ids.device_id("node07", "gpu", uuid(0))
    second = ids.device_id("node07", "gpu", uuid(1))
    assert [(e.device, e.code) for e in batch.events] == [(first, 62), (first, 45), (second, 31)]
    assert batch.events[2].message == "XID 31: GPU memory page fault; restart the application"
    assert {e.kind for e in batch.events} == {"xid"}
    assert after.events == []
    for rows in (rows_of(batch), rows_of(after)):
        assert list(rows["xid_events"]) == [2, 1]
        assert list(rows["last_xid"]) == [45, 31]


def test_xid_of_a_gpu_that_fell_off(fake: FakeNvml, opened: list[nvml.Nvml]) -> None:
    """XID 79 arrives although the GPU no longer answers a question."""
    fake.add(profiles.h100())
    collector = start(opened)
    fake.xid((0, 79), changes={"gpu.0.error.all": 15})
    eventually(lambda: collector._watch.pending() == 1)

    batch = collector.collect(NOW)
    assert {(e.kind, e.code) for e in batch.events} == {("lost", 15), ("xid", 79)}
    assert batch.frames == []


def test_xids_of_the_others_after_a_loss(fake: FakeNvml, opened: list[nvml.Nvml]) -> None:
    """A lost GPU spoils its event set; the others get a new one, and it too when it is back."""
    fake.add(profiles.h100())
    fake.add(profiles.h100())
    collector = start(opened)
    fake.gpu(0, {"error.all": 15})
    eventually(lambda: collector._watch.broken)
    (row,) = rows_of(collector.collect(NOW))
    fake.xid((1, 31))
    eventually(lambda: collector._watch.pending() == 1)
    assert row["xid_events"] == 0
    assert [e.code for e in collector.collect(NOW + 1000).events] == [31]

    fake.gpu(0, {"error.all": None})
    collector.collect(NOW + 60_000)
    fake.xid((0, 13))
    eventually(lambda: collector._watch.pending() == 1)
    assert list(rows_of(collector.collect(NOW + 61_000))["last_xid"]) == [13, 31]


def test_xids_before_the_driver_went(fake: FakeNvml, opened: list[nvml.Nvml]) -> None:
    """What led to the end is delivered before the end is said."""
    fake.add(profiles.h100())
    collector = start(opened)
    fake.xid((0, 119))
    eventually(lambda: collector._watch.pending() == 1)
    fake.gpu(0, {"error.all": 9})

    assert [e.code for e in collector.collect(NOW).events] == [119]
    with pytest.raises(NoData):
        collector.collect(NOW + 1000)


def test_xids_not_offered_are_missing(fake: FakeNvml, opened: list[nvml.Nvml]) -> None:
    """Where events cannot be had, the counter is missing, not 0."""
    fake.add(profiles.h100() | {"error.nvmlDeviceRegisterEvents": 3})
    (row,) = rows_of(start(opened).collect(NOW))
    assert (row["xid_events"], row["last_xid"]) == (MISSING_COUNTER, MISSING_STATE)


def test_every_xid_of_the_list_reads_well() -> None:
    """A known code names its action, an unknown one says where to look."""
    assert describe(79) == "XID 79: GPU has fallen off the bus; restart the host"
    assert "look it up" in describe(9999)
    assert all(meaning and action for meaning, action in XIDS.values())


def test_old_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Functions that a driver of 2020 lacks cost their own columns; older ones stand in."""
    old = install(build(tmp_path / "old", "-DOLD_DRIVER"), tmp_path / "state", monkeypatch)
    old.add(profiles.h100())
    collector = nvml.create(SETTINGS)
    collector.collect(NOW)
    (row,) = rows_of(collector.collect(NOW + 1000))
    collector.close()

    assert row["temperature_celsius"] == 61
    assert row["clock_event_reasons"] == 4
    assert row["memory_used_bytes"] == 64_424_509_440 + 1_073_741_824  # version 1: with reserve
    assert np.isnan(row["tlimit_margin_celsius"])
    assert np.isnan(row["sm_util_ratio"])


def test_old_binding(
    fake: FakeNvml, opened: list[nvml.Nvml], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function that the binding lacks costs its own column."""
    monkeypatch.delattr(pynvml, "nvmlDeviceGetMarginTemperature")
    fake.add(profiles.h100())
    (row,) = rows_of(start(opened).collect(NOW))
    assert np.isnan(row["tlimit_margin_celsius"])
    assert row["temperature_celsius"] == 61


def test_no_binding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without nvidia-ml-py the collector is off, and says why."""
    monkeypatch.setattr(library, "pynvml", None)
    with pytest.raises(NoData, match="nvidia-ml-py is not installed; GPU metrics are off"):
        nvml.create(SETTINGS)


def test_no_driver() -> None:
    """The one line an operator reads on a machine without NVIDIA."""
    with no_driver(), pytest.raises(NoData) as raised:
        nvml.create(SETTINGS)
    expected = "no NVIDIA driver: libnvidia-ml.so.1 not found; GPU metrics are off"
    assert str(raised.value) == expected


@pytest.mark.parametrize(
    ("state", "kind", "words"),
    [
        ({"error.nvmlInitWithFlags": 9}, NoData, "Driver Not Loaded"),
        ({"error.nvmlInitWithFlags": 18}, NoData, "version mismatch"),
        ({"error.nvmlInitWithFlags": 999}, Retry, "Unknown"),
        ({"error.nvmlDeviceGetCount": 10}, Retry, "Timeout"),
        ({}, NoData, "no NVIDIA GPU"),
    ],
)
def test_no_start(
    fake: FakeNvml, state: dict[str, object], kind: type[Exception], words: str
) -> None:
    """What keeps NVML from starting is said, and the library is let go of."""
    fake.set(state)
    with pytest.raises(kind, match=words):
        nvml.create(SETTINGS)
    assert fake.library.fake_nvml_started() == 0


def test_driver_unloaded_while_running(fake: FakeNvml, opened: list[nvml.Nvml]) -> None:
    """The collector says that the source is gone."""
    fake.add(profiles.h100())
    collector = start(opened)
    fake.gpu(0, {"error.all": 9})
    with pytest.raises(NoData, match="Driver Not Loaded"):
        collector.collect(NOW)


def test_nothing_answers(fake: FakeNvml, opened: list[nvml.Nvml]) -> None:
    """A driver that fails every reading is away for the moment."""
    fake.add(profiles.h100())
    collector = start(opened)
    fake.gpu(0, {"error.all": 999})
    with pytest.raises(Retry, match="no GPU answers"):
        collector.collect(NOW)
    fake.gpu(0, {"error.all": None})
    assert len(rows_of(collector.collect(NOW + 1000))) == 1


def test_unofficial_binding_is_named(monkeypatch: pytest.MonkeyPatch, fake: FakeNvml) -> None:
    """A folder `pynvml/` hides NVIDIA's module; the log says so."""
    monkeypatch.setattr(pynvml, "__file__", "/x/pynvml/__init__.py")
    with capture_logs() as logs:
        library.start()
    library.stop()
    assert "unofficial pynvml" in logs[0]["event"]


def test_found_by_its_name(built: Path, tmp_path: Path) -> None:
    """A process of its own finds the library as it finds the real one, and reads a row."""
    state = {f"gpu.0.{k}": v for k, v in {"uuid": uuid(0), **profiles.h100()}.items()}
    lines = [f"{key} {value}\n" for key, value in {"devices": 1, **state}.items()]
    (tmp_path / "state").write_text("".join(lines), encoding="ascii")
    code = (
        "import json\nfrom collectors import nvml\nfrom ridgeline.settings import CollectSettings\n"
        "c = nvml.create(CollectSettings())\nb = c.collect(1)\nc.close()\n"
        "print(json.dumps([b.frames[0][1]['power_watts'].tolist(), b.inventory[0].name]))"
    )
    env = os.environ | {
        "LD_LIBRARY_PATH": str(built.parent),
        "FAKE_NVML_STATE": str(tmp_path / "state"),
    }
    run = subprocess.run(
        [sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True
    )
    assert json.loads(run.stdout.splitlines()[-1]) == [[612.5], uuid(0)]

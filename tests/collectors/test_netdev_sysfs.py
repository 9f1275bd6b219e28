"""Network interfaces as sysfs shows them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from collectors import netdev
from ridgeline.errors import NoData
from ridgeline.schema import MISSING_COUNTER, MISSING_STATE
from tests.collectors.sysfs_tree import add_interface, settings_of, write

HARDWARE = {
    "speed": "25000",
    "carrier_down_count": "3",
    "statistics/tx_bytes": "1000",
    "statistics/rx_bytes": "2000",
    "statistics/rx_dropped": "7",
}


def names(root: Path) -> list[str]:
    """Interfaces that are watched."""
    batch = netdev.create(settings_of(root)).collect(1)
    return [item.name for item in batch.inventory]


def test_hardware_only(tmp_path: Path) -> None:
    """Beside hardware, virtual interfaces are noise."""
    add_interface(tmp_path, "eth0", HARDWARE, virtual=False)
    add_interface(tmp_path, "docker0", {}, virtual=True)
    add_interface(tmp_path, "lo", {"type": "772"}, virtual=True)

    assert names(tmp_path) == ["eth0"]


def test_virtual_where_there_is_nothing_else(tmp_path: Path) -> None:
    """In a container the veth is the network; loopback never is."""
    add_interface(tmp_path, "eth0", {}, virtual=True)
    add_interface(tmp_path, "lo", {"type": "772"}, virtual=True)

    assert names(tmp_path) == ["eth0"]


def test_only_loopback(tmp_path: Path) -> None:
    """Loopback alone is no data."""
    add_interface(tmp_path, "lo", {"type": "772"}, virtual=True)
    with pytest.raises(NoData, match="class/net"):
        netdev.create(settings_of(tmp_path))


def test_values(tmp_path: Path) -> None:
    """Numbers come through in our units; what is absent is missing."""
    add_interface(tmp_path, "eth0", HARDWARE, virtual=False)
    ((_, rows),) = netdev.create(settings_of(tmp_path)).collect(5).frames
    row = rows[0]

    assert row["ts"] == 5
    assert row["link_rate_bits_per_second"] == 25e9
    assert (row["tx_bytes"], row["rx_bytes"], row["rx_discards"]) == (1000, 2000, 7)
    assert row["link_downs"] == 3
    assert (row["link_up"], row["link_layer"]) == (1, 1)
    assert row["tx_errors"] == MISSING_COUNTER
    assert row["cnp_sent"] == MISSING_COUNTER


@pytest.mark.parametrize("speed", ["-1", "4294967295", "EINVAL"])
def test_unknown_speed(tmp_path: Path, speed: str) -> None:
    """A speed the driver does not know is missing, not 0."""
    add_interface(tmp_path, "eth0", {"speed": speed}, virtual=False)
    ((_, rows),) = netdev.create(settings_of(tmp_path)).collect(5).frames

    assert math.isnan(rows["link_rate_bits_per_second"][0])


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"operstate": "down"}, 0),
        ({"operstate": "lowerlayerdown"}, 0),
        ({"operstate": "unknown", "carrier": "1"}, 1),
        ({"operstate": "unknown", "carrier": "EINVAL"}, MISSING_STATE),
    ],
)
def test_link_state(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    """Operational state first; where the driver has none, the carrier."""
    add_interface(tmp_path, "eth0", files, virtual=False)
    ((_, rows),) = netdev.create(settings_of(tmp_path)).collect(5).frames

    assert rows["link_up"][0] == expected


def test_a_flap_is_an_event(tmp_path: Path) -> None:
    """Going down makes one event; staying down makes none; the first sight makes none."""
    add_interface(tmp_path, "eth0", {}, virtual=False)
    collector = netdev.create(settings_of(tmp_path))
    folder = tmp_path / "sys/class/net/eth0"
    first = collector.collect(1).events
    write(folder, {"operstate": "down"})
    second, third = collector.collect(2).events, collector.collect(3).events

    assert (first, third) == ([], [])
    assert [(e.kind, e.code, e.message, e.ts) for e in second] == [("link", 0, "eth0 link down", 2)]


def test_an_interface_that_goes_away(tmp_path: Path) -> None:
    """Interfaces come and go between two runs."""
    add_interface(tmp_path, "eth0", {}, virtual=False)
    add_interface(tmp_path, "eth1", {}, virtual=False)
    collector = netdev.create(settings_of(tmp_path))
    collector.collect(1)
    (tmp_path / "sys/class/net/eth1").unlink()

    assert [i.name for i in collector.collect(2).inventory] == ["eth0"]

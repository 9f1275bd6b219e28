"""RDMA ports as each driver shows them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from collectors.ethtool import Ethtool
from collectors.infiniband import Infiniband, ports_of
from collectors.sysfs import rate_bits_per_second
from ridgeline.errors import NoData
from ridgeline.schema import FABRIC, MISSING_COUNTER, Kind
from tests.collectors.sysfs_tree import add_interface, add_port, settings_of, write


class FakeEthtool:
    """Statistics by interface."""

    def __init__(self, **by_interface: Mapping[str, int]) -> None:
        self.by_interface = by_interface

    def statistics(self, interface: str) -> Mapping[str, int]:
        """As set."""
        return self.by_interface.get(interface, {})

    def close(self) -> None:
        """Nothing to close."""


def row_of(root: Path, **ethtool: Mapping[str, int]) -> np.void:
    """The only row."""
    collector = Infiniband(settings_of(root), FakeEthtool(**ethtool))
    ((_, rows),) = collector.collect(1).frames
    (row,) = rows
    found: np.void = row
    return found


def known(row: np.void) -> dict[str, int]:
    """Counters that are not missing."""
    names = FABRIC.of_kind(Kind.COUNTER)
    return {n: int(row[n]) for n in names if row[n] != MISSING_COUNTER}


MLX5_COUNTERS = {
    "counters/port_xmit_data": "1000",
    "counters/port_rcv_data": "2000",
    "counters/port_xmit_packets": "30",
    "counters/port_rcv_packets": "40",
    "counters/port_xmit_wait": "55",
    "counters/symbol_error": "2",
    "counters/link_downed": "1",
}


def test_mlx5_infiniband(tmp_path: Path) -> None:
    """Data counters count 4 bytes."""
    add_port(tmp_path, "mlx5_0", "1", MLX5_COUNTERS)
    row = row_of(tmp_path)

    assert known(row) == {
        "tx_bytes": 4000,
        "rx_bytes": 8000,
        "tx_packets": 30,
        "rx_packets": 40,
        "tx_wait_ticks": 55,
        "symbol_errors": 2,
        "link_downs": 1,
    }
    assert row["link_rate_bits_per_second"] == pytest.approx(400e9)
    assert (row["link_up"], row["link_layer"]) == (1, 2)


def test_mlx5_roce(tmp_path: Path) -> None:
    """Congestion counters from hw_counters, PFC from the interface that carries the port."""
    hardware = {
        "hw_counters/np_ecn_marked_roce_packets": "40",
        "hw_counters/np_cnp_sent": "30",
        "hw_counters/rp_cnp_handled": "9",
        "hw_counters/rp_cnp_ignored": "0",
        "hw_counters/out_of_sequence": "5",
        "hw_counters/packet_seq_err": "6",
        "hw_counters/local_ack_timeout_err": "7",
        "hw_counters/rnr_nak_retry_err": "8",
        "hw_counters/roce_adp_retrans": "10",
        "hw_counters/roce_slow_restart": "11",
        "hw_counters/out_of_buffer": "12",
        "hw_counters/lifespan": "10",
        "gid_attrs/ndevs/0": "eth2",
    }
    add_port(tmp_path, "mlx5_0", "1", hardware, layer="Ethernet")
    pfc = {"rx_prio3_pause": 5, "rx_prio4_pause": 1, "rx_prio3_pause_duration": 900}
    storms = {"tx_pause_storm_warning_events": 2, "tx_pause_storm_error_events": 1}
    row = row_of(tmp_path, eth2=pfc | storms)

    assert known(row) == {
        "ecn_marked_packets": 40,
        "cnp_sent": 30,
        "cnp_handled": 9,
        "cnp_ignored": 0,
        "out_of_sequence": 5,
        "packet_sequence_errors": 6,
        "ack_timeouts": 7,
        "rnr_nak_retries": 8,
        "adaptive_retransmits": 10,
        "slow_restarts": 11,
        "out_of_buffer": 12,
        "pfc_rx_pauses": 6,
        "pfc_rx_pause_us": 900,
        "pfc_storm_events": 3,
    }
    assert row["link_layer"] == 3


def test_bnxt_re_without_counters(tmp_path: Path) -> None:
    """bnxt_re has hw_counters only, in bytes, under names of its own."""
    hardware = {
        "hw_counters/tx_bytes": "1000",
        "hw_counters/rx_bytes": "2000",
        "hw_counters/tx_pkts": "3",
        "hw_counters/rx_roce_discards": "4",
        "hw_counters/seq_err_naks_rcvd": "5",
        "hw_counters/rnr_naks_rcvd": "6",
    }
    add_port(tmp_path, "bnxt_re0", "1", hardware, driver="bnxt_en", layer="Ethernet")

    assert known(row_of(tmp_path)) == {
        "tx_bytes": 1000,
        "rx_bytes": 2000,
        "tx_packets": 3,
        "rx_discards": 4,
        "packet_sequence_errors": 5,
        "rnr_nak_retries": 6,
    }


def test_ionic_data_are_bytes(tmp_path: Path) -> None:
    """Ionic's data counters are bytes, also when udev renamed the device."""
    files = {
        "counters/port_xmit_data": "1000",
        "hw_counters/rx_rdma_ucast_bytes": "77",
        "hw_counters/rx_rdma_ecn_pkts": "6",
        "hw_counters/tx_rdma_cnp_pkts": "5",
        "hw_counters/rx_rdma_cnp_pkts": "4",
        "hw_counters/req_rx_pkt_seq_err": "3",
    }
    add_port(tmp_path, "rocep1s0", "1", files, driver="ionic", layer="Ethernet")

    assert known(row_of(tmp_path)) == {
        "tx_bytes": 1000,
        "rx_bytes": 77,
        "ecn_marked_packets": 6,
        "cnp_sent": 5,
        "cnp_handled": 4,
        "packet_sequence_errors": 3,
    }


@pytest.mark.parametrize("text", ["N/A (no PMA)", "4294967295", "EINVAL", "", "-1"])
def test_one_bad_file_costs_one_column(tmp_path: Path, text: str) -> None:
    """Words, saturation and refusals are missing readings; the rest is there."""
    add_port(tmp_path, "mlx5_0", "1", MLX5_COUNTERS | {"counters/port_rcv_errors": text})
    row = row_of(tmp_path)

    assert row["rx_errors"] == MISSING_COUNTER
    assert row["tx_bytes"] == 4000


@pytest.mark.parametrize(
    ("state", "up"), [("4: ACTIVE", 1), ("1: DOWN", 0), ("2: INIT", 0), ("3: ARMED", 0)]
)
def test_state(tmp_path: Path, state: str, up: int) -> None:
    """Only ACTIVE is up."""
    add_port(tmp_path, "mlx5_0", "1", {"state": state})

    assert row_of(tmp_path)["link_up"] == up


@pytest.mark.parametrize(
    ("text", "expected"), [("400 Gb/sec (4X NDR)", 400e9), ("2.5 Gb/sec (1X SDR)", 2.5e9)]
)
def test_rate(text: str, expected: float) -> None:
    """Rates as the kernel writes them."""
    assert rate_bits_per_second(text) == expected


def test_rate_unknown() -> None:
    """Anything else is no rate."""
    assert np.isnan([rate_bits_per_second(t) for t in ("", "fast", None)]).all()


def test_management_port_is_left_out(tmp_path: Path) -> None:
    """A RoCE-capable NIC with the default route is not fabric, unless it is all there is."""
    route = "Iface\tDestination\tGateway\neth0\t00000000\t0100000A\neth0\t0000000A\t00000000"
    write(tmp_path, {"proc/net/route": route})
    add_port(tmp_path, "mlx5_9", "1", {"gid_attrs/ndevs/0": "eth0"}, layer="Ethernet")
    settings = settings_of(tmp_path)
    alone = [p.name for p in ports_of(settings)]
    add_port(tmp_path, "mlx5_0", "1", {}, layer="InfiniBand")

    assert alone == ["mlx5_9/1"]
    assert [p.name for p in ports_of(settings)] == ["mlx5_0/1"]


def test_interface_by_port_number(tmp_path: Path) -> None:
    """Without GID attributes the interface is the PCI function's one of that port."""
    port = add_port(tmp_path, "mlx5_0", "2", {}, layer="Ethernet")
    for name, number in (("ens1f0", "0"), ("ens1f1", "1")):
        write(port.parents[1] / "device" / "net" / name, {"dev_port": number})

    assert [p.interface for p in ports_of(settings_of(tmp_path))] == ["ens1f1"]


def test_driver_without_ports(tmp_path: Path) -> None:
    """A device folder without ports is no data, not an error."""
    write(tmp_path, {"sys/class/infiniband/mlx5_0/node_type": "1: CA"})
    with pytest.raises(NoData):
        ports_of(settings_of(tmp_path))


def test_ethtool_refuses_quietly() -> None:
    """The real ioctl on an interface that does not exist is an empty answer."""
    ethtool = Ethtool()

    assert ethtool.statistics("nosuchif0") == {}
    ethtool.close()


def test_tree_is_like_the_real_one(tmp_path: Path) -> None:
    """The builder's interface is a link into the device tree, as netdev's rule needs."""
    add_interface(tmp_path, "eth0", {}, virtual=True)

    assert "virtual" in (tmp_path / "sys/class/net/eth0").resolve().parts

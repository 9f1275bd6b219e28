"""What each driver calls the counters of an RDMA port.

Names of mlx5 are the reference; bnxt_re, ionic and irdma have their own spellings
(drivers/infiniband/hw/*/hw_counters.c of Linux; ionic as `rdma statistic show` prints them).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

BYTES_DRIVERS = ("bnxt", "ionic")  # their port_*_data count bytes; everyone else's count 4 bytes

Names = Mapping[str, tuple[str, ...]]

DATA: Names = MappingProxyType(
    {"tx_bytes": ("port_xmit_data",), "rx_bytes": ("port_rcv_data",)},
)
COUNTERS: Names = MappingProxyType(
    {
        "tx_packets": ("port_xmit_packets",),
        "rx_packets": ("port_rcv_packets",),
        "tx_wait_ticks": ("port_xmit_wait",),
        "tx_discards": ("port_xmit_discards",),
        "rx_discards": ("port_rcv_discards",),
        "tx_errors": ("port_xmit_constraint_errors",),
        "rx_errors": ("port_rcv_errors",),
        "symbol_errors": ("symbol_error",),
        "link_recoveries": ("link_error_recovery",),
        "link_downs": ("link_downed",),
        "integrity_errors": ("local_link_integrity_errors",),
        "buffer_overruns": ("excessive_buffer_overrun_errors",),
    }
)
HW_COUNTERS: Names = MappingProxyType(
    {
        "tx_bytes": ("tx_bytes", "tx_roce_only_bytes", "tx_rdma_ucast_bytes"),
        "rx_bytes": ("rx_bytes", "rx_roce_only_bytes", "rx_rdma_ucast_bytes"),
        "tx_packets": ("tx_pkts", "tx_rdma_ucast_pkts"),
        "rx_packets": ("rx_pkts", "rx_rdma_ucast_pkts"),
        "tx_discards": ("tx_roce_discards",),
        "rx_discards": ("rx_roce_discards",),
        "tx_errors": ("tx_roce_errors",),
        "rx_errors": ("rx_roce_errors",),
        "ecn_marked_packets": (
            "np_ecn_marked_roce_packets",
            "rx_ecn_marked_pkts",
            "rx_rdma_ecn_pkts",
            "RxECNMrkd",
        ),
        "cnp_sent": ("np_cnp_sent", "tx_cnp_pkts", "tx_rdma_cnp_pkts", "cnpSent"),
        "cnp_handled": ("rp_cnp_handled", "rx_cnp_pkts", "rx_rdma_cnp_pkts", "cnpHandled"),
        "cnp_ignored": ("rp_cnp_ignored", "cnpIgnored"),
        "out_of_sequence": ("out_of_sequence", "oos_drop_count", "resp_rx_outouf_seq"),
        "packet_sequence_errors": ("packet_seq_err", "seq_err_naks_rcvd", "req_rx_pkt_seq_err"),
        "ack_timeouts": ("local_ack_timeout_err", "to_retransmits", "tx_rdma_ack_timeout"),
        "rnr_nak_retries": ("rnr_nak_retry_err", "rnr_naks_rcvd", "req_rx_rnr_retry_err"),
        "adaptive_retransmits": ("roce_adp_retrans",),
        "slow_restarts": ("roce_slow_restart",),
        "out_of_buffer": ("out_of_buffer", "rx_out_of_buffer", "resp_rx_outof_buf"),
    }
)


def _each_priority(*patterns: str) -> tuple[str, ...]:
    return tuple(p.format(n) for p in patterns for n in range(8))


PFC: Names = MappingProxyType(  # ethtool names, summed: mlx5 | bnxt_en | ionic
    {
        "pfc_rx_pauses": (
            *_each_priority("rx_prio{}_pause", "rx_pfc_ena_frames_pri{}"),
            "frames_rx_pripause",
        ),
        "pfc_tx_pauses": (
            *_each_priority("tx_prio{}_pause", "tx_pfc_ena_frames_pri{}"),
            "frames_tx_pripause",
        ),
        "pfc_rx_pause_us": _each_priority("rx_prio{}_pause_duration", "pfc_pri{}_rx_duration_us"),
        "pfc_storm_events": ("tx_pause_storm_warning_events", "tx_pause_storm_error_events"),
    }
)


def counts_bytes(device: str, driver: str) -> bool:
    """Whether port_xmit_data and port_rcv_data of this device are in bytes, not in 4 bytes."""
    return device.startswith(BYTES_DRIVERS) or driver.startswith(BYTES_DRIVERS)

"""Made-up trees of /sys/class/infiniband, with the names that drivers give (kernel sources).

No RDMA device was there when these were written: the names are those of
drivers/infiniband/{core/sysfs.c,hw/*,sw/*}.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from xctl_probe.linux.rdma_ports import read_file

# drivers/infiniband/core/sysfs.c: pma_attrs_ext.
PMA = """symbol_error link_error_recovery link_downed port_rcv_errors
    port_rcv_remote_physical_errors port_rcv_switch_relay_errors port_xmit_discards
    port_xmit_constraint_errors port_rcv_constraint_errors local_link_integrity_errors
    excessive_buffer_overrun_errors VL15_dropped port_xmit_wait port_xmit_data port_rcv_data
    port_xmit_packets port_rcv_packets unicast_rcv_packets unicast_xmit_packets
    multicast_rcv_packets multicast_xmit_packets"""
HW = {
    "mlx5_core": """rx_write_requests rx_read_requests rx_atomic_requests rx_dct_connect
        out_of_buffer out_of_sequence duplicate_request rnr_nak_retry_err packet_seq_err
        implied_nak_seq_err local_ack_timeout_err resp_local_length_error resp_cqe_error
        req_cqe_error req_remote_invalid_request req_remote_access_errors
        resp_remote_access_errors resp_cqe_flush_error req_cqe_flush_error
        req_transport_retries_exceeded req_rnr_retries_exceeded roce_adp_retrans
        roce_adp_retrans_to roce_slow_restart roce_slow_restart_cnps roce_slow_restart_trans
        rx_icrc_encapsulated rp_cnp_ignored rp_cnp_handled np_ecn_marked_roce_packets
        np_cnp_sent""",
    "efa": """tx_bytes tx_pkts rx_bytes rx_pkts rx_drops send_bytes send_wrs recv_bytes recv_wrs
        rdma_read_wrs rdma_read_bytes rdma_read_wr_err rdma_read_resp_bytes rdma_write_wrs
        rdma_write_bytes rdma_write_wr_err rdma_write_recv_bytes retrans_bytes retrans_pkts
        retrans_timeout_events unresponsive_remote_events impaired_remote_conn_events""",
    "irdma": """ip4InDiscards ip4InTruncatedPkts ip4OutNoRoutes ip6InDiscards ip6InTruncatedPkts
        ip6OutNoRoutes tcpRetransSegs tcpInOptErrors tcpInProtoErrors rxVlanErrors ip4InOctets
        ip4InPkts ip4InReasmRqd ip4InMcastPkts ip4OutOctets ip4OutPkts ip4OutSegRqd ip4OutMcastPkts
        ip6InOctets ip6InPkts ip6OutOctets ip6OutPkts tcpInSegs tcpOutSegs iwInRdmaReads
        iwOutRdmaWrites cnpHandled cnpIgnored cnpSent RxUDP TxUDP RxECNMrkd""",
    "bnxt_re": """active_pds active_ahs active_qps active_srqs active_cqs active_mrs active_mws
        rx_pkts rx_bytes tx_pkts tx_bytes recoverable_errors rx_roce_errors rx_roce_discards
        tx_roce_errors tx_roce_discards to_retransmits seq_err_naks_rcvd max_retry_exceeded
        rnr_naks_rcvd missing_resp unrecoverable_err bad_resp_err local_qp_op_err
        local_protection_err mem_mgmt_op_err remote_invalid_req_err remote_access_err remote_op_err
        dup_req oos_drop_count rx_out_of_buffer tx_cnp_pkts rx_cnp_pkts rx_ecn_marked_pkts""",
    "hfi1": "",
    "rdma_rxe": """sent_pkts rcvd_pkts duplicate_request out_of_seq_request rcvd_rnr_err
        send_rnr_err rcvd_seq_err ack_deferred retry_exceeded_err retry_rnr_exceeded_err
        completer_retry_err send_err link_downed rdma_sends rdma_recvs""",
    "rdma_rxe 7.2": """sent_pkts rcvd_pkts duplicate_request out_of_seq_request rcvd_rnr_err
        send_rnr_err rcvd_seq_err ack_deferred retry_exceeded_err retry_rnr_exceeded_err
        completer_retry_err send_err link_downed rdma_sends rdma_recvs sent_bytes rcvd_bytes""",
    "siw": "",
}
SOFTWARE = {"rdma_rxe": "rxe", "rdma_rxe 7.2": "rxe", "siw": "Software iWARP stack"}
IWARP = ("siw",)
WITH_PMA = ("mlx5_core", "hfi1", "rdma_rxe 7.2")


class Tree:
    """A folder as /sys/class/infiniband; `read` stands in for the kernel's answers."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.refused: dict[str, int] = {}  # path to errno
        self.reads: list[str] = []

    def add(
        self,
        device: str,
        driver: str = "mlx5_core",
        *,
        ports: int = 1,
        layer: str = "Ethernet",
        netdev: str | None = "eth0",
    ) -> None:
        """A device with all counters at zero."""
        for number in range(1, ports + 1):
            port = self.port(device, number)
            write(port / "state", "4: ACTIVE")
            write(port / "rate", "100 Gb/sec (4X EDR)")
            write(port / "link_layer", layer)
            for index in range(3):
                self._ndev(port / "gid_attrs/ndevs" / str(index), netdev, index)
            for name in PMA.split() if driver in WITH_PMA else ():
                write(port / "counters" / name, 0)
            for name in HW[driver].split():
                write(port / "hw_counters" / name, 0)
            if HW[driver]:
                write(port / "hw_counters/lifespan", 10)
        write(self.root / device / "node_type", "4: RNIC" if driver in IWARP else "1: CA")
        if driver in SOFTWARE:
            write(self.root / device / "node_desc", SOFTWARE[driver])
            return
        (self.root / device / "device").mkdir()
        os.symlink(f"/sys/bus/pci/drivers/{driver}", self.root / device / "device/driver")

    def _ndev(self, path: Path, netdev: str | None, index: int) -> None:
        write(path, netdev or "")
        if netdev is None or index == 0:  # the first GID is unused: its file answers EINVAL
            self.refused[str(path)] = errno.EINVAL

    def remove(self, device: str) -> None:
        """Unplug it; a device that is made again has another inode, as in the kernel."""
        (self.root / device).rename(self.root.parent / f"unplugged-{device}-{len(self.reads)}")

    def port(self, device: str, number: int = 1) -> Path:
        return self.root / device / "ports" / str(number)

    def set(self, device: str, number: int = 1, **counters: int | str) -> None:
        """Set counters, wherever they are."""
        for name, value in counters.items():
            (path,) = self.port(device, number).glob(f"*counters*/{name}")
            write(path, value)

    def refuse(self, device: str, name: str, code: int, number: int = 1) -> str:
        """Let the driver refuse this file; returns its path."""
        (path,) = map(str, self.port(device, number).glob(f"*counters*/{name}"))
        self.refused[path] = code
        return path

    def read(self, path: str) -> bytes:
        self.reads.append(path)
        if code := self.refused.get(path):
            raise OSError(code, os.strerror(code), path)
        return read_file(path)


def write(path: Path, value: int | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{value}\n")

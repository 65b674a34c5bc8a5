"""What the counters of RDMA ports mean: bytes, and kinds of errors, by the names that drivers give.

The names are those of drivers/infiniband/hw/{mlx5,efa,irdma,bnxt_re,hfi1} and sw/rxe, and of the
port counters of the InfiniBand Architecture (drivers/infiniband/core/sysfs.c).  Left out are
counters of completions in error (`req_cqe_error`): each queue pair that is torn down adds to them.
"""

from __future__ import annotations

from typing import NamedTuple

from xctl_probe.events import PortErrorKind as Kind


class ByteRule(NamedTuple):
    """The counters that add up to the bytes of a port, and the bytes of one unit."""

    received: tuple[str, ...]
    sent: tuple[str, ...]
    unit_bytes: int


_WORD_BYTES = 4  # the InfiniBand Architecture counts data in units of 32 bits, RoCE's too
_FLIT_BYTES = 8  # Omni-Path counts flits of 64 bits (pma_get_opa_port_dctrs(), hfi1/mad.c)
XMIT_WAIT = "port_xmit_wait"

# The first whose counters exist counts.  Kernels before 4.5 have the wide ones in counters_ext.
_RULES = (
    ByteRule(("port_rcv_data_64",), ("port_xmit_data_64",), _WORD_BYTES),
    ByteRule(("port_rcv_data",), ("port_xmit_data",), _WORD_BYTES),
    ByteRule(("rx_bytes",), ("tx_bytes",), 1),  # EFA, bnxt_re
    ByteRule(("ip4InOctets", "ip6InOctets"), ("ip4OutOctets", "ip6OutOctets"), 1),  # irdma
)

_NAMES: dict[Kind, str] = {
    Kind.RETRY: (
        "roce_adp_retrans roce_adp_retrans_to completer_retry_err retrans_pkts"
        " tcpRetransSegs RetransSegs"
    ),
    Kind.TIMEOUT: "local_ack_timeout_err to_retransmits retrans_timeout_events",
    Kind.RETRY_EXCEEDED: (
        "req_transport_retries_exceeded req_rnr_retries_exceeded max_retry_exceeded"
        " retry_exceeded_err retry_rnr_exceeded_err unresponsive_remote_events"
    ),
    Kind.SEQUENCE: (
        "packet_seq_err implied_nak_seq_err out_of_sequence seq_err_naks_rcvd oos_drop_count"
        " rcvd_seq_err out_of_seq_request"
    ),
    Kind.DUPLICATE: "duplicate_request dup_req",
    # rxe counts the RNR NAKs that it sends: this host's process has posted no receive.
    Kind.OUT_OF_BUFFER: "out_of_buffer rx_out_of_buffer send_rnr_err",
    Kind.RNR: "rnr_nak_retry_err rnr_naks_rcvd rcvd_rnr_err",
    Kind.REQUEST: (
        "resp_local_length_error req_remote_invalid_request req_remote_access_errors"
        " resp_remote_access_errors remote_invalid_req_err remote_access_err remote_op_err"
        " bad_resp_err local_qp_op_err local_protection_err mem_mgmt_op_err unrecoverable_err"
        " rdma_read_wr_err rdma_write_wr_err send_err"
    ),
    Kind.IMPAIRED: "impaired_remote_conn_events",
    Kind.CNP: "rp_cnp_handled rx_cnp_pkts cnpHandled",
    Kind.CNP_SENT: "np_cnp_sent tx_cnp_pkts cnpSent",
    Kind.ECN: "np_ecn_marked_roce_packets rx_ecn_marked_pkts RxECNMrkd",
    Kind.DISCARD: (
        "port_xmit_discards rx_roce_discards tx_roce_discards rx_drops ip4InDiscards ip6InDiscards"
    ),
    Kind.PORT: (
        "port_rcv_errors port_rcv_remote_physical_errors port_xmit_constraint_errors"
        " port_rcv_constraint_errors rx_icrc_encapsulated rx_roce_errors tx_roce_errors"
    ),
    Kind.SYMBOL: "symbol_error",
    Kind.LINK: (
        "link_error_recovery link_downed local_link_integrity_errors"
        " excessive_buffer_overrun_errors"
    ),
}
KINDS: dict[str, Kind] = {name: kind for kind, names in _NAMES.items() for name in names.split()}
WANTED = frozenset(KINDS) | {
    XMIT_WAIT,
    *(name for rule in _RULES for name in (*rule.received, *rule.sent)),
}


def byte_rule(counters: dict[str, int], driver: str) -> ByteRule | None:
    """The counters of bytes of a port with these counters; None where its device counts none."""
    for rule in _RULES:
        if all(name in counters for name in (*rule.received, *rule.sent)):
            wide = driver == "hfi1" and rule.unit_bytes == _WORD_BYTES
            return rule._replace(unit_bytes=_FLIT_BYTES) if wide else rule
    return None

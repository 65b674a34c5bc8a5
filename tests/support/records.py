"""Records for tests of exporters: a few fixed values, and any values."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from xctl_probe.events import (
    Cause,
    Connection,
    Direction,
    DroppedEvents,
    ErrorKind,
    PeerActivity,
    Placement,
    PortErrorKind,
    PortErrors,
    Process,
    ProcessLoad,
    ProcessState,
    QueuePairErrors,
    RdmaLink,
    Socket,
    SocketError,
    Stall,
    State,
)
from xctl_probe.exporters.records import (
    BandwidthRecord,
    CpuRecord,
    ErrorRecord,
    InterfaceErrors,
    InterfaceFailure,
    MemoryRecord,
    ProcessRecord,
    StallRecord,
)
from xctl_probe.linux.addresses import endpoint_text

NOW_MS = 1_700_000_000_123
CLIENT, OTHER = Process(233, 7_001, "client"), Process(239, 7_013, "other")
SOCKET = Socket(4_241, 11, "tcp", "10.0.0.7", 40_009, "fe80::b", 5_437, "eth0", 1_009, 7_919)
STALL = Stall(CLIENT, SOCKET, Direction.RECEIVE, 1_301_999_999, False, Cause.NO_REPLY, 239)

# Whatever a process calls itself: sources decode with backslashreplace.
TEXT = st.one_of(
    st.binary(max_size=15).map(lambda raw: raw.decode("utf-8", "backslashreplace")),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=15),
)
PIDS = st.integers(1, 2**32 - 1)
PROCESSES = st.none() | st.builds(Process, PIDS, st.integers(0, 2**64 - 1), TEXT)
ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
PORTS = st.integers(0, 0xFFFF)
SOCKETS = st.builds(
    Socket,
    inode=st.integers(1, 2**32 - 1),
    cookie=st.integers(0, 2**64 - 1),
    protocol=st.sampled_from(["tcp", "udp"]),
    local_address=ADDRESSES,
    local_port=PORTS,
    remote_address=ADDRESSES,
    remote_port=PORTS,
    interface=st.none() | st.sampled_from(["eth0", "lo"]),
    uid=st.none() | st.integers(0, 2**32 - 1),
    cgroup=st.none() | st.integers(0, 2**64 - 1),
)
STALLS = st.builds(
    Stall,
    PROCESSES,
    SOCKETS,
    st.sampled_from(list(Direction)),
    st.integers(0, 2**63 - 1),
    st.booleans(),
    st.none() | st.sampled_from(list(Cause)),
    st.none() | PIDS,
    PROCESSES,
    st.none() | st.sampled_from(list(PeerActivity)),
)
ERRORS = st.builds(
    SocketError, PROCESSES, SOCKETS, st.sampled_from(list(ErrorKind)), st.integers(1, 2**63)
)
LOSSES = st.builds(
    DroppedEvents,
    st.sampled_from(["ring", "stdout"]),
    st.integers(1, 2**63),
    st.none() | st.integers(0, 2**32 - 1),
)
INTERFACES = st.builds(
    InterfaceErrors,
    st.sampled_from(["eth0", "lo"]),
    st.sampled_from(list(InterfaceFailure)),
    st.integers(0, 2**63),
    st.integers(0, 2**63),
).filter(lambda errors: errors.rx or errors.tx)
BANDWIDTHS = st.builds(
    BandwidthRecord,
    st.just(NOW_MS),
    st.sampled_from(["eth0", "wlp3s0", "br-0a1b2c"]),
    PROCESSES,
    st.integers(0, 2**60),
    st.integers(0, 2**60),
    st.integers(0, 2**60),
    st.none() | st.integers(0, 2**60),
).map(
    # An interface's record has them, a process's has none: as the aggregate makes them.
    lambda b: replace(b, unattributed_bytes=None if b.owner else b.unattributed_bytes or 0)
)
LINKS = st.builds(
    RdmaLink,
    st.sampled_from(["InfiniBand", "Ethernet"]),
    st.sampled_from(["100 Gb/sec (4X EDR)", ""]),
    st.sampled_from(["ACTIVE", "DOWN"]),
    st.sampled_from([None, "eth0"]),
)
PORTS_BANDWIDTHS = st.builds(
    BandwidthRecord,
    st.just(NOW_MS),
    st.sampled_from(["mlx5_0", "mlx5_0/2"]),
    st.none(),
    st.integers(0, 2**60),
    st.integers(0, 2**60),
    st.integers(0, 2**60),
    link=LINKS,
    xmit_wait=st.none() | st.integers(0, 2**60),
)
PORT_ERRORS = st.builds(
    lambda name, kind, count, priority, owner: PortErrors(
        name, kind, count, (("rp_cnp_handled", count),), priority, owner
    ),
    st.sampled_from(["mlx5_0", "mlx5_0/2"]),
    st.sampled_from(list(PortErrorKind)),
    st.integers(1, 2**63),
    st.none() | st.integers(0, 7),
    PROCESSES,
)
QUEUE_PAIR_ERRORS = st.builds(
    QueuePairErrors,
    PROCESSES,
    st.sampled_from(["mlx5_0", "mlx5_0/2"]),
    st.integers(1, 2**32),
    st.integers(0, 2**24 - 1),
    st.none() | st.integers(1, 2**24 - 1),
    st.sampled_from(["RC", "UD"]),
    st.sampled_from(["ERR", "SQE"]),
    st.none() | TEXT,
)
# What threads alone show: the other activities are of a connection.
THREADS = (
    PeerActivity.FROZEN,
    PeerActivity.STOPPED,
    PeerActivity.DISK_SLEEP,
    PeerActivity.RUNNING,
)
PLACEMENTS = st.builds(
    Placement,
    st.from_regex(r"[0-9A-Za-z._\[\]-]{1,150}", fullmatch=True),
    pod_uid=st.none() | st.uuids().map(str),
    pod=st.none() | st.sampled_from(["train-0", "coredns-7f.9"]),
    pod_namespace=st.sampled_from(["default", "kube-system"]),
    container=st.none() | st.binary(min_size=32, max_size=32).map(bytes.hex),
    rank=st.none() | st.integers(0, 999_999_999),
    local_rank=st.none() | st.integers(0, 15),
)
OWNERS = st.builds(Process, PIDS, st.integers(0, 2**64 - 1), TEXT)
ENDPOINTS = st.builds(endpoint_text, ADDRESSES, PORTS)
STATES = st.one_of(
    st.builds(ProcessState, OWNERS, PLACEMENTS, st.sampled_from([State.START, State.EXIT])),
    st.builds(
        ProcessState,
        OWNERS,
        PLACEMENTS,
        st.just(State.CONNECTED),
        st.lists(st.builds(Connection, ENDPOINTS, ENDPOINTS), max_size=24).map(tuple),
        st.sampled_from([None, *THREADS]),
    ),
)


# From 1 % up, as the aggregate makes records of them.
LOADS = st.builds(
    ProcessLoad,
    OWNERS,
    st.integers(10**9, 2**60),
    st.integers(1, 10**9),
    st.integers(2**30, 2**50),
    st.integers(1, 2**30),
)


def _placed(owner, placement):
    """Only a process has a placement."""
    return placement if owner else None


RECORDS = st.one_of(
    st.builds(
        lambda stall, where: StallRecord(NOW_MS, stall, _placed(stall.owner, where)),
        STALLS,
        st.none() | PLACEMENTS,
    ),
    st.builds(
        lambda error, where: ErrorRecord(NOW_MS, error, _placed(error.owner, where)),
        ERRORS,
        st.none() | PLACEMENTS,
    ),
    STATES.map(lambda state: ProcessRecord(NOW_MS, state)),
    st.builds(CpuRecord, st.just(NOW_MS), LOADS, st.none() | PLACEMENTS),
    st.builds(MemoryRecord, st.just(NOW_MS), LOADS, st.none() | PLACEMENTS),
    LOSSES.map(lambda lost: ErrorRecord(NOW_MS, lost)),
    INTERFACES.map(lambda errors: ErrorRecord(NOW_MS, errors)),
    PORT_ERRORS.map(lambda errors: ErrorRecord(NOW_MS, errors)),
    QUEUE_PAIR_ERRORS.map(lambda errors: ErrorRecord(NOW_MS, errors)),
    PORTS_BANDWIDTHS,
    BANDWIDTHS,
)

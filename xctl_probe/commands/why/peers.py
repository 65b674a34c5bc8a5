"""Peer sockets on this host, and their owners."""

from __future__ import annotations

import struct

from xctl_probe.commands.why.sockets import Peer
from xctl_probe.fallback.sock_diag import TcpSample, decode
from xctl_probe.linux.freezer import Freezer
from xctl_probe.linux.process_activity import Activity, Processes
from xctl_probe.linux.socket_owners import Owners

# In struct inet_diag_msg.
STATE = 1
LOCAL_PORT = slice(4, 6)
INODE = slice(68, 72)
_PORTS = slice(4, 8)  # the two, this side's first, big-endian


def peers_of(samples: list[TcpSample], messages: list[bytes]) -> dict[int, Peer]:
    """Return the peer by inode, for sockets whose peer is on this host."""
    by_ports: dict[bytes, list[bytes]] = {}
    for message in messages:
        by_ports.setdefault(message[_PORTS], []).append(message)
    peers: dict[int, TcpSample] = {}
    for sample in samples:
        swapped = struct.pack(">HH", sample.remote_port, sample.local_port)
        for message in by_ports.get(swapped, ()):
            other = decode(message)
            if other is not None and _are_connected(sample, other):
                peers[sample.inode] = other
    owners = Owners()
    owners.search({other.inode for other in peers.values()} - {0})
    return {inode: _described(other, owners) for inode, other in peers.items()}


def _are_connected(one: TcpSample, other: TcpSample) -> bool:
    return (one.local_address, one.remote_address) == (other.remote_address, other.local_address)


def _described(other: TcpSample, owners: Owners) -> Peer:
    process = owners.get(other.inode) if other.inode else None
    if process is None:
        return Peer(other.rqueue, None, None, stopped=False)
    processes = Processes()
    activity = processes.activity(process.pid, other.inode)
    return Peer(
        other.rqueue,
        process.pid,
        process.comm,
        stopped=processes.stopped(process.pid),
        listens=not other.rqueue and activity in (Activity.WAITING_ON_SOCKET, Activity.UNDECIDED),
        is_elsewhere=not other.rqueue and activity is Activity.OTHER,
        frozen=Freezer().frozen(process.pid),
    )

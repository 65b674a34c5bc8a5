"""Names of entities and addresses, the same in every format."""

from __future__ import annotations

from xctl_probe.events import PortErrors, QueuePairErrors, Socket, SocketError
from xctl_probe.exporters.records import (
    UNKNOWN_INTERFACE,
    BandwidthRecord,
    CpuRecord,
    ErrorRecord,
    InterfaceErrors,
    MemoryRecord,
    ProcessRecord,
    Record,
    StallRecord,
)
from xctl_probe.linux.addresses import endpoint_text

PROBE = "xctl-probe"  # the entity of events that the probe dropped


def entity(record: Record) -> str:
    """`socket-<inode>`, `pid-<pid>`, an interface or RDMA port, `cpu`, `memory`, `xctl-probe`."""
    if isinstance(record, BandwidthRecord):
        return record.interface
    if isinstance(record, StallRecord):
        return socket_entity(record.stall.socket)
    if isinstance(record, ProcessRecord):
        return f"pid-{record.owner.pid}"
    if isinstance(record, CpuRecord):
        return "cpu"
    if isinstance(record, MemoryRecord):
        return "memory"
    error = record.error
    if isinstance(error, SocketError):
        return socket_entity(error.socket)
    if isinstance(error, PortErrors):
        return error.name
    if isinstance(error, QueuePairErrors):
        return error.port
    return error.interface if isinstance(error, InterfaceErrors) else PROBE


def socket_entity(socket: Socket) -> str:
    """Return `socket-<inode>`; without an inode, the interface."""
    # A connection that closed before it was accepted never had an inode.
    return f"socket-{socket.inode}" if socket.inode else socket.interface or UNKNOWN_INTERFACE


def counts(record: ErrorRecord) -> tuple[tuple[str, int], ...]:
    """Return the words of a failure with their counts, zeros included."""
    error = record.error
    if isinstance(error, (SocketError, PortErrors)):
        return ((error.kind.value, error.count),)
    if isinstance(error, QueuePairErrors):
        return (("QP_ERR", error.count),)
    if isinstance(error, InterfaceErrors):
        return ((f"RX_{error.kind}", error.rx), (f"TX_{error.kind}", error.tx))
    return (("PROBE_LOST", error.count),)


def app_text(socket: Socket) -> str:
    """Return the protocol and the name of the server, `tls example.org`; empty where unknown."""
    app = socket.app
    if app is None:
        return ""
    return f"{app.name} {app.sni}" if app.sni else app.name


def local(socket: Socket) -> str:
    """Return the local address and port."""
    return endpoint_text(socket.local_address, socket.local_port)


def remote(socket: Socket) -> str:
    """Return the address and port of the peer."""
    return endpoint_text(socket.remote_address, socket.remote_port)


def endpoints(error: SocketError) -> tuple[str | None, str | None]:
    """Return local and remote; None where the count is a sum over several of them."""
    if not error.socket.remote_address:
        return None, None
    return None if error.sockets > 1 else local(error.socket), remote(error.socket)

"""Names of what a record is about, the same in every format."""

from __future__ import annotations

from xctl_probe.events import Lost, Socket, SocketError
from xctl_probe.exporters.records import (
    UNKNOWN_INTERFACE,
    BandwidthRecord,
    ErrorRecord,
    InterfaceErrors,
    Record,
    StallRecord,
)
from xctl_probe.linux.addresses import endpoint_text

PROBE = "xctl-probe"  # the entity of the probe's own losses


def entity(record: Record) -> str:
    """`socket-<inode>`, the name of an interface, or `xctl-probe`."""
    match record:
        case BandwidthRecord():
            return record.interface
        case StallRecord():
            return _socket(record.stall.socket)
        case ErrorRecord(error=SocketError() as error):
            return _socket(error.socket)
        case ErrorRecord(error=InterfaceErrors() as error):
            return error.interface
        case _:
            return PROBE


def counts(record: ErrorRecord) -> tuple[tuple[str, int], ...]:
    """The words of what failed, each with how often, zeros included."""
    match record.error:
        case SocketError() as error:
            return ((error.kind.value, error.count),)
        case InterfaceErrors() as error:
            return ((f"RX_{error.kind}", error.rx), (f"TX_{error.kind}", error.tx))
        case Lost() as lost:
            return (("PROBE_LOST", lost.count),)


def local(socket: Socket) -> str:
    """The local address and port."""
    return endpoint_text(socket.local_address, socket.local_port)


def remote(socket: Socket) -> str:
    """The peer's address and port."""
    return endpoint_text(socket.remote_address, socket.remote_port)


def endpoints(error: SocketError) -> tuple[str | None, str | None]:
    """Local and remote; None where the count is a sum over several of them."""
    if not error.socket.remote_address:
        return None, None
    return None if error.sockets > 1 else local(error.socket), remote(error.socket)


def _socket(socket: Socket) -> str:
    # A connection that ended before it was accepted never had an inode.
    return f"socket-{socket.inode}" if socket.inode else socket.interface or UNKNOWN_INTERFACE

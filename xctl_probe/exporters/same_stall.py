"""Which records are of the same stall: one that lasts has a record in each interval."""

from __future__ import annotations

from xctl_probe.events import Direction, Stall

NS_PER_MS = 1_000_000

StallKey = tuple[int, str | None, int | None, Direction, str, int, str, int]


def stall_key(stall: Stall) -> StallKey:
    """Return what two stalls at the same time never have in common.

    The process of a socket may be found after its first record.
    """
    socket = stall.socket
    return (
        socket.inode,
        socket.interface if not socket.inode else None,
        pid_of(stall) if not socket.inode else None,
        stall.direction,
        socket.local_address,
        socket.local_port,
        socket.remote_address,
        socket.remote_port,
    )


def pid_of(stall: Stall) -> int | None:
    """Return the pid alone: a process may rename itself meanwhile."""
    return stall.owner.pid if stall.owner else None


def is_another(seen_ms: int, duration_ns: int, pid: int | None, stall: Stall, ts_ms: int) -> bool:
    """True where a record of `ts_ms` is not of the stall with that key and that last record.

    `seen_ms`, `duration_ns` and `pid` are those of the last record.
    """
    if pid is not None and pid_of(stall) not in (pid, None):
        return True  # the socket has changed hands
    if stall.ongoing:
        return ts_ms - stall.duration_ns // NS_PER_MS >= seen_ms
    # A record of a stall that is over comes up to an interval later, so its begin is not known.
    return stall.duration_ns < duration_ns

"""Waits of the threads of a process, by the socket that each waits on."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, replace
from itertools import islice

from xctl_probe.commands.why.threads import Thread
from xctl_probe.linux.procfs import link, socket_inode
from xctl_probe.linux.syscalls import Call, Role, Watched

_MOST_LINKS = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiter:
    """Waits of the process on one socket.

    `exclusive`: a thread can continue only through this socket: it is in a call on it, or polls no
    other socket.  `spins`: no thread is in a call on it, and one runs all the time; `calls`: much
    of that in system calls.  `naps`: no thread is in a call on any, and one wakes up often.
    `only`: the poll has no other descriptor; `gives_up`: it has a timeout.  `first`: the first
    thread is the one, or one of them.  `still`: the thread sleeps in the call at both samples.
    """

    reads: bool = False
    writes: bool = False
    accepts: bool = False
    exclusive: bool = False
    ms: float | None = None  # for how long that thread has not run
    spins: bool = False
    calls: bool = False
    only: bool = False
    gives_up: bool = False
    naps: bool = False
    first: bool = False
    still: bool = False

    def plus(self, other: Waiter) -> Waiter:
        """Return the waits of two threads on the same socket as one."""
        return Waiter(
            reads=self.reads or other.reads,
            writes=self.writes or other.writes,
            accepts=self.accepts or other.accepts,
            exclusive=self.exclusive or other.exclusive,
            ms=other.ms if self.ms is None else self.ms,
            only=self.only or other.only,
            gives_up=self.gives_up or other.gives_up,
            first=self.first or other.first,
            still=self.still or other.still,
        )


def waiters(
    waiting: list[tuple[Thread, Call]],
    fds: dict[int, int],
    network: set[int],
    sleepers: Container[int] = (),
) -> dict[int, Waiter]:
    """Return the waits by inode; `fds` is descriptor by inode, `network` has those of TCP, UDP.

    `sleepers` are the threads that sleep in their call at both samples.
    """
    inodes = {fd: inode for inode, fd in fds.items()}
    found: dict[int, Waiter] = {}
    for thread, call in waiting:
        watched = {inodes[w.fd]: w for w in call.watched if inodes.get(w.fd) in network}
        direct = call.role not in (Role.POLL, Role.EPOLL)
        alone = direct or (call.role is Role.POLL and len(watched) == 1 and not call.cut)
        only = not direct and len(call.watched) == 1 and not call.cut
        for inode, watch in watched.items():
            waiter = Waiter(
                reads=watch.reads,
                writes=watch.writes,
                accepts=call.role is Role.ACCEPT,
                exclusive=alone,
                ms=thread.idle_ms if alone else None,
                only=only,
                gives_up=call.gives_up,
                first=thread.first,
                still=thread.tid in sleepers,
            )
            found[inode] = found[inode].plus(waiter) if inode in found else waiter
    return found


def by_first_descriptors(call: Call, fds: dict[int, int], reader: int) -> Call:
    """Return the call with the lowest descriptor of each socket, which the others go by.

    After dup(2), as inetd's 0, 1 and 2 are, it may watch another one; an epoll instance may have
    one that was closed then.
    """
    known = set(fds.values())
    unknown = islice((w.fd for w in call.watched if w.fd not in known), _MOST_LINKS)
    inodes = {fd: socket_inode(link(f"/proc/{reader}/fd/{fd}")) for fd in unknown}
    inodes |= {w.fd: w.inode for w in call.watched if w.inode in fds}
    first = {fd: fds[inode] for fd, inode in inodes.items() if inode in fds}
    if not first:
        return call
    watched: dict[int, Watched] = {}
    for one in call.watched:
        fd = first.get(one.fd, one.fd)
        before = watched.get(fd, one)
        watched[fd] = Watched(fd, one.reads or before.reads, one.writes or before.writes)
    return replace(call, watched=tuple(watched.values()))

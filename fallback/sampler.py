"""The sampler: reads all TCP sockets once an interval and in between, without privilege."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from xctl_probe.errors import SourceUnavailable, is_shortage
from xctl_probe.events import Batch, Event, Socket, Stall
from xctl_probe.fallback.proc_net import ProcNet
from xctl_probe.fallback.sock_diag import SockDiag
from xctl_probe.fallback.socket_table import SocketTable
from xctl_probe.figures import Reading, SourceFigures
from xctl_probe.linux.addresses import InterfaceByAddress
from xctl_probe.linux.barred import Barred
from xctl_probe.linux.budget import SHARE, Budget, scaled
from xctl_probe.linux.heap import give_back_memory
from xctl_probe.linux.owner_search import Search
from xctl_probe.linux.owners_aside import OwnersAside
from xctl_probe.linux.processes_aside import ProcessesAside
from xctl_probe.linux.socket_lookup import SocketLookup, SocketSnapshot
from xctl_probe.linux.tcp_activity import TcpActivity
from xctl_probe.stalls.ignored_peers import IgnoredPeers
from xctl_probe.stalls.peer_inspector import PeerInspector
from xctl_probe.stalls.peer_processes import PeerProcesses
from xctl_probe.stalls.reply_waits import ReplyWaits

# Between two intervals it samples as often as this share of a core allows, to find the owners of
# short connections and the lengths of short stalls.
_CPU_SHARE = 0.008  # below 1 % in total
_FINEST_NS = 25_000_000
# CPU time that was not used, in ns: connections that are made may use all of it, so that also one
# of many milliseconds has its owner; for anything else only what is above the reserve is used.
_MOST_CREDIT_NS, _RESERVE_NS = 16_000_000, 12_000_000
_LARGEST_CREDIT_NS = 800_000_000  # with a large budget for reads of /proc
_MOST_WANTED = 1 << 20  # owners: there are as many as connections


class _Sockets(Protocol):
    @property
    def rests(self) -> bool:
        """True where a sample shows nothing new until a segment moves."""

    @property
    def has_unaccepted(self) -> bool:
        """True where a connection waits in the queue of a listener: its owner is not known yet."""

    def note_unchanged(self, now_ns: int) -> None:
        """Note that a sample would show what the last one has shown, but later."""

    def sample(self, now_ns: int) -> None: ...

    def collect(self, now_ns: int, interval_ns: int) -> Iterator[Event]: ...

    def counts(self) -> dict[str, int]: ...


class Sampler:
    """Source for any user: sock_diag, or /proc/net where sock_diag is refused.

    `stall_ns` is the stall length, `reply_ns` that of reply waits where it is longer,
    `interval_ns` the time between two drains; `ignored_peers` has the peers whose reply waits are
    excluded; `proc_share` is the part of a core for reads of /proc about owners and peers; without
    `stalls`, none are searched for.  Raises SourceUnavailable where neither sock_diag nor /proc/net
    can be read.
    """

    def __init__(
        self,
        interfaces: InterfaceByAddress,
        *,
        stall_ns: int,
        reply_ns: int = 0,
        interval_ns: int,
        ignored_peers: IgnoredPeers | None = None,
        proc_share: float = SHARE,
        sock_diag: bool = True,
        stalls: bool = True,
    ) -> None:
        self.name = "sampler"
        self.refused: str | None = None if sock_diag else "--no-sock-diag was given"
        self._interval_ns = interval_ns
        self._drained_ns = 0
        self._counting_ns: int | None = time.monotonic_ns()  # since then, until the first drain
        self._samples = 0
        self._has_drained, self._poll_ns = True, 0  # since the last poll; what a poll costs
        # A command that answers once, with a large budget, samples whenever it polls.
        self._most_credit_ns = scaled(_MOST_CREDIT_NS, proc_share, _LARGEST_CREDIT_NS)
        self._credit_ns, self._credited_ns = self._most_credit_ns, time.monotonic_ns()
        self._activity = TcpActivity()
        budget, barred = Budget(proc_share), Barred()
        self._processes = ProcessesAside(budget, barred=barred)
        search = Search(budget, barred=barred, most_wanted=_MOST_WANTED, notes_finished=True)
        self._owners = OwnersAside(search, barred)
        self._owners.allow_first_search()
        self._diag: SockDiag | None = None
        self._lookup: SocketLookup | None = None
        self._peers = PeerProcesses(self._peer_socket, self._owners, self._processes)
        self._sockets: _Sockets
        if sock_diag:
            try:
                self._diag, self._lookup = SockDiag(), SocketLookup()
                peers = PeerInspector(self._lookup, self._owners, self._processes, shared=True)
                replies = ReplyWaits(stall_ns, ignored_peers, peers, reply_ns, forget=True)
                self._sockets = SocketTable(
                    self._diag, self._owners, interfaces, stall_ns, self._processes, replies,
                    stalls=stalls,
                )  # fmt: skip
                self._sockets.sample(time.monotonic_ns())
                give_back_memory()  # all sockets are new in it
            except OSError as error:
                self.refused = f"sock_diag is refused here ({error.strerror})"
                self._close_netlink()
        if self._diag is None:
            self._open_proc_net(interfaces, stall_ns, stalls=stalls)
        self._spent_ns = time.process_time_ns() + self._processes.spent_ns  # the start is free

    def _open_proc_net(
        self, interfaces: InterfaceByAddress, stall_ns: int, *, stalls: bool
    ) -> None:
        self._sockets = ProcNet(self._owners, interfaces, stall_ns, self._processes, stalls=stalls)
        try:
            self._sockets.sample(time.monotonic_ns())
        except OSError as error:
            self.close()
            raise SourceUnavailable(
                f"neither sock_diag nor /proc/net can be read here ({error.strerror}); "
                "mount /proc, or allow AF_NETLINK sockets"
            ) from error

    @property
    def description(self) -> str:
        """Text for the start line: what the source in use observes."""
        if self._diag is not None:
            return "sock_diag: TCP by process; UDP only by interface"
        return f"/proc/net only, {self.refused}: stalls, but no bytes by process"

    def fileno(self) -> int | None:
        """None: the source has no descriptor to wait for."""
        return None

    def poll(self, now_ns: int) -> int:
        """Sample once where something has changed; return the time of the next poll.

        Both times are monotonic, in ns.  All of it takes `_CPU_SHARE` of a core in the long run.
        Raises SourceUnavailable when the kernel stops answering.
        """
        # What an interval of many sockets costs is no reason to miss all connections for a minute.
        cost_ns = self._credit(now_ns, least_ns=-_MOST_CREDIT_NS)
        if not self._has_drained:
            self._poll_ns = cost_ns
        self._has_drained = False
        if self._is_due(now_ns):
            self._activity.take()
            self._samples += 1
            with _kernel_answers():
                self._sockets.sample(now_ns)
            self._credit(now_ns)
        # Polls that find nothing take half of the share at most: the rest is for samples.
        rest_ns = max(2 * self._poll_ns, -self._credit_ns) / _CPU_SHARE
        return now_ns + max(int(rest_ns), _FINEST_NS)

    def _is_due(self, now_ns: int) -> bool:
        if self._credit_ns <= 0:
            return False
        activity = self._activity.changes()
        if activity.opened or self._sockets.has_unaccepted:
            return True
        if not activity.moved and self._sockets.rests:
            self._sockets.note_unchanged(now_ns)
            return False
        return self._credit_ns >= _RESERVE_NS

    def _credit(self, now_ns: int, least_ns: int | None = None) -> int:
        """Add the time since the last call, and subtract what was spent, down to `least_ns`.

        Writing and draining cost, too, and what the helper reads.  Returns what was spent, in ns.
        """
        spent_ns = time.process_time_ns() + self._processes.spent_ns
        cost_ns, self._spent_ns = spent_ns - self._spent_ns, spent_ns
        earned_ns = int(max(now_ns - self._credited_ns, 0) * _CPU_SHARE)
        self._credited_ns = now_ns
        credit_ns = self._credit_ns + earned_ns
        owed_ns = cost_ns if least_ns is None else min(cost_ns, max(credit_ns - least_ns, 0))
        self._credit_ns = min(credit_ns - owed_ns, self._most_credit_ns)
        return cost_ns

    def drain(self, now_ns: int) -> Batch:
        """Return the events since the last drain.  Raises SourceUnavailable as `poll` does."""
        interval_ns = now_ns - self._drained_ns if self._drained_ns else self._interval_ns
        self._drained_ns = now_ns
        self._has_drained = True
        self._activity.take()
        with _kernel_answers():
            events = list(self._sockets.collect(now_ns, interval_ns))
        since_ns, self._counting_ns = self._counting_ns, None
        return Batch(now_ns, self._with_peers(events), since_ns, has_bytes=self._diag is not None)

    def figures(self) -> Reading:
        """Return what the sampler keeps: all of it is counted already."""
        yield
        return SourceFigures(
            features={"sock_diag": self._diag is not None},
            rejected=(self.refused,) if self.refused else (),
            counts={"samples": self._samples, **self._sockets.counts()},
        )

    def _with_peers(self, events: list[Event]) -> list[Event]:
        """Return the events, in which the stalls have their peers."""
        stalls = [event for event in events if isinstance(event, Stall)]
        if not stalls or self._lookup is None:
            return events
        named = iter(self._peers.named(stalls))
        return [next(named) if isinstance(event, Stall) else event for event in events]

    def _peer_socket(self, of: Socket, _tried: set[int]) -> SocketSnapshot | None:
        return self._lookup.peer_socket(of) if self._lookup else None

    def close(self) -> None:
        """Give the netlink sockets back, and let the readers of /proc end."""
        self._close_netlink()
        self._activity.close()
        self._owners.close()
        self._processes.close()

    def _close_netlink(self) -> None:
        if self._diag is not None:
            self._diag.close()
            self._diag = None
        if self._lookup is not None:
            self._lookup.close()
            self._lookup = None


@contextmanager
def _kernel_answers() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if is_shortage(error) and error.filename is not None:
            raise  # by a file, not by the kernel's sockets: the loop tries again
        raise SourceUnavailable(
            f"sock_diag stopped answering ({error.strerror}); restart the probe"
        ) from error

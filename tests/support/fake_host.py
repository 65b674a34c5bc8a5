"""All connections of a host without a host: what its kernel and its /proc would show."""

from __future__ import annotations

import struct

from support.fake_peer import FakePeer
from support.tcp_model import CLOSE, INODE, MS, OWNER, UID, Tcp
from xctl_probe.events import Process, Stall, TrafficDelta
from xctl_probe.fallback import owner_cache
from xctl_probe.fallback.sock_diag import TCPDIAG_GETSOCK
from xctl_probe.fallback.socket_table import SocketTable
from xctl_probe.linux.socket_waits import SocketWaits
from xctl_probe.stalls.peer_inspector import PeerState
from xctl_probe.stalls.reply_waits import ReplyWaits

INTERVAL_NS = 1_000 * MS
OTHER = Process(239, 7_013, "other")


def framed(payload, kind=TCPDIAG_GETSOCK):
    """One netlink message, padded."""
    head = struct.pack("=IHHII", 16 + len(payload), kind, 2, 1, 0)
    return head + payload + bytes(-len(payload) % 4)


class Diag:
    """Stands in for the kernel: the sockets there are, and those whose end it announces."""

    def __init__(self):
        self.open: list[Tcp] = []
        self.ended: list[bytes] = []
        self.overruns = 0

    def chunks(self):
        """Two chunks: what is in one must not matter."""
        messages = [framed(tcp.message()) for tcp in self.open]
        for part in (messages[:1], messages[1:]):
            if part:
                yield memoryview(b"".join(part))

    def destroyed(self):
        ended, self.ended = self.ended, []
        return iter(ended)


class Owners:
    """Stands in for /proc/<pid>/fd: who holds which inode now."""

    def __init__(self):
        self.now = {INODE: OWNER}
        self.found: dict[int, Process] = {}
        self.searches: list[set[int]] = []
        self.pending: set[int] = set()
        self.asked: set[int] = set()
        self.slow = False  # then no search is over

    def begin(self):
        pass

    def get(self, inode):
        return self.found.get(inode)

    def stale(self, inodes):
        held = {i for i in inodes if i in self.found and self.now.get(i) == self.found[i]}
        return set(inodes) - held

    def search_for(self, askers):
        inodes = set(askers)
        self.asked |= inodes
        if inodes:
            self.searches.append(inodes)
        if self.slow:
            self.pending |= inodes
            return set(self.pending)
        inodes |= self.pending
        self.pending.clear()
        self.found.update({i: self.now[i] for i in inodes if i in self.now})

        return set()

    def finished(self):
        over, self.asked = self.asked - self.pending, self.asked & self.pending
        return list(over)

    @property
    def is_searching(self):
        return bool(self.pending)

    def is_pending(self, inode):
        return inode in self.pending

    def forget(self, inodes):
        self.pending -= set(inodes)
        for inode in inodes:
            self.found.pop(inode, None)


class Processes:
    """Stands in for what processes show: nothing."""

    def begin(self):
        pass

    def waits(self, _pid, _what):
        return SocketWaits()


class Interfaces:
    def __init__(self):
        self.name, self.changed = "eth0", False

    def of(self, *_):
        return self.name

    def refresh(self):
        changed, self.changed = self.changed, False
        return changed


class World:
    def __init__(self, monkeypatch, uid=UID, replies=None):
        monkeypatch.setattr(owner_cache.os, "geteuid", lambda: uid)
        self.diag, self.owners, self.now_ms = Diag(), Owners(), 0
        self.interfaces = Interfaces()
        self.other_end = FakePeer(PeerState.BUSY)
        replies = replies or ReplyWaits(100 * MS, other_end=self.other_end)
        self.connections = SocketTable(
            self.diag, self.owners, self.interfaces, 100 * MS, Processes(), replies
        )

    def _to(self, now_ms):
        for tcp in self.diag.open:
            tcp.at(max(now_ms, tcp.now_ms))
        return Tcp().at(now_ms).now_ns

    def take_sample(self, now_ms):
        self.connections.sample(self._to(now_ms))

    def collect(self, now_ms):
        return list(self.connections.collect(self._to(now_ms), INTERVAL_NS))

    def rows(self, column):
        """The values of a column, of all sockets that are kept, by cookie."""
        rows = self.connections._rows
        return rows.array[rows.numbers][column]

    def closes(self, tcp):
        """The process closes, the kernel announces: no inode any more, and a closed state."""
        self.diag.open.remove(tcp)
        tcp.state, tcp.inode = CLOSE, 0
        self.diag.ended.append(tcp.message())


def with_connection(world, tcp=None):
    tcp = tcp or Tcp()
    world.diag.open.append(tcp)
    world.take_sample(1)
    assert world.collect(2) == []
    return tcp


def traffic(events):
    return [
        (f.owner, f.sent_bytes, f.received_bytes) for f in events if isinstance(f, TrafficDelta)
    ]


def stalls(events):
    return [f for f in events if isinstance(f, Stall)]

"""One reply wait on paper, whose peer shows what the test wants."""

from __future__ import annotations

from support.fake_peer import FakePeer
from xctl_probe.events import Process, Socket
from xctl_probe.stalls.ignored_peers import IgnoredPeers
from xctl_probe.stalls.reply_waits import ReplyWait, ReplyWaits
from xctl_probe.stalls.request_history import RequestHistory

MS = 1_000_000
STALL_MS = 100
CLIENT, SERVER = Process(233, 7_001, "client"), Process(239, 7_003, "server")
PORT = 6_379


class Scene:
    """One wait on one socket, sampled now and then; times in ms.

    Stalls that are only probable are among those it returns with `probable`.
    """

    def __init__(self, *peers, usual=None, probable=False):
        self.probable = probable
        self.peer = FakePeer(process=SERVER)
        self.replies = ReplyWaits(STALL_MS * MS, IgnoredPeers.of(peers), self.peer)
        self.usual = usual or RequestHistory(answered=8)
        self.since_ms = 0

    def asked(
        self, inode=1, owner=CLIENT, delivered=None, since_ms=None, protocol="tcp", **evidence
    ):
        socket = Socket(inode, 7, protocol, "10.0.0.7", 40_009, "10.0.0.11", PORT)
        since_ms = self.since_ms if since_ms is None else since_ms
        return ReplyWait(socket, since_ms * MS, owner, self.usual, delivered, **evidence)

    def take_sample(self, now_ms, shows=None, **asked):
        self.peer.shows = shows or self.peer.shows
        self.replies.begin_sample()
        return self._begin(self.replies.observe(self.asked(**asked), now_ms * MS))

    def end(self, end_ms, **asked):
        return self._begin(self.replies.close(self.asked(**asked), end_ms * MS))

    def _begin(self, stall):
        wanted = stall is not None and (self.probable or not stall.probable)
        return stall.since_ns // MS if wanted else None

"""A connection on paper for the sampler's rules, and what they find."""

from __future__ import annotations

import numpy as np

from support.fake_peer import FakePeer
from support.tcp_model import BOOT_NS, MS, OWNER, SOCKET, Tcp
from xctl_probe.events import Cause, Direction, Process
from xctl_probe.fallback.connection import Wait, connection_of, keep
from xctl_probe.fallback.message_arrays import messages_from
from xctl_probe.fallback.progress import first_seen, observe
from xctl_probe.fallback.row import ROW, Times
from xctl_probe.fallback.stall_detector import StallDetector
from xctl_probe.fallback.thread_evidence import Blocked
from xctl_probe.stalls.peer_inspector import PeerState
from xctl_probe.stalls.reply_waits import ReplyWaits
from xctl_probe.stalls.request_history import RequestHistory

STALL_MS = 100
PART_MS = 200
TID = 239


class Threads:
    """What the process shows: a blocked thread or event loop for either way, or neither."""

    def __init__(self):
        self.sending: Blocked | None = None
        self.receiving: Blocked | None = None
        self.closing: Blocked | None = None
        self.asked = 0  # how often about receiving

    def of_sending(self, _connection):
        return self.sending

    def of_closing(self, _connection):
        return self.closing

    def of_receiving(self, _connection):
        self.asked += 1
        return self.receiving


class Scene:
    """A connection that is sampled; `tcp` is what happens to it meanwhile.

    Waits that are only probable are among those it returns with `probable`.
    """

    def __init__(self, tcp=None, peer=None, *, probable=False):
        self.probable = probable
        self.tcp = tcp or Tcp()
        self.threads = Threads()
        self.other_end = FakePeer(PeerState.BUSY)
        replies = ReplyWaits(STALL_MS * MS, other_end=self.other_end)
        self.detector = StallDetector(STALL_MS * MS, self.threads, replies)
        self.rows, self.peer = np.zeros(1, ROW), peer or RequestHistory()
        self.owner: Process | None = OWNER
        self.last_sample_ns = 0
        self._count(first_seen(self.rows, self._fields(), self._times()))
        self.connection = self._connection()
        self._update()

    def take_sample(self, now_ms):
        """The wait that a sample at this time finds."""
        self.tcp.at(now_ms)
        self._count(observe(self.rows, self._fields(), self._times()))
        wait, ended = self.connection.wait, self.connection.ended
        self.connection = self._connection()
        self.connection.wait, self.connection.ended = wait, ended
        self._update()
        wait = self.connection.wait
        return wait if wait and (self.probable or not wait.probable) else None

    @property
    def idle(self):
        """Nothing can become of it without new activity."""
        return not self.rows["active"][0] and self.connection.wait is None

    def _update(self):
        self.detector.update(self.connection, self.owner, self.tcp.now_ns)
        keep(self.rows[0], self.connection)
        self.last_sample_ns = self.tcp.now_ns

    def _connection(self):
        return connection_of(self.rows[0], self.tcp.sample(), SOCKET, self.peer)

    def _fields(self):
        return messages_from([self.tcp.message()]).fields

    def _times(self):
        return Times(self.tcp.now_ns, self.last_sample_ns, STALL_MS * MS)

    def _count(self, turns):
        for waited_ns, end_ns in turns.late.values():
            self.peer.record_latency(waited_ns, STALL_MS * MS, end_ns)
        self.peer.answered += len(turns.answered)
        self.peer.unanswered += len(turns.unanswered)

    def stalls(self):
        """(direction, ms, cause) of each stall that ended since the last call."""
        ended, self.connection.ended = self.connection.ended, []
        assert all(s.owner == OWNER and s.socket == SOCKET and not s.ongoing for s in ended)
        assert all(s.duration_ns % MS == 0 for s in ended)
        return [(s.direction, s.duration_ns // MS, s.cause) for s in ended]


def since(ms):
    return BOOT_NS + ms * MS


def waits(direction, since_ms, cause, tid=None):
    return Wait(direction, since(since_ms), cause, tid)


SEND, RECEIVE, CONNECT = Direction.SEND, Direction.RECEIVE, Direction.CONNECT
NO_REPLY = Cause.NO_REPLY


def answered_once(peer=None, tick_ms=1):
    """A client whose first request, of 7 bytes at 10 ms, was answered at 31 ms."""
    scene = Scene(Tcp(tick_ms=tick_ms), peer)
    scene.tcp.at(10).send(53)
    scene.take_sample(20)
    scene.tcp.at(31).receive(13)
    scene.take_sample(40)
    return scene


def conversation(exchanges):
    """A client that was answered as often, each time 11 ms after a request every 100 ms."""
    scene = Scene()
    for n in range(1, exchanges + 1):
        scene.tcp.at(n * 100).send(53)
        scene.take_sample(n * 100 + 3)
        scene.tcp.at(n * 100 + 11).receive(13)
        scene.take_sample(n * 100 + 13)
    assert scene.connection.history == RequestHistory(exchanges, 0)
    return scene


def full_sender(**options):
    """A sender whose buffer was seen full at 60 ms; its last segment went out at 53 ms."""
    scene = Scene(Tcp(**options))
    scene.take_sample(50)
    scene.tcp.at(53).send(1_009, acked=False).fill(80_021)
    scene.take_sample(60)
    return scene


def download(parts, each_bytes):
    """A transfer after a pause: its parts arrive at 399 ms, 599 ms and so on."""
    scene = answered_once()
    scene.take_sample(200)
    for n in range(1, parts + 1):
        now_ms = 200 + n * PART_MS
        scene.tcp.at(now_ms - 1).receive(each_bytes, segments=101)
        scene.take_sample(now_ms)
    return scene

"""The kernel's records of waits, made by hand, and what is reported of them."""

from __future__ import annotations

from support.fake_peer import FakePeer
from xctl_probe.ebpf import stall_tracker
from xctl_probe.ebpf.abi import RECORD, Evidence, Kind, RawEvent, StallDirection
from xctl_probe.ebpf.stall_policy import cause
from xctl_probe.ebpf.stall_tracker import StallTracker
from xctl_probe.events import Cause
from xctl_probe.stalls.ignored_peers import IgnoredPeers
from xctl_probe.stalls.peer_inspector import PeerState
from xctl_probe.stalls.request_history import RequestHistory

MS = 1_000_000
STALL_MS = 100
BEGAN_MS = 7_000_003  # when what the tests call 0 is, on the kernel's clock
NETNS, ELSEWHERE = 4_026_531_840, 4_026_532_233
CLIENT, OTHER = 233, 239
PORT = 6_379
SEND, RECEIVE, CONNECT = StallDirection
NO_REPLY = Cause.NO_REPLY
IN_RECV = Evidence.OPENED | Evidence.BLOCKED
ANSWERED = IN_RECV | Evidence.DATA


def record(kind, now_ms, since_ms=0, *, seen=IN_RECV, direction=RECEIVE, **fields):
    """What the kernel writes of one socket; two with the same inode are of one socket."""
    known = {"inode": 7, "netns": NETNS, "pid": CLIENT, "protocol": 6, "family": 2}
    finished = {"remote_address": bytes((10, 0, 0, 11)) + bytes(12), "remote_port": PORT}
    wait = {"time_ns": (BEGAN_MS + now_ms) * MS, "span_ns": (now_ms - since_ms) * MS}
    blank = RawEvent._make(RECORD.unpack(bytes(RECORD.size)))
    return blank._replace(
        kind=kind, direction=direction, evidence=seen, **known | finished | wait | fields
    )


def lasts(now_ms, since_ms=0, **fields):
    return record(Kind.ONGOING, now_ms, since_ms, **fields)


def finished(now_ms, since_ms=0, **fields):
    return record(Kind.STALL, now_ms, since_ms, **fields)


class Scene:
    """The kernel's records come in."""

    def __init__(self, *ignored_peers, reply_ms=STALL_MS):
        self.peer, self.endpoint = FakePeer(PeerState.UNREAD), RequestHistory()
        self.made = 0  # rules, one for each namespace
        self.reply_ms, self.asked = reply_ms, set()
        stall_ns = STALL_MS * MS
        self.waits = StallTracker(
            stall_ns, IgnoredPeers.of(ignored_peers), lambda _record: self.endpoint, cause,
            reply_ns=reply_ms * MS,
        )  # fmt: skip

    def other_end(self, *_, **__):
        self.made += 1
        return self.peer

    def take_sample(self, *records):
        found = self.waits.observe(list(records), self._late(records))
        return [self._reported(reported) for reported in found]

    def drain(self, now_ms, *records, received=()):
        """`received` has the last data of connections, which came in this drain."""
        now_ns = (BEGAN_MS + now_ms) * MS
        self.begin_drain()
        self.waits.answers.note(one for one in received if one.pid in self.asked)
        found = self.waits.drain(list(records), self._late(records), now_ns)
        return [self._reported(reported) for reported in found]

    def begin_drain(self):
        self.waits.answers.ask(self)

    def ask(self, pids):
        """As `AskedProcesses`, with room for all."""
        self.asked = pids
        return pids

    def _late(self, records):
        return {one.cookie for one in records if one.span_ns >= self.reply_ms * MS}

    def end(self, *args, **fields):
        reported = self.waits.on_end(finished(*args, **fields))
        return reported and self._reported(reported)

    @staticmethod
    def _reported(reported):
        kind = {Kind.ONGOING: "lasts", Kind.STALL: "over"}[reported.record.kind]
        probably = "probably " if reported.probable else ""
        return f"{probably}{kind}", reported.record.span_ns / MS, reported.cause


def entered(monkeypatch, *ignored_peers, **lengths):
    """A scene whose peers the probe finds in place of the host's."""
    scene = Scene(*ignored_peers, **lengths)
    monkeypatch.setattr(stall_tracker, "PeerInspector", scene.other_end)
    return scene

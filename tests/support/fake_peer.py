"""A peer that shows what the test wants, in place of an inspector of the host's."""

from __future__ import annotations

from xctl_probe.events import Process, Socket
from xctl_probe.linux.process_activity import Activity, OwnActivity, Work
from xctl_probe.stalls.peer_inspector import PeerObservation, PeerState


class FakePeer:
    """The peer of everything; `asked` has, for each inspection, whether the request was known
    to be delivered.
    """

    def __init__(
        self, shows: PeerState = PeerState.UNKNOWN, process: Process | None = None
    ) -> None:
        self.shows = shows
        self.process = process
        self.listens = self.late = False
        self.own = OwnActivity(Activity.WAITING_ON_SOCKET)  # of the process that waits
        self.works: dict[int, int] | None = {}  # CPU time by thread of the peer, ns
        self.begun = 0
        self.asked: list[bool | None] = []

    def begin_sample(self) -> None:
        self.begun += 1

    def inspect(
        self, _socket: Socket, past: PeerObservation, *, delivered: bool | None = None
    ) -> PeerState:
        self.asked.append(delivered)
        past.peer, past.late = self.process, self.late
        past.state = PeerState.REQUEST_IN_FLIGHT if delivered is False else self.shows
        return past.state

    def own_activity(self, _pid: int, _inode: int, _since_ns: int) -> OwnActivity:
        return self.own

    def work(self, _pid: int) -> Work | None:
        return None if self.works is None else Work(self.works)

    def keeps_listening(self, _socket: Socket) -> bool:
        return self.listens

"""What a peer does with a request that it has read, while its event loop is idle.

A proxy waits for a reply itself; others hand the request to a thread.  The rules are those of
`xctl_probe/stalls/reply_waits.py` and `xctl_probe/stalls/peer_work.py`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

from xctl_probe.commands.why.peers import INODE, LOCAL_PORT, STATE, peers_of
from xctl_probe.commands.why.proc_sampler import socket_fds
from xctl_probe.commands.why.sockets import Peer
from xctl_probe.fallback.sock_diag import ESTABLISHED, LISTEN, SYN_SENT, TcpSample, decode
from xctl_probe.linux.addresses import endpoint_text
from xctl_probe.linux.process_activity import Processes, Work, worked_ns
from xctl_probe.linux.tasks import reader_of
from xctl_probe.stalls.peer_work import COMPUTES
from xctl_probe.stalls.policy import TICK_MS

_MOST_HOPS = 4  # from proxy to proxy
_MOST_REQUESTS = 8  # of one proxy
_BETWEEN_S = 0.2


@dataclass(frozen=True, slots=True)
class Upstream:
    """The sockets of one dump.  `stall_ms`: a proxy asks on so soon.

    `own` is the process that is explained: who waits for it in the end is no reason for its wait.
    """

    messages: list[bytes]
    stall_ms: int
    own: int | None = None

    def awaited(
        self, pid: int, ms: float, *, transfer: bool = False, hops: int = _MOST_HOPS
    ) -> str | None:
        """Return the address that an idle process waits for itself; None for none.

        `ms` is how long ago it was asked; of a `transfer`, how long ago it sent the last data.
        Whom it waits for is not idle, too, unless that one waits itself.
        """
        matches = self._broke_off if transfer else self._asks
        found = (one for one in self._opened(pid) if matches(one, ms))
        samples = list(islice(found, _MOST_REQUESTS))
        peers = peers_of(samples, self.messages) if samples else {}  # one pass over /proc
        for sample in samples:
            peer = peers.get(sample.inode)
            address = endpoint_text(sample.remote_address, sample.remote_port)
            if peer is None or peer.pid is None:
                if transfer:
                    continue  # what came may be all of it
                return address
            if peer.pid == self.own:
                continue
            if not peer.listens:
                return address
            if hops and peer.pid != pid:
                info = sample.info
                before_ms = float(info.last_data_recv_ms if transfer else info.last_data_sent_ms)
                if self.awaited(peer.pid, before_ms, transfer=transfer, hops=hops - 1):
                    return address
        return None

    def _opened(self, pid: int) -> Iterator[TcpSample]:
        """Yield the sockets with nothing unread that the process has opened."""
        try:
            held = {inode.to_bytes(4, "little") for inode in socket_fds(reader_of(pid))}
        except OSError:
            return
        listening = {one[LOCAL_PORT] for one in self.messages if one[STATE] == LISTEN}
        for message in self.messages:
            if message[INODE] not in held or message[LOCAL_PORT] in listening:
                continue
            one = decode(message)
            if one is not None and not one.rqueue:
                yield one

    def _asks(self, sample: TcpSample, asked_ms: float) -> bool:
        """True where the process asked on as soon as it was asked, in vain so far."""
        info = sample.info
        if sample.state != ESTABLISHED:
            return sample.state == SYN_SENT
        sent_ms = info.last_data_sent_ms
        if not info.data_segs_out or not asked_ms - self.stall_ms < sent_ms <= asked_ms + TICK_MS:
            return False
        return not info.data_segs_in or info.last_data_recv_ms > sent_ms

    def _broke_off(self, sample: TcpSample, passed_on_ms: float) -> bool:
        """True where the last data came at about the time when the process passed some on."""
        if sample.state != ESTABLISHED or not sample.info.data_segs_in:
            return False
        return abs(sample.info.last_data_recv_ms - passed_on_ms) < self.stall_ms


def with_work(peers: dict[int, Peer]) -> dict[int, Peer]:
    """Return the peers with whether other threads than those of their event loops compute."""
    pids = {peer.pid for peer in peers.values() if peer.pid is not None}
    if not pids:
        return peers
    first = {pid: Processes().work(pid) for pid in pids}
    time.sleep(_BETWEEN_S)
    computing = {pid for pid, before in first.items() if _computes(before, Processes().work(pid))}
    return {i: replace(peer, computes=peer.pid in computing) for i, peer in peers.items()}


def _computes(before: Work, now: Work) -> bool:
    return worked_ns(now, before) >= COMPUTES * (now.read_ns - before.read_ns)

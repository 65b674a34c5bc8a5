"""The graph of waits on this host, from the stalls of this moment to where they lead.

A source reports a stall only where its evidence decides.  A process that others wait for is
therefore explained as `why` does it, and its own waits continue the trail.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from xctl_probe.commands.blame.activity import HELD, activity_of, unseen_of
from xctl_probe.commands.blame.graph import Graph, Member, Node, Outside, Wait
from xctl_probe.commands.blame.rdma import RdmaUse, Sign
from xctl_probe.commands.why.diagnose import Diagnosis
from xctl_probe.commands.why.equals.lockstep import WAITS_ASIDE, Held, note
from xctl_probe.commands.why.findings.finding import Finding
from xctl_probe.commands.why.sockets import Tcp
from xctl_probe.errors import ProbeError
from xctl_probe.events import Cause, Direction, Process, Stall
from xctl_probe.linux.addresses import endpoint_text
from xctl_probe.linux.procfs import read_process
from xctl_probe.linux.thread_states import ThreadStates
from xctl_probe.stalls.peer_inspector import PeerState, seen_from_here

_MOST_EXPLAINED = 16  # processes that are explained
_AT_ONCE = 4
_MOST_STEPS = 4  # of a trail that no source has reported
_SENDS = (Cause.PEER_WINDOW, Cause.SEND_BUFFER, Cause.PACING, Cause.LOCAL_DROP)
_UNREAD = ", and has not read what was sent to it"

Explain = Callable[[int], Diagnosis]


class HostTrail:
    """Waits and processes, from the stalls to where they lead.

    `explain` explains one process, and raises ProbeError where that is refused.
    """

    def __init__(self, explain: Explain, states: ThreadStates) -> None:
        self._explain = explain
        self._states = states
        self.waits: list[Wait] = []
        self.members: dict[int, Member] = {}
        self.notes: list[str] = []
        self.silent: Held | None = None
        self.unseen: str | None = None
        self._explained: set[int] = set()

    def waits_of(self, pid: int) -> list[Wait]:
        """Return the waits of this process."""
        return [wait for wait in self.waits if wait.waiter == pid]

    def waiting(self, pid: int, among: Iterable[int]) -> set[int]:
        """Return this process where it waits, else those that do `among` these."""
        waiters = {wait.waiter for wait in self.waits}
        return {pid} if pid in waiters else waiters.intersection(among)

    def add_stalls(self, stalls: Iterable[Stall]) -> None:
        """Add the stalls of processes that are known."""
        unattributed = 0
        for stall in stalls:
            if stall.owner is None:
                unattributed += 1
                continue
            self._add_process(stall.owner)
            self.waits.append(
                Wait(
                    stall.owner.pid,
                    self._target(stall),
                    stall.duration_ns / 1e6,
                    stall.direction,
                    stall.cause,
                    endpoint_text(stall.socket.local_address, stall.socket.local_port),
                    endpoint_text(stall.socket.remote_address, stall.socket.remote_port),
                    certain=not stall.probable,
                )
            )
        if unattributed:
            who = "other users' processes" if os.geteuid() else "processes that are not visible"
            self.notes.append(f"{unattributed} waits are of {who}, and are left out")

    def _target(self, stall: Stall) -> Node:
        if stall.peer is not None:
            self._add_process(stall.peer)
            return stall.peer.pid
        here = stall.peer_activity is not None or (
            seen_from_here(stall.socket) is PeerState.HIDDEN
            and stall.direction is not Direction.CONNECT
        )
        return Outside(stall.socket.remote_address, hidden=here)

    def add_equals(self, found: Sequence[Held]) -> None:
        """Add the waits of equal processes for the one that does something else.

        Left out where other evidence leads elsewhere.  Where none can be named, the largest group
        is a note: a host has many pools that are idle.
        """
        for held in found:
            if held.pid is not None:
                self._add_held(held, held.pid)
        involved = {node for wait in self.waits for node in (wait.waiter, wait.target)}
        silent = [h for h in found if h.pid is None and involved.isdisjoint(h.pids)]
        if silent:
            self.silent = max(silent, key=lambda held: len(held.pids))
            self.notes.append(note(self.silent))

    def _add_held(self, held: Held, busy: int) -> None:
        processes = [read_process(pid) for pid in held.pids]
        graph = Graph(self.members, tuple(self.waits))
        known = [wait.waiter for wait in held.waits if wait.waiter in graph.waits]
        group = set(held.pids)
        agree = all(graph.reachable([pid]) <= group for pid in known)
        if None in processes or not agree or busy in graph.waits:
            return
        for process in filter(None, processes):
            self._add_process(process)
        if self.members[busy].does is None:
            self.members[busy] = replace(self.members[busy], does=held.does)
        if held.does != WAITS_ASIDE:
            self._explained.add(busy)  # its own threads are known: it waits for nothing
        added = [wait for wait in held.waits if wait.waiter not in known]
        quiet_ms = float(held.quiet_ms)
        self.waits += [
            Wait(
                one.waiter, one.target, quiet_ms, Direction.RECEIVE, None, one.local, one.remote,
                certain=False,
            )
            for one in added
        ]  # fmt: skip
        if added:
            self.notes.append(note(held))

    def add_rdma(self, by_pid: Mapping[int, RdmaUse]) -> None:
        """Add the processes that have queue pairs."""
        for pid, use in by_pid.items():
            process = read_process(pid)
            if process is not None:
                self._add_process(process)
                self.members[pid] = replace(self.members[pid], rdma=use)

    def add_stopped(self, pids: Iterable[int]) -> set[int]:
        """Add the processes among these that are stopped or frozen; return their pids."""
        stopped = [pid for pid in pids if self._states.stopped(pid)]
        for process in filter(None, map(read_process, stopped)):
            self._add_process(process)
        return self.members.keys() & stopped

    def _add_process(self, process: Process) -> None:
        if process.pid not in self.members:
            state = self._states.of(process.pid)
            self.members[process.pid] = Member(process, state, HELD.get(state) if state else None)

    def described(self, members: Mapping[int, Member]) -> dict[int, Member]:
        """What those do of which RDMA shows a sign and nothing is known yet; only so many."""
        signs = sorted(
            (member.sign, pid)
            for pid, member in members.items()
            if member.sign is not Sign.NONE and member.does is None
        )
        pids = [pid for _, pid in signs][: _MOST_EXPLAINED - len(self._explained)]
        found = {}
        for pid, explained in self._explained_at_once(pids):
            if isinstance(explained, Diagnosis):
                does = activity_of(explained, self.members[pid].activity, with_unseen=False)
                found[pid] = replace(members[pid], does=does)
        return found

    def explain_first(self, pid: int) -> None:
        """Explain the process that was asked about.  Raises UsageError."""
        found = self._explain(pid)
        self._note(pid, found, guesses=True)
        if not self.waits_of(pid):
            self.unseen = unseen_of(found)

    def follow(self, starts: Iterable[int] | None) -> None:
        """Explain what is waited for and is not known to wait, until the trail is over.

        `starts` are the processes whose trail is followed; None: all.
        """
        for _ in range(_MOST_STEPS):
            graph = Graph(self.members, tuple(self.waits))
            among = graph.targets if starts is None else graph.reachable(starts)
            last = [
                node
                for node in among
                if not isinstance(node, Outside)
                and not graph.targets[node]
                and not self.members[node].held
                and node not in self._explained
            ]
            last = last[: _MOST_EXPLAINED - len(self._explained)]
            if not last:
                return
            for pid, found in self._explained_at_once(last):
                self._note(pid, found, guesses=False)

    def _explained_at_once(self, pids: list[int]) -> list[tuple[int, Diagnosis | ProbeError]]:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(zip(pids, pool.map(self._explained_or_not, pids), strict=True))

    def _explained_or_not(self, pid: int) -> Diagnosis | ProbeError:
        try:
            return self._explain(pid)
        except ProbeError as error:
            return error

    def _note(self, pid: int, found: Diagnosis | ProbeError, *, guesses: bool) -> None:
        self._explained.add(pid)
        if isinstance(found, ProbeError):
            self.notes.append(str(found))
            self.members[pid] = replace(self.members[pid], does="what it does could not be seen")
            return
        self._add_process(found.process)
        unread = _UNREAD if self._leaves_unread(pid, found.tcp) else ""
        does = activity_of(found, self.members[pid].activity)
        self.members[pid] = replace(self.members[pid], does=does + unread)
        by_inode = {tcp.inode: tcp for tcp in found.tcp}
        for finding in found.found:
            tcp = by_inode.get(finding.inode or 0)
            if tcp is not None and finding.waits and (finding.certain or guesses or _stuck(tcp)):
                self._add_finding(pid, finding, tcp)

    def _leaves_unread(self, pid: int, tcp: Iterable[Tcp]) -> bool:
        """Return whether data lie unread where another process waits for this one."""
        pairs = {(wait.remote, wait.local) for wait in self.waits if wait.target == pid}
        unread = (one for one in tcp if one.receive_queue and not one.moved)
        return any((one.local, one.remote) in pairs for one in unread)

    def _add_finding(self, pid: int, finding: Finding, tcp: Tcp) -> None:
        target: Node = Outside(
            tcp.remote.rpartition(":")[0].strip("[]"), hidden=tcp.peer is not None
        )
        if tcp.peer is not None and tcp.peer.pid is not None:
            peer = read_process(tcp.peer.pid)
            if peer is not None:
                self._add_process(peer)
                target = peer.pid
        direction = Direction.RECEIVE
        if finding.cause in _SENDS:
            direction = Direction.SEND
        elif finding.cause is Cause.CONNECTING:
            direction = Direction.CONNECT
        wait = Wait(pid, target, finding.ms, direction, finding.cause, tcp.local, tcp.remote)
        self.waits.append(replace(wait, certain=finding.certain))


def _stuck(tcp: Tcp) -> bool:
    """True where the peer was seen not to read what this side sent."""
    return tcp.peer is not None and bool(tcp.peer.stopped or tcp.peer.unread_bytes)

"""The graph of waits: who waits for whom, and whom they all wait for in the end.

A node is a process of this host, or an address outside it.  A process that is stopped or frozen
waits for no process, whatever it waited for before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from xctl_probe.commands.blame.jobs import Job
from xctl_probe.commands.blame.rdma import RdmaUse, Sign
from xctl_probe.events import Cause, Direction, PeerActivity, Process

_HELD = (PeerActivity.FROZEN, PeerActivity.STOPPED)


@dataclass(frozen=True, slots=True)
class Outside:
    """Where the trail leaves what can be seen.

    `hidden`: the address is of this host, and its process is not known.  `streams`: the trail is
    that of the streams of many hosts; `host` is the one with the address, where it is known, and
    `stopped_ms` how long before the moment its stream is over.  `unclear`: a host of the streams
    has the address, and it may be of another one.
    """

    address: str
    hidden: bool = False
    streams: bool = False
    host: str | None = None
    stopped_ms: int | None = None
    unclear: bool = False


# A pid, or an address.  Over many hosts it is a number for each process instead of the pid.
Node = int | Outside


@dataclass(frozen=True, slots=True)
class Wait:
    """A wait of a process for a node, on one connection.

    `ms` is the length so far, None where unknown.  `certain` is False where the evidence does not
    decide.
    """

    waiter: int
    target: Node
    ms: float | None
    direction: Direction
    cause: Cause | None
    local: str
    remote: str
    certain: bool = True


@dataclass(frozen=True, slots=True)
class Member:
    """A process of the graph.

    `activity` is what its threads were seen to do, `does` the same in words, which complete a
    sentence that begins with *it is* or with the process.  `host` is the name of its host, None
    where all are of this one.
    """

    process: Process
    activity: PeerActivity | None = None
    does: str | None = None
    job: Job | None = None
    rdma: RdmaUse | None = None
    host: str | None = None

    @property
    def where(self) -> str:
        """Pid and host, as in `pid 4711 on node7`."""
        return f"pid {self.process.pid}" + (f" on {self.host}" if self.host is not None else "")

    @property
    def held(self) -> bool:
        """True while it is stopped or frozen."""
        return self.activity in _HELD

    @property
    def sign(self) -> Sign:
        """What RDMA shows of it."""
        return self.rdma.sign(held=self.held) if self.rdma is not None else Sign.NONE

    @property
    def remedy(self) -> str:
        """What lets a stopped process go on, in brackets; empty for any other one.

        A process of a recording has no start time: another one may have the pid by now.
        """
        if self.activity is not PeerActivity.STOPPED or not self.process.start_ticks:
            return ""
        return f" (kill -CONT {self.process.pid} lets it go on)"


@dataclass(frozen=True, slots=True)
class Culprit:
    """What processes wait for and what waits for nothing else: one node, or a dead-lock.

    `cycle` has the processes of a dead-lock, each of which waits for the next one, and the last
    one for the first; empty for one node.  `members` are all nodes of it.  `waiters` wait for it,
    directly or not, and are not among `members`.
    """

    members: tuple[Node, ...]
    waiters: frozenset[int]
    cycle: tuple[int, ...] = ()
    certain: bool = True


@dataclass(frozen=True)
class Graph:
    """Processes by pid, and their waits."""

    members: dict[int, Member]
    all_waits: tuple[Wait, ...] = ()

    @cached_property
    def waits(self) -> dict[int, list[Wait]]:
        """The waits by waiter, the longest first; those of held processes are left out."""
        found: dict[int, list[Wait]] = {}
        for wait in sorted(self.all_waits, key=lambda wait: -(wait.ms or 0.0)):
            member = self.members.get(wait.waiter)
            if member is None or not member.held:
                found.setdefault(wait.waiter, []).append(wait)
        return found

    @cached_property
    def targets(self) -> dict[Node, list[Node]]:
        """The nodes that each node waits for."""
        found: dict[Node, list[Node]] = {pid: [] for pid in self.members}
        for waiter, waits in self.waits.items():
            found[waiter] = list(dict.fromkeys(wait.target for wait in waits))
        for targets in list(found.values()):
            for target in targets:
                found.setdefault(target, [])
        return found

    def reachable(self, starts: Iterable[Node]) -> set[Node]:
        """Return these nodes, and all that they wait for, directly or not."""
        return _reachable(self.targets, starts)

    def part(self, starts: Iterable[Node]) -> Graph:
        """Return the part of the graph that these nodes wait for."""
        kept = self.reachable(starts)
        return Graph(
            {pid: member for pid, member in self.members.items() if pid in kept},
            tuple(wait for wait in self.all_waits if wait.waiter in kept),
        )

    @cached_property
    def waiters(self) -> dict[Node, list[Node]]:
        """The nodes that wait for each node."""
        found: dict[Node, list[Node]] = {node: [] for node in self.targets}
        for node, targets in self.targets.items():
            for target in targets:
                found[target].append(node)
        return found

    @cached_property
    def culprits(self) -> list[Culprit]:
        """What is waited for and does not wait for anything else; most waiters first."""
        found = [self._culprit(group) for group in _groups(self.targets) if self._is_last(group)]
        return sorted(
            (one for one in found if one.waiters or one.cycle),
            key=lambda one: (-len(one.waiters) - len(one.cycle), not one.cycle, str(one.members)),
        )

    def _is_last(self, group: list[Node]) -> bool:
        inside = set(group)
        return all(target in inside for node in group for target in self.targets[node])

    def _culprit(self, group: list[Node]) -> Culprit:
        above = _reachable(self.waiters, group)
        waiters = frozenset(
            node for node in above.difference(group) if not isinstance(node, Outside)
        )
        cycle = _cycle(self.targets, group)
        involved = [*waiters, *cycle]
        certain = all(
            any(wait.certain for wait in self.waits[pid] if wait.target in above)
            for pid in involved
        )
        return Culprit(tuple(group), waiters, cycle, certain)

    @property
    def roots(self) -> list[int]:
        """Processes that wait and that no other process waits for; of a cycle, one of it."""
        found: list[int] = []
        covered: set[Node] = set()
        for alone in (True, False):
            for pid, waits in self.waits.items():
                others = [node for node in self.waiters[pid] if node != pid]
                if waits and pid not in covered and (not others or not alone):
                    found.append(pid)
                    covered |= self.reachable([pid])
            # What is left waits in cycles that no process outside them waits for.
        return found


def _reachable(edges: dict[Node, list[Node]], starts: Iterable[Node]) -> set[Node]:
    found = {node for node in starts if node in edges}
    left = deque(found)
    while left:
        for node in edges[left.popleft()]:
            if node not in found:
                found.add(node)
                left.append(node)
    return found


def _cycle(edges: dict[Node, list[Node]], group: list[Node]) -> tuple[int, ...]:
    """Return a shortest cycle through the lowest pid of a strongly connected group."""
    pids = sorted(node for node in group if not isinstance(node, Outside))
    if not pids:
        return ()
    start = pids[0]
    inside = set(group)
    before: dict[Node, Node] = {}
    left: deque[Node] = deque([start])
    while left:
        node = left.popleft()
        for target in edges[node]:
            if target == start:
                return tuple(_path(before, start, node))
            if target in inside and target not in before:
                before[target] = node
                left.append(target)
    return ()


def _path(before: dict[Node, Node], start: int, last: Node) -> list[int]:
    path = [last]
    while path[-1] != start:
        path.append(before[path[-1]])
    return [node for node in reversed(path) if not isinstance(node, Outside)]


@dataclass(slots=True)
class _Visit:
    index: int
    low: int
    left: Iterator[Node] = field(repr=False)
    on_stack: bool = True


def _groups(edges: dict[Node, list[Node]]) -> list[list[Node]]:
    """Return the strongly connected groups of nodes (Tarjan), without recursion."""
    visits: dict[Node, _Visit] = {}
    stack: list[Node] = []
    groups: list[list[Node]] = []
    for root, targets in edges.items():
        if root in visits:
            continue
        visits[root] = _Visit(len(visits), len(visits), iter(targets))
        stack.append(root)
        path = [root]
        while path:
            node = path[-1]
            visit = visits[node]
            target = next(visit.left, None)
            if target is None:
                path.pop()
                if path:
                    visits[path[-1]].low = min(visits[path[-1]].low, visit.low)
                if visit.low == visit.index:
                    groups.append(_taken(stack, node, visits))
            elif target not in visits:
                visits[target] = _Visit(len(visits), len(visits), iter(edges[target]))
                stack.append(target)
                path.append(target)
            elif visits[target].on_stack:
                visit.low = min(visit.low, visits[target].index)
    return groups


def _taken(stack: list[Node], until: Node, visits: dict[Node, _Visit]) -> list[Node]:
    group: list[Node] = []
    while not group or group[-1] != until:
        group.append(stack.pop())
        visits[group[-1]].on_stack = False
    return group

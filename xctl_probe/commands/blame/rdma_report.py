"""RDMA in the answer: which process may hold others up, as far as queue pairs and ports show it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from xctl_probe.commands.blame.graph import Graph, Member
from xctl_probe.commands.blame.rdma import SIGNS, RdmaUse, Sign
from xctl_probe.commands.why.humanize import pluralize, processes
from xctl_probe.commands.why.queue_pairs import IDLE_OR_STALLED

_MOST_LINES = 12


def sentences(graph: Graph, names: Mapping[int, str]) -> list[str]:
    """One sentence for each process of which RDMA shows more than that nothing moves.

    A last one is about the processes whose queue pairs do not move.  `names` are the processes in
    words.
    """
    by_sign = sorted((member.sign, pid) for pid, member in graph.members.items())
    found = [
        _sentence(graph.members[pid], one, names[pid]) for one, pid in by_sign if one < Sign.STILL
    ]
    still = [pid for one, pid in by_sign if one is Sign.STILL]
    if still:
        whose = names[still[0]] if len(still) == 1 else processes(len(still))
        found.append(f"the RDMA queue pairs of {whose} are {IDLE_OR_STALLED}")
    return found


def _sentence(member: Member, one: Sign, name: str) -> str:
    assert member.rdma is not None
    errors = member.rdma.errors
    if one is Sign.FAILED:
        failed = sum(on.failed for on in member.rdma.queue_pairs)
        has = "has" if failed == 1 else "have"
        return f"{pluralize(failed, 'RDMA queue pair')} of {name} {has} failed"
    if one is Sign.HELD:
        count = sum(on.count for on in member.rdma.queue_pairs)
        pairs = pluralize(count, "RDMA queue pair")
        return f"{name} is {member.does}{member.remedy} and has {pairs}"
    words = _words(errors, one)
    if one is Sign.LATE:
        return f"{name} posts no RDMA receive in time ({words})"
    if one is Sign.LATE_PEER:
        return f"{name} sends to an RDMA peer that posts no receive in time ({words})"
    return f"{name} misses RDMA packets or acknowledgements ({words})"


def short(member: Member) -> str:
    """What RDMA shows of a process, to follow what it does; empty where that is nothing."""
    use, one = member.rdma, member.sign
    if use is None or one in (Sign.NONE, Sign.HELD):
        return ""
    if one is Sign.STILL:
        return "its RDMA queue pairs are idle or stalled"
    if one is Sign.FAILED:
        failed = sum(on.failed for on in use.queue_pairs)
        return f"{pluralize(failed, 'RDMA queue pair')} failed"
    return _words(use.errors, one)


def lines(
    graph: Graph, names: Mapping[int, str], ports: Mapping[str, Mapping[str, int]]
) -> Iterator[str]:
    """A line for each process with queue pairs, and for each port whose errors have no process."""
    members = [member for member in graph.members.values() if member.rdma is not None]
    members.sort(key=lambda member: (member.sign, member.process.pid))
    for member in members[:_MOST_LINES]:
        assert member.rdma is not None
        pid = member.process.pid
        does = f", {member.does}" if member.does else ""
        yield f"  {names[pid]}{does}: {_use(member.rdma)}"
    if len(members) > _MOST_LINES:
        more = processes(len(members) - _MOST_LINES)
        yield f"  and {more} more with RDMA queue pairs; --json has them all"
    for port, errors in list(ports.items())[:_MOST_LINES]:
        yield f"  {port}: {_words(errors)}, of which the process is not known"


def _use(use: RdmaUse) -> str:
    parts = [
        f"{pluralize(on.count, 'RDMA queue pair')} on {on.device} ({on.text})"
        for on in use.queue_pairs
    ]
    return "; ".join([*parts, _words(use.errors)] if use.errors else parts)


def _words(errors: Mapping[str, int], only: Sign | None = None) -> str:
    words = errors if only is None else [kind.value for kind in SIGNS[only] if kind.value in errors]
    return ", ".join(f"{word} {errors[word]}" for word in words)

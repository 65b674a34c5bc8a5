"""Whom they all wait for: as one sentence and a tree, and as one JSON object."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from xctl_probe.commands.blame import rdma_report
from xctl_probe.commands.blame.collect import Collected
from xctl_probe.commands.blame.graph import Culprit, Graph, Member, Node, Outside, Wait
from xctl_probe.commands.blame.rdma import RdmaUse, Sign
from xctl_probe.commands.why.humanize import format_duration, pluralize, processes, wrap
from xctl_probe.exporters.ndjson import ascii_json
from xctl_probe.exporters.sanitize import printable
from xctl_probe.exporters.text import WAITS

_MOST_ROOTS = 12
_MOST_ALSO = 5
_MOST_STOPPED = 3  # that are named in the sentence
_MOST_DEPTH = 32
_MOST_LINES = 200
_INDENT = "  "


def headline(collected: Collected, subject: str | None = None) -> str:
    """Return the answer in one sentence; `subject` is what was asked about."""
    return _sentences(collected, subject)[0]


def _sentences(collected: Collected, subject: str | None) -> list[str]:
    """Return the answer, and what else is to be known; what waits on sockets comes first."""
    graph = collected.graph
    found = [_sentence(collected, one) for one in graph.culprits]
    rdma = rdma_report.sentences(graph, _names(graph))
    others = [*_stopped(graph), *rdma]
    if found:
        return [*found, *others]
    where = "a socket" if rdma else "the network"
    who = "none of your own processes" if collected.own_only else "no process"
    none = f"{who} waits on {where} for long"
    if subject is not None:
        none = f"{subject} waits for no other process on {where}"
        if collected.unseen is not None and collected.silent is None:
            none = f"whether {subject} waits on {where} could not be seen: {collected.unseen}"
        if collected.silent is not None:
            quiet = format_duration(collected.silent.quiet_ms)
            none += f" that can be named; its connections have been silent for {quiet}"
    return [f"{none}; {others[0]}", *others[1:]] if others else [none]


def _stopped(graph: Graph) -> list[str]:
    """Return who is stopped or frozen, and neither waited for nor named for its queue pairs."""
    found = [
        member
        for pid, member in sorted(graph.members.items())
        if member.held and member.sign is not Sign.HELD and not graph.waiters[pid]
    ]
    if len(found) > 1:
        names = ", ".join(map(_name, found[:_MOST_STOPPED]))
        more = f" and {len(found) - _MOST_STOPPED} more" if len(found) > _MOST_STOPPED else ""
        return [f"{processes(len(found))} are stopped or frozen: {names}{more}"]
    return [f"{_name(member)} is {member.does}{member.remedy}" for member in found]


def _sentence(collected: Collected, culprit: Culprit) -> str:
    graph = collected.graph
    probably = "" if culprit.certain else "probably "
    if culprit.cycle:
        return f"{probably}{_dead_lock(graph, culprit)}"
    waiters, of_job = _waiters(collected, culprit)
    verb = "waits" if len(culprit.waiters) == 1 else "wait"
    return f"{waiters} {probably}{verb} for {_end(graph, culprit.members[0], culprit, of_job)}"


def _waiters(collected: Collected, culprit: Culprit) -> tuple[str, str | None]:
    """Return who waits, in words, and the job if they are all of one."""
    graph = collected.graph
    members = [graph.members[pid] for pid in culprit.waiters]
    jobs = {member.job.job_id if member.job else None for member in members}
    job_id = next(iter(jobs)) if len(jobs) == 1 else None
    count = len(members)
    if job_id is not None:
        ranks = {member.job.rank for member in members if member.job} - {None}
        size = collected.job_size.get(job_id, 0)
        if len(ranks) == count and size >= count:
            return f"{count} of {pluralize(size, 'rank')} of job {job_id}", job_id
        return f"{processes(count)} of job {job_id}", job_id
    return (_name(members[0]) if count == 1 else processes(count)), None


def _end(graph: Graph, node: Node, culprit: Culprit, job_id: str | None) -> str:
    """Return what they wait for in the end, and what it does."""
    if isinstance(node, Outside):
        return _outside(node, _remotes(graph, node, culprit.waiters))
    member = graph.members[node]
    activity = "; ".join(filter(None, (member.does, rdma_report.short(member))))
    does = f", {activity}" if activity else ""
    if member.job and member.job.job_id == job_id and member.job.rank is not None:
        return f"rank {member.job.rank} ({member.where}{does})"
    return f"{member.process.comm or '-'} ({member.where}{does})"


def _remotes(graph: Graph, node: Outside, waiters: frozenset[int]) -> list[str]:
    waits = (wait for pid in sorted(waiters) for wait in graph.waits.get(pid, ()))
    return list(dict.fromkeys(wait.remote for wait in waits if wait.target == node))


def _outside(node: Outside, remotes: list[str]) -> str:
    where = remotes[0] if len(remotes) == 1 else node.address
    if node.streams:
        if node.unclear:
            return f"{where}, whose host is not known"
        if node.host is None:
            return f"{where}, which no stream covers"
        if node.stopped_ms is not None:
            before = format_duration(node.stopped_ms)
            return f"{where} on {node.host}, whose stream stops {before} before"
        return f"{where} on {node.host}, whose process is not in its stream"
    if node.hidden:
        return f"{where} on this host, whose process is not visible"
    return f"{where}, where the trail leaves this host"


def _dead_lock(graph: Graph, culprit: Culprit) -> str:
    names = [_name(graph.members[pid]) for pid in culprit.cycle]
    if len(names) == 1:
        text = f"dead-lock: {names[0]} waits for itself"
    elif len(names) == 2:  # noqa: PLR2004 - for each other
        text = f"dead-lock: {names[0]} and {names[1]} wait for each other"
    else:
        chain = ", which waits for ".join([*names[1:], names[0]])
        text = f"dead-lock of {len(names)} processes: {names[0]} waits for {chain}"
    more = len(culprit.waiters) + len(culprit.members) - len(culprit.cycle)
    if more:
        text += f"; {processes(more)} more {'waits' if more == 1 else 'wait'} for them"
    return text


def _names(graph: Graph) -> dict[int, str]:
    return {pid: _name(member) for pid, member in graph.members.items()}


def _name(member: Member) -> str:
    rank = f"rank {member.job.rank}, " if member.job and member.job.rank is not None else ""
    return f"{member.process.comm or '-'} ({rank}{member.where})"


def to_text(collected: Collected, subject: str | None = None, width: int | None = None) -> bytes:
    """Return the text for a terminal, folded to its width: the sentence, then the tree."""
    graph = collected.graph
    first, *others = _sentences(collected, subject)
    lines = [first, *(f"  also: {one}" for one in others[:_MOST_ALSO])]
    if len(others) > _MOST_ALSO:
        lines.append(f"  also: {len(others) - _MOST_ALSO} more; --json has them all")
    tree = list(_tree(graph))
    if tree:
        lines += ["", *tree[:_MOST_LINES]]
    if len(tree) > _MOST_LINES:
        lines.append(f"  and {len(tree) - _MOST_LINES} more lines; --json has all waits")
    if rdma := list(rdma_report.lines(graph, _names(graph), collected.ports)):
        lines += ["", *rdma]
    lines += [line for note in collected.notes for line in ("", f"  note: {note}")]
    lines = [printable(line).rstrip() for line in lines]
    lines = lines if width is None else wrap(lines, width)
    return "".join(f"{line}\n" for line in lines).encode("ascii")


def _tree(graph: Graph) -> Iterator[str]:
    shown: set[int] = set()
    roots = graph.roots
    for pid in roots[:_MOST_ROOTS]:
        yield f"  {_name(graph.members[pid])}"
        yield from _branches(graph, pid, shown, (pid,))
    if len(roots) > _MOST_ROOTS:
        yield f"  and {processes(len(roots) - _MOST_ROOTS)} more; --json has them all"


def _branches(graph: Graph, pid: int, shown: set[int], path: tuple[int, ...]) -> Iterator[str]:
    shown.add(pid)
    indent = _INDENT * (len(path) + 1)
    for waits in _by_target(graph.waits.get(pid, [])):
        target = waits[0].target
        line = f"{indent}{_wait(waits)} {_target(graph, target, waits)}"
        if isinstance(target, Outside):
            yield line
        elif target in path:
            yield f"{line}: the same as above, a dead-lock"
        elif len(path) > _MOST_DEPTH or (target in shown and graph.waits.get(target)):
            yield f"{line}: see above"
        elif graph.waits.get(target):
            yield line
            yield from _branches(graph, target, shown, (*path, target))
        else:
            yield f"{line}: {_last(graph.members[target], again=target in shown)}"
            shown.add(target)


def _last(member: Member, *, again: bool) -> str:
    """Return what a process does that waits for no other one; with the remedy once."""
    remedy = "" if again else member.remedy
    return f"{member.does or 'waits for no other process'}{remedy}"


def _by_target(waits: list[Wait]) -> list[list[Wait]]:
    groups: dict[Node, list[Wait]] = {}
    for wait in waits:
        groups.setdefault(wait.target, []).append(wait)
    return list(groups.values())


def _wait(waits: list[Wait]) -> str:
    longest = waits[0]
    since = f" {format_duration(longest.ms)}" if longest.ms is not None else ""
    probably = "" if longest.certain else "probably "
    return f"{probably}waits{since} {WAITS[longest.direction]}"


def _target(graph: Graph, target: Node, waits: list[Wait]) -> str:
    cause = f" ({waits[0].cause})" if waits[0].cause else ""
    remotes = list(dict.fromkeys(wait.remote for wait in waits))
    where = remotes[0] if len(remotes) == 1 else pluralize(len(remotes), "connection")
    if isinstance(target, Outside):
        return f"{_outside(target, remotes)}{cause}"
    return f"{_name(graph.members[target])} at {where}{cause}"


def to_json(collected: Collected, subject: str | None = None) -> bytes:
    """Return one JSON object on one line."""
    graph = collected.graph
    return ascii_json(
        {
            "verdict": headline(collected, subject),
            "culprits": [_culprit_object(collected, one) for one in graph.culprits],
            "rdma": rdma_report.sentences(graph, _names(graph)),
            "rdma_ports": {name: dict(errors) for name, errors in collected.ports.items()},
            "processes": [_member_object(graph, node) for node in sorted(graph.members)],
            "source": collected.source,
            "notes": list(collected.notes),
        }
    )


def _culprit_object(collected: Collected, culprit: Culprit) -> dict[str, object]:
    node = culprit.members[0]
    one = len(culprit.members) == 1 and not culprit.cycle
    member = None if isinstance(node, Outside) or not one else collected.graph.members[node]
    return {
        "text": _sentence(collected, culprit),
        "pid": member.process.pid if member else None,
        "host": member.host if member else getattr(node, "host", None),
        "node": node if member else None,
        "address": node.address if isinstance(node, Outside) else None,
        "dead_lock": list(culprit.cycle),
        "waiters": sorted(culprit.waiters),
        "certain": culprit.certain,
    }


def _member_object(graph: Graph, node: int) -> dict[str, object]:
    member = graph.members[node]
    rdma = member.rdma or RdmaUse()
    return {
        "pid": member.process.pid,
        "host": member.host,
        "node": node,
        "comm": member.process.comm,
        "job_id": member.job.job_id if member.job else None,
        "rank": member.job.rank if member.job else None,
        "state": member.activity.value if member.activity else None,
        "does": member.does,
        "queue_pairs": [dataclasses.asdict(on) for on in rdma.queue_pairs],
        "rdma_errors": dict(rdma.errors),
        "waits": [_wait_object(graph, wait) for wait in graph.waits.get(node, [])],
    }


def _wait_object(graph: Graph, wait: Wait) -> dict[str, object]:
    target = None if isinstance(wait.target, Outside) else wait.target
    return {
        "peer_pid": None if target is None else graph.members[target].process.pid,
        "peer_node": target,
        "ms": None if wait.ms is None else int(wait.ms),
        "direction": wait.direction.value,
        "cause": wait.cause.value if wait.cause else None,
        "local": wait.local,
        "remote": wait.remote,
        "certain": wait.certain,
    }

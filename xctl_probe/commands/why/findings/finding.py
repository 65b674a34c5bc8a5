"""Findings about the threads and sockets of a process."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from xctl_probe.commands.why.sockets import Tcp
from xctl_probe.commands.why.waiters import Waiter
from xctl_probe.events import Cause


@dataclass(frozen=True, slots=True)
class Finding:
    """A wait of the process, or an idle socket.

    `waits`: the process waits for the network.  `certain`: the evidence decides; else the text
    contains "probably".  `ms`: the length, where known.  `seen` is False where it is not visible
    whether the process waits.  `expects`: replies came on this connection before.
    """

    text: str
    waits: bool
    certain: bool = True
    cause: Cause | None = None
    inode: int | None = None
    ms: float | None = None
    seen: bool = True
    expects: bool = True


def ranked(found: Iterable[Finding]) -> list[Finding]:
    """Return the findings in order: waits, then unknown ones, then idle sockets."""
    return sorted(
        found, key=lambda f: (not f.waits, f.seen, not f.certain, not f.expects, -(f.ms or 0.0))
    )


def idle(text: str, tcp: Tcp, waiter: Waiter | None) -> Finding:
    """Return the finding about a socket on which nothing is due."""
    return Finding(text, False, True, None, tcp.inode, waiter.ms if waiter else None)


def milliseconds(value: int | None) -> float | None:
    """Return a length for a finding."""
    return None if value is None else float(value)

"""The connections between processes of this host, and which equals fell silent together."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from itertools import islice

from xctl_probe.commands.why.equals.lockstep import Held, lockstep
from xctl_probe.commands.why.namespaces import inside
from xctl_probe.errors import ProbeError
from xctl_probe.events import Process
from xctl_probe.fallback.local_pairs import Pair, pairs_of
from xctl_probe.fallback.sock_diag import SockDiag
from xctl_probe.linux.barred import Barred
from xctl_probe.linux.budget import Budget
from xctl_probe.linux.host_sockets import read_namespaces
from xctl_probe.linux.owner_search import Search
from xctl_probe.linux.owners_aside import OwnersAside
from xctl_probe.linux.procfs import namespace_inode

SHARE = 0.5  # of a core: a command that answers once has no budget for the long run
_MOST_NAMESPACES = 16


def sample_equals() -> list[Held]:
    """Return what holds up groups of equal processes that fell silent together."""
    pairs: list[Pair] = []
    own = namespace_inode("net")
    others = (pid for netns, pid in read_namespaces().items() if netns != own)
    with ExitStack() as stack:
        sources = [_here()]
        sources += [inside(pid, SockDiag) for pid in islice(others, _MOST_NAMESPACES)]
        for source in filter(None, sources):
            stack.callback(source.close)
            with suppress(OSError):
                pairs += pairs_of(list(source.sockets()))
    return lockstep(pairs, owners_of({inode for pair in pairs for inode in pair.inodes}))


def _here() -> SockDiag | None:
    try:
        return SockDiag()
    except (OSError, ProbeError):
        return None


def owners_of(inodes: set[int]) -> dict[int, Process]:
    """Return the processes by inode, of those that are found within a second."""
    barred = Barred()
    owners = OwnersAside(Search(Budget(SHARE), barred=barred), barred)
    owners.allow_first_search()
    try:
        owners.search(inodes)
    finally:
        owners.close()
    return {inode: owner for inode in inodes if (owner := owners.get(inode)) is not None}

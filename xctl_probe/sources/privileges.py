"""Capabilities that each feature needs, and those that this process holds.  capabilities(7).

A read of the descriptors of another user's process needs CAP_SYS_PTRACE (ptrace(2), access mode
PTRACE_MODE_READ_FSCREDS) and, for the directory /proc/<pid>/fd, CAP_DAC_READ_SEARCH.  To enter its
network namespace needs CAP_SYS_ADMIN (setns(2)).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xctl_probe.linux.capabilities import in_user_namespace
from xctl_probe.linux.procfs import effective_capabilities

BPF, PERFMON = "CAP_BPF", "CAP_PERFMON"
PTRACE, READ_SEARCH, ADMIN = "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_SYS_ADMIN"

# include/uapi/linux/capability.h
_BITS = {READ_SEARCH: 2, PTRACE: 19, ADMIN: 21, PERFMON: 38, BPF: 39}
_OVERRIDE_BIT = 1  # CAP_DAC_OVERRIDE, which may also read


@dataclass(frozen=True, slots=True)
class Feature:
    """Feature of the probe, and the capabilities that it needs."""

    text: str
    needs: tuple[str, ...]

    def lacks(self, held: frozenset[str]) -> tuple[str, ...]:
        """Return the needed capabilities that are not held."""
        return tuple(name for name in self.needs if name not in held)


KERNEL = Feature("bytes, stalls and errors of all processes, exact", (BPF, PERFMON))
INSPECTION = Feature(
    "activity of other users' peer processes, owners of connections reset before use",
    (PTRACE, READ_SEARCH),
)
ELSEWHERE = Feature("the same in other network namespaces", (PTRACE, READ_SEARCH, ADMIN))
WHY = Feature("`why` of other users' processes", (PTRACE, READ_SEARCH))
FEATURES = (KERNEL, INSPECTION, ELSEWHERE, WHY)


def held(proc: Path = Path("/proc")) -> frozenset[str]:
    """Return the effective capabilities that count for processes of the host.

    Empty in a user namespace: its capabilities count only inside it.
    """
    try:
        if in_user_namespace(proc):
            return frozenset()
        status = (proc / "self/status").read_bytes()
    except OSError:
        return frozenset()
    bits = effective_capabilities(status)
    found = {name for name, bit in _BITS.items() if bits >> bit & 1}
    if ADMIN in found:
        found |= {BPF, PERFMON}  # CAP_SYS_ADMIN included them before 5.8
    if bits >> _OVERRIDE_BIT & 1:
        found.add(READ_SEARCH)
    return frozenset(found)


def shortcoming(having: frozenset[str]) -> str | None:
    """Text for the start line: what the stream leaves out without capabilities, else None."""
    if lacks := INSPECTION.lacks(having):
        what = "other users' processes are not inspected"
    elif lacks := ELSEWHERE.lacks(having):
        what = "processes in other network namespaces are not inspected"
    else:
        return None
    return f"{what}, so waits that such a peer may intend are not reported: needs {_all(lacks)}"


def _all(names: tuple[str, ...]) -> str:
    return " and ".join(names)

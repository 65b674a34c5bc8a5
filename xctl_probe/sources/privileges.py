"""Capabilities that each feature needs, those that this process holds, and giving up the others.

A read of the descriptors of another user's process needs CAP_SYS_PTRACE (ptrace(2), access mode
PTRACE_MODE_READ_FSCREDS) and, for the directory /proc/<pid>/fd, CAP_DAC_READ_SEARCH.  To enter its
network namespace needs CAP_SYS_ADMIN (setns(2)).  That of a socket is found by SIOCGSKNS, which
needs CAP_NET_ADMIN.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from xctl_probe.config.choices import Backend
from xctl_probe.config.settings import Settings
from xctl_probe.linux import capability_sets
from xctl_probe.linux.capabilities import in_user_namespace
from xctl_probe.linux.capability_sets import (
    ADMIN,
    BIND,
    BPF,
    DAC_OVERRIDE,
    NET_ADMIN,
    PERFMON,
    PTRACE,
    READ_SEARCH,
    SYSLOG,
)
from xctl_probe.linux.procfs import effective_capabilities
from xctl_probe.metrics import Metric

_KERNEL_TYPES = Path("/sys/kernel/btf/vmlinux")
_UNPRIVILEGED_PORTS = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
_FIRST_UNPRIVILEGED = 1024


@dataclass(frozen=True, slots=True)
class Feature:
    """Feature of the probe, the capabilities that it needs, and the effect of their lack."""

    key: str
    text: str
    needs: tuple[str, ...]
    without: str

    def lacks(self, held: frozenset[str]) -> tuple[str, ...]:
        """Return the needed capabilities that are not held."""
        return tuple(name for name in self.needs if name not in held)


KERNEL = Feature(
    "kernel",
    "bytes, stalls and errors of all processes, exact",
    (BPF, PERFMON),
    "the sampler: your own processes; no UDP bytes by process, no refused or reset connections",
)
INSPECTION = Feature(
    "inspection",
    "activity of other users' peer processes, owners of connections reset before use",
    (PTRACE, READ_SEARCH),
    "waits that such a peer may intend are not reported; such resets have pid null",
)
JOBS = Feature(
    "jobs",
    "rank of other users' processes, and their job where no cgroup names it; --connections",
    (PTRACE, READ_SEARCH),
    "rank, job_id and connections are left out",
)
ELSEWHERE = Feature(
    "namespaces",
    "the two rows above, for processes in other network namespaces",
    (PTRACE, READ_SEARCH, ADMIN),
    "as above, for processes in containers with a network of their own",
)
WHY = Feature(
    "why",
    "`why` of other users' processes",
    (PTRACE, READ_SEARCH),
    "refused, with exit code 2",
)
WHY_ELSEWHERE = Feature(
    "why_namespaces",
    "`why` and `blame` in other network namespaces",
    (PTRACE, READ_SEARCH, ADMIN, NET_ADMIN),
    "the sockets there are not seen",
)
STATUS = Feature(
    "status",
    "`status` of other users' probes (as root)",
    (DAC_OVERRIDE,),
    "only the probes of your own user are listed",
)
RECORDINGS = Feature(
    "recordings",
    "recordings and streams of other users, to read (as root)",
    (READ_SEARCH,),
    "refused, with exit code 2",
)
FOLDERS = Feature(
    "folders",
    "--record, --prometheus-file, --status-dir in folders of other users",
    (DAC_OVERRIDE,),
    "name folders that the probe's own user may write",
)
PORT = Feature(
    "port",
    "--prometheus on a port below 1024",
    (BIND,),
    "name a higher port",
)
KPROBES = Feature(
    "kprobes",
    "the same by kprobes: --attach kprobe, --backend bcc",
    (BPF, PERFMON, ADMIN),
    "the attach variants fentry and tracepoint, where the kernel has them",
)
PROTOCOLS = Feature(
    "protocols",
    "the protocol of each socket (protocols in --metrics)",
    (BPF, PERFMON, NET_ADMIN),
    "records have no app",
)
PACKETS = Feature(
    "packets",
    "packets of interfaces by protocol (packets in --metrics)",
    (BPF, PERFMON, NET_ADMIN),
    "records of interfaces have no packets",
)
PROFILE = Feature(
    "profile",
    "system calls of a process (`profile`; the last two: of other users' processes)",
    (BPF, PERFMON, PTRACE, READ_SEARCH),
    "what /proc shows of your own processes",
)
SYMBOLS = Feature(
    "symbols",
    "--backend bcc where kernel.kptr_restrict is 1",
    (BPF, PERFMON, SYSLOG),
    "kernels without a ring buffer (before 5.8) are not served",
)
FEATURES = (
    KERNEL, KPROBES, INSPECTION, JOBS, ELSEWHERE, PROTOCOLS, PACKETS, WHY, WHY_ELSEWHERE, PROFILE,
    STATUS, RECORDINGS, FOLDERS, PORT, SYMBOLS,
)  # fmt: skip


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
    return capability_sets.names(effective_capabilities(status))


def features_of(settings: Settings) -> tuple[Feature, ...]:
    """Return the features of the stream with these settings, without FOLDERS."""
    found = [INSPECTION, JOBS]
    if settings.backend is not Backend.SAMPLER:
        found += [KERNEL, KPROBES, ELSEWHERE]
    takes_bcc = settings.backend is Backend.AUTO and not _KERNEL_TYPES.exists()
    if takes_bcc or settings.backend is Backend.BCC:
        found.append(SYMBOLS)
    metrics = settings.wanted.metrics
    found += [PROTOCOLS] * (Metric.PROTOCOLS in metrics) + [PACKETS] * (Metric.PACKETS in metrics)
    address = settings.prometheus
    if address is not None and 0 < address.port < _first_unprivileged_port():
        found.append(PORT)
    return tuple(found)


def folders_of(settings: Settings) -> tuple[Path, ...]:
    """Return the folders in which the stream makes files."""
    files = settings.prometheus_file
    given = (settings.record, settings.status_dir, files.parent if files is not None else None)
    return tuple(folder for folder in given if folder is not None)


def give_up_others(features: Iterable[Feature], folders: Collection[Path] = ()) -> None:
    """Keep only the capabilities that these features need, and set no_new_privs, for good.

    Called before a thread starts.  CAP_DAC_OVERRIDE is kept where one of the folders cannot be
    written without it.  Raises OSError where the system refuses.
    """
    wanted = {name for feature in features for name in feature.needs}
    if {BPF, PERFMON} <= wanted:
        _lift_memory_limit()
    capability_sets.forbid_new()
    if DAC_OVERRIDE not in wanted:
        capability_sets.set_effective(wanted)
        if not all(map(_may_write, folders)):
            wanted |= set(FOLDERS.needs)
    capability_sets.keep_only(wanted)


def give_up_or_report(
    report: Callable[[str], None], features: Iterable[Feature], folders: Collection[Path] = ()
) -> None:
    """As `give_up_others`; where the system refuses, report that all are kept."""
    try:
        give_up_others(features, folders)
    except OSError as error:
        report(f"unneeded capabilities are kept: {error.strerror}; allow capset(2) and prctl(2)")


def give_up_loading() -> None:
    """Give up CAP_PERFMON, which only loading kernel programs needs.  Raises OSError."""
    capability_sets.give_up(PERFMON)


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


def _may_write(folder: Path) -> bool:
    """True where the folder can be written, or made, with the capabilities in effect."""
    there = folder if os.path.exists(folder) else folder.parent
    return os.access(there, os.W_OK | os.X_OK, effective_ids=True)


def _lift_memory_limit() -> None:
    # Before Linux 5.11 maps count as locked memory; later it takes CAP_SYS_RESOURCE, given up here.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY,) * 2)


def _first_unprivileged_port() -> int:
    try:
        return int(_UNPRIVILEGED_PORTS.read_text())
    except (OSError, ValueError):
        return _FIRST_UNPRIVILEGED

"""Settings of this host and privileges of this process, with their effect on the sources."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from xctl_probe.commands.check.rdma import RdmaPort, rdma_ports
from xctl_probe.linux import procfs
from xctl_probe.linux.capabilities import missing
from xctl_probe.status import directory

# include/uapi/linux/capability.h
_CAPABILITIES = {"CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38, "CAP_BPF": 39}
_CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv", "/var/run/secrets/kubernetes.io")
_SECCOMP_FILTER = b"2"


@dataclass(frozen=True, slots=True)
class Condition:
    """A setting or privilege: name, value, and its effect where it blocks a source."""

    name: str
    value: str
    effect: str = ""


@dataclass(frozen=True, slots=True)
class Host:
    """Conditions of this host, from files that any user may read; None: unknown."""

    conditions: tuple[Condition, ...]
    privileged: bool
    user_namespace: bool  # a nested one: its capabilities do not count for BPF
    seccomp: bool
    lockdown: str | None
    container: bool
    roce: tuple[tuple[str, str], ...] = ()  # interfaces that carry RoCE; where its bytes are


def read_host(root: Path = Path("/")) -> Host:
    """Read the conditions; `root` contains /proc and /sys."""
    status = procfs.read(root / "proc/self/status")
    held = _capabilities(procfs.effective_capabilities(status))
    # The rule of the loader: a refusal in spite of the capabilities means a user namespace.
    privileged = missing(root / "proc") is None
    enough = "CAP_SYS_ADMIN" in held or {"CAP_BPF", "CAP_PERFMON"} <= set(held)
    seccomp = procfs.status_field(status, "Seccomp") == _SECCOMP_FILTER
    lockdown = _chosen(_text(root / "sys/kernel/security/lockdown"))
    container = any((root / mark.lstrip("/")).exists() for mark in _CONTAINER_MARKS)
    paranoid = _sysctl(root, "perf_event_paranoid")
    release = platform.release()
    headers = root / "lib/modules" / release / "build"
    tracefs = [d for d in ("tracing", "debug/tracing") if _listable(root / "sys/kernel" / d)]
    rdma = rdma_ports(root / "sys/class/infiniband")
    conditions = (
        Condition("kernel", f"{release} {platform.machine()}"),
        Condition(
            "capabilities",
            ", ".join(held) or "none of CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN",
            "" if privileged else "kernel programs may not be loaded",
        ),
        Condition(
            "kernel.unprivileged_bpf_disabled",
            _shown(_sysctl(root, "unprivileged_bpf_disabled")),
            "" if privileged else "at no value may tracing be loaded without CAP_BPF",
        ),
        Condition(
            "kernel.perf_event_paranoid",
            _shown(paranoid),
            "" if privileged or paranoid is None else "kprobes need CAP_PERFMON",
        ),
        _kptr(_sysctl(root, "kptr_restrict"), privileged),
        Condition(
            "lockdown",
            lockdown or "not compiled in, or not shown",
            "reading kernel memory is refused" if lockdown == "confidentiality" else "",
        ),
        Condition(
            "seccomp",
            "filtered" if seccomp else "not filtered",
            "bpf(2) and AF_NETLINK may be refused" if seccomp else "",
        ),
        Condition("container", "yes" if container else "no sign of one"),
        Condition("tracefs", "readable" if tracefs else "not mounted, or not readable"),
        Condition(
            "kernel types (BTF)",
            "present" if (root / "sys/kernel/btf/vmlinux").exists() else "missing",
        ),
        Condition(
            "kernel headers",
            str(headers) if headers.exists() else "missing",
            "" if headers.exists() else "bcc cannot compile",
        ),
        *map(_rdma, rdma),
        _status_directory(),
    )
    return Host(
        conditions, privileged, enough and not privileged, seccomp, lockdown, container,
        tuple((port.netdev, _where(port)) for port in rdma if port.netdev and not port.software),
    )  # fmt: skip


def _status_directory() -> Condition:
    """Where a probe of this user has its socket for `status`."""
    try:
        path = directory.own_directory(os.environ, os.geteuid())
    except directory.NoPlace as error:
        return Condition("directory for status", "none", str(error))
    return Condition("directory for status", str(path), directory.unusable(path))


def _where(port: RdmaPort) -> str:
    if port.counts_bytes:
        return f"{port.name} has a record of its own"
    return f"the byte counters of {port.name} cannot be read"


def _rdma(port: RdmaPort) -> Condition:
    if port.software and port.counts_bytes:  # rxe, from Linux 7.2 on
        effect = f"its bytes are also in the counters of {port.netdev}" if port.netdev else ""
    elif port.software:
        effect = f"its bytes are those of {port.netdev}" if port.netdev else "it counts no bytes"
    elif not port.counts_bytes:
        effect = "its byte counters cannot be read"
    else:
        effect = f"the counters of {port.netdev} leave its traffic out" if port.netdev else ""
    return Condition(f"RDMA port {port.name}", port.link, effect)


def _kptr(value: int | None, privileged: bool) -> Condition:
    hidden = value is not None and (value > 1 or (value == 1 and not privileged))
    effect = "addresses in /proc/kallsyms are hidden, which bcc may need" if hidden else ""
    return Condition("kernel.kptr_restrict", _shown(value), effect)


def _shown(value: int | None) -> str:
    return "not there, or not readable" if value is None else str(value)


def _sysctl(root: Path, name: str) -> int | None:
    text = _text(root / "proc/sys/kernel" / name).strip()
    return int(text) if text.lstrip("-").isdigit() else None


def _capabilities(held: int) -> list[str]:
    return [name for name, bit in _CAPABILITIES.items() if held >> bit & 1]


def _chosen(text: str) -> str | None:
    """Return the word in brackets of `none [integrity] confidentiality`."""
    _, bracket, rest = text.partition("[")
    return rest.partition("]")[0] if bracket else None


def _text(path: Path) -> str:
    return procfs.read(path).decode("utf-8", "replace")


def _listable(path: Path) -> bool:
    try:
        return bool(os.listdir(path))
    except OSError:
        return False

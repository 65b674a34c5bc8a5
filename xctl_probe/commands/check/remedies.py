"""Remedies for a source that does not work: commands and settings, by reason."""

from __future__ import annotations

import sys

from xctl_probe.commands.check.host import Host
from xctl_probe.commands.check.probe_sources import Answer, ProbeResult, SourceVariant
from xctl_probe.config.choices import Attach, Backend

_AS_ROOT = "run it as root: sudo xctl-probe-network"
_SETCAP = (
    "or give its Python the capabilities: in an environment made by `python3 -m venv --copies`, "
    "sudo setcap cap_bpf,cap_perfmon=ep {python}"
)
_UNIT = "or in a systemd unit: AmbientCapabilities=CAP_BPF CAP_PERFMON"
_CONTAINER = "in a container: --cap-add BPF --cap-add PERFMON --pid host --network host"
_SECCOMP = (
    "in a container: a seccomp profile that allows {what}, or --security-opt seccomp=unconfined"
)
_LOCKDOWN = "boot with lockdown=integrity or none: confidentiality refuses what the programs read"
_USER_NAMESPACE = "in a container: --userns host, with --cap-add BPF --cap-add PERFMON --pid host"
_LATER = "try again when there is more memory, or fewer open files"
_NOTHING_TO_SET = {
    Attach.FENTRY: "a kernel with CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS; no setting helps",
    Attach.KPROBE: "a kernel with CONFIG_KPROBES and CONFIG_KPROBE_EVENTS; no setting helps",
    Attach.TRACEPOINT: "Linux 6.3 or later",
    Attach.TRACEPOINT_FILES: "Linux 6.3 or later",
}
_WHERE_REFUSED = {
    Attach.TRACEPOINT: "a kernel that allows iterators over maps; tracepoint_files needs none",
    Attach.TRACEPOINT_FILES: "a kernel that allows tracing programs; no setting helps",
}
_REFUSED = {"EPERM", "EACCES"}


def remedies(way: SourceVariant, outcome: ProbeResult, host: Host) -> list[str]:
    """Return one line for each remedy; none where it works, or the reason has a remedy."""
    if outcome.answer is Answer.YES:
        return []
    if outcome.answer is Answer.UNKNOWN:
        return [_LATER] if outcome.errno else []
    if way.backend is Backend.SAMPLER:
        return [_SECCOMP.format(what="AF_NETLINK sockets")] if host.seccomp else []
    if not host.privileged:
        if outcome.errno not in _REFUSED and "permitted" not in outcome.reason:
            return []  # privileges are not the reason
        if host.user_namespace:
            return [_USER_NAMESPACE]
        python = sys.executable or "python3"
        if host.container:
            return [_CONTAINER]
        return [_AS_ROOT, _SETCAP.format(python=python), _UNIT, _CONTAINER]
    if outcome.errno in _REFUSED:
        found = []
        if host.lockdown == "confidentiality":
            found.append(_LOCKDOWN)
        if host.seccomp:
            found.append(_SECCOMP.format(what="bpf(2) and perf_event_open(2)"))
        if found:
            return found
    if way.backend is Backend.EBPF and outcome.errno in (None, *_REFUSED):
        lacking = _NOTHING_TO_SET[way.attach]
        return [_WHERE_REFUSED.get(way.attach, lacking) if outcome.errno else lacking]
    return []

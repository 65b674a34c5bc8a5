"""Waits for the network without a TCP or UDP socket of the process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from xctl_probe.commands.why.closing import closes
from xctl_probe.commands.why.findings.finding import Finding
from xctl_probe.commands.why.humanize import format_duration
from xctl_probe.commands.why.others import File
from xctl_probe.commands.why.threads import Thread
from xctl_probe.linux.syscalls import Call, Role
from xctl_probe.stalls.policy import STALL_MS

# Kernel functions in which a thread waits for a file server, and the kind of server.
IN_FILE_SERVERS = (
    (("rpc_", "nfs", "nlm"), "an NFS server"),
    (("cifs_", "smb2_", "wait_for_response"), "an SMB server"),
    (("ceph_", "rbd_"), "a Ceph cluster"),
    (("p9_", "v9fs_"), "a 9P server"),
    (("afs_", "rxrpc_"), "an AFS server"),
)


def outside(
    waiting: list[tuple[Thread, Call]],
    threads: list[Thread],
    files: Mapping[int, File],
    stall_ms: int = STALL_MS,
) -> Iterator[Finding]:
    """Return the findings of threads in such waits; `files` are network files, by fd.

    The text has a duration from `stall_ms` on.
    """
    calls = {thread.tid: call for thread, call in waiting}
    for thread in threads:
        text = None if thread.running else _text(thread, calls.get(thread.tid), files)
        if text is not None:
            idle = thread.idle_ms or 0.0
            since = f" for {format_duration(idle)}" if idle >= stall_ms else ""
            yield Finding(f"{text}{since}", waits=True)


def _text(thread: Thread, call: Call | None, files: Mapping[int, File]) -> str | None:
    if closes(thread) and thread.call is not None:
        fd = thread.call.watched[0].fd
        return f"waits in close() of fd {fd} for the peer to take what was sent (SO_LINGER)"
    file = file_of(call, files)
    if file is not None and not file.fuse:
        return f"waits for a file of {file.source} ({file.kind})"
    for beginnings, server in IN_FILE_SERVERS:
        if thread.wchan.startswith(beginnings):
            return f"waits for {server} ({thread.wchan})"
    return None


def file_of(call: Call | None, files: Mapping[int, File]) -> File | None:
    """Return the file of a network or FUSE file system that a call uses."""
    if call is None or call.role in (Role.POLL, Role.EPOLL):
        return None
    return next((files[w.fd] for w in call.watched if w.fd in files), None)

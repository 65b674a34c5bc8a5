"""The first bytes of each direction of sockets, from the kernel: loaded for `protocols` only."""

from __future__ import annotations

import errno
import os
import platform
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from xctl_probe.ebpf.bpf_object import Object, object_for, open_object
from xctl_probe.ebpf.libbpf import BpfError, Library
from xctl_probe.ebpf.programs import Handles
from xctl_probe.ebpf.ringbuf import Ring
from xctl_probe.errors import SourceUnavailable
from xctl_probe.figures import RingFigures
from xctl_probe.linux.cgroup_mount import root_of_cgroups
from xctl_probe.protocols.names import Sample

IMAGE = "payload.bpf.o"
PROGRAMS = ("on_egress", "on_ingress", "on_release")
HEAD = struct.Struct("=QIHBB")  # struct payload of bpf/include/payload_abi.h
SENT, RECEIVED, CLOSED = range(3)  # enum payload_kind
_RING_BYTES = 1 << 20  # 1,900 ClientHellos, or 16,000 other messages


class Payloads:
    """Programs at the packets of the sockets of all cgroups; gone with `close` and the process.

    `log` receives the messages of libbpf.  Raises SourceUnavailable with the reason.
    """

    def __init__(
        self, log: Callable[[str], None] | None = None, ring_bytes: int = _RING_BYTES
    ) -> None:
        cgroup = root_of_cgroups()
        if cgroup is None:
            raise SourceUnavailable("no cgroup2 file system is mounted")
        library = Library()
        if library.lacks_ring_buffer():
            raise SourceUnavailable("the kernel has no BPF ring buffer: it needs Linux 5.8")
        try:
            self._programs = _attached(library, cgroup, ring_bytes)
        except BpfError as refusal:
            raise SourceUnavailable(_explain(refusal)) from None
        finally:
            library.report(log)
        self._ring = Ring(self._programs.map("payloads", 0, 0).fd, ring_bytes)
        self._unsampled = 0

    def read(self) -> Iterator[Sample | int]:
        """Yield samples, and the cookies of closed sockets, in the order in which they came."""
        for record in self._ring.records():
            cookie, length, kept, kind, from_start = HEAD.unpack_from(record)
            if kind == CLOSED:
                yield cookie
            else:
                payload = record[HEAD.size : HEAD.size + kept]
                yield Sample(cookie, kind == RECEIVED, from_start == 1, length, payload)

    def unsampled(self) -> int:
        """Return the number of messages and closed sockets, since the last call, without room."""
        total = self._programs.per_cpu_sums("unsampled", 1)[0]
        since, self._unsampled = total - self._unsampled, total
        return since

    def handles(self) -> Handles:
        """Return what figures about programs and maps are read from."""
        return self._programs.handles()

    def use(self) -> RingFigures:
        """Return how much of the ring is used."""
        return self._ring.use()

    def close(self) -> None:
        """Detach.  Safe to call twice."""
        self._ring.close()
        self._programs.close()


def _attached(library: Library, cgroup: Path, ring_bytes: int) -> Object:
    image = object_for(IMAGE)
    if image is None:
        raise SourceUnavailable(f"there is no {IMAGE} for {platform.machine()}")
    programs = open_object(library, image)
    try:
        programs.resize("payloads", ring_bytes)
        programs.load()
        fd = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for name in PROGRAMS:
                programs.attach_cgroup(name, fd)
        finally:
            os.close(fd)
    except (BpfError, OSError) as error:
        programs.close()
        if isinstance(error, OSError):
            raise SourceUnavailable(f"{cgroup}: {error.strerror}") from None
        raise
    return programs


def _explain(refusal: BpfError) -> str:
    if refusal.errno in (errno.EPERM, errno.EACCES):
        return f"it needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN ({refusal.what})"
    return f"{refusal}; --verbose shows more"

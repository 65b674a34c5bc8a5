"""Sockets of one network namespace, from two samples."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext

from xctl_probe.commands.why.diag_sampler import DiagSampler
from xctl_probe.commands.why.namespaces import entered
from xctl_probe.commands.why.peers import INODE
from xctl_probe.commands.why.proc_sampler import udp_sockets
from xctl_probe.commands.why.sockets import Tcp, Udp
from xctl_probe.fallback.sock_diag import SockDiag
from xctl_probe.stalls.policy import STALL_MS


class Place:
    """A network namespace: that of this thread, or that of a descriptor; for one process.

    Raises OSError where sock_diag is refused.
    """

    def __init__(
        self, namespace: int | None = None, *, stall_ms: int = STALL_MS, pid: int | None = None
    ) -> None:
        self._namespace = namespace
        with self._inside():
            self._diag = SockDiag()
        self._sampler = DiagSampler(stall_ms, pid)
        self._begun_ns = self._last_ns = 0
        self.messages: list[bytes] = []

    def dump(self) -> None:
        """Read all sockets into `messages`."""
        self._last_ns = time.monotonic_ns()
        self._begun_ns = self._begun_ns or self._last_ns
        self.messages = list(self._diag.sockets())

    def inodes(self) -> set[int]:
        """Return the inodes of the last dump."""
        return {int.from_bytes(message[INODE], "little") for message in self.messages}

    def sample(self, fds: dict[int, int]) -> None:
        """Sample the last dump."""
        self._sampler.sample(self.messages, fds, self._last_ns)

    def tcp(self, fds: dict[int, int]) -> list[Tcp]:
        """Return the sockets as sampled."""
        return self._sampler.tcp(fds, self.messages, self._last_ns - self._begun_ns)

    def udp(self, fds: dict[int, int]) -> list[Udp]:
        """Return the UDP sockets of the namespace, from /proc."""
        with self._inside():
            return udp_sockets("thread-self", fds)

    def close(self) -> None:
        """Close the netlink socket."""
        self._diag.close()

    def _inside(self) -> AbstractContextManager[None]:
        return nullcontext() if self._namespace is None else entered(self._namespace)

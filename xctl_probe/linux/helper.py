"""Child process for calls that may never return; it can be abandoned.

A read of another process may block, uninterruptibly, as long as that process wants: on a page of
its memory, or on a file system that it serves.  Neither a thread nor a timeout can leave such a
call.  A child is killed, and exits when the kernel returns.
"""

from __future__ import annotations

import ctypes
import gc
import os
import pickle
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from xctl_probe.linux.capability_sets import PTRACE, READ_SEARCH, keep_only
from xctl_probe.linux.thread_delay import Delay, ThreadDelay

_MOST_ASKED = 16  # requests without an answer
_MOST_HANGING = 4  # abandoned children that have not exited yet
_HANGS_NS = 300_000_000  # in one uninterruptible sleep, after which a child is abandoned
_READ_HANGS_NS = 2_000_000_000  # the same where a command waits for the answer, however late
_LOST_NS = 3_000_000_000  # delay after which any child is abandoned that had a processor
_START_AGAIN_NS = 1_000_000_000
_PACKET_BYTES = 1 << 16
_MORE, _LAST = b"\1", b"\0"  # what a packet of an answer begins with
_CHECK_NS = 200_000_000
_PR_SET_PDEATHSIG = 1
TO_READ = (PTRACE, READ_SEARCH)  # other users' processes

Serve = Callable[[Any], Any]


class Asks(Protocol):
    """The part of `Helper` that readers of many processes use."""

    unanswered: deque[Sent]
    late: list[Late]

    def ask(self, request: Any, wait_ns: int) -> Any | None:
        """Return the answer, None where it is late."""

    def collect(self) -> None:
        """Read the answers that were late into `late`."""

    @property
    def is_full(self) -> bool:
        """True while no more requests are taken."""

    def has(self, request: Any) -> bool:
        """Return whether this request has no answer yet."""

    def close(self) -> None:
        """Stop the child."""


class Sent(NamedTuple):
    """A request, and when it was sent (CLOCK_MONOTONIC)."""

    request: Any
    sent_ns: int


class Late(NamedTuple):
    """An answer that came when it was no more waited for; serving it began at `read_ns`."""

    sent: Sent
    answer: Any
    read_ns: int


class Helper:
    """Runs `serve` for each request, in a child that starts with the first request.

    One after the other, in the order of the requests: on a busy host the child is given a processor
    seldom, and answers all of them then.  `blamed` is called with the request that has made the
    child hang; those behind it are lost.  `needs` are the capabilities that the child keeps, of
    those that the parent has.
    """

    def __init__(
        self, serve: Serve, blamed: Callable[[Any], None], needs: tuple[str, ...] = TO_READ
    ) -> None:
        self._serve = serve
        self._blamed = blamed
        self._needs = needs
        self._pid = 0
        self._socket: socket.socket | None = None
        self.unanswered: deque[Sent] = deque()  # the child serves the first of them
        self._begun_ns = 0  # since then, at the latest
        self._delay: ThreadDelay | None = None  # of the child, once that answer is late
        self.late: list[Late] = []  # for the caller to take
        self._parts: list[bytes] = []  # of an answer that is not complete
        self._hanging: set[int] = set()
        self._start_ns = 0  # earliest start of the next child

    @property
    def pid(self) -> int | None:
        """Pid of the current child."""
        return self._pid or None

    def ask(self, request: Any, wait_ns: int) -> Any | None:
        """Return the answer, None where it is late.

        Also where the request is not sent, as too many are without an answer or no child can be
        started: then it is not among `unanswered`.
        """
        self.collect()
        now_ns = time.monotonic_ns()
        if self.is_full or not (self._socket or self._start(now_ns)):
            return None
        assert self._socket is not None
        try:
            self._socket.send(pickle.dumps(request))
        except OSError:
            self._abandon(now_ns)
            return None
        if not self.unanswered:
            self._begun_ns, self._delay = now_ns, None
        self.unanswered.append(Sent(request, now_ns))
        return self._answer(wait_ns)

    @property
    def is_full(self) -> bool:
        """True while no more requests are taken."""
        return len(self.unanswered) >= _MOST_ASKED

    def has(self, request: Any) -> bool:
        """Return whether this request has no answer yet."""
        return any(sent.request == request for sent in self.unanswered)

    def read(self, request: Any) -> Any | None:
        """Return the answer, however late; None where the child hangs or has exited."""
        answer = self.ask(request, _CHECK_NS)
        while self.unanswered and self._delayed().blocked_ns < _READ_HANGS_NS:
            answer = self._answer(_CHECK_NS)
        return answer

    def collect(self) -> None:
        """Read the answers that were late into `late`; abandon a child that hangs."""
        self._reap()
        while self.unanswered and self._receive(0):
            pass
        if not self.unanswered:
            return
        now_ns = time.monotonic_ns()
        delay = self._delayed()
        # On a busy host the child may be late because it gets no processor.
        if delay.blocked_ns > _HANGS_NS or now_ns - self._begun_ns - delay.queued_ns > _LOST_NS:
            hangs = self.unanswered[0].request
            self._abandon(now_ns)
            self._blamed(hangs)

    def close(self) -> None:
        """Stop the child.  Safe to call twice."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._pid:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            self._hanging.add(self._pid)
            self._pid = 0
        self.unanswered.clear()
        self._parts.clear()
        self._reap()

    def _delayed(self) -> Delay:
        if self._delay is None:
            self._delay = ThreadDelay(f"/proc/{self._pid}")
        return self._delay.observe(time.monotonic_ns())

    def _abandon(self, now_ns: int) -> None:
        self.close()
        self._start_ns = now_ns + _START_AGAIN_NS

    def _answer(self, wait_ns: int) -> Any | None:
        """Wait for the answer to the last request: the others come before it."""
        until_ns = time.monotonic_ns() + wait_ns
        while self._receive(until_ns):
            if not self.unanswered:
                return self.late.pop().answer
        if self.unanswered:
            self._delayed()  # counts from now on
        return None

    def _receive(self, until_ns: int) -> bool:
        """Read the next answer into `late`; False where it has not come until then."""
        assert self._socket is not None
        whole = False
        while not whole:
            # 0: do not wait
            self._socket.settimeout(max(until_ns - time.monotonic_ns(), 0) / 1e9)
            try:
                packet = self._socket.recv(_PACKET_BYTES)
            except (BlockingIOError, TimeoutError):
                return False
            except OSError:
                packet = b""
            if not packet:  # the child has exited
                self._abandon(time.monotonic_ns())
                return False
            self._parts.append(packet[1:])
            whole = packet[:1] == _LAST
        body = b"".join(self._parts)
        self._parts.clear()
        answer, read_ns = pickle.loads(body)  # noqa: S301 - of our own child, and of our own types
        self.late.append(Late(self.unanswered.popleft(), answer, read_ns))
        self._begun_ns, self._delay = time.monotonic_ns(), None
        return True

    def _start(self, now_ns: int) -> bool:
        if now_ns < self._start_ns or len(self._hanging) >= _MOST_HANGING:
            return False
        self._start_ns = now_ns + _START_AGAIN_NS
        try:
            ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError:
            return False
        parent = os.getpid()
        try:
            self._pid = os.fork()
        except OSError:  # no more processes are available
            ours.close()
            its.close()
            return False
        if not self._pid:
            _be_child(its, parent, self._serve, self._needs)
        its.close()
        self._socket = ours
        return True

    def _reap(self) -> None:
        for pid in list(self._hanging):
            with suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG) == (0, 0):
                    continue
            self._hanging.discard(pid)


def _be_child(its: socket.socket, parent: int, serve: Serve, needs: tuple[str, ...]) -> None:
    """Serve until the parent exits.

    Holds no pipe of the parent, no program in the kernel, and no right to load one.
    """
    try:
        _let_go(its.detach())
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        with suppress(OSError):  # as in the parent
            keep_only(needs)
        its = socket.socket(fileno=3)
        while os.getppid() == parent and (request := its.recv(_PACKET_BYTES)):
            begun_ns = time.monotonic_ns()
            answer = serve(pickle.loads(request))  # noqa: S301 - of our parent
            _send(its, pickle.dumps((answer, begun_ns)))
    finally:
        os._exit(0)


def _send(to: socket.socket, body: bytes) -> None:
    size = _PACKET_BYTES - 1
    while len(body) > size:
        to.send(_MORE + body[:size])
        body = body[size:]
    to.send(_LAST + body)


def _let_go(keep: int) -> None:
    gc.disable()  # fewer writes keep more memory shared with the parent
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # From a terminal: the parent exits, and the child follows.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    copy = os.dup(keep) if keep <= 3 else keep  # noqa: PLR2004
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    os.dup2(copy, 3)
    os.closerange(4, 1 << 20)

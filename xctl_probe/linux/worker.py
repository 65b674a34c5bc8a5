"""Thread for calls that may sleep for long; it can be abandoned.

For sleeps that SIGKILL interrupts: such a thread does not prevent the exit of the process.  An
uninterruptible sleep needs a child process, see `helper`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from xctl_probe.linux.thread_delay import ThreadDelay

_HANGS_NS = 300_000_000  # in one sleep of state D: uninterruptible, or but by SIGKILL
_MOST_HANGING = 4

Job = Callable[[], Any]


class Worker:
    """Runs one call at a time.  The thread starts with the first call."""

    def __init__(self) -> None:
        self._thread: _Thread | None = None
        self._delay: ThreadDelay | None = None  # of the call under way
        self._hanging: list[_Thread] = []

    def run(self, job: Job, wait_ns: int) -> bool:
        """Start a call and wait for it; False where it was not started or is not finished.

        Raises what the call raises.
        """
        if not self.is_free:
            return False
        if self._thread is None and not self._start():
            return False
        assert self._thread is not None
        self._delay = None
        self._thread.begin(job)
        return self._thread.wait(wait_ns)

    @property
    def is_free(self) -> bool:
        """True when no call is under way.  Raises what a late call has raised."""
        return self._thread is None or self._thread.wait(0)

    @property
    def hangs(self) -> bool:
        """True when the call under way has slept for long in state D, while this was asked."""
        if self.is_free:
            return False
        assert self._thread is not None
        if self._delay is None:
            self._delay = ThreadDelay(f"/proc/self/task/{self._thread.native_id}")
        return self._delay.observe(time.monotonic_ns()).blocked_ns > _HANGS_NS

    def abandon(self) -> None:
        """Abandon the thread with its call; it exits after the call."""
        if self._thread is not None:
            self._thread.end()
            self._hanging.append(self._thread)
            self._thread = None

    def close(self) -> None:
        """Let the thread end.  Safe to call twice."""
        self.abandon()
        self._hanging.clear()

    def _start(self) -> bool:
        self._hanging = [thread for thread in self._hanging if thread.is_alive()]
        if len(self._hanging) >= _MOST_HANGING:
            return False
        thread = _Thread()
        try:
            thread.start()
        except RuntimeError:  # no more threads are available
            return False
        self._thread = thread
        return True


class _Thread(threading.Thread):
    """Thread that waits on a lock for its next job."""

    def __init__(self) -> None:
        super().__init__(name="reader of /proc", daemon=True)
        self._work, self._idle = threading.Lock(), threading.Lock()
        self._work.acquire()
        self._job: Job | None = None
        self._error: BaseException | None = None
        self._stops = False

    def begin(self, job: Job) -> None:
        self._idle.acquire()
        self._job = job
        self._work.release()

    def wait(self, wait_ns: int) -> bool:
        if not self._idle.acquire(timeout=wait_ns / 1e9):
            return False
        self._idle.release()
        error, self._error = self._error, None
        if error is not None:
            raise error
        return True

    def end(self) -> None:
        self._stops = True
        if self._idle.acquire(blocking=False):
            self._work.release()

    def run(self) -> None:
        while True:
            self._work.acquire()
            if self._stops or self._job is None:
                return
            try:
                self._job()
            except BaseException as error:
                self._error = error
            self._job = None
            if self._stops:
                return
            self._idle.release()

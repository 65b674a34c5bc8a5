"""What the workloads share: lines on stdout, orders on stdin.  Standard library only.

Each workload is a script that any Python from 3.9 on runs, as any user.
"""

import ctypes
import json
import os
import sys
import tempfile
import threading
import time

OP_MS = 50
STEP_EVERY_S = 0.2
_lock = threading.Lock()
_last_step = [0.0]
_steps = [0]


def now_ms():
    return time.time_ns() // 1_000_000


def emit(**event):
    with _lock:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()


def step():
    """Count one step; it is printed at most five times a second."""
    _steps[0] += 1
    now = time.monotonic()
    if now - _last_step[0] >= STEP_EVERY_S:
        _last_step[0] = now
        emit(step=_steps[0])


class Op:
    """An operation on the network: `with Op():`; long ones are printed with their times."""

    def __enter__(self):
        self.begin = now_ms()

    def __exit__(self, *_):
        end = now_ms()
        if end - self.begin >= OP_MS:
            emit(op=[self.begin, end])


class Orders:
    """Orders on stdin: `take` gives the next one as words, or None.  It never blocks."""

    def __init__(self):
        self._orders = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in sys.stdin:
            self._orders.append(line.split())

    def take(self, *names):
        for order in self._orders:
            if order[0] in names:
                self._orders.remove(order)
                return order
        return None

    def idle(self):
        """Pause for as long as `idle S` orders, where it was."""
        order = self.take("idle")
        if order:
            emit(fault="idle", at=now_ms())
            time.sleep(float(order[1]))
            emit(healed="idle", at=now_ms())


def obey(order):
    """Carry out an order that keeps this thread from its work, and print its begin and end."""
    name, seconds = order[0], float(order[1])
    emit(fault=name, at=now_ms())
    {"compute": compute, "sleep": time.sleep, "deadlock": deadlock, "disk": disk}[name](seconds)
    emit(healed=name, at=now_ms())


def compute(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        sum(i * i for i in range(5000))


def deadlock(seconds):
    """Wait for a lock that this very thread holds."""
    lock = threading.Lock()
    lock.acquire()
    lock.acquire(timeout=seconds)


def disk(seconds):
    """Uninterruptible sleep: the parent of a vfork, whose child waits to open a FIFO."""
    folder = tempfile.mkdtemp()
    fifo = os.path.join(folder, "fifo")
    os.mkfifo(fifo)
    opener = os.fork()
    if opener == 0:
        # Between fork and exit only these calls, because the parent has threads.
        time.sleep(seconds)
        os.close(os.open(fifo, os.O_WRONLY))
        os._exit(0)
    action = (os.POSIX_SPAWN_OPEN, 0, fifo, os.O_RDONLY, 0)
    child = os.posix_spawn("/bin/true", ["true"], os.environ, file_actions=[action])
    os.waitpid(child, 0)
    os.waitpid(opener, 0)
    os.remove(fifo)
    os.rmdir(folder)


def die_with_parent():
    """Have the kernel kill this process with the evaluation (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, 9)

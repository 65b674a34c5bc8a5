"""Run the installed probe; every line that it writes goes through the model of the consumer."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from support.consumer_model import Consumer, ContractError
from support.install import Installed
from support.namespace import Namespace, end, spawn

STDERR_BYTES_MAX = 4096
STOP_S = 60.0  # far more than it takes, also under emulation: attacks have limits of their own
WAIT_S = 45.0  # only where a test fails
# A reply is late after the stall length, so that tests need not wait a second for each.
SHORT_REPLIES = {"XCTL_NETWORK_REPLY_MS": "100"}


class Probe:
    """A running probe and what the consumer made of its output so far.

    A line against the contract fails the next `wait_for` or `stop`, with the line in the
    message.  `prefix` is a command that runs it, such as setpriv.  `pause` stops reading, as a
    consumer that is stopped does.
    """

    def __init__(
        self,
        installed: Installed,
        namespace: Namespace,
        *options: object,
        user: str = "unprivileged",
        env: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        **popen: Any,
    ) -> None:
        words = [*namespace.command(user), *prefix, str(installed.command), *map(str, options)]
        clean = {k: v for k, v in os.environ.items() if not k.startswith("XCTL_")}
        self.process = spawn(words, env=clean | SHORT_REPLIES | dict(env or {}), **popen)
        self.pid = self.process.pid
        self.consumer = Consumer()
        self.stderr = b""
        self._broken: ContractError | None = None
        self._changed = threading.Condition()
        self._reading = threading.Event()
        self._reading.set()
        self._threads = [
            threading.Thread(target=target, daemon=True)
            for target in (self._read_records, self._read_stderr)
        ]
        for thread in self._threads:
            thread.start()

    def wait_for(self, predicate: Callable[[Consumer], Any], timeout: float = WAIT_S) -> Any:
        """Wait until the predicate over the consumer holds, and give back its value."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while not (found := predicate(self.consumer)):
                self._raise_broken()
                left = deadline - time.monotonic()
                if left <= 0 or self._ended():
                    raise AssertionError(self.story(f"not seen within {timeout} s"))
                self._changed.wait(min(left, 0.5))
            self._raise_broken()
            return found

    def wait_for_intervals(self, count: int, timeout: float = 60.0) -> None:
        """Wait until so many intervals have passed, by the heartbeat of an interface."""

        def beats(consumer: Consumer) -> int:
            return len({r.ts for r in consumer.interface_bandwidth()})

        with self._changed:
            begin = beats(self.consumer)
        self.wait_for(lambda consumer: beats(consumer) >= begin + count, timeout)

    def wait_for_sample(self) -> None:
        """Wait until a sample has been taken that begins from now on.

        A record may be of a sample from before it was made; the next one is not.
        """
        now_ms = time.time_ns() // 1_000_000
        self.wait_for(lambda c: len({r.ts for r in c.interface_bandwidth() if r.ts > now_ms}) >= 2)

    def wait_ready(self) -> None:
        """Wait for the first interval, so that what follows is seen from its beginning."""
        self.wait_for_intervals(1)

    def wait_for_stderr(self, word: str, timeout: float = WAIT_S) -> None:
        """Wait for what the probe prints of itself, where there are no records to wait for."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while word.encode() not in self.stderr:
                left = deadline - time.monotonic()
                assert left > 0, self.story(f"no {word!r} on stderr within {timeout} s")
                self._changed.wait(left)

    def pause(self) -> None:
        self._reading.clear()

    def resume(self) -> None:
        self._reading.set()

    def resident_bytes(self) -> int:
        with open(f"/proc/{self.pid}/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self, number: signal.Signals = signal.SIGINT) -> Consumer:
        """Stop the probe as a user does; it flushes and exits 0."""
        self.process.send_signal(number)
        return self.wait_exit(0)

    def wait_exit(self, code: int = 0, timeout: float = STOP_S) -> Consumer:
        """Wait until the probe has left by itself."""
        self.process.wait(timeout)
        for thread in self._threads:
            thread.join(timeout)
        with self._changed:
            self._raise_broken()
            assert self.process.returncode == code, self.story(
                f"exit code {self.process.returncode}, not {code}",
            )
            assert len(self.stderr) < STDERR_BYTES_MAX, self.story("too much on stderr")
            return self.consumer

    def close(self) -> None:
        self._reading.set()
        end(self.process)
        for thread in self._threads:
            thread.join(STOP_S)

    def _read_records(self) -> None:
        for line in _lines(self.process.stdout, self._reading):
            with self._changed:
                try:
                    if not line.endswith(b"\n"):
                        raise ContractError(f"the last line is cut short: {line!r}")
                    self.consumer.feed(line)
                except ContractError as error:
                    self._broken = self._broken or error
                self._changed.notify_all()

    def _read_stderr(self) -> None:
        for line in _lines(self.process.stderr):
            with self._changed:
                self.stderr += line
                self._changed.notify_all()

    def _ended(self) -> bool:
        return self.process.poll() is not None and not self._threads[0].is_alive()

    def _raise_broken(self) -> None:
        if self._broken is not None:
            raise self._broken

    def story(self, what: str) -> str:
        """What a person needs who reads that a test failed."""
        records = self.consumer.records
        rare = [
            r
            for r in records
            if r.event_type != "transport.bw"
            or r.pid is not None
            or r.net.get("unattributed_bytes")
        ]
        lines = [what, f"exit: {self.process.poll()}", f"stderr: {self.stderr.decode()!r}"]
        lines += [f"{len(records)} records, the last of them:", *map(str, records[-3:])]
        lines += ["the last that are about a process or an error:", *map(str, rare[-20:])]
        return "\n  ".join(lines)


def _lines(pipe: Any, reading: threading.Event | None = None) -> Any:
    """Whole lines of a pipe as they come; while `reading` is clear, nothing is taken from it."""
    if pipe is None:
        return
    rest = b""
    descriptor = pipe.fileno()
    while True:
        if reading is not None:
            reading.wait()
        try:
            select.select([descriptor], [], [])
            if reading is not None and not reading.is_set():
                continue
            part = os.read(descriptor, 65_536)
        except (OSError, ValueError):  # closed meanwhile
            break
        if not part:
            break
        *whole, rest = (rest + part).split(b"\n")
        yield from (line + b"\n" for line in whole)
    if rest:
        yield rest

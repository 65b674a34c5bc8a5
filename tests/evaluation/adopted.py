"""A process of a job that a launcher started: it is reached through two FIFOs."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from evaluation.process import Process

APPEARS_S = 60.0


class _Foreign:
    """What `Process` uses of a Popen, for a process that is no child of ours."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def send_signal(self, number: int) -> None:
        if not self.pid:  # kill(2): 0 is the process group of the caller
            raise ProcessLookupError
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def poll(self) -> int | None:
        try:
            state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return -1
        return -1 if state in "ZX" else None

    def wait(self, _timeout: float) -> None:
        """The launcher waits for it."""


def fifos(folder: Path, name: str) -> Sequence[Path]:
    """The FIFOs `<name>.in` and `<name>.out`, which any user may open."""
    pair = [folder / f"{name}.in", folder / f"{name}.out"]
    for path in pair:
        os.mkfifo(path)
        path.chmod(0o666)
    return pair


class Adopted(Process):
    """A process that opens the FIFOs as its stdin and stdout, and prints `{"pid": n}` first."""

    def __init__(self, name: str, host: int, folder: Path) -> None:
        self._fifos = fifos(folder, name)
        self._folder = folder
        # Read and write, so that neither side waits for the other to open it.
        self._in = os.fdopen(os.open(self._fifos[0], os.O_RDWR), "wb", buffering=0)
        self._out = os.fdopen(os.open(self._fifos[1], os.O_RDWR), "rb")
        super().__init__(name, host, (), folder)

    def _start(self, _command: Sequence[str], _env: object) -> None:
        self.process = _Foreign(0)
        self.stdin, self.stdout = self._in, self._out

    def appear(self) -> None:
        """Wait until the process has named itself."""
        self.process.pid = self.pid = self.wait_for(lambda e: "pid" in e, s=APPEARS_S)["pid"]

    @property
    def dead(self) -> bool:
        return self.pid != 0 and self.process.poll() is not None

    def end(self) -> None:
        if self.pid:
            with suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
                self.process.kill()
        with suppress(OSError):
            # A line, so that the thread that reads does not wait for one for ever.
            fd = os.open(self._fifos[1], os.O_RDWR | os.O_NONBLOCK)
            os.write(fd, json.dumps("over").encode() + b"\n")
            os.close(fd)
        for path in self._fifos:
            path.unlink(missing_ok=True)

"""A probe that is measured from outside: CPU, memory, and when its first record came."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_COMMAND = Path(sys.executable).with_name("xctl-probe-network")


@dataclass
class MeasuredProbe:
    """A running probe; use as a context manager."""

    process: subprocess.Popen[bytes]
    started: float  # time.monotonic()

    @classmethod
    def start(cls, *options: str) -> Self:
        """Start `xctl-probe-network` with these options, stdout on a pipe."""
        started = time.monotonic()
        process = subprocess.Popen(
            [str(_COMMAND), *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        return cls(process, started)

    def first_record_s(self) -> float:
        """Seconds from the start to the first line."""
        assert self.process.stdout is not None
        self.process.stdout.readline()
        return time.monotonic() - self.started

    def cpu_s(self) -> float:
        """Seconds of CPU so far, user and system."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) * _TICK_S

    def cpu_share(self, seconds: float) -> float:
        """The share of a core that it takes over the next `seconds`, while it is read."""
        assert self.process.stdout is not None
        drain = subprocess.Popen(["cat"], stdin=self.process.stdout, stdout=subprocess.DEVNULL)
        before, begun = self.cpu_s(), time.monotonic()
        time.sleep(seconds)
        share = (self.cpu_s() - before) / (time.monotonic() - begun)
        drain.terminate()
        drain.wait()
        return share

    def resident_mib(self) -> float:
        """The largest resident memory so far (VmHWM)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        kib = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(kib.split()[1]) / 1024

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.stdout is not None
        while self.process.stdout.read(1 << 16):
            pass
        self.process.wait()

#!/usr/bin/env python3
"""The limits of the service under systemd as process 1 on a kernel of its own.

Memory and CPU are bounded, the watchdog starts a probe again that stands still, so does the end of
its memory, and a stop leaves nothing in the kernel.  Runs where only the distribution's Python is.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import service
from service import UNIT, shown, systemctl

CGROUP = Path(f"/sys/fs/cgroup/system.slice/{UNIT}.service")
DEADLINE_S = 600  # under emulation a start takes minutes
MEMORY_BYTES = 512 << 20
QUOTA_US, PERIOD_US = 25_000, 100_000
TOO_LITTLE = "8M"


def until(what: str, condition: Callable[[], bool]) -> None:
    """Raise AssertionError where it does not come true."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > end:
            state = systemctl("status", "--no-pager", "--lines=20", UNIT, check=False)
            raise AssertionError(f"not {what}:\n{state}")
        time.sleep(0.5)


def counters(name: str) -> dict[str, int]:
    """What a file of the cgroup counts, by key."""
    return {key: int(value) for key, value in map(str.split, _lines(name))}


def _lines(name: str) -> list[str]:
    return (CGROUP / name).read_text().splitlines()


def in_kernel() -> dict[str, set[tuple[int, str]]]:
    """Programs, links and maps in the kernel by their ids, but those that systemd has."""
    found = {}
    for kind in ("prog", "link", "map"):
        done = subprocess.run(("bpftool", "-j", kind), stdout=subprocess.PIPE, check=True)
        listed = json.loads(done.stdout or "[]")
        ids = {(one["id"], one.get("name", "")) for one in listed}
        found[kind] = {one for one in ids if not one[1].startswith("sd_")}
    return found


def bounds() -> str:
    """The cgroup has the limits of the unit, and the kernel holds the CPU to its own."""
    assert _lines("memory.max") == [str(MEMORY_BYTES)]
    assert _lines("cpu.max") == [f"{QUOTA_US} {PERIOD_US}"]
    assert _lines("pids.max") == ["64"]
    cpu, memory = counters("cpu.stat"), int(_lines("memory.current")[0])
    assert cpu["nr_throttled"] > 0, cpu  # loading the programs takes more, under emulation
    # Each processor may take a slice of 5 ms beyond it in a period.
    most = cpu["nr_periods"] * (QUOTA_US + 5_000 * (os.cpu_count() or 1))
    assert cpu["usage_usec"] <= most, cpu
    peak = int(_lines("memory.peak")[0])
    assert memory <= peak < MEMORY_BYTES
    return (
        f"{memory / 2**20:.0f} MiB of memory, at most {peak / 2**20:.0f};"
        f" throttled in {cpu['nr_throttled']} of {cpu['nr_periods']} periods, used"
        f" {cpu['usage_usec'] / cpu['nr_periods'] / 1000:.1f} ms in each"
    )


def restarted(before: int) -> bool:
    return int(shown("NRestarts")) > before and shown("ActiveState") == "active"


def reload_is_refused() -> None:
    pid = shown("MainPID")
    done = subprocess.run(("systemctl", "reload", UNIT), stderr=subprocess.PIPE, check=False)
    assert done.returncode, "settings are read at a start only"
    assert b"not applicable" in done.stderr, done.stderr
    assert (shown("MainPID"), shown("ActiveState")) == (pid, "active")


def watchdog() -> None:
    """Stop the probe: it does not report that it lives."""
    before, pid = int(shown("NRestarts")), int(shown("MainPID"))
    os.kill(pid, signal.SIGSTOP)
    until("restarted by the watchdog", lambda: restarted(before))
    assert int(shown("MainPID")) != pid
    assert "Watchdog timeout" in journal(), journal()


def memory() -> None:
    """Give it less than it takes: the kernel kills it, and it starts again when it has enough."""
    before = int(shown("NRestarts"))
    systemctl("set-property", "--runtime", UNIT, f"MemoryMax={TOO_LITTLE}")
    until("ended by the kernel", lambda: "oom-kill" in journal())
    systemctl("revert", UNIT)
    systemctl("daemon-reload")
    until("restarted after it", lambda: restarted(before))
    assert _lines("memory.max") == [str(MEMORY_BYTES)]


def journal() -> str:
    words = ("journalctl", "--output=cat", f"--unit={UNIT}")
    return subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout


def main() -> None:
    """Raise AssertionError or CalledProcessError where the service is not as it should be."""
    before = in_kernel()
    service.main()
    until("free of its programs after a stop", lambda: in_kernel() == before)
    service.start()
    print(bounds())
    reload_is_refused()
    watchdog()
    service.hold_conversation()
    memory()
    service.hold_conversation()
    print(bounds())
    service.stop()
    until("free of its programs after the restarts", lambda: in_kernel() == before)
    print("limits hold, the watchdog and the end of memory start it again, a stop leaves nothing")


if __name__ == "__main__":
    main()

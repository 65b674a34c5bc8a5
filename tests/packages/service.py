#!/usr/bin/env python3
"""The service of the Debian package under systemd as process 1: starts, streams, stops.

Runs where only the distribution's Python is, as `streams.py` does.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

from streams import SETTINGS, converse

UNIT = "xctl-probe-network"


def systemctl(*words: str, check: bool = True) -> str:
    done = subprocess.run(("systemctl", *words), stdout=subprocess.PIPE, text=True, check=check)
    return done.stdout.strip()


def shown(name: str) -> str:
    return systemctl("show", "--property", name, "--value", UNIT)


def records(journal: subprocess.Popen) -> Iterator[bytes]:
    """Yield the records in the journal: systemd and the probe's start line write to it, too."""
    for line in journal.stdout:
        if line.startswith(b"{"):
            yield line


def start() -> None:
    """Return when the programs are attached: Type=notify."""
    systemctl("start", UNIT)
    assert shown("StatusText").startswith("source ebpf "), shown("StatusText")


def hold_conversation() -> None:
    """Raise AssertionError where the journal does not get exactly its records."""
    follow = ("journalctl", "--follow", "--lines=0", "--output=cat", f"--unit={UNIT}")
    with subprocess.Popen(follow, stdout=subprocess.PIPE) as journal:
        try:
            converse(records(journal))
        finally:
            journal.kill()


def stop() -> None:
    systemctl("stop", UNIT)
    assert (shown("Result"), shown("ExecMainCode"), shown("ExecMainStatus")) == (
        "success",
        "1",
        "0",
    )
    assert not Path(f"/run/{UNIT}").exists()


def main() -> None:
    """Raise AssertionError or CalledProcessError where the service is not as it should be."""
    assert shown("UnitFileState") == "disabled"
    assert shown("ActiveState") == "inactive"  # it was just installed
    Path(f"/etc/default/{UNIT}").write_text("".join(f"{k}={v}\n" for k, v in SETTINGS.items()))
    systemctl("enable", UNIT)
    start()
    pid = shown("MainPID")
    hold_conversation()
    systemctl("daemon-reload")
    hold_conversation()  # another one, by the same process
    assert shown("MainPID") == pid
    assert shown("NRestarts") == "0"
    check = subprocess.run((UNIT, "status", "--check"), stdout=subprocess.PIPE, check=False)
    assert check.stdout.startswith(b"healthy"), check.stdout
    stop()
    print("starts, streams into the journal, survives daemon-reload, stops with exit code 0")


if __name__ == "__main__":
    main()

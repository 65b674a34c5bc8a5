"""What the kernel logs about the programs: a host may be set up to panic at a warning."""

from __future__ import annotations

import subprocess


def test_the_kernel_warns_of_nothing(running):
    running.wait_for_intervals(1)
    done = subprocess.run(["dmesg"], capture_output=True, text=True, check=True)
    assert done.stdout
    assert [line for line in done.stdout.splitlines() if "WARNING:" in line] == []

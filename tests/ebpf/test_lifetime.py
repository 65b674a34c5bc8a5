"""The probe comes fast, and leaves nothing: closed, ended or killed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.install import CHECKOUT, WORKLOADS
from support.require import require_tools

PROGRAM = re.compile(r"^prog_id:\s*(\d+)$", re.MULTILINE)


def loaded_programs() -> set[str]:
    """Identities of all programs in the kernel: other probes load and unload theirs meanwhile."""
    require_tools("bpftool")
    listing = subprocess.run(
        ["bpftool", "prog", "show", "--json"], capture_output=True, text=True, check=True
    ).stdout
    return {str(program["id"]) for program in json.loads(listing)}


def programs_of(pid: int) -> set[str]:
    """Identities of the programs that a process holds."""
    files = Path(f"/proc/{pid}/fdinfo").iterdir()
    return {found[1] for file in files if (found := PROGRAM.search(file.read_text()))}


@pytest.fixture
def holder(watch, peer):
    """Start a process with a source of its own."""
    watch().source.close()  # skips where it cannot work
    return lambda: peer("lifetime.holds_a_source")


def test_a_killed_probe_leaves_nothing(holder):
    process = holder().process
    mine = programs_of(process.pid)
    assert len(mine) >= 5
    assert mine <= loaded_programs()
    process.kill()
    process.wait()
    end = time.monotonic() + 60
    while mine & loaded_programs():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_nothing_is_pinned(holder):
    holder()
    pinned = Path("/sys/fs/bpf")
    assert not pinned.is_dir() or not [p for p in pinned.rglob("*") if "xctl" in p.name]


def test_a_closed_source_gives_every_descriptor_back(watch):
    before = set(os.listdir("/proc/self/fd"))
    seen = watch()
    assert len(os.listdir("/proc/self/fd")) > len(before)
    seen.source.close()
    seen.source.close()
    assert set(os.listdir("/proc/self/fd")) == before


def test_it_starts_without_what_people_need():
    """Importing is most of a start: `make bench` measures it, here is what makes it short."""
    done = subprocess.run(
        [sys.executable, "-S", str(WORKLOADS / "loads.py"), "xctl_probe.ebpf.source"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(CHECKOUT), *sys.path])},
        check=True,
        capture_output=True,
        text=True,
    )
    packages = {name.partition(".")[0] for name in done.stdout.split()}
    # The command line's libraries take most of a start.
    assert packages - sys.stdlib_module_names == {"xctl_probe"}

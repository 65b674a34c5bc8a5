"""The probe comes fast, and leaves nothing: closed, ended or killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.bpftool import loaded_programs, programs_of
from support.install import CHECKOUT, WORKLOADS
from support.waiting import until


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
    until(lambda: not mine & loaded_programs())


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

"""The probe comes fast, and leaves nothing: closed, ended or killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.install import CHECKOUT, WORKLOADS
from support.require import require_tools


def loaded_programs() -> set[str]:
    """Identities of all programs in the kernel that bear one of our names."""
    require_tools("bpftool")
    listing = subprocess.run(
        ["bpftool", "prog", "show"], capture_output=True, text=True, check=True
    ).stdout
    ours = ("on_send", "on_receive", "on_state", "on_retransmit", "drain_sockets")
    lines = (line.split() for line in listing.splitlines() if " name " in line)
    return {words[0] for words in lines if words[words.index("name") + 1] in ours}


@pytest.fixture
def holder(watch, peer):
    """Start a process with a source of its own."""
    watch().source.close()  # skips where it cannot work
    return lambda: peer("lifetime.holds_a_source")


def test_a_killed_probe_leaves_nothing(holder):
    before = loaded_programs()
    process = holder().process
    mine = loaded_programs() - before
    assert len(mine) >= 5
    process.kill()
    process.wait()
    # Other probes may come and go meanwhile: only what this one loaded has to be gone.
    end = time.monotonic() + 10
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

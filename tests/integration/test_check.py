"""`check` for real: as root, as a user, in a user namespace, and behind a seccomp filter."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import time

import pytest
from support.bpftool import listed
from support.require import require, require_tools


@pytest.fixture
def check(installed, netns):
    """Run it behind a prefix, by a user of the namespace; the exit code and the object."""

    def run(*prefix, user="unprivileged"):
        words = [*netns.command(user), *prefix, str(installed.command), "check", "--json"]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
        assert done.stderr == ""
        found = json.loads(done.stdout)
        found["by_name"] = {one["name"]: one for one in found["sources"]}
        return done.returncode, found

    return run


def behind_a_filter(installed):
    return str(installed.python), str(installed.traffic / "filtered.py")


def unheld():
    """The ids of BPF programs and links without a process that holds them."""
    return {
        (what, one["id"])
        for what in ("prog", "link")
        for one in listed(what)
        if not one.get("pids")
    }


def test_no_process_is_reported_what_is_missing_and_gets_the_sampler(check):
    """No privilege at all: what the kernel reports, and what would help."""
    code, found = check()
    assert code == 0
    assert (found["works"], found["auto"]) == (True, "sampler sock_diag")
    for attach in ("fentry", "kprobe", "tracepoint"):
        row = found["by_name"][f"ebpf {attach}"]
        assert (row["answer"], row["errno"]) == ("no", "EPERM")
        assert row["remedies"]
        assert "kernel" in row["besides"]
    assert {"udp_bytes", "connect_errors"} <= {spot["key"] for spot in found["blind_spots"]}


def test_root_gets_what_the_stream_takes(check, start_probe):
    """Tried for real; nothing stays loaded or attached."""
    require(os.geteuid() == 0, "only root may load programs")
    before = unheld()
    code, found = check(user="root")
    assert code == 0
    left = unheld() - before
    deadline = time.monotonic() + 60  # the kernel frees programs a little later
    while left := left & unheld():  # others have theirs for a moment, too
        assert time.monotonic() < deadline, left
    probe = start_probe("--duration", "0.3", user="root")
    probe.wait_exit()
    backend, _, attach = found["auto"].partition(" ")
    assert f"source {backend} ({attach}: " in probe.stderr.decode()
    assert found["by_name"][found["auto"]]["answer"] == "yes"
    for row in found["sources"]:
        assert row["reason"], row


def test_the_remedy_for_no_process_works(check, installed, netns):
    """With the capabilities that `check` names for Python, an ordinary user may load programs."""
    require(os.geteuid() == 0, "only root can give capabilities to a file")
    require_tools("setcap")
    _, found = check()
    (remedy,) = {r for one in found["sources"] for r in one["remedies"] if "setcap" in r} or {""}
    capabilities = remedy.partition("setcap ")[2].split()[:1] or ["cap_bpf,cap_perfmon=ep"]
    python = installed.python.with_name("python-with-capabilities")
    shutil.copy(os.path.realpath(installed.python), python)
    subprocess.run(["setcap", *capabilities, str(python)], check=True)
    words = [*netns.command("root"), "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    done = subprocess.run(
        [*words, str(python), "-m", "xctl_probe", "check", "--json"],
        capture_output=True,
        check=True,
        cwd="/",
    )
    reported = json.loads(done.stdout)
    python.unlink()
    _, roots = check(user="root")
    assert reported["auto"] == roots["auto"]
    assert "CAP_BPF" in reported["host"]["capabilities"]


def test_a_seccomp_filter_is_named(check, installed):
    """Root in a container: the capabilities are there, bpf(2) and netlink are not."""
    require(platform.machine() in ("x86_64", "aarch64"), "no numbers of calls for this machine")
    code, found = check(*behind_a_filter(installed))
    assert code == 0
    assert found["auto"] == "sampler /proc/net"
    row = found["by_name"]["sampler sock_diag"]
    assert (row["answer"], row["errno"]) == ("no", "EPERM")
    assert any("seccomp" in remedy for remedy in row["remedies"])
    assert found["host"]["seccomp"] == "filtered"


def test_root_behind_a_seccomp_filter_is_reported_of_it(check, installed):
    """The privileges are there, and the kernel refuses all the same."""
    require(os.geteuid() == 0, "only root has the privileges")
    code, found = check(*behind_a_filter(installed), user="root")
    assert code == 0
    row = found["by_name"]["ebpf tracepoint"]
    assert row["answer"] == "no"
    if row["errno"] is not None:  # else the kernel has no such variant
        assert any("seccomp" in remedy for remedy in row["remedies"])


def test_a_user_namespace_is_named(check):
    """All capabilities, and none that counts for BPF."""
    code, found = check("unshare", "-r", user="root" if os.geteuid() == 0 else "unprivileged")
    assert code == 0
    assert any("--userns host" in r for r in found["by_name"]["ebpf fentry"]["remedies"])


def test_text_is_a_table(installed, netns):
    """What a person reads."""
    words = [*netns.command(), str(installed.command), "check"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0
    assert done.stdout.isascii()
    lines = done.stdout.splitlines()
    assert lines[0].startswith("  ebpf fentry")
    assert "auto takes sampler sock_diag, which cannot see:" in lines
    assert any(line.split()[:1] == ["kernel.perf_event_paranoid"] for line in lines)

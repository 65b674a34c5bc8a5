"""What a running probe still may: read from /proc, of each of its threads and helper processes."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from support.conversation import ANSWER, QUESTION
from support.require import require_tools
from support.terminal import Terminal
from support.waiting import until

DAC_OVERRIDE, READ_SEARCH, BIND, NET_ADMIN = 1 << 1, 1 << 2, 1 << 10, 1 << 12
PTRACE, ADMIN, PERFMON, BPF = 1 << 19, 1 << 21, 1 << 38, 1 << 39
INSPECTS = PTRACE | READ_SEARCH
EVERYTHING = BPF | INSPECTS | ADMIN  # CAP_PERFMON is given up once the programs are loaded
OTHER_USER = 65534
QUICK = ("--interval", "0.2", "--loopback")


class Rights(NamedTuple):
    """Fields of /proc/PID/status."""

    inheritable: int
    permitted: int
    effective: int
    bounding: int
    ambient: int
    no_new_privs: int


def only(kept, bounding=0):
    """Rights of a thread that has these and can get no others."""
    return Rights(0, kept, kept, bounding, 0, 1)


def rights(folder):
    lines = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    fields = (lines[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"))
    return Rights(*(int(field, 16) for field in fields), int(lines["NoNewPrivs"]))


def of_threads(pid):
    """The distinct rights of all threads of a process."""
    found = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found.add(rights(task))
        except (FileNotFoundError, ProcessLookupError):  # it has exited
            continue
    return found


def of_helpers(pid):
    """The distinct rights of all helper processes of a probe."""
    found = set()
    for helper in psutil.Process(pid).children():
        with suppress(FileNotFoundError):  # it has exited
            found |= of_threads(helper.pid)
    return found


def as_user(caps, *more):
    ids = (f"--reuid={OTHER_USER}", f"--regid={OTHER_USER}", "--clear-groups")
    return ("setpriv", *ids, f"--inh-caps={caps}", f"--ambient-caps={caps}", *more)


@pytest.fixture
def folder():
    """A folder that belongs to another user, and that no other may write."""
    made = Path(tempfile.mkdtemp(prefix="xctl-folder-", dir="/tmp"))
    shutil.chown(made, OTHER_USER, OTHER_USER)
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def running(start_probe, worker, watch):
    """A probe that has inspected a peer of another user: with its helper processes."""
    watch().source.close()  # skips where the kernel source cannot work

    def start(*options, **how):
        client, server = worker(user="root"), worker(user="root")
        client.connect("127.0.0.1", server.ask("listen")["port"])
        server.ask("accept")
        probe = start_probe(*QUICK, *options, user="root", **how)
        probe.wait_ready()
        client.begin("ask", QUESTION, ANSWER)
        server.ask("recv", QUESTION)
        return probe, client

    return start


@pytest.mark.parametrize(
    ("backend", "kept"), [("auto", EVERYTHING), ("ebpf", EVERYTHING), ("sampler", INSPECTS)]
)
def test_root_keeps_what_the_source_needs(running, backend, kept):
    probe, client = running("--backend", backend, "--prometheus", 0)
    probe.wait_for(lambda c: c.stalls(pid=client.pid))
    assert len(list(Path(f"/proc/{probe.pid}/task").iterdir())) > 1
    assert of_threads(probe.pid) == {only(kept)}
    # A helper is there a moment before it has given up the rest.
    until(lambda: of_helpers(probe.pid) == {only(INSPECTS)})


def test_a_user_of_its_own_keeps_ambient_capabilities_that_are_needed(running):
    """As under systemd: AmbientCapabilities=, CapabilityBoundingSet=, one of them for nothing."""
    bounding = NET_ADMIN | BPF | PERFMON | INSPECTS
    caps = "-all,+bpf,+perfmon,+sys_ptrace,+dac_read_search,+net_admin"
    probe, client = running("--backend", "ebpf", prefix=as_user(caps, f"--bounding-set={caps}"))
    probe.wait_for(lambda c: c.stalls(pid=client.pid))
    assert of_threads(probe.pid) == {only(BPF | INSPECTS, bounding)}  # needs CAP_SETPCAP
    until(lambda: of_helpers(probe.pid) == {only(INSPECTS, bounding)})
    probe.wait_for_stderr("other network namespaces are not inspected")
    probe.wait_for_stderr("needs CAP_SYS_ADMIN")


def test_who_has_nothing_gets_no_new_privileges_either(start_probe):
    probe = start_probe(*QUICK)  # an ordinary user
    probe.wait_ready()
    assert of_threads(probe.pid) == {only(0)}


def test_a_port_below_1024_keeps_the_right_to_it(start_probe):
    probe = start_probe(*QUICK, "--prometheus", 80, user="root")
    probe.wait_ready()
    assert of_threads(probe.pid) == {only(EVERYTHING | BIND)}


@pytest.mark.parametrize("option", ["--record", "--prometheus-file", "--status-dir"])
def test_a_folder_of_another_user_keeps_the_right_to_write_there(folder, start_probe, option):
    name = "metrics.prom" if option == "--prometheus-file" else "new"
    probe = start_probe(*QUICK, option, folder / name, user="root")
    probe.wait_ready()
    assert of_threads(probe.pid) == {only(EVERYTHING | DAC_OVERRIDE)}
    until((folder / name).exists)


def test_a_folder_of_ones_own_takes_no_right(start_probe, tmp_path):
    probe = start_probe(*QUICK, "--record", tmp_path / "ring", user="root")
    probe.wait_ready()
    assert of_threads(probe.pid) == {only(EVERYTHING)}


def test_status_keeps_what_reaches_the_sockets_of_other_users(installed, start_probe, tmp_path):
    probe = start_probe(*QUICK, "--status-dir", tmp_path / "run", user="root")
    probe.wait_ready()
    words = [installed.command, "--status-dir", tmp_path / "run", "status", "--watch"]
    watching = subprocess.Popen([*map(str, words)], stdout=subprocess.PIPE)
    try:
        assert watching.stdout.readline()
        assert of_threads(watching.pid) == {only(DAC_OVERRIDE)}
    finally:
        watching.kill()
        watching.wait()


def test_top_keeps_what_the_stream_keeps(installed, netns):
    """It shows what `why` answers too, which needs the same."""
    require_tools("tmux")
    words = [*netns.command("root"), str(installed.command), "top"]
    screen = Terminal(["sh", "-c", 'exec "$@"', "top", *words], 100, 30, {"TERM": "screen"})
    try:
        screen.wait_for("xctl-probe-network top: ebpf")
        top, *_ = [  # its helpers come after it
            one.pid
            for one in psutil.Process(screen.pane_pid()).children(recursive=True)
            if one.cmdline()[-1:] == ["top"]
        ]
        assert of_threads(top) == {only(EVERYTHING | PERFMON | NET_ADMIN)}
    finally:
        screen.close()


def test_a_trace_of_calls_inspects_no_process(start_probe):
    probe = start_probe("--trace", user="root")
    probe.wait_for_stderr("tracing every send and receive")
    assert of_threads(probe.pid) == {only(BPF | PERFMON)}

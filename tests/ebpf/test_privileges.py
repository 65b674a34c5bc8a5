"""What each privilege is worth: tried for real, by processes that have only that."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from support.conversation import ANSWER, QUESTION
from support.install import NO_PROBES, WORKLOADS
from support.require import require, require_tools
from support.waiting import stalls_once_shown

PROGRAM = WORKLOADS / "source_alone.py"
SYSTEM_PYTHON = "/usr/bin/python3"  # another user cannot run one that lives in root's home

WORKS = "sent 7 received 7\nerrors ['RESET']\n"
UNPRIVILEGED = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


@pytest.fixture
def package(tmp_path_factory, watch):
    """The package laid out as installed, where any user may read it."""
    watch().source.close()  # skips where not even we may
    require(Path(SYSTEM_PYTHON).exists(), f"{SYSTEM_PYTHON} is missing")
    folder = tmp_path_factory.mktemp("package")
    root = Path(__file__).parents[2]
    subprocess.run(["cp", "-rL", root / "xctl_probe", PROGRAM, folder], check=True)
    subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
    above = folder
    while above != Path("/tmp") and above != Path("/"):
        above.chmod(above.stat().st_mode | 0o055)
        above = above.parent
    return folder


@pytest.fixture
def run_as(package):
    def run(*prefix):
        require_tools(prefix[0])
        done = subprocess.run(
            [*prefix, SYSTEM_PYTHON, package / PROGRAM.name, package],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_root(run_as):
    assert run_as("env") == WORKS


def test_bpf_and_perfmon_lose_nothing(run_as):
    """Iterators, seeding of one's own sockets and socket storage ask for no more than these."""
    caps = "-all,+bpf,+perfmon"
    assert run_as(*UNPRIVILEGED, f"--inh-caps={caps}", f"--ambient-caps={caps}") == WORKS


@pytest.mark.parametrize("only", ["bpf", "perfmon"])
def test_one_of_the_two_is_not_enough(run_as, only):
    caps = f"-all,+{only}"
    output = run_as(*UNPRIVILEGED, f"--inh-caps={caps}", f"--ambient-caps={caps}")
    assert output.startswith("unavailable: not permitted")
    assert "CAP_BPF and CAP_PERFMON" in output


def test_a_user_with_nothing(run_as):
    output = run_as(*UNPRIVILEGED, "--inh-caps=-all", "--bounding-set=-all")
    assert output == ("unavailable: not permitted: run as root, or with CAP_BPF and CAP_PERFMON\n")


def test_root_without_capabilities(run_as):
    output = run_as("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    assert "CAP_BPF and CAP_PERFMON" in output


def test_root_of_a_user_namespace(run_as):
    output = run_as("unshare", "--user", "--map-root-user")
    assert output.startswith("unavailable: a user namespace")


def test_a_pid_and_network_namespace_of_its_own(run_as):
    """It sees itself under the number that it has in there."""
    shell = 'ip link set lo up && "$0" "$@"'
    assert run_as("unshare", "--pid", "--net", "--fork", "--mount-proc", "sh", "-c", shell) == WORKS


ENOUGH = "-all,+bpf,+perfmon"
INSPECTS = f"{ENOUGH},+sys_ptrace,+dac_read_search"
EVERYWHERE = f"{INSPECTS},+sys_admin"


@pytest.fixture
def start_with(worker, start_probe):
    """A probe with some capabilities, and another user's connection with a peer of its role.

    `evented` waits for more from the connection; `blocking` does something else.
    """

    def start(caps, role, **where):
        client, server = worker(user="root", **where), worker(role, user="root", **where)
        client.connect("127.0.0.1", server.ask("listen")["port"])
        server.ask("accept")
        running = start_probe(
            *("--backend", "ebpf", "--loopback", "--interval", "0.2"),
            user="root",
            prefix=(*UNPRIVILEGED, f"--inh-caps={caps}", f"--ambient-caps={caps}"),
        )
        running.wait_ready()
        return running, server, client

    return start


def read_and_not_answered(server, client):
    for _ in range(2):  # the second one waits for more
        server.begin("recv", QUESTION)
    client.begin("ask", QUESTION, ANSWER)
    server.expect("recv")


def test_who_inspects_the_peer_reports_a_peer_that_is_busy(start_with):
    """And reports that this is so in its own network namespace only."""
    running, server, client = start_with(INSPECTS, "blocking")
    client.begin("ask", QUESTION, ANSWER)
    server.ask("recv", QUESTION)
    running.wait_for(lambda c: c.stalls(pid=client.pid, ongoing=True))
    assert b"other network namespaces are not inspected" in running.stderr
    assert b"needs CAP_SYS_ADMIN" in running.stderr


@pytest.mark.parametrize("caps", [INSPECTS, ENOUGH])
def test_a_wait_that_the_peer_means_is_never_reported(start_with, caps):
    running, server, client = start_with(caps, "evented")
    read_and_not_answered(server, client)
    running.wait_for_intervals(7)
    assert running.stop().stalls(pid=client.pid) == []


def test_who_may_not_inspect_the_peer_notes_it_and_asserts_nothing(start_with):
    """That peer hangs, but one in its event loop appears the same."""
    running, server, client = start_with(ENOUGH, "blocking")
    running.wait_for_stderr("other users' processes are not inspected")
    running.wait_for_stderr("needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH")
    client.begin("ask", QUESTION, ANSWER)
    server.ask("recv", QUESTION)
    running.wait_for_intervals(7)
    assert running.stop().stalls(pid=client.pid) == []


@pytest.mark.parametrize(("caps", "shown"), [(INSPECTS, False), (EVERYWHERE, True)])
def test_a_peer_in_another_network_namespace_takes_sys_admin(start_with, make_netns, caps, shown):
    """A peer that hangs there is reported by who may enter the namespace, and by no other."""
    running, server, client = start_with(caps, "blocking", namespace=make_netns())
    client.begin("ask", QUESTION, ANSWER)
    server.ask("recv", QUESTION)
    assert bool(stalls_once_shown(running, client.pid, shown, intervals=7)) is shown


@pytest.mark.parametrize(("caps", "answers"), [(ENOUGH, False), (INSPECTS, True)])
def test_why_of_another_user_s_process(installed, worker, netns, caps, answers):
    """It takes what reading its descriptors takes."""
    asked = worker(user="root")
    prefix = (*UNPRIVILEGED, f"--inh-caps={caps}", f"--ambient-caps={caps}")
    words = [
        *netns.command("root"),
        *prefix,
        str(installed.command),
        *NO_PROBES,
        "why",
        str(asked.pid),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is answers, done.stderr


def test_a_request_that_no_process_has_read_needs_no_privilege_to_be_seen(start_with):
    """It lies in the queue of the peer socket."""
    running, _, client = start_with(ENOUGH, "blocking")
    client.begin("ask", QUESTION, ANSWER)
    running.wait_for(lambda c: c.stalls(pid=client.pid, ongoing=True))


def test_this_test_ran_as_root():
    require(os.geteuid() == 0, "run the tests as root")

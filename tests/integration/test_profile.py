"""`profile PID` of real processes, as root and without privileges."""

from __future__ import annotations

import json
import platform
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from support.bpftool import loaded_programs, programs_of
from support.conversation import ANSWER, QUESTION, connected, unanswered
from support.require import require, require_tools
from support.waiting import until

from xctl_probe.commands.profile.numbers import numbers

MOST_S = 60  # far more than it takes


@pytest.fixture
def command(installed, netns):
    """Start it, of a process."""
    started = []

    def start(*options, user="unprivileged"):
        words = [*netns.command(user), str(installed.command), "profile", *map(str, options)]
        started.append(
            subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.communicate()


@pytest.fixture
def profile(command):
    """Run it to its end; the object, and what it printed to stderr."""

    def run(*options, user="unprivileged"):
        done = command("--json", *options, user=user)
        out, err = done.communicate(timeout=MOST_S)
        assert done.returncode == 0, err
        return json.loads(out), err

    return run


@pytest.fixture
def counts(trials):
    require("ebpf" in trials and not trials["ebpf"].returncode, "the kernel source does not work")


@pytest.mark.needs_root
def test_a_client_that_waits_is_bound_by_the_network(counts, profile, worker):
    """A receive that began before the profile has not returned: samples show it, not counts."""
    server, client, _ = connected(worker)
    unanswered(server, client)
    found, err = profile(client.pid, "--seconds", 1, user="root")
    assert err == ""
    assert (found["counted"], found["bound_by"]) == (True, "network")
    assert "recvfrom (socket)" in found["reason"]


@pytest.mark.needs_root
def test_a_process_that_computes_is_bound_by_the_cpu(counts, profile, worker):
    busy = worker()
    taken_s = psutil.Process(busy.pid).cpu_times().user
    busy.begin("compute", 60_000)  # it is stopped before
    until(lambda: psutil.Process(busy.pid).cpu_times().user >= taken_s + 0.1)  # it has begun
    found, _ = profile(busy.pid, "--seconds", 1, user="root")
    assert found["bound_by"] == "cpu"
    busy.process.kill()


@pytest.mark.needs_root
def test_bytes_and_calls_of_one_exchange(counts, command, worker):
    """Counted to the byte; it is stopped by SIGINT, and answers."""
    server, client, _ = connected(worker)
    running = command("--json", "--seconds", 60, client.pid, user="root")
    wait_until_attached(running)
    unanswered(server, client)
    server.ask("send", ANSWER)
    assert client.expect("ask")["bytes"] == ANSWER
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=MOST_S)
    assert running.returncode == 0, err
    found = json.loads(out)
    assert (found["sent_bytes"], found["received_bytes"]) == (QUESTION, ANSWER)
    assert found["latencies"]["sendto"]["times"] == 1
    assert found["categories"]["network"]["times"] >= 2


def wait_until_attached(running):
    """Until it samples: the programs are attached then, and have found the process."""
    deadline = time.monotonic() + MOST_S
    while not (programs_of(running.pid) and in_poll(running.pid)):
        assert time.monotonic() < deadline
        assert running.poll() is None, running.stderr.read()
        time.sleep(0.01)
    return programs_of(running.pid)


def in_poll(pid):
    number = Path(f"/proc/{pid}/syscall").read_text().partition(" ")[0]
    return number.isdigit() and numbers(platform.machine())[int(number)] == "poll"


@pytest.mark.needs_root
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_in_the_kernel(counts, command, worker, number):
    require_tools("bpftool")
    idle = worker()
    running = command("--seconds", 600, idle.pid, user="root")
    mine = wait_until_attached(running)
    assert len(mine) == 3
    assert mine <= loaded_programs()
    running.send_signal(number)
    running.communicate(timeout=MOST_S)
    until(lambda: not mine & loaded_programs())


@pytest.mark.needs_root
def test_it_is_over_with_the_process(counts, command, worker):
    """A minute is not waited for."""
    idle = worker()
    running = command("--json", "--seconds", 600, idle.pid, user="root")
    wait_until_attached(running)
    idle.close()
    out, err = running.communicate(timeout=MOST_S)
    assert running.returncode == 0, err
    assert json.loads(out)["pid"] == idle.pid


def test_without_privileges_the_threads_are_sampled(profile, worker):
    server, client, _ = connected(worker)
    unanswered(server, client)
    found, err = profile(client.pid, "--seconds", 1)
    (line,) = err.splitlines()
    assert "sampled from /proc" in line
    assert "run as root" in line
    assert (found["counted"], found["bound_by"]) == (False, "network")
    assert found["waits"][0]["call"] == "recvfrom (socket)"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((1 << 22,), ["profile 4194304", "no such process"]),
        ((1,), ["profile 1", "run as root"]),
        ((2,), ["profile 2"]),
        ((1, "--seconds", 0), ["--seconds 0"]),
        ((1, "--seconds", "nan"), ["--seconds nan"]),
        (("all",), ["all"]),
    ],
)
def test_a_mistake_is_one_line(command, options, words):
    done = command(*options)
    out, err = done.communicate(timeout=MOST_S)
    assert (done.returncode, out) == (2, "")
    (line,) = err.splitlines()
    assert all(word in line for word in words), line

"""The command: which probes are asked, the exit code, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import threading
import tracemalloc

import pytest
from support.status import STATUS, Answering

from xctl_probe.commands.status import command
from xctl_probe.commands.status.command import run
from xctl_probe.errors import UsageError
from xctl_probe.status import directory
from xctl_probe.status.document import to_json


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def probe(folder):
    made = Answering(folder, to_json(STATUS))
    yield made
    made.close()


def ask(folder, stdout, **more):
    given = {"pid": None, "as_json": False, "check": False, "watch_s": None} | more
    return run(stdout, directory=str(folder), **given)


@pytest.fixture
def output(tmp_path):
    """A file for stdout, and what is in it."""
    path = tmp_path / "output"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    yield fd, path.read_text
    os.close(fd)


def test_figures_are_no_failure_whatever_they_are(probe, folder, output):
    """Only --check answers with its exit code."""
    assert ask(folder, output[0]) == 0
    assert output[1]().startswith(f"pid {os.getpid()} (uid {os.geteuid()}): healthy\n")


def test_one_probe_by_its_pid(probe, folder, output):
    assert ask(folder, output[0], pid=os.getpid(), as_json=True) == 0
    assert json.loads(output[1]())["probes"][0]["status"]["source"] == "ebpf"
    with pytest.raises(UsageError, match="no probe with pid 1 runs in"):
        ask(folder, output[0], pid=1)


def test_a_check_is_0_or_1(probe, folder, output):
    assert ask(folder, output[0], check=True) == 0
    other = Answering(folder, b"7")
    assert ask(folder, output[0], check=True) == 1
    other.close()
    first, second = output[1]().splitlines()
    assert first == "healthy: 1 probe"
    assert second.startswith("unhealthy: pid")


@pytest.fixture
def of_root(tmp_path, monkeypatch):
    """Root's directory, and that of a user whose session has one."""
    system, users = tmp_path / "system", tmp_path / "users"
    (users / "1009").mkdir(parents=True)
    monkeypatch.setattr(directory, "_SYSTEM", system)
    monkeypatch.setattr(directory, "_USERS", users)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    return system, users / "1009" / directory._NAME


def without_a_directory(stdout, **more):
    return run(stdout, **{"directory": None, "pid": None, "as_json": False} | more, watch_s=None)


def test_a_check_by_root_leaves_the_probes_of_users_out(of_root, output):
    """One that never answers takes no time; the list has it."""
    system, session = of_root
    own, users = Answering(system, to_json(STATUS)), Answering(session, b"7")
    assert without_a_directory(output[0], check=True) == 0
    assert (output[1](), users.requests) == ("healthy: 1 probe\n", [])
    assert without_a_directory(output[0], check=False, as_json=True) == 0
    found = json.loads(output[1]().splitlines()[1])
    assert [one["healthy"] for one in found["probes"]] == [True, False]
    assert without_a_directory(output[0], check=True, pid=os.getpid()) == 1  # of both
    own.close()
    users.close()


def test_the_probe_of_a_user_is_no_answer_for_that_of_root(of_root):
    """The service has died: a check has to find that."""
    users = Answering(of_root[1], to_json(STATUS))
    with pytest.raises(UsageError, match="no probe of root or of a service runs here; start one"):
        without_a_directory(1, check=True)
    users.close()


def test_a_document_is_dropped_before_the_next_is_decoded(tmp_path, output):
    """Of each byte of such an answer a Python object has 24."""
    answer = b"[" + b",".join([b"{}"] * 50_021) + b"]"
    made = [Answering(tmp_path, answer) for _ in range(9)]
    tracemalloc.start()
    ask(tmp_path, output[0])
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    for one in made:
        one.close()
    assert output[1]().count("answers with something else than a status") == 9
    assert most < 4 * 50_021 * 64


def test_without_a_probe_the_remedy_is_named(folder):
    with pytest.raises(UsageError, match=r"no probe runs in .*run that this user may ask; start"):
        ask(folder, 1)


@pytest.mark.parametrize("watch_s", [0.0, -1.0, 3_601.0, float("nan")])
def test_a_time_that_is_none_is_refused(folder, watch_s):
    with pytest.raises(UsageError, match=r"--watch .*: give seconds from 0.1 to 3600"):
        ask(folder, 1, watch_s=watch_s)


def test_a_check_is_for_one_moment(folder):
    with pytest.raises(UsageError, match="--check --watch: give one of them"):
        ask(folder, 1, check=True, watch_s=1.0)


def test_watching_goes_on_until_a_signal_also_without_a_probe(probe, folder, output, monkeypatch):
    """Twice with it, once without, as while it starts again."""
    asked = []
    answer = command._ask

    def counted(*given):
        asked.append(given)
        if len(asked) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return answer(*given) if len(asked) < 3 else []

    monkeypatch.setattr(command, "_ask", counted)
    assert threading.current_thread() is threading.main_thread()
    assert ask(folder, output[0], as_json=True, watch_s=0.1) == 0
    found = [json.loads(line) for line in output[1]().splitlines()]
    assert [len(one["probes"]) for one in found] == [1, 1, 0, 0]


def test_watching_stops_when_its_reader_is_gone(probe, folder):
    reader, writer = os.pipe()
    os.close(reader)
    assert ask(folder, writer, watch_s=0.1) == 0
    os.close(writer)

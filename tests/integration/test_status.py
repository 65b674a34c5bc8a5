"""Running probes and who asks them: both sources, every kind of client, the service manager."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from integration.test_equals import PIECE, steps
from support.conversation import answered, connected, unanswered
from support.install import NO_PROBES
from support.namespace import UNPRIVILEGED
from support.require import require
from support.status import fill
from support.waiting import ENOUGH_S, until

from xctl_probe.status import directory

PIPE_BYTES = 4_096


@pytest.fixture
def folder(installed, backend):
    """A directory of the user that the probe runs as, below one that anyone may enter."""
    made = Path(tempfile.mkdtemp(prefix="status-", dir=installed.traffic.parent))
    made.chmod(0o711)
    (made / "run").mkdir(mode=0o700)
    if backend.user != "root" and os.geteuid() == 0:
        os.chown(made / "run", UNPRIVILEGED, UNPRIVILEGED)
    yield made / "run"
    shutil.rmtree(made)


@pytest.fixture
def status(installed, netns, backend, folder):
    """Run the command as the user of the probe, or as another; exit code and output."""

    def run(*words, user=backend.user, place=folder):
        called = [str(installed.command), "--status-dir", str(place), "status", *map(str, words)]
        done = subprocess.run(
            [*netns.command(user), *called],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        run.stderr = done.stderr
        return done.returncode, done.stdout

    return run


@pytest.fixture
def served(probe, folder):
    """Start a probe that answers in the directory."""
    return lambda *options, **more: probe("--status-dir", folder, *options, **more)


def document(answer):
    """The document of the only probe."""
    code, text = answer
    assert code == 0
    (one,) = json.loads(text)["probes"]
    return one["status"]


def ask(folder, request, timeout_s=ENOUGH_S):
    """Ask the only socket as a program of any language does: one line, one document."""
    (path,) = folder.glob("*.sock")
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(timeout_s)
        client.connect(str(path))
        client.sendall(request)
        parts = []
        with suppress(ConnectionResetError):
            while part := client.recv(1 << 16):
                parts.append(part)
    return b"".join(parts)


def test_the_figures_are_those_of_the_run(served, status, backend, worker, folder):
    """Intervals, stalls, the process, and what the kernel has of this source."""
    running = served()
    server, client, _ = connected(worker)
    answered(server, client)
    unanswered(server, client)
    running.wait_for(lambda c: c.stalls(pid=client.pid, ongoing=True))
    found = document(status("--json"))
    assert (found["pid"], found["source"]) == (running.pid, running_source(backend))
    assert found["intervals"]["interval_ms"] == 200
    assert found["intervals"]["count"] >= 1
    assert found["stalls"] >= 1
    assert found["process"]["resident_bytes"] > 10 << 20
    if backend.name == "ebpf":
        _check_kernel(found["figures"], backend)
    else:
        assert found["lost"] == {}  # the kernel source sees what other tests drop
        assert found["figures"]["attach"] is None
        assert found["figures"]["features"] == {"sock_diag": True}
        assert found["figures"]["counts"]["sockets"] >= 2
    text = status()[1]
    assert f"pid {running.pid} (uid {0 if backend.user == 'root' else os_uid()}): " in text
    running.stop()
    assert list(folder.iterdir()) == []


def running_source(backend):
    return "ebpf" if backend.name == "ebpf" else "sampler"


def os_uid():
    return UNPRIVILEGED if os.geteuid() == 0 else os.geteuid()


def _check_kernel(figures, backend):
    assert f"ebpf {figures['attach']}" == backend.source
    maps = {one["name"]: one for one in figures["maps"]}
    assert maps["processes"]["max_entries"] == 16_384
    assert maps["endpoints"]["type"] == "lru_hash"
    assert maps["endpoints"]["entries"] >= 1  # of the two processes and their request
    assert maps["sockets"]["type"] in ("sk_storage", "hash")
    assert all(one["memory_bytes"] > 0 for one in maps.values())
    assert figures["ring"]["size_bytes"] == 1 << 20
    programs = {one["name"]: one for one in figures["programs"]}
    assert {"on_state", "drain_sockets", "iter_waiters"} <= programs.keys()
    assert all(one["runs"] is None or one["runs"] > 0 for one in programs.values())
    assert figures["features"]["ring_buffer"]


def test_written_records_are_those_that_the_reader_has(served, status):
    """All of them, between two intervals."""
    running = served(interval=3.0)
    until(
        lambda: (
            document(status("--json"))["records"]["written"] == len(running.consumer.records) > 1
        )
    )
    running.stop()


def test_the_stalls_are_the_records_that_are_written_now(served, worker, folder):
    """What a later `blame` asks for: the same object as in the stream, while it lasts."""
    running = served()
    server, client, identity = connected(worker)
    answered(server, client)
    unanswered(server, client)
    running.wait_for(lambda c: c.stalls(pid=client.pid, ongoing=True))

    def seen():
        found = json.loads(ask(folder, b"stalls\n"))
        assert (found["pid"], found["interval_ms"]) == (running.pid, 200)
        return [one for one in found["stalls"] if one["pid"] == client.pid]

    (stall,) = until(seen)
    assert (stall["event_type"], stall["net"]["ongoing"]) == ("transport.drop", True)
    assert stall["net"]["remote"] == identity["remote"]
    running.wait_for(lambda c: any(r.ts == stall["ts"] for r in c.stalls(pid=client.pid)))


def test_a_probe_answers_while_its_reader_is_stopped(served, status, backend):
    """The pipe is full and no one reads it; what waits is in the figures."""
    running = served()
    running.pause()
    fcntl.fcntl(running.process.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def queued():
        return document(status("--json"))["records"]["queued"]

    until(queued)
    before = document(status("--json"))["intervals"]["count"]
    until(lambda: document(status("--json"))["intervals"]["count"] > before + 2)
    assert queued() > 0
    running.resume()
    running.wait_for_intervals(2)
    running.stop()


def test_a_client_that_never_reads_holds_nothing_up(served, status, folder):
    """Eight of them take all places, for two seconds; then there is room again."""
    running = served()
    (path,) = folder.glob("*.sock")
    with ExitStack() as stack:
        for _ in range(8):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(str(path))
        running.wait_for_intervals(5)
        assert document(status("--json"))["pid"] == running.pid
    running.stop()


def test_a_hundred_clients_at_once_hold_nothing_up(served, status, folder):
    """Each is answered or waits in the kernel; the stream goes on, and the probe answers again."""
    running = served()
    with ExitStack() as stack:
        fd = directory.open_to_ask(folder)
        stack.callback(os.close, fd)
        (name,) = directory.sockets(fd)
        asked = 0
        while asked < 100:
            clients = fill(fd, name)
            asked += len(clients)
            for client in clients:
                stack.enter_context(client)
                with suppress(OSError):
                    client.send(b"status\n")
        running.wait_for_intervals(5)
    found = until(lambda: json.loads(status("--json")[1])["probes"][0]["status"])
    assert found["process"]["descriptors"] < 100
    running.stop()


ASK = """
import socket, sys
client = socket.socket(socket.AF_UNIX)
client.connect(sys.argv[1])
try:
    client.send(b"status\\n")
    print(client.recv(99))
except ConnectionError:
    print("closed")
"""


def test_another_user_is_refused_and_root_is_not(served, status, backend, folder, installed):
    """By the directory, and by the probe where all modes are wrong."""
    require(os.geteuid() == 0, "only root runs programs as two users")
    running = served()
    if backend.user == "root":
        folder.chmod(0o755)
        (path,) = folder.glob("*.sock")
        path.chmod(0o666)
        assert status(user="unprivileged")[0] == 2
        assert "that this user may ask" in status.stderr
        words = ["setpriv", f"--reuid={UNPRIVILEGED}", "--clear-groups", installed.python]
        done = subprocess.run(
            [*words, "-c", ASK, path], capture_output=True, text=True, check=False, timeout=60
        )
        assert (done.stdout, done.stderr) in [("b''\n", ""), ("closed\n", "")]
    else:
        assert document(status("--json", user="root"))["uid"] == UNPRIVILEGED
    running.wait_for_intervals(1)
    running.stop()


def test_the_socket_of_a_killed_probe_is_no_probe_and_the_next_removes_it(served, status, folder):
    """Also before that, no one waits for it."""
    running = served()
    running.process.kill()
    running.process.wait(ENOUGH_S)
    (remnant,) = folder.glob("*.sock")
    assert status()[0] == 2
    following = served()
    (path,) = folder.glob("*.sock")
    assert path != remnant
    assert document(status("--json"))["pid"] == following.pid
    following.stop()
    assert list(folder.iterdir()) == []


def test_two_probes_are_listed_and_one_is_asked_by_its_pid(served, status):
    first, second = served(), served()
    code, text = status("--json")
    found = {one["pid"] for one in json.loads(text)["probes"]}
    assert (code, found) == (0, {first.pid, second.pid})
    assert document(status("--json", second.pid))["pid"] == second.pid


def test_a_check_names_a_probe_that_is_stopped(served, status):
    """SIGSTOP: 1 in a few seconds, with the reason; 0 before.  Later, its intervals were late.

    An interval is late from half of its length on: a busy host makes short ones late all the time.
    """
    running = served(interval=1.0)
    until(lambda: status("--check") == (0, "healthy: 1 probe\n"))
    late = document(status("--json"))["intervals"]["late"]
    running.process.send_signal(signal.SIGSTOP)
    try:
        stopped = (1, f"unhealthy: pid {running.pid}: does not answer within 5 s\n")
        assert status("--check") == stopped
    finally:
        running.process.send_signal(signal.SIGCONT)
    until(lambda: document(status("--json"))["intervals"]["late"] > late)
    assert document(status("--json"))["intervals"]["missed"] >= 3  # of 1 s in five seconds
    until(lambda: status("--check")[0] == 0)
    running.stop()


def test_without_a_place_for_the_socket_the_probe_goes_on(probe):
    """One line, where it is asked for, and none otherwise."""
    nowhere = {"RUNTIME_DIRECTORY": "/proc/1/none"}
    running = probe("--verbose", env=nowhere)
    running.wait_for_stderr("no socket for status: /proc/1/none: ")
    running.wait_for_intervals(1)
    running.stop()
    assert running.stderr.count(b"no socket") == 1
    quiet = probe(env=nowhere)
    quiet.wait_for_intervals(1)
    quiet.stop()
    assert quiet.stderr.count(b"\n") == 1


def test_a_place_that_was_named_and_is_none_is_bad_input(start_probe, backend, folder):
    running = start_probe(*backend.options, "--status-dir", folder / "a/b", user=backend.user)
    running.wait_exit(2)
    assert b"/a/b: No such file or directory; --status-dir names another" in running.stderr


class Manager:
    """The socket of a service manager, and the messages that it has received."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        path.chmod(0o666)
        # So short a time that each interval is notified.
        self.environ = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "4000"}
        self.messages = []
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    def _receive(self):
        # The kernel queues ten messages only.  A probe may still notify while the socket is closed.
        with suppress(OSError):
            while message := self.socket.recv(999).decode():
                self.messages.append(message)

    def all(self):
        """The messages, once the sender has exited."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self.environ["NOTIFY_SOCKET"])
        self._thread.join(ENOUGH_S)
        return self.messages


@pytest.fixture
def manager(folder):
    made = Manager(folder.parent / "notify")
    yield made
    made.socket.close()


def test_the_service_manager_is_notified(served, backend, manager):
    """Ready once attached; the watchdog once an interval, however often it polls; the end."""
    running = served(env=manager.environ, interval=1.0)
    running.wait_for_intervals(2)
    consumer = running.stop(signal.SIGTERM)
    ready, *passed, stopping = manager.all()
    assert ready == f"READY=1\nSTATUS={passed_state(backend)}; nothing dropped"
    assert stopping == "STOPPING=1"
    notified = [one for one in passed if one.startswith("WATCHDOG=1")]
    assert notified == passed
    beats = {r.ts for r in consumer.interface_bandwidth()}
    assert len(notified) == len(beats) - 1  # the last one is after the end


def passed_state(backend):
    """The text for `systemctl status`: the source and its attach variant."""
    return f"source {backend.source}" if backend.name == "ebpf" else "source sampler"


def test_without_an_interval_the_watchdog_is_not_notified(start_probe, backend, manager):
    """The loop polls its source meanwhile."""
    options = (*backend.options, "--interval", "60", "--duration", "3")
    running = start_probe(*options, user=backend.user, env=manager.environ)
    running.wait_exit(0)
    ready, stopping = manager.all()
    assert (ready[:8], stopping) == ("READY=1\n", "STOPPING=1")


def test_a_reader_that_is_stopped_is_no_reason_for_the_watchdog(served, manager):
    """The probe measures, and so it lives."""
    running = served(env=manager.environ)
    running.pause()
    fcntl.fcntl(running.process.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    until(lambda: len(manager.messages) > 40)  # more than the pipe takes
    running.resume()
    running.stop()


def test_a_watchdog_that_is_shorter_than_the_interval_is_named(start_probe, backend, manager):
    """systemd would restart the probe again and again."""
    options = (*backend.options, "--interval", "1", "--duration", "0.1")
    running = start_probe(*options, user=backend.user, env=manager.environ)
    running.wait_exit(0)
    assert b"WatchdogSec=0.004 would restart a probe with --interval 1: give it" in running.stderr


def test_why_knows_what_a_running_probe_reports(served, folder, installed, netns, backend, worker):
    """That who accepted waits for an equal that is stopped: to two samples it only may."""
    running = served()
    server, client, _ = connected(worker, server_role="evented")
    steps(server, client)
    os.kill(client.pid, signal.SIGSTOP)
    server.begin("ask", PIECE, PIECE)

    def answer(place=folder):
        words = [str(installed.command), "--status-dir", str(place), "why", str(server.pid)]
        done = subprocess.run(
            [*netns.command(backend.user), *words, "--json"],
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        return json.loads(done.stdout)

    if backend.sees("accepted_waits"):
        running.wait_for(lambda seen: seen.stalls(pid=server.pid, ongoing=True))
        (finding,) = answer()["findings"]
        assert "as the probe reports that runs here" in finding["text"]
        assert (finding["cause"], finding["certain"]) == ("no_reply", True)
        assert finding["ms"] > 100
    guess = until(lambda: (one := answer(NO_PROBES[1]))["waits"] and one)
    assert [finding["certain"] for finding in guess["findings"]] == [False]
    os.kill(client.pid, signal.SIGCONT)
    client.begin("send", PIECE)
    client.expect("send")
    server.expect("ask")
    assert not answer()["waits"]
    running.stop()

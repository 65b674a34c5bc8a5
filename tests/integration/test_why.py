"""`why PID` of real processes on networks broken on purpose, against the workers' own clocks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest
from support.conversation import ANSWER, QUESTION, connected, transfer
from support.install import NO_PROBES
from support.require import require
from support.waiting import wait_until_in_call

from xctl_probe.linux.syscalls import Role

MORE_THAN_BUFFERS = 20_000_003
LATE_MS = 300  # what the machine's other work, a tick and a second sample may add


@pytest.fixture
def why(installed, netns):
    """Run it until `enough` holds of the answer; the object, and when it was asked."""

    def run(
        pid, enough=lambda answer: answer["waits"], user="unprivileged", options=(), timeout=60
    ):
        deadline = time.monotonic() + timeout
        while True:
            asked_ns = time.monotonic_ns()
            done = command(pid, user, options, "--json")
            assert done.returncode == 0, done.stderr
            answered_ns = time.monotonic_ns()
            answer = json.loads(done.stdout) | {"asked_ns": asked_ns, "answered_ns": answered_ns}
            if enough(answer):
                return answer
            assert time.monotonic() < deadline, json.dumps(answer, indent=1)

    def command(pid, user="unprivileged", options=(), *more):
        words = [
            *netns.command(user),
            str(installed.command),
            *NO_PROBES,
            *options,
            "why",
            *more,
            str(pid),
        ]
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)

    run.command = command
    return run


def at_least(ms):
    """So long a wait, so that what is off by little shows."""
    return lambda answer: (
        answer["waits"] and answer["findings"] and (answer["findings"][0]["ms"] or 0) >= ms
    )


def assert_since(answer, begin_ns, begun_ns):
    """The wait began in between; `ms` is of the second sample, before the answer."""
    least_ms = (answer["asked_ns"] - begun_ns) / 1e6
    most_ms = (answer["answered_ns"] - begin_ns) / 1e6
    assert least_ms - LATE_MS <= answer["findings"][0]["ms"] <= most_ms + LATE_MS


def first_dropped_ns(netns):
    """When the first packet was lost, at the latest: the client may be late to send it."""
    while not netns.counted_packets():
        pass
    return time.monotonic_ns()


def test_a_client_in_recv_waits_for_its_reply(why, worker):
    """Since its request, which was acknowledged; and its thread since then."""
    server, client, identity = connected(worker)
    begin_ns = time.monotonic_ns()
    client.begin("ask", QUESTION, ANSWER)
    server.ask("recv", QUESTION)
    begun_ns = time.monotonic_ns()
    answer = why(client.pid, at_least(500))
    (finding,) = answer["findings"]
    assert (finding["cause"], finding["certain"]) == ("no_reply", True)
    assert finding["inode"] == identity["inode"]
    assert f"waits for a reply from {identity['remote']}" in answer["verdict"]
    assert "its request was acknowledged, so the peer has it" in answer["verdict"]
    assert_since(answer, begin_ns, begun_ns)
    (thread,) = answer["threads"]
    took_ms = (
        answer["answered_ns"] - answer["asked_ns"]
    ) / 1e6  # they are read one after the other
    assert abs(thread["idle_ms"] - finding["ms"]) < took_ms + LATE_MS
    assert answer["tcp"][0]["peer"]["pid"] == server.pid


def test_a_client_in_an_event_loop_probably_waits(why, worker):
    """The stream may be silent here, a person gets what is likely."""
    server, client, _ = connected(worker, client_role="evented")
    client.begin("ask", QUESTION, ANSWER)
    server.ask("recv", QUESTION)
    answer = why(client.pid)
    assert answer["verdict"].startswith("probably waits for a reply")
    assert not answer["findings"][0]["certain"]


def test_a_subscriber_whose_peer_is_gone_waits_for_a_host_that_does_not_answer(why, worker, netns):
    """It has asked for nothing: only the kernel's keepalives show it."""
    _, client, identity = connected(worker)
    client.ask("keep_alive", 1)
    client.begin("recv", ANSWER)
    netns.drop_incoming(f"tcp sport {identity['remote'].rpartition(':')[2]}")
    answer = why(client.pid, lambda a: a["findings"] and a["findings"][0]["cause"] == "keepalive")
    assert answer["waits"]
    assert answer["findings"][0]["certain"]
    expected = f"waits for data from {identity['remote']}, whose host does not answer: "
    assert answer["verdict"].startswith(expected)
    assert answer["tcp"][0]["unanswered_keepalives"] >= 2


def test_a_sender_that_limits_its_own_rate_is_held_by_that(why, worker):
    """SO_MAX_PACING_RATE: the peer reads all that comes, and the path would take more."""
    server, client, identity = connected(worker)
    client.ask("pace", 20_003)  # a buffer full lasts longer than the reader is late
    server.begin("drain")
    client.begin("send", MORE_THAN_BUFFERS)
    for _ in range(5):
        answer = why(client.pid, lambda answer: answer["findings"])
        assert {finding["cause"] for finding in answer["findings"]} == {"pacing"}
    held = f"the sender itself limits its rate to {identity['remote']} (SO_MAX_PACING_RATE)"
    assert answer["verdict"].startswith(held)


def test_a_sender_is_reported_that_its_peer_is_stopped(why, worker):
    """Not the network: the peer process, which is on this host."""
    server, client, identity = connected(worker)
    os.kill(server.pid, signal.SIGSTOP)
    begin_ns = time.monotonic_ns()
    client.begin("send", MORE_THAN_BUFFERS)
    wait_until_in_call(client.pid, Role.SEND)
    begun_ns = time.monotonic_ns()
    answer = why(client.pid, at_least(1_000))
    assert answer["findings"][0]["cause"] == "peer_window"
    assert f"the peer {identity['remote']} does not read" in answer["verdict"]
    assert_since(answer, begin_ns, begun_ns)
    peer = answer["tcp"][0]["peer"]
    assert (peer["pid"], peer["stopped"]) == (server.pid, True)
    assert peer["unread_bytes"] > 0
    own = why(server.pid, lambda answer: not answer["waits"])
    assert f"kill -CONT {server.pid}" in own["verdict"]


def test_a_receiver_that_spins_waits_for_a_peer_that_is_stopped(why, worker):
    """A process that runs shows no receive: without a reason in the peer there is no verdict."""
    receiver, sender, identity = connected(worker)
    transfer(sender, receiver, 1_009)
    receiver.begin("spin", 1_009)
    answer = why(receiver.pid, lambda answer: answer["waits"] is None)
    assert identity["local"] in answer["verdict"]
    os.kill(sender.pid, signal.SIGSTOP)
    answer = why(receiver.pid)
    assert f"(pid {sender.pid}) is stopped" in answer["verdict"]


def test_lost_packets_are_counted(why, worker, netns):
    """How many retransmits, and when the next one is due."""
    _, client, identity = connected(worker)
    netns.drop_incoming(f"tcp dport {identity['remote'].partition(':')[2]}")
    begin_ns = time.monotonic_ns()
    client.begin("ask", QUESTION, ANSWER)
    begun_ns = first_dropped_ns(netns)
    answer = why(
        client.pid, lambda answer: answer["waits"] and answer["tcp"][0]["retransmits"] >= 2
    )
    assert f"no packet gets through to {identity['remote']}" in answer["verdict"]
    assert answer["findings"][0]["cause"] == "loss"
    assert answer["tcp"][0]["next_try_ms"] <= answer["tcp"][0]["rto_ms"]
    assert_since(answer, begin_ns, begun_ns)


def test_a_connect_is_still_connecting(why, worker, netns):
    """Since when follows from the timer; no sample was taken when it began."""
    server, client = worker(), worker()
    port = server.ask("listen")["port"]
    netns.drop_incoming(f"tcp dport {port}")
    begin_ns = time.monotonic_ns()
    client.begin("connect", "127.0.0.1", port)
    client.expect("connecting")
    begun_ns = first_dropped_ns(netns)
    answer = why(
        client.pid, lambda answer: answer["waits"] and answer["tcp"][0]["retransmits"] >= 1
    )
    assert answer["verdict"].startswith(f"still connecting to 127.0.0.1:{port} for ")
    assert answer["findings"][0]["cause"] == "connecting"
    assert_since(answer, begin_ns, begun_ns)


def test_whoever_does_not_want_the_network_does_not_wait_for_it(why, worker):
    """An idle server, a process that sleeps, a keep-alive client after its answer."""
    server, client, _ = connected(worker)
    client.begin("ask", QUESTION, ANSWER)
    server.ask("recv", QUESTION)
    server.ask("send", ANSWER)
    client.expect("ask")
    for pid in (server.pid, client.pid):
        answer = why(pid, bool)
        assert answer["verdict"].startswith("not waiting on the network"), answer["verdict"]
    server.begin("recv", QUESTION)
    answer = why(server.pid, lambda answer: answer["findings"])
    assert not answer["waits"]
    assert "its client" in answer["verdict"]
    client.begin("nap", 30_000)
    answer = why(client.pid, lambda answer: "sleeping" in answer["verdict"])
    assert not answer["waits"]


def test_a_datagram_is_awaited(why, worker):
    """Bound and not connected: it serves, and waits for work."""
    server = worker()
    port = server.ask("bind")["port"]
    server.begin("recv_from", 3)
    answer = why(server.pid, lambda answer: answer["findings"])
    assert answer["verdict"].endswith(f"it waits for datagrams on 127.0.0.1:{port}")
    assert answer["udp"][0]["receive_queue"] == 0


def test_without_sock_diag_less_is_shown_and_that_is_shown(why, worker, netns):
    """As in gVisor: queues, timers, and a note on what is missing."""
    _, client, identity = connected(worker)
    client.begin("send", MORE_THAN_BUFFERS)
    answer = why(client.pid, lambda answer: answer["tcp"][0]["probing"], options=["--no-sock-diag"])
    assert answer["source"] == "/proc/net"
    assert f"the peer {identity['remote']} does not read" in answer["verdict"]
    assert answer["tcp"][0]["last_send_ms"] is None
    assert any("--no-sock-diag" in note for note in answer["notes"])


def test_root_explains_a_process_of_another_namespace(installed, worker):
    """It enters the namespace; the process's sockets show no less than from inside."""
    require(os.geteuid() == 0, "only root may enter another network namespace")
    server, client, _ = connected(worker)
    client.begin("ask", QUESTION, ANSWER)
    server.ask("recv", QUESTION)
    words = [str(installed.command), *NO_PROBES, "why", "--json", str(client.pid)]
    deadline = time.monotonic() + 60
    answer = {"findings": []}
    while not answer["findings"] and time.monotonic() < deadline:  # it waits, but not long yet
        answer = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    assert answer["source"] == "sock_diag"
    assert answer["findings"][0]["cause"] == "no_reply"


def test_ones_own_process_in_a_namespace_that_one_may_not_enter(installed, worker):
    """Queues and timers show all the same; what is missing, and the remedy, are printed."""
    require(os.geteuid() == 0, "only root can make a process that is elsewhere and somebody's own")
    _, client, identity = connected(worker)
    client.begin("send", MORE_THAN_BUFFERS)
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"]
    words = [*drop, str(installed.command), *NO_PROBES, "why", "--json", str(client.pid)]
    deadline = time.monotonic() + 60
    while True:
        answer = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
        if answer["waits"]:
            break
        assert time.monotonic() < deadline, answer
    assert answer["source"] == "/proc/net"
    assert identity["remote"] in answer["verdict"]
    assert any("another network namespace" in note for note in answer["notes"])


def test_text_begins_with_the_verdict(why, worker):
    """What a person reads; a name that a process gave itself cannot drive the terminal."""
    server, client = worker(), worker(comm=b"\x1b[2Jevil\xff")
    client.connect("127.0.0.1", server.ask("listen")["port"])
    client.begin("ask", QUESTION, ANSWER)
    why(client.pid)
    done = why.command(client.pid)
    first = done.stdout.splitlines()[0]
    assert first.startswith(f"{client.pid} \\x1b[2Jevil\\xff: waits for a reply from")
    assert done.stdout.isascii()
    assert done.stderr == ""


def test_mistakes_are_one_line_with_the_remedy(why, worker, netns):
    """A pid that is gone, one that is none, one of somebody else."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    root = subprocess.Popen([*netns.command("root"), "sleep", "60"])
    try:
        for pid, message in (
            (gone.pid, "no such process"),
            (0, "no such process"),
            ("x", "'x' is not a process id; see xctl-probe-network why --help"),
            (root.pid, "run as root"),
        ):
            if pid == root.pid and os.geteuid() != 0:
                continue
            done = why.command(pid)
            assert done.returncode == 2
            assert done.stdout == ""
            assert message in done.stderr
            assert done.stderr.count("\n") == 1
    finally:
        root.kill()
        root.wait()


def test_nothing_of_the_commands_is_loaded_by_the_stream(installed):
    """Its start pays for those beside it only with their names."""
    words = [str(installed.python), str(installed.traffic / "loads.py"), "xctl_probe.cli"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd="/")
    parts = {".".join(name.split(".")[:2]) for name in done.stdout.split()}
    assert not parts & {
        "xctl_probe.commands.why",
        "xctl_probe.commands.check",
        "xctl_probe.commands.top",
        "rich.live",
    }


@pytest.mark.parametrize("command", ["why $$", "check", "--help", "why --help", "--version"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("| head -0", ""),
        (">/dev/full", "stdout cannot be written (No space left on device)"),
        (">&-", "stdout cannot be written (Bad file descriptor)"),
    ],
)
def test_a_reader_that_leaves_is_no_error_and_a_full_disk_is_one_line(
    installed, command, output, message, unbuffered
):
    """Never a traceback."""
    done = subprocess.run(
        ["sh", "-c", f"{installed.command} {command} {output}"],
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered, "LC_ALL": "zh_CN.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stderr.count("\n") == (1 if message else 0), done.stderr
    assert message in done.stderr

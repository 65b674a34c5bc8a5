"""The three answers of `why`: waits for X, waits for something else, could not be seen."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from support.cgroup import frozen
from support.conversation import ANSWER, QUESTION, connect, connected
from support.install import NO_PROBES
from support.require import require

DENIED = "not waiting on the network"
UNSEEN = "whether it waits on the network could not be seen"
CHILD = "it has children: sleep (pid "


@pytest.fixture
def why(installed, netns):
    """Ask until the verdict has these words in it, and a note has `note`.

    A process that was just started may still be another user's, of which nothing is shown.
    """

    def ask(pid, *words, note="", user="unprivileged", outside=False):
        inside = [] if outside else netns.command(user)
        command = [*inside, str(installed.command), *NO_PROBES, "why", "--json", str(pid)]
        deadline = time.monotonic() + 60
        while True:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                answer = json.loads(done.stdout)
                noted = note in "\n".join(answer["notes"])
                if noted and all(word in answer["verdict"] for word in words):
                    return answer
            assert time.monotonic() < deadline, done.stderr or done.stdout

    return ask


def waiting(worker, *words, role="waits", **options):
    """A worker that has begun to wait, and what it reported of it."""
    one = worker(role, **options)
    one.begin(*words)
    return one, one.expect("waiting")


@pytest.mark.parametrize("how", ["poll", "epoll"])
def test_an_epoll_that_is_watched_is_followed(why, worker, how):
    """poll or epoll, on an epoll, on an epoll, on the socket."""
    server, client, identity = connected(worker, client_role="waits")
    port = identity["port"]
    client.begin("ask_nested", QUESTION, how)
    client.expect("waiting")
    server.ask("recv", QUESTION)
    answer = why(client.pid, f"waits for a reply from 127.0.0.1:{port}")
    assert answer["waits"]
    assert answer["tcp"][0]["fd"] in answer["threads"][0]["fds"]


def test_a_server_that_does_not_wait_for_a_request_has_not_finished_its_reply(why, worker):
    """An event loop has a part of it; if the server waited there, the connection would be idle."""
    server, client, identity = connected(worker, client_role="evented")
    client.begin("ask", QUESTION, ANSWER)
    server.ask("recv", QUESTION)
    server.ask("send", ANSWER - 1)
    answer = why(client.pid, "probably waits for more data from", str(identity["port"]))
    assert f"(pid {server.pid}) waits for a request there" in answer["verdict"]
    server.begin("recv", QUESTION)
    why(client.pid, DENIED, f"(pid {server.pid}) awaits a request")


def test_a_process_whose_first_thread_has_ended_is_alive(why, worker):
    """On both sides: as the one that is explained, and as the peer."""
    server, client, identity = connected(worker, "headless", "headless")
    port = identity["port"]
    client.begin("ask", QUESTION, ANSWER)
    server.ask("recv", QUESTION)
    answer = why(client.pid, f"waits for a reply from 127.0.0.1:{port}")
    assert [thread["state"] for thread in answer["threads"]] == ["S"]
    assert answer["tcp"][0]["peer"]["pid"] == server.pid
    server.begin("recv", QUESTION)
    answer = why(client.pid, f"(pid {server.pid})", "has read the request")
    assert not answer["findings"][0]["certain"]


@pytest.mark.parametrize("read", [True, False])
def test_who_receives_between_naps_may_wait_for_its_reply(why, worker, read):
    """No thread is in a call on the socket; a peer that has not read the request is a reason."""
    server, client, identity = connected(worker, client_role="waits")
    port = identity["port"]
    client.begin("ask", QUESTION, ANSWER)
    server.ask("recv", QUESTION)
    server.ask("send", ANSWER)
    client.expect("ask")
    client.begin("ask_between_naps", QUESTION)
    client.expect("waiting")
    if read:
        server.ask("recv", QUESTION)
        answer = why(client.pid, f"{UNSEEN}: it asked 127.0.0.1:{port}", "a thread wakes up often")
        assert answer["waits"] is None
    else:
        answer = why(client.pid, f"probably waits for a reply from 127.0.0.1:{port}", "wakes up")
        assert answer["waits"]


def test_an_event_loop_whose_idle_peer_has_its_request_may_wait_for_it(why, worker):
    """A long poll, or a request that was lost."""
    server, client, _ = connected(worker, client_role="evented")
    client.begin("ask", QUESTION, ANSWER)
    server.ask("recv", QUESTION)
    server.begin("recv", QUESTION)
    answer = why(client.pid, f"{UNSEEN}: it waits for the answer of", f"(pid {server.pid})")
    assert answer["waits"] is None


@pytest.mark.parametrize("server_does", ["something else", "nothing", "something else for another"])
def test_a_proxy_that_waits_itself_is_not_idle(why, worker, server_does):
    """Its event loop has read the request, and is as idle as that of a server that owes nothing."""
    server, proxy, client, other = worker(), worker("links"), worker(), worker()
    port = server.ask("listen")["port"]
    proxy.ask("connect", "up", port)
    server.ask("accept")
    down = proxy.ask("listen", "down")["port"]
    client.connect("127.0.0.1", down)
    proxy.ask("accept", "down")
    if server_does == "something else for another":
        other.connect("127.0.0.1", proxy.ask("listen", "aside")["port"])
        proxy.ask("accept", "aside")
        proxy.ask("send", "up", QUESTION)
        server.ask("recv", QUESTION)
        client.ask("nap", 500)
        proxy.begin("relay", "down", "aside")
        client.begin("ask", QUESTION, ANSWER)
    else:
        proxy.begin("relay", "down", "up")
        client.begin("ask", QUESTION, ANSWER)
        server.ask("recv", QUESTION)
    if server_does == "nothing":
        server.begin("recv", 1)
    if server_does == "something else":
        answer = why(client.pid, f"for a reply from 127.0.0.1:{down}", f"127.0.0.1:{port} itself")
        assert answer["waits"]
        assert answer["tcp"][0]["peer"]["waits_for"] == f"127.0.0.1:{port}"
    else:
        answer = why(client.pid, "which has read the request and waits for other events")
        assert (answer["waits"], answer["findings"][0]["certain"]) == (True, False)


@pytest.mark.parametrize("complete", [False, True])
def test_what_a_proxy_passes_on_is_not_complete_where_it_waits_itself(why, worker, complete):
    """The event loops of both are idle."""
    server, proxy, client = worker(), worker("links"), worker("evented")
    port = server.ask("listen")["port"]
    proxy.ask("connect", "up", port)
    server.ask("accept")
    client.connect("127.0.0.1", proxy.ask("listen", "down")["port"])
    proxy.ask("accept", "down")
    proxy.begin("relay", "up", "down")
    client.begin("recv", 2 * ANSWER)
    server.ask("send", ANSWER)
    if complete:
        server.begin("recv", 1)
        answer = why(client.pid, f"(pid {proxy.pid}) awaits a request")
        assert answer["waits"] is False
    else:
        answer = why(client.pid, f"(pid {proxy.pid}) waits for 127.0.0.1:{port} itself since then")
        assert answer["waits"]


@pytest.mark.parametrize("computes", [True, False])
def test_an_event_loop_whose_other_threads_compute_is_not_idle(why, worker, computes):
    """They may have the request."""
    server, client = worker("evented"), worker()
    port = server.ask("listen")["port"]
    client.connect("127.0.0.1", port)
    server.ask("accept")
    server.begin("recv", QUESTION)
    client.begin("ask", QUESTION, ANSWER)
    server.expect("recv")
    if computes:
        server.ask("compute_aside", 60_000)
    server.begin("recv", QUESTION)
    if computes:
        answer = why(client.pid, f"(pid {server.pid})", "other threads of it compute")
        assert answer["waits"]
        assert answer["verdict"].startswith(f"probably waits for a reply from 127.0.0.1:{port}")
    else:
        answer = why(client.pid, "which has read the request and waits for other events")
        assert (answer["waits"], answer["findings"][0]["certain"]) == (True, False)


@pytest.mark.parametrize("version", [2, 1])
def test_a_process_in_a_frozen_cgroup_is_reported_to_be_frozen(why, worker, version):
    """Not to sleep; and its client waits for a process that is frozen."""
    server, client, _ = connected(worker)
    with frozen(server.pid, version):
        client.begin("ask", QUESTION, ANSWER)
        answer = why(client.pid, "has not read its request", "and it is frozen")
        assert answer["tcp"][0]["peer"]["frozen"]
        answer = why(server.pid, "its cgroup is frozen")
        assert (answer["waits"], answer["frozen"]) == (False, True)
    server.ask("recv", QUESTION)
    server.ask("send", ANSWER)
    client.expect("ask")


@pytest.mark.parametrize("version", [2, 1])
def test_a_server_that_froze_in_its_receive_does_not_listen(why, worker, version):
    server, client, _ = connected(worker)
    client.begin("ask", QUESTION, ANSWER)
    server.ask("recv", QUESTION)
    server.begin("recv", QUESTION)
    why(client.pid, "has read the request and waits for other events")
    with frozen(server.pid, version):
        answer = why(client.pid, f"(pid {server.pid}) is frozen")
        assert answer["waits"]


@pytest.mark.parametrize(
    ("asks", "how", "message", "waits"),
    [
        ("ask_connected", "poll", "waits for a datagram from 127.0.0.1:{port} for", True),
        ("ask_connected", "epoll", "probably waits for a datagram from 127.0.0.1:{port}", True),
        ("ask_unconnected", "poll", "probably waits for an answer on 0.0.0.0:{local}", True),
        ("ask_unconnected", "epoll", "probably waits for an answer on 0.0.0.0:{local}", True),
    ],
)
def test_a_query_by_datagram_may_await_its_answer(why, worker, asks, how, message, waits):
    """The resolvers of musl and of Go."""
    server = worker()
    port = server.ask("bind")["port"]
    client, at = waiting(worker, asks, port, how)
    answer = why(client.pid, message.format(port=port, local=at["local"]))
    assert answer["waits"] is waits


def test_a_datagram_server_waits_for_work(why, worker):
    """On a port that no client is given."""
    server = worker(user="root")
    server.ask("bind", "127.0.0.1", 53)
    server.begin("recv_from", 1)
    answer = why(server.pid, DENIED, "it waits for datagrams on 127.0.0.1:53", user="root")
    assert answer["waits"] is False


def test_a_datagram_that_waits_to_be_sent(why, worker, netns, make_netns):
    """The link takes a datagram in half a second."""
    here, _ = netns.join(make_netns(netns))
    netns.run(*f"tc qdisc add dev {here} root tbf rate 16kbit burst 1600 limit 1000000".split())
    client, at = waiting(worker, "fill_datagrams", "10.23.29.2", 1_200)
    answer = why(client.pid, "waits to send a datagram", at["remote"])
    assert (answer["waits"], answer["findings"][0]["cause"]) == (True, "send_buffer")


def test_a_close_that_lingers_waits_for_the_peer(why, worker):
    """Its descriptor is no more: the socket is found without."""
    _, client, identity = connected(worker, client_role="waits")
    port = identity["port"]
    client.begin("linger", 65_536)
    client.expect("waiting")
    answer = why(client.pid, f"the peer 127.0.0.1:{port} does not read")
    assert answer["waits"]
    assert any("SO_LINGER" in finding["text"] for finding in answer["findings"])


def test_a_socket_of_another_protocol_is_named(why, worker, netns):
    """Nothing shows there whether an answer is late."""
    netns.run("sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")
    netns.drop_incoming("ip protocol icmp")
    client, at = waiting(worker, "ping_and_wait", "127.0.0.1")
    answer = why(client.pid, f"{UNSEEN}: it is in recvfrom on an ICMP socket (fd {at['fd']})")
    assert answer["waits"] is None
    assert [other["protocol"] for other in answer["others"]] == ["PING"]


def test_a_local_socket_is_something_else(why, worker):
    client, _ = waiting(worker, "wait_locally")
    answer = why(client.pid, f"{DENIED}: it is waiting on a local (unix) socket")
    assert answer["waits"] is False


def test_whoever_waits_for_a_child_is_shown_whom_else_to_ask_about(why, netns):
    words = [*netns.command(), "sh", "-c", "sleep 60; :"]
    with subprocess.Popen(words, start_new_session=True) as shell:
        try:
            words = f"{DENIED}: it is waiting for a child process"
            answer = why(shell.pid, words, note=CHILD)  # which becomes `sleep`
            (note,) = answer["notes"]
            assert note.startswith(CHILD)
        finally:
            os.killpg(shell.pid, signal.SIGKILL)


def test_a_socket_of_another_namespace_than_its_process_s_is_found(why, worker, netns, make_netns):
    """haproxy's `namespace`, slirp4netns."""
    require(os.geteuid() == 0, "only root may enter another network namespace")
    server, client = worker(), worker("waits", namespace=make_netns(), user="root")
    port = server.ask("listen")["port"]
    inode = client.ask("connect_from", netns.pid, port)["inode"]
    server.ask("accept")
    client.begin("ask", QUESTION, ANSWER)
    server.ask("recv", QUESTION)
    answer = why(client.pid, f"waits for a reply from 127.0.0.1:{port}", outside=True)
    assert [socket["inode"] for socket in answer["tcp"]] == [inode]
    assert answer["tcp"][0]["peer"]["pid"] == server.pid


def test_an_idle_connection_in_an_event_loop_may_owe_the_rest(why, worker):
    """Where the peer may not be inspected; root sees that it listens for more, and owes nothing."""
    require(os.geteuid() == 0, "only root can start a server of another user")
    server, client = worker(user="root"), worker("evented")
    port = connect(server, client)["port"]
    client.begin("ask", QUESTION, ANSWER + 1)
    server.ask("recv", QUESTION)
    server.ask("send", ANSWER)
    server.begin("recv", QUESTION)
    answer = why(client.pid, f"{UNSEEN}: it waits for events, also from 127.0.0.1:{port}")
    assert answer["waits"] is None
    answer = why(client.pid, DENIED, "awaits a request", user="root")
    assert answer["waits"] is False


def refused(netns, installed, pid, command=()):
    """The one line of a refusal."""
    words = [*(command or netns.command()), str(installed.command), *NO_PROBES, "why", str(pid)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    return done.stderr


def test_a_process_of_one_s_own_that_may_not_be_sampled_into(netns, installed, worker):
    """It is not reported as root's."""
    client = worker("waits")
    client.ask("undumpable")
    output = refused(netns, installed, client.pid)
    assert f"why {client.pid}: could not be seen, because it is yours" in output
    assert "PR_SET_DUMPABLE" in output


def test_root_without_ptrace_is_reported_what_it_lacks(netns, installed, worker):
    """As in a container: the folder of descriptors opens, and its links do not."""
    require(os.geteuid() == 0, "only root can be root without a capability")
    client = worker("waits")
    output = refused(netns, installed, client.pid, ["setpriv", "--bounding-set=-sys_ptrace"])
    assert "could not be seen, because this root lacks CAP_SYS_PTRACE" in output


_OWN_CONNECTION = """
import ctypes, os, select, signal, socket, subprocess, threading, time
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
peer = server.accept()[0]
epoll = select.epoll()
def receive(call, *words):
    thread = threading.Thread(target=call, args=words)
    thread.start()
    while True:
        with open(f"/proc/self/task/{thread.native_id}/syscall") as file:
            if file.read().split()[0] in ("45", "207"):  # recvfrom(2) on x86-64 and arm64
                return
        time.sleep(0.01)
def hold(tid):
    libc = ctypes.CDLL(None)
    libc.prctl(0x59616d61, ctypes.c_ulong(-1))  # PR_SET_PTRACER: anybody
    if not os.fork():
        for request in (0x4206, 0x4207):  # PTRACE_SEIZE, PTRACE_INTERRUPT
            libc.ptrace(request, tid, None, None)
        time.sleep(3_600)
def poll_a_pipe():
    client.setblocking(False)
    pipe = os.pipe()
    client.send(b"question")
    poll = select.poll()
    poll.register(pipe[0], select.POLLIN)
    while True:
        poll.poll(10)
"""


@pytest.mark.parametrize(
    ("code", "words", "waits"),
    [
        (
            "receive(ctypes.CDLL(None).recv, client.fileno(), bytes(8), 8, 0)\n"
            "os.close(client.detach())\nsignal.pause()",
            [UNSEEN, "a descriptor that was closed"],
            None,
        ),
        (
            "epoll.register(client, select.EPOLLRDHUP)\nepoll.poll()",
            [UNSEEN, "other than data"],
            None,
        ),
        (
            "epoll.register(client, select.EPOLLIN | select.EPOLLONESHOT)\npeer.send(b'1')\n"
            "epoll.poll()\nclient.recv(1)\nepoll.poll()",
            [DENIED, "waiting for events, on 1 socket"],
            False,
        ),
        ("poll_a_pipe()", ["probably waits for a reply", "wakes up often"], True),
        (
            "client.send(b'question')\npeer.send(b'an')\n"
            "client.recv(6, socket.MSG_PEEK | socket.MSG_WAITALL)",
            ["probably waits for more data", "2 bytes have come, which do not wake it up"],
            True,
        ),
        (
            "client.send(b'question')\nreceive(client.recv, 1)\nhold(os.getpid())\nsignal.pause()",
            ["waits for a reply"],
            True,
        ),
        (
            "client.send(b'question')\nreceive(client.recv, 1)\n"
            "hold(threading.enumerate()[1].native_id)\nsignal.pause()",
            [DENIED, "of its 2 threads", "1 held by a debugger"],
            False,
        ),
        (
            "threading.Thread(target=subprocess.run, args=(['sleep', '60'],)).start()\n"
            "signal.pause()",
            [DENIED, "waiting for a child process"],
            False,
        ),
    ],
    ids=[
        "closed",
        "hang-up",
        "disarmed",
        "naps in a poll",
        "too few bytes",
        "other thread held",
        "thread held",
        "child of a thread",
    ],
)
def test_what_a_connection_to_oneself_shows(why, netns, code, words, waits):
    """A peer in the same process, which reads nothing."""
    program = [*netns.command("unprivileged"), sys.executable, "-c", f"{_OWN_CONNECTION}\n{code}"]
    with subprocess.Popen(program, start_new_session=True) as process:
        try:
            note = CHILD if "subprocess" in code else ""
            answer = why(process.pid, *words, note=note)
            assert answer["waits"] is waits
            assert "".join(answer["notes"][:1]).startswith(note)
        finally:
            os.killpg(process.pid, signal.SIGKILL)

"""`blame` of real processes: whom they all wait for in the end, as root and as any user."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest
from support.conversation import QUESTION
from support.install import NO_PROBES
from support.probe import SHORT_REPLIES
from support.require import require

REQUEST_BYTES = QUESTION
ENOUGH_S = 45.0  # only where a test fails


@pytest.fixture
def blame(installed, netns):
    """Run it until `enough` holds of its answer; the answer."""

    def command(*options, user="unprivileged", before=(), inside=True):
        words = netns.command(user) if inside else []
        words = [*words, str(installed.command), *NO_PROBES, *before, "blame", *map(str, options)]
        env = {k: v for k, v in os.environ.items() if not k.startswith("XCTL_")} | SHORT_REPLIES
        return subprocess.run(
            words, capture_output=True, text=True, check=False, timeout=60, env=env
        )

    def run(enough, *options, **where):
        deadline = time.monotonic() + ENOUGH_S
        while True:
            done = command("--json", *options, **where)
            assert done.returncode == 0, done.stderr
            found = json.loads(done.stdout)
            if enough(found):
                return found
            assert time.monotonic() < deadline, json.dumps(found, indent=1)

    def text(first, *options, **where):
        """The lines that a person gets, once this is the first of them."""
        deadline = time.monotonic() + ENOUGH_S
        while (lines := command(*options, **where).stdout.splitlines())[:1] != [first]:
            assert time.monotonic() < deadline, lines
        return lines

    run.command, run.text = command, text
    return run


def named(pid):
    """An answer in which this process is what others wait for."""
    return lambda found: any(one["pid"] == pid for one in found["culprits"])


def culprit(found, pid):
    (one,) = (one for one in found["culprits"] if one["pid"] == pid)
    return one


def linked(asker, server, name, *host):
    """Connect `asker` to `server`, under this name at both."""
    port = server.ask("listen", name, *host)["port"]
    connected = asker.ask("connect", name, port, *host)
    server.ask("accept", name)
    return connected


@pytest.fixture
def chain(worker):
    """A client that waits for a proxy, which waits for a server that is stopped."""
    client, proxy, server = (worker("links", comm=c) for c in (b"client", b"proxy", b"server"))
    linked(proxy, server, "up")
    linked(client, proxy, "down")
    proxy.begin("forward", "down", "up", REQUEST_BYTES)
    server.begin("answer", "up", REQUEST_BYTES)
    client.ask("ask", "down", REQUEST_BYTES)
    proxy.expect("forward")
    server.expect("answer")
    os.kill(server.pid, signal.SIGSTOP)
    proxy.begin("forward", "down", "up", REQUEST_BYTES)
    client.begin("ask", "down", REQUEST_BYTES)
    return client, proxy, server


@pytest.mark.parametrize("user", ["root", "unprivileged"])
def test_a_chain_leads_to_the_server_that_is_stopped(blame, chain, user):
    """From the client through the proxy; and the wait is over when the server goes on."""
    client, proxy, server = chain
    waiters = sorted((client.pid, proxy.pid))

    def whole(found):
        return named(server.pid)(found) and culprit(found, server.pid)["waiters"] == waiters

    found = blame(whole, "--pid", client.pid, user=user)
    expected = f"2 processes wait for server (pid {server.pid}, stopped)"
    assert found["verdict"] == expected
    processes = {one["pid"]: one for one in found["processes"]}
    assert processes.keys() == {client.pid, proxy.pid, server.pid}
    targets = {pid: [w["peer_pid"] for w in one["waits"]] for pid, one in processes.items()}
    assert targets == {client.pid: [proxy.pid], proxy.pid: [server.pid], server.pid: []}
    assert processes[server.pid]["state"] == "stopped"
    _, _, *tree = blame.text(expected, "--pid", client.pid, user=user)
    assert tree[0].split() == ["client", "(pid", f"{client.pid})"]
    advice = f": stopped (kill -CONT {server.pid} lets it go on)"
    assert any(line.endswith(advice) for line in tree), tree
    os.kill(server.pid, signal.SIGCONT)
    server.ask("answer", "up", REQUEST_BYTES)
    client.expect("ask")
    proxy.expect("forward")
    over = blame(lambda found: not found["culprits"], "--pid", client.pid, user=user)
    assert over["verdict"] == f"process {client.pid} waits for no other process on the network"


def test_a_chain_is_seen_from_another_namespace(blame, chain):
    """Root enters the namespace of the processes."""
    require(os.geteuid() == 0, "entering another network namespace needs root")
    client, _, server = chain
    found = blame(named(server.pid), "--pid", client.pid, inside=False)
    assert found["verdict"] == f"2 processes wait for server (pid {server.pid}, stopped)"


def test_a_peer_in_another_namespace_is_found(blame, worker, netns, make_netns):
    """As two containers on a bridge: each has its socket of the connection."""
    require(os.geteuid() == 0, "entering another network namespace needs root")
    there = make_netns(netns)
    netns.join(there)
    client = worker("links", comm=b"client")
    server = worker("links", namespace=there, comm=b"server")
    linked(client, server, "link", "10.23.29.2")
    os.kill(server.pid, signal.SIGSTOP)
    client.begin("ask", "link", REQUEST_BYTES)
    found = blame(named(server.pid), "--pid", client.pid, user="root")
    expected = f"client (pid {client.pid}) waits for server (pid {server.pid}, stopped)"
    assert found["verdict"] == expected
    away = blame(lambda found: found["culprits"], "--pid", client.pid)  # any user
    (only,) = away["culprits"]
    assert (only["pid"], only["address"]) == (None, "10.23.29.2")
    assert "where the trail leaves this host" in away["verdict"]


def test_the_kernel_source_names_a_peer_in_another_namespace(
    start_probe, worker, netns, make_netns, trials
):
    works = any(name.startswith("ebpf") and not one.returncode for name, one in trials.items())
    require(works, "the kernel source works nowhere here")
    there = make_netns(netns)
    netns.join(there)
    client = worker("links", comm=b"client")
    server = worker("links", namespace=there, comm=b"server")
    linked(client, server, "link", "10.23.29.2")
    started = start_probe("--backend", "ebpf", "--interval", 0.2, user="root")
    started.wait_ready()
    os.kill(server.pid, signal.SIGSTOP)
    client.begin("ask", "link", REQUEST_BYTES)

    def seen(consumer):
        records = (record for record in consumer.records if record.pid == client.pid)
        return [record.net for record in records if record.net.get("peer_pid") == server.pid]

    assert started.wait_for(seen)[0]["peer_state"] == "stopped"
    os.kill(server.pid, signal.SIGCONT)


def test_a_chain_by_the_kernel_source(blame, chain, trials):
    """Which has seen none of it begin."""
    works = any(name.startswith("ebpf") and not one.returncode for name, one in trials.items())
    require(works, "the kernel source works nowhere here")
    client, _, server = chain
    where = {"user": "root", "before": ("--backend", "ebpf")}
    found = blame(named(server.pid), "--pid", client.pid, **where)
    assert found["source"] == "ebpf"
    assert found["verdict"] == f"2 processes wait for server (pid {server.pid}, stopped)"


@pytest.mark.parametrize("user", ["root", "unprivileged"])
def test_a_dead_lock_of_two_is_named_as_such(blame, worker, user):
    """Each has asked the other one and reads only its own reply."""
    one, other = (worker("links", comm=comm) for comm in (b"one", b"other"))
    linked(one, other, "there")
    linked(other, one, "back")
    one.begin("ask", "there", REQUEST_BYTES)
    other.begin("ask", "back", REQUEST_BYTES)
    cycle = sorted((one.pid, other.pid))

    def locked(found):
        return any(culprit["dead_lock"] for culprit in found["culprits"])

    found = blame(locked, "--pid", one.pid, user=user)
    (only,) = found["culprits"]
    assert sorted(only["dead_lock"]) == cycle
    names = {one.pid: f"one (pid {one.pid})", other.pid: f"other (pid {other.pid})"}
    first, second = (names[pid] for pid in cycle)
    assert found["verdict"] == f"dead-lock: {first} and {second} wait for each other"


def test_a_server_that_has_the_request_and_sleeps_is_named_with_what_it_does(blame, worker):
    client, server = (worker("links", comm=comm) for comm in (b"client", b"server"))
    linked(client, server, "link")
    client.begin("ask", "link", REQUEST_BYTES)
    server.ask("take", "link", REQUEST_BYTES)
    server.begin("sleep")
    found = blame(named(server.pid), "--pid", client.pid)
    expected = f"client (pid {client.pid}) waits for server (pid {server.pid}, sleeping)"
    assert found["verdict"] == expected


def ring(worker, count):
    """Ranks that have exchanged data: each has sent, and read all that came.

    The last time they do so soon after each other, as those of a job.
    """
    ranks = [worker("links", comm=b"rank") for _ in range(count)]
    for at, rank in enumerate(ranks):
        linked(rank, ranks[at - 1], f"link{at}")
    rounds, took_s = 0, 0.0
    while rounds < 17 or took_s > 1:
        begin = time.monotonic()
        for at, rank in enumerate(ranks):
            rank.begin("ask", f"link{at}", REQUEST_BYTES)
            ranks[at - 1].ask("answer", f"link{at}", REQUEST_BYTES)
            rank.expect("ask")
        rounds, took_s = rounds + 1, time.monotonic() - begin
    return ranks


@pytest.mark.parametrize("user", ["root", "unprivileged"])
def test_ranks_that_poll_without_sleeping_wait_for_the_one_that_sleeps(blame, worker, user):
    """As with NCCL and MPI: they run all the while, in calls that find nothing."""
    *waiting, slow = ring(worker, 3)
    for at, rank in enumerate(waiting):
        rank.begin("poll", f"link{at + 1}")
    slow.begin("sleep")
    found = blame(named(slow.pid), "--pid", waiting[0].pid, user=user)
    assert found["verdict"] == (
        f"rank (pid {waiting[0].pid}) probably waits for rank (pid {slow.pid}, sleeping for a time)"
    )


@pytest.mark.parametrize("user", ["root", "unprivileged"])
def test_equals_that_fell_silent_together_wait_for_the_one_that_computes(blame, worker, user):
    """No connection shows it."""
    *waiting, slow = ring(worker, 4)
    for at, rank in enumerate(waiting):
        rank.begin("relay", f"link{at}", f"link{at + 1}")
    slow.begin("compute")
    found = blame(named(slow.pid), "--pid", waiting[0].pid, user=user)
    assert found["verdict"] == (
        f"rank (pid {waiting[0].pid}) probably waits for rank (pid {slow.pid}, running on a CPU)"
    )
    found = blame(named(slow.pid), user=user)
    one = culprit(found, slow.pid)
    assert one["waiters"] == sorted(rank.pid for rank in waiting)
    assert not one["certain"]


def test_without_privileges_the_answer_is_about_own_processes(blame):
    """Root's may wait for long, which this user cannot see."""
    found = blame(lambda found: not found["culprits"])
    assert found["verdict"] == "none of your own processes waits on the network for long"
    (note,) = (one for one in found["notes"] if "other users" in one)
    assert note.endswith("is not visible: run as root (sudo xctl-probe-network blame)")


def test_a_process_that_is_not_there_is_bad_input(blame):
    done = blame.command("--pid", (1 << 22) - 1)
    assert done.returncode == 2
    assert "no such process" in done.stderr


def test_a_stall_names_its_peer(probe, worker):
    """In the stream of every source: the process that does not reply, and that it is stopped."""
    started = probe()
    client, server = (worker("links", comm=comm) for comm in (b"client", b"server"))
    linked(client, server, "link")
    os.kill(server.pid, signal.SIGSTOP)
    client.begin("ask", "link", REQUEST_BYTES)

    def seen(consumer):
        return [
            record.net
            for record in consumer.records
            if record.event_type == "transport.drop"
            and record.pid == client.pid
            and record.net.get("peer_state") == "stopped"
        ]

    net = started.wait_for(seen)[0]
    assert (net["peer_pid"], net["peer_comm"]) == (server.pid, "server")
    os.kill(server.pid, signal.SIGCONT)


@pytest.mark.parametrize("user", ["unprivileged", "root"])
def test_a_stopped_process_of_a_job_is_named_before_any_waits_for_it(worker, blame, user):
    require(user != "root" or os.geteuid() == 0, "needs root")
    job = f"{os.getpid()}{user == 'root':d}"  # of no other test
    one, other = (worker(env={"SLURM_JOB_ID": job, "SLURM_PROCID": str(n)}) for n in range(2))
    os.kill(other.pid, signal.SIGSTOP)
    try:
        found = blame(lambda answer: answer["processes"], "--job", job, user=user)
    finally:
        os.kill(other.pid, signal.SIGCONT)
    assert {p["pid"]: p["state"] for p in found["processes"]} == {other.pid: "stopped"}
    assert f"(rank 1, pid {other.pid}) is stopped" in found["verdict"]
    assert found["culprits"] == []
    assert str(one.pid) not in found["verdict"]

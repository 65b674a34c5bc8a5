"""The trail from the stalls to the process that waits for none."""

from __future__ import annotations

from dataclasses import replace

import pytest
from unit.commands.why.test_report import IDLE, PID, WAITING

from xctl_probe.commands.blame import collect as module
from xctl_probe.commands.blame import host_trail
from xctl_probe.commands.blame.collect import collect
from xctl_probe.commands.blame.graph import Graph, Outside
from xctl_probe.commands.blame.host_trail import HostTrail
from xctl_probe.commands.blame.jobs import Job
from xctl_probe.commands.blame.rdma import RdmaSampled, RdmaUse
from xctl_probe.commands.blame.samples import Sampled
from xctl_probe.commands.why.equals.lockstep import WAITS_ASIDE, Held, Towards
from xctl_probe.commands.why.findings.finding import Finding
from xctl_probe.commands.why.queue_pairs import DeviceQueuePairs
from xctl_probe.commands.why.sockets import Peer
from xctl_probe.errors import UsageError
from xctl_probe.events import Cause, Direction, PeerActivity, Process, Socket, Stall

CLIENT, PROXY, SERVER = (
    Process(pid, 7_001, comm) for pid, comm in ((231, "client"), (PID, "proxy"), (241, "server"))
)


def stall(owner=CLIENT, peer=PROXY, remote="10.0.0.7", seen=None, direction=Direction.RECEIVE):
    socket = Socket(11, 7, "tcp", "10.0.0.11", 40_009, remote, 5_432)
    return Stall(owner, socket, direction, 1_301_000_000, True, Cause.NO_REPLY, None, peer, seen)


class States:
    def __init__(self, **held):
        self.held = held

    def of(self, pid):
        return {SERVER.pid: self.held.get("server"), PROXY.pid: self.held.get("proxy")}.get(pid)

    def stopped(self, pid):
        found = self.of(pid)
        return found if found in (PeerActivity.STOPPED, PeerActivity.FROZEN) else None


class Explained:
    """Explanations by pid; the proxy waits for the server unless the test changes that."""

    def __init__(self, **changes):
        (tcp,) = WAITING.tcp
        peer = Peer(7, SERVER.pid, SERVER.comm, stopped=True)
        waiting = replace(WAITING, process=PROXY, tcp=(replace(tcp, peer=peer),))
        self.by_pid = {
            CLIENT.pid: replace(IDLE, process=CLIENT),
            PROXY.pid: replace(waiting, **changes),
            SERVER.pid: replace(IDLE, process=SERVER),
        }
        self.asked = []

    def __call__(self, pid):
        self.asked.append(pid)
        found = self.by_pid[pid]
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """Processes of the test in place of the host's, without jobs."""
    processes = {one.pid: one for one in (CLIENT, PROXY, SERVER)}
    monkeypatch.setattr(host_trail, "read_process", processes.get)
    monkeypatch.setattr(module, "jobs_of", lambda _pids: {})


def trail(*stalls, explain=None, starts=None, **held):
    found = HostTrail(explain or Explained(), States(**held))
    found.add_stalls(stalls)
    found.follow(starts)
    return found


def culprits(found):
    return [one.members for one in Graph(found.members, tuple(found.waits)).culprits]


def test_a_peer_that_waits_itself_leads_on():
    explain = Explained()
    found = trail(stall(), explain=explain)
    assert culprits(found) == [(SERVER.pid,)]
    assert explain.asked == [PROXY.pid, SERVER.pid]


@pytest.mark.parametrize(
    ("changes", "unread"),
    [
        ({}, True),
        ({"receive_queue": 0}, False),
        ({"moved": True}, False),
        ({"remote": "*:7"}, False),
    ],
)
def test_what_the_last_one_has_not_read_is_named(changes, unread):
    """On the connection of a wait, as long as it does not go on."""
    waited = stall(CLIENT, SERVER)
    (tcp,) = WAITING.tcp
    there = {"local": "10.0.0.7:5432", "remote": "10.0.0.11:40009", "receive_queue": 7}
    tcp = replace(tcp, **({"moved": False} | there | changes))
    explain = Explained()
    explain.by_pid[SERVER.pid] = replace(IDLE, process=SERVER, tcp=(tcp,))
    does = trail(waited, explain=explain).members[SERVER.pid].does
    assert does.endswith(", and has not read what was sent to it") is unread


def test_a_stopped_process_needs_no_explanation():
    explain = Explained()
    found = trail(stall(), explain=explain, proxy=PeerActivity.STOPPED)
    assert explain.asked == []
    assert found.members[PROXY.pid].does == "stopped"
    assert culprits(found) == [(PROXY.pid,)]


def test_what_a_source_reports_is_not_explained_again():
    explain = Explained()
    trail(stall(), stall(PROXY, SERVER), explain=explain, server=PeerActivity.FROZEN)
    assert explain.asked == []


def test_a_guess_is_followed_only_where_the_peer_was_seen_to_be_stuck():
    guess = replace(WAITING.found[0], certain=False)
    explain = Explained(found=(guess,))
    found = trail(stall(), explain=explain)
    assert [wait.certain for wait in found.waits_of(PROXY.pid)] == [False]
    (tcp,) = explain.by_pid[PROXY.pid].tcp
    explain = Explained(found=(guess,), tcp=(replace(tcp, peer=None),))
    found = trail(stall(), explain=explain)
    assert found.waits_of(PROXY.pid) == []


@pytest.mark.parametrize(
    ("first", "other", "does"),
    [
        ({"wchan": "hrtimer_nanosleep"}, {}, "its first thread is sleeping"),
        ({"wchan": "futex_wait_queue"}, {}, "its first thread is waiting for another thread"),
        ({"wchan": "ep_poll"}, {"running": True}, "a thread is running on a CPU"),
        ({"wchan": "ep_poll"}, {}, "whether it waits on the network could not be seen: it keeps"),
        ({}, {}, "whether it waits on the network could not be seen: it keeps"),
    ],
)
def test_what_a_thread_does_is_more_than_that_another_one_may_wait(first, other, does):
    unseen = Finding("keeps", False, certain=False, seen=False)
    thread = WAITING.threads[0]
    threads = (replace(thread, first=True, **first), replace(thread, tid=PID + 2, **other))
    explain = Explained(found=(unseen,), threads=threads, waiting={})
    found = trail(stall(), explain=explain)
    assert found.members[PROXY.pid].does == does


@pytest.mark.parametrize(
    ("guess", "unseen"),
    [
        (Finding("waits for events, also from h:7", False, certain=False, seen=False), True),
        (Finding("waits for connections on h:7", False), False),
        (Finding("probably waits for h:7", True, certain=False, inode=WAITING.tcp[0].inode), False),
    ],
)
def test_whether_the_process_waits_that_was_asked_about_may_not_be_seen(guess, unseen):
    sleeps = replace(WAITING.threads[0], wchan="hrtimer_nanosleep")
    found = HostTrail(Explained(found=(guess,), threads=(sleeps,), waiting={}), States())
    found.explain_first(PROXY.pid)
    assert found.unseen == ("it waits for events, also from h:7" if unseen else None)


def equal_waits(*pairs, holder):
    """What lockstep finds: who probably waits for whom, and that the holder runs."""
    waits = [Towards(one.pid, other.pid, "a", "b") for one, other in pairs]
    pids = sorted({one.pid for pair in pairs for one in pair})
    return Held(pids, 7_001, waits, holder.pid, "running on a CPU")


RING = ((CLIENT, SERVER), (PROXY, SERVER))


def test_equals_that_fell_silent_wait_for_the_one_that_runs():
    found = trail()
    found.add_equals([equal_waits(*RING, holder=SERVER)])
    (only,) = Graph(found.members, tuple(found.waits)).culprits
    assert (only.members, only.waiters) == ((SERVER.pid,), {CLIENT.pid, PROXY.pid})
    assert not only.certain
    assert found.members[SERVER.pid].does == "running on a CPU"
    (note,) = found.notes
    assert note.startswith("nothing has moved between 3 processes of one program")


def test_waits_that_were_seen_are_kept_and_those_of_the_other_equals_are_added():
    found = trail(stall(CLIENT, SERVER), explain=Explained())
    found.add_equals([equal_waits(*RING, holder=SERVER)])
    assert [(w.waiter, w.certain) for w in found.waits] == [(CLIENT.pid, True), (PROXY.pid, False)]


@pytest.mark.parametrize(("stalls", "notes"), [((), 1), ((stall(),), 0)])
def test_equals_of_which_none_can_be_named_are_a_note(stalls, notes):
    """Unless other evidence is about them."""
    found = trail(*stalls)
    before = list(found.waits)
    group = Held([CLIENT.pid, PROXY.pid, SERVER.pid], 7_001, [])
    found.add_equals([group])
    assert (len(found.notes), found.waits) == (notes, before)


def test_of_many_idle_pools_the_largest_is_the_note():
    found = trail()
    found.add_equals([Held([*range(1, 1 + count)], 7_001, []) for count in (3, 7, 5)])
    (note,) = found.notes
    assert note.startswith("nothing has moved between 7 processes")


@pytest.mark.parametrize(("job", "notes"), [("4711", 1), ("4713", 0), (None, 1)])
def test_a_note_is_about_the_job_that_was_asked_about(monkeypatch, job, notes):
    monkeypatch.setattr(module, "jobs_of", lambda pids: dict.fromkeys(pids, Job("4711", None)))
    silent = Held([1, 2, 3], 7_001, [])
    found = collect(Sampled([], "none"), pid=None, job=job, stall_ms=100, equals=lambda: [silent])
    assert len(found.notes) == notes
    assert found.silent == (silent if notes else None)


@pytest.mark.parametrize("holder", [PROXY, SERVER])
def test_other_evidence_counts_more(holder):
    """Which leads elsewhere, or has the process wait that the others seem to wait for."""
    found = trail(stall(CLIENT, None), stall(SERVER, None))
    before = list(found.waits)
    others = [(one, holder) for one in (CLIENT, PROXY, SERVER) if one is not holder]
    found.add_equals([equal_waits(*others, holder=holder)])
    assert (found.waits, found.notes) == (before, [])


def test_the_one_whose_threads_the_equals_show_is_not_explained_again():
    """That takes as long as all the rest; one that only sleeps may wait itself."""
    for does, asked in (("running on a CPU", []), (WAITS_ASIDE, [SERVER.pid])):
        explain = Explained()
        found = HostTrail(explain, States())
        found.add_equals([equal_waits(*RING, holder=SERVER)._replace(does=does)])
        found.follow(None)
        assert explain.asked == asked


def test_a_wait_that_is_known_within_the_group_leads_on_to_that_one():
    """The neighbour that it waits for sleeps as well, and what holds that up the equals show."""
    found = HostTrail(Explained(), States())
    found.add_stalls([stall(CLIENT, PROXY)])
    found.add_equals([equal_waits(*RING, holder=SERVER)])
    assert [(one.waiter, one.target, one.certain) for one in found.waits] == [
        (CLIENT.pid, PROXY.pid, True),
        (PROXY.pid, SERVER.pid, False),
    ]
    assert culprits(found) == [(SERVER.pid,)]


def test_equals_of_which_one_is_gone_are_left_out(monkeypatch):
    monkeypatch.setattr(host_trail, "read_process", {CLIENT.pid: CLIENT, PROXY.pid: PROXY}.get)
    found = trail()
    found.add_equals([equal_waits(*RING, holder=SERVER)])
    assert (found.waits, found.members) == ([], {})


def explained_idle(pid, **_):
    return replace(IDLE, process=Process(pid, 7_001, "rank"))


@pytest.mark.parametrize(("asked", "waits"), [(None, 2), (PROXY.pid, 1), (1, 0)])
def test_of_one_process_only_its_equals_count(monkeypatch, asked, waits):
    monkeypatch.setattr(module, "diagnose", explained_idle)
    sampled = Sampled([], "none")
    found = collect(
        sampled, pid=asked, job=None, stall_ms=100,
        equals=lambda: [equal_waits(*RING, holder=SERVER)],
    )  # fmt: skip
    assert sum(map(len, found.graph.waits.values())) == waits


@pytest.mark.parametrize(
    ("children", "waits"),
    [([CLIENT.pid], True), ([SERVER.pid, CLIENT.pid], True), ([], False)],
)
def test_of_a_launcher_that_does_not_wait_its_children_count(monkeypatch, children, waits):
    monkeypatch.setattr(module, "diagnose", explained_idle)
    monkeypatch.setattr(module, "descendants_of", lambda *_: children)
    sampled = Sampled([stall(CLIENT, SERVER), stall(PROXY, SERVER)], "none")
    found = collect(sampled, pid=97, job=None, stall_ms=100)
    assert set(found.graph.waits) == ({CLIENT.pid} if waits else set())
    own = collect(sampled, pid=PROXY.pid, job=None, stall_ms=100)
    assert set(own.graph.waits) == {PROXY.pid}


def test_a_process_that_may_not_be_explained_is_the_last_of_its_trail():
    explain = Explained()
    explain.by_pid[PROXY.pid] = UsageError("why 233: not permitted")
    found = trail(stall(), explain=explain)
    assert culprits(found) == [(PROXY.pid,)]
    assert found.members[PROXY.pid].does == "what it does could not be seen"
    assert found.notes == ["why 233: not permitted"]


@pytest.mark.parametrize(
    ("remote", "seen", "hidden"),
    [
        ("10.0.0.7", None, False),
        ("10.0.0.7", PeerActivity.UNREAD, True),
        ("127.0.0.1", None, True),
        ("10.0.0.11", None, True),  # its own address
    ],
)
def test_a_peer_that_is_not_known_is_outside_or_hidden(remote, seen, hidden):
    found = trail(stall(peer=None, remote=remote, seen=seen))
    assert [wait.target for wait in found.waits] == [Outside(remote, hidden=hidden)]


def test_a_connect_to_this_host_waits_for_no_process_that_hides():
    found = trail(stall(peer=None, remote="127.0.0.1", direction=Direction.CONNECT))
    assert [wait.target for wait in found.waits] == [Outside("127.0.0.1")]


def test_stalls_without_an_owner_are_counted_in_a_note():
    found = trail(stall(owner=None), stall(owner=None))
    assert found.members == {}
    (note,) = found.notes
    assert note.startswith("2 waits are of ")


def run(*stalls, pid=None, job=None, monkeypatch, explain=None, rdma=None):
    monkeypatch.setattr(module, "diagnose", lambda one, **_: (explain or Explained())(one))
    monkeypatch.setattr(module, "ThreadStates", States)
    return collect(Sampled(list(stalls), "sampler"), rdma, pid=pid, job=job, stall_ms=100)


def test_one_process_alone(monkeypatch):
    """Also one that no source reports."""
    found = run(stall(CLIENT, None), pid=PROXY.pid, monkeypatch=monkeypatch)
    assert found.graph.members.keys() == {PROXY.pid, SERVER.pid}
    assert [one.waiters for one in found.graph.culprits] == [{PROXY.pid}]


def test_one_process_that_waits_for_none(monkeypatch):
    found = run(pid=CLIENT.pid, monkeypatch=monkeypatch)
    assert found.graph.culprits == []


def test_that_only_own_processes_were_seen_is_kept(monkeypatch):
    """With its note, also where nothing was found."""
    monkeypatch.setattr(module, "ThreadStates", States)
    sampled = Sampled([], "sampler", ("a note",), own_only=True)
    found = collect(sampled, pid=None, job=None, stall_ms=100)
    assert (found.own_only, found.notes) == (True, ("a note",))


def test_a_process_that_may_not_be_read_is_bad_input(monkeypatch):
    explain = Explained()
    explain.by_pid[CLIENT.pid] = UsageError("why 231: not permitted")
    with pytest.raises(UsageError):
        run(pid=CLIENT.pid, monkeypatch=monkeypatch, explain=explain)


def test_one_job_alone_with_the_number_of_its_ranks(monkeypatch):
    jobs = {CLIENT.pid: Job("4711", 0), PROXY.pid: Job("4711", 1), 997: Job("4711", 2)}
    monkeypatch.setattr(
        module, "jobs_of", lambda pids: {pid: jobs[pid] for pid in {*pids, 997} if pid in jobs}
    )
    monkeypatch.setattr(module.os, "listdir", lambda _: [*map(str, jobs), "self"])
    other = Process(251, 7_001, "other")
    stalls = [stall(), stall(other, None)]
    found = run(*stalls, job="4711", monkeypatch=monkeypatch)
    assert other.pid not in found.graph.members
    assert found.job_size == {"4711": 3}
    assert run(*stalls, job="4712", monkeypatch=monkeypatch).graph.members == {}


@pytest.mark.parametrize(("state", "kept"), [(PeerActivity.STOPPED, True), (None, False)])
def test_a_stopped_process_of_a_job_is_among_the_answer_though_none_waits(monkeypatch, state, kept):
    jobs = {SERVER.pid: Job("4711", 2), CLIENT.pid: Job("4712", 0)}
    monkeypatch.setattr(
        module, "jobs_of", lambda pids: {pid: jobs[pid] for pid in pids if pid in jobs}
    )
    monkeypatch.setattr(module.os, "listdir", lambda _: [*map(str, jobs), "self"])
    monkeypatch.setattr(module, "ThreadStates", lambda: States(server=state))
    for job, pids in (("4711", [SERVER.pid] if kept else []), ("4712", [])):
        found = collect(Sampled([], "sampler"), pid=None, job=job, stall_ms=100)
        assert list(found.graph.members) == pids


def test_so_is_a_child_of_a_process(monkeypatch):
    monkeypatch.setattr(module, "diagnose", explained_idle)
    monkeypatch.setattr(module, "descendants_of", lambda *_: [SERVER.pid])
    monkeypatch.setattr(module, "ThreadStates", lambda: States(server=PeerActivity.FROZEN))
    found = collect(Sampled([], "sampler"), pid=CLIENT.pid, job=None, stall_ms=100)
    assert found.graph.members[SERVER.pid].does == "frozen with its cgroup"


STILL = RdmaUse((DeviceQueuePairs("mlx5_0", still=3),))
MOVING = RdmaUse((DeviceQueuePairs("mlx5_0", moving=3),))


def test_processes_with_queue_pairs_are_among_the_answer(monkeypatch):
    """What those do that do not move is explained; one that has exited meanwhile is left out."""
    explain = Explained()
    rdma = RdmaSampled({CLIENT.pid: STILL, SERVER.pid: MOVING, 997: STILL}, {"eth0": {"CNP": 3}})
    found = run(monkeypatch=monkeypatch, rdma=rdma, explain=explain)
    assert {pid: one.rdma for pid, one in found.graph.members.items()} == {
        CLIENT.pid: STILL,
        SERVER.pid: MOVING,
    }
    assert explain.asked == [CLIENT.pid]
    does = {pid: one.does for pid, one in found.graph.members.items()}
    assert does == {CLIENT.pid: "waiting on a socket", SERVER.pid: None}
    assert (found.graph.culprits, found.ports) == ([], {"eth0": {"CNP": 3}})


def test_a_process_with_queue_pairs_that_may_not_be_explained(monkeypatch):
    explain = Explained()
    explain.by_pid[CLIENT.pid] = UsageError("why 231: not permitted")
    found = run(monkeypatch=monkeypatch, rdma=RdmaSampled({CLIENT.pid: STILL}), explain=explain)
    assert found.graph.members[CLIENT.pid].does is None


def test_queue_pairs_of_others_are_no_part_of_the_answer(monkeypatch):
    """Nor are the errors of ports, where who was asked about has no queue pair."""
    rdma = RdmaSampled({SERVER.pid: STILL}, {"eth0": {"CNP": 3}}, ("a note",))
    found = run(pid=CLIENT.pid, monkeypatch=monkeypatch, rdma=rdma)
    assert found.graph.members.keys() == {CLIENT.pid}
    assert (found.ports, found.notes) == ({}, ("a note",))
    monkeypatch.setattr(module, "jobs_of", lambda pids: dict.fromkeys(pids, Job("4711", None)))
    found = run(job="4711", monkeypatch=monkeypatch, rdma=rdma)
    assert found.graph.members.keys() == {SERVER.pid}
    assert found.ports == rdma.ports

"""The explanation as a person reads it, and as a program does."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from support.why_sockets import ASKED, FD, IN_RECV, INODE

from xctl_probe.commands.why.diagnose import Diagnosis
from xctl_probe.commands.why.queue_pairs import ProcessQueuePair
from xctl_probe.commands.why.report import headline, to_json, to_text
from xctl_probe.commands.why.sockets import Peer, Udp
from xctl_probe.commands.why.threads import Thread
from xctl_probe.commands.why.verdict import findings
from xctl_probe.events import Process
from xctl_probe.linux.syscalls import Call, Role, Watched

PID = 233
BLOCKED = Thread(PID, "client", "S", "wait_woken", None, True, 0, 1.0, idle_ms=12_500.0)
IN_CALL = Call("recvfrom", Role.RECEIVE, (Watched(FD, True, False),))
WAITING = Diagnosis(
    process=Process(PID, 7_001, "client"),
    state="S",
    threads=(BLOCKED,),
    waiting={PID: IN_CALL},
    tcp=(ASKED,),
    udp=(),
    found=tuple(findings([ASKED], [], {INODE: IN_RECV})),
    source="sock_diag",
    notes=(),
)
IDLE = replace(WAITING, tcp=(), found=(), waiting={})


def lines(diagnosis):
    text = to_text(diagnosis)
    assert text.isascii()
    assert b"\x1b" not in text
    return text.decode().splitlines()


def test_the_verdict_comes_first_and_the_evidence_under_it():
    """Process, thread, socket."""
    first, *rest = lines(WAITING)
    assert first.startswith("233 client: waits for a reply from 10.0.0.7:5432 for 12.4 s")
    evidence = "\n".join(rest)
    assert "thread 233 client: in recvfrom on fd 7, has not run for 12.5 s" in evidence
    assert "tcp 10.0.0.11:40009 -> 10.0.0.7:5432  ESTABLISHED, opened by this process" in evidence
    assert "sent 12.4 s ago, all acknowledged; received 13.0 s ago" in evidence


@pytest.mark.parametrize(
    ("wchan", "state", "expected_text"),
    [
        ("hrtimer_nanosleep", "S", "it is sleeping"),
        ("futex_wait_queue", "S", "it is waiting for another thread"),
        ("anon_pipe_read", "S", "it is waiting on a pipe"),
        ("", "R", "it is running on a CPU"),
        ("folio_wait_bit_common", "D", "it is waiting for a disk"),
        ("__folio_lock", "D", "it is waiting for a disk"),
        ("kernel_clone", "D", "it is waiting for a child process"),
        ("fuse_dev_do_read", "S", "it is waiting for requests to its FUSE file system"),
        ("ep_poll", "S", "it is waiting for events"),
        ("some_driver_ioctl", "D", "it is waiting for a device (some_driver_ioctl)"),
        ("", "S", "it is sleeping"),
    ],
)
def test_what_it_does_instead_is_shown(wchan, state, expected_text):
    """A process that hangs on something else is not the network's matter."""
    thread = replace(BLOCKED, wchan=wchan, state=state)
    assert (
        headline(replace(IDLE, threads=(thread,))) == f"not waiting on the network: {expected_text}"
    )


def test_an_event_loop_without_the_network_is_reported_apart():
    """Its pipes and timers are known, and none of them is a socket of TCP or UDP."""
    loop = replace(BLOCKED, wchan="ep_poll")
    call = Call("epoll_wait", Role.EPOLL, (Watched(3, True, False),))
    diagnosis = replace(IDLE, threads=(loop,), waiting={PID: call})
    assert headline(diagnosis).endswith("waiting for events, none of them from the network")


def test_of_many_threads_the_commonest_are_named():
    """In a pool most wait for each other."""
    sleeping = replace(BLOCKED, wchan="futex_wait_queue")
    busy = replace(BLOCKED, tid=PID + 1, wchan="", state="R")
    diagnosis = replace(IDLE, threads=(sleeping, sleeping, busy))
    assert headline(diagnosis).endswith(
        "of its 3 threads 2 waiting for another thread, 1 running on a CPU"
    )


def test_a_stopped_process_is_shown_to_be_stopped():
    """Whatever its sockets are: they come after it."""
    stopped = (replace(BLOCKED, state="T"),)
    first, also, *_ = lines(replace(WAITING, state="T", threads=stopped))
    assert first.endswith("it is stopped (kill -CONT 233 lets it go on)")
    assert also.startswith("  also: waits for a reply")


def test_a_debugger_that_holds_one_thread_does_not_hold_the_process():
    """ptrace(2) is of threads: the others wait on."""
    held = replace(BLOCKED, tid=PID - 1, state="t", wchan="ptrace_stop")
    diagnosis = replace(WAITING, state="t", threads=(held, BLOCKED))
    assert headline(diagnosis).startswith("waits for a reply from 10.0.0.7:5432")
    whole = replace(diagnosis, threads=(held, replace(BLOCKED, state="t")))
    assert headline(whole) == "not waiting on the network: it is held by a debugger"
    child = replace(BLOCKED, wchan="do_wait")
    assert headline(replace(IDLE, state="t", threads=(held, child))) == (
        "not waiting on the network: of its 2 threads 1 held by a debugger, "
        "1 waiting for a child process"
    )


def test_the_other_end_is_named_where_it_is_here():
    """Who does not read, and that it was stopped."""
    diagnosis = replace(WAITING, tcp=(replace(ASKED, peer=Peer(1_009, 239, "server", True)),))
    assert any(
        "the peer is on this host: server (pid 239), which is STOPPED, with 1009 bytes unread"
        in line
        for line in lines(diagnosis)
    )


def test_a_hostile_name_stays_text():
    """A process calls itself what it likes."""
    hostile = "\x1b[2J\u202ename\n"
    diagnosis = replace(
        WAITING,
        process=Process(PID, 7_001, hostile),
        threads=(replace(BLOCKED, comm=hostile),),
        tcp=(replace(ASKED, peer=Peer(0, 239, hostile, False)),),
    )
    assert lines(diagnosis)[0].startswith("233 \\x1b[2J\\u202ename\\n: waits")
    assert to_json(diagnosis).isascii()


def test_a_thousand_sockets_do_not_flood_the_screen():
    """Those that matter come first; the others are counted."""
    many = tuple(replace(ASKED, inode=n, fd=n, reply_ms=None) for n in range(10, 1_010))
    diagnosis = replace(WAITING, tcp=(*many, ASKED))
    text = lines(diagnosis)
    assert len(text) < 30
    assert any(f"fd {FD} " in line for line in text)
    assert any("996 more sockets; --json has them all" in line for line in text)
    assert len(json.loads(to_json(diagnosis))["tcp"]) == 1_001


@pytest.mark.parametrize(("waiting", "full"), [(0, False), (1, True)])
def test_a_listener_of_backlog_0_has_room_for_one(waiting, full):
    """listen(fd, 0); the next one is turned away."""
    listener = replace(ASKED, state="LISTEN", receive_queue=waiting, send_queue=0, opened=None)
    text = "\n".join(lines(replace(IDLE, tcp=(listener,))))
    assert f"{waiting} of at most 0 connections wait" in text
    assert ("it is full" in text) is full


def test_proc_net_does_not_show_how_many_a_listener_takes():
    listener = replace(ASKED, state="LISTEN", receive_queue=5, send_queue=0, not_sent_bytes=None)
    text = "\n".join(lines(replace(IDLE, tcp=(listener,))))
    assert text.endswith("LISTEN, 5 connections wait to be accepted")


def test_listeners_and_datagrams_have_their_queues():
    """A full accept queue turns newcomers away."""
    listener = replace(
        ASKED, state="LISTEN", local="0.0.0.0:80", receive_queue=5, send_queue=4, opened=None
    )
    udp = Udp(11, 1_013, "0.0.0.0:53", None, 832, 0, 17)
    text = "\n".join(lines(replace(IDLE, tcp=(listener,), udp=(udp,))))
    assert "LISTEN, 5 of at most 4 connections wait to be accepted; it is full" in text
    assert "udp 0.0.0.0:53  832 bytes to read, 0 bytes to send, 17 datagrams dropped ever" in text


def test_what_could_not_be_seen_is_shown():
    """With the remedy."""
    assert lines(replace(WAITING, notes=("run as root",)))[-1] == "  note: run as root"


def test_a_program_gets_one_object_on_one_line():
    """The same events, with numbers as numbers."""
    raw = to_json(WAITING)
    assert raw.count(b"\n") == 1
    found = json.loads(raw)
    assert found["waits"] is True
    assert found["verdict"] == headline(WAITING)
    assert found["findings"][0]["cause"] == "no_reply"
    assert found["findings"][0]["ms"] == 12_400
    assert found["threads"][0] | {"call": "recvfrom", "fds": [7]} == found["threads"][0]
    assert found["tcp"][0]["remote"] == "10.0.0.7:5432"


@pytest.mark.parametrize("width", [40, 72, 100])
def test_a_narrow_terminal_gets_folded_lines(width):
    """At spaces, so that no address is cut."""
    text = to_text(WAITING, width).decode()
    assert all(len(line) <= width for line in text.splitlines())
    assert " ".join(text.split()) == " ".join(to_text(WAITING).decode().split())


def test_queue_pairs_stand_under_the_sockets():
    """In the text and in the JSON; without any there is no line."""
    pair = ProcessQueuePair("mlx5_0", 1, 4_241, 1_009, "RC", "RTS", False)
    reported = replace(IDLE, queue_pairs=(pair,))
    assert lines(reported)[-1] == (
        "  1 RDMA queue pair on mlx5_0 port 1, RC, state RTS (qp 4241 -> 1009): no packet between"
        " two samples: idle or stalled, which the kernel does not distinguish"
    )
    assert json.loads(to_json(reported))["queue_pairs"] == [
        {
            "device": "mlx5_0", "port": 1, "number": 4_241, "peer": 1_009, "type": "RC",
            "state": "RTS", "moved": False,
        }
    ]  # fmt: skip
    assert "RDMA" not in "".join(lines(IDLE))
    assert json.loads(to_json(IDLE))["queue_pairs"] == []


@pytest.mark.parametrize(
    ("moved", "seen"),
    [((False,), False), ((False, None), False), ((False, True), True), ((None,), True)],
)
def test_a_process_whose_queue_pairs_do_not_move_may_wait_on_the_network(moved, seen):
    """It may poll for a completion, which takes no call."""
    pairs = tuple(ProcessQueuePair("mlx5_0", 1, 7, 11, "RC", "RTS", one) for one in moved)
    busy = replace(IDLE, threads=(replace(BLOCKED, wchan="", state="R"),), queue_pairs=pairs)
    assert json.loads(to_json(busy))["waits"] is (False if seen else None)
    assert headline(busy) == (
        "not waiting on the network: it is running on a CPU"
        if seen
        else "whether it waits on the network could not be seen: it is running on a CPU, and its"
        " RDMA queue pairs are idle or stalled, which the kernel does not distinguish"
    )

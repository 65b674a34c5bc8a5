"""What a running probe reports of a process that two samples do not decide about."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.why_sockets import ACCEPTED, IN_EPOLL, INODE
from unit.commands.why.test_report import IDLE, PID, WAITING

from xctl_probe.commands.why.report import headline
from xctl_probe.commands.why.reported import with_reported
from xctl_probe.commands.why.verdict import findings
from xctl_probe.events import Cause, Direction, PeerActivity, Process, Socket, Stall
from xctl_probe.exporters.records import StallRecord

NOW_MS = 1_700_000_000_000
SOCKET = Socket(INODE, 0, "tcp", "10.0.0.11", 40_009, "10.0.0.7", 5_432, "eth0", 0, 77)
STALL = Stall(
    Process(PID, 7_001, "client"), SOCKET, Direction.RECEIVE, 7_400_000_000, ongoing=True,
    cause=Cause.NO_REPLY,
)  # fmt: skip
UNDECIDED = replace(
    WAITING, tcp=(ACCEPTED,), found=tuple(findings([ACCEPTED], [], {INODE: IN_EPOLL}))
)


def reported(diagnosis, *stalls, age_ms=400):
    return with_reported(diagnosis, [StallRecord(NOW_MS - age_ms, one) for one in stalls], NOW_MS)


def test_what_a_probe_reports_is_the_answer_where_the_samples_do_not_decide():
    found = reported(UNDECIDED, STALL)
    assert headline(found) == (
        "waits for data from 10.0.0.7:5432 for 7.4 s (no_reply), as the probe reports that runs "
        "here"
    )
    (finding,) = found.found
    assert (finding.waits, finding.certain, finding.ms) == (True, True, 7_400.0)
    assert (finding.cause, finding.inode) == (Cause.NO_REPLY, INODE)
    assert found.source == "sock_diag, running probe"


def test_the_peer_process_is_named_with_what_it_does():
    peer = Process(239, 7_003, "rank")
    seen = replace(STALL, peer=peer, peer_activity=PeerActivity.STOPPED)
    named = "waits for data from rank (pid 239, stopped) at 10.0.0.7:5432 for 7.4 s (no_reply), as"
    assert named in headline(reported(UNDECIDED, seen))
    unseen = replace(STALL, peer=peer)
    assert "data from rank (pid 239) at 10.0.0.7:5432" in headline(reported(UNDECIDED, unseen))


@pytest.mark.parametrize(
    "stall",
    [
        replace(STALL, owner=Process(PID + 2, 7_001, "client")),
        replace(STALL, owner=None),
        replace(STALL, socket=replace(SOCKET, inode=INODE + 2)),
    ],
)
def test_the_stall_of_another_process_or_socket_is_none_of_it(stall):
    assert reported(UNDECIDED, stall) == UNDECIDED
    assert reported(IDLE, STALL) == IDLE


def test_what_the_samples_decide_they_know_best():
    """What the peer does with the request, as of this moment."""
    assert reported(WAITING, STALL) == WAITING


def test_what_is_only_probable_to_a_probe_is_so_in_the_answer():
    probable = replace(STALL, probable=True)
    found = reported(UNDECIDED, probable)
    assert headline(found) == (
        "probably waits for data from 10.0.0.7:5432 for 7.4 s (no_reply), which always replied "
        "sooner before, as the probe knows that runs here"
    )
    (finding,) = found.found
    assert (finding.waits, finding.certain) == (True, False)
    guess = replace(UNDECIDED, found=(replace(finding, text="probably waits"),))
    assert reported(guess, probable) == guess
    assert reported(guess, STALL) != guess


def test_of_several_probes_the_one_that_is_certain_decides():
    probable = replace(STALL, probable=True)
    for stalls in ((probable, STALL), (STALL, probable)):
        (finding,) = reported(UNDECIDED, *stalls).found
        assert finding.certain


def test_what_moved_since_is_over():
    """Between the samples, or between the record and them; of a send what came is no sign."""
    moved = replace(UNDECIDED, tcp=(replace(ACCEPTED, moved=True),))
    assert reported(moved, STALL) == moved
    came = replace(UNDECIDED, tcp=(replace(ACCEPTED, last_receive_ms=399),))
    assert reported(came, STALL) == came
    before = replace(UNDECIDED, tcp=(replace(ACCEPTED, last_receive_ms=401),))
    assert reported(before, STALL) != before
    assert reported(came, replace(STALL, direction=Direction.SEND)) != came

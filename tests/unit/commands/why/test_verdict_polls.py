"""The answer about a process whose threads make calls, run or wake up often: it may poll."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.why_sockets import ACCEPTED, ASKED, OPENED, finding_of

from xctl_probe.commands.why.sockets import Peer
from xctl_probe.commands.why.waiters import Waiter
from xctl_probe.events import Cause


def test_who_polls_busily_waits_for_a_peer_that_is_stuck():
    """Without such a peer it may as well compute."""
    spins = Waiter(spins=True)
    peer = Peer(23, 239, "server", stopped=True)
    finding = finding_of(replace(ASKED, peer=peer), spins)
    assert finding.text.startswith("probably waits for a reply from 10.0.0.7:5432 for 12.4 s")
    assert (finding.waits, finding.certain, finding.cause) == (True, False, Cause.NO_REPLY)
    for other in (None, Peer(0, 239, "server", stopped=False)):
        assert finding_of(replace(ASKED, peer=other), spins) is None
    assert finding_of(replace(ASKED, peer=peer, last_receive_ms=None), spins) is None
    assert finding_of(replace(ACCEPTED, peer=peer), spins) is None


def test_who_makes_calls_all_the_while_may_poll_for_its_reply():
    """What it polls is not visible; a peer that has not read is a reason, also of who accepted."""
    calls = Waiter(spins=True, calls=True)
    finding = finding_of(ASKED, calls)
    assert (finding.waits, finding.seen, finding.ms) == (False, False, 12_400.0)
    assert finding_of(replace(ASKED, reply_ms=900.0), calls) is None
    sent = replace(ACCEPTED, last_send_ms=7_000, last_receive_ms=9_000)
    finding = finding_of(replace(sent, peer=Peer(23, 239, "rank", stopped=False)), calls)
    assert (finding.waits, finding.certain) == (True, False)
    read = finding_of(replace(sent, peer=Peer(0, 239, "rank", stopped=False)), calls)
    assert (read.waits, read.seen) == (False, False)


def test_who_polls_for_its_first_reply_waits_for_a_peer_that_has_not_read_the_request():
    peer = Peer(23, 239, "server", stopped=False)
    first = replace(ASKED, last_receive_ms=None, peer=peer)
    finding = finding_of(first, Waiter(spins=True, calls=True))
    assert (finding.waits, finding.certain) == (True, False)
    assert "has not read its request: 23 bytes" in finding.text
    for other in (None, Peer(0, 239, "server", stopped=False)):
        finding = finding_of(replace(first, peer=other), Waiter(spins=True, calls=True))
        assert (finding.waits, finding.seen) == (False, False)
        assert finding_of(replace(first, peer=other), Waiter(spins=True)) is None


def test_who_wakes_up_often_may_poll_for_its_reply():
    """It receives without blocking, and sleeps in between; a peer that is stuck is a reason."""
    naps = Waiter(naps=True)
    finding = finding_of(ASKED, naps)
    assert finding.text == (
        "asked 10.0.0.7:5432 12.4 s ago and got no reply, and a thread wakes up often, as if it "
        "polled for it"
    )
    assert (finding.waits, finding.seen) == (False, False)
    for peer in (Peer(23, 239, "server", stopped=False), Peer(0, 239, "server", stopped=True)):
        finding = finding_of(replace(ASKED, peer=peer), naps)
        assert finding.text.startswith("probably waits for a reply from 10.0.0.7:5432 for 12.4 s")
        assert (finding.waits, finding.certain) == (True, False)
    for socket in (
        OPENED,  # answered
        ACCEPTED,
        replace(ASKED, reply_ms=900.0),
        replace(ASKED, receive_queue=23),
    ):
        assert finding_of(socket, naps) is None


@pytest.mark.parametrize(
    ("peer", "waits"),
    [(None, False), (Peer(0, 239, "server", False), False), (Peer(23, 239, "server", False), True)],
)
def test_also_the_first_request_may_be_polled_for_between_naps(peer, waits):
    first = replace(ASKED, last_receive_ms=None, peer=peer)
    finding = finding_of(first, Waiter(naps=True))
    assert (finding.waits, finding.seen, finding.certain) == (waits, waits, False)


def test_who_awaits_no_reply_and_makes_calls_may_poll():
    """As NCCL and MPI do: which socket is not visible, so only a stopped peer is a reason."""
    polls, runs = Waiter(spins=True, calls=True), Waiter(spins=True)
    fed = replace(ACCEPTED, last_send_ms=None, last_receive_ms=7_000)
    finding = finding_of(fed, polls)
    assert (finding.waits, finding.seen, finding.ms) == (False, False, 7_000.0)
    stopped = Peer(0, 239, "rank", stopped=True)
    finding = finding_of(replace(fed, peer=stopped), polls)
    assert finding.text.startswith("probably waits for data from 10.0.0.7:5432 for 7.0 s; rank")
    assert (finding.waits, finding.certain) == (True, False)
    assert finding_of(fed, runs) is None
    assert not finding_of(replace(fed, last_send_ms=9_000), polls).seen
    assert not finding_of(replace(OPENED, last_receive_ms=7_000), polls).seen
    idle = Peer(0, 239, "rank", stopped=False, listens=True)
    assert finding_of(replace(fed, peer=idle), polls) is None
    assert finding_of(replace(fed, last_receive_ms=900), polls) is None

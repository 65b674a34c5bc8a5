"""Whom an idle peer waits for itself."""

from __future__ import annotations

import pytest
from support.tcp_model import Tcp

from xctl_probe.commands.why import upstream
from xctl_probe.commands.why.sockets import Peer
from xctl_probe.commands.why.upstream import Upstream

QUIET_MS = 7_001
OWN, NEXT, LAST = 231, 233, 239


@pytest.fixture
def ring(monkeypatch):
    """Each has opened a connection to the next one, all went silent at once; one is busy."""
    after = {OWN: NEXT, NEXT: LAST, LAST: OWN}
    opened = {}
    for pid in after:
        tcp = Tcp().at(1_009).send(23).receive(29)
        tcp.inode = pid
        opened[pid] = tcp.at(1_009 + QUIET_MS).sample()
    monkeypatch.setattr(Upstream, "_opened", lambda _self, pid: iter([opened[pid]]))

    def peers_of(samples, _messages):
        return {s.inode: peer(after[s.inode]) for s in samples}

    def peer(pid):
        return Peer(0, pid, "rank", stopped=False, listens=pid != busy["pid"])

    busy = {"pid": OWN}
    monkeypatch.setattr(upstream, "peers_of", peers_of)
    return busy


def test_a_chain_leads_to_who_is_busy(ring):
    """Asked of the process before it."""
    ring["pid"] = LAST
    assert Upstream([], 100, OWN).awaited(NEXT, QUIET_MS, transfer=True) is not None


def test_a_chain_that_leads_back_is_no_reason_to_wait(ring):
    """The busy one would wait for those that wait for it."""
    assert Upstream([], 100).awaited(NEXT, QUIET_MS, transfer=True) is not None
    assert Upstream([], 100, OWN).awaited(NEXT, QUIET_MS, transfer=True) is None

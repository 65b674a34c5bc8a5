"""Packets of interfaces, beside the events of a source."""

from __future__ import annotations

import errno

import pytest

from xctl_probe.aggregate import Filter
from xctl_probe.events import Batch
from xctl_probe.linux.links import Counts, Link
from xctl_probe.sources import packets as module
from xctl_probe.sources.packets import SourceWithPackets

ETH0 = Link(7, "eth0", Counts(0, 0, 0, 0, 0, 0))


class Quiet:
    """A source without events."""

    name = "proc"

    def drain(self, now_ns):
        return Batch(now_ns, [])


class Kernel:
    """Stands in for the interfaces, and for the programs on them."""

    def __init__(self):
        self.found, self.followed = [ETH0], []

    def read(self):
        if isinstance(self.found, OSError):
            raise self.found
        return self.found

    def follow(self, interfaces):
        self.followed.append(list(interfaces))
        return []

    def collect(self):
        return {}


@pytest.fixture
def kernel(monkeypatch):
    made = Kernel()
    monkeypatch.setattr(module, "Links", lambda **_: made)
    monkeypatch.setattr(module, "PacketCounters", lambda *_: made)
    return made


def test_programs_stay_attached_while_the_interfaces_cannot_be_read(kernel):
    source = SourceWithPackets(Quiet(), Filter(), None, print)
    kernel.found = OSError(errno.ENOBUFS, "No buffer space available")
    assert source.drain(7).events == []
    kernel.found = [ETH0]
    assert source.drain(11).events == []
    assert kernel.followed == [[(7, "eth0")]] * 2

"""Peers whose reply waits the user excludes: how they are written, whom they cover."""

from __future__ import annotations

import pytest

from xctl_probe.stalls.ignored_peers import IgnoredPeers


@pytest.mark.parametrize(
    ("text", "peer"),
    [
        ("10.0.0.7", ("10.0.0.7", None)),
        ("10.0.0.7:6379", ("10.0.0.7", 6379)),
        ("fd00::7", ("fd00::7", None)),
        ("[fd00::7]", ("fd00::7", None)),
        ("[FD00:0:0::7]:80", ("fd00::7", 80)),
        ("::ffff:10.0.0.7", ("10.0.0.7", None)),
        ("[::ffff:10.0.0.7]:65535", ("10.0.0.7", 65_535)),
    ],
)
def test_a_peer_is_written_as_the_records_write_it(text, peer):
    """Compressed, and a v4-mapped address as the IPv4 one."""
    assert IgnoredPeers.of([text]).peers == {peer}


@pytest.mark.parametrize(
    "text",
    ["", ":", "redis", "redis:6379", "10.0.0.7:", "10.0.0.7:0", "10.0.0.7:65536", "10.0.0.7:6e3",
     "10.0.0.7:\u0663", "10.0.0.7:-1", "10.0.0.256", "[fd00::7", "[fd00::7]6379", "[]:80",
     "10.0.0.7:600000000000000000000000", "10.0.0.0/8"],
)  # fmt: skip
def test_what_is_no_peer_is_refused(text):
    """A name is none: whom it means may change, and asking may hang."""
    with pytest.raises(ValueError):  # noqa: PT011 - its text is the caller's to write
        IgnoredPeers.of([text])


def test_a_port_narrows_a_peer():
    """Without one, every port of the address is covered."""
    ignored_peers = IgnoredPeers.of(["10.0.0.7:6379", "fd00::7"])
    assert ignored_peers.matches("10.0.0.7", 6379)
    assert not ignored_peers.matches("10.0.0.7", 6380)
    assert not ignored_peers.matches("10.0.0.8", 6379)
    assert ignored_peers.matches("fd00::7", 1)
    assert ignored_peers.matches("fd00::7", 2)
    assert not IgnoredPeers().matches("10.0.0.7", 6379)

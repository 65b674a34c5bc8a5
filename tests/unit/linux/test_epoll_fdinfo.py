"""What an epoll instance lists, as each kernel writes it."""

from __future__ import annotations

import os
import select
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xctl_probe.linux.epoll_fdinfo import Entry, entries

HEAD = b"pos:\t0\nflags:\t02\nmnt_id:\t15\n"
FULL = b"tfd:        5 events:       1d data: ffffffffffffffff  pos:0 ino:1091 sdev:9\n"
OLD = b"tfd:        5 events:       1d data: ffffffffffffffff\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEAD + FULL, [Entry(5, 0x1D, 0x1091)]),
        (HEAD + OLD, [Entry(5, 0x1D, 0)]),
        (OLD + FULL, [Entry(5, 0x1D, 0), Entry(5, 0x1D, 0x1091)]),
        (b"tfd: 5 events: 1d ino: 7", [Entry(5, 0x1D, 7)]),
        (FULL[:40], [Entry(5, 0x1D, 0)]),
        (b"tfd: events: ino:\n" + FULL, [Entry(5, 0x1D, 0x1091)]),
        (b"tfd: 5 events: zz ino:7\n", []),
        (b"tfd: " + b"9" * 5_003 + b" events: 1 ino:7\n", []),
        (b"\xff\xfe\0events:4 ino:1091\n", []),
        (b"", []),
    ],
)
def test_entries(text: bytes, expected: list[Entry]) -> None:
    assert list(entries(text)) == expected


@given(st.binary(max_size=300))
def test_any_text_has_entries_or_none(text: bytes) -> None:
    assert all(min(entry) >= 0 for entry in entries(text))


def test_an_instance_of_this_kernel() -> None:
    """The descriptor, the events and the inode of a socket."""
    with socket.socket() as one, select.epoll() as instance:
        instance.register(one, select.EPOLLIN)
        text = Path(f"/proc/self/fdinfo/{instance.fileno()}").read_bytes()
        (entry,) = entries(text)
        assert (entry.fd, entry.inode) == (one.fileno(), os.fstat(one.fileno()).st_ino)
        assert entry.events & select.EPOLLIN

"""A write to whatever stdout is takes what fits, and never waits."""

from __future__ import annotations

import os
import pty
import socket
import threading

import pytest

from xctl_probe.exporters import outlet as module
from xctl_probe.exporters.outlet import outlet

DATA = memoryview(b"#" * 4_099)


def terminal():
    return pty.openpty()


def stream_socket():
    reader, writer = socket.socketpair()
    return reader.detach(), writer.detach()


@pytest.mark.parametrize("make", [terminal, stream_socket, os.pipe])
def test_a_full_stdout_takes_nothing_and_then_goes_on(make):
    """No process reads: a write that waited would never come back.  Nothing is lost or doubled."""
    reader, writer = make()
    way = outlet(writer)
    try:
        written = 0
        while taken := way.write(DATA):
            written += taken
        assert os.get_blocking(writer)  # for the others who share it
        got = len(os.read(reader, 1 << 16))
        while got < written:
            got += len(os.read(reader, 1 << 16))
        assert got == written
        assert way.write(DATA)
    finally:
        way.close()
        os.close(reader)
        os.close(writer)


def test_a_terminal_that_cannot_be_opened_again_is_written_by_a_thread(monkeypatch):
    """Another user's, or without /proc: the write waits, and the probe does not."""
    monkeypatch.setattr(module, "_REOPEN", os.O_DIRECTORY)
    reader, writer = pty.openpty()
    way = outlet(writer)
    blocked = [thread for thread in threading.enumerate() if thread.daemon]
    taken = []
    while len(taken) < 64:  # more than a terminal holds
        if count := way.write(DATA):
            taken.append(count)
            if not (os.get_blocking(writer)):
                break
        newest = [t for t in threading.enumerate() if t.daemon and t not in blocked]
        if not newest:
            continue
        newest[0].join(0.5)
        if newest[0].is_alive():
            assert way.write(DATA) == 0
            break
    assert 0 < sum(taken) < 64 * 4_096
    got = 0
    while got < sum(taken):
        got += len(os.read(reader, 1 << 16))
    assert got == sum(taken)
    os.close(reader)
    os.close(writer)

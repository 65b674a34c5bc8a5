"""stdout that takes nothing, and a start that is interrupted: the probe obeys signals."""

from __future__ import annotations

import os
import pty
import signal
import socket

import pytest
from support.namespace import end, spawn

LIMIT_S = 30


def full_terminal():
    reader, writer = pty.openpty()
    return reader, writer


def full_socket():
    reader, writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    return reader.detach(), writer.detach()


def full_pipe():
    return os.pipe()


def fill(fd):
    """Until not one byte finds room; the description blocks again afterwards."""
    os.set_blocking(fd, False)
    for size in (4096, 1):
        try:
            while os.write(fd, b"#" * size):
                pass
        except BlockingIOError:
            pass
    os.set_blocking(fd, True)


@pytest.fixture
def start(installed, netns):
    started = []

    def run(*options, **more):
        words = [*netns.command(user="root"), str(installed.command), *options]
        started.append(spawn(words, **more))
        return started[-1]

    yield run
    for one in started:
        end(one)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("full", [full_terminal, full_socket, full_pipe])
def test_a_stdout_that_takes_nothing_holds_up_no_signal(start, full, number):
    """It polls writable or not; the probe exits with 0, and stdout blocks as before for others."""
    reader, writer = full()
    try:
        fill(writer)
        running = start("--interval", "0.02", "--backend", "proc", "--format", "text",
                        stdout=writer)  # fmt: skip
        assert running.stderr.readline().startswith(b"xctl-probe-network: source sampler")
        with open(f"/proc/{running.pid}/net/dev"):  # it has not ended
            running.send_signal(number)
        assert running.wait(LIMIT_S) in (0, -number)  # by itself before the stream begins
        assert os.get_blocking(writer)
        assert b"Traceback" not in running.stderr.read()
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_start_stops_it_without_a_traceback(start, tmp_path, number):
    """It reads its configuration from a pipe to which nothing is written: it is starting."""
    fifo = tmp_path / "config"
    os.mkfifo(fifo)
    tmp_path.chmod(0o755)
    running = start("--config", str(fifo))
    with open(fifo, "wb"):  # opens as soon as the probe reads
        running.send_signal(number)
        assert running.wait(LIMIT_S) == -number
    assert running.stderr.read() == b""


def test_a_configuration_without_an_end_is_one_line(start):
    """/dev/zero is read to a bound."""
    running = start("--config", "/dev/zero")
    assert running.wait(LIMIT_S) == 2
    (line,) = running.stderr.read().decode().splitlines()
    assert line.startswith("xctl-probe-network: --config /dev/zero: more than 1 MiB")


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        ("--backend proc", 0, "source sampler (sock_diag"),
        ("--backend proc --no-sock-diag", 1, "mount /proc"),
    ],
)
def test_without_proc_net_only_its_own_source_is_lost(start, options, code, text):
    """A /proc that shows processes only: netlink serves, and what needs the files is one line."""
    script = f'mount -t proc -o subset=pid proc /proc && exec "$0" --duration 1 {options}'
    probe = start("--version")
    command = probe.args[-2]
    probe.wait(LIMIT_S)
    running = spawn(["unshare", "--mount", "--pid", "--fork", "sh", "-c", script, command])
    try:
        assert running.wait(LIMIT_S) == code
        (line,) = running.stderr.read().decode().splitlines()
        assert text in line
    finally:
        end(running)

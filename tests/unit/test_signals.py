"""SIGINT, SIGTERM and SIGHUP become something to wait for, for as long as one waits."""

from __future__ import annotations

import select
import signal
import subprocess
import sys
import threading

import pytest

from xctl_probe.signals import stop_signals

_ALL = signal.SIGINT, signal.SIGTERM, signal.SIGHUP


@pytest.fixture(autouse=True)
def hangups_are_not_ignored():
    """Where nohup runs the tests, they are."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", _ALL)
def test_a_signal_makes_the_socket_readable(number):
    """At once, and without an exception in whatever runs."""
    with stop_signals() as stop:
        assert select.select([stop], [], [], 0)[0] == []
        signal.raise_signal(number)
        assert select.select([stop], [], [], 0)[0] == [stop]
        assert stop.recv(7) == bytes([number])


def test_the_handlers_before_are_back_afterwards():
    """Whatever happens within; a library's user keeps his own."""
    before = [signal.getsignal(s) for s in _ALL]
    wakeup = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    with pytest.raises(ZeroDivisionError), stop_signals() as stop:
        raise ZeroDivisionError
    assert [signal.getsignal(s) for s in _ALL] == before
    after = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(after)
    assert (after, stop.fileno()) == (wakeup, -1)


def test_a_thousand_signals_do_not_block():
    """The socket that wakes may be full; one byte in it is enough."""
    with stop_signals() as stop:
        for _ in range(1_009):
            signal.raise_signal(signal.SIGTERM)
        assert select.select([stop], [], [], 0)[0] == [stop]


def test_before_the_exit_there_is_a_last_call():
    """In a process of its own, which is busy for ever."""
    words = (
        "import os, signal, time\n"
        "from xctl_probe.signals import stop_signals\n"
        "with stop_signals(0.01, lambda: os.write(1, b'last')):\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "    while True: time.sleep(1)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", words], capture_output=True, timeout=60, check=True
    )
    assert done.stdout == b"last"


def test_an_ignored_hangup_stays_ignored():
    """As nohup(1) leaves it: the command outlives its terminal."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stop_signals(1009) as stop:
        signal.raise_signal(signal.SIGHUP)
        assert select.select([stop], [], [], 0)[0] == []
        signal.raise_signal(signal.SIGTERM)
        assert stop.recv(7) == bytes([signal.SIGTERM])
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_signal_just_before_a_write_that_blocks_stops_the_process():
    """Its handler would run after the write.  As a call that is begun again, also after it."""
    words = (
        "import ctypes, os, signal\n"
        "from xctl_probe.signals import stop_signals\n"
        "with stop_signals(0.1, lambda: os.write(1, b'last'), writes_block=True):\n"
        "    signal.siginterrupt(signal.SIGTERM, False)\n"
        "    ours, theirs = os.pipe()\n"
        "    os.write(1, b'ready')\n"
        "    ctypes.CDLL(None).read(ours, ctypes.create_string_buffer(1), 1)\n"
    )
    with subprocess.Popen([sys.executable, "-c", words], stdout=subprocess.PIPE) as process:
        assert process.stdout.read(5) == b"ready"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert process.stdout.read() == b"last"


def test_a_block_that_is_left_in_time_leaves_no_thread():
    before = threading.active_count()
    with stop_signals(60, writes_block=True) as stop:
        signal.raise_signal(signal.SIGTERM)
        assert stop.recv(7) == bytes([signal.SIGTERM])
    assert threading.active_count() == before
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0

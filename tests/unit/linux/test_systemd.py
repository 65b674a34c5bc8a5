"""Messages to the service manager, as its socket receives them."""

from __future__ import annotations

import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xctl_probe.linux.systemd import Notifier

SECOND_NS = 1_000_000_000
PID = 4_241


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    """The socket of a manager, and its address for the environment."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    if request.param == "path":
        address = str(tmp_path / "notify")
        made.bind(address)
    else:
        made.bind(f"\0xctl-probe-test-{os.getpid()}")
        address = f"@xctl-probe-test-{os.getpid()}"
    yield made, address
    made.close()


def received(manager):
    found = []
    while True:
        try:
            found.append(manager[0].recv(4_096).decode())
        except BlockingIOError:
            return found


def notifier(manager, **more):
    return Notifier({"NOTIFY_SOCKET": manager[1], **more}, PID)


def test_start_state_and_end_are_one_message_each(manager):
    """An interval whose text is the same is no message."""
    made = notifier(manager)
    made.ready("source ebpf")
    made.interval(7, "source ebpf")
    made.interval(8, "source ebpf; 23 events dropped")
    made.stopping()
    made.close()
    assert received(manager) == [
        "READY=1\nSTATUS=source ebpf",
        "STATUS=source ebpf; 23 events dropped",
        "STOPPING=1",
    ]


def test_the_watchdog_gets_four_messages_in_its_time(manager):
    """However short the intervals are."""
    made = notifier(manager, WATCHDOG_USEC="2000000", WATCHDOG_PID=str(PID))
    made.ready("")
    for tenth in range(40):
        made.interval(tenth * SECOND_NS // 10, "")
    made.close()
    assert received(manager)[1:] == ["WATCHDOG=1"] * 8


def test_the_watchdog_of_another_process_is_not_ours(manager):
    made = notifier(manager, WATCHDOG_USEC="2000000", WATCHDOG_PID=str(PID + 1))
    assert made.watchdog_ns is None
    made.interval(7, "")
    made.close()
    assert received(manager) == []


@pytest.mark.parametrize(
    "given_", ["", "0", "-1", "1e3", "2 000", "٣", str(1 << 63), "9" * 4_099, "\0"]
)
def test_a_watchdog_time_that_is_none_is_ignored(manager, given_):
    made = notifier(manager, WATCHDOG_USEC=given_)
    assert made.watchdog_ns is None
    made.close()


def test_without_a_manager_nothing_is_sent():
    made = Notifier({}, PID)
    assert not made.listens
    made.ready("")
    made.interval(7, "")
    made.stopping()
    made.close()


@given(st.text(max_size=300))
def test_any_value_of_the_environment_is_harmless(address):
    """As an address of AF_VSOCK, a name that is too long, or bytes that are no text."""
    made = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": address}, PID)
    made.ready("")
    made.stopping()
    made.close()


def test_a_manager_that_does_not_read_does_not_hold_the_probe_up(manager):
    """The kernel keeps about ten messages; the rest is left out."""
    made = notifier(manager)
    for number in range(10_007):
        made.interval(number, str(number))
    assert 0 < len(received(manager)) < 1_009
    made.stopping()
    made.close()
    assert received(manager) == ["STOPPING=1"]


def test_a_manager_that_starts_again_is_notified(tmp_path):
    address = tmp_path / "notify"
    for _ in range(2):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(address))
            made = Notifier({"NOTIFY_SOCKET": str(address)}, PID)
            made.ready("")
            assert manager.recv(99) == b"READY=1\nSTATUS="
            address.unlink()
            made.stopping()  # no one is there


def test_the_text_is_one_line_of_a_bounded_length(manager):
    made = notifier(manager)
    made.ready("a\nMAINPID=1\x1b" + "x" * 4_099)
    made.close()
    (message,) = received(manager)
    assert message == "READY=1\nSTATUS=a?MAINPID=1?" + "x" * 188

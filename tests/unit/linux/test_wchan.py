"""The kernel functions in which threads wait: each reader took a part of them."""

from __future__ import annotations

import pytest
from support.fake_proc import FakeProcess

from xctl_probe.linux import wchan
from xctl_probe.linux.process_activity import Activity, Processes
from xctl_probe.linux.threads import blocked_threads, closing_threads

PID = 233
SOCKETS = (
    "wait_woken", "sk_wait_data", "__skb_wait_for_more_packets", "__skb_recv_udp",
    "sk_stream_wait_memory", "sk_stream_wait_close", "sk_stream_wait_connect", "inet_wait_woken",
    "inet_csk_accept", "inet_wait_for_connect", "sock_alloc_send_pskb", "sock_wait_for_wmem",
)  # fmt: skip
EVENTS = (
    "ep_poll",
    "do_epoll_wait",
    "do_poll",
    "poll_schedule_timeout",
    "do_sys_poll",
    "do_select",
)


@pytest.mark.parametrize("name", SOCKETS)
def test_functions_of_sockets(name):
    assert f"{name}.isra.0".startswith(wchan.ON_SOCKETS)
    assert not name.startswith((*wchan.EVENTS, *wchan.RING))


@pytest.mark.parametrize("name", EVENTS)
def test_functions_of_event_loops(name):
    assert f"{name}.constprop.0".startswith(wchan.EVENTS)
    assert not name.startswith(wchan.ON_SOCKETS)


@pytest.mark.parametrize(
    ("name", "blocked", "expected"),
    [
        ("wait_woken", True, Activity.WAITING_ON_SOCKET),
        ("sk_wait_data.isra.0", True, Activity.WAITING_ON_SOCKET),
        ("__skb_wait_for_more_packets", True, Activity.OTHER),
        ("sk_stream_wait_memory", True, Activity.OTHER),
        ("inet_csk_accept", False, Activity.OTHER),
        ("poll_schedule_timeout.constprop.0", False, Activity.WAITING_ON_SOCKET),
        ("io_cqring_wait", False, Activity.WAITING_ON_SOCKET),
        ("pipe_read", False, Activity.OTHER),
    ],
)
def test_readers_where_the_call_is_hidden(tmp_path, name, blocked, expected):
    """As Yama hides it: all readers decide by the same names."""
    FakeProcess(tmp_path, PID).thread(PID, wchan=name)
    assert bool(blocked_threads(PID, tmp_path)) == blocked
    assert closing_threads(PID, tmp_path) == []
    assert Processes(tmp_path).activity(PID, 4_241) is expected

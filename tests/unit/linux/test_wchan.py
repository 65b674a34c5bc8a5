"""The kernel functions in which threads wait: each reader took a part of them."""

from __future__ import annotations

import pytest

from xctl_probe.linux import wchan
from xctl_probe.linux.process_activity import Doing, Processes
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
    ("name", "blocked", "doing"),
    [
        ("wait_woken", True, Doing.WAITS_FOR_IT),
        ("sk_wait_data.isra.0", True, Doing.WAITS_FOR_IT),
        ("__skb_wait_for_more_packets", True, Doing.ELSE),
        ("sk_stream_wait_memory", True, Doing.ELSE),
        ("inet_csk_accept", False, Doing.ELSE),
        ("poll_schedule_timeout.constprop.0", False, Doing.WAITS_FOR_IT),
        ("io_cqring_wait", False, Doing.WAITS_FOR_IT),
        ("pipe_read", False, Doing.ELSE),
    ],
)
def test_readers_where_the_call_is_hidden(tmp_path, name, blocked, doing):
    """As Yama hides it: all readers decide by the same names."""
    task = tmp_path / f"{PID}/task/{PID}"
    task.mkdir(parents=True)
    (task / "wchan").write_text(name)
    assert bool(blocked_threads(PID, tmp_path)) == blocked
    assert closing_threads(PID, tmp_path) == []
    assert Processes(tmp_path).doing(PID, 4_241) is doing

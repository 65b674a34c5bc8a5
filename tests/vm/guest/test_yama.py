"""Under Yama, as Ubuntu sets it: what a thread waits in may not be read of one's own processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.conversation import ANSWER, QUESTION

SCOPE = Path("/proc/sys/kernel/yama/ptrace_scope")


@pytest.fixture
def restricted():
    """Only descendants may be traced, which is what /proc/<pid>/syscall goes by."""
    before = SCOPE.read_text()
    SCOPE.write_text("1")
    yield
    SCOPE.write_text(before)


def test_a_first_request_is_seen_where_calls_may_not_be_read(restricted, probe, worker):
    """Nothing was answered before, so the thread in the receive is all the evidence there is."""
    server, client = worker(), worker()
    port = server.ask("listen")["port"]
    inode = client.connect("127.0.0.1", port)["inode"]
    server.ask("accept")
    running = probe()
    client.begin("ask", QUESTION, ANSWER)
    server.ask("recv", QUESTION)
    running.wait_for(lambda c: len(c.stalls(pid=client.pid, ongoing=True)) >= 2, 60)
    server.ask("send", ANSWER)
    client.expect("ask")
    running.wait_for(lambda c: c.stalls(pid=client.pid, ongoing=False), 60)
    records = running.stop().stalls()
    assert {(r.pid, r.entity_id) for r in records} == {(client.pid, f"socket-{inode}")}
    assert {(r.net["direction"], r.net["cause"]) for r in records} == {("receive", "no_reply")}
